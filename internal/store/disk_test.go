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

// newDisk stores an extra disk of a VM.
func (w *world) newDisk(t *testing.T, vm baadal.VM, gib int) (k baadal.Disk) {
	t.Helper()
	update(t, w.db, func(tx *store.Tx) error {
		k = baadal.Disk{VMID: vm.ID, DatastoreID: w.datastore.ID, SizeGiB: gib}
		return tx.CreateDisk(&k)
	})
	return k
}

func (w *world) claimed(t *testing.T) (bytes int64) {
	t.Helper()
	view(t, w.db, func(tx *store.Tx) error {
		d, err := tx.Datastore(w.datastore.ID)
		bytes = d.Claimed
		return err
	})
	return bytes
}

func TestDiskClaimsNameTargetAndRoom(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 4)
		vm := w.vm("web")
		w.create(t, &vm)
		empty := w.claimed(t)
		a, b := w.newDisk(t, vm, 5), w.newDisk(t, vm, 7)
		if a.Name != "IITD_asha_web_disk1.qcow2" || b.Name != "IITD_asha_web_disk2.qcow2" || a.Target != "vdb" || b.Target != "vdc" ||
			a.State != baadal.DiskCreating || a.VM != "web" || a.Datastore != "ds1" || a.Serial != baadal.DiskSerial(a.ID) {
			t.Errorf("%+v\n%+v", a, b)
		}
		if got := w.claimed(t) - empty; got != 12<<30 {
			t.Errorf("12 GiB of disks claim %d bytes", got)
		}
		// A detached disk gives its target back, and nothing else.
		update(t, db, func(tx *store.Tx) error {
			a.State, a.Target = baadal.DiskDetached, ""
			return tx.UpdateDisk(&a)
		})
		c := w.newDisk(t, vm, 1)
		if c.Target != "vdb" || c.Name != "IITD_asha_web_disk3.qcow2" {
			t.Errorf("the third is %+v", c)
		}
		wantError(t, db, baadal.Conflict, "target_taken", func(tx *store.Tx) error {
			taken := a
			taken.Target = "vdb"
			return tx.UpdateDisk(&taken)
		})
		wantError(t, db, baadal.Stale, "stale", func(tx *store.Tx) error { old := a; old.Generation--; return tx.UpdateDisk(&old) })
		wantError(t, db, baadal.Conflict, "datastore_in_use", func(tx *store.Tx) error { return tx.DeleteDatastore(w.datastore.ID) })
		update(t, db, func(tx *store.Tx) error { return tx.DeleteVM(vm.ID) })
		if got := w.claimed(t); got != empty-2<<30 {
			t.Errorf("%d bytes stay claimed, %d before", got, empty)
		}
	})
}

// TestDiskNamesOfOneIdentity: a deleted VM keeps its disks' names while it can
// be restored, so another VM of the same name gets others. An underscore in a
// name is no wildcard.
func TestDiskNamesOfOneIdentity(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 4)
		old, near := w.vm("a_b"), w.vm("axb")
		w.create(t, &old)
		w.create(t, &near)
		w.newDisk(t, near, 1)
		if k := w.newDisk(t, old, 1); k.Name != "IITD_asha_a_b_disk1.qcow2" {
			t.Errorf("named %s beside a disk of another VM", k.Name)
		}
		update(t, db, func(tx *store.Tx) error {
			_, _, err := tx.SetVMState(old.ID, baadal.VMDeleted, "")
			return err
		})
		again := w.vm("a_b")
		again.UUID = "00000000-0000-4000-8000-999999999999"
		w.create(t, &again)
		if k := w.newDisk(t, again, 1); k.Name != "IITD_asha_a_b_disk2.qcow2" {
			t.Errorf("the new VM's disk is named %s", k.Name)
		}
	})
}

func TestTooManyDisks(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 2)
		vm := w.vm("web")
		w.create(t, &vm)
		for i := range baadal.MaxExtraDisks {
			if k := w.newDisk(t, vm, 1); k.Target != baadal.DiskTarget(i+1) {
				t.Errorf("disk %d is %s", i+1, k.Target)
			}
		}
		wantError(t, db, baadal.Exhausted, "no_target", func(tx *store.Tx) error {
			return tx.CreateDisk(&baadal.Disk{VMID: vm.ID, DatastoreID: w.datastore.ID, SizeGiB: 1})
		})
	})
}

