package disk_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/disk"
)

// realImage returns a qcow2 image of 4 MiB with 2 MiB of data.
func realImage(t *testing.T, options ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	raw, out := filepath.Join(dir, "raw"), filepath.Join(dir, "qcow2")
	data := make([]byte, 4<<20)
	for i := range 2 << 20 {
		data[i] = byte(i*7 + i>>9)
	}
	must(t, os.WriteFile(raw, data, 0o600))
	qemuImg(t, append(append([]string{"convert", "-q", "-f", "raw", "-O", "qcow2"}, options...), raw, out)...)
	b, err := os.ReadFile(out)
	must(t, err)
	return b
}

// rawDisk returns a raw image with a boot sector's signature.
func rawDisk(size int) []byte {
	b := make([]byte, size)
	b[510], b[511] = 0x55, 0xaa
	return b
}

type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the reader was read")
	return 0, io.EOF
}

func TestImportTemplate(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 32)
	ctx := t.Context()
	qcow := realImage(t)
	raw := rawDisk(1 << 20)
	for _, tc := range []struct {
		file  string
		data  []byte
		size  int64
		wants baadal.ImageInfo
	}{
		{"debian 12 'x'.qcow2", qcow, int64(len(qcow)), baadal.ImageInfo{Format: "qcow2", VirtualSize: 4 << 20}},
		{"unknown size.qcow2", qcow, -1, baadal.ImageInfo{Format: "qcow2", VirtualSize: 4 << 20}},
		{"r.img", raw, int64(len(raw)), baadal.ImageInfo{Format: "raw", VirtualSize: 1 << 20}},
	} {
		sum := sha256.Sum256(tc.data)
		tc.wants.SHA256, tc.wants.FileSize = hex.EncodeToString(sum[:]), int64(len(tc.data))
		var last int64
		got, err := d.ImportTemplate(ctx, testHost, ds, tc.file, bytes.NewReader(tc.data), tc.size, func(n int64) { last = n })
		must(t, err)
		if diff := cmp.Diff(tc.wants, got); diff != "" {
			t.Errorf("%s: %s", tc.file, diff)
		}
		if last != int64(len(tc.data)) {
			t.Errorf("%s: progress ended at %d of %d", tc.file, last, len(tc.data))
		}
		st, err := os.Stat(ds.TemplateFile(tc.file))
		must(t, err)
		if st.Mode() != 0o444 {
			t.Errorf("%s has mode %v", tc.file, st.Mode())
		}
		again, err := d.ImportTemplate(ctx, testHost, ds, tc.file, unread{t}, tc.size, nil)
		must(t, err)
		if diff := cmp.Diff(tc.wants, again); diff != "" {
			t.Errorf("%s again: %s", tc.file, diff)
		}
		img := image(ds, "vm-"+tc.wants.Format+tc.file[:1], uuidA)
		img.Template, img.Format = ds.TemplateFile(tc.file), got.Format
		must(t, d.CreateImage(ctx, testHost, img))
		for range 2 {
			must(t, d.RemoveTemplate(ctx, testHost, ds, tc.file))
		}
	}
	if diff := cmp.Diff([]string{"t.qcow2"}, tree(t, filepath.Join(ds.Path, "vm_templates"))); diff != "" {
		t.Error(diff)
	}
}

