package store_test

import (
	"testing"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

func TestBases(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		parent, clone := w.vm("parent"), w.vm("clone")
		w.create(t, &parent)
		w.create(t, &clone)
		first := baadal.Base{UUID: "first", DatastoreID: w.datastore.ID, Origin: parent.Identity, SizeGiB: 2, State: baadal.BaseMaking}
		second := baadal.Base{UUID: "second", DatastoreID: w.datastore.ID, Origin: parent.Identity, SizeGiB: 2, State: baadal.BaseReady}
		unused := func(want ...string) {
			t.Helper()
			view(t, db, func(tx *store.Tx) error {
				all, err := tx.UnusedBases()
				if len(all) != len(want) {
					t.Errorf("unused: %+v, want %v", all, want)
				}
				for i := range min(len(all), len(want)) {
					if all[i].UUID != want[i] {
						t.Errorf("unused: %+v, want %v", all, want)
					}
				}
				return err
			})
		}
		update(t, db, func(tx *store.Tx) error { return tx.CreateBase(&first) })
		unused() // a task makes it
		update(t, db, func(tx *store.Tx) error { return tx.SetBase(first.ID, baadal.BaseReady, 0) })
		unused("first")
		update(t, db, func(tx *store.Tx) error {
			second.ParentID = first.ID
			if err := tx.CreateBase(&second); err != nil {
				return err
			}
			for range 2 {
				if err := tx.SetVMDisk(parent.ID, "parent.1.qcow2", second.ID); err != nil {
					return err
				}
			}
			return tx.SetVMDisk(clone.ID, "", second.ID)
		})
		unused()
		view(t, db, func(tx *store.Tx) error {
			vm, err := tx.VM(parent.ID)
			if err != nil || vm.BaseID != second.ID || vm.DiskFile != "parent.1.qcow2" || vm.Generation != parent.Generation+1 {
				t.Errorf("%+v, %v", vm, err)
			}
			on, err := tx.VMsOnBase(second.ID)
			if err != nil || len(on) != 2 {
				t.Errorf("on the base: %+v, %v", on, err)
			}
			b, err := tx.Base(first.ID)
			if err != nil || b.Standing != 1 || b.ParentID != 0 {
				t.Errorf("%+v, %v", b, err)
			}
			ds, err := tx.Datastore(w.datastore.ID)
			if err != nil || ds.Claimed != 8<<30+w.template.FileSize {
				t.Errorf("claimed %d, %v", ds.Claimed, err)
			}
			names, err := tx.VMNames(w.user.ID)
			if len(names) != 2 || !names["parent"] {
				t.Errorf("names %v", names)
			}
			return err
		})
		wantError(t, db, baadal.Conflict, "base_in_use", func(tx *store.Tx) error { return tx.DeleteBase(first.ID) })
		wantError(t, db, baadal.Conflict, "base_in_use", func(tx *store.Tx) error { return tx.DeleteBase(second.ID) })
		update(t, db, func(tx *store.Tx) error {
			for _, id := range []int64{parent.ID, clone.ID} {
				if err := tx.DeleteVM(id); err != nil {
					return err
				}
			}
			return nil
		})
		unused("second")
		update(t, db, func(tx *store.Tx) error { return tx.DeleteBase(second.ID) })
		unused("first")
		update(t, db, func(tx *store.Tx) error { return tx.DeleteBase(first.ID) })
		update(t, db, func(tx *store.Tx) error { return tx.DeleteBase(first.ID) })
		wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error { _, err := tx.Base(first.ID); return err })
	})
}

func TestChildTasks(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		parent := baadal.Task{Kind: baadal.TaskVMClone, Subject: baadal.Subject{Kind: "vm", ID: 1}, Exclusive: true}
		update(t, db, func(tx *store.Tx) error {
			if err := tx.InsertTask(&parent); err != nil {
				return err
			}
			for i := range int64(3) {
				child := baadal.Task{Kind: baadal.TaskCloneCreate, Subject: baadal.Subject{Kind: "vm", ID: 2 + i}, ParentID: parent.ID, Exclusive: true}
				if err := tx.InsertTask(&child); err != nil {
					return err
				}
			}
			return nil
		})
		view(t, db, func(tx *store.Tx) error {
			children, err := tx.ChildTasks(parent.ID)
			if err != nil || len(children) != 3 || children[0].Subject.ID != 2 || children[2].ParentID != parent.ID {
				t.Errorf("%+v, %v", children, err)
			}
			again, err := tx.Task(parent.ID)
			if again.ParentID != 0 {
				t.Errorf("the parent has the parent %d", again.ParentID)
			}
			return err
		})
	})
}
