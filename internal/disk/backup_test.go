package disk_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/disk"
)

const (
	uuidFull = "0b6e4d3a-3333-4222-8333-aaaaaaaaaaaa"
	uuidMore = "0b6e4d3a-3333-4222-8333-bbbbbbbbbbbb"
)

func firstDisk(ds baadal.Datastore, identity, uuid string) baadal.DiskFile {
	return baadal.DiskFile{Datastore: ds, Identity: identity, UUID: uuid, Name: identity + ".qcow2"}
}

// backUp makes a full backup of the disk of "a", which holds x, and an increment
// on it, which holds y.
func backUp(t *testing.T, d *disk.Disks, ds baadal.Datastore) (full, more []baadal.BackupFile) {
	t.Helper()
	ctx, a := t.Context(), firstDisk(ds, "a", uuidA)
	pattern(t, a.Path(), 'x')
	var shares []float64
	for range 2 { // also in place of what an attempt left
		must(t, d.PrepareBackup(ctx, testHost, ds, uuidFull))
		must(t, d.CopyToBackup(ctx, testHost, ds, uuidFull, a, "disk0.qcow2", func(s float64) { shares = append(shares, s) }))
	}
	if len(shares) == 0 || slices.Max(shares) != 1 {
		t.Errorf("progress: %v", shares)
	}
	var err error
	for range 2 {
		if full, err = d.SealBackup(ctx, testHost, ds, uuidFull, "", []string{"disk0.qcow2"}, []byte("{}\n")); err != nil {
			t.Fatal(err)
		}
	}
	must(t, d.PrepareBackup(ctx, testHost, ds, uuidMore))
	part := filepath.Join(ds.BackupPart(uuidMore), "disk0.qcow2")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-b", a.Path(), "-F", "qcow2", part) // as libvirt makes it
	pattern(t, part, 'y')
	if more, err = d.SealBackup(ctx, testHost, ds, uuidMore, uuidFull, []string{"disk0.qcow2"}, []byte(`{"stands_on": "`+uuidFull+"\"}\n")); err != nil {
		t.Fatal(err)
	}
	return full, more
}

