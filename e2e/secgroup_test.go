package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"baadal"
)

// reaches waits until a TCP connection from one guest to a port of another goes
// as wanted.
func reaches(ctx context.Context, t *testing.T, from, to baadal.VM, port int, want bool) {
	t.Helper()
	eventually(t, 20*time.Second, fmt.Sprintf("%s reaches %s:%d: %t", from.Name, to.Name, port, want), func() error {
		got := strings.Contains(ssh(ctx, t, from, fmt.Sprintf("nc -w 1 %s %d </dev/null >/dev/null 2>&1 && echo yes; true", to.Address, port)), "yes")
		if got != want {
			return errors.New("it does not")
		}
		return nil
	})
}

// TestSecurityGroups: a VM is reached as its rules say and in no other way,
// from its own host and from another, also after a live migration; taking the
// groups away opens it again.
func TestSecurityGroups(t *testing.T) {
	ctx := begin(t)
	none := baadal.ChangeOptions{}
	near := guest(ctx, t, baadal.VMCreate{Name: "near", Host: "host1"})
	far := guest(ctx, t, baadal.VMCreate{Name: "far", Host: "host2"})
	vm := guest(ctx, t, baadal.VMCreate{Name: "walled", Host: "host1"})
	defer func() {
		for _, v := range []baadal.VM{near, far, vm} {
			remove(ctx, t, v.UUID)
		}
	}()
	reaches(ctx, t, near, vm, 80, true)
	reaches(ctx, t, far, vm, 80, true)
	rules := []baadal.SecRule{{Direction: "in", Protocol: "tcp", First: 22}, {Direction: "in", Protocol: "tcp", First: 80, Peer: far.Address}}
	if _, err := cloud.Client.CreateSecGroup(ctx, baadal.SecGroupCreate{Name: "walls", Rules: rules}, none); err != nil {
		t.Fatal(err)
	}
	groups := func(names ...string) {
		t.Helper()
		names = append([]string{}, names...) // none is a wish, too
		if _, err := cloud.Client.EditVM(ctx, vm.UUID, baadal.VMEdit{SecGroups: &names}, none); err != nil {
			t.Fatal(err)
		}
	}
	groups("walls")
	check := func() {
		t.Helper()
		reaches(ctx, t, near, vm, 80, false)
		reaches(ctx, t, far, vm, 80, true)
		reaches(ctx, t, near, vm, 22, true)
		reaches(ctx, t, vm, near, 80, true) // what it begins is answered
		if strings.Contains(ssh(ctx, t, far, "ping -c 1 -W 1 "+vm.Address+" >/dev/null && echo yes; true"), "yes") {
			t.Error("it answers a ping, and no rule says so")
		}
	}
	check()
	if done := migrate(ctx, t, vm.UUID, baadal.VMMigrate{To: "host3"}); done.State != baadal.TaskSuccess {
		t.Fatalf("%+v", done)
	}
	check()
	groups()
	reaches(ctx, t, near, vm, 80, true)
	if _, err := cloud.Client.DeleteSecGroup(ctx, "walls", none); err != nil {
		t.Fatal(err)
	}
}
