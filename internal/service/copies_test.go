package service_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// TestCopiesKeepLimitsAndFirewall: a clone of a VM, and a VM made of its backup,
// may do no more than the VM might, also when that is gone for good.
func TestCopiesKeepLimitsAndFirewall(t *testing.T) {
	t.Parallel()
	c := newCloudOn(t, storetest.Open(t), simulator.Config{Hosts: 2})
	c.furnish(t, baadal.HostFacts{CPUs: 16, RAMMiB: 65536}, "10.0.1.0/28")
	ctx := t.Context()
	vm := c.create(t, c.admin, baadal.VMCreate{Name: "ml"})
	limit, err := c.LimitDisk(ctx, c.admin, "ml", "vda", baadal.DiskLimit{BytesPerSecond: 1 << 20, IOPS: 100}, plain)
	must(t, err)
	c.run(t, limit.Task)
	web, err := c.CreateSecGroup(ctx, c.admin, baadal.SecGroupCreate{Name: "web"}, plain)
	must(t, err)
	dropped, err := c.CreateSecGroup(ctx, c.admin, baadal.SecGroupCreate{Name: "dropped"}, plain)
	must(t, err)
	c.update(t, func(tx *store.Tx) error {
		return tx.SetVMSecGroups(vm.ID, []int64{web.Resource.ID, dropped.Resource.ID})
	})
	like := func(name string, groups ...string) {
		t.Helper()
		disks, err := c.Disks(ctx, c.admin, name)
		if err != nil || disks[0].BytesPerSecond != 1<<20 || disks[0].IOPS != 100 {
			t.Errorf("the first disk of %s: %+v, %v", name, disks, err)
		}
		got, err := c.VM(ctx, c.admin, name)
		if err != nil || strings.Join(got.SecGroups, " ") != strings.Join(groups, " ") {
			t.Errorf("the security groups of %s are %v, want %v: %v", name, got.SecGroups, groups, err)
		}
	}
	cloned, err := c.CloneVM(ctx, c.admin, "ml", baadal.VMClone{}, plain)
	must(t, err)
	c.run(t, cloned.Task)
	like("ml_clone1", "dropped", "web")
	b, _ := c.backUp(t, c.admin, "ml", baadal.BackupCreate{})
	restored, err := c.RestoreBackup(ctx, c.admin, ref(b), baadal.BackupRestore{As: "again"}, plain)
	must(t, err)
	c.run(t, restored.Task)
	like("again", "dropped", "web")

	c.update(t, func(tx *store.Tx) error {
		all, err := tx.AllVMs()
		if err != nil {
			return err
		}
		for _, vm := range all {
			if err := tx.DeleteVM(vm.ID); err != nil {
				return err
			}
		}
		return tx.DeleteSecGroup(dropped.Resource.ID)
	})
	ch, err := c.RestoreBackup(ctx, c.admin, ref(b), baadal.BackupRestore{As: "last"}, dry)
	if err != nil || !strings.Contains(strings.Join(ch.Plan.Effects, "; "), "1 of the security groups that ml had are gone") {
		t.Errorf("dry: %+v, %v", ch.Plan, err)
	}
	restored, err = c.RestoreBackup(ctx, c.admin, ref(b), baadal.BackupRestore{As: "last"}, plain)
	must(t, err)
	c.run(t, restored.Task)
	like("last", "web")
}

// TestRestoreImported makes a VM of the backup of one that came from no template.
func TestRestoreImported(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ctx := t.Context()
	up, err := c.Upload(ctx, c.admin, "main", strings.NewReader(qcow2(1536)))
	must(t, err)
	imported, err := c.ImportVM(ctx, c.admin, baadal.VMImport{VMNew: baadal.VMNew{Name: "old"}, UploadID: up.ID}, plain)
	must(t, err)
	c.run(t, imported.Task)
	b, _ := c.backUp(t, c.admin, "old", baadal.BackupCreate{})
	ch, err := c.RestoreBackup(ctx, c.admin, ref(b), baadal.BackupRestore{As: "again", Start: true}, plain)
	must(t, err)
	c.run(t, ch.Task)
	if vm := c.vm(t, ch.Resource.ID); vm.Template != "" || vm.DiskGiB != 2 || vm.State != baadal.VMRunning || vm.Datastore != "main" {
		t.Errorf("%+v", vm)
	}
	if bad := c.world.Check(); len(bad) > 0 {
		t.Error(bad)
	}
}

// TestRestoreKeepsTargets: a disk of a VM made of a backup is where it was, though
// another target is free.
func TestRestoreKeepsTargets(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ctx := t.Context()
	c.create(t, c.admin, baadal.VMCreate{Name: "ml"})
	for range 2 {
		ch, err := c.AddDisk(ctx, c.admin, "ml", baadal.DiskAdd{SizeGiB: 1}, plain)
		must(t, err)
		c.run(t, ch.Task)
	}
	gone, err := c.ActDisk(ctx, c.admin, baadal.ActionDiskDetach, "ml", "vdb", plain)
	must(t, err)
	c.run(t, gone.Task)
	b, _ := c.backUp(t, c.admin, "ml", baadal.BackupCreate{})
	ch, err := c.RestoreBackup(ctx, c.admin, ref(b), baadal.BackupRestore{As: "again"}, plain)
	must(t, err)
	c.run(t, ch.Task)
	if disks, err := c.Disks(ctx, c.admin, "again"); err != nil || len(disks) != 2 || disks[1].Target != "vdc" {
		t.Errorf("%+v, %v", disks, err)
	}
}

// TestUploadNeedsRoom: an upload ends before it fills up its datastore, and leaves
// nothing.
func TestUploadNeedsRoom(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.update(t, func(tx *store.Tx) error {
		ds, err := tx.DatastoreByRef("main")
		if err != nil {
			return err
		}
		usage := baadal.DatastoreUsage{Mounted: true, Writable: true, Capacity: 1 << 40, Free: 16<<20 + 5000} // 16 MiB must stay
		_, err = tx.SetDatastoreUsage(ds.ID, baadal.DatastoreOK, "", usage, nil)
		return err
	})
	_, err := c.Upload(t.Context(), c.admin, "main", strings.NewReader(qcow2(64)+strings.Repeat("x", 1000)))
	refused(t, err, baadal.Exhausted, "datastore_full")
	c.view(t, func(tx *store.Tx) error {
		all, err := tx.AllTransfers()
		if len(all) > 0 {
			t.Errorf("left: %+v", all)
		}
		return err
	})
	if _, err := c.Upload(t.Context(), c.admin, "main", strings.NewReader(qcow2(64))); err != nil {
		t.Error(err)
	}
}

// readerFunc reads by a function.
type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestSlowUploadIsInUse: an upload that takes longer than unused ones are kept is
// not taken for one.
func TestSlowUploadIsInUse(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	reads := 0
	_, err := c.Upload(t.Context(), c.admin, "main", readerFunc(func(p []byte) (int, error) {
		reads++
		switch reads {
		case 1:
			return copy(p, qcow2(64)), nil
		case 2:
			c.clock.forward(baadal.KeepUpload + time.Hour)
			return copy(p, "more"), nil
		}
		c.view(t, func(tx *store.Tx) error {
			idle, err := tx.IdleTransfers()
			if len(idle) > 0 {
				t.Errorf("%+v is taken for idle", idle)
			}
			return err
		})
		return 0, io.EOF
	}))
	must(t, err)
}
