package store_test

import (
	"testing"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// wantClaimed checks how many GiB are claimed on datastores.
func wantClaimed(t *testing.T, db *store.DB, what string, want map[int64]int64) {
	t.Helper()
	view(t, db, func(tx *store.Tx) error {
		all, err := tx.AllDatastores()
		for _, d := range all {
			if got := d.Claimed >> 30; got != want[d.ID] {
				t.Errorf("%s: %s has %d GiB claimed, want %d", what, d.Name, got, want[d.ID])
			}
		}
		return err
	})
}

// TestMoveHasRoomOnBothDatastores moves a VM's first disk and an extra one: on
// their way they have room on both datastores, and so they do until what they
// left is gone.
func TestMoveHasRoomOnBothDatastores(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		vm := w.vm("moves")
		vm.DiskGiB = 4
		w.create(t, &vm)
		other := baadal.Datastore{Name: "ds2", Path: "/mnt/second"}
		extra := baadal.Disk{VMID: vm.ID, DatastoreID: w.datastore.ID, SizeGiB: 3}
		update(t, db, func(tx *store.Tx) error {
			if err := tx.CreateDatastore(&other); err != nil {
				return err
			}
			return tx.CreateDisk(&extra)
		})
		claimed := func(what string, first, second int64) {
			t.Helper()
			wantClaimed(t, db, what, map[int64]int64{w.datastore.ID: first, other.ID: second})
		}
		claim := func(tx *store.Tx) error {
			if err := tx.ClaimMove(vm.ID, 0, other.ID, 4); err != nil {
				return err
			}
			return tx.ClaimMove(vm.ID, extra.ID, other.ID, 3)
		}
		arrive := func(disk int64, want bool) {
			t.Helper()
			update(t, db, func(tx *store.Tx) error {
				changed, err := tx.ArriveDisk(vm.ID, disk, other.ID)
				if changed != want {
					t.Errorf("disk %d: changed is %t", disk, changed)
				}
				return err
			})
		}
		claimed("before", 7, 0)
		update(t, db, claim)
		claimed("on their way", 7, 7)
		wantError(t, db, baadal.Conflict, "vm_busy", func(tx *store.Tx) error { return tx.ClaimMove(vm.ID, 0, other.ID, 4) })
		wantError(t, db, baadal.Conflict, "datastore_in_use", func(tx *store.Tx) error { return tx.DeleteDatastore(other.ID) })
		wantError(t, db, baadal.Conflict, "removed", func(tx *store.Tx) error { return tx.ClaimMove(vm.ID, 99, 4711, 4) })
		for range 2 {
			update(t, db, func(tx *store.Tx) error { return tx.ReleaseMoves(vm.ID) })
			claimed("given up", 7, 0)
		}
		update(t, db, claim)
		for _, first := range []bool{true, false} {
			arrive(0, first)
			claimed("the first one has arrived", 7, 7)
		}
		for _, first := range []bool{true, false} {
			arrive(extra.ID, first)
			claimed("both have arrived", 7, 7)
		}
		update(t, db, func(tx *store.Tx) error { return tx.ReleaseMoves(vm.ID) })
		claimed("what they left is gone", 0, 7)
		view(t, db, func(tx *store.Tx) error {
			now, err := tx.VM(vm.ID)
			if err != nil {
				return err
			}
			disk, err := tx.Disk(extra.ID)
			if now.Datastore != "ds2" || now.Generation != vm.Generation+1 || disk.Datastore != "ds2" || disk.Generation != extra.Generation+1 {
				t.Errorf("after the move: on %s, generation %d; %s, %d", now.Datastore, now.Generation, disk.Datastore, disk.Generation)
			}
			return err
		})
		wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error {
			_, err := tx.ArriveDisk(vm.ID, 4711, other.ID)
			return err
		})
		update(t, db, claim)
		update(t, db, func(tx *store.Tx) error { return tx.DeleteVM(vm.ID) })
		claimed("the VM is forgotten", 0, 0)
	})
}
