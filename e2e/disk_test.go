package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"baadal"
)

// diskTask waits for a change of a disk and returns what its task says.
func diskTask(ctx context.Context, t *testing.T, c baadal.Change[baadal.Disk], err error) baadal.Task {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	done, err := cloud.Await(ctx, c.Task, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %s, %s", done.Kind, done.Message, done.EndedAt.Sub(done.CreatedAt).Round(time.Millisecond))
	return done
}

// sectors is the size of a disk as the guest sees it, in GiB.
func sectors(ctx context.Context, t *testing.T, vm baadal.VM, disk string) string {
	t.Helper()
	return ssh(ctx, t, vm, fmt.Sprintf(`echo $(($(cat /sys/block/%s/size) / 2097152))`, disk))
}

// holds checks what the beginning of a disk reads, past the guest's cache.
func holds(ctx context.Context, t *testing.T, vm baadal.VM, disk, sum, when string) {
	t.Helper()
	ssh(ctx, t, vm, "echo 3 > /proc/sys/vm/drop_caches")
	if got := strings.Fields(ssh(ctx, t, vm, "dd if=/dev/"+disk+" bs=64k count=64 2>/dev/null | sha256sum"))[0]; got != sum {
		t.Errorf("%s the disk reads %s, %s was written", when, got, sum)
	}
}

// growAndLimit makes both disks larger and vdb slow while the guest runs.
func growAndLimit(ctx context.Context, t *testing.T, vm baadal.VM) {
	t.Helper()
	c, none := cloud.Client, baadal.ChangeOptions{}
	grown, err := c.GrowDisk(ctx, vm.UUID, "vdb", baadal.DiskGrow{SizeGiB: 2}, none)
	diskTask(ctx, t, grown, err)
	first, err := c.GrowDisk(ctx, vm.UUID, "vda", baadal.DiskGrow{SizeGiB: vm.DiskGiB + 1}, none)
	diskTask(ctx, t, first, err)
	if vdb, vda := sectors(ctx, t, vm, "vdb"), sectors(ctx, t, vm, "vda"); vdb != "2" || vda != fmt.Sprint(vm.DiskGiB+1) {
		t.Errorf("after growing, the guest sees vdb with %s GiB, vda with %s", vdb, vda)
	}
	if _, err := c.GrowDisk(ctx, vm.UUID, "vdb", baadal.DiskGrow{SizeGiB: 1}, none); baadal.CodeOf(err) != "disk_shrink" {
		t.Errorf("a shrink: %v", err)
	}
	limited, err := c.LimitDisk(ctx, vm.UUID, "vdb", baadal.DiskLimit{BytesPerSecond: 2 << 20}, none)
	diskTask(ctx, t, limited, err)
	begun := time.Now()
	ssh(ctx, t, vm, "echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/vdb of=/dev/null bs=64k count=96 2>/dev/null")
	if took := time.Since(begun); took < 2*time.Second {
		t.Errorf("6 MiB at 2 MiB/s took %s", took)
	}
}

// awayAndBack takes vdb away from the running guest and gives it back.
func awayAndBack(ctx context.Context, t *testing.T, vm baadal.VM, k baadal.Disk, act func(context.Context, string, string, baadal.ChangeOptions) (baadal.Change[baadal.Disk], error)) {
	t.Helper()
	gone := func() error {
		if got := ssh(ctx, t, vm, "ls /sys/block"); strings.Contains(got, "vdb") {
			return fmt.Errorf("the guest has %q", got)
		}
		return nil
	}
	away, err := act(ctx, vm.UUID, k.Serial, baadal.ChangeOptions{})
	diskTask(ctx, t, away, err)
	eventually(t, 5*time.Second, "gone from the guest", gone)
	cleanAudit(ctx, t)
	back, err := cloud.Client.AttachDisk(ctx, vm.UUID, k.Serial, baadal.ChangeOptions{})
	diskTask(ctx, t, back, err)
	eventually(t, 10*time.Second, "back in the guest", func() error {
		if gone() == nil {
			return fmt.Errorf("there is no vdb")
		}
		return nil
	})
}

// TestExtraDisk plugs a disk into a running guest, which writes to it; what it
// wrote is there after the power was cut, after the disk was grown, detached,
// deleted and attached again, and after the VM was deleted and restored.
func TestExtraDisk(t *testing.T) {
	ctx := begin(t)
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	c, none := cloud.Client, baadal.ChangeOptions{}
	vm := create(ctx, t, baadal.VMCreate{Name: "disky", SSHKeys: []string{key}})
	if vm, err = cloud.WaitAnswer(ctx, vm.UUID); err != nil {
		t.Fatal(err)
	}
	add, err := c.AddDisk(ctx, vm.UUID, baadal.DiskAdd{SizeGiB: 1, BytesPerSecond: 64 << 20}, none)
	if done := diskTask(ctx, t, add, err); done.Message != "Attached extra disk successfully" {
		t.Errorf("it says %q", done.Message)
	}
	k := *add.Resource
	if k.Target != "vdb" || k.Name != vm.Identity+"_disk1.qcow2" {
		t.Errorf("%+v", k)
	}
	file := fmt.Sprintf("/mnt/datastore/vm_extra_disks/%s/%s/%s", k.Datastore, vm.Identity, k.Name)
	if xml := node(ctx, t, vm.Host, "virsh", "dumpxml", "--inactive", vm.UUID); !strings.Contains(xml, file) || !strings.Contains(xml, "<total_bytes_sec>67108864<") {
		t.Errorf("the definition does not have %s with its limit:\n%s", file, xml)
	}
	eventually(t, 10*time.Second, "seen by the guest", func() error {
		if got := ssh(ctx, t, vm, "cat /sys/block/vdb/serial 2>/dev/null || true"); got != k.Serial {
			return fmt.Errorf("the serial of vdb is %q, want %q", got, k.Serial)
		}
		return nil
	})
	if got := sectors(ctx, t, vm, "vdb"); got != "1" {
		t.Errorf("the guest sees %s GiB", got)
	}
	// Random bytes at the beginning of the disk, remembered by their checksum.
	sum := strings.Fields(ssh(ctx, t, vm, "dd if=/dev/urandom of=/dev/vdb bs=64k count=64 2>/dev/null; sync; dd if=/dev/vdb bs=64k count=64 2>/dev/null | sha256sum"))[0]
	same := func(when string) { t.Helper(); holds(ctx, t, vm, "vdb", sum, when) }
	up := func() {
		t.Helper()
		await(ctx, t, c.StartVM, vm.UUID)
		if vm, err = cloud.WaitAnswer(ctx, vm.UUID); err != nil {
			t.Fatal(err)
		}
	}
	await(ctx, t, c.DestroyVM, vm.UUID)
	up()
	same("after the power was cut")

	growAndLimit(ctx, t, vm)
	same("after it was grown and limited")
	for _, act := range []func(context.Context, string, string, baadal.ChangeOptions) (baadal.Change[baadal.Disk], error){c.DetachDisk, c.DeleteDisk} {
		awayAndBack(ctx, t, vm, k, act)
		same("after it was away")
	}
	remove(ctx, t, vm.UUID)
	cleanAudit(ctx, t)
	await(ctx, t, c.RestoreVM, vm.UUID)
	up()
	same("after the VM was restored")
	list, err := c.Disks(ctx, vm.UUID)
	if err != nil || len(list.Items) != 2 || list.Items[1].State != baadal.DiskAttached || list.Items[1].SizeGiB != 2 {
		t.Errorf("%+v, %v", list.Items, err)
	}
	remove(ctx, t, vm.UUID)
}

// await does something to a VM and waits until it is done.
func await(ctx context.Context, t *testing.T, do func(context.Context, string, baadal.ChangeOptions) (baadal.Change[baadal.VM], error), ref string) {
	t.Helper()
	c, err := do(ctx, ref, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Await(ctx, c.Task, nil); err != nil {
		t.Fatal(err)
	}
}

// TestExtraDiskWithSnapshotAndMigration plugs a disk into a running guest,
// takes a snapshot, moves the VM while it runs and reverts: what was on the
// disk then is there, on the new host.
func TestExtraDiskWithSnapshotAndMigration(t *testing.T) {
	ctx := begin(t)
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	c, none := cloud.Client, baadal.ChangeOptions{}
	vm := create(ctx, t, baadal.VMCreate{Name: "mover", SSHKeys: []string{key}})
	defer remove(ctx, t, vm.UUID)
	if vm, err = cloud.WaitAnswer(ctx, vm.UUID); err != nil {
		t.Fatal(err)
	}
	add, err := c.AddDisk(ctx, vm.UUID, baadal.DiskAdd{SizeGiB: 1}, none)
	diskTask(ctx, t, add, err)
	eventually(t, 10*time.Second, "seen by the guest", func() error {
		if got := ssh(ctx, t, vm, "ls /sys/block"); !strings.Contains(got, "vdb") {
			return fmt.Errorf("the guest has %q", got)
		}
		return nil
	})
	write := func(word string) {
		t.Helper()
		ssh(ctx, t, vm, fmt.Sprintf("printf %%-512s %s | dd of=/dev/vdb bs=512 count=1 2>/dev/null; sync", word))
	}
	read := func(want, when string) {
		t.Helper()
		if got := ssh(ctx, t, vm, "echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/vdb bs=512 count=1 2>/dev/null"); got != want {
			t.Errorf("%s the disk holds %q, want %q", when, got, want)
		}
	}
	write("before")
	snap, err := c.CreateSnapshot(ctx, vm.UUID, baadal.SnapshotCreate{Name: "one"}, none)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Await(ctx, snap.Task, nil); err != nil {
		t.Fatal(err)
	}
	write("after")
	from := vm.Host
	moved, err := c.MigrateVM(ctx, vm.UUID, baadal.VMMigrate{}, none)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Await(ctx, moved.Task, nil); err != nil {
		t.Fatal(err)
	}
	if vm, err = c.VM(ctx, vm.UUID); err != nil || vm.Host == from {
		t.Fatalf("it is on %s still: %v", vm.Host, err)
	}
	read("after", "after the migration")
	back, err := c.RevertSnapshot(ctx, vm.UUID, "one", none)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Await(ctx, back.Task, nil); err != nil {
		t.Fatal(err)
	}
	read("before", "after the revert")
}
