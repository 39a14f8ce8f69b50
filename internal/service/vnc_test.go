package service_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/console"
	"baadal/internal/service"
	"baadal/internal/store"
)

// viewers are a cloud's that listens for VNC clients; its hosts are slow.
func viewers(t *testing.T) (*cloud, *slowHost, baadal.VM) {
	t.Helper()
	c, h, vm := consoles(t)
	c.Service = service.New(c.db, c.queue, service.Options{Consoles: console.New(h), VNCAddress: "10.0.0.3"})
	return c, h, vm
}

func (c *cloud) whats(t *testing.T, vm baadal.VM) (what []string) {
	t.Helper()
	c.view(t, func(tx *store.Tx) error {
		all, err := tx.EventsAfter(0, []string{"vm"}, []int64{vm.ID}, c.admin.Sees(baadal.ActionVMRead), 1000)
		for _, e := range all {
			if strings.Contains(e.What, "VNC") {
				what = append(what, e.What+" by "+e.Actor)
			}
		}
		return err
	})
	return what
}

// A grant is shown to who may see the VM, its password once; it is extended and
// ended, and all of that is history.
func TestVNCGrant(t *testing.T) {
	t.Parallel()
	c, _, vm := viewers(t)
	ctx := t.Context()
	g, err := c.GrantVNC(ctx, c.orgadmin, "web", baadal.VNCGrantCreate{})
	if err != nil || len(g.Password) != 8 || g.Address != fmt.Sprintf("10.0.0.3:%d", vm.VNCPort) || g.SecondsTo != 1800 || g.By != "dean" || g.Open {
		t.Fatalf("%+v, %v", g, err)
	}
	for _, a := range []baadal.Actor{c.orgadmin, c.admin} {
		all, err := c.VNCGrants(ctx, a)
		if err != nil || len(all) != 1 || all[0].Password != "" || all[0].Address != g.Address {
			t.Errorf("%s sees %+v, %v", a.User.Username, all, err)
		}
		if one, err := c.VNCGrant(ctx, a, "web"); err != nil || one.Password != "" {
			t.Errorf("%+v, %v", one, err)
		}
	}
	if all, err := c.VNCGrants(ctx, c.student); err != nil || len(all) != 0 {
		t.Errorf("a stranger sees %+v, %v", all, err)
	}
	_, err = c.GrantVNC(ctx, c.student, "web", baadal.VNCGrantCreate{})
	refused(t, err, baadal.NotFound, "not_found")
	_, err = c.GrantVNC(ctx, c.orgadmin, "web", baadal.VNCGrantCreate{})
	refused(t, err, baadal.Conflict, "vnc_granted")

	c.clock.forward(10 * time.Minute)
	_, err = c.ExtendVNC(ctx, c.orgadmin, "web", baadal.VNCGrantExtend{Seconds: 60})
	refusedField(t, err, baadal.Invalid, "seconds") // that would be shorter
	_, err = c.ExtendVNC(ctx, c.orgadmin, "web", baadal.VNCGrantExtend{Seconds: 8 * 3600})
	refusedField(t, err, baadal.Invalid, "seconds") // 8 h and 10 min in all
	_, err = c.ExtendVNC(ctx, c.orgadmin, "web", baadal.VNCGrantExtend{Seconds: 18446747673})
	refusedField(t, err, baadal.Invalid, "seconds") // centuries, or an hour if nobody looks
	if g, err = c.ExtendVNC(ctx, c.orgadmin, "web", baadal.VNCGrantExtend{Seconds: 3600}); err != nil || g.SecondsTo != 3600 || g.Password != "" {
		t.Errorf("%+v, %v", g, err)
	}
	if err := c.EndVNC(ctx, c.admin, "web"); err != nil {
		t.Error(err)
	}
	refused(t, c.EndVNC(ctx, c.admin, "web"), baadal.NotFound, "no_vnc_grant")
	_, err = c.ExtendVNC(ctx, c.orgadmin, "web", baadal.VNCGrantExtend{Seconds: 3600})
	refused(t, err, baadal.NotFound, "no_vnc_grant")
	want := []string{"VNC grant made by dean", "VNC grant extended by dean", "VNC grant ended by root"}
	if got := c.whats(t, vm); !slices.Equal(got, want) {
		t.Errorf("history %q, want %q", got, want)
	}
}

// So many a day, not too long, only of what runs, and where somebody listens.
func TestVNCGrantLimits(t *testing.T) {
	t.Parallel()
	c, _, vm := viewers(t)
	ctx := t.Context()
	for _, seconds := range []int64{1, 9, 8*3600 + 1, 18446744133} { // so many nanoseconds are 59 s if nobody looks
		_, err := c.GrantVNC(ctx, c.orgadmin, "web", baadal.VNCGrantCreate{Seconds: seconds})
		refusedField(t, err, baadal.Invalid, "seconds")
	}
	give := func() error {
		_, err := c.GrantVNC(ctx, c.orgadmin, "web", baadal.VNCGrantCreate{Seconds: 60})
		c.clock.forward(time.Minute)
		return err
	}
	for range 10 {
		if err := give(); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, give(), baadal.TooMany, "vnc_limit")
	c.clock.forward(24*time.Hour - 10*time.Minute)
	if err := give(); err != nil {
		t.Errorf("the next day: %v", err)
	}
	c.clock.forward(24 * time.Hour)
	if _, err := c.GrantVNC(ctx, c.orgadmin, "web", baadal.VNCGrantCreate{}); err != nil {
		t.Fatal(err)
	}
	c.act(t, baadal.ActionVMDestroy, vm)
	if _, err := c.VNCGrant(ctx, c.orgadmin, "web"); err != nil {
		t.Errorf("its grant outlives a stop: %v", err)
	}
	c.act(t, baadal.ActionVMDelete, vm)
	if all, err := c.VNCGrants(ctx, c.admin); err != nil || len(all) != 0 {
		t.Errorf("a deleted VM has %+v, %v", all, err)
	}
	off := c.create(t, c.orgadmin, baadal.VMCreate{Name: "off"})
	c.act(t, baadal.ActionVMDestroy, off)
	_, err := c.GrantVNC(ctx, c.orgadmin, "off", baadal.VNCGrantCreate{})
	refused(t, err, baadal.Conflict, "vm_not_running")
	deaf := service.New(c.db, c.queue, service.Options{})
	_, err = deaf.GrantVNC(ctx, c.orgadmin, "off", baadal.VNCGrantCreate{})
	refused(t, err, baadal.Conflict, "no_vnc_address")
}

