package workflow

import (
	"path"
	"slices"

	"baadal"
)

// ownedDisks returns what extra disks have on a datastore, below its mount
// point: the folders and files, each with its VM.
func (b *book) ownedDisks(ds baadal.Datastore) map[string]baadal.VM {
	owned := map[string]baadal.VM{}
	for _, k := range b.disks {
		if vm, known := b.vms[k.VMID]; known && k.DatastoreID == ds.ID {
			place, folder := diskPlace(ds, vm, k)
			owned[place], owned[folder] = vm, vm
			for _, name := range b.formerNames(k) {
				owned[path.Join(folder, name)] = vm
			}
		}
	}
	return owned
}

// diskPlace returns what must be there for a disk, and the folder it is in: the
// same if the whole folder was archived.
func diskPlace(ds baadal.Datastore, vm baadal.VM, k baadal.Disk) (place, folder string) {
	f := baadal.DiskFile{Datastore: ds, Identity: vm.Identity, UUID: vm.UUID, DiskID: k.ID, Name: k.FileName()}
	switch {
	case k.State == baadal.DiskDeleted:
		return f.DeletedDir(), f.DeletedDir()
	case vm.State == baadal.VMDeleted:
		folder = ds.DeletedDisksDir(vm.Identity, vm.UUID)
		return folder, folder
	}
	return path.Join(f.Dir(), f.Name), f.Dir()
}

// formerNames are the names that a disk's file had before it became a base: they
// stay in the folder of a VM that ran then.
func (b *book) formerNames(k baadal.Disk) []string {
	names := []string{k.Name}
	for at := k.BaseID; at != 0; {
		i := slices.IndexFunc(b.bases, func(o baadal.Base) bool { return o.ID == at })
		if i < 0 {
			break
		}
		names = append(names, baadal.OverlayName(k.Name, b.bases[i].UUID))
		at = b.bases[i].ParentID
	}
	return names
}

// compareDisks asks where the extra disks on a datastore are.
func (c *comparison) compareDisks(ds baadal.Datastore, found map[string]bool) {
	for _, k := range c.b.disks {
		vm, known := c.b.vms[k.VMID]
		same := slices.ContainsFunc(c.before.disks, func(old baadal.Disk) bool { return old.ID == k.ID && old.Generation == k.Generation })
		if !known || !same || k.DatastoreID != ds.ID || c.inMotion(vm) || vm.State == baadal.VMUnknown || k.State == baadal.DiskCreating {
			continue
		}
		if place, _ := diskPlace(ds, vm, k); !found[place] {
			c.add(baadal.Difference{Kind: baadal.DiffMissingDisk, Subject: vmSubject(vm), Host: vm.Host, Stored: place + " on " + ds.Name, Seen: "it is not there"})
		}
	}
}

// compareExtra asks which VM a folder of extra disks, or a file in it, belongs
// to. A file in a folder that nobody owns is told of with the folder.
func (c *comparison) compareExtra(ds baadal.Datastore, e baadal.DatastoreEntry, owned map[string]baadal.VM) {
	if folder := path.Dir(e.Name); path.Dir(folder) != "." { // datastore/identity/file
		vm, ours := owned[path.Join(e.Area, folder)]
		if !ours {
			return
		}
		e.UUID = vm.UUID
	}
	c.compareFolder(ds, e)
}
