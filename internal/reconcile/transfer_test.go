package reconcile_test

import (
	"testing"
	"time"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

// TestForgottenTransfersGo: an upload that nothing is made of, and an export
// that nobody fetches, are removed after a while; what is used or made stays.
func TestForgottenTransfersGo(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		ds := c.datastore(t)
		transfer := func(uuid, kind, state string) baadal.Transfer {
			f := baadal.Transfer{UUID: uuid, Kind: kind, Name: uuid, DatastoreID: ds.ID}
			c.update(t, func(tx *store.Tx) error {
				if err := tx.CreateTransfer(&f); err != nil {
					return err
				}
				return tx.SetTransfer(f.ID, state, baadal.ImageInfo{})
			})
			return f
		}
		upload, export := transfer("upload", baadal.TransferUpload, baadal.TransferReady), transfer("export", baadal.TransferExport, baadal.TransferReady)
		used := transfer("used", baadal.TransferExport, baadal.TransferReady)
		transfer("making", baadal.TransferExport, baadal.TransferMaking)
		opt := rarely
		opt.Schedule = time.Second
		c.start(opt)
		c.skip(baadal.KeepExport - time.Minute)
		c.update(t, func(tx *store.Tx) error { return tx.UseTransfer(used.ID) })
		wants := func(want ...int64) {
			t.Helper()
			got := c.tasks(t, baadal.TaskTransferRemove)
			if len(got) != len(want) {
				t.Fatalf("asked for: %+v, want %v", got, want)
			}
			for i := range got {
				if got[i].Subject.ID != want[i] || got[i].Subject.Kind != "transfer" || !got[i].Exclusive {
					t.Errorf("asked for: %+v, want %v", got[i], want)
				}
			}
		}
		wants()
		c.skip(2 * time.Minute)
		wants(export.ID)
		c.skip(baadal.KeepUpload)
		if got := c.tasks(t, baadal.TaskTransferRemove); len(got) != 3 || upload.ID == 0 {
			t.Errorf("asked for: %+v", got)
		}
	})
}
