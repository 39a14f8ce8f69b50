package server_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"testing"

	"baadal"
	"baadal/internal/server/servertest"
	"baadal/internal/store"
)

// export makes an export that is ready to be fetched.
func export(t *testing.T, c *servertest.Cloud, owner servertest.Person) (f baadal.Transfer, sum [32]byte) {
	t.Helper()
	sum = sha256.Sum256([]byte(servertest.Content))
	f = baadal.Transfer{
		UUID: "export of " + owner.Username, Kind: baadal.TransferExport, Name: "web 1.qcow2", DatastoreID: 1,
		OwnerID: owner.ID, OrganisationID: owner.OrganisationID, RequesterID: owner.ID,
	}
	c.Update(func(tx *store.Tx) error {
		if err := tx.CreateTransfer(&f); err != nil {
			return err
		}
		return tx.SetTransfer(f.ID, baadal.TransferReady, baadal.ImageInfo{FileSize: int64(len(servertest.Content)), SHA256: fmt.Sprintf("%x", sum)})
	})
	return f, sum
}

// TestFetchExport: the file comes whole or in ranges, with its checksum.
func TestFetchExport(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	c.Furnish()
	me := c.User("me", "CSE")
	f, sum := export(t, c, me)
	path, etag, size := fmt.Sprintf("/api/v1/exports/%d/file", f.ID), fmt.Sprintf(`"%x"`, sum), len(servertest.Content)
	whole := ask(t, c, me.Token, "GET", path, "")
	if whole.status != http.StatusOK || string(whole.body) != servertest.Content {
		t.Errorf("%d %s", whole.status, whole.body)
	}
	for name, want := range map[string]string{
		"ETag": etag, "Accept-Ranges": "bytes", "Content-Length": fmt.Sprint(size), "Content-Type": "application/octet-stream",
		"Repr-Digest": "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":", "Content-Disposition": `attachment; filename="web 1.qcow2"`,
	} {
		if got := whole.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, x := range []struct {
		headers []string
		status  int
		body    string
	}{
		{[]string{"Range", "bytes=10-"}, http.StatusPartialContent, servertest.Content[10:]},
		{[]string{"Range", "bytes=10-", "If-Range", etag}, http.StatusPartialContent, servertest.Content[10:]},
		{[]string{"Range", "bytes=10-", "If-Range", `"another"`}, http.StatusOK, servertest.Content},
		{[]string{"Range", "bytes=-4"}, http.StatusPartialContent, servertest.Content[size-4:]},
		{[]string{"Range", "bytes=3-5"}, http.StatusPartialContent, servertest.Content[3:6]},
		{[]string{"If-None-Match", etag}, http.StatusNotModified, ""},
	} {
		if a := ask(t, c, me.Token, "GET", path, "", x.headers...); a.status != x.status || string(a.body) != x.body {
			t.Errorf("%v: %d %q, want %d %q", x.headers, a.status, a.body, x.status, x.body)
		}
	}
	if a := ask(t, c, me.Token, "GET", path, "", "Range", "bytes=1000-"); a.status != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("behind its end: %d %s", a.status, a.body)
	}
	c.Update(func(tx *store.Tx) error { return tx.SetTransfer(f.ID, baadal.TransferRemoving, baadal.ImageInfo{}) })
	if a := ask(t, c, me.Token, "GET", path, ""); a.status != http.StatusConflict || a.problem(t).Code != "export_not_ready" {
		t.Errorf("on its way out: %d %s", a.status, a.body)
	}
}
