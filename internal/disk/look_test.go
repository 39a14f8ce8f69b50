package disk_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/disk"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	ds := newStore(t, 16)
	d := disk.New(local{}, disk.Options{})
	u, err := d.Usage(t.Context(), testHost, ds)
	must(t, err)
	if !u.Mounted || !u.Writable || u.Capacity != 16<<20 || u.Used+u.Free != u.Capacity {
		t.Errorf("usage is %+v", u)
	}
	want := []string{"vm_bases/", "vm_deleted/", "vm_extra_disks/", "vm_images/", "vm_migration_data/", "vm_templates/"}
	if diff := cmp.Diff(want, tree(t, ds.Path)); diff != "" {
		t.Error(diff)
	}
	f, err := os.Create(filepath.Join(ds.Path, "filler"))
	must(t, err)
	defer f.Close()
	for {
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			break
		}
	}
	u, err = d.Usage(t.Context(), testHost, ds)
	if err != nil || !u.Writable || u.Free != 0 {
		t.Errorf("usage of a full datastore is %+v, %v", u, err)
	}
}

func TestEntries(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 32)
	ctx := t.Context()
	odd := "a b\"'\t$x"
	must(t, d.CreateImage(ctx, testHost, image(ds, "a", uuidA)))
	must(t, d.CreateImage(ctx, testHost, image(ds, "b", uuidB)))
	must(t, d.ArchiveImage(ctx, testHost, ds, "b", uuidB))
	write(t, filepath.Join(ds.ImageDir(odd), "x"), strings.Repeat("x", 8192))
	write(t, ds.ImageDir("two\nlines"), "x")
	write(t, filepath.Join(ds.ImageDir("badmark"), ".baadal"), "not a uuid\x00\xff")
	write(t, filepath.Join(ds.ImageDir("emptymark"), ".baadal"), "")
	write(t, filepath.Join(ds.ImageDir("."+uuidA+".AAAAAAAA.new"), ".baadal"), uuidA+"\n")
	must(t, os.Mkdir(ds.ImageDir("."+uuidB+".BBBBBBBB.gone"), 0o711))
	must(t, os.Mkdir(ds.ImageDir(".x"), 0o711))

	got, err := d.Entries(ctx, testHost, ds)
	must(t, err)
	var lines []string
	for _, e := range got {
		lines = append(lines, fmt.Sprintf("%s %q %s", e.Area, e.Name, e.UUID))
		if e.Name == odd && e.Bytes < 8192 || e.Name == "a" && e.Bytes < 100<<10 {
			t.Errorf("%q occupies %d bytes", e.Name, e.Bytes)
		}
	}
	sort.Strings(lines)
	want := []string{
		`vm_deleted "b.` + uuidB + `" ` + uuidB,
		`vm_images ".` + uuidA + `.AAAAAAAA.new" ` + uuidA,
		`vm_images ".` + uuidB + `.BBBBBBBB.gone" ` + uuidB,
		`vm_images ".x" `,
		`vm_images "a b\"'\t$x" `,
		`vm_images "a" ` + uuidA,
		`vm_images "badmark" `,
		`vm_images "emptymark" `,
		`vm_images "two\nlines" `,
		`vm_templates "t.qcow2" `,
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

func TestEntriesFresh(t *testing.T) {
	t.Parallel()
	got, err := disk.New(local{}, disk.Options{}).Entries(t.Context(), testHost, newStore(t, 1))
	if err != nil || len(got) != 0 {
		t.Errorf("entries of a fresh datastore: %v, %v", got, err)
	}
}

func TestEntriesMany(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 64)
	for i := range 2000 {
		write(t, filepath.Join(ds.ImageDir(fmt.Sprintf("vm%04d", i)), ".baadal"), uuidA+"\n")
	}
	start := time.Now()
	got, err := d.Entries(t.Context(), testHost, ds)
	must(t, err)
	marked := 0
	for _, e := range got {
		if e.UUID == uuidA {
			marked++
		}
	}
	if len(got) != 2001 || marked != 2000 {
		t.Errorf("%d entries, %d marked", len(got), marked)
	}
	t.Logf("2001 entries in %s", time.Since(start))
}

// A call ends when its context does, and says so.
func TestContextEnds(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 8)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.CreateImage(ctx, testHost, image(ds, "a", uuidA)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestToolMissing(t *testing.T) {
	// Not parallel: it changes PATH.
	d, ds := newDisks(t, 8)
	bin := t.TempDir()
	for _, tool := range []string{"sh", "mountpoint", "mkdir", "head", "cat", "df", "tail", "rm", "stat", "dirname", "flock"} {
		for _, dir := range []string{"/usr/bin", "/bin"} {
			if _, err := os.Stat(filepath.Join(dir, tool)); err == nil {
				must(t, os.Symlink(filepath.Join(dir, tool), filepath.Join(bin, tool)))
				break
			}
		}
	}
	t.Setenv("PATH", bin)
	err := d.CreateImage(t.Context(), testHost, image(ds, "a", uuidA))
	wantCode(t, err, baadal.Conflict, "tool_missing")
	if !strings.Contains(err.Error(), "qemu-img") {
		t.Errorf("the error does not name it: %v", err)
	}
	if got := tree(t, filepath.Join(ds.Path, "vm_images")); len(got) > 0 {
		t.Errorf("left %v", got)
	}
}
