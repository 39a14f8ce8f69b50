package disk_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/disk"
	"baadal/internal/needs"
)

const uuidBase = "0b6e4d3a-2222-4222-8333-cccccccccccc"

func freezeOf(ds baadal.Datastore) baadal.DiskFreeze {
	return baadal.DiskFreeze{
		DiskFile: baadal.DiskFile{Datastore: ds, Identity: "a", UUID: uuidA, Name: "a.qcow2"}, Base: uuidBase, Overlay: "a.1.qcow2", Bytes: 16 << 20,
	}
}

// pattern writes one byte over the first 64 KiB of a disk, as a guest would.
func pattern(t *testing.T, file string, b byte) {
	t.Helper()
	qemuIO(t, file, fmt.Sprintf("write -P %d 0 64k", b))
}

// qemuIO reads and writes as a guest would; what is read must be as it says.
func qemuIO(t *testing.T, file string, commands ...string) {
	t.Helper()
	needs.Programs(t, "qemu-io")
	args := []string{"-f", "qcow2"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	out, err := exec.Command("qemu-io", append(args, file)...).CombinedOutput()
	if err != nil || strings.Contains(string(out), "verification failed") {
		t.Fatalf("qemu-io %v %s: %v: %s", commands, file, err, out)
	}
}

func wantPattern(t *testing.T, file string, b byte) {
	t.Helper()
	out, err := exec.Command("qemu-io", "-r", "-U", "-f", "qcow2", "-c", fmt.Sprintf("read -P %d 0 64k", b), file).CombinedOutput()
	if err != nil {
		t.Errorf("%s does not hold %q: %v: %s", file, b, err, out)
	}
}

// freeze makes the base of a VM that is off and puts the VM on the overlay.
func freeze(t *testing.T, d *disk.Disks, f baadal.DiskFreeze) {
	t.Helper()
	must(t, d.ShareDisk(t.Context(), testHost, f))
	must(t, d.SealBase(t.Context(), testHost, f, true))
}

func TestFreezeAndFork(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 64)
	ctx := t.Context()
	f := freezeOf(ds)
	must(t, d.CreateImage(ctx, testHost, image(ds, "a", uuidA)))
	pattern(t, f.Old(), 'x')
	chain, err := d.DiskChain(ctx, testHost, f)
	if err != nil || chain != (baadal.DiskChain{Depth: 1, Bytes: 16 << 20, Root: ds.TemplateFile("t.qcow2"), Format: "qcow2"}) {
		t.Errorf("chain %+v, %v", chain, err)
	}
	for range 2 {
		freeze(t, d, f)
	}
	if diff := cmp.Diff([]string{"a/", "a/.baadal", "a/a-seed.iso", "a/a.1.qcow2"}, tree(t, filepath.Join(ds.Path, "vm_images"))); diff != "" {
		t.Error(diff)
	}
	fork := image(ds, "b", uuidB)
	fork.Template = ds.BaseFile(uuidBase)
	must(t, d.CreateImage(ctx, testHost, fork))
	pattern(t, f.New(), 'y')
	wantPattern(t, ds.ImageFile("b"), 'x') // what was there before the fork, not what came later
	pattern(t, ds.ImageFile("b"), 'z')
	wantPattern(t, f.New(), 'y')
	wantPattern(t, ds.BaseFile(uuidBase), 'x')

	// In any order of deletion nobody loses what he stands on.
	wantCode(t, d.RemoveBase(ctx, testHost, ds, uuidBase), baadal.Conflict, "base_in_use")
	must(t, d.ArchiveImage(ctx, testHost, ds, "a", uuidA))
	must(t, d.RemoveImage(ctx, testHost, ds, "b", uuidB))
	wantCode(t, d.RemoveBase(ctx, testHost, ds, uuidBase), baadal.Conflict, "base_in_use")
	must(t, d.RestoreImage(ctx, testHost, ds, "a", uuidA))
	wantPattern(t, f.New(), 'y')
	must(t, d.RemoveImage(ctx, testHost, ds, "a", uuidA))
	for range 2 {
		must(t, d.RemoveBase(ctx, testHost, ds, uuidBase))
	}
	for _, area := range []string{"vm_images", "vm_deleted", "vm_bases"} {
		if got := tree(t, filepath.Join(ds.Path, area)); len(got) > 0 {
			t.Errorf("left %v in %s", got, area)
		}
	}
}

