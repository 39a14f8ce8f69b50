package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// nics are a VM's NICs in short.
func nics(t *testing.T, db *store.DB, vmID int64) (all []string) {
	t.Helper()
	view(t, db, func(tx *store.Tx) error {
		found, err := tx.NICs(vmID)
		for _, n := range found {
			all = append(all, fmt.Sprintf("%d %s %s %s %s/%d", n.Index, n.Network, n.Address, n.MAC, n.Portgroup, n.VLAN))
		}
		return err
	})
	return all
}

func TestNICs(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		var second, third baadal.Network
		update(t, db, func(tx *store.Tx) (err error) {
			if second, err = w.addNetwork(tx, "second", 20, 2); err != nil {
				return err
			}
			third, err = w.addNetwork(tx, "third", 30, 1)
			return err
		})
		vm, other := w.vm("vm"), w.vm("other")
		w.create(t, &vm)
		w.create(t, &other)
		add := func(network int64) func(*store.Tx) error {
			return func(tx *store.Tx) error { _, err := tx.AddNIC(vm.ID, network); return err }
		}
		update(t, db, add(second.ID))
		update(t, db, add(third.ID))
		first := fmt.Sprintf("0 lab %s %s vlan10/10", vm.Address, vm.MAC)
		want := []string{first, "1 second 10.20.0.10 A2:00:00:14:00:00 vlan20/20", "2 third 10.30.0.10 A2:00:00:1E:00:00 vlan30/30"}
		if diff := cmp.Diff(want, nics(t, db, vm.ID)); diff != "" {
			t.Error(diff)
		}
		wantError(t, db, baadal.Exhausted, "no_address", add(third.ID))

		// It is deleted and restored; meanwhile another has taken one of its addresses.
		update(t, db, func(tx *store.Tx) error { return tx.ReleaseAddress(vm.ID) })
		update(t, db, func(tx *store.Tx) error { return tx.ReleaseAddress(vm.ID) })
		if got := nics(t, db, vm.ID); len(got) != 0 {
			t.Errorf("it has given back all, and has %v", got)
		}
		update(t, db, func(tx *store.Tx) error { _, err := tx.AddNIC(other.ID, second.ID); return err })
		update(t, db, func(tx *store.Tx) error { return tx.ReclaimAddress(vm.NetworkID, vm.ID) })
		want[1] = "1 second 10.20.0.11 A2:00:00:14:00:01 vlan20/20"
		if diff := cmp.Diff(want, nics(t, db, vm.ID)); diff != "" {
			t.Error(diff)
		}

		update(t, db, func(tx *store.Tx) error { return tx.DropNIC(vm.ID, 1) })
		update(t, db, add(second.ID)) // the number that is free
		if diff := cmp.Diff(want, nics(t, db, vm.ID)); diff != "" {
			t.Error(diff)
		}
		view(t, db, func(tx *store.Tx) error {
			all, err := tx.AllNICs()
			if err != nil {
				return err
			}
			here, err := tx.NICsOnHost(w.host.ID)
			if len(all[vm.ID]) != 3 || len(all[other.ID]) != 2 || !cmp.Equal(all, here) {
				t.Errorf("all NICs: %v, on the host: %v", all, here)
			}
			return err
		})
		list := func(filter string) (n int) {
			view(t, db, func(tx *store.Tx) error {
				l, err := tx.VMs(baadal.ListQuery{Filter: filter, Limit: 10}, anyone)
				n = len(l.Items)
				return err
			})
			return n
		}
		for filter, want := range map[string]int{"network:second": 2, "network:third": 1, "network:lab": 2, "address:10.20.0.11": 1, "mac:a2:00:00:1e:00:00": 1} {
			if got := list(filter); got != want {
				t.Errorf("%s finds %d VMs, want %d", filter, got, want)
			}
		}
		update(t, db, func(tx *store.Tx) error { return tx.DeleteVM(vm.ID) })
		update(t, db, func(tx *store.Tx) error { return tx.DeleteNetwork(third.ID) })
	})
}

// TestRestoreWithoutNetwork: what cannot be had again is left out.
func TestRestoreWithoutNetwork(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		vm := w.vm("vm")
		w.create(t, &vm)
		update(t, db, func(tx *store.Tx) error {
			n, err := w.addNetwork(tx, "second", 20, 2)
			if err != nil {
				return err
			}
			if _, err := tx.AddNIC(vm.ID, n.ID); err != nil {
				return err
			}
			if err := tx.ReleaseAddress(vm.ID); err != nil {
				return err
			}
			return tx.DeleteNetwork(n.ID)
		})
		update(t, db, func(tx *store.Tx) error { return tx.ReclaimAddress(vm.NetworkID, vm.ID) })
		if got := nics(t, db, vm.ID); len(got) != 1 {
			t.Errorf("it has %v", got)
		}
	})
}

