package disk_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"baadal"
)

const uuidUpload = "0b6e4d3a-3333-4333-8333-dddddddddddd"

// TestUploads writes uploads, whole and broken ones, and makes templates of them.
func TestUploads(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 32)
	ctx := t.Context()
	qcow := realImage(t)
	sum := sha256.Sum256(qcow)
	broken := io.MultiReader(bytes.NewReader(qcow), iotest.ErrReader(errors.New("the client went away")))
	if _, err := d.WriteUpload(ctx, testHost, ds, uuidUpload, broken); err == nil || !strings.Contains(err.Error(), "the client went away") {
		t.Errorf("a broken upload: %v", err)
	}
	_, err := d.TakeUpload(ctx, testHost, ds, uuidUpload, "t.img")
	wantCode(t, err, baadal.NotFound, "folder_missing")
	_, err = d.WriteUpload(ctx, testHost, ds, uuidUpload, io.LimitReader(endless{}, 64<<20))
	wantCode(t, err, baadal.Exhausted, "datastore_full")
	if left := tree(t, filepath.Join(ds.Path, baadal.DirMigration)); len(left) != 0 {
		t.Errorf("left of broken uploads: %v", left)
	}

	info, err := d.WriteUpload(ctx, testHost, ds, uuidUpload, bytes.NewReader(qcow))
	if err != nil || info.FileSize != int64(len(qcow)) || info.SHA256 != hex.EncodeToString(sum[:]) {
		t.Fatalf("%+v, %v", info, err)
	}
	for range 2 {
		info, err := d.TakeUpload(ctx, testHost, ds, uuidUpload, "t.img")
		if err != nil || info.Format != "qcow2" || info.VirtualSize != 4<<20 || info.SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("%+v, %v", info, err)
		}
	}
	st, err := os.Stat(ds.TemplateFile("t.img"))
	if err != nil || st.Mode().Perm() != 0o444 {
		t.Errorf("%v, %v", st, err)
	}
	upload := baadal.ImageCopy{Datastore: ds, Area: baadal.DirMigration, File: uuidUpload}
	for range 2 {
		must(t, d.RemoveImageCopy(ctx, testHost, upload))
	}
	if raw, err := os.ReadFile(ds.TemplateFile("t.img")); err != nil || !bytes.Equal(raw, qcow) {
		t.Errorf("the template is not what was uploaded: %v", err)
	}
	for name, content := range map[string]string{"text": strings.Repeat("no image ", 100), "half a sector": string(rawDisk(1000)), "empty": ""} {
		if _, err := d.WriteUpload(ctx, testHost, ds, uuidUpload, strings.NewReader(content)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, err := d.TakeUpload(ctx, testHost, ds, uuidUpload, "bad.img")
		wantCode(t, err, baadal.Invalid, "bad_image")
		must(t, d.RemoveImageCopy(ctx, testHost, upload))
	}
	if left := tree(t, filepath.Join(ds.Path, baadal.DirTemplates)); len(left) != 2 { // newDisks made the other
		t.Errorf("templates: %v", left)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte{'x'}, len(p))), nil }