// An overlay on a base is not removed while another base stands on it.
func TestBasesStandOnBases(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 64)
	f := freezeOf(ds)
	must(t, d.CreateImage(t.Context(), testHost, image(ds, "a", uuidA)))
	freeze(t, d, f)
	second := f
	second.Base, second.Name, second.Overlay = uuidB, f.Overlay, "a.2.qcow2"
	freeze(t, d, second)
	chain, err := d.DiskChain(t.Context(), testHost, baadal.DiskFreeze{DiskFile: baadal.DiskFile{Datastore: ds, Identity: "a", UUID: uuidA, Name: "a.2.qcow2"}})
	if err != nil || chain.Depth != 3 {
		t.Errorf("chain %+v, %v", chain, err)
	}
	wantCode(t, d.RemoveBase(t.Context(), testHost, ds, uuidBase), baadal.Conflict, "base_in_use")
	must(t, d.RemoveImage(t.Context(), testHost, ds, "a", uuidA))
	wantCode(t, d.RemoveBase(t.Context(), testHost, ds, uuidBase), baadal.Conflict, "base_in_use")
	must(t, d.RemoveBase(t.Context(), testHost, ds, uuidB))
	must(t, d.RemoveBase(t.Context(), testHost, ds, uuidBase))
}

// What a VM wrote after the freeze is not lost when the freeze is taken back.
func TestMergeDisk(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 64)
	ctx := t.Context()
	f := freezeOf(ds)
	must(t, d.CreateImage(ctx, testHost, image(ds, "a", uuidA)))
	before := tree(t, ds.Path)
	pattern(t, f.Old(), 'x')
	freeze(t, d, f)
	pattern(t, f.New(), 'y')
	for range 2 {
		must(t, d.MergeDisk(ctx, testHost, f))
		must(t, d.UnshareDisk(ctx, testHost, f))
		must(t, d.RemoveBase(ctx, testHost, ds, uuidBase))
		wantPattern(t, f.Old(), 'y')
	}
	if diff := cmp.Diff(before, tree(t, ds.Path)); diff != "" {
		t.Error(diff)
	}
}

func TestCopyBase(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 64)
	ctx := t.Context()
	f := freezeOf(ds)
	must(t, d.CreateImage(ctx, testHost, image(ds, "a", uuidA)))
	pattern(t, f.Old(), 'x')
	qemuImg(t, "snapshot", "-c", "s1", f.Old())
	if chain, err := d.DiskChain(ctx, testHost, f); err != nil || chain.Snapshots != 1 {
		t.Errorf("chain %+v, %v", chain, err)
	}
	must(t, d.PrepareCopy(ctx, testHost, f))
	write(t, f.BaseCopy(), "half a copy")
	for range 2 {
		must(t, d.PrepareCopy(ctx, testHost, f))
		must(t, d.CopyDisk(ctx, testHost, f))
		must(t, d.KeepCopy(ctx, testHost, f))
	}
	wantPattern(t, ds.BaseFile(uuidBase), 'x')
	if diff := cmp.Diff([]string{uuidBase + "/", uuidBase + "/.baadal", uuidBase + "/base.qcow2"}, tree(t, filepath.Join(ds.Path, "vm_bases"))); diff != "" {
		t.Error(diff)
	}
	must(t, d.RemoveBase(ctx, testHost, ds, uuidBase))
}

// Every moment may be the last one of a script: the VM's disk is always one
// file, whole, under the old name or the new one.
func TestFreezeKilled(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	d, ds := newDisks(t, 64)
	ctx := t.Context()
	f := freezeOf(ds)
	must(t, d.CreateImage(ctx, testHost, image(ds, "a", uuidA)))
	pattern(t, f.Old(), 'x')
	killed := 0
	for i := range 20 {
		cut := disk.New(local{killAfter: time.Duration(1+rand.IntN(40)) * time.Millisecond}, disk.Options{})
		err := cut.ShareDisk(ctx, testHost, f)
		if err == nil {
			err = cut.SealBase(ctx, testHost, f, true)
		}
		if err != nil {
			killed++
		}
		if _, err := os.Stat(f.Old()); err == nil {
			wantPattern(t, f.Old(), 'x')
		} else {
			wantPattern(t, f.New(), 'x')
		}
		if i%2 == 0 {
			freeze(t, d, f)
			_ = cut.MergeDisk(ctx, testHost, f)
			_ = cut.UnshareDisk(ctx, testHost, f)
		}
		must(t, d.MergeDisk(ctx, testHost, f))
		must(t, d.UnshareDisk(ctx, testHost, f))
		must(t, d.RemoveBase(ctx, testHost, ds, uuidBase))
		wantPattern(t, f.Old(), 'x')
		if got := tree(t, filepath.Join(ds.Path, "vm_bases")); len(got) > 0 {
			t.Fatalf("round %d left %v", i, got)
		}
	}
	t.Logf("%d of 20 were killed", killed)
	if killed < 3 {
		t.Errorf("only %d of 20 were killed: the test shows nothing", killed)
	}
}
