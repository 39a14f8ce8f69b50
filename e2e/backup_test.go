package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/lab"
)

// backUp makes a backup of a VM and returns it with what its task says.
func backUp(ctx context.Context, t *testing.T, vm baadal.VM, in baadal.BackupCreate) (baadal.Backup, baadal.Task) {
	t.Helper()
	ch, err := cloud.Client.CreateBackup(ctx, vm.UUID, in, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done, err := cloud.Await(ctx, ch.Task, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := cloud.Client.Backup(ctx, fmt.Sprint(ch.Resource.ID))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s, %d KiB, %s", done.Message, b.Bytes>>10, done.EndedAt.Sub(done.CreatedAt).Round(time.Millisecond))
	return b, done
}

// restored makes a new VM of a backup.
func restored(ctx context.Context, t *testing.T, b baadal.Backup, name string) baadal.VM {
	t.Helper()
	ch, err := cloud.Client.RestoreBackup(ctx, fmt.Sprint(b.ID), baadal.BackupRestore{As: name, Start: true}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done, err := cloud.Await(ctx, ch.Task, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s, %s", done.Message, done.EndedAt.Sub(done.CreatedAt).Round(time.Millisecond))
	return *ch.Resource
}

func forgetBackup(ctx context.Context, t *testing.T, b baadal.Backup) {
	t.Helper()
	ch, err := cloud.Client.DeleteBackup(ctx, fmt.Sprint(b.ID), baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Await(ctx, ch.Task, nil); err != nil {
		t.Fatal(err)
	}
}

// forgetBackups deletes backups, the newest first.
func forgetBackups(ctx context.Context, t *testing.T, all ...baadal.Backup) {
	t.Helper()
	for _, b := range slices.Backward(all) {
		forgetBackup(ctx, t, b)
	}
	if left := node(ctx, t, "host1", "ls", "-A", "/mnt/datastore/vm_backups"); left != "" {
		t.Errorf("left of backups: %q", left)
	}
}

// TestBackupKeepsFiles: the increment has what was written in the guest before
// it, as a new VM; the full backup that it stands on only what was written
// before that, in place. Snapshots and increments do not get into each other's
// way, and a spoiled byte is found.
func TestBackupKeepsFiles(t *testing.T) {
	ctx := begin(t)
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	c, none := cloud.Client, baadal.ChangeOptions{}
	vm := create(ctx, t, baadal.VMCreate{Name: "kept", SSHKeys: []string{key}})
	if vm, err = cloud.WaitAnswer(ctx, vm.UUID); err != nil {
		t.Fatal(err)
	}
	ssh(ctx, t, vm, "echo one > /root/one; sync")
	full, said := backUp(ctx, t, vm, baadal.BackupCreate{Incremental: true})
	if full.Kind != baadal.BackupFull || !strings.Contains(said.Message, "there is none before it") {
		t.Errorf("the first one is %s: %s", full.Kind, said.Message)
	}
	ssh(ctx, t, vm, "echo two > /root/two; sync")
	more, _ := backUp(ctx, t, vm, baadal.BackupCreate{Incremental: true})
	if more.Kind != baadal.BackupIncremental || more.ParentID != full.ID || more.Bytes > full.Bytes/2 {
		t.Errorf("the second one is %s on %d, with %d bytes after %d", more.Kind, more.ParentID, more.Bytes, full.Bytes)
	}
	both := restored(ctx, t, more, "both")

	// A snapshot ends the increments, and can be reverted to.
	snap, err := c.CreateSnapshot(ctx, vm.UUID, baadal.SnapshotCreate{Name: "s"}, none)
	snapshotAct(ctx, t, "Snapshotted successfully", snap, err)
	snap, err = c.RevertSnapshot(ctx, vm.UUID, "s", none)
	snapshotAct(ctx, t, "Reverted to snapshot successfully", snap, err)
	again, said := backUp(ctx, t, vm, baadal.BackupCreate{Incremental: true})
	if again.Kind != baadal.BackupFull || !strings.Contains(said.Message, "snapshots") {
		t.Errorf("with a snapshot it is %s: %s", again.Kind, said.Message)
	}

	forgetBackup(ctx, t, again)

	vmAct(ctx, t, c.DestroyVM, vm.UUID)
	off, _ := backUp(ctx, t, vm, baadal.BackupCreate{})
	vmAct(ctx, t, func(ctx context.Context, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
		return c.RestoreBackupInPlace(ctx, ref, opt)
	}, fmt.Sprint(full.ID))
	if snaps, err := c.Snapshots(ctx, vm.UUID); err != nil || len(snaps.Items) > 0 {
		t.Errorf("after the restore in place: %+v, %v", snaps.Items, err)
	}
	vmAct(ctx, t, c.StartVM, vm.UUID)
	for _, test := range []struct {
		vm   baadal.VM
		want string
	}{{both, "both one two"}, {vm, "kept one"}} {
		if test.vm, err = cloud.WaitAnswer(ctx, test.vm.UUID); err != nil {
			t.Fatal(err)
		}
		if got := strings.Fields(ssh(ctx, t, test.vm, "hostname; cat /root/one /root/two 2>/dev/null; true")); strings.Join(got, " ") != test.want {
			t.Errorf("%s has %q, want %q", test.vm.Name, got, test.want)
		}
	}
	cleanAudit(ctx, t)
	spoilBackup(ctx, t, full, more)
	for _, v := range []baadal.VM{both, vm} {
		remove(ctx, t, v.UUID)
	}
	forgetBackups(ctx, t, full, more, off)
}

// spoilBackup changes a byte of a backup: it is found wherever its file is
// needed, and nothing is restored from it.
func spoilBackup(ctx context.Context, t *testing.T, full, more baadal.Backup) {
	t.Helper()
	c, none := cloud.Client, baadal.ChangeOptions{}
	verify := func() (baadal.Task, error) {
		ch, err := c.VerifyBackup(ctx, fmt.Sprint(more.ID), none)
		if err != nil {
			t.Fatal(err)
		}
		return cloud.Await(ctx, ch.Task, nil)
	}
	if _, err := verify(); err != nil {
		t.Errorf("before anything was spoiled: %v", err)
	}
	file := "/mnt/datastore/vm_backups/" + full.UUID + "/" + full.Files[0].Name
	flip := func() {
		node(ctx, t, "host1", "sh", "-c", `b=$(dd if="$0" bs=1 skip=1000000 count=1 2>/dev/null | od -An -tu1); printf "\\$(printf %o $((255 - b)))" | dd of="$0" bs=1 seek=1000000 conv=notrunc 2>/dev/null`, file)
	}
	flip()
	if done, err := verify(); err == nil || done.Code != "backup_damaged" || !strings.Contains(done.Message, full.Files[0].Name) {
		t.Errorf("a flipped byte: %s (%s): %s, %v", done.State, done.Code, done.Message, err)
	}
	for _, b := range []baadal.Backup{full, more} {
		if now, err := c.Backup(ctx, fmt.Sprint(b.ID)); err != nil || now.State != baadal.BackupDamaged {
			t.Errorf("backup %d is %s: %s, %v", b.ID, now.State, now.Reason, err)
		}
		if _, err := c.RestoreBackup(ctx, fmt.Sprint(b.ID), baadal.BackupRestore{As: "never"}, none); baadal.CodeOf(err) != "backup_damaged" {
			t.Errorf("restore of what is spoiled: %v", err)
		}
	}
	flip()
	if done, err := verify(); err != nil {
		t.Errorf("after the byte was mended: %s, %v", done.Message, err)
	}
}

// TestBackupFull: a backup that fills its datastore, or is cancelled, leaves
// nothing, and the VM runs on; increments go on after it.
func TestBackupFull(t *testing.T) {
	ctx := begin(t)
	c, none := cloud.Client, baadal.ChangeOptions{}
	addStore(ctx, t, lab.SmallDatastore)
	if _, err := c.UpdateSetting(ctx, baadal.SettingDiskRatio, "1000", none); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := c.UpdateSetting(ctx, baadal.SettingDiskRatio, "4.0", none); err != nil {
			t.Error(err)
		}
	}()
	vm := create(ctx, t, baadal.VMCreate{Name: "backfull"})
	node(ctx, t, vm.Host, "sh", "-c", "dd if=/dev/zero of=/mnt/small/ballast bs=1M count=45 2>/dev/null")
	defer node(ctx, t, vm.Host, "rm", "-f", "/mnt/small/ballast")
	failed := func(in baadal.BackupCreate, cancel bool) baadal.Task {
		t.Helper()
		ch, err := c.CreateBackup(ctx, vm.UUID, in, none)
		if err != nil {
			t.Fatal(err)
		}
		if cancel {
			if _, err := c.CancelTask(ctx, ch.Task.ID); err != nil {
				t.Logf("cancel: %v", err)
			}
		}
		done, _ := cloud.Await(ctx, ch.Task, nil)
		t.Logf("%s (%s): %s", done.State, done.Code, done.Message)
		if cancel && done.State == baadal.TaskSuccess { // it was quicker
			forgetBackup(ctx, t, *ch.Resource)
		}
		return done
	}
	begun, _ := backUp(ctx, t, vm, baadal.BackupCreate{Incremental: true})
	for _, incremental := range []bool{false, true} {
		if done := failed(baadal.BackupCreate{Incremental: incremental, Datastore: "small"}, false); done.Code != "datastore_full" {
			t.Errorf("a full datastore: %s (%s): %s", done.State, done.Code, done.Message)
		}
	}
	failed(baadal.BackupCreate{}, true)
	if err := state(ctx, vm.UUID, baadal.VMRunning)(); err != nil {
		t.Error(err)
	}
	if left := node(ctx, t, vm.Host, "ls", "-A", "/mnt/small/vm_backups"); left != "" {
		t.Errorf("left on the full datastore: %q", left)
	}
	again, _ := backUp(ctx, t, vm, baadal.BackupCreate{Incremental: true})
	cleanAudit(ctx, t)
	backUpCrashed(ctx, t, vm)
	backUpKilled(ctx, t, vm)
	remove(ctx, t, vm.UUID)
	forgetBackups(ctx, t, begun, again)
}

// backUpKilled kills the controller at some moments of a backup, which then is
// made all the same, once.
func backUpKilled(ctx context.Context, t *testing.T, vm baadal.VM) {
	t.Helper()
	for i, after := range []time.Duration{5, 60, 150, 400} {
		ch, err := cloud.Client.CreateBackup(ctx, vm.UUID, baadal.BackupCreate{Incremental: i%2 == 0}, baadal.ChangeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(after * time.Millisecond)
		if err := cloud.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cloud.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		done, err := cloud.Await(ctx, ch.Task, nil)
		if err != nil {
			t.Fatalf("killed after %d ms: %v", after, err)
		}
		t.Logf("killed after %d ms: %s", after, done.Message)
		cleanAudit(ctx, t)
		forgetBackup(ctx, t, *ch.Resource)
	}
}

// backUpCrashed kills the VM's QEMU, with which the record of what was written
// is lost: the next increment is a full one, and snapshots are as good as ever.
func backUpCrashed(ctx context.Context, t *testing.T, vm baadal.VM) {
	t.Helper()
	c := cloud.Client
	node(ctx, t, vm.Host, "sh", "-c", "kill -9 $(cat /run/libvirt/qemu/"+vm.Identity+".pid)")
	eventually(t, 10*time.Second, "seen dead", func() error {
		now, err := c.VM(ctx, vm.UUID)
		if err == nil && now.State == baadal.VMRunning {
			err = fmt.Errorf("it is %s", now.State)
		}
		return err
	})
	vmAct(ctx, t, c.StartVM, vm.UUID)
	b, said := backUp(ctx, t, vm, baadal.BackupCreate{Incremental: true})
	if b.Kind != baadal.BackupFull || !strings.Contains(said.Message, "not recorded any more") {
		t.Errorf("after its QEMU was killed it is %s: %s", b.Kind, said.Message)
	}
	snap, err := c.CreateSnapshot(ctx, vm.UUID, baadal.SnapshotCreate{Name: "s"}, baadal.ChangeOptions{})
	snapshotAct(ctx, t, "Snapshotted successfully", snap, err)
	snap, err = c.RevertSnapshot(ctx, vm.UUID, "s", baadal.ChangeOptions{})
	snapshotAct(ctx, t, "Reverted to snapshot successfully", snap, err)
	snap, err = c.DeleteSnapshot(ctx, vm.UUID, "s", baadal.ChangeOptions{})
	snapshotAct(ctx, t, "Deleted snapshot successfully", snap, err)
	forgetBackup(ctx, t, b)
}
