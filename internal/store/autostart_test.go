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

// due lists the VMs that are to be started, in order.
func due(t *testing.T, db *store.DB) (names []string) {
	t.Helper()
	view(t, db, func(tx *store.Tx) error {
		all, err := tx.DueVMs()
		for _, d := range all {
			vm, err := tx.VM(d.VMID)
			if err != nil {
				return err
			}
			names = append(names, fmt.Sprintf("%s %d", vm.Name, d.Tries))
		}
		return err
	})
	return names
}

// TestHostBoots: which VMs become due when a host comes back after having been
// off.
func TestHostBoots(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 10)
		ids := map[string]int64{}
		for _, v := range []struct {
			name   string
			state  baadal.VMState
			policy baadal.Autostart
			task   baadal.TaskKind
		}{
			{"ran", baadal.VMRunning, "", ""},
			{"stood", baadal.VMPaused, baadal.AutostartLast, ""},
			{"off", baadal.VMOff, baadal.AutostartLast, ""},
			{"always", baadal.VMOff, baadal.AutostartAlways, ""},
			{"never", baadal.VMRunning, baadal.AutostartNever, ""},
			{"going", baadal.VMRunning, baadal.AutostartAlways, baadal.TaskVMShutdown},
			{"rebooting", baadal.VMRunning, baadal.AutostartLast, baadal.TaskVMReboot},
			{"new", baadal.VMInQueue, baadal.AutostartAlways, baadal.TaskVMCreate},
			{"gone", baadal.VMDeleted, baadal.AutostartAlways, ""},
		} {
			vm := w.vm(v.name)
			vm.State, vm.Autostart = v.state, v.policy
			w.create(t, &vm)
			ids[v.name] = vm.ID
			if v.task != "" {
				k := baadal.Task{Kind: v.task, Subject: baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name}, Exclusive: true}
				update(t, db, func(tx *store.Tx) error { return tx.InsertTask(&k) })
			}
		}
		boots := func(boot string, want int) {
			t.Helper()
			update(t, db, func(tx *store.Tx) error {
				n, err := tx.NoteHostBoot(w.host.ID, boot)
				if n != want {
					t.Errorf("at %q %d VMs become due, want %d", boot, n, want)
				}
				return err
			})
		}
		boots("first", 0) // nobody knows what was before
		boots("first", 0)
		boots("second", 4)
		want := []string{"always 3", "ran 3", "stood 3", "rebooting 3"}
		if d := cmp.Diff(want, due(t, db)); d != "" {
			t.Error(d)
		}
		update(t, db, func(tx *store.Tx) error {
			if err := tx.ForgetDue(ids["stood"]); err != nil {
				return err
			}
			if _, _, err := tx.SetVMState(ids["ran"], baadal.VMOff, ""); err != nil {
				return err
			}
			return tx.UpdateDue(store.Due{VMID: ids["ran"], Tries: 1, RunAfter: tx.Now().Add(time.Hour)})
		})
		if d := cmp.Diff([]string{"always 3", "ran 1", "rebooting 3"}, due(t, db)); d != "" {
			t.Error(d)
		}
		boots("third", 4) // what was not started yet is not forgotten, and begins anew
		if d := cmp.Diff(want, due(t, db)); d != "" {
			t.Error(d)
		}
		update(t, db, func(tx *store.Tx) error {
			_, err := tx.NoteHostBoot(999, "x")
			if baadal.KindOf(err) != baadal.NotFound {
				t.Errorf("the boot of a host that there is not: %v", err)
			}
			return nil
		})
	})
}

// TestStartsOnHost counts what the cloud itself starts.
func TestStartsOnHost(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 10)
		system := baadal.System().User
		for i, k := range []baadal.Task{
			{Kind: baadal.TaskVMStart, RequesterID: system.ID, HostID: w.host.ID},
			{Kind: baadal.TaskVMStart, RequesterID: w.user.ID, HostID: w.host.ID},
			{Kind: baadal.TaskVMStart, RequesterID: system.ID, HostID: w.host.ID + 1},
			{Kind: baadal.TaskVMPurge, RequesterID: system.ID, HostID: w.host.ID},
		} {
			k.Subject, k.Exclusive = baadal.Subject{Kind: "vm", ID: int64(i + 1)}, true
			update(t, db, func(tx *store.Tx) error { return tx.InsertTask(&k) })
		}
		view(t, db, func(tx *store.Tx) error {
			n, err := tx.StartsOnHost(w.host.ID)
			if n != 1 {
				t.Errorf("%d starts are counted", n)
			}
			return err
		})
	})
}
