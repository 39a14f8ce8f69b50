package disk_test

import (
	"io"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/needs"
)

// hold opens a disk for writing as a QEMU does, until the returned function is
// called.
func hold(t *testing.T, file string) (release func()) {
	t.Helper()
	cmd := exec.Command("qemu-io", "-f", "qcow2", file)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	release = func() {
		_ = in.Close()
		_ = cmd.Wait()
	}
	t.Cleanup(release)
	_, err = io.WriteString(in, "read 0 512\n")
	must(t, err)
	answered := make(chan error, 1)
	go func() { _, err := out.Read(make([]byte, 64)); answered <- err }()
	select {
	case err := <-answered:
		must(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("qemu-io does not open the disk")
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return release
}

// TestOpenDiskIsNotArchived: a disk that some QEMU writes to stays where it is.
func TestOpenDiskIsNotArchived(t *testing.T) {
	t.Parallel()
	needs.Programs(t, "qemu-io")
	d, ds := newDisks(t, 32)
	ctx := t.Context()
	must(t, d.CreateImage(ctx, testHost, image(ds, "a", uuidA)))
	extra := extraDisk(ds, 1)
	must(t, d.CreateDisk(ctx, testHost, extra, 4<<20))
	for _, x := range []struct {
		file    string
		archive func() error
	}{
		{ds.ImageFile("a"), func() error { return d.ArchiveImage(ctx, testHost, ds, "a", uuidA) }},
		{extra.Path(), func() error { return d.ArchiveDisk(ctx, testHost, extra) }},
		{extra.Path(), func() error { return d.ArchiveDisks(ctx, testHost, ds, extra.Identity, extra.UUID) }},
	} {
		release := hold(t, x.file)
		before := tree(t, ds.Path)
		err := x.archive()
		wantCode(t, err, baadal.Conflict, "disk_in_use")
		if diff := cmp.Diff(before, tree(t, ds.Path)); diff != "" {
			t.Error(diff)
		}
		release()
		must(t, x.archive())
		if x.file == extra.Path() {
			_ = d.RestoreDisk(ctx, testHost, extra) // for the next case; the last one leaves it where it is
		}
	}
}
