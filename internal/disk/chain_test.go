package disk_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/disk"
)

const uuidC = "0b6e4d3a-1111-4222-8333-dddddddddddd"

// deep puts a VM that is off on two bases: 'x' in the lower one, 'y' in the
// upper one, 'z' at the end of its own disk.
func deep(t *testing.T, d *disk.Disks, ds baadal.Datastore) (first, second baadal.DiskFreeze) {
	t.Helper()
	first = freezeOf(ds)
	must(t, d.CreateImage(t.Context(), testHost, image(ds, "a", uuidA)))
	pattern(t, first.Old(), 'x')
	freeze(t, d, first)
	second = first
	second.Base, second.Name, second.Overlay = uuidB, first.Overlay, "a.2.qcow2"
	qemuIO(t, second.Old(), "write -P 121 1M 4M")
	freeze(t, d, second)
	qemuIO(t, second.New(), "write -P 122 8M 64k")
	return first, second
}

// wantDeep wants what deep wrote.
func wantDeep(t *testing.T, file string) {
	t.Helper()
	qemuIO(t, file, "read -P 120 0 64k", "read -P 121 1M 4M", "read -P 122 8M 64k", "read -P 0 12M 4M")
}

func top(f baadal.DiskFreeze) baadal.DiskFile {
	k := f.DiskFile
	k.Name = f.Overlay
	return k
}

func TestFlattenDisk(t *testing.T) {
	t.Parallel()
	for _, onto := range []string{"template", "nothing"} {
		d, ds := newDisks(t, 96)
		ctx := t.Context()
		_, second := deep(t, d, ds)
		chain, err := d.DiskChain(ctx, testHost, baadal.DiskFreeze{DiskFile: top(second)})
		if err != nil || chain.Depth != 3 || chain.Root != ds.TemplateFile("t.qcow2") || chain.Format != "qcow2" || chain.Between < 4<<20 || chain.Between > 8<<20 {
			t.Errorf("chain %+v, %v", chain, err)
		}
		root, depth := chain.Root, 1
		if onto == "nothing" {
			root, depth = "", 0
		}
		begun := time.Now()
		must(t, d.FlattenDisk(ctx, testHost, top(second), root, chain.Format, 4<<20))
		if took := time.Since(begun); took < 500*time.Millisecond {
			t.Errorf("4 MiB at 4 MiB/s took %s", took)
		}
		must(t, d.FlattenDisk(ctx, testHost, top(second), root, chain.Format, 0))
		wantDeep(t, second.New())
		if chain, err = d.DiskChain(ctx, testHost, baadal.DiskFreeze{DiskFile: top(second)}); err != nil || chain.Depth != depth || chain.Between != 0 {
			t.Errorf("flattened to %s: chain %+v, %v", onto, chain, err)
		}
		for _, base := range []string{uuidB, uuidBase} { // nobody stands on them any more
			must(t, d.RemoveBase(ctx, testHost, ds, base))
		}
		wantDeep(t, second.New())
	}
}

// Every moment may be the last one of a flattening: the disk holds the same.
func TestFlattenKilled(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 96)
	_, second := deep(t, d, ds)
	killed := 0
	for range 8 {
		cut := disk.New(local{killAfter: time.Duration(20+rand.IntN(300)) * time.Millisecond}, disk.Options{})
		if cut.FlattenDisk(t.Context(), testHost, top(second), ds.TemplateFile("t.qcow2"), "qcow2", 8<<20) != nil {
			killed++
		}
		wantDeep(t, second.New())
	}
	if killed < 3 {
		t.Errorf("only %d of 8 were killed: the test shows nothing", killed)
	}
	must(t, d.FlattenDisk(t.Context(), testHost, top(second), ds.TemplateFile("t.qcow2"), "qcow2", 0))
	wantDeep(t, second.New())
	if out := qemuImg(t, "check", second.New()); !strings.Contains(out, "No errors") && !strings.Contains(out, "leaked") {
		t.Error(out)
	}
}

