package workflow

import (
	"fmt"
	"slices"

	"baadal"
)

// compareBaseFolder asks which base a folder belongs to.
func (c *comparison) compareBaseFolder(ds baadal.Datastore, e baadal.DatastoreEntry) {
	owned := func(b baadal.Base) bool { return b.DatastoreID == ds.ID && b.UUID == e.UUID }
	if slices.ContainsFunc(c.before.bases, owned) || slices.ContainsFunc(c.b.bases, owned) {
		return
	}
	c.add(baadal.Difference{
		Kind: baadal.DiffOrphanBase, Subject: baadal.Subject{Kind: "datastore", ID: ds.ID, Name: ds.Name}, Stored: "no base owns it",
		Seen: fmt.Sprintf("%s/%s on %s, %d MiB", e.Area, e.Name, ds.Name, e.Bytes>>20),
	})
}

// compareBases looks for the folder of each base that no task is at.
func (c *comparison) compareBases(ds baadal.Datastore, found map[string]bool) {
	for _, b := range c.b.bases {
		was := func(old baadal.Base) bool { return old.ID == b.ID && old.State == baadal.BaseReady }
		if b.DatastoreID != ds.ID || b.State != baadal.BaseReady || !slices.ContainsFunc(c.before.bases, was) || found[baadal.DirBases+"/"+b.UUID] {
			continue
		}
		c.add(baadal.Difference{
			Kind: baadal.DiffMissingBase, Subject: baadal.Subject{Kind: "base", ID: b.ID, Name: b.Origin},
			Stored: baadal.DirBases + "/" + b.UUID + " on " + ds.Name, Seen: "it is not there",
		})
	}
}