func TestBackup(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 64)
	ctx := t.Context()
	must(t, d.CreateImage(ctx, testHost, image(ds, "a", uuidA)))
	full, more := backUp(t, d, ds)
	pattern(t, ds.ImageFile("a"), 'z') // later
	info, err := os.Stat(filepath.Join(ds.BackupDir(uuidFull), "disk0.qcow2"))
	if err != nil || len(full) != 1 || full[0].Bytes != info.Size() || len(full[0].SHA256) != 64 || info.Mode().Perm() != 0o444 {
		t.Errorf("%+v, %v, %v", full, info, err)
	}
	want := []string{
		uuidFull + "/", uuidFull + "/.baadal", uuidFull + "/SHA256SUMS", uuidFull + "/backup.json", uuidFull + "/disk0.qcow2",
		uuidMore + "/", uuidMore + "/.baadal", uuidMore + "/SHA256SUMS", uuidMore + "/backup.json", uuidMore + "/disk0.qcow2",
	}
	if diff := cmp.Diff(want, tree(t, filepath.Join(ds.Path, "vm_backups"))); diff != "" {
		t.Error(diff)
	}
	entries, err := d.Entries(ctx, testHost, ds)
	must(t, err)
	var seen []string
	for _, e := range entries {
		if e.Area == baadal.DirBackups {
			seen = append(seen, e.Name)
		}
	}
	slices.Sort(seen)
	if len(seen) != 8 || seen[0] != uuidFull || seen[3] != uuidFull+"/disk0.qcow2" {
		t.Errorf("the listing has %v", seen)
	}
	wantPattern(t, filepath.Join(ds.BackupDir(uuidFull), "disk0.qcow2"), 'x')
	wantPattern(t, filepath.Join(ds.BackupDir(uuidMore), "disk0.qcow2"), 'y')
	var read int64
	must(t, d.VerifyBackup(ctx, testHost, ds, uuidMore, more, func(n int64) { read = n }))
	if read != more[0].Bytes {
		t.Errorf("%d of %d bytes were read", read, more[0].Bytes)
	}
	wantCode(t, d.PrepareBackup(ctx, testHost, ds, uuidFull), baadal.Conflict, "folder_exists")
	wantCode(t, d.RemoveBackup(ctx, testHost, ds, uuidFull), baadal.Conflict, "base_in_use")
	for _, uuid := range []string{uuidMore, uuidFull} {
		if there, err := d.HasBackup(ctx, testHost, ds, uuid); err != nil || !there {
			t.Errorf("%s: %t, %v", uuid, there, err)
		}
		for range 2 {
			must(t, d.RemoveBackup(ctx, testHost, ds, uuid))
		}
		if there, err := d.HasBackup(ctx, testHost, ds, uuid); err != nil || there {
			t.Errorf("%s: %t, %v", uuid, there, err)
		}
	}
	if left := tree(t, filepath.Join(ds.Path, "vm_backups")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestSpoiledBackup changes, cuts and removes a backup's file, and its folder.
func TestSpoiledBackup(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 64)
	ctx := t.Context()
	must(t, d.CreateImage(ctx, testHost, image(ds, "a", uuidA)))
	full, _ := backUp(t, d, ds)
	file := filepath.Join(ds.BackupDir(uuidFull), "disk0.qcow2")
	whole, err := os.ReadFile(file)
	must(t, err)
	flipped := slices.Clone(whole)
	flipped[len(flipped)-7] ^= 1
	for _, test := range []struct {
		words string
		spoil func() error
	}{
		{"SHA-256", func() error { return os.WriteFile(file, flipped, 0o444) }},
		{"bytes instead of", func() error { return os.WriteFile(file, whole[:len(whole)-1], 0o444) }},
		{"disk0.qcow2 is missing", func() error { return os.Remove(file) }},
		{"has lost its mark", func() error { return os.Remove(filepath.Join(ds.BackupDir(uuidFull), ".baadal")) }},
		{"is missing", func() error { return os.RemoveAll(ds.BackupDir(uuidFull)) }},
	} {
		must(t, test.spoil())
		err := d.VerifyBackup(ctx, testHost, ds, uuidFull, full, func(int64) {})
		wantCode(t, err, baadal.Conflict, "backup_damaged")
		if !strings.Contains(err.Error(), test.words) {
			t.Errorf("it says %q, want %q", err, test.words)
		}
	}
}

