package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/lab"
)

// addStore gives the cloud one of the lab's other datastores until the test ends.
func addStore(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	ds, err := cloud.Client.AddDatastore(ctx, baadal.DatastoreAdd{Name: name, Path: "/mnt/" + name}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		eventually(t, 30*time.Second, name+" removed", func() error {
			_, err := cloud.Client.RemoveDatastore(ctx, ds.Resource.Name, baadal.ChangeOptions{})
			return err
		})
	})
	eventually(t, 30*time.Second, name+" measured", datastoreIs(ctx, name, baadal.DatastoreOK))
}

// moveVM asks for a move to another datastore.
func moveVM(ctx context.Context, t *testing.T, vm baadal.VM, in baadal.VMMove) *baadal.Task {
	t.Helper()
	c, err := cloud.Client.MoveVM(ctx, vm.UUID, in, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c.Task
}

// moved waits for the end of a move, good or not.
func moved(ctx context.Context, t *testing.T, k *baadal.Task) baadal.Task {
	t.Helper()
	done, err := cloud.Client.WaitTask(ctx, k.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s after %s: %s", done.State, done.EndedAt.Sub(done.CreatedAt).Round(time.Millisecond), done.Message)
	for _, s := range done.Steps {
		t.Logf("   %-16s %s %s", s.Name, s.State, s.Detail+s.Error)
	}
	return done
}

// liesOn checks that the disks which the domain has are on one datastore, and
// that nothing of the VM is on any other.
func liesOn(ctx context.Context, t *testing.T, vm baadal.VM, name string) {
	t.Helper()
	now, err := cloud.Client.VM(ctx, vm.UUID)
	if err != nil {
		t.Fatal(err)
	}
	if now.Datastore != name {
		t.Errorf("it is on datastore %s, want %s", now.Datastore, name)
	}
	for line := range strings.Lines(node(ctx, t, now.Host, "virsh", "-q", "domblklist", vm.UUID)) {
		if f := strings.Fields(line); len(f) == 2 && f[1] != "-" && !strings.HasPrefix(f[1], "/mnt/"+name+"/") {
			t.Errorf("%s is %s, not on %s", f[0], f[1], name)
		}
	}
	for _, other := range []string{lab.Datastore, lab.SmallDatastore, lab.SecondDatastore} {
		left := node(ctx, t, now.Host, "sh", "-c", `find "$1/vm_images" "$1/vm_extra_disks" -path "*$2*" 2>/dev/null || true`, "sh", "/mnt/"+other, vm.Identity)
		if other != name && left != "" {
			t.Errorf("left on %s: %s", other, left)
		}
	}
}

// writer is what a guest does all the time: it writes blocks of its own making to
// a file system and to a second disk, notes what it wrote, and checks all of it
// in the end, past its caches.
const (
	writer = `mkdir -p /root/w; cd /root/w; rm -f *; (n=0; while [ ! -e stop ]; do n=$((n+1)); i=$((n%40))
	dd if=/dev/urandom of=f$i bs=32k count=1 2>/dev/null; md5sum f$i >f$i.sum
	dd if=f$i of=/dev/vdb bs=32k count=1 seek=$i conv=notrunc 2>/dev/null; sync; echo $n >count; done; sync; touch stopped) >/dev/null 2>&1 &`
	verify = `cd /root/w; touch stop; while [ ! -e stopped ]; do sleep 0.1; done; sync; echo 3 >/proc/sys/vm/drop_caches
	cat f*.sum | md5sum -c - >/tmp/check 2>&1 || { grep -v OK /tmp/check; exit 1; }
	for f in f*.sum; do i=${f#f}; i=${i%.sum}; a=$(dd if=/dev/vdb bs=32k count=1 skip=$i 2>/dev/null | md5sum | cut -c1-32); b=$(cut -c1-32 $f); [ "$a" = "$b" ] || { echo vdb $i; exit 1; }; done
	echo "$(cat count) right $(ls f*.sum | wc -l)"; rm -f stop stopped`
)

// written stops the writer and returns how often it wrote; everything must be as
// it was written.
func written(ctx context.Context, t *testing.T, vm baadal.VM) int {
	t.Helper()
	var n, files int
	out := ssh(ctx, t, vm, verify)
	if _, err := fmt.Sscanf(out, "%d right %d", &n, &files); err != nil || n == 0 || files == 0 {
		t.Fatalf("in the guest: %q", out)
	}
	return n
}

// TestMoveWhileItWrites moves a VM whose guest writes all the time to another
// datastore, to another host from there, and back: everything that it wrote is
// right, also after a cold start on the new datastore.
func TestMoveWhileItWrites(t *testing.T) {
	ctx := begin(t)
	addStore(ctx, t, lab.SecondDatastore)
	c, none := cloud.Client, baadal.ChangeOptions{}
	vm := guest(ctx, t, baadal.VMCreate{Name: "mover"})
	t.Cleanup(func() { remove(ctx, t, vm.UUID) })
	add, err := c.AddDisk(ctx, vm.UUID, baadal.DiskAdd{SizeGiB: 1, Datastore: lab.Datastore}, none)
	diskTask(ctx, t, add, err)
	for round, to := range []string{lab.SecondDatastore, lab.Datastore} {
		ssh(ctx, t, vm, writer)
		time.Sleep(500 * time.Millisecond)
		if done := moved(ctx, t, moveVM(ctx, t, vm, baadal.VMMove{Datastore: to})); done.State != baadal.TaskSuccess {
			t.Fatalf("%s: %s", done.State, done.Message)
		}
		liesOn(ctx, t, vm, to)
		if round == 0 { // from here it can go on to another host, with its seed
			if done := migrate(ctx, t, vm.UUID, baadal.VMMigrate{}); done.State != baadal.TaskSuccess {
				t.Errorf("migrated: %s", done.Message)
			}
		}
		t.Logf("%d writes, all right on %s", written(ctx, t, vm), to)
	}
	vmAct(ctx, t, c.DestroyVM, vm.UUID)
	if done := moved(ctx, t, moveVM(ctx, t, vm, baadal.VMMove{Datastore: lab.SecondDatastore})); done.State != baadal.TaskSuccess {
		t.Fatalf("stopped, %s: %s", done.State, done.Message)
	}
	liesOn(ctx, t, vm, lab.SecondDatastore)
	vmAct(ctx, t, c.StartVM, vm.UUID)
	if vm, err = cloud.WaitAnswer(ctx, vm.UUID); err != nil {
		t.Fatal(err)
	}
	if out := ssh(ctx, t, vm, "cd /root/w && cat f*.sum | md5sum -c - | grep -vc OK; true"); out != "0" {
		t.Errorf("after the cold start %s files are wrong", out)
	}
	if done := moved(ctx, t, moveVM(ctx, t, vm, baadal.VMMove{Datastore: lab.Datastore})); done.State != baadal.TaskSuccess {
		t.Fatalf("%s: %s", done.State, done.Message)
	}
}

// TestMoveStoppedWithSnapshots moves a VM that is off, with a snapshot that holds
// its memory and one that does not: both can be reverted to where it is now.
func TestMoveStoppedWithSnapshots(t *testing.T) {
	ctx := begin(t)
	addStore(ctx, t, lab.SecondDatastore)
	none, c := baadal.ChangeOptions{}, cloud.Client
	vm := guest(ctx, t, baadal.VMCreate{Name: "mover-snap"})
	t.Cleanup(func() { remove(ctx, t, vm.UUID) })
	ssh(ctx, t, vm, "echo one >/root/state; sync; nohup sleep 100000 >/dev/null 2>&1 &")
	ch, err := c.CreateSnapshot(ctx, vm.UUID, baadal.SnapshotCreate{Name: "running"}, none)
	snapshotAct(ctx, t, "Snapshotted successfully", ch, err)
	if _, err := c.MoveVM(ctx, vm.UUID, baadal.VMMove{Datastore: lab.SecondDatastore}, none); baadal.CodeOf(err) != "has_snapshots" {
		t.Errorf("with a snapshot, running: %v", err)
	}
	ssh(ctx, t, vm, "echo two >/root/state; sync")
	vmAct(ctx, t, c.DestroyVM, vm.UUID)
	ch, err = c.CreateSnapshot(ctx, vm.UUID, baadal.SnapshotCreate{Name: "stopped"}, none)
	snapshotAct(ctx, t, "Snapshotted successfully", ch, err)
	if done := moved(ctx, t, moveVM(ctx, t, vm, baadal.VMMove{Datastore: lab.SecondDatastore})); done.State != baadal.TaskSuccess {
		t.Fatalf("%s: %s", done.State, done.Message)
	}
	liesOn(ctx, t, vm, lab.SecondDatastore)
	ch, err = c.RevertSnapshot(ctx, vm.UUID, "running", none)
	snapshotAct(ctx, t, "Reverted to snapshot successfully", ch, err)
	if got := ssh(ctx, t, vm, "cat /root/state; pidof sleep >/dev/null && echo its process goes on"); got != "one\nits process goes on" {
		t.Errorf("after the revert to the running one: %q", got)
	}
	liesOn(ctx, t, vm, lab.SecondDatastore)
	ch, err = c.RevertSnapshot(ctx, vm.UUID, "stopped", none)
	snapshotAct(ctx, t, "Reverted to snapshot successfully", ch, err)
	vmAct(ctx, t, c.StartVM, vm.UUID)
	if vm, err = cloud.WaitAnswer(ctx, vm.UUID); err != nil {
		t.Fatal(err)
	}
	if got := ssh(ctx, t, vm, "cat /root/state"); got != "two" {
		t.Errorf("after the revert to the stopped one: %q", got)
	}
	liesOn(ctx, t, vm, lab.SecondDatastore)
	vmAct(ctx, t, c.DestroyVM, vm.UUID)
	if done := moved(ctx, t, moveVM(ctx, t, vm, baadal.VMMove{Datastore: lab.Datastore})); done.State != baadal.TaskSuccess {
		t.Errorf("%s: %s", done.State, done.Message)
	}
	liesOn(ctx, t, vm, lab.Datastore)
}

// TestMoveGivenUp: a datastore that is too small or read-only, a cancelled move,
// and a controller that is killed again and again: the guest runs on, on one
// datastore, and nothing is left on the other.
func TestMoveGivenUp(t *testing.T) {
	ctx := begin(t)
	addStore(ctx, t, lab.SmallDatastore)
	addStore(ctx, t, lab.SecondDatastore)
	vm := guest(ctx, t, baadal.VMCreate{Name: "mover-given"})
	t.Cleanup(func() { remove(ctx, t, vm.UUID) })
	add, err := cloud.Client.AddDisk(ctx, vm.UUID, baadal.DiskAdd{SizeGiB: 1, Datastore: lab.Datastore}, baadal.ChangeOptions{})
	diskTask(ctx, t, add, err)
	set := func(ratio, reserve string) {
		for name, value := range map[string]string{baadal.SettingDiskRatio: ratio, baadal.SettingDiskReserve: reserve} {
			if _, err := cloud.Client.UpdateSetting(ctx, name, value, baadal.ChangeOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	set("100", "1") // so that it is found to be full only in the middle
	defer set("4.0", "16")
	ssh(ctx, t, vm, "[ -b /dev/vdb ] && dd if=/dev/urandom of=/dev/vdb bs=64k seek=100 count=1280 && sync") // 80 MiB beside the blocks of the writer
	ssh(ctx, t, vm, writer)

	full := moved(ctx, t, moveVM(ctx, t, vm, baadal.VMMove{Datastore: lab.SmallDatastore}))
	if full.State != baadal.TaskFailed || full.Code != "datastore_full" {
		t.Errorf("to a small datastore: %s (%s): %s", full.State, full.Code, full.Message)
	}
	liesOn(ctx, t, vm, lab.Datastore)
	if err := theLab.SetDatastoreReadOnly(ctx, lab.SmallDatastore, true); err != nil {
		t.Fatal(err)
	}
	k, err := cloud.Client.MoveVM(ctx, vm.UUID, baadal.VMMove{Datastore: lab.SmallDatastore}, baadal.ChangeOptions{})
	if err == nil { // the measuring loop has not seen it yet
		if ro := moved(ctx, t, k.Task); ro.State != baadal.TaskFailed || ro.Code != "datastore_read_only" {
			t.Errorf("to a read-only datastore: %s (%s): %s", ro.State, ro.Code, ro.Message)
		}
	} else if code := baadal.CodeOf(err); code != "datastore_full" && code != "no_datastore" {
		t.Errorf("to a read-only datastore: %v", err)
	}
	if err := theLab.SetDatastoreReadOnly(ctx, lab.SmallDatastore, false); err != nil {
		t.Fatal(err)
	}
	liesOn(ctx, t, vm, lab.Datastore)

	slow := moveVM(ctx, t, vm, baadal.VMMove{Datastore: lab.SecondDatastore, BandwidthMiBs: 5})
	eventually(t, 20*time.Second, "copying", copying(ctx, slow.ID))
	if _, err := cloud.Client.CancelTask(ctx, slow.ID); err != nil {
		t.Fatal(err)
	}
	if done := moved(ctx, t, slow); done.State != baadal.TaskFailed || done.Code != "cancelled" {
		t.Errorf("cancelled: %s (%s): %s", done.State, done.Code, done.Message)
	}
	liesOn(ctx, t, vm, lab.Datastore)

	killed := moveVM(ctx, t, vm, baadal.VMMove{Datastore: lab.SecondDatastore, BandwidthMiBs: 40})
	for i := range 4 {
		time.Sleep(time.Duration(100+300*i) * time.Millisecond)
		if err := cloud.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cloud.Restart(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if done := moved(ctx, t, killed); done.State != baadal.TaskSuccess {
		t.Errorf("with the controller killed: %s: %s", done.State, done.Message)
	}
	liesOn(ctx, t, vm, lab.SecondDatastore)
	t.Logf("%d writes, all right", written(ctx, t, vm))
	if done := moved(ctx, t, moveVM(ctx, t, vm, baadal.VMMove{Datastore: lab.Datastore})); done.State != baadal.TaskSuccess {
		t.Errorf("%s: %s", done.State, done.Message)
	}
}

// copying waits until a task has shown progress of a copy.
func copying(ctx context.Context, id int64) func() error {
	return func() error {
		k, err := cloud.Client.Task(ctx, id)
		if err != nil {
			return err
		}
		for _, s := range k.Steps {
			if s.Name == "move" && s.State == baadal.StepStarted && strings.Contains(s.Detail, "MiB") {
				return nil
			}
		}
		return fmt.Errorf("%s, at step %q", k.State, k.Step)
	}
}
