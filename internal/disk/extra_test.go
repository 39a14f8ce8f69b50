package disk_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/disk"
	"baadal/internal/needs"
)

// extraDisk is the nth extra disk of the VM "a".
func extraDisk(ds baadal.Datastore, n int) baadal.DiskFile {
	return baadal.DiskFile{Datastore: ds, Identity: "a", UUID: uuidA, DiskID: int64(40 + n), Name: baadal.DiskName("a", n)}
}

// files lists the two areas where extra disks are.
func files(t *testing.T, ds baadal.Datastore) (all []string) {
	t.Helper()
	for _, area := range []string{baadal.DirExtraDisks, baadal.DirDeleted} {
		for _, f := range tree(t, filepath.Join(ds.Path, area)) {
			all = append(all, area+"/"+f)
		}
	}
	return all
}

func wantFiles(t *testing.T, ds baadal.Datastore, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, files(t, ds)); d != "" {
		t.Fatal(d)
	}
}

// TestExtraDisk takes two disks of a VM through everything; each call is made
// twice.
func TestExtraDisk(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 32)
	ctx := t.Context()
	a, b := extraDisk(ds, 1), extraDisk(ds, 2)
	twice := func(do func() error) {
		t.Helper()
		must(t, do())
		must(t, do())
	}
	const dir = "vm_extra_disks/ds1/"
	withA := []string{dir + "a/", dir + "a/.a_disk1.qcow2.id", dir + "a/.baadal", dir + "a/a_disk1.qcow2"}
	both := []string{"vm_extra_disks/ds1/", dir + "a/", dir + "a/.a_disk1.qcow2.id", dir + "a/.a_disk2.qcow2.id", dir + "a/.baadal", dir + "a/a_disk1.qcow2", dir + "a/a_disk2.qcow2"}
	twice(func() error { return d.CreateDisk(ctx, testHost, a, 4<<20) })
	twice(func() error { return d.CreateDisk(ctx, testHost, b, 4<<20) })
	wantFiles(t, ds, both...)
	if want := filepath.Join(ds.Path, dir, "a/a_disk1.qcow2"); a.Path() != want {
		t.Errorf("the path is %s, want %s", a.Path(), want)
	}
	for file, want := range map[string]os.FileMode{a.Path(): 0o600, filepath.Dir(a.Path()): os.ModeDir | 0o711, filepath.Join(ds.Path, dir): os.ModeDir | 0o711} {
		if st, err := os.Stat(file); err != nil || st.Mode() != want {
			t.Errorf("%s: mode %v, want %v: %v", file, st.Mode(), want, err)
		}
	}
	twice(func() error { return d.GrowDisk(ctx, testHost, a, 6<<20) })
	wantCode(t, d.GrowDisk(ctx, testHost, a, 5<<20), baadal.Invalid, "disk_shrink")
	if info, err := d.DiskInfo(ctx, testHost, a); err != nil || info.VirtualSize != 6<<20 || info.Format != "qcow2" {
		t.Errorf("%+v, %v", info, err)
	}
	sizes, err := d.DiskSizes(ctx, testHost, ds)
	must(t, err)
	if len(sizes) != 2 || sizes[0].Bytes == 0 {
		t.Errorf("sizes: %+v", sizes)
	}
	twice(func() error { return d.ArchiveDisk(ctx, testHost, b) })
	wantFiles(t, ds, append(append([]string{dir}, withA...), "vm_deleted/a_disk2.42/", "vm_deleted/a_disk2.42/.a_disk2.qcow2.id", "vm_deleted/a_disk2.42/.baadal", "vm_deleted/a_disk2.42/a_disk2.qcow2")...)
	twice(func() error { return d.RestoreDisk(ctx, testHost, b) })
	wantFiles(t, ds, both...)
	twice(func() error { return d.ArchiveDisk(ctx, testHost, b) })
	twice(func() error { return d.PurgeDisk(ctx, testHost, b) })
	wantFiles(t, ds, append([]string{dir}, withA...)...)
	wantCode(t, d.ArchiveDisk(ctx, testHost, b), baadal.NotFound, "folder_missing")
	wantCode(t, d.RestoreDisk(ctx, testHost, b), baadal.NotFound, "folder_missing")
	_, err = d.DiskInfo(ctx, testHost, b)
	wantCode(t, err, baadal.NotFound, "folder_missing")

	twice(func() error { return d.ArchiveDisks(ctx, testHost, ds, "a", uuidA) })
	gone := "vm_deleted/a." + uuidA + ".disks/"
	wantFiles(t, ds, dir, gone, gone+".a_disk1.qcow2.id", gone+".baadal", gone+"a_disk1.qcow2")
	must(t, os.Remove(filepath.Join(ds.Path, dir)))
	twice(func() error { return d.RestoreDisks(ctx, testHost, ds, "a", uuidA) })
	wantFiles(t, ds, append([]string{dir}, withA...)...)
	twice(func() error { return d.ArchiveDisks(ctx, testHost, ds, "a", uuidA) })
	twice(func() error { return d.PurgeDisks(ctx, testHost, ds, "a", uuidA) })
	wantCode(t, d.RestoreDisks(ctx, testHost, ds, "a", uuidA), baadal.NotFound, "folder_missing")

	must(t, d.CreateDisk(ctx, testHost, a, 4<<20))
	twice(func() error { return d.RemoveDisk(ctx, testHost, a) })
	wantFiles(t, ds, dir)
}