func TestChangeNIC(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		var second baadal.Network
		update(t, db, func(tx *store.Tx) (err error) { second, err = w.addNetwork(tx, "second", 20, 2); return err })
		vm := w.vm("vm")
		w.create(t, &vm)
		reservations := func() (all []baadal.Reservation) {
			view(t, db, func(tx *store.Tx) (err error) { all, err = tx.Reservations(); return err })
			return all
		}
		begin, before := nics(t, db, vm.ID), reservations()
		change := func(tx *store.Tx) error { _, err := tx.ChangeNIC(vm.ID, 0, second.ID); return err }
		update(t, db, change)
		want := []string{fmt.Sprintf("0 second 10.20.0.10 %s vlan20/20", vm.MAC)}
		changed := func() {
			t.Helper()
			if diff := cmp.Diff(want, nics(t, db, vm.ID)); diff != "" {
				t.Error(diff)
			}
			view(t, db, func(tx *store.Tx) error {
				now, err := tx.VM(vm.ID)
				if now.Network != "second" || now.VLAN != 20 || now.Address != "10.20.0.10" || now.MAC != vm.MAC || now.Generation <= vm.Generation {
					t.Errorf("%+v", now)
				}
				return err
			})
		}
		changed()
		wantError(t, db, baadal.Conflict, "network_in_use", func(tx *store.Tx) error { return tx.SetNetworkDeleting(w.network.ID, true) }) // it may have to go back

		// Undone: the MAC first, so that the DHCP server can be told; twice, as after a crash.
		for range 2 {
			update(t, db, func(tx *store.Tx) error { return tx.ReturnMAC(vm.ID, 0, vm.MAC) })
		}
		if diff := cmp.Diff(before, reservations()); diff != "" {
			t.Error(diff)
		}
		for range 2 {
			update(t, db, func(tx *store.Tx) error { return tx.NICStayed(vm.ID, 0, vm.MAC) })
		}
		if diff := cmp.Diff(begin, nics(t, db, vm.ID)); diff != "" {
			t.Error(diff)
		}

		update(t, db, change)
		for range 2 {
			update(t, db, func(tx *store.Tx) error { return tx.NICArrived(vm.ID, 0) })
		}
		changed()
		update(t, db, func(tx *store.Tx) error { return tx.ReturnMAC(vm.ID, 0, vm.MAC) }) // nothing to return
		changed()
		view(t, db, func(tx *store.Tx) error {
			claimed, err := tx.ClaimedAddresses()
			if len(claimed) != 1 || claimed[0].IP != "10.20.0.10" {
				t.Errorf("claimed: %+v", claimed)
			}
			return err
		})
		next := w.vm("next")
		w.create(t, &next) // has the old address, with another MAC
		if next.Address != vm.Address || next.MAC != "A2:00:00:14:00:00" {
			t.Errorf("the next VM has %s %s", next.Address, next.MAC)
		}
	})
}

// TestWhatLeadsToANICFollows: after a change of the first NIC's network, what
// leads to it from outside is in force only when the NAT box knows.
func TestWhatLeadsToANICFollows(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		vm := w.vm("vm")
		w.create(t, &vm)
		var second baadal.Network
		f := baadal.Forward{VMID: vm.ID, Service: baadal.ForwardPort, Protocol: baadal.TCP, Port: 22, ExpiresAt: db.Now().Add(time.Hour), ByID: vm.OwnerID}
		update(t, db, func(tx *store.Tx) (err error) {
			if second, err = w.addNetwork(tx, "second", 20, 2); err != nil {
				return err
			}
			if _, err := tx.AddPublics(publicFirst, publicFirst); err != nil {
				return err
			}
			if _, err := tx.ClaimPublic(vm.ID); err != nil {
				return err
			}
			return tx.AddForward(&f, 50000, 50001)
		})
		reach := func() { // the box has all
			update(t, db, func(tx *store.Tx) error {
				s, err := tx.NATState()
				if err != nil {
					return err
				}
				_, err = tx.SetNATState(s.Revision, "")
				return err
			})
		}
		applied := func(when string, want bool) {
			t.Helper()
			view(t, db, func(tx *store.Tx) error {
				publics, err := tx.Publics(baadal.ListQuery{})
				if err != nil {
					return err
				}
				forward, err := tx.Forward(f.ID, f.Service)
				if publics.Items[0].Applied != want || forward.Applied != want {
					t.Errorf("%s: the address is in force %t, the port %t, want %t", when, publics.Items[0].Applied, forward.Applied, want)
				}
				return err
			})
		}
		reach()
		applied("before", true)
		update(t, db, func(tx *store.Tx) error { _, err := tx.ChangeNIC(vm.ID, 0, second.ID); return err })
		applied("changed", false)
		reach()
		applied("changed, and known", true)
		update(t, db, func(tx *store.Tx) error { return tx.NICStayed(vm.ID, 0, vm.MAC) })
		applied("undone", false)
	})
}
