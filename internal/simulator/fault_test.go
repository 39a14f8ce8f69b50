package simulator_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/simulator"
)

func TestFaults(t *testing.T) {
	t.Parallel()
	errLost := errors.New("lost")
	tests := []struct {
		name  string
		rule  simulator.Rule
		fails []int // which of four starts, counted from 1
		state string
	}{
		{"before, first only", simulator.Rule{Op: "hypervisor.start", Before: true}, []int{1}, "running"},
		{"third", simulator.Rule{Op: "hypervisor.start", Nth: 3}, []int{3}, "running"},
		{"second and third", simulator.Rule{Op: "hypervisor.*", Nth: 2, Times: 2}, []int{2, 3}, "running"},
		{"always, before", simulator.Rule{Op: "*", Host: "host1", Times: -1, Before: true, Err: errLost}, []int{1, 2, 3, 4}, "off"},
		{"always, after", simulator.Rule{Op: "hypervisor.start", Times: -1, Err: errLost}, []int{1, 2, 3, 4}, "running"},
		{"other host", simulator.Rule{Op: "*", Host: "host2", Times: -1}, nil, "running"},
		{"other operation", simulator.Rule{Op: "disks.*", Times: -1}, nil, "running"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := open(t, simulator.Config{})
			h := c.create("host1", uuid1, "IITD_a_web")
			stop := c.Fail(tt.rule)
			var fails []int
			for i := 1; i <= 4; i++ {
				err := c.Hypervisor().Start(t.Context(), h, uuid1)
				if err == nil {
					continue
				}
				fails = append(fails, i)
				if want := tt.rule.Err; want != nil && !errors.Is(err, want) {
					t.Errorf("answer %v", err)
				} else if want == nil {
					c.wants(err, "unavailable")
				}
			}
			stop()
			if !slices.Equal(fails, tt.fails) {
				t.Errorf("starts that failed: %v, want %v", fails, tt.fails)
			}
			if got := c.state(h, uuid1); got != tt.state {
				t.Errorf("state %s, want %s", got, tt.state)
			}
		})
	}
}

func TestHangingCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, simulator.Config{})
		h := c.create("host1", uuid1, "IITD_a_web")
		c.Fail(simulator.Rule{Op: "hypervisor.start", Hang: true, Times: 2})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begun := time.Now()
		c.wants(c.Hypervisor().Start(ctx, h, uuid1), "unavailable/host_timeout")
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("hung for %s", took)
		}
		if got := c.state(h, uuid1); got != "running" {
			t.Errorf("only the answer should be lost: %s", got)
		}
		c.wants(c.Hypervisor().Start(t.Context(), h, uuid1), "unavailable")
		if took := time.Since(begun); took != 33*time.Second {
			t.Errorf("hung for %s", took)
		}
	})
}

func TestCancelCauseIsKept(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Config{})
	why := errors.New("the controller stops")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	before := c.Snapshot()
	err := c.Hypervisor().Define(ctx, c.host("host1"), definition(uuid1, "IITD_a_web"))
	if !errors.Is(err, context.Canceled) || !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	if d := cmp.Diff(before, c.Snapshot()); d != "" {
		t.Error(d)
	}
}

func TestHookAndCounts(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Config{})
	h := c.create("host1", uuid1, "IITD_a_web")
	var seen []string
	c.OnOp(func(op string, after bool) {
		state := c.Snapshot() // no lock is held
		if len(state) == 0 {
			t.Error("empty snapshot")
		}
		seen = append(seen, map[bool]string{false: "before ", true: "after "}[after]+op)
	})
	c.must(c.Hypervisor().Start(t.Context(), h, uuid1))
	_, err := c.Hypervisor().Domain(t.Context(), h, uuid2)
	c.wants(err, "not_found")
	c.OnOp(nil)
	c.Guests().Answers(t.Context(), "192.168.10.11")
	want := []string{"before hypervisor.start", "after hypervisor.start", "before hypervisor.domain", "after hypervisor.domain"}
	if d := cmp.Diff(want, seen); d != "" {
		t.Error(d)
	}
	counts := map[string]int{
		"disks.create_image": 1, "hypervisor.define": 1, "hypervisor.start": 1, "hypervisor.domain": 1, "guests.answers": 1,
	}
	if d := cmp.Diff(counts, c.Ops()); d != "" {
		t.Error(d)
	}
}

func TestClosedWorld(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Config{})
	h := c.host("host1")
	c.must(c.Close())
	c.must(c.Close())
	c.wants(c.Prober().Alive(t.Context(), h), "unavailable")
	_, err := c.DHCP().Reservations(t.Context())
	if baadal.KindOf(err) != baadal.Unavailable {
		t.Errorf("DHCP: %v", err)
	}
}
