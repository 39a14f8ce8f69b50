package reconcile_test

import (
	"encoding/json"
	"testing"
	"time"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

// disk stores an extra disk of a VM and makes its file.
func (c *cloud) disk(t *testing.T, vm baadal.VM) (k baadal.Disk) {
	t.Helper()
	c.update(t, func(tx *store.Tx) error {
		k = baadal.Disk{VMID: vm.ID, DatastoreID: c.ds.ID, SizeGiB: 1}
		return tx.CreateDisk(&k)
	})
	h, err := c.world.Host(vm.Host)
	if err != nil {
		t.Fatal(err)
	}
	f := baadal.DiskFile{Datastore: c.ds, Identity: vm.Identity, UUID: vm.UUID, DiskID: k.ID, Name: k.Name}
	if err := c.world.Disks().CreateDisk(t.Context(), h, f, 1<<30); err != nil {
		t.Fatal(err)
	}
	return k
}

// TestDisksAreMeasured: what the files occupy is written down, also when the
// first host asked does not answer.
func TestDisksAreMeasured(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		vm := c.vm(t, "host1", "web")
		k := c.disk(t, vm)
		stop := c.world.Fail(simulator.Rule{Op: "disks.disk_sizes", Host: "host1", Times: -1, Before: true})
		defer stop()
		opt := rarely
		opt.HostCheck, opt.Disks = time.Second, time.Second
		c.start(opt)
		pass(5 * time.Second)
		var first baadal.Disk
		c.update(t, func(tx *store.Tx) (err error) {
			if k, err = tx.Disk(k.ID); err != nil {
				return err
			}
			first, err = tx.FirstDisk(vm)
			return err
		})
		for _, d := range []baadal.Disk{k, first} {
			if d.UsedBytes == 0 || d.MeasuredAt == nil {
				t.Errorf("%s was not measured: %+v", d.Name, d)
			}
		}
	})
}

// TestPurgeDisksAfterRetention: one task at a time for each VM, none for one
// that a task holds, none for a disk that has time left.
func TestPurgeDisksAfterRetention(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		web, busy := c.vm(t, "host1", "web"), c.vm(t, "host2", "busy")
		end := time.Now().Add(24 * time.Hour)
		remove := func(k baadal.Disk, purge time.Time) {
			c.update(t, func(tx *store.Tx) error {
				k.State, k.Target, k.PurgeAfter = baadal.DiskDeleted, "", &purge
				return tx.UpdateDisk(&k)
			})
		}
		due := c.disk(t, web)
		remove(due, end)
		remove(c.disk(t, web), end.Add(never))
		remove(c.disk(t, busy), end)
		c.disk(t, web)
		c.hold(t, baadal.TaskVMStart, busy)
		opt := rarely
		opt.Schedule = time.Second
		c.start(opt)
		c.skip(24*time.Hour - time.Minute)
		if got := c.tasks(t, baadal.TaskDiskPurge); len(got) != 0 {
			t.Errorf("too early: %+v", got)
		}
		c.skip(time.Hour)
		got := c.tasks(t, baadal.TaskDiskPurge)
		if len(got) != 1 || got[0].Subject.ID != web.ID || !got[0].Exclusive {
			t.Fatalf("tasks %+v", got)
		}
		var p struct {
			DiskID int64 `json:"disk_id"`
		}
		if err := json.Unmarshal(got[0].Params, &p); err != nil || p.DiskID != due.ID {
			t.Errorf("it purges disk %d, not %d: %v", p.DiskID, due.ID, err)
		}
	})
}
