package simulator_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/simulator"
)

// qcow2 makes something that begins like an image.
func qcow2(virtual uint64, length int) []byte {
	b := make([]byte, length)
	copy(b, "QFI\xfb\x00\x00\x00\x03")
	binary.BigEndian.PutUint64(b[24:], virtual)
	return b
}

func TestFoldersOfOthersAreLeftAlone(t *testing.T) {
	t.Parallel()
	for _, mark := range []string{"", uuid2} {
		c := open(t, simulator.Config{})
		h, d := c.host("host1"), c.Disks()
		c.must(c.RogueFolder(store.Path, "vm_images/IITD_a_web", mark))
		c.must(c.RogueFolder(store.Path, "vm_deleted/IITD_a_web."+uuid1, mark))
		before := c.Snapshot()
		ctx := t.Context()
		c.wants(d.CreateImage(ctx, h, image(uuid1, "IITD_a_web")), "conflict/folder_exists")
		c.wants(d.RemoveImage(ctx, h, store, "IITD_a_web", uuid1), "conflict/folder_exists")
		c.wants(d.ArchiveImage(ctx, h, store, "IITD_a_web", uuid1), "conflict/folder_exists")
		c.wants(d.RestoreImage(ctx, h, store, "IITD_a_web", uuid1), "conflict/folder_exists")
		c.wants(d.PurgeImage(ctx, h, store, "IITD_a_web", uuid1), "conflict/folder_exists")
		if diff := cmp.Diff(before, c.Snapshot()); diff != "" {
			t.Errorf("mark %q:\n%s", mark, diff)
		}
	}
}

func TestArchiveOfNothing(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Config{})
	h := c.host("host1")
	c.wants(c.Disks().ArchiveImage(t.Context(), h, store, "IITD_a_web", uuid1), "not_found")
	c.wants(c.Disks().RestoreImage(t.Context(), h, store, "IITD_a_web", uuid1), "not_found")
}

func TestSickDatastores(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		act  func(c *cloud) error
		want string
		use  baadal.DatastoreUsage
	}{
		{
			"full", func(c *cloud) error { return c.FillUp(store.Path, 1000) }, "exhausted/datastore_full",
			baadal.DatastoreUsage{Mounted: true, Writable: true, Capacity: 1 << 40, Used: 1<<40 - 1000, Free: 1000},
		},
		{
			"read-only", func(c *cloud) error { return c.SetReadOnly(store.Path, true) }, "conflict/datastore_read_only",
			baadal.DatastoreUsage{Mounted: true, Capacity: 1 << 40, Used: gib / 2, Free: 1<<40 - gib/2},
		},
		{"not mounted", func(c *cloud) error { return c.Mount("host1", store.Path, false) }, "conflict/datastore_not_mounted", baadal.DatastoreUsage{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := open(t, simulator.Config{})
			h := c.host("host1")
			c.must(tt.act(c))
			before := c.Snapshot()
			c.wants(c.Disks().CreateImage(t.Context(), h, image(uuid1, "IITD_a_web")), tt.want)
			if d := cmp.Diff(before, c.Snapshot()); d != "" {
				t.Error(d)
			}
			u, err := c.Disks().Usage(t.Context(), h, store)
			c.must(err)
			if d := cmp.Diff(tt.use, u); d != "" {
				t.Error(d)
			}
			_, err = c.Disks().ImportTemplate(t.Context(), h, store, "new.qcow2", bytes.NewReader(qcow2(gib, 5000)), -1, nil)
			c.wants(err, tt.want)
		})
	}
}

func TestBadImages(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Config{})
	h := c.host("host1")
	tests := map[string]struct {
		edit func(img *baadal.VMImage)
		want string
	}{
		"smaller than its template": {func(img *baadal.VMImage) { img.Bytes = gib }, "invalid/disk_too_small"},
		"no size":                   {func(img *baadal.VMImage) { img.Bytes = 0 }, "invalid"},
		"no template":               {func(img *baadal.VMImage) { img.Template = store.TemplateFile("none") }, "conflict/template_missing"},
		"no UUID":                   {func(img *baadal.VMImage) { img.UUID = "web" }, "invalid/bad_uuid"},
		"a path for a name":         {func(img *baadal.VMImage) { img.Identity = "../x" }, "invalid/bad_name"},
	}
	for name, tt := range tests {
		img := image(uuid1, "IITD_a_web")
		tt.edit(&img)
		t.Log(name)
		c.wants(c.Disks().CreateImage(t.Context(), h, img), tt.want)
	}
}