// TestDisksAtOnce makes disks of one VM in parallel transactions: no name and
// no target is given out twice.
func TestDisksAtOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 2)
		vm := w.vm("web")
		w.create(t, &vm)
		outcome := parallel(10, func(int) error {
			return db.Update(t.Context(), func(tx *store.Tx) error {
				return tx.CreateDisk(&baadal.Disk{VMID: vm.ID, DatastoreID: w.datastore.ID, SizeGiB: 1})
			})
		})
		if outcome[""] != 10 {
			t.Error(outcome)
		}
		view(t, db, func(tx *store.Tx) error {
			all, err := tx.ExtraDisks(vm.ID)
			if len(all) != 10 {
				t.Errorf("%d disks", len(all))
			}
			return err
		})
	})
}

func TestDiskByRef(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 2)
		vm, other := w.vm("web"), w.vm("other")
		w.create(t, &vm)
		w.create(t, &other)
		k := w.newDisk(t, vm, 1)
		foreign := w.newDisk(t, other, 1)
		for ref, want := range map[string]int64{
			"vda": 0, "IITD_asha_web": 0, "vdb": k.ID, k.Name: k.ID, "IITD_asha_web_disk1": k.ID, k.Serial: k.ID, fmt.Sprint(k.ID): k.ID,
		} {
			view(t, db, func(tx *store.Tx) error {
				got, err := tx.DiskByRef(vm, ref)
				if err == nil && (got.ID != want || got.VM != "web") {
					t.Errorf("%s is %+v", ref, got)
				}
				return err
			})
		}
		for _, ref := range []string{"", "0", "vdz", foreign.Name, fmt.Sprint(foreign.ID)} {
			wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error { _, err := tx.DiskByRef(vm, ref); return err })
		}
	})
}

func TestDiskSizesAndLimits(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 2)
		vm := w.vm("web")
		w.create(t, &vm)
		k := w.newDisk(t, vm, 1)
		first := vm.Identity + ".qcow2"
		look := func() (used [2]int64, f baadal.Disk) {
			view(t, db, func(tx *store.Tx) (err error) {
				if f, err = tx.FirstDisk(vm); err != nil {
					return err
				}
				d, err := tx.Disk(k.ID)
				used = [2]int64{f.UsedBytes, d.UsedBytes}
				return err
			})
			return used, f
		}
		for _, step := range []struct {
			sizes []baadal.DiskSize
			want  [2]int64
		}{
			{nil, [2]int64{}},
			{[]baadal.DiskSize{{File: first, Bytes: 3}, {File: k.Name, Bytes: 4}}, [2]int64{3, 4}},
			{[]baadal.DiskSize{{File: first, Bytes: 5}}, [2]int64{5, 0}},
		} {
			update(t, db, func(tx *store.Tx) error { return tx.SetDiskSizes(w.datastore.ID, step.sizes) })
			if got, _ := look(); got != step.want {
				t.Errorf("used %v, want %v", got, step.want)
			}
		}
		_, f := look()
		for _, want := range []baadal.DiskLimit{{BytesPerSecond: 1 << 20, IOPS: 100}, {}} {
			f.BytesPerSecond, f.IOPS = want.BytesPerSecond, want.IOPS
			update(t, db, func(tx *store.Tx) error { return tx.UpdateDisk(&f) })
			_, got := look()
			if d := cmp.Diff(want, baadal.DiskLimit{BytesPerSecond: got.BytesPerSecond, IOPS: got.IOPS}); d != "" {
				t.Error(d)
			}
		}
	})
}

func TestPurgeableDisks(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 4)
		vm, gone := w.vm("web"), w.vm("gone")
		w.create(t, &vm)
		w.create(t, &gone)
		due, later, ofGone := w.newDisk(t, vm, 1), w.newDisk(t, vm, 1), w.newDisk(t, gone, 1)
		w.newDisk(t, vm, 1)
		past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		update(t, db, func(tx *store.Tx) error {
			for k, at := range map[*baadal.Disk]*time.Time{&due: &past, &later: &future, &ofGone: &past} {
				k.State, k.PurgeAfter, k.Target = baadal.DiskDeleted, at, ""
				if err := tx.UpdateDisk(k); err != nil {
					return err
				}
			}
			_, _, err := tx.SetVMState(gone.ID, baadal.VMDeleted, "")
			return err
		})
		view(t, db, func(tx *store.Tx) error {
			all, err := tx.PurgeableDisks()
			if len(all) != 1 || all[0].ID != due.ID {
				t.Errorf("%+v", all)
			}
			return err
		})
		update(t, db, func(tx *store.Tx) error { return tx.DeleteDisk(due.ID) })
		wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error { _, err := tx.Disk(due.ID); return err })
	})
}