// What a base is called in the folder of a VM that ran while it was made goes
// once the disk stands on no base.
func TestDropNames(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 64)
	ctx := t.Context()
	f := freezeOf(ds)
	must(t, d.CreateImage(ctx, testHost, image(ds, "a", uuidA)))
	must(t, d.ShareDisk(ctx, testHost, f))
	must(t, d.SealBase(ctx, testHost, f, false)) // it runs: the name stays
	extra := extraDisk(ds, 1)
	must(t, d.CreateDisk(ctx, testHost, extra, 1<<20))
	g := baadal.DiskFreeze{DiskFile: extra, Base: uuidB, Overlay: baadal.OverlayName(extra.Name, uuidB), Bytes: 1 << 20}
	must(t, d.ShareDisk(ctx, testHost, g))
	must(t, d.SealBase(ctx, testHost, g, false))
	other := extraDisk(ds, 2)
	must(t, d.CreateDisk(ctx, testHost, other, 1<<20))
	for range 2 {
		must(t, d.DropNames(ctx, testHost, top(f)))
		must(t, d.DropNames(ctx, testHost, top(g)))
	}
	dir := filepath.Join(ds.Path, extra.Dir())
	want := []string{".a_disk1.0b6e4d3a.qcow2.id", ".a_disk2.qcow2.id", ".baadal", "a_disk1.0b6e4d3a.qcow2", "a_disk2.qcow2"}
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(f.Old()); !os.IsNotExist(err) {
		t.Errorf("%s is there still: %v", f.Old(), err)
	}
}

// An extra disk that became a base is taken away as a whole: its overlay, and
// the names that the base had.
func TestRemoveFrozenDisk(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 64)
	ctx := t.Context()
	extra := extraDisk(ds, 1)
	must(t, d.CreateDisk(ctx, testHost, extra, 1<<20))
	f := baadal.DiskFreeze{DiskFile: extra, Base: uuidBase, Overlay: "a_disk1.new.qcow2", Bytes: 1 << 20}
	must(t, d.ShareDisk(ctx, testHost, f))
	must(t, d.SealBase(ctx, testHost, f, false))
	wantCode(t, d.RemoveBase(ctx, testHost, ds, uuidBase), baadal.Conflict, "base_in_use")
	must(t, d.ArchiveDisk(ctx, testHost, top(f)))
	if got := tree(t, filepath.Join(ds.Path, "vm_extra_disks")); slices.ContainsFunc(got, func(s string) bool { return strings.HasSuffix(s, ".qcow2") }) {
		t.Errorf("left %v", got)
	}
	wantCode(t, d.RemoveBase(ctx, testHost, ds, uuidBase), baadal.Conflict, "base_in_use")
	must(t, d.RestoreDisk(ctx, testHost, top(f)))
	must(t, d.RemoveDisk(ctx, testHost, top(f)))
	must(t, d.RemoveBase(ctx, testHost, ds, uuidBase))
}

// forks are folders of first disks and of extra ones for two VMs on the base of
// a third.
func forks(ds baadal.Datastore) (first, extra baadal.DiskForks) {
	first = baadal.DiskForks{Datastore: ds, Turn: uuidBase}
	extra = baadal.DiskForks{Datastore: ds, Turn: uuidBase, Extra: true}
	for i, uuid := range []string{uuidB, uuidC} {
		name := string(rune('b' + i))
		first.Folders = append(first.Folders, baadal.DiskFork{
			Identity: name, UUID: uuid, Seed: []byte("seed of " + name), Disks: []baadal.ForkedDisk{{Name: name + ".qcow2", Base: uuidBase, Bytes: 16 << 20}},
		})
		extra.Folders = append(extra.Folders, baadal.DiskFork{Identity: name, UUID: uuid, Disks: []baadal.ForkedDisk{
			{Name: baadal.DiskName(name, 1), ID: int64(10 + i), Base: uuidBase, Bytes: 16 << 20},
			{Name: baadal.DiskName(name, 2), ID: int64(20 + i), Base: uuidBase, Bytes: 32 << 20},
		}})
	}
	return first, extra
}

func TestForkDisks(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 64)
	ctx := t.Context()
	f := freezeOf(ds)
	must(t, d.CreateImage(ctx, testHost, image(ds, "a", uuidA)))
	pattern(t, f.Old(), 'x')
	freeze(t, d, f)
	first, extra := forks(ds)
	for range 2 { // the second time all is there
		for _, in := range []baadal.DiskForks{first, extra} {
			made, err := d.ForkDisks(ctx, testHost, in)
			if diff := cmp.Diff([]string{uuidB, uuidC}, made); diff != "" || err != nil {
				t.Errorf("%v: %s", err, diff)
			}
		}
		wantPattern(t, ds.ImageFile("b"), 'x')
		pattern(t, ds.ImageFile("c"), 'y')
	}
	want := []string{"b/", "b/.baadal", "b/b-seed.iso", "b/b.qcow2", "c/", "c/.baadal", "c/c-seed.iso", "c/c.qcow2"}
	must(t, d.RemoveImage(ctx, testHost, ds, "a", uuidA))
	if diff := cmp.Diff(want, tree(t, filepath.Join(ds.Path, "vm_images"))); diff != "" {
		t.Error(diff)
	}
	disk := baadal.DiskFile{Datastore: ds, Identity: "b", UUID: uuidB, DiskID: 20, Name: baadal.DiskName("b", 2)}
	if info, err := d.DiskInfo(ctx, testHost, disk); err != nil || info.VirtualSize != 32<<20 {
		t.Errorf("%+v, %v", info, err)
	}
	must(t, d.RemoveDisk(ctx, testHost, disk)) // its mark is right
	must(t, d.ForkDisk(ctx, testHost, disk, uuidBase, false))
	disk.Identity, disk.UUID, disk.DiskID, disk.Name = "c", uuidC, 31, baadal.DiskName("c", 2)
	wantCode(t, d.ForkDisk(ctx, testHost, disk, uuidBase, false), baadal.Conflict, "folder_exists")
}

