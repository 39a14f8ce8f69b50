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

// ended waits for a task that is to fail and returns it.
func ended[T any](ctx context.Context, t *testing.T, c baadal.Change[T], err error) baadal.Task {
	t.Helper()
	if err != nil {
		t.Logf("refused: %v", err)
		return baadal.Task{State: baadal.TaskFailed, Code: baadal.CodeOf(err), Message: baadal.Message(err)}
	}
	done, err := cloud.Client.WaitTask(ctx, c.Task.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %s (%s): %s", done.Kind, done.State, done.Code, done.Message)
	return done
}

// onSmall makes a VM whose only disk lies on the lab's small datastore.
func onSmall(ctx context.Context, t *testing.T, name string) baadal.VM {
	t.Helper()
	addStore(ctx, t, lab.SmallDatastore)
	set := func(ratio, reserve string) {
		for name, value := range map[string]string{baadal.SettingDiskRatio: ratio, baadal.SettingDiskReserve: reserve} {
			if _, err := cloud.Client.UpdateSetting(ctx, name, value, baadal.ChangeOptions{}); err != nil {
				t.Error(err)
			}
		}
	}
	set("1000", "1") // so that it is found to be full only in the middle
	t.Cleanup(func() { set("4.0", "16") })
	vm := guest(ctx, t, baadal.VMCreate{Name: name})
	shortRetention(ctx, t)
	t.Cleanup(func() {
		remove(ctx, t, vm.UUID)
		purge(ctx, t, vm)
	})
	if done := moved(ctx, t, moveVM(ctx, t, vm, baadal.VMMove{Datastore: lab.SmallDatastore})); done.State != baadal.TaskSuccess {
		t.Fatalf("%s: %s", done.State, done.Message)
	}
	return vm
}

// small lists the images on the small datastore.
func small(ctx context.Context, t *testing.T) string {
	t.Helper()
	return node(ctx, t, "host1", "sh", "-c", "cd /mnt/small && find vm_images vm_bases vm_extra_disks vm_deleted -type f | sort")
}

// fill leaves so many KiB of the small datastore.
func fill(ctx context.Context, t *testing.T, leave int) {
	t.Helper()
	node(ctx, t, "host1", "sh", "-c", fmt.Sprintf(
		`free=$(df -k --output=avail /mnt/small | tail -n 1); dd if=/dev/zero of=/mnt/small/ballast bs=1k count=$((free - %d)) 2>/dev/null; sync /mnt/small/ballast`, leave))
}

// TestFullInTheMiddle fills the datastore under a running VM, and then wants
// clones, a snapshot with its memory, and another disk: each says what is wrong
// and leaves nothing, and the guest notices none of it. With room again all of
// it works.
func TestFullInTheMiddle(t *testing.T) {
	ctx := begin(t)
	vm := onSmall(ctx, t, "brim")
	before := small(ctx, t)
	alive := func(when string) {
		t.Helper()
		if got := ssh(ctx, t, vm, "echo alive"); got != "alive" {
			t.Errorf("%s the guest says %q", when, got)
		}
		if got := small(ctx, t); got != before {
			t.Errorf("%s there is\n%s\nbefore\n%s", when, got, before)
		}
	}
	none := baadal.ChangeOptions{}
	for _, c := range []struct {
		what  string
		leave int // KiB: enough for the guest's own few writes
		do    func() baadal.Task
	}{
		{"a clone by copy", 6 << 10, func() baadal.Task {
			c, err := cloud.Client.CloneVM(ctx, vm.UUID, baadal.VMClone{Name: "brim-full", Full: true}, none)
			return ended(ctx, t, c, err)
		}},
		{"a thin clone", 100, func() baadal.Task {
			c, err := cloud.Client.CloneVM(ctx, vm.UUID, baadal.VMClone{Name: "brim-thin", Count: 3}, none)
			return ended(ctx, t, c, err)
		}},
		{"a snapshot", 8 << 10, func() baadal.Task {
			c, err := cloud.Client.CreateSnapshot(ctx, vm.UUID, baadal.SnapshotCreate{Name: "brim"}, none)
			return ended(ctx, t, c, err)
		}},
		{"a disk", 100, func() baadal.Task {
			c, err := cloud.Client.AddDisk(ctx, vm.UUID, baadal.DiskAdd{SizeGiB: 1, Datastore: lab.SmallDatastore}, none)
			return ended(ctx, t, c, err)
		}},
	} {
		fill(ctx, t, c.leave)
		done := c.do()
		node(ctx, t, "host1", "rm", "-f", "/mnt/small/ballast")
		if done.State != baadal.TaskFailed || done.Message == "" || done.Code == "internal" {
			t.Errorf("%s: %s (%s): %s", c.what, done.State, done.Code, done.Message)
		}
		eventually(t, time.Minute, c.what+" taken back", idle(ctx))
		alive("after " + c.what)
	}
	eventually(t, 90*time.Second, "measured again", func() error {
		d, err := cloud.Client.Datastore(ctx, lab.SmallDatastore)
		if err == nil && d.Free < 16<<20 {
			err = fmt.Errorf("%d bytes are free", d.Free)
		}
		return err
	})
	grown, err := cloud.Client.GrowDisk(ctx, vm.UUID, "vda", baadal.DiskGrow{SizeGiB: 2}, none)
	diskTask(ctx, t, grown, err)
	if got := sectors(ctx, t, vm, "vda"); got != "2" {
		t.Errorf("the guest sees %s GiB", got)
	}
	clones := clone(ctx, t, vm.UUID, baadal.VMClone{Name: "brim-good"})
	remove(ctx, t, clones[0].UUID)
	purge(ctx, t, clones[0])
}

// purge waits until deleted VMs are gone for good: a controller that starts
// looks what is due.
func purge(ctx context.Context, t *testing.T, vms ...baadal.VM) {
	t.Helper()
	time.Sleep(1100 * time.Millisecond)
	if err := cloud.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cloud.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, 2*time.Minute, "purged", func() error {
		for _, vm := range vms {
			if _, err := cloud.Client.VM(ctx, vm.UUID); baadal.KindOf(err) != baadal.NotFound {
				return fmt.Errorf("%s is still there (%s)", vm.Name, baadal.KindOf(err))
			}
		}
		return nil
	})
	eventually(t, time.Minute, "idle", idle(ctx)) // bases go after those who stood on them
}

