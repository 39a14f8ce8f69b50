package disk_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"baadal"
	"baadal/internal/disk"
	"baadal/internal/needs"
)

func TestCreateImage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, identity string
		full           bool
		backing        bool
	}{
		{"overlay", "IITD_anna_web", false, true},
		{"full copy", "IITD_anna_web", true, false},
		{"odd name", `a'b"c $(id) ;&|*é`, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d, ds := newDisks(t, 32)
			img := image(ds, tc.identity, uuidA)
			img.FullCopy = tc.full
			must(t, d.CreateImage(t.Context(), testHost, img))

			id := tc.identity
			want := []string{id + "/", id + "/.baadal", id + "/" + id + "-seed.iso", id + "/" + id + ".qcow2"}
			if diff := cmp.Diff(want, tree(t, filepath.Join(ds.Path, "vm_images"))); diff != "" {
				t.Error(diff)
			}
			if seed, _ := os.ReadFile(ds.SeedFile(id)); string(seed) != "the seed" {
				t.Errorf("seed is %q", seed)
			}
			var info struct {
				Format  string `json:"format"`
				Size    int64  `json:"virtual-size"`
				Backing string `json:"backing-filename"`
				BFormat string `json:"backing-filename-format"`
			}
			must(t, json.Unmarshal([]byte(qemuImg(t, "info", "--output=json", ds.ImageFile(id))), &info))
			if info.Format != "qcow2" || info.Size != img.Bytes || (info.Backing == img.Template) != tc.backing {
				t.Errorf("image is %+v", info)
			}
			st, err := os.Stat(ds.ImageFile(id))
			must(t, err)
			before := st.ModTime()
			must(t, d.CreateImage(t.Context(), testHost, img))
			if st, _ = os.Stat(ds.ImageFile(id)); !st.ModTime().Equal(before) {
				t.Error("the second call touched the image")
			}
		})
	}
}

func TestCreateImageModes(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 32)
	must(t, d.CreateImage(t.Context(), testHost, image(ds, "a", uuidA)))
	for file, want := range map[string]os.FileMode{
		ds.ImageDir("a"): os.ModeDir | 0o711, ds.ImageFile("a"): 0o600, ds.SeedFile("a"): 0o600,
		filepath.Join(ds.Path, "vm_images"): os.ModeDir | 0o711,
	} {
		st, err := os.Stat(file)
		must(t, err)
		// qemu-img makes files 0644 less the umask.
		if st.Mode() != want {
			t.Errorf("%s has mode %v, want %v", file, st.Mode(), want)
		}
	}
}

func TestCreateImageRefusals(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 32)
	write(t, filepath.Join(ds.ImageDir("foreign"), "x"), "of somebody else")
	must(t, os.Mkdir(ds.ImageDir("empty"), 0o755))
	must(t, d.CreateImage(t.Context(), testHost, image(ds, "taken", uuidB)))
	before := tree(t, ds.Path)
	for _, tc := range []struct {
		name string
		edit func(*baadal.VMImage)
		kind baadal.Kind
		code string
	}{
		{"unmarked folder", func(i *baadal.VMImage) { i.Identity = "foreign" }, baadal.Conflict, "folder_exists"},
		{"empty folder", func(i *baadal.VMImage) { i.Identity = "empty" }, baadal.Conflict, "folder_exists"},
		{"another VM's folder", func(i *baadal.VMImage) { i.Identity = "taken" }, baadal.Conflict, "folder_exists"},
		{"no template", func(i *baadal.VMImage) { i.Template += "x" }, baadal.Conflict, "template_missing"},
		{"too small", func(i *baadal.VMImage) { i.Bytes = 4 << 20 }, baadal.Invalid, "disk_too_small"},
		{"too small a copy", func(i *baadal.VMImage) { i.Bytes, i.FullCopy = 4<<20, true }, baadal.Invalid, "disk_too_small"},
		{"slash", func(i *baadal.VMImage) { i.Identity = "a/b" }, baadal.Invalid, "bad_name"},
		{"dots", func(i *baadal.VMImage) { i.Identity = ".." }, baadal.Invalid, "bad_name"},
		{"newline", func(i *baadal.VMImage) { i.Identity = "a\nb" }, baadal.Invalid, "bad_name"},
		{"no uuid", func(i *baadal.VMImage) { i.UUID = "*" }, baadal.Invalid, "bad_uuid"},
		{"template path", func(i *baadal.VMImage) { i.Template = ds.Path + "/vm_templates/../../x" }, baadal.Invalid, "bad_name"},
		{"relative datastore", func(i *baadal.VMImage) { i.Datastore.Path = "here" }, baadal.Invalid, "invalid"},
		{"format", func(i *baadal.VMImage) { i.Format = "vmdk" }, baadal.Invalid, "invalid"},
	} {
		img := image(ds, "new", uuidA)
		tc.edit(&img)
		err := d.CreateImage(t.Context(), testHost, img)
		if baadal.KindOf(err) != tc.kind || baadal.CodeOf(err) != tc.code {
			t.Errorf("%s: %s/%s (%v), want %s/%s", tc.name, baadal.KindOf(err), baadal.CodeOf(err), err, tc.kind, tc.code)
		}
		if diff := cmp.Diff(before, tree(t, ds.Path)); diff != "" {
			t.Errorf("%s changed the datastore: %s", tc.name, diff)
		}
	}
}

