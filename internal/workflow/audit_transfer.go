package workflow

import (
	"fmt"
	"slices"
	"strings"

	"baadal"
)

// compareTransfer asks which transfer a file belongs to; one that is being
// written has the same name with a dot before and more behind.
func (c *comparison) compareTransfer(ds baadal.Datastore, e baadal.DatastoreEntry) {
	name, _, _ := strings.Cut(strings.TrimPrefix(e.Name, "."), ".")
	owned := func(f baadal.Transfer) bool { return f.DatastoreID == ds.ID && f.UUID == name }
	if slices.ContainsFunc(c.before.transfers, owned) || slices.ContainsFunc(c.b.transfers, owned) {
		return
	}
	c.add(baadal.Difference{
		Kind: baadal.DiffOrphanTransfer, Subject: baadal.Subject{Kind: "datastore", ID: ds.ID, Name: ds.Name}, Stored: "no transfer owns it",
		Seen: fmt.Sprintf("%s/%s on %s, %d MiB", e.Area, e.Name, ds.Name, e.Bytes>>20),
	})
}
