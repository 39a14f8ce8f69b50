package workflow_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task/tasktest"
)

// second makes the network "second", VLAN 20.
func second(tb testing.TB, c *cloud) {
	tb.Helper()
	ch, err := c.svc.CreateNetwork(context.Background(), c.actor, baadal.NetworkCreate{Name: "second", VLAN: 20, CIDR: "10.0.2.0/29"}, none)
	c.finish(tb, ch.Task, err)
}

// withSecond gives the VM "ml" a NIC in it.
func withSecond(tb testing.TB, c *cloud) {
	tb.Helper()
	second(tb, c)
	ch, err := c.svc.AddNIC(context.Background(), c.actor, "ml", baadal.NICAdd{Network: "second"}, none)
	c.finish(tb, ch.Task, err)
}

func removedNIC(tb testing.TB, c *cloud) {
	tb.Helper()
	ch, err := c.svc.RemoveNIC(context.Background(), c.actor, "ml", "second", none)
	c.finish(tb, ch.Task, err)
}

// inSecond puts the first NIC of "ml" into it.
func inSecond(tb testing.TB, c *cloud) {
	tb.Helper()
	network := "second"
	ch, err := c.svc.EditVM(context.Background(), c.actor, "ml", baadal.VMEdit{Network: &network}, none)
	c.finish(tb, ch.Task, err)
}

func snapshotFirst(tb testing.TB, c *cloud) { c.snapshot(tb, "ml", "first") }

func nicCases() []tasktest.Case {
	ctx := context.Background()
	add := func(tb testing.TB, c *cloud) int64 {
		ch, err := c.svc.AddNIC(ctx, c.actor, "ml", baadal.NICAdd{Network: "second"}, none)
		return submitted(tb, ch, err)
	}
	change := func(to string) func(tb testing.TB, c *cloud) int64 {
		return func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.ChangeNIC(ctx, c.actor, "ml", "0", baadal.NICChange{Network: to}, none)
			return submitted(tb, ch, err)
		}
	}
	remove := func(tb testing.TB, c *cloud) int64 {
		ch, err := c.svc.RemoveNIC(ctx, c.actor, "ml", "1", none)
		return submitted(tb, ch, err)
	}
	revert := func(tb testing.TB, c *cloud) int64 {
		ch, err := c.svc.RevertSnapshot(ctx, c.actor, "ml", "first", none)
		return submitted(tb, ch, err)
	}
	return []tasktest.Case{
		diskCase("add a NIC to a running vm", add, second),
		diskCase("add a NIC to a stopped vm", add, second, off),
		diskCase("change the network of a running vm", change("second"), second),
		diskCase("change the network of a paused vm", change("second"), second, paused),
		diskCase("change the network of a stopped vm", change("second"), second, off),
		diskCase("remove a NIC from a running vm", remove, withSecond),
		diskCase("remove a NIC from a stopped vm", remove, withSecond, off),
		power("delete vm with two NICs", baadal.ActionVMDelete, withSecond),
		power("restore vm with two NICs", baadal.ActionVMRestore, func(tb testing.TB, c *cloud) { withSecond(tb, c); deleted(tb, c) }),
		either(diskCase("revert to a snapshot with another NIC", revert, withSecond, snapshotFirst, removedNIC)),
		either(diskCase("revert to a snapshot without the NIC", revert, snapshotFirst, withSecond)),
		either(diskCase("revert to a snapshot in another network", revert, second, snapshotFirst, inSecond)),
	}
}

func TestNICs(t *testing.T)      { tasktest.Run(t, nicCases()) }
func TestNICsChild(t *testing.T) { tasktest.Child(t, nicCases()) }

// TestNICsAreAsClaimed looks at domain, ports and reservations after each
// change, with a port that loses its tag on the way.
func TestNICsAreAsClaimed(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir())
	t.Cleanup(c.close)
	c.furnish(t)
	c.vm(t, "ml")
	vm := func() (vm baadal.VM) {
		vm, err := c.svc.VM(t.Context(), c.actor, "ml")
		if err != nil {
			t.Fatal(err)
		}
		return vm
	}
	check := func(when string, want ...string) {
		t.Helper()
		now := vm()
		var host baadal.Host
		var reserved []baadal.Reservation
		err := c.db.View(t.Context(), func(tx *store.Tx) (err error) {
			if host, err = tx.Host(now.HostID); err != nil {
				return err
			}
			reserved, err = tx.Reservations()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		told, err := c.sys.DHCP.Reservations(t.Context())
		if err != nil || len(told) != len(reserved) {
			t.Fatalf("%d reservations, %d told: %v", len(reserved), len(told), err)
		}
		domain, err := c.sys.NICPlugs.NICs(t.Context(), host, now.UUID)
		if err != nil {
			t.Fatal(err)
		}
		var got, have []string
		for _, n := range now.NICs {
			got = append(got, fmt.Sprintf("%s %d", n.MAC, n.VLAN))
			if !slices.ContainsFunc(told, func(r baadal.Reservation) bool { return r.IP == n.Address && strings.EqualFold(r.MAC, n.MAC) }) {
				t.Errorf("%s: the DHCP server does not give %s to %s", when, n.Address, n.MAC)
			}
		}
		for _, n := range domain {
			have = append(have, fmt.Sprintf("%s %d", n.MAC, n.VLAN))
			if n.Down {
				t.Errorf("%s: the link of %s is down", when, n.MAC)
			}
		}
		if !slices.Equal(got, want) || !slices.Equal(have, want) {
			t.Errorf("%s: the store has %v, the domain %v, want %v", when, got, have, want)
		}
		for _, bad := range c.world.Check() {
			t.Errorf("%s: %s", when, bad)
		}
	}
	mac := vm().MAC
	check("created", mac+" 10")
	withSecond(t, c)
	extra := vm().NICs[1].MAC
	check("with a second NIC", mac+" 10", extra+" 20")
	removedNIC(t, c)
	check("without it", mac+" 10")
	snapshotFirst(t, c)
	was := vm().Address
	inSecond(t, c)
	if vm().Address == was {
		t.Error("moved, it has its old address")
	}
	check("in another network", mac+" 20")
	ch, err := c.svc.RevertSnapshot(t.Context(), c.actor, "ml", "first", none)
	c.finish(t, ch.Task, err)
	check("reverted to a snapshot from before", mac+" 20")
	if err = c.world.SetVLAN(vm().Host, mac, 0); err != nil {
		t.Fatal(err)
	}
	report, err := c.svc.RunAudit(t.Context(), c.actor, true, none)
	c.finish(t, report.Task, err)
	check("repaired", mac+" 20")
}