// TestCopyImage makes a flat image of a VM's disk, reads it and removes it.
func TestCopyImage(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 64)
	ctx := t.Context()
	must(t, d.CreateImage(ctx, testHost, image(ds, "a", uuidA)))
	pattern(t, ds.ImageFile("a"), 'x')
	c := baadal.ImageCopy{Datastore: ds, Area: baadal.DirMigration, File: uuidUpload}
	prepared := func(want bool) {
		t.Helper()
		if done, err := d.PrepareImage(ctx, testHost, c); err != nil || done != want {
			t.Errorf("prepared: %t, %v; want %t", done, err, want)
		}
	}
	prepared(false)
	_, err := d.KeepImage(ctx, testHost, c)
	wantCode(t, err, baadal.NotFound, "folder_missing")
	var shares []float64
	progress := func(share float64) { shares = append(shares, share) }
	must(t, d.CopyImage(ctx, testHost, c, uuidA, ds.ImageFile("a"), progress))
	prepared(false) // an unfinished one goes
	must(t, d.CopyImage(ctx, testHost, c, uuidA, ds.ImageFile("a"), progress))
	if len(shares) == 0 || shares[len(shares)-1] < 0.99 {
		t.Errorf("progress: %v", shares)
	}
	first, err := d.KeepImage(ctx, testHost, c)
	if err != nil || first.Backing != "" || first.Format != "qcow2" || first.VirtualSize != 16<<20 {
		t.Fatalf("%+v, %v", first, err)
	}
	if again, err := d.KeepImage(ctx, testHost, c); err != nil || again != first {
		t.Errorf("%+v, then %+v, %v", first, again, err)
	}
	prepared(true)
	wantPattern(t, c.Path(), 'x')
	whole, err := os.ReadFile(c.Path())
	must(t, err)
	for _, at := range []int64{0, 1, 70000, first.FileSize - 1, first.FileSize} {
		var got bytes.Buffer
		if err := d.ReadImage(ctx, testHost, c, at, &got); err != nil || !bytes.Equal(got.Bytes(), whole[at:]) {
			t.Errorf("from %d on: %d bytes of %d, %v", at, got.Len(), first.FileSize, err)
		}
	}
	must(t, d.RemoveImageCopy(ctx, testHost, c))
	wantCode(t, d.ReadImage(ctx, testHost, c, 0, io.Discard), baadal.NotFound, "folder_missing")
	wantCode(t, d.CopyImage(ctx, testHost, c, uuidA, ds.ImageFile("nobody"), nil), baadal.NotFound, "folder_missing")
	for _, bad := range []baadal.ImageCopy{{Datastore: ds, Area: "vm_images", File: "x"}, {Datastore: ds, Area: baadal.DirMigration, File: "../x"}} {
		if err := d.RemoveImageCopy(ctx, testHost, bad); baadal.KindOf(err) != baadal.Invalid {
			t.Errorf("%s/%s: %v", bad.Area, bad.File, err)
		}
	}
	if left := tree(t, filepath.Join(ds.Path, baadal.DirMigration)); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestInspectImage: what would make QEMU open another file is refused, unless
// who owns the host vouches for it; an image of another format becomes a disk.
func TestInspectImage(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 64)
	ctx := t.Context()
	dir := t.TempDir()
	at := func(name string) string { return path.Join(dir, name) }
	must(t, os.WriteFile(at("base.qcow2"), realImage(t), 0o600))
	must(t, os.WriteFile(at("raw"), rawDisk(1<<20), 0o600))
	must(t, os.WriteFile(at("text"), []byte(strings.Repeat("no image ", 100)), 0o600))
	must(t, os.WriteFile(at("empty"), nil, 0o600))
	qemuImg(t, "create", "-q", "-f", "qcow2", "-b", at("base.qcow2"), "-F", "qcow2", at("overlay"))
	qemuImg(t, "create", "-q", "-f", "qcow2", "-o", "data_file="+at("data"), at("external"), "1M")
	qemuImg(t, "convert", "-q", "-O", "vmdk", at("base.qcow2"), at("whole.vmdk"))
	qemuImg(t, "convert", "-q", "-O", "vmdk", "-o", "subformat=streamOptimized", at("base.qcow2"), at("stream.vmdk"))
	qemuImg(t, "convert", "-q", "-O", "vmdk", "-o", "subformat=monolithicFlat", at("base.qcow2"), at("flat.vmdk"))
	for _, x := range []struct {
		file    string
		trusted bool
		format  string // none: it is refused
		size    int64
	}{
		{"base.qcow2", false, "qcow2", 4 << 20},
		{"raw", false, "raw", 1 << 20},
		{"whole.vmdk", false, "vmdk", 4 << 20},
		{"stream.vmdk", false, "vmdk", 4 << 20},
		{"overlay", true, "qcow2", 4 << 20},
		{"overlay", false, "", 0},
		{"external", false, "", 0},
		{"flat.vmdk", false, "", 0},
		{"text", true, "", 0},
		{"empty", true, "", 0},
	} {
		info, err := d.InspectImage(ctx, testHost, at(x.file), x.trusted)
		if x.format == "" {
			wantCode(t, err, baadal.Invalid, "bad_image")
			continue
		}
		if err != nil || info.Format != x.format || info.VirtualSize != x.size {
			t.Errorf("%s: %+v, %v", x.file, info, err)
		}
	}
	_, err := d.InspectImage(ctx, testHost, at("nothing"), true)
	wantCode(t, err, baadal.NotFound, "folder_missing")

	img := image(ds, "a", uuidA)
	img.Template, img.Format, img.FullCopy = at("whole.vmdk"), "vmdk", true
	must(t, d.CreateImage(ctx, testHost, img))
	if out := qemuImg(t, "compare", "-f", "qcow2", "-F", "vmdk", ds.ImageFile("a"), at("whole.vmdk")); !strings.Contains(out, "identical") {
		t.Errorf("the disk is not like the image: %s", out)
	}
}