// What is in the way of one folder is left alone, and the others are made.
func TestForkDisksInTheWay(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 64)
	ctx := t.Context()
	f := freezeOf(ds)
	must(t, d.CreateImage(ctx, testHost, image(ds, "a", uuidA)))
	freeze(t, d, f)
	write(t, filepath.Join(ds.Path, "vm_images", "b", "precious"), "mine")
	first, _ := forks(ds)
	made, err := d.ForkDisks(ctx, testHost, first)
	if diff := cmp.Diff([]string{uuidC}, made); diff != "" || err != nil {
		t.Errorf("%v: %s", err, diff)
	}
	want := []string{"a/", "a/.baadal", "a/a-seed.iso", "a/a.1.qcow2", "b/", "b/precious", "c/", "c/.baadal", "c/c-seed.iso", "c/c.qcow2"}
	if diff := cmp.Diff(want, tree(t, filepath.Join(ds.Path, "vm_images"))); diff != "" {
		t.Error(diff)
	}
	first.Folders[0].Disks[0].Base = uuidC
	_, err = d.ForkDisks(ctx, testHost, first)
	wantCode(t, err, baadal.Conflict, "template_missing")
	first.Folders = nil
	_, err = d.ForkDisks(ctx, testHost, first)
	must(t, err)
	if diff := cmp.Diff(want, tree(t, filepath.Join(ds.Path, "vm_images"))); diff != "" {
		t.Error(diff)
	}
}

// A full datastore: nothing half done, and the words say so.
func TestForkDisksFull(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 8)
	ctx := t.Context()
	f := freezeOf(ds)
	must(t, d.CreateImage(ctx, testHost, image(ds, "a", uuidA)))
	freeze(t, d, f)
	first, _ := forks(ds)
	for _, fork := range first.Folders[1:] {
		for len(first.Folders) < 60 {
			first.Folders = append(first.Folders, fork) // more than there is room for
			last := &first.Folders[len(first.Folders)-1]
			last.Seed = make([]byte, 1<<20)
		}
	}
	before := tree(t, filepath.Join(ds.Path, "vm_images"))
	_, err := d.ForkDisks(ctx, testHost, first)
	if baadal.KindOf(err) != baadal.Exhausted && err != nil {
		t.Errorf("%s: %v", baadal.KindOf(err), err)
	}
	if diff := cmp.Diff(before, tree(t, filepath.Join(ds.Path, "vm_images"))); err != nil && diff != "" {
		t.Error(diff)
	}
}

// Every moment may be the last one: each folder is whole or not there, and the
// next attempt makes the rest.
func TestForkDisksKilled(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 64)
	ctx := t.Context()
	f := freezeOf(ds)
	must(t, d.CreateImage(ctx, testHost, image(ds, "a", uuidA)))
	pattern(t, f.Old(), 'x')
	freeze(t, d, f)
	first, _ := forks(ds)
	killed := 0
	for range 10 {
		cut := disk.New(local{killAfter: time.Duration(10+rand.IntN(70)) * time.Millisecond}, disk.Options{})
		if _, err := cut.ForkDisks(ctx, testHost, first); err != nil {
			killed++
		}
		for _, fork := range first.Folders {
			if _, err := os.Stat(filepath.Join(ds.Path, "vm_images", fork.Identity)); err == nil {
				wantPattern(t, ds.ImageFile(fork.Identity), 'x')
			}
		}
		_, err := d.ForkDisks(ctx, testHost, first)
		must(t, err)
		if got := tree(t, filepath.Join(ds.Path, "vm_images")); len(got) != 12 {
			t.Fatalf("there is %v", got)
		}
		for _, fork := range first.Folders {
			wantPattern(t, ds.ImageFile(fork.Identity), 'x')
			must(t, d.RemoveImage(ctx, testHost, ds, fork.Identity, fork.UUID))
		}
		end := first
		end.Folders = nil
		_, err = d.ForkDisks(ctx, testHost, end)
		must(t, err)
		if got := tree(t, filepath.Join(ds.Path, "vm_images")); len(got) != 4 {
			t.Fatalf("left %v", got)
		}
	}
	t.Logf("%d of 10 were killed", killed)
}
