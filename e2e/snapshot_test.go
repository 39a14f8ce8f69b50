package e2e_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"baadal"
)

// snapshotAct makes a change on a snapshot and waits for its good end.
func snapshotAct(ctx context.Context, t *testing.T, want string, ch baadal.Change[baadal.Snapshot], err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", want, err)
	}
	done, err := cloud.Await(ctx, ch.Task, nil)
	if err != nil {
		t.Fatalf("%s: %v", want, err)
	}
	t.Logf("%s: %s", want, done.EndedAt.Sub(done.CreatedAt).Round(time.Millisecond))
	if done.Message != want {
		t.Errorf("it says %q, want %q", done.Message, want)
	}
}

func vmAct(ctx context.Context, t *testing.T, act func(context.Context, string, baadal.ChangeOptions) (baadal.Change[baadal.VM], error), uuid string) {
	t.Helper()
	ch, err := act(ctx, uuid, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Await(ctx, ch.Task, nil); err != nil {
		t.Fatal(err)
	}
}

// TestSnapshotKeepsFiles: a file that was written in the guest before a snapshot
// is there after the revert, one written later is not; of a running VM with its
// memory (a process that ran goes on), and of a stopped one.
func TestSnapshotKeepsFiles(t *testing.T) {
	ctx := begin(t)
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	none, c := baadal.ChangeOptions{}, cloud.Client
	vm := create(ctx, t, baadal.VMCreate{Name: "snap", SSHKeys: []string{key}})
	defer remove(ctx, t, vm.UUID)
	if vm, err = cloud.WaitAnswer(ctx, vm.UUID); err != nil {
		t.Fatal(err)
	}
	ssh(ctx, t, vm, "echo before > /root/before; nohup sleep 100000 >/dev/null 2>&1 & sync; echo memory > /dev/shm/memory || echo memory > /tmp/memory; sync")
	ch, err := c.CreateSnapshot(ctx, vm.UUID, baadal.SnapshotCreate{Name: "running"}, none)
	snapshotAct(ctx, t, "Snapshotted successfully", ch, err)
	ssh(ctx, t, vm, "echo after > /root/after; killall sleep; sync")

	ch, err = c.RevertSnapshot(ctx, vm.UUID, "running", none)
	snapshotAct(ctx, t, "Reverted to snapshot successfully", ch, err)
	files := ssh(ctx, t, vm, "cat /root/before; ls /root/after 2>/dev/null; pidof sleep >/dev/null && echo its process goes on")
	if files != "before\nits process goes on" {
		t.Errorf("after the revert of the running VM: %q", files)
	}

	vmAct(ctx, t, c.DestroyVM, vm.UUID)
	ch, err = c.CreateSnapshot(ctx, vm.UUID, baadal.SnapshotCreate{Name: "stopped"}, none)
	snapshotAct(ctx, t, "Snapshotted successfully", ch, err)
	vmAct(ctx, t, c.StartVM, vm.UUID)
	if vm, err = cloud.WaitAnswer(ctx, vm.UUID); err != nil {
		t.Fatal(err)
	}
	ssh(ctx, t, vm, "echo later > /root/later; sync")
	ch, err = c.RevertSnapshot(ctx, vm.UUID, "stopped", none)
	snapshotAct(ctx, t, "Reverted to snapshot successfully", ch, err)
	if err := state(ctx, vm.UUID, baadal.VMOff)(); err != nil {
		t.Error(err)
	}

	// The deleted VM's snapshots come back with it.
	vmAct(ctx, t, c.DeleteVM, vm.UUID)
	vmAct(ctx, t, c.RestoreVM, vm.UUID)
	if vm, err = c.VM(ctx, vm.UUID); err != nil {
		t.Fatal(err)
	}
	names := node(ctx, t, vm.Host, "virsh", "-q", "snapshot-list", "--name", "--topological", vm.UUID)
	if got := strings.Join(strings.Fields(names), " "); got != "running stopped" {
		t.Errorf("virsh knows the snapshots %q", got)
	}
	vmAct(ctx, t, c.StartVM, vm.UUID)
	if vm, err = cloud.WaitAnswer(ctx, vm.UUID); err != nil {
		t.Fatal(err)
	}
	if files := ssh(ctx, t, vm, "cat /root/before; ls /root/after /root/later 2>/dev/null; true"); files != "before" {
		t.Errorf("after the revert of the stopped VM: %q", files)
	}
	ch, err = c.RevertSnapshot(ctx, vm.UUID, "running", none)
	snapshotAct(ctx, t, "Reverted to snapshot successfully", ch, err)
	if files := ssh(ctx, t, vm, "cat /root/before; pidof sleep >/dev/null && echo its process goes on"); files != "before\nits process goes on" {
		t.Errorf("after the revert of the restored VM: %q", files)
	}
	for _, name := range []string{"running", "stopped"} {
		ch, err = c.DeleteSnapshot(ctx, vm.UUID, name, none)
		snapshotAct(ctx, t, "Deleted snapshot successfully", ch, err)
	}
	image := "/mnt/datastore/vm_images/" + vm.Identity + "/" + vm.Identity + ".qcow2"
	if left := node(ctx, t, vm.Host, "qemu-img", "snapshot", "-U", "-l", image); left != "" {
		t.Errorf("left in the image: %q", left)
	}
}

// TestSnapshotsBehindOurBack: what appeared or vanished on a host shows in the
// audit and is mended; a revert that could not succeed is refused, and the VM
// runs on.
func TestSnapshotsBehindOurBack(t *testing.T) {
	ctx := begin(t)
	none, c := baadal.ChangeOptions{}, cloud.Client
	vm := create(ctx, t, baadal.VMCreate{Name: "behind"})
	defer remove(ctx, t, vm.UUID)
	ch, err := c.CreateSnapshot(ctx, vm.UUID, baadal.SnapshotCreate{Name: "ours"}, none)
	snapshotAct(ctx, t, "Snapshotted successfully", ch, err)
	node(ctx, t, vm.Host, "virsh", "-q", "snapshot-delete", "--metadata", vm.UUID, "ours")
	node(ctx, t, vm.Host, "virsh", "-q", "snapshot-create-as", vm.UUID, "theirs")
	kinds := map[string]bool{}
	for _, d := range audit(ctx, t, true).Differences {
		kinds[d.Kind] = d.Repaired
	}
	if len(kinds) != 2 || !kinds[baadal.DiffMissingSnapshot] || !kinds[baadal.DiffForeignSnapshot] {
		t.Errorf("the audit found %v", kinds)
	}
	cleanAudit(ctx, t)
	for _, name := range []string{"theirs", "ours"} {
		ch, err = c.RevertSnapshot(ctx, vm.UUID, name, none)
		snapshotAct(ctx, t, "Reverted to snapshot successfully", ch, err)
	}

	// A checkpoint of a backup would make the revert fail and leave the VM off.
	node(ctx, t, vm.Host, "virsh", "-q", "checkpoint-create-as", vm.UUID, "backup")
	ch, err = c.RevertSnapshot(ctx, vm.UUID, "ours", none)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Await(ctx, ch.Task, nil); err == nil {
		t.Error("reverted in spite of a checkpoint")
	}
	if err := state(ctx, vm.UUID, baadal.VMRunning)(); err != nil {
		t.Errorf("after the refusal: %v", err)
	}
	if got := virsh(ctx, t, vm.Host)[vm.UUID]; got != "running" {
		t.Errorf("virsh says %q", got)
	}
	node(ctx, t, vm.Host, "virsh", "-q", "checkpoint-delete", vm.UUID, "backup")

	// So would a disk that the snapshot does not have be lost to the machine.
	add, err := c.AddDisk(ctx, vm.UUID, baadal.DiskAdd{SizeGiB: 1}, none)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Await(ctx, add.Task, nil); err != nil {
		t.Fatal(err)
	}
	ch, err = c.RevertSnapshot(ctx, vm.UUID, "ours", none)
	if err != nil {
		t.Fatal(err)
	}
	if done, err := cloud.Await(ctx, ch.Task, nil); err == nil || done.Code != "snapshot_unusable" {
		t.Errorf("with a newer disk it ends as %s: %s (%s)", done.State, done.Message, done.Code)
	}
	ch, err = c.CreateSnapshot(ctx, vm.UUID, baadal.SnapshotCreate{Name: "two-disks"}, none)
	snapshotAct(ctx, t, "Snapshotted successfully", ch, err)
	ch, err = c.RevertSnapshot(ctx, vm.UUID, "two-disks", none)
	snapshotAct(ctx, t, "Reverted to snapshot successfully", ch, err)
	if err := state(ctx, vm.UUID, baadal.VMRunning)(); err != nil {
		t.Error(err)
	}
}

// TestControllerDiesDuringSnapshots: killed at any moment, the controller ends
// what it began once it is back, and nothing is made twice or left.
func TestControllerDiesDuringSnapshots(t *testing.T) {
	ctx := begin(t)
	none, c := baadal.ChangeOptions{}, cloud.Client
	vm := create(ctx, t, baadal.VMCreate{Name: "killed"})
	defer remove(ctx, t, vm.UUID)
	for i, after := range []time.Duration{5, 30, 60, 120, 250, 500} {
		for what, ask := range map[string]func() (baadal.Change[baadal.Snapshot], error){
			"create": func() (baadal.Change[baadal.Snapshot], error) {
				return c.CreateSnapshot(ctx, vm.UUID, baadal.SnapshotCreate{Name: "killed"}, none)
			},
			"revert": func() (baadal.Change[baadal.Snapshot], error) { return c.RevertSnapshot(ctx, vm.UUID, "killed", none) },
			"delete": func() (baadal.Change[baadal.Snapshot], error) { return c.DeleteSnapshot(ctx, vm.UUID, "killed", none) },
		} {
			if want := []string{"create", "revert", "delete"}[i%3]; what != want {
				continue
			}
			ch, err := ask()
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			time.Sleep(after * time.Millisecond)
			if err := cloud.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := cloud.Restart(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := cloud.Await(ctx, ch.Task, nil); err != nil {
				t.Fatalf("%s, killed after %d ms: %v", what, after, err)
			}
			eventually(t, 5*time.Second, "running", state(ctx, vm.UUID, baadal.VMRunning))
			cleanAudit(ctx, t)
		}
	}
}
