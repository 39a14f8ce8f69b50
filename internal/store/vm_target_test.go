package store_test

import (
	"testing"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// TestVMTargetCountsOnBothHosts moves a VM: on its way it has room on both
// hosts, afterwards on the new one only, and when it is given up on the old one
// only.
func TestVMTargetCountsOnBothHosts(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		other := baadal.Host{Name: "h2", Address: "10.0.0.2", SSHPort: 22, SSHUser: "root", HostKey: "k", Fingerprint: "f", State: baadal.HostUp}
		update(t, db, func(tx *store.Tx) error { return tx.CreateHost(&other) })
		vm, off := w.vm("moves"), w.vm("stays")
		vm.VCPUs, vm.RAMMiB = 2, 1024
		w.create(t, &vm)
		w.create(t, &off)
		claimed := func(what string, h1CPUs, h1RAM, h2CPUs, h2RAM int) {
			t.Helper()
			view(t, db, func(tx *store.Tx) error {
				all, err := tx.AllHosts()
				if err != nil {
					return err
				}
				for _, h := range all {
					one, err := tx.Host(h.ID)
					if err != nil {
						return err
					}
					cpus, ram := h1CPUs, h1RAM
					if h.ID == other.ID {
						cpus, ram = h2CPUs, h2RAM
					}
					if h.ClaimedVCPUs != cpus || h.ClaimedRAMMiB != ram || one.ClaimedVCPUs != cpus || one.ClaimedRAMMiB != ram {
						t.Errorf("%s: %s has %d vCPUs and %d MiB, by itself %d and %d, want %d and %d",
							what, h.Name, h.ClaimedVCPUs, h.ClaimedRAMMiB, one.ClaimedVCPUs, one.ClaimedRAMMiB, cpus, ram)
					}
				}
				return nil
			})
		}
		claimed("before", 3, 1536, 0, 0)
		claim := func(tx *store.Tx) error { return tx.ClaimVMTarget(vm.ID, other.ID) }
		update(t, db, claim)
		claimed("on its way", 3, 1536, 2, 1024)
		wantError(t, db, baadal.Conflict, "host_in_use", func(tx *store.Tx) error { return tx.DeleteHost(other.ID) })
		for range 2 {
			update(t, db, func(tx *store.Tx) error { return tx.ReleaseVMTarget(vm.ID) })
			claimed("given up", 3, 1536, 0, 0)
		}
		update(t, db, claim)
		for range 2 {
			update(t, db, func(tx *store.Tx) error { return tx.MoveVM(vm.ID, other.ID, "it was asked for") })
			claimed("moved", 1, 512, 2, 1024)
		}
		view(t, db, func(tx *store.Tx) error {
			now, err := tx.VM(vm.ID)
			if now.Host != "h2" || now.Placement != "it was asked for" || now.Generation != vm.Generation+1 {
				t.Errorf("after the move: %+v", now)
			}
			return err
		})
	})
}

// TestIgnoredMigrationGivesItsTargetBack sets a failed migration aside.
func TestIgnoredMigrationGivesItsTargetBack(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 1)
		vm := w.vm("held")
		w.create(t, &vm)
		task := baadal.Task{Kind: baadal.TaskVMMigrate, Subject: baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name}, Exclusive: true}
		update(t, db, func(tx *store.Tx) error {
			if err := tx.ClaimVMTarget(vm.ID, w.host.ID); err != nil {
				return err
			}
			return tx.InsertTask(&task)
		})
		update(t, db, func(tx *store.Tx) error {
			if _, err := tx.LeaseTasks("me", tx.Now(), 8, 8); err != nil {
				return err
			}
			task.State = baadal.TaskFailed
			return tx.SaveTask(&task, "me", true, tx.Now())
		})
		update(t, db, func(tx *store.Tx) error { return tx.IgnoreTask(task.ID) })
		view(t, db, func(tx *store.Tx) error {
			h, err := tx.Host(w.host.ID)
			if h.ClaimedVCPUs != 1 {
				t.Errorf("%d vCPUs are claimed, want 1", h.ClaimedVCPUs)
			}
			return err
		})
	})
}