// TestReadOnlyInTheMiddle makes the datastore read-only under a VM that is off:
// a clone, a growth and a snapshot of it are refused with the reason, and leave
// nothing. Writable again, it boots.
func TestReadOnlyInTheMiddle(t *testing.T) {
	ctx := begin(t)
	vm := onSmall(ctx, t, "stone")
	destroyVM(ctx, t, vm.UUID)
	before := small(ctx, t)
	if err := theLab.SetDatastoreReadOnly(ctx, lab.SmallDatastore, true); err != nil {
		t.Fatal(err)
	}
	none := baadal.ChangeOptions{}
	var said []baadal.Task
	c, err := cloud.Client.CloneVM(ctx, vm.UUID, baadal.VMClone{Name: "stone-clone"}, none)
	said = append(said, ended(ctx, t, c, err))
	g, err := cloud.Client.GrowDisk(ctx, vm.UUID, "vda", baadal.DiskGrow{SizeGiB: 2}, none)
	said = append(said, ended(ctx, t, g, err))
	s, err := cloud.Client.CreateSnapshot(ctx, vm.UUID, baadal.SnapshotCreate{Name: "stone"}, none)
	said = append(said, ended(ctx, t, s, err))
	if err := theLab.SetDatastoreReadOnly(ctx, lab.SmallDatastore, false); err != nil {
		t.Fatal(err)
	}
	for _, done := range said {
		words := strings.ToLower(done.Message)
		if done.State != baadal.TaskFailed || done.Code == "internal" || !strings.Contains(words, "write") && !strings.Contains(words, "read-only") && done.Code != "datastore_full" {
			t.Errorf("%s: %s (%s): %s", done.Kind, done.State, done.Code, done.Message)
		}
	}
	eventually(t, time.Minute, "taken back", idle(ctx))
	if got := small(ctx, t); got != before {
		t.Errorf("there is\n%s\nbefore\n%s", got, before)
	}
	startVM(ctx, t, vm.UUID)
	answered(ctx, t, vm.UUID)
}