// TestBackupOnFullDatastore leaves nothing where the copy did not fit.
func TestBackupOnFullDatastore(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 64)
	small := newStore(t, 1)
	ctx := t.Context()
	must(t, d.CreateImage(ctx, testHost, image(ds, "a", uuidA)))
	a := firstDisk(ds, "a", uuidA)
	if out, err := exec.Command("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 4M", a.Path()).CombinedOutput(); err != nil {
		t.Fatalf("qemu-io: %v: %s", err, out)
	}
	must(t, d.PrepareBackup(ctx, testHost, small, uuidFull))
	wantCode(t, d.CopyToBackup(ctx, testHost, small, uuidFull, a, "disk0.qcow2", func(float64) {}), baadal.Exhausted, "datastore_full")
	must(t, d.RemoveBackup(ctx, testHost, small, uuidFull))
	if left := tree(t, filepath.Join(small.Path, "vm_backups")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestRefill puts a backup's content into a disk, each step twice, back and
// forth.
func TestRefill(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 64)
	ctx := t.Context()
	must(t, d.CreateImage(ctx, testHost, image(ds, "a", uuidA)))
	backUp(t, d, ds)
	a := firstDisk(ds, "a", uuidA)
	pattern(t, a.Path(), 'z')
	from := filepath.Join(ds.BackupDir(uuidMore), "disk0.qcow2")
	stage := func() { must(t, d.StageDisk(ctx, testHost, a, uuidMore, from, func(float64) {})) }
	wantCode(t, d.SwapDisk(ctx, testHost, a, uuidMore), baadal.NotFound, "folder_missing")
	for _, undo := range []bool{true, false} {
		for range 2 {
			stage()
		}
		wantPattern(t, a.Path(), 'z')
		for range 2 {
			must(t, d.SwapDisk(ctx, testHost, a, uuidMore))
			wantPattern(t, a.Path(), 'y')
			stage() // as who was killed before the old disk went does: nothing is copied anew
			if left, err := filepath.Glob(filepath.Join(ds.ImageDir("a"), ".*.staged*")); err != nil || len(left) > 0 {
				t.Errorf("copied again after the swap: %v, %v", left, err)
			}
		}
		for range 2 {
			if undo {
				must(t, d.UnswapDisk(ctx, testHost, a, uuidMore))
				wantPattern(t, a.Path(), 'z')
			} else {
				must(t, d.DropOldDisk(ctx, testHost, a, uuidMore))
			}
		}
	}
	wantPattern(t, a.Path(), 'y')
	if strings.Contains(qemuImg(t, "info", a.Path()), "backing file") {
		t.Error("the disk stands on something")
	}
	if diff := cmp.Diff([]string{".baadal", "a-seed.iso", "a.qcow2"}, tree(t, ds.ImageDir("a"))); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"baadal-0123abcd", "baadal-4567", "of-somebody"} {
		qemuImg(t, "bitmap", "--add", "-f", "qcow2", a.Path(), name)
	}
	for range 2 {
		must(t, d.ForgetBitmaps(ctx, testHost, a))
	}
	if out := qemuImg(t, "info", a.Path()); strings.Contains(out, "baadal-") || !strings.Contains(out, "of-somebody") {
		t.Errorf("bitmaps that are left: %s", out)
	}
	must(t, d.ForgetBitmaps(ctx, testHost, firstDisk(ds, "b", uuidB)))
	release := hold(t, a.Path()) // a QEMU has it: its bitmaps cannot be seen, let alone removed
	wantCode(t, d.ForgetBitmaps(ctx, testHost, a), baadal.Conflict, "disk_in_use")
	release()
	must(t, d.UnswapDisk(ctx, testHost, firstDisk(ds, "b", uuidB), uuidMore))
}

// TestRefillKilled kills the swap at any moment: it goes on, or back, to a whole
// disk.
func TestRefillKilled(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 64)
	ctx := t.Context()
	must(t, d.CreateImage(ctx, testHost, image(ds, "a", uuidA)))
	backUp(t, d, ds)
	a, from := firstDisk(ds, "a", uuidA), filepath.Join(ds.BackupDir(uuidFull), "disk0.qcow2")
	stage := func() {
		pattern(t, a.Path(), 'z')
		must(t, d.StageDisk(ctx, testHost, a, uuidFull, from, func(float64) {}))
	}
	stage()
	begun := time.Now()
	must(t, d.SwapDisk(ctx, testHost, a, uuidFull))
	whole := time.Since(begun)
	kills := 0
	for i := range 12 {
		must(t, d.UnswapDisk(ctx, testHost, a, uuidFull))
		stage()
		killed := disk.New(local{killAfter: time.Millisecond + time.Duration(i)*whole/12}, disk.Options{})
		if err := killed.SwapDisk(ctx, testHost, a, uuidFull); err != nil {
			kills++
		}
		if i%2 == 0 {
			must(t, d.SwapDisk(ctx, testHost, a, uuidFull))
			wantPattern(t, a.Path(), 'x')
		}
		must(t, d.UnswapDisk(ctx, testHost, a, uuidFull))
		wantPattern(t, a.Path(), 'z')
	}
	if kills < 3 {
		t.Errorf("%d of 12 were killed: the test shows nothing", kills)
	}
}
