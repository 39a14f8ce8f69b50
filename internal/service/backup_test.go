package service_test

import (
	"fmt"
	"strings"
	"testing"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// backUp makes a backup and returns it with what its task says.
func (c *cloud) backUp(t *testing.T, a baadal.Actor, vm string, in baadal.BackupCreate) (baadal.Backup, string) {
	t.Helper()
	ch, err := c.CreateBackup(t.Context(), a, vm, in, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done := c.settle(t, ch.Task)[0]
	if done.State != baadal.TaskSuccess {
		t.Fatalf("%s: %s", done.State, done.Message)
	}
	b, err := c.Backup(t.Context(), a, fmt.Sprint(ch.Resource.ID))
	if err != nil {
		t.Fatal(err)
	}
	return b, done.Message
}

func ref(b baadal.Backup) string { return fmt.Sprint(b.ID) }

var increment = baadal.BackupCreate{Incremental: true}

// TestBackupWhoMay: the owner, who runs his organisation, administrators. A
// student gets the disks of his VM back, but no new VM.
func TestBackupWhoMay(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ctx := t.Context()
	vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Owner: "ravi"})
	b, _ := c.backUp(t, c.student, "ml", baadal.BackupCreate{})
	c.act(t, baadal.ActionVMDestroy, vm)
	schedule := baadal.BackupSchedule{Every: baadal.BackupDaily, Keep: 2}
	for _, a := range []baadal.Actor{c.faculty, c.stranger} {
		_, err := c.Backup(ctx, a, ref(b))
		refused(t, err, baadal.NotFound, "not_found")
		_, err = c.CreateBackup(ctx, a, "ml", baadal.BackupCreate{}, dry)
		refused(t, err, baadal.NotFound, "not_found")
		for _, act := range []func() error{
			func() error { _, err := c.VerifyBackup(ctx, a, ref(b), dry); return err },
			func() error { _, err := c.DeleteBackup(ctx, a, ref(b), dry); return err },
			func() error { _, err := c.RestoreBackupInPlace(ctx, a, ref(b), dry); return err },
			func() error {
				_, err := c.RestoreBackup(ctx, a, ref(b), baadal.BackupRestore{As: "x"}, dry)
				return err
			},
			func() error { _, err := c.SetBackupSchedule(ctx, a, "ml", schedule); return err },
		} {
			refused(t, act(), baadal.NotFound, "not_found")
		}
		if list, err := c.Backups(ctx, a, baadal.ListQuery{}); err != nil || list.Total != 0 {
			t.Errorf("%d backups, %v", list.Total, err)
		}
	}
	_, err := c.RestoreBackup(ctx, c.student, ref(b), baadal.BackupRestore{As: "x"}, dry)
	refused(t, err, baadal.Forbidden, "forbidden")
	_, err = c.SetBackupSchedule(ctx, c.student, "ml", schedule)
	refused(t, err, baadal.Forbidden, "forbidden")
	for _, a := range []baadal.Actor{c.student, c.orgadmin, c.admin} {
		if ch, err := c.RestoreBackupInPlace(ctx, a, ref(b), dry); err != nil || ch.Plan == nil {
			t.Errorf("%s: %+v, %v", a.User.Username, ch, err)
		}
	}
	if got, err := c.SetBackupSchedule(ctx, c.orgadmin, "ml", schedule); err != nil || got != schedule {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := c.BackupSchedule(ctx, c.student, "ml"); err != nil || got != schedule {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = c.SetBackupSchedule(ctx, c.orgadmin, "ml", baadal.BackupSchedule{Every: "hourly", Keep: 1})
	refusedField(t, err, baadal.Invalid, "every")
}

// TestBackupClaims: what is refused, and asked for dry, claims nothing.
func TestBackupClaims(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ctx := t.Context()
	vm := c.create(t, c.admin, baadal.VMCreate{Name: "ml"})
	count := func(want int) {
		t.Helper()
		if list, err := c.Backups(ctx, c.admin, baadal.ListQuery{}); err != nil || list.Total != want {
			t.Errorf("%d backups instead of %d, %v", list.Total, want, err)
		}
	}
	c.update(t, func(tx *store.Tx) error {
		other := baadal.Datastore{Name: "far", Path: "/mnt/far", State: baadal.DatastoreOK}
		if err := tx.CreateDatastore(&other); err != nil {
			return err
		}
		_, err := tx.SetDatastoreUsage(other.ID, baadal.DatastoreOK, "", baadal.DatastoreUsage{Mounted: true, Writable: true, Capacity: 1 << 40, Free: 1 << 40}, []string{"elsewhere"})
		return err
	})
	_, err := c.CreateBackup(ctx, c.admin, "ml", baadal.BackupCreate{Datastore: "nowhere"}, baadal.ChangeOptions{})
	refusedField(t, err, baadal.Invalid, "datastore")
	_, err = c.CreateBackup(ctx, c.admin, "ml", baadal.BackupCreate{Datastore: "far"}, baadal.ChangeOptions{})
	refused(t, err, baadal.Exhausted, "no_datastore")
	ch, err := c.CreateBackup(ctx, c.admin, "ml", baadal.BackupCreate{}, dry)
	if err != nil || ch.Plan == nil || ch.Plan.Datastore != "main" || len(ch.Plan.Steps) != 2 {
		t.Errorf("%+v, %v", ch, err)
	}
	count(0)
	c.act(t, baadal.ActionVMSave, vm)
	_, err = c.CreateBackup(ctx, c.admin, "ml", baadal.BackupCreate{}, dry)
	refused(t, err, baadal.Conflict, "vm_saved")
	c.act(t, baadal.ActionVMStart, vm)
	var first baadal.Backup
	for i := range 3 {
		b, _ := c.backUp(t, c.admin, "ml", baadal.BackupCreate{})
		if i == 0 {
			first = b
		}
	}
	_, err = c.CreateBackup(ctx, c.admin, "ml", baadal.BackupCreate{}, baadal.ChangeOptions{})
	refused(t, err, baadal.Exhausted, "backup_limit")
	gone, err := c.DeleteBackup(ctx, c.admin, ref(first), baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.RestoreBackup(ctx, c.admin, ref(first), baadal.BackupRestore{As: "x"}, dry)
	refused(t, err, baadal.Conflict, "busy")
	c.run(t, gone.Task)
	count(2)

	// A full datastore: the task says so and leaves nothing; its room is free again.
	must(t, c.world.FillUp(mount, 1<<20))
	full, err := c.CreateBackup(ctx, c.admin, "ml", increment, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if done := c.settle(t, full.Task)[0]; done.State != baadal.TaskFailed || done.Code != "datastore_full" {
		t.Errorf("%s (%s): %s", done.State, done.Code, done.Message)
	}
	count(2)
	if left := c.world.Snapshot(); strings.Contains(left, "checkpoints=") || strings.Contains(left, ".part") {
		t.Errorf("left: %s", left)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestIncrements: when a backup is an increment, and why it is none.
func TestIncrements(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ctx := t.Context()
	vm := c.create(t, c.admin, baadal.VMCreate{Name: "ml"})
	c.update(t, func(tx *store.Tx) error {
		for name, value := range map[string]string{baadal.SettingBackupLimit: "99", baadal.SettingBackupChain: "2"} {
			if _, err := tx.SetSetting(name, value, 0, "root"); err != nil {
				return err
			}
		}
		return nil
	})
	run := func(k *baadal.Task, err error) {
		t.Helper()
		must(t, err)
		c.run(t, k)
	}
	for _, step := range []struct {
		before func()
		kind   string
		words  string
	}{
		{nil, baadal.BackupFull, "there is none before it"},
		{nil, baadal.BackupIncremental, ""},
		{func() { c.backUp(t, c.admin, "ml", baadal.BackupCreate{}) }, baadal.BackupIncremental, ""}, // a full one in between does not matter
		{nil, baadal.BackupFull, "2 increments stand on each other"},
		{func() { c.act(t, baadal.ActionVMDestroy, vm) }, baadal.BackupFull, "the VM is off"},
		{func() { c.act(t, baadal.ActionVMStart, vm) }, baadal.BackupIncremental, ""}, // its bitmaps were kept
		{func() {
			ch, err := c.AddDisk(ctx, c.admin, "ml", baadal.DiskAdd{SizeGiB: 1}, baadal.ChangeOptions{})
			run(ch.Task, err)
		}, baadal.BackupFull, "disks are others"},
		{nil, baadal.BackupIncremental, ""},
		{func() {
			ch, err := c.MigrateVM(ctx, c.admin, "ml", baadal.VMMigrate{}, baadal.ChangeOptions{})
			run(ch.Task, err)
		}, baadal.BackupFull, "there is none before it"},
		{func() {
			ch, err := c.CloneVM(ctx, c.admin, "ml", baadal.VMClone{WithoutDisks: true}, baadal.ChangeOptions{})
			run(ch.Task, err)
		}, baadal.BackupFull, "there is none before it"},
		{nil, baadal.BackupIncremental, ""},
		{func() { must(t, c.world.Hypervisor().DropCheckpoints(ctx, c.host(t, vm), vm.UUID)) }, baadal.BackupFull, "is not recorded any more"},
		{func() { c.snapshot(t, c.admin, "ml", "s") }, baadal.BackupFull, "the VM has snapshots"},
		{func() {
			ch, err := c.DeleteSnapshot(ctx, c.admin, "ml", "s", baadal.ChangeOptions{})
			run(ch.Task, err)
		}, baadal.BackupFull, "there is none before it"},
		{nil, baadal.BackupIncremental, ""},
	} {
		if step.before != nil {
			step.before()
		}
		b, said := c.backUp(t, c.admin, "ml", increment)
		if b.Kind != step.kind || !strings.Contains(b.Reason, step.words) || !strings.Contains(said, step.words) || (step.words == "") != (b.Reason == "") {
			t.Errorf("backup %d is %s, %q (%s); want %s, %q", b.ID, b.Kind, b.Reason, said, step.kind, step.words)
		}
	}
	if bad := c.world.Check(); len(bad) > 0 {
		t.Error(bad)
	}
}

func (c *cloud) host(t *testing.T, vm baadal.VM) (h baadal.Host) {
	t.Helper()
	c.view(t, func(tx *store.Tx) (err error) { h, err = tx.Host(c.vm(t, vm.ID).HostID); return err })
	return h
}

// TestRestoreClaims: a new VM has what the old one had, and an identity of its
// own; what cannot be had is refused with nothing claimed.
func TestRestoreClaims(t *testing.T) {
	t.Parallel()
	c := newCloudOn(t, storetest.Open(t), simulator.Config{Hosts: 3})
	c.furnish(t, baadal.HostFacts{CPUs: 16, RAMMiB: 65536}, "10.0.1.0/29") // four addresses
	ctx := t.Context()
	vm := c.create(t, c.admin, baadal.VMCreate{Name: "ml", VCPUs: 2, RAMMiB: 700, DiskGiB: 3, Purpose: "thesis"})
	ch, err := c.AddDisk(ctx, c.admin, "ml", baadal.DiskAdd{SizeGiB: 5, IOPS: 100}, baadal.ChangeOptions{})
	must(t, err)
	c.run(t, ch.Task)
	b, _ := c.backUp(t, c.admin, "ml", baadal.BackupCreate{})
	for in, want := range map[baadal.BackupRestore]string{{}: "bad_name", {As: "a b"}: "bad_name", {As: "ml"}: "exists", {As: "x", Network: "nope"}: "invalid", {As: "x", Template: "nope"}: "invalid"} {
		if _, err := c.RestoreBackup(ctx, c.admin, ref(b), in, baadal.ChangeOptions{}); baadal.CodeOf(err) != want {
			t.Errorf("%+v: %v", in, err)
		}
	}
	again, err := c.RestoreBackup(ctx, c.admin, ref(b), baadal.BackupRestore{As: "again"}, baadal.ChangeOptions{})
	must(t, err)
	_, err = c.DeleteBackup(ctx, c.admin, ref(b), dry) // it is being read
	refused(t, err, baadal.Conflict, "busy")
	c.run(t, again.Task)
	got := c.vm(t, again.Resource.ID)
	if got.VCPUs != 2 || got.RAMMiB != 700 || got.DiskGiB != 3 || got.Purpose != "thesis" || got.State != baadal.VMOff || got.Owner != vm.Owner || got.Network != "research" ||
		got.UUID == vm.UUID || got.Address == vm.Address || got.MAC == vm.MAC || got.BaseID != 0 {
		t.Errorf("%+v", got)
	}
	disks, err := c.Disks(ctx, c.admin, "again")
	if err != nil || len(disks) != 2 || disks[1].SizeGiB != 5 || disks[1].IOPS != 100 || disks[1].State != baadal.DiskAttached {
		t.Errorf("%+v, %v", disks, err)
	}
	c.act(t, baadal.ActionVMStart, got)

	// The VM itself, its template and its network go; the backup is of use still.
	c.act(t, baadal.ActionVMDelete, vm)
	c.update(t, func(tx *store.Tx) error {
		for _, k := range disksOf(t, tx, vm.ID) {
			if err := tx.DeleteDisk(k.ID); err != nil {
				return err
			}
		}
		return tx.DeleteVM(vm.ID)
	})
	_, err = c.RestoreBackupInPlace(ctx, c.admin, ref(b), dry)
	refused(t, err, baadal.Conflict, "vm_deleted")
	if now, err := c.Backup(ctx, c.admin, ref(b)); err != nil || now.VMID != 0 || !now.Actions["restore"].Allowed || now.Actions["restore_in_place"].Allowed {
		t.Errorf("%+v, %v", now, err)
	}
	last, err := c.RestoreBackup(ctx, c.admin, ref(b), baadal.BackupRestore{As: "ml", Start: true}, baadal.ChangeOptions{})
	must(t, err)
	c.run(t, last.Task)
	if bad := c.world.Check(); len(bad) > 0 {
		t.Error(bad)
	}
}

func disksOf(t *testing.T, tx *store.Tx, vm int64) []baadal.Disk {
	t.Helper()
	all, err := tx.ExtraDisks(vm)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestSpoiledBackup is found, and so is everything that stands on it; nothing
// is restored from it.
func TestSpoiledBackup(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ctx := t.Context()
	vm := c.create(t, c.admin, baadal.VMCreate{Name: "ml"})
	first, _ := c.backUp(t, c.admin, "ml", increment)
	second, _ := c.backUp(t, c.admin, "ml", increment)
	other, _ := c.backUp(t, c.admin, "ml", baadal.BackupCreate{})
	end := func(k *baadal.Task, err error) baadal.Task {
		t.Helper()
		must(t, err)
		return c.settle(t, k)[0]
	}
	ch, err := c.VerifyBackup(ctx, c.admin, ref(second), baadal.ChangeOptions{})
	if done := end(ch.Task, err); done.State != baadal.TaskSuccess {
		t.Errorf("%s: %s", done.State, done.Message)
	}
	must(t, c.world.SpoilBackup(mount, first.UUID, "disk0.qcow2"))
	again, err := c.RestoreBackup(ctx, c.admin, ref(second), baadal.BackupRestore{As: "x"}, baadal.ChangeOptions{})
	if done := end(again.Task, err); done.State != baadal.TaskFailed || done.Code != "backup_damaged" || !strings.Contains(done.Message, "disk0.qcow2") {
		t.Errorf("%s (%s): %s", done.State, done.Code, done.Message)
	}
	for b, want := range map[int64]string{first.ID: baadal.BackupDamaged, second.ID: baadal.BackupDamaged, other.ID: baadal.BackupReady} {
		now, err := c.Backup(ctx, c.admin, fmt.Sprint(b))
		if err != nil || now.State != want {
			t.Errorf("backup %d is %s, %v", b, now.State, err)
		}
	}
	c.act(t, baadal.ActionVMDestroy, vm)
	_, err = c.RestoreBackupInPlace(ctx, c.admin, ref(second), dry)
	refused(t, err, baadal.Conflict, "backup_damaged")
	ch, err = c.VerifyBackup(ctx, c.admin, ref(first), baadal.ChangeOptions{})
	failed := end(ch.Task, err)
	if failed.Code != "backup_damaged" {
		t.Errorf("%s (%s): %s", failed.State, failed.Code, failed.Message)
	}
	if retried, err := c.RetryTask(ctx, c.admin, failed.ID); err != nil || retried.Kind != baadal.TaskBackupVerify {
		t.Errorf("%+v, %v", retried, err)
	}
}

// TestReplaceSparesSnapshots: snapshots that lie in a disk that came after the
// backup, too, must go by themselves before the others go with their disks.
func TestReplaceSparesSnapshots(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ctx := t.Context()
	vm := c.create(t, c.admin, baadal.VMCreate{Name: "ml"})
	b, _ := c.backUp(t, c.admin, "ml", baadal.BackupCreate{})
	ch, err := c.AddDisk(ctx, c.admin, "ml", baadal.DiskAdd{SizeGiB: 5}, baadal.ChangeOptions{})
	must(t, err)
	c.run(t, ch.Task)
	s := c.snapshot(t, c.admin, "ml", "later")
	c.act(t, baadal.ActionVMDestroy, vm)
	_, err = c.RestoreBackupInPlace(ctx, c.admin, ref(b), dry)
	refused(t, err, baadal.Conflict, "has_snapshots")
	if now, err := c.Backup(ctx, c.admin, ref(b)); err != nil || now.Actions["restore_in_place"].Allowed {
		t.Errorf("%+v, %v", now.Actions, err)
	}
	gone, err := c.DeleteSnapshot(ctx, c.admin, "ml", s.Name, baadal.ChangeOptions{})
	must(t, err)
	c.run(t, gone.Task)
	if _, err := c.RestoreBackupInPlace(ctx, c.admin, ref(b), dry); err != nil {
		t.Error(err)
	}
}

// TestReplaceClaims: what is put in place of a VM's disks has room of its own on
// each of their datastores until the old ones are gone.
func TestReplaceClaims(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ctx := t.Context()
	vm := c.create(t, c.admin, baadal.VMCreate{Name: "ml", DiskGiB: 3})
	b, _ := c.backUp(t, c.admin, "ml", baadal.BackupCreate{})
	c.act(t, baadal.ActionVMDestroy, vm)
	claimed := func() (gib int64) {
		c.view(t, func(tx *store.Tx) error {
			ds, err := tx.Datastore(vm.DatastoreID)
			gib = ds.Claimed >> 30
			return err
		})
		return gib
	}
	before := claimed()
	for _, spoil := range []bool{false, true} {
		if spoil {
			must(t, c.world.SpoilBackup(mount, b.UUID, "disk0.qcow2"))
		}
		ch, err := c.RestoreBackupInPlace(ctx, c.admin, ref(b), baadal.ChangeOptions{})
		must(t, err)
		if got := claimed(); got != before+3 {
			t.Errorf("%d GiB are claimed while it is restored, %d before", got, before)
		}
		if done := c.settle(t, ch.Task)[0]; (done.State == baadal.TaskSuccess) == spoil {
			t.Errorf("%s: %s", done.State, done.Message)
		}
		if got := claimed(); got != before {
			t.Errorf("%d GiB are claimed after it, %d before", got, before)
		}
	}
}