func TestNotMounted(t *testing.T) {
	t.Parallel()
	d := disk.New(local{}, disk.Options{})
	ds := baadal.Datastore{Name: "ds1", Path: t.TempDir()}
	u, err := d.Usage(t.Context(), testHost, ds)
	if err != nil || u.Mounted || u.Writable {
		t.Errorf("usage of an empty folder: %+v, %v", u, err)
	}
	wantCode(t, d.CreateImage(t.Context(), testHost, image(ds, "a", uuidA)), baadal.Conflict, "datastore_not_mounted")
	wantCode(t, d.RemoveImage(t.Context(), testHost, ds, "a", uuidA), baadal.Conflict, "datastore_not_mounted")
	_, err = d.Entries(t.Context(), testHost, ds)
	wantCode(t, err, baadal.Conflict, "datastore_not_mounted")
	if got := tree(t, ds.Path); len(got) > 0 {
		t.Errorf("left %v", got)
	}
}

func TestFull(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 4)
	write(t, filepath.Join(ds.Path, "filler"), strings.Repeat("x", 3<<20))
	img := image(ds, "a", uuidA)
	img.Seed = make([]byte, 2<<20)
	before := tree(t, ds.Path)
	err := d.CreateImage(t.Context(), testHost, img)
	wantCode(t, err, baadal.Exhausted, "datastore_full")
	if !strings.Contains(err.Error(), "of 4.0 MiB were free") {
		t.Errorf("no figures in %q", err)
	}
	if diff := cmp.Diff(before, tree(t, ds.Path)); diff != "" {
		t.Error(diff)
	}
	must(t, os.Remove(filepath.Join(ds.Path, "filler")))
	must(t, d.CreateImage(t.Context(), testHost, img))
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 8)
	must(t, d.CreateImage(t.Context(), testHost, image(ds, "a", uuidA)))
	must(t, unix.Mount("", ds.Path, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	u, err := d.Usage(t.Context(), testHost, ds)
	if err != nil || !u.Mounted || u.Writable || u.Capacity != 8<<20 {
		t.Errorf("usage: %+v, %v", u, err)
	}
	wantCode(t, d.CreateImage(t.Context(), testHost, image(ds, "b", uuidB)), baadal.Conflict, "datastore_read_only")
	wantCode(t, d.RemoveImage(t.Context(), testHost, ds, "a", uuidA), baadal.Conflict, "datastore_read_only")
	wantCode(t, d.ArchiveImage(t.Context(), testHost, ds, "a", uuidA), baadal.Conflict, "datastore_read_only")
	must(t, unix.Mount("", ds.Path, "", unix.MS_REMOUNT, ""))
	must(t, d.RemoveImage(t.Context(), testHost, ds, "a", uuidA))
}

func TestArchiveRestorePurge(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 8)
	ctx := t.Context()
	wantCode(t, d.ArchiveImage(ctx, testHost, ds, "a", uuidA), baadal.NotFound, "folder_missing")
	wantCode(t, d.RestoreImage(ctx, testHost, ds, "a", uuidA), baadal.NotFound, "folder_missing")
	must(t, d.CreateImage(ctx, testHost, image(ds, "a", uuidA)))
	wantCode(t, d.ArchiveImage(ctx, testHost, ds, "a", uuidB), baadal.Conflict, "folder_exists")
	for range 2 {
		must(t, d.ArchiveImage(ctx, testHost, ds, "a", uuidA))
	}
	if _, err := os.Stat(filepath.Join(ds.DeletedDir("a", uuidA), "a.qcow2")); err != nil {
		t.Error(err)
	}

	// Another VM takes the name, and is deleted too.
	must(t, d.CreateImage(ctx, testHost, image(ds, "a", uuidB)))
	wantCode(t, d.RestoreImage(ctx, testHost, ds, "a", uuidA), baadal.Conflict, "folder_exists")
	must(t, d.ArchiveImage(ctx, testHost, ds, "a", uuidA)) // still there
	must(t, d.ArchiveImage(ctx, testHost, ds, "a", uuidB))

	for range 2 {
		must(t, d.RestoreImage(ctx, testHost, ds, "a", uuidA))
	}
	if diff := cmp.Diff([]string{"a/", "a/.baadal", "a/a-seed.iso", "a/a.qcow2"}, tree(t, filepath.Join(ds.Path, "vm_images"))); diff != "" {
		t.Error(diff)
	}
	for range 2 {
		must(t, d.PurgeImage(ctx, testHost, ds, "a", uuidB))
	}
	if got := tree(t, filepath.Join(ds.Path, "vm_deleted")); len(got) > 0 {
		t.Errorf("left %v", got)
	}
	wantCode(t, d.RemoveImage(ctx, testHost, ds, "a", uuidB), baadal.Conflict, "folder_exists")
	for range 2 {
		must(t, d.RemoveImage(ctx, testHost, ds, "a", uuidA))
	}
	if got := tree(t, filepath.Join(ds.Path, "vm_images")); len(got) > 0 {
		t.Errorf("left %v", got)
	}
}