// TestExtraDiskForeign: what does not carry the marks is never written to,
// moved or removed.
func TestExtraDiskForeign(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 32)
	ctx := t.Context()
	a := extraDisk(ds, 1)
	refused := func() {
		t.Helper()
		before := files(t, ds)
		wantCode(t, d.CreateDisk(ctx, testHost, a, 4<<20), baadal.Conflict, "folder_exists")
		wantCode(t, d.RemoveDisk(ctx, testHost, a), baadal.Conflict, "folder_exists")
		wantCode(t, d.ArchiveDisk(ctx, testHost, a), baadal.Conflict, "folder_exists")
		if diff := cmp.Diff(before, files(t, ds)); diff != "" {
			t.Error(diff)
		}
	}
	write(t, a.Path(), "somebody's") // in a folder without a mark
	refused()
	dir := filepath.Dir(a.Path())
	write(t, filepath.Join(dir, ".baadal"), uuidA+"\n") // ours, the file is not
	refused()
	write(t, filepath.Join(dir, ".a_disk1.qcow2.id"), "999\n") // another disk's
	refused()
	write(t, filepath.Join(dir, ".a_disk1.qcow2.id"), "41\n")
	write(t, filepath.Join(dir, ".baadal"), uuidB+"\n") // another VM's folder
	refused()
	if text, err := os.ReadFile(a.Path()); err != nil || string(text) != "somebody's" {
		t.Errorf("the file holds %q, %v", text, err)
	}
	for _, bad := range []func(*baadal.DiskFile){
		func(f *baadal.DiskFile) { f.Name = "../x" },
		func(f *baadal.DiskFile) { f.Name = ".hidden" },
		func(f *baadal.DiskFile) { f.Identity = "a/b" },
		func(f *baadal.DiskFile) { f.UUID = "x" },
		func(f *baadal.DiskFile) { f.DiskID = 0 },
		func(f *baadal.DiskFile) { f.Datastore.Name = "../ds" },
	} {
		f := a
		bad(&f)
		if err := d.CreateDisk(ctx, testHost, f, 4<<20); baadal.KindOf(err) != baadal.Invalid {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

func TestExtraDiskFull(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 16)
	filler, err := os.Create(filepath.Join(ds.Path, "filler"))
	must(t, err)
	defer filler.Close()
	for _, err := filler.Write(make([]byte, 4096)); err == nil; {
		_, err = filler.Write(make([]byte, 4096))
	}
	wantCode(t, d.CreateDisk(t.Context(), testHost, extraDisk(ds, 1), 4<<20), baadal.Exhausted, "datastore_full")
	for _, f := range files(t, ds) {
		if f != "vm_extra_disks/ds1/" {
			t.Errorf("%s is left", f)
		}
	}
}

// TestExtraDiskKilled kills every operation at some moment: the next try brings
// it to its end, and nothing is left over.
func TestExtraDiskKilled(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	d, ds := newDisks(t, 32)
	ctx := t.Context()
	f := extraDisk(ds, 1)
	killed := 0
	try := func(do func(*disk.Disks) error) {
		t.Helper()
		if do(disk.New(local{killAfter: time.Duration(1+rand.IntN(60)) * time.Millisecond}, disk.Options{})) != nil {
			killed++
		}
		must(t, do(d))
	}
	for i := range 12 {
		try(func(d *disk.Disks) error { return d.CreateDisk(ctx, testHost, f, 4<<20) })
		qemuImg(t, "check", "-q", f.Path())
		try(func(d *disk.Disks) error { return d.ArchiveDisk(ctx, testHost, f) })
		if i%2 == 0 {
			try(func(d *disk.Disks) error { return d.PurgeDisk(ctx, testHost, f) })
		} else {
			try(func(d *disk.Disks) error { return d.RestoreDisk(ctx, testHost, f) })
			try(func(d *disk.Disks) error { return d.RemoveDisk(ctx, testHost, f) })
		}
		wantFiles(t, ds, "vm_extra_disks/ds1/")
	}
	t.Logf("%d were killed before their end", killed)
	if killed < 8 {
		t.Errorf("only %d were killed: the test shows nothing", killed)
	}
}

func TestEntriesOfExtraDisks(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 32)
	ctx := t.Context()
	must(t, d.CreateDisk(ctx, testHost, extraDisk(ds, 1), 4<<20))
	write(t, filepath.Join(ds.Path, "vm_extra_disks/ds1/pet/x.img"), "x")
	write(t, filepath.Join(ds.Path, "vm_extra_disks/ds1/."+uuidB+".AAAAAAAA.new/.baadal"), "")
	entries, err := d.Entries(ctx, testHost, ds)
	must(t, err)
	got := map[string]string{}
	for _, e := range entries {
		if e.Area == baadal.DirExtraDisks {
			got[e.Name] = e.UUID
		}
	}
	want := map[string]string{"ds1/a": uuidA, "ds1/a/a_disk1.qcow2": "", "ds1/pet": "", "ds1/pet/x.img": "", "ds1/." + uuidB + ".AAAAAAAA.new": uuidB}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