// Who asked for the grant decides what its clients see.
func TestVNCScreen(t *testing.T) {
	t.Parallel()
	c, h, vm := viewers(t)
	ctx := t.Context()
	g, err := c.GrantVNC(ctx, c.orgadmin, "web", baadal.VNCGrantCreate{})
	if err != nil {
		t.Fatal(err)
	}
	h.answer <- nil
	s, err := c.VNCScreen(ctx, g.ID, "192.0.2.7:4711")
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	if got := c.whats(t, vm); !slices.Equal(got, []string{"VNC grant made by dean", "screen opened by a VNC client by dean"}) {
		t.Errorf("history %q", got)
	}
	h.answer <- baadal.Errorf(baadal.Unavailable, "host1 does not answer")
	if _, err = c.VNCScreen(ctx, g.ID, ""); baadal.KindOf(err) != baadal.Unavailable {
		t.Errorf("got %v", err)
	}
	block := func(blocked bool) {
		c.update(t, func(tx *store.Tx) error {
			u, err := tx.User(c.orgadmin.User.ID)
			if err != nil {
				return err
			}
			u.Blocked = blocked
			return tx.UpdateUser(&u)
		})
	}
	block(true)
	_, err = c.VNCScreen(ctx, g.ID, "")
	refused(t, err, baadal.Forbidden, "forbidden")
	block(false)
	c.act(t, baadal.ActionVMDestroy, vm)
	_, err = c.VNCScreen(ctx, g.ID, "")
	refused(t, err, baadal.Conflict, "vm_not_running")
	c.clock.forward(time.Hour)
	_, err = c.VNCScreen(ctx, g.ID, "")
	refused(t, err, baadal.NotFound, "no_vnc_grant")
}

// With a NAT box the address is the box's, which leads to the controller as long
// as the grant lives.
func TestVNCGrantThroughNAT(t *testing.T) {
	t.Parallel()
	c, h, vm := viewers(t)
	ctx := t.Context()
	c.Service = service.New(c.db, c.queue, service.Options{Consoles: console.New(h), VNCAddress: "10.0.0.3", NAT: service.NAT{Public: "203.0.113.1"}})
	led := func(want ...string) {
		t.Helper()
		c.view(t, func(tx *store.Tx) error {
			all, err := tx.VMForwards(vm.ID, baadal.ForwardVNC)
			var got []string
			for _, f := range all {
				got = append(got, fmt.Sprintf("%d to %s:%d for %s", f.PublicPort, f.Target, f.Port, f.ExpiresAt.Sub(tx.Now())))
			}
			if !slices.Equal(got, want) {
				t.Errorf("the NAT box leads %q, want %q", got, want)
			}
			return err
		})
	}
	g, err := c.GrantVNC(ctx, c.orgadmin, "web", baadal.VNCGrantCreate{})
	if err != nil || g.Address != fmt.Sprintf("203.0.113.1:%d", vm.VNCPort) || len(g.Password) != 8 {
		t.Fatalf("%+v, %v", g, err)
	}
	led(fmt.Sprintf("%d to 10.0.0.3:%d for 30m0s", vm.VNCPort, vm.VNCPort))
	open := func(want bool) {
		t.Helper()
		if now, err := c.VNCGrant(ctx, c.orgadmin, "web"); err != nil || now.Open != want || now.Address != g.Address {
			t.Errorf("%+v, %v", now, err)
		}
	}
	c.update(t, func(tx *store.Tx) error { return tx.SetVNCOpen(g.ID, "10.0.0.3", "") })
	open(false) // the NAT box does not have it yet
	c.update(t, func(tx *store.Tx) error {
		state, err := tx.NATState()
		if err != nil {
			return err
		}
		_, err = tx.SetNATState(state.Revision, "")
		return err
	})
	open(true)
	if _, err := c.ExtendVNC(ctx, c.orgadmin, "web", baadal.VNCGrantExtend{Seconds: 3600}); err != nil {
		t.Fatal(err)
	}
	led(fmt.Sprintf("%d to 10.0.0.3:%d for 1h0m0s", vm.VNCPort, vm.VNCPort))
	c.clock.forward(30 * time.Second)
	c.update(t, func(tx *store.Tx) error { // another controller takes over
		_, err := tx.HoldVNCGrant(g.ID, "10.0.0.4", tx.Now().Add(time.Minute))
		return err
	})
	led(fmt.Sprintf("%d to 10.0.0.4:%d for 59m30s", vm.VNCPort, vm.VNCPort))
	if err := c.EndVNC(ctx, c.orgadmin, "web"); err != nil {
		t.Fatal(err)
	}
	led()
}
