package disk_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"baadal"
)

// cdImage has what makes a file an ISO 9660 image; hybrid ones, for memory
// sticks, have a boot sector too.
func cdImage(hybrid bool) []byte {
	b := make([]byte, 80<<10)
	copy(b[16*2048+1:], "CD001")
	if hybrid {
		b[510], b[511] = 0x55, 0xaa
	}
	return b
}

// TestImportISO: a file name that says CD image takes CD images, whatever else
// they could be, and nothing but these.
func TestImportISO(t *testing.T) {
	t.Parallel()
	d, ds := newDisks(t, 32)
	qcow := realImage(t)
	for _, c := range []struct {
		file string
		data []byte
		bad  string // words of the refusal; empty if it is taken
	}{
		{"cd-1.iso", cdImage(false), ""},
		{"cd-2.iso", cdImage(true), ""},
		{"cd-3.iso", qcow, "not a CD image"},
		{"cd-4.iso", rawDisk(1 << 20), "not a CD image"},
		{"cd-5.iso", []byte("CD001"), "not a CD image"},
		{"disk.img", cdImage(false), "--kind iso"},
	} {
		info, err := d.ImportTemplate(t.Context(), testHost, ds, c.file, bytes.NewReader(c.data), int64(len(c.data)), nil)
		if c.bad != "" {
			if baadal.CodeOf(err) != "bad_image" || !strings.Contains(baadal.Message(err), c.bad) {
				t.Errorf("%s: %v", c.file, err)
			}
			continue
		}
		must(t, err)
		if info.Format != "raw" || info.VirtualSize != int64(len(c.data)) {
			t.Errorf("%s: %+v", c.file, info)
		}
		again, err := d.ImportTemplate(t.Context(), testHost, ds, c.file, unread{t}, -1, nil)
		must(t, err)
		if again != info {
			t.Errorf("%s: imported twice it is %+v", c.file, again)
		}
		st, err := os.Stat(ds.TemplateFile(c.file))
		must(t, err)
		if st.Mode().Perm() != 0o444 {
			t.Errorf("%s has mode %o", c.file, st.Mode().Perm())
		}
	}
}