func TestImportTemplateRefusals(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 32)
	qcow := realImage(t)
	edit := func(fn func(b []byte)) []byte {
		b := bytes.Clone(qcow)
		fn(b)
		return b
	}
	make1 := func(args ...string) []byte {
		dir := t.TempDir()
		file := filepath.Join(dir, "x")
		qemuImg(t, append(append([]string{"create", "-q"}, args...), file, "4M")...)
		b, err := os.ReadFile(file)
		must(t, err)
		return b
	}
	base := filepath.Join(t.TempDir(), "base")
	must(t, os.WriteFile(base, make([]byte, 1<<20), 0o600))
	data := filepath.Join(t.TempDir(), "data")
	be := binary.BigEndian

	for name, b := range map[string][]byte{
		"empty":            {},
		"text":             []byte(strings.Repeat("no image at all\n", 1000)),
		"html":             []byte("<!DOCTYPE html><html>404</html>"),
		"gzip":             append([]byte("\x1f\x8b\x08"), make([]byte, 4096)...),
		"zeros":            make([]byte, 1<<20),
		"raw cut off":      rawDisk(1<<20 - 7),
		"header only":      qcow[:60],
		"truncated":        qcow[:len(qcow)/2],
		"truncated a bit":  qcow[:len(qcow)-(96<<10)],
		"backing file":     make1("-f", "qcow2", "-b", base, "-F", "raw"),
		"backing, raw set": edit(func(b []byte) { be.PutUint64(b[8:], 512); be.PutUint32(b[16:], 11); copy(b[512:], "/etc/passwd") }),
		"data file":        make1("-f", "qcow2", "-o", "data_file="+data),
		"data file bit":    edit(func(b []byte) { b[79] |= 4 }),
		"data file ext":    edit(func(b []byte) { be.PutUint32(b[be.Uint32(b[100:]):], 0x44415441) }),
		"encrypted":        edit(func(b []byte) { b[35] = 2 }),
		"corrupt bit":      edit(func(b []byte) { b[79] |= 2 }),
		"no size":          edit(func(b []byte) { be.PutUint64(b[24:], 0) }),
		"absurd size":      edit(func(b []byte) { be.PutUint64(b[24:], 1<<60) }),
		"version 1":        edit(func(b []byte) { b[7] = 1 }),
		"endless header":   edit(func(b []byte) { be.PutUint32(b[100:], 1<<31) }),
		"wild l1 table":    edit(func(b []byte) { be.PutUint64(b[40:], 1<<50) }),
		"wild refcounts":   edit(func(b []byte) { be.PutUint64(b[48:], 1<<40) }),
		"vmdk":             make1("-f", "vmdk"),
		"vdi":              make1("-f", "vdi"),
		"vhdx":             make1("-f", "vhdx"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.ImportTemplate(t.Context(), testHost, ds, "new", bytes.NewReader(b), int64(len(b)), nil)
			if baadal.KindOf(err) != baadal.Invalid || baadal.CodeOf(err) != "bad_image" {
				t.Errorf("error is %s: %v", baadal.CodeOf(err), err)
			}
			if strings.Contains(baadal.Message(err), "root:") {
				t.Error("the error shows another file")
			}
			if diff := cmp.Diff([]string{"t.qcow2"}, tree(t, filepath.Join(ds.Path, "vm_templates"))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

type failing struct{ after io.Reader }

func (f failing) Read(b []byte) (int, error) {
	n, err := f.after.Read(b)
	if errors.Is(err, io.EOF) {
		err = baadal.Errorf(baadal.Unavailable, "the download broke")
	}
	return n, err
}

func TestImportTemplateTroubles(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 8)
	ctx := t.Context()
	qcow := realImage(t)
	_, err := d.ImportTemplate(ctx, testHost, ds, "new", failing{bytes.NewReader(qcow)}, -1, nil)
	if baadal.KindOf(err) != baadal.Unavailable || !strings.Contains(err.Error(), "the download broke") {
		t.Errorf("broken download: %v", err)
	}
	_, err = d.ImportTemplate(ctx, testHost, ds, "new", bytes.NewReader(qcow), int64(len(qcow))+1, nil)
	wantCode(t, err, baadal.Invalid, "bad_image")
	_, err = d.ImportTemplate(ctx, testHost, ds, "new", unread{t}, 1<<30, nil)
	wantCode(t, err, baadal.Exhausted, "datastore_full")
	_, err = d.ImportTemplate(ctx, testHost, ds, "new", bytes.NewReader(rawDisk(16<<20)), -1, nil)
	wantCode(t, err, baadal.Exhausted, "datastore_full")
	for _, name := range []string{"../x", "a/b", "", ".hidden", "-o"} {
		_, err = d.ImportTemplate(ctx, testHost, ds, name, unread{t}, 1, nil)
		wantCode(t, err, baadal.Invalid, "bad_name")
		wantCode(t, d.RemoveTemplate(ctx, testHost, ds, name), baadal.Invalid, "bad_name")
	}
	must(t, os.Mkdir(ds.TemplateFile("folder"), 0o755))
	_, err = d.ImportTemplate(ctx, testHost, ds, "folder", unread{t}, 1, nil)
	wantCode(t, err, baadal.Conflict, "folder_exists")
	wantCode(t, d.RemoveTemplate(ctx, testHost, ds, "folder"), baadal.Conflict, "folder_exists")
	if diff := cmp.Diff([]string{"folder/", "t.qcow2"}, tree(t, filepath.Join(ds.Path, "vm_templates"))); diff != "" {
		t.Error(diff)
	}
}

// An import that was killed is replaced by the next one; one of a file whose
// name begins alike is left alone.
func TestImportTemplateKilled(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 32)
	qcow := realImage(t)
	dir := filepath.Join(ds.Path, "vm_templates")
	write(t, filepath.Join(dir, ".new.AAAAAAAA.part"), "left")
	write(t, filepath.Join(dir, ".new.x.BBBBBBBB.part"), "of another template")
	for i := range 8 {
		cut := disk.New(local{killAfter: time.Duration(3+4*i) * time.Millisecond}, disk.Options{})
		_, _ = cut.ImportTemplate(t.Context(), testHost, ds, "new", bytes.NewReader(qcow), int64(len(qcow)), nil)
		_, err := d.ImportTemplate(t.Context(), testHost, ds, "new", bytes.NewReader(qcow), int64(len(qcow)), nil)
		must(t, err)
		if out, err := exec.Command("qemu-img", "check", "-q", ds.TemplateFile("new")).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		must(t, d.RemoveTemplate(t.Context(), testHost, ds, "new"))
		if diff := cmp.Diff([]string{".new.x.BBBBBBBB.part", "t.qcow2"}, tree(t, dir)); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestImportTemplateProgress(t *testing.T) {
	t.Parallel()
	_, ds := newDisks(t, 32)
	now := time.Unix(0, 0)
	d := disk.New(local{}, disk.Options{Now: func() time.Time { now = now.Add(time.Millisecond); return now }})
	var calls []int64
	data := rawDisk(16 << 20)
	// 16 MiB in pieces of at most 32 KiB are 512 reads of 1 ms each.
	_, err := d.ImportTemplate(t.Context(), testHost, ds, "r", iotestReader{bytes.NewReader(data)}, -1, func(n int64) { calls = append(calls, n) })
	must(t, err)
	if len(calls) < 2 || len(calls) > 4 || calls[len(calls)-1] != int64(len(data)) {
		t.Errorf("progress calls: %v", calls)
	}
}

// iotestReader gives at most 32 KiB at a time.
type iotestReader struct{ r io.Reader }

func (s iotestReader) Read(b []byte) (int, error) { return s.r.Read(b[:min(len(b), 32<<10)]) }
