package client_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"baadal"
	"baadal/internal/server/servertest"
	"baadal/internal/store"
)

// failing takes so many bytes.
type failing struct {
	got  bytes.Buffer
	left int
}

func (f *failing) Write(b []byte) (int, error) {
	n, _ := f.got.Write(b[:min(len(b), f.left)])
	f.left -= n
	if n < len(b) {
		return n, errors.New("full")
	}
	return n, nil
}

// TestFetchExportGoesOn: a download that broke off goes on where it was, unless
// the file is another one by then.
func TestFetchExportGoesOn(t *testing.T) {
	t.Parallel()
	cloud := servertest.New(t)
	cloud.Furnish()
	me := cloud.User("me", "CSE")
	f := baadal.Transfer{UUID: "x", Kind: baadal.TransferExport, Name: "x.qcow2", DatastoreID: 1, OwnerID: me.ID, RequesterID: me.ID}
	cloud.Update(func(tx *store.Tx) error {
		if err := tx.CreateTransfer(&f); err != nil {
			return err
		}
		sum := sha256.Sum256([]byte(servertest.Content))
		return tx.SetTransfer(f.ID, baadal.TransferReady, baadal.ImageInfo{FileSize: int64(len(servertest.Content)), SHA256: fmt.Sprintf("%x", sum)})
	})
	c := newClient(t, cloud.URL, me.Token)
	f, err := c.Export(t.Context(), f.ID)
	if err != nil || f.State != baadal.TransferReady || f.Size != int64(len(servertest.Content)) {
		t.Fatalf("%+v, %v", f, err)
	}
	to := failing{left: 10}
	n, err := c.FetchExport(t.Context(), f, 0, &to, nil)
	if n != 10 || err == nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	to.left = 1 << 20
	var told int64
	if _, err := c.FetchExport(t.Context(), f, n, &to, func(at int64) { told = at }); err != nil || to.got.String() != servertest.Content || told != f.Size {
		t.Errorf("%q, told %d, %v", to.got.String(), told, err)
	}
	other := f
	other.SHA256 = "another"
	if _, err := c.FetchExport(t.Context(), other, n, &to, nil); baadal.CodeOf(err) != "stale" {
		t.Errorf("another file: %v", err)
	}
	other.ID = 4711
	if _, err := c.FetchExport(t.Context(), other, 0, &to, nil); baadal.KindOf(err) != baadal.NotFound {
		t.Errorf("no file: %v", err)
	}
}
