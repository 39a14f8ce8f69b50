package e2e_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"baadal"
)

// benchNAT measures how long one mapping more takes where there are 5,000, from
// the API call until the NAT box has it.
func benchNAT(ctx context.Context, t *testing.T) row {
	t.Helper()
	const many, rounds = 5000, 10
	setting := func(value string) {
		t.Helper()
		if _, err := cloud.Client.UpdateSetting(ctx, baadal.SettingForwardLimit, value, baadal.ChangeOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	setting("6000")
	vm := create(ctx, t, baadal.VMCreate{Name: "benchnat", RAMMiB: 96})
	ports := make(chan int)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for port := range ports {
				if _, err := cloud.Client.AddForward(ctx, vm.Name, baadal.ForwardAdd{Port: port, Seconds: 36000}, baadal.ChangeOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for port := range many {
		ports <- 1 + port
	}
	close(ports)
	wg.Wait()
	r := row{what: "one port mapping among 5,000 more (API call → in force)", rival: "-"}
	inForce := func(f *baadal.Forward) {
		t.Helper()
		for !f.Applied {
			time.Sleep(2 * time.Millisecond)
			now, err := cloud.Client.Forward(ctx, vm.Name, f.ID)
			if err != nil {
				t.Fatal(err)
			}
			f = &now
		}
	}
	for i := range rounds {
		begun := time.Now()
		c, err := cloud.Client.AddForward(ctx, vm.Name, baadal.ForwardAdd{Port: many + 1 + i, Seconds: 36000}, baadal.ChangeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		inForce(c.Resource)
		if i > 0 { // the first one waits for the many
			r.ours = append(r.ours, time.Since(begun))
		}
	}
	remove(ctx, t, vm.Name)
	setting("10")
	return r
}
