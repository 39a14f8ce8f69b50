package store_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"baadal"
	"baadal/internal/needs"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// TestFullDiskIsUnavailable fills a small file system: the change is refused
// as worth a retry, nothing of it is stored, and it passes once there is room.
func TestFullDiskIsUnavailable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		needs.Skip(t, "mounting a small file system: "+err.Error())
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	db := storetest.OpenDSN(t, store.Config{DSN: "sqlite:" + filepath.Join(dir, "x.db")})
	ballast := filepath.Join(dir, "ballast")
	// Fill what is left; the last write fails, as it must.
	_ = os.WriteFile(ballast, make([]byte, 8<<20), 0o600)
	put := func(tx *store.Tx) error { return tx.PutDocument("big", []byte(strings.Repeat("x", 1<<20))) }
	if err := db.Update(t.Context(), put); baadal.KindOf(err) != baadal.Unavailable {
		t.Errorf("got kind %q: %v", baadal.KindOf(err), err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error { _, err := tx.Document("big"); return err })
	update(t, db, put)
}
