package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// wantUnused checks which bases nothing stands on, by their UUIDs.
func wantUnused(t *testing.T, db *store.DB, want ...string) {
	t.Helper()
	view(t, db, func(tx *store.Tx) error {
		all, err := tx.UnusedBases()
		var got []string
		for _, b := range all {
			got = append(got, b.UUID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("unused: %v, want %v", got, want)
		}
		return err
	})
}

func TestBases(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		parent, clone := w.vm("parent"), w.vm("clone")
		w.create(t, &parent)
		w.create(t, &clone)
		first := baadal.Base{UUID: "first", DatastoreID: w.datastore.ID, Origin: parent.Identity, SizeGiB: 2, State: baadal.BaseMaking}
		second := baadal.Base{UUID: "second", DatastoreID: w.datastore.ID, Origin: parent.Identity, SizeGiB: 2, State: baadal.BaseReady}
		unused := func(want ...string) { t.Helper(); wantUnused(t, db, want...) }
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

// chainWorld is a VM with an extra disk, and a chain of bases, each on the one
// before.
func chainWorld(t *testing.T, db *store.DB, n int) (vm baadal.VM, k baadal.Disk, bases []baadal.Base) {
	t.Helper()
	w := newWorld(t, db, 3)
	vm = w.vm("deep")
	w.create(t, &vm)
	update(t, db, func(tx *store.Tx) error {
		k = baadal.Disk{VMID: vm.ID, DatastoreID: w.datastore.ID, SizeGiB: 2, Target: "vdd"}
		if err := tx.CreateDisk(&k); err != nil {
			return err
		}
		parent := int64(0)
		for i := range n {
			b := baadal.Base{UUID: fmt.Sprint("base", i), DatastoreID: w.datastore.ID, ParentID: parent, Origin: "o", SizeGiB: 1, State: baadal.BaseReady}
			if err := tx.CreateBase(&b); err != nil {
				return err
			}
			bases, parent = append(bases, b), b.ID
		}
		return nil
	})
	return vm, k, bases
}

func TestDisksOnBases(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		vm, k, bases := chainWorld(t, db, 3)
		if k.Target != "vdd" || k.File != "" || k.FileName() != k.Name {
			t.Errorf("%+v", k)
		}
		top := bases[2]
		update(t, db, func(tx *store.Tx) error {
			for range 2 {
				if err := tx.SetDisk(k.ID, "over.qcow2", top.ID); err != nil {
					return err
				}
			}
			return tx.SetDiskSizes(k.DatastoreID, []baadal.DiskSize{{File: "over.qcow2", Bytes: 77}, {File: k.Name, Bytes: 1}})
		})
		deep := func(limit int, want ...store.DeepVM) {
			t.Helper()
			view(t, db, func(tx *store.Tx) error {
				got, err := tx.DeepVMs(limit)
				if diff := cmp.Diff(want, got); len(want)+len(got) > 0 && diff != "" {
					t.Errorf("deeper than %d: %s", limit, diff)
				}
				return err
			})
		}
		view(t, db, func(tx *store.Tx) error {
			now, err := tx.Disk(k.ID)
			if err != nil || now.FileName() != "over.qcow2" || now.BaseID != top.ID || now.UsedBytes != 77 || now.Generation != k.Generation+1 {
				t.Errorf("%+v, %v", now, err)
			}
			b, err := tx.Base(top.ID)
			if err != nil || b.Standing != 1 {
				t.Errorf("%+v, %v", b, err)
			}
			unused, err := tx.UnusedBases()
			if len(unused) > 0 {
				t.Errorf("unused: %+v", unused)
			}
			return err
		})
		deep(2, store.DeepVM{ID: vm.ID, Depth: 3})
		deep(3)
		wantError(t, db, baadal.Conflict, "base_in_use", func(tx *store.Tx) error { return tx.DeleteBase(top.ID) })
		update(t, db, func(tx *store.Tx) error { return tx.SetVMDisk(vm.ID, "", bases[0].ID) })
		deep(0, store.DeepVM{ID: vm.ID, Depth: 3})
		update(t, db, func(tx *store.Tx) error { return tx.SetDisk(k.ID, "", 0) })
		deep(0, store.DeepVM{ID: vm.ID, Depth: 1})
		update(t, db, func(tx *store.Tx) error { return tx.DeleteBase(top.ID) })
	})
}

func TestFailedSince(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var ended time.Time
		update(t, db, func(tx *store.Tx) error {
			for i, state := range []baadal.TaskState{baadal.TaskSuccess, baadal.TaskFailed} {
				k := baadal.Task{Kind: baadal.TaskDiskFlatten, Subject: baadal.Subject{Kind: "vm", ID: int64(i + 1)}, ParentID: 77}
				if err := tx.InsertTask(&k); err != nil {
					return err
				}
				leased, err := tx.LeaseTasks(fmt.Sprint("lease", i), tx.Now().Add(time.Minute), 8, 1)
				if err != nil || len(leased) != 1 {
					return fmt.Errorf("leased %d: %w", len(leased), err)
				}
				if open, err := tx.OpenChildren(77); err != nil || open != 1 {
					t.Errorf("%d are open, %v", open, err)
				}
				ended = tx.Now()
				leased[0].State, leased[0].EndedAt = state, &ended
				if err := tx.SaveTask(&leased[0], fmt.Sprint("lease", i), false, time.Time{}); err != nil {
					return err
				}
			}
			return nil
		})
		view(t, db, func(tx *store.Tx) error {
			for since, want := range map[time.Time]map[int64]bool{ended.Add(-time.Second): {2: true}, ended.Add(time.Second): {}} {
				got, err := tx.FailedSince(baadal.TaskDiskFlatten, since)
				if err != nil {
					return err
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			}
			open, err := tx.OpenChildren(77)
			if open != 0 {
				t.Errorf("%d are open", open)
			}
			return err
		})
	})
}