func TestFullCopyStandsAlone(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Config{})
	h := c.host("host1")
	img := image(uuid1, "IITD_a_web")
	img.FullCopy = true
	c.must(c.Disks().CreateImage(t.Context(), h, img))
	c.must(c.Disks().RemoveTemplate(t.Context(), h, store, template))
	c.whole()
	c.must(c.Hypervisor().Define(t.Context(), h, definition(uuid1, "IITD_a_web")))
	c.must(c.Hypervisor().Start(t.Context(), h, uuid1))
	entries, err := c.Disks().Entries(t.Context(), h, store)
	c.must(err)
	want := []baadal.DatastoreEntry{{Area: baadal.DirImages, Name: "IITD_a_web", UUID: uuid1, Bytes: gib/2 + 4}}
	if d := cmp.Diff(want, entries); d != "" {
		t.Error(d)
	}
}

func TestImportTemplate(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Config{})
	h, content := c.host("host1"), qcow2(3*gib, 1<<20+17)
	var last int64
	info, err := c.Disks().ImportTemplate(t.Context(), h, store, "new.qcow2", bytes.NewReader(content), int64(len(content)), func(n int64) { last = n })
	c.must(err)
	sum := sha256.Sum256(content)
	want := baadal.ImageInfo{Format: "qcow2", VirtualSize: 3 * gib, FileSize: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
	if d := cmp.Diff(want, info); d != "" {
		t.Error(d)
	}
	if last != want.FileSize {
		t.Errorf("progress ended at %d", last)
	}
	again, err := c.Disks().ImportTemplate(t.Context(), h, store, "new.qcow2", iotest.ErrReader(errors.New("must not be read")), -1, nil)
	c.must(err)
	if d := cmp.Diff(want, again); d != "" {
		t.Error(d)
	}
}

func TestImportRefusals(t *testing.T) {
	t.Parallel()
	backing := qcow2(gib, 1000)
	backing[15] = 104
	tests := map[string]struct {
		content []byte
		size    int64
		want    string
	}{
		"text":      {[]byte(strings.Repeat("hello ", 100)), -1, "invalid/bad_image"},
		"short":     {qcow2(gib, 1000)[:20], -1, "invalid/bad_image"},
		"empty":     {nil, 0, "invalid/bad_image"},
		"no size":   {qcow2(0, 1000), -1, "invalid/bad_image"},
		"backing":   {backing, -1, "invalid/bad_image"},
		"truncated": {qcow2(gib, 1000), 2000, "invalid/bad_image"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := open(t, simulator.Config{})
			h := c.host("host1")
			_, err := c.Disks().ImportTemplate(t.Context(), h, store, "new.qcow2", bytes.NewReader(tt.content), tt.size, nil)
			c.wants(err, tt.want)
			if strings.Contains(c.Snapshot(), "vm_templates/new.qcow2") {
				t.Error("it became a template")
			}
		})
	}
}

func TestUnfinishedImport(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Config{})
	h, content := c.host("host1"), qcow2(gib, 1<<20)
	clean := c.Snapshot()
	torn := io.MultiReader(bytes.NewReader(content[:600000]), iotest.ErrReader(errors.New("torn")))
	_, err := c.Disks().ImportTemplate(t.Context(), h, store, "new.qcow2", torn, -1, nil)
	if err == nil || !strings.Contains(err.Error(), "torn") {
		t.Fatalf("got %v", err)
	}
	if snap := c.Snapshot(); !strings.Contains(snap, "vm_templates/.new.qcow2.part bytes=600000") {
		t.Errorf("nothing is left of it:\n%s", snap)
	}
	_, err = c.Disks().ImportTemplate(t.Context(), h, store, "new.qcow2", bytes.NewReader(content), -1, nil)
	c.must(err)
	c.must(c.Disks().RemoveTemplate(t.Context(), h, store, "new.qcow2"))
	c.must(c.Disks().RemoveTemplate(t.Context(), h, store, "new.qcow2"))
	if d := cmp.Diff(clean, c.Snapshot()); d != "" {
		t.Error(d)
	}
}

func TestImportEndsWithItsHost(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Config{})
	h, content := c.host("host1"), qcow2(gib, 1<<20)
	cut := func(int64) { c.must(c.Cut("host1")) }
	_, err := c.Disks().ImportTemplate(t.Context(), h, store, "new.qcow2", bytes.NewReader(content), -1, cut)
	c.wants(err, "unavailable/host_unreachable")
	c.must(c.Heal("host1"))

	ctx, cancel := context.WithCancel(t.Context())
	_, err = c.Disks().ImportTemplate(ctx, h, store, "new.qcow2", bytes.NewReader(content), -1, func(int64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestTwoDatastores(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Config{})
	second := baadal.Datastore{Name: "ds2", Path: "/mnt/second"}
	h := c.host("host1")
	img := image(uuid1, "IITD_a_web")
	img.Datastore = second
	c.wants(c.Disks().CreateImage(t.Context(), h, img), "conflict/datastore_not_mounted")
	c.must(c.AddDatastore(second.Path, 10*gib))
	c.must(c.Disks().CreateImage(t.Context(), h, img))
	c.whole()
	u, err := c.Disks().Usage(t.Context(), h, second)
	c.must(err)
	if u.Used != 196<<10+4 || u.Capacity != 10*gib {
		t.Errorf("usage %+v", u)
	}
}
