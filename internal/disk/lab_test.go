package disk_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	cryptossh "golang.org/x/crypto/ssh"

	"baadal"
	"baadal/internal/disk"
	"baadal/internal/ssh"
)

// labHost returns the first host of a running lab, reached by real SSH. The test
// must run inside the network of the lab's controller:
//
//	BAADAL_TEST_LAB_DIR  the lab's folder, with id_ed25519
func labHost(t *testing.T) (*ssh.Pool, baadal.Host) {
	t.Helper()
	dir := os.Getenv("BAADAL_TEST_LAB_DIR")
	if dir == "" {
		t.Skip("a test on a real lab: BAADAL_TEST_LAB_DIR is not set")
	}
	key, err := os.ReadFile(filepath.Join(dir, "id_ed25519"))
	must(t, err)
	signer, err := cryptossh.ParsePrivateKey(key)
	must(t, err)
	h := baadal.Host{ID: 1, Name: "host1", Address: "10.77.0.11"}
	h.HostKey, _, err = ssh.FetchHostKey(t.Context(), h.SSHAddr())
	must(t, err)
	pool := ssh.New(ssh.Options{Signer: signer})
	t.Cleanup(pool.Close)
	return pool, h
}

// names lists an area of a datastore.
func names(t *testing.T, d *disk.Disks, h baadal.Host, ds baadal.Datastore) (all []string) {
	t.Helper()
	entries, err := d.Entries(t.Context(), h, ds)
	must(t, err)
	for _, e := range entries {
		all = append(all, e.Area+"/"+e.Name)
	}
	slices.Sort(all)
	return all
}

func TestLab(t *testing.T) {
	pool, h := labHost(t)
	d := disk.New(pool, disk.Options{})
	ds := baadal.Datastore{Name: "datastore", Path: "/mnt/datastore"}
	ctx := t.Context()
	u, err := d.Usage(ctx, h, ds)
	if err != nil || !u.Mounted || !u.Writable {
		t.Fatalf("%+v, %v", u, err)
	}
	before := names(t, d, h, ds)
	file := "lab test 'x'.qcow2"
	data := realImage(t)
	defer func() { must(t, d.RemoveTemplate(ctx, h, ds, file)) }()
	info, err := d.ImportTemplate(ctx, h, ds, file, bytes.NewReader(data), int64(len(data)), nil)
	must(t, err)
	for _, full := range []bool{false, true} {
		img := baadal.VMImage{
			Datastore: ds, Identity: "LAB_o'neil_$(x)", UUID: uuidA, Template: ds.TemplateFile(file), Format: info.Format,
			Bytes: 64 << 20, FullCopy: full, Seed: bytes.Repeat([]byte("seed"), 12_000),
		}
		start := time.Now()
		must(t, d.CreateImage(ctx, h, img))
		t.Logf("full copy %v: created in %s", full, time.Since(start))
		must(t, d.CreateImage(ctx, h, img))
		must(t, d.ArchiveImage(ctx, h, ds, img.Identity, uuidA))
		must(t, d.RestoreImage(ctx, h, ds, img.Identity, uuidA))
		must(t, d.ArchiveImage(ctx, h, ds, img.Identity, uuidA))
		must(t, d.PurgeImage(ctx, h, ds, img.Identity, uuidA))
	}
	must(t, d.RemoveTemplate(ctx, h, ds, file))
	if after := names(t, d, h, ds); !slices.Equal(before, after) {
		t.Errorf("before %v, after %v", before, after)
	}
}

// slowReader gives a piece now and then, for ever.
type slowReader struct{ head io.Reader }

func (s slowReader) Read(b []byte) (int, error) {
	if n, err := s.head.Read(b); err == nil {
		return n, nil
	}
	time.Sleep(10 * time.Millisecond)
	return min(len(b), 4096), nil
}

// An import that is cancelled over a real connection leaves nothing, and neither
// does one that fills a small datastore.
func TestLabImportEnds(t *testing.T) {
	pool, h := labHost(t)
	d := disk.New(pool, disk.Options{})
	ds := baadal.Datastore{Name: "small", Path: "/mnt/small"}
	_, err := d.Usage(t.Context(), h, ds)
	must(t, err)
	before := names(t, d, h, ds)

	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	start := time.Now()
	_, err = d.ImportTemplate(ctx, h, ds, "cancelled", slowReader{bytes.NewReader(rawDisk(1 << 20))}, -1, nil)
	if err == nil || time.Since(start) > 4*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
	_, err = d.ImportTemplate(t.Context(), h, ds, "large", io.MultiReader(bytes.NewReader(rawDisk(1<<20)), zeros(1<<30)), -1, nil)
	wantCode(t, err, baadal.Exhausted, "datastore_full")
	t.Log(err)
	_, err = d.ImportTemplate(t.Context(), h, ds, "broken", failing{bytes.NewReader(rawDisk(1 << 20))}, -1, nil)
	if _, ok := errors.AsType[*baadal.Error](err); !ok || baadal.KindOf(err) != baadal.Unavailable {
		t.Errorf("got %v", err)
	}
	time.Sleep(time.Second) // for what was killed to be gone
	if after := names(t, d, h, ds); !slices.Equal(before, after) {
		t.Errorf("before %v, after %v", before, after)
	}
}

// zeros is a stream of so many zero bytes.
func zeros(n int64) io.Reader { return io.LimitReader(slowless{}, n) }

type slowless struct{}

func (slowless) Read(b []byte) (int, error) { clear(b); return len(b), nil }