func TestForeignMarks(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 8)
	write(t, filepath.Join(ds.Path, "elsewhere", ".baadal"), uuidA+"\n")
	must(t, os.Symlink(filepath.Join(ds.Path, "elsewhere"), ds.ImageDir("link")))
	write(t, filepath.Join(ds.ImageDir("unmarked"), "x"), "x")
	write(t, filepath.Join(ds.ImageDir("cut"), ".baadal"), uuidA[:20])
	write(t, ds.ImageDir("file"), uuidA)
	before := tree(t, ds.Path)
	for _, name := range []string{"link", "unmarked", "cut", "file"} {
		wantCode(t, d.RemoveImage(t.Context(), testHost, ds, name, uuidA), baadal.Conflict, "folder_exists")
		wantCode(t, d.ArchiveImage(t.Context(), testHost, ds, name, uuidA), baadal.Conflict, "folder_exists")
	}
	if diff := cmp.Diff(before, tree(t, ds.Path)); diff != "" {
		t.Error(diff)
	}
}

// Several attempts for one VM at once: what is there in the end is whole, and
// whoever lost was told either success or that a retry is worth it.
func TestCreateImageConcurrently(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 32)
	errs := make([]error, 6)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = d.CreateImage(t.Context(), testHost, image(ds, "a", uuidA)) })
	}
	wg.Wait()
	done := 0
	for _, err := range errs {
		switch baadal.KindOf(err) {
		case "":
			done++
		case baadal.Unavailable:
		default:
			t.Error(err)
		}
	}
	if done == 0 {
		t.Error("no attempt succeeded")
	}
	must(t, d.CreateImage(t.Context(), testHost, image(ds, "a", uuidA)))
	if diff := cmp.Diff([]string{"a/", "a/.baadal", "a/a-seed.iso", "a/a.qcow2"}, tree(t, filepath.Join(ds.Path, "vm_images"))); diff != "" {
		t.Error(diff)
	}
}

// Every moment may be the last one of a script.
func TestKilled(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	d, ds := newDisks(t, 32)
	ctx := t.Context()
	killed := 0
	for i := range 30 {
		after := time.Duration(1+rand.IntN(60)) * time.Millisecond
		cut := disk.New(local{killAfter: after}, disk.Options{})
		img := image(ds, "a", uuidA)
		img.FullCopy = i%3 == 0
		if err := cut.CreateImage(ctx, testHost, img); err != nil {
			killed++
		}
		if _, err := os.Stat(ds.ImageDir("a")); err == nil {
			qemuImg(t, "check", "-q", ds.ImageFile("a")) // whole if it is there at all
		}
		switch i % 3 {
		case 0:
			must(t, d.CreateImage(ctx, testHost, img))
			_ = cut.RemoveImage(ctx, testHost, ds, "a", uuidA)
		case 1:
			must(t, d.CreateImage(ctx, testHost, img))
			_ = cut.ArchiveImage(ctx, testHost, ds, "a", uuidA)
			must(t, d.ArchiveImage(ctx, testHost, ds, "a", uuidA))
			_ = cut.PurgeImage(ctx, testHost, ds, "a", uuidA)
			must(t, d.PurgeImage(ctx, testHost, ds, "a", uuidA))
		}
		must(t, d.RemoveImage(ctx, testHost, ds, "a", uuidA))
		for _, area := range []string{"vm_images", "vm_deleted"} {
			if got := tree(t, filepath.Join(ds.Path, area)); len(got) > 0 {
				t.Fatalf("round %d left %v in %s", i, got, area)
			}
		}
	}
	t.Logf("%d of 30 were killed before their end", killed)
	if killed < 5 {
		t.Errorf("only %d of 30 were killed: the test shows nothing", killed)
	}
}
