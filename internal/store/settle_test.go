package store_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// failed stores a task that failed; active says that its undo is still owed.
func failed(tx *store.Tx, kind baadal.TaskKind, s baadal.Subject, params string, active bool) (int64, error) {
	t := baadal.Task{Kind: kind, Subject: s, Params: json.RawMessage(params), Exclusive: true}
	if err := tx.InsertTask(&t); err != nil {
		return 0, err
	}
	lease := fmt.Sprint("worker", t.ID)
	if _, err := tx.LeaseTasks(lease, tx.Now().Add(time.Minute), 8, 16); err != nil {
		return 0, err
	}
	t.State = baadal.TaskFailed
	return t.ID, tx.SaveTask(&t, lease, active, time.Time{})
}

// ignoreOwed sets such a task aside.
func ignoreOwed(kind baadal.TaskKind, s baadal.Subject, params string) func(tx *store.Tx) error {
	return func(tx *store.Tx) error {
		id, err := failed(tx, kind, s, params, true)
		if err != nil {
			return err
		}
		return tx.IgnoreTask(id)
	}
}

// TestIgnoredNICChange: the NIC has its old address with its MAC, nothing else
// is claimed, and the next change is no different.
func TestIgnoredNICChange(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 2)
		vm := w.vm("vm")
		w.create(t, &vm)
		var second baadal.Network
		update(t, db, func(tx *store.Tx) (err error) { second, err = w.addNetwork(tx, "second", 20, 2); return err })
		before := nics(t, db, vm.ID)
		params := fmt.Sprintf(`{"index": 0, "mac": %q}`, vm.MAC)
		for _, returned := range []bool{false, true} { // how far the undo came
			update(t, db, func(tx *store.Tx) error { _, err := tx.ChangeNIC(vm.ID, 0, second.ID); return err })
			if returned {
				update(t, db, func(tx *store.Tx) error { return tx.ReturnMAC(vm.ID, 0, vm.MAC) })
			}
			update(t, db, ignoreOwed(baadal.TaskNICChange, baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name}, params))
			if diff := cmp.Diff(before, nics(t, db, vm.ID)); diff != "" {
				t.Errorf("MAC returned %t: %s", returned, diff)
			}
			view(t, db, func(tx *store.Tx) error {
				claimed, err := tx.ClaimedAddresses()
				if len(claimed) != 1 {
					t.Errorf("MAC returned %t: claimed are %+v", returned, claimed)
				}
				return err
			})
		}
	})
}

// TestIgnoredNetworkTasks: a network is as if the task had never been.
func TestIgnoredNetworkTasks(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		id := w.network.ID
		lab := baadal.Subject{Kind: "network", ID: id, Name: w.network.Name}
		before := rangesOf(t, db, id)
		reserved := func(after baadal.TaskKind) {
			t.Helper()
			view(t, db, func(tx *store.Tx) error {
				all, err := tx.Reservations()
				if len(all) != 3 {
					t.Errorf("%s ignored: %d reservations", after, len(all))
				}
				return err
			})
			if diff := cmp.Diff(before, rangesOf(t, db, id)); diff != "" {
				t.Errorf("%s ignored: %s", after, diff)
			}
		}
		update(t, db, func(tx *store.Tx) error { return tx.SetNetworkDeleting(id, true) })
		update(t, db, ignoreOwed(baadal.TaskNetworkDelete, lab, ""))
		reserved(baadal.TaskNetworkDelete)
		update(t, db, func(tx *store.Tx) error {
			return tx.AddAddresses(&w.network, []baadal.Address{{IP: "10.10.1.0", MAC: "A2:00:00:FF:00:01"}})
		})
		update(t, db, ignoreOwed(baadal.TaskNetworkGrow, lab, ""))
		reserved(baadal.TaskNetworkGrow)
		update(t, db, retire(id, "10.10.0.11", "10.10.0.12"))
		update(t, db, ignoreOwed(baadal.TaskNetworkShrink, lab, ""))
		reserved(baadal.TaskNetworkShrink)

		// A built-in one cannot be deleted: it must not stay half-made.
		n := baadal.Network{Name: "b", Builtin: "B", Bridge: "ovs-net"}
		update(t, db, func(tx *store.Tx) error {
			if err := tx.CreateNetwork(&n, nil); err != nil {
				return err
			}
			n.VLAN, n.CIDR, n.Portgroup = 77, "10.77.0.0/24", "vlan77"
			if err := tx.FillNetwork(&n, []baadal.Address{{IP: "10.77.0.1", MAC: "A2:00:00:FF:FF:FE"}}); err != nil {
				return err
			}
			return tx.SetNetworkDeleting(n.ID, true)
		})
		update(t, db, ignoreOwed(baadal.TaskNetworkApply, baadal.Subject{Kind: "network", ID: n.ID, Name: n.Name}, ""))
		reserved(baadal.TaskNetworkApply)
		view(t, db, func(tx *store.Tx) error {
			now, err := tx.Network(n.ID)
			if now.VLAN != 0 || now.CIDR != "" || now.Addresses != 0 {
				t.Errorf("%+v", now)
			}
			return err
		})
	})
}

// TestIgnoredTaskLeavesTheNextAlone: a task that was undone long ago is set
// aside while another one is at work.
func TestIgnoredTaskLeavesTheNextAlone(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 1)
		vm := w.vm("moves")
		w.create(t, &vm)
		s := baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name}
		other := baadal.Host{Name: "h2", Address: "10.0.0.2", SSHPort: 22, SSHUser: "root", HostKey: "k", Fingerprint: "f", State: baadal.HostUp}
		var old int64
		update(t, db, func(tx *store.Tx) (err error) {
			if old, err = failed(tx, baadal.TaskVMReboot, s, "", false); err != nil {
				return err
			}
			if err := tx.CreateHost(&other); err != nil {
				return err
			}
			if err := tx.ClaimVMTarget(vm.ID, other.ID); err != nil {
				return err
			}
			return tx.InsertTask(&baadal.Task{Kind: baadal.TaskVMMigrate, Subject: s, Exclusive: true})
		})
		update(t, db, func(tx *store.Tx) error { return tx.IgnoreTask(old) })
		view(t, db, func(tx *store.Tx) error {
			h, err := tx.Host(other.ID)
			if h.ClaimedVCPUs != 1 {
				t.Errorf("%d vCPUs are claimed on the way to %s, want 1", h.ClaimedVCPUs, h.Name)
			}
			return err
		})
	})
}
