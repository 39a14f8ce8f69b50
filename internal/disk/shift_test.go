package disk_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/disk"
)

// twoStores are two datastores, with the VM "a" and its seed on the first one.
func twoStores(t *testing.T, mib int) (d *disk.Disks, m baadal.DiskMove) {
	t.Helper()
	d, from := newDisks(t, 64)
	to := newStore(t, mib)
	to.ID, to.Name = 2, "ds2"
	must(t, d.CreateImage(t.Context(), testHost, image(from, "a", uuidA)))
	f := baadal.DiskFile{Datastore: from, Identity: "a", UUID: uuidA, Name: "a.qcow2"}
	m = baadal.DiskMove{From: f, To: f, Bytes: 16 << 20}
	m.To.Datastore = to
	return d, m
}

// TestMoveFirstDisk copies the disk of a VM that is off: flat, or as it is with
// its snapshots. Each call is made twice.
func TestMoveFirstDisk(t *testing.T) {
	t.Parallel()
	d, m := twoStores(t, 64)
	ctx := t.Context()
	pattern(t, m.From.Path(), 'x')
	qemuImg(t, "snapshot", "-c", "one", m.From.Path())
	pattern(t, m.From.Path(), 'y')
	stamp, err := d.MoveStamp(ctx, testHost, m)
	must(t, err)
	var told []baadal.CopyProgress
	for _, whole := range []bool{true, true, false, false} {
		must(t, d.PrepareMove(ctx, testHost, m))
		must(t, d.CopyMove(ctx, testHost, m, whole, 0, func(p baadal.CopyProgress) { told = append(told, p) }))
		wantPattern(t, m.To.Path(), 'y')
		info := qemuImg(t, "info", "--output=json", m.To.Path())
		if strings.Contains(info, `"one"`) != whole || strings.Contains(info, "t.qcow2") != whole {
			t.Errorf("whole %t: %s", whole, info)
		}
		if diff := cmp.Diff([]string{"a/", "a/.baadal", "a/a-seed.iso", "a/a.qcow2"}, tree(t, filepath.Join(m.To.Datastore.Path, "vm_images"))); diff != "" {
			t.Error(diff)
		}
		qemuImg(t, "check", "-q", m.To.Path())
	}
	if n := len(told); n == 0 || told[n-1].Done != m.Bytes || told[n-1].Total != m.Bytes {
		t.Errorf("progress: %+v", told)
	}
	if now, err := d.MoveStamp(ctx, testHost, m); err != nil || now != stamp {
		t.Errorf("the copying changed the disk: %q, %q, %v", stamp, now, err)
	}
	pattern(t, m.From.Path(), 'z')
	if now, err := d.MoveStamp(ctx, testHost, m); err != nil || now == stamp {
		t.Errorf("a write does not show: %q, %v", now, err)
	}
	seed, err := os.ReadFile(m.To.Datastore.SeedFile("a"))
	if err != nil || string(seed) != "the seed" {
		t.Errorf("the seed is %q: %v", seed, err)
	}
	must(t, d.RemoveImage(ctx, testHost, m.From.Datastore, "a", uuidA))
	must(t, d.GrowDisk(ctx, testHost, m.To, 32<<20))
}

// TestMoveExtraDisk makes an empty file for a disk that is in use, and then
// copies the disk over it.
func TestMoveExtraDisk(t *testing.T) {
	t.Parallel()
	d, m := twoStores(t, 64)
	ctx := t.Context()
	m.From = extraDisk(m.From.Datastore, 1)
	to := m.From
	to.Datastore = m.To.Datastore
	m.To, m.Bytes = to, 4<<20
	must(t, d.CreateDisk(ctx, testHost, m.From, m.Bytes))
	pattern(t, m.From.Path(), 'x')
	wantCode(t, d.EmptyMove(ctx, testHost, m), baadal.NotFound, "folder_missing")
	const dir = "vm_extra_disks/ds2/"
	for range 2 {
		must(t, d.PrepareMove(ctx, testHost, m))
		must(t, d.EmptyMove(ctx, testHost, m))
		wantFiles(t, m.To.Datastore, dir, dir+"a/", dir+"a/.a_disk1.qcow2.id", dir+"a/.baadal", dir+"a/a_disk1.qcow2")
	}
	must(t, d.CopyMove(ctx, testHost, m, false, 1<<30, func(baadal.CopyProgress) {}))
	wantPattern(t, m.To.Path(), 'x')
	must(t, d.RemoveDisk(ctx, testHost, m.From))
	must(t, d.ArchiveDisk(ctx, testHost, m.To)) // it is a disk like any other
	must(t, d.RestoreDisk(ctx, testHost, m.To))
	wantCode(t, d.CopyMove(ctx, testHost, m, false, 0, func(baadal.CopyProgress) {}), baadal.NotFound, "folder_missing")

	stranger := m
	stranger.From.DiskID, stranger.To.DiskID = 99, 99
	wantCode(t, d.PrepareMove(ctx, testHost, stranger), baadal.Conflict, "folder_exists")
	stranger = m
	stranger.From.UUID, stranger.To.UUID = uuidB, uuidB
	wantCode(t, d.PrepareMove(ctx, testHost, stranger), baadal.Conflict, "folder_exists")
	same := m
	same.To = same.From
	wantCode(t, d.PrepareMove(ctx, testHost, same), baadal.Invalid, "invalid")
}

// TestMoveIsRefused: a datastore that is full or cannot be written to, and a
// disk that somebody has open.
func TestMoveIsRefused(t *testing.T) {
	t.Parallel()
	d, m := twoStores(t, 1)
	ctx := t.Context()
	nothing := func(baadal.CopyProgress) {}
	must(t, d.PrepareMove(ctx, testHost, m))
	if out, err := exec.Command("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 8M", m.From.Path()).CombinedOutput(); err != nil {
		t.Fatalf("qemu-io: %v: %s", err, out)
	}
	wantCode(t, d.CopyMove(ctx, testHost, m, false, 0, nothing), baadal.Exhausted, "datastore_full")
	wantCode(t, d.CopyMove(ctx, testHost, m, true, 0, nothing), baadal.Exhausted, "datastore_full")
	if left := tree(t, filepath.Dir(m.To.Path())); len(left) != 2 {
		t.Errorf("left behind: %q", left)
	}
	remount := func(flags uintptr) {
		t.Helper()
		must(t, syscall.Mount("", m.To.Datastore.Path, "", syscall.MS_REMOUNT|flags, ""))
	}
	remount(syscall.MS_RDONLY)
	wantCode(t, d.PrepareMove(ctx, testHost, m), baadal.Conflict, "datastore_read_only")
	wantCode(t, d.CopyMove(ctx, testHost, m, false, 0, nothing), baadal.Conflict, "datastore_read_only")
	remount(0)
	busy := exec.CommandContext(ctx, "qemu-io", "-f", "qcow2", m.From.Path())
	in, err := busy.StdinPipe()
	must(t, err)
	out, err := busy.StdoutPipe()
	must(t, err)
	must(t, busy.Start())
	_, err = io.WriteString(in, "write 0 512\n")
	must(t, err)
	_, err = bufio.NewReader(out).ReadString('\n') // it has the lock now
	must(t, err)
	wantCode(t, d.CopyMove(ctx, testHost, m, false, 0, nothing), baadal.Conflict, "disk_in_use")
	must(t, in.Close())
	must(t, busy.Wait())

	gone := m
	gone.To.Datastore.Path = t.TempDir()
	wantCode(t, d.PrepareMove(ctx, testHost, gone), baadal.Conflict, "datastore_not_mounted")
}
