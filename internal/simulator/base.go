package simulator

import (
	"context"
	"path"

	"baadal"
)

const (
	baseName = "base.qcow2"
	copyName = "copy.part"
)

// DiskChain looks at a VM's disk.
func (s *Disks) DiskChain(ctx context.Context, bh baadal.Host, f baadal.DiskFreeze) (c baadal.DiskChain, err error) {
	err = s.w.call(ctx, "bases.chain", bh, func(h *host) error {
		disk, err := s.w.usable(h, f.Old())
		if err != nil {
			return err
		}
		c = s.w.chainOf(disk)
		return nil
	})
	return c, err
}

// frozen is what a call about a base works on.
type frozen struct {
	ds           *datastore
	folder, base *folder // of the VM and of the base; nil if there is none
}

// onBase runs fn with the two folders of a freeze.
func (s *Disks) onBase(ctx context.Context, op string, bh baadal.Host, f baadal.DiskFreeze, fn func(z frozen) error) error {
	return s.w.call(ctx, op, bh, func(h *host) error {
		ds, err := s.w.writable(h, f.Datastore.Path)
		if err != nil {
			return err
		}
		z := frozen{ds: ds}
		if z.folder, err = ds.folderOf(f.Dir(), f.UUID); err != nil {
			return err
		}
		if z.base, err = ds.folderOf(path.Join(baadal.DirBases, f.Base), f.Base); err != nil {
			return err
		}
		s.w.dirty = true
		return fn(z)
	})
}

func nothing(f baadal.DiskFreeze, what string) error {
	return baadal.Errorf(baadal.NotFound, "there is no %s on %s", what, f.Datastore.Path).WithCode("folder_missing")
}

// baseFolder returns the base's folder, made if there is none.
func (z *frozen) baseFolder(f baadal.DiskFreeze) *folder {
	if z.base == nil {
		z.base = &folder{Mark: f.Base, Files: map[string]*file{}}
		z.ds.Folders[path.Join(baadal.DirBases, f.Base)] = z.base
	}
	return z.base
}

// link gives a file a second name; what it occupies counts where it is a base.
func link(from *file) *file {
	second := *from
	second.Bytes = 0
	return &second
}

// ShareDisk makes the disk's file the base's too, and an overlay on it.
func (s *Disks) ShareDisk(ctx context.Context, bh baadal.Host, f baadal.DiskFreeze) error {
	return s.onBase(ctx, "bases.share", bh, f, func(z frozen) error {
		if z.folder == nil {
			return nothing(f, f.Identity)
		}
		overlay := s.w.newFile(overlayBytes)
		if err := z.ds.room(overlay.Bytes); err != nil {
			return err
		}
		if z.baseFolder(f).Files[baseName] == nil {
			old := z.folder.Files[f.Name]
			if old == nil {
				return nothing(f, f.Name)
			}
			second := link(old)
			second.Bytes, old.Bytes = old.Bytes, 0
			z.base.Files[baseName] = second
		}
		if z.folder.Files[f.Overlay] == nil {
			overlay.Virtual, overlay.Format, overlay.Backing, overlay.DiskID = f.Bytes, "qcow2", f.Datastore.BaseFile(f.Base), f.DiskID
			z.folder.Files[f.Overlay] = overlay
			z.ds.used += overlay.Bytes
		}
		return nil
	})
}

// SealBase removes the base's name in the folder of a VM that is off.
func (s *Disks) SealBase(ctx context.Context, bh baadal.Host, f baadal.DiskFreeze, off bool) error {
	return s.onBase(ctx, "bases.seal", bh, f, func(z frozen) error {
		if z.base == nil {
			return nothing(f, f.Base)
		}
		if old := z.folder.Files[f.Name]; off && old != nil && old.Inode == z.base.Files[baseName].Inode {
			delete(z.folder.Files, f.Name)
		}
		return nil
	})
}

// MergeDisk gives the base its name in the VM's folder again.
func (s *Disks) MergeDisk(ctx context.Context, bh baadal.Host, f baadal.DiskFreeze) error {
	return s.onBase(ctx, "bases.merge", bh, f, func(z frozen) error {
		if z.base != nil && z.folder != nil && z.base.Files[baseName] != nil && z.folder.Files[f.Name] == nil {
			z.folder.Files[f.Name] = link(z.base.Files[baseName])
		}
		return nil
	})
}

// UnshareDisk removes the overlay: the base's file is the VM's disk again.
func (s *Disks) UnshareDisk(ctx context.Context, bh baadal.Host, f baadal.DiskFreeze) error {
	return s.onBase(ctx, "bases.unshare", bh, f, func(z frozen) error {
		if z.folder == nil {
			return nil
		}
		if z.base != nil && z.base.Files[baseName] != nil && z.folder.Files[f.Name] == nil {
			z.folder.Files[f.Name] = link(z.base.Files[baseName])
		}
		if z.folder.Files[f.Name] == nil {
			return nothing(f, f.Name)
		}
		if overlay := z.folder.Files[f.Overlay]; overlay != nil {
			z.ds.used -= overlay.Bytes
			delete(z.folder.Files, f.Overlay)
		}
		return nil
	})
}

// PrepareCopy makes the base's folder and removes an unfinished copy.
func (s *Disks) PrepareCopy(ctx context.Context, bh baadal.Host, f baadal.DiskFreeze) error {
	return s.onBase(ctx, "bases.prepare", bh, f, func(z frozen) error {
		if part := z.baseFolder(f).Files[copyName]; part != nil {
			z.ds.used -= part.Bytes
			delete(z.base.Files, copyName)
		}
		return nil
	})
}

// CopyDisk copies the disk of a VM that is off, flat.
func (s *Disks) CopyDisk(ctx context.Context, bh baadal.Host, f baadal.DiskFreeze) error {
	return s.onBase(ctx, "bases.copy", bh, f, func(z frozen) error {
		if z.base == nil {
			return nothing(f, f.Base)
		}
		if z.base.Files[baseName] != nil {
			return nil
		}
		return s.w.flatten(z.ds, f.Old(), z.base)
	})
}

// flatten puts a flat copy of an image into a base's folder.
func (w *World) flatten(ds *datastore, from string, into *folder) error {
	_, disk := w.lookup(from)
	if disk == nil {
		return baadal.Errorf(baadal.NotFound, "there is no %s", from).WithCode("folder_missing")
	}
	flat := w.newFile(0)
	flat.Virtual, flat.Format = disk.Virtual, "qcow2"
	for f := disk; f != nil; _, f = w.lookup(f.Backing) {
		flat.Bytes += f.Bytes
	}
	if err := ds.room(flat.Bytes); err != nil {
		return err
	}
	into.Files[copyName] = flat
	ds.used += flat.Bytes
	return nil
}

// KeepCopy gives a finished copy the base's name.
func (s *Disks) KeepCopy(ctx context.Context, bh baadal.Host, f baadal.DiskFreeze) error {
	return s.onBase(ctx, "bases.keep", bh, f, func(z frozen) error {
		switch {
		case z.base == nil || z.base.Files[baseName] == nil && z.base.Files[copyName] == nil:
			return nothing(f, f.Base)
		case z.base.Files[baseName] == nil:
			z.base.Files[baseName] = z.base.Files[copyName]
		case z.base.Files[copyName] != nil:
			z.ds.used -= z.base.Files[copyName].Bytes
		}
		delete(z.base.Files, copyName)
		return nil
	})
}

// RemoveBase removes a base's folder unless a disk stands on it.
func (s *Disks) RemoveBase(ctx context.Context, bh baadal.Host, bds baadal.Datastore, base string) error {
	return s.w.call(ctx, "bases.remove", bh, func(h *host) error {
		if err := checkUUID(base); err != nil {
			return err
		}
		ds, err := s.w.writable(h, bds.Path)
		if err != nil {
			return err
		}
		key := path.Join(baadal.DirBases, base)
		f, err := ds.folderOf(key, base)
		if f == nil || err != nil {
			return err
		}
		for at, other := range ds.Folders {
			for name, disk := range other.Files {
				if disk.Backing == bds.BaseFile(base) {
					return baadal.Errorf(baadal.Conflict, "a disk on datastore %s stands on the base", ds.Path).WithCode("base_in_use").WithDetail("%s/%s", at, name)
				}
				if b := f.Files[baseName]; b != nil && other != f && disk.Inode == b.Inode { // the file lives on under its other name
					disk.Bytes, b.Bytes = b.Bytes, 0
				}
			}
		}
		return s.w.removeFolder(ds, key, base)
	})
}

// SwitchDisks makes a running domain write to overlays from now on.
func (v *Hypervisor) SwitchDisks(ctx context.Context, bh baadal.Host, uuid string, to map[string]string) error {
	return v.onDisks(ctx, "freezer.switch", bh, uuid, to, func(d *domain, disks map[string]*baadal.DomainDisk) error {
		for _, file := range to {
			if _, err := v.w.usable(d.host, file); err != nil {
				return err
			}
		}
		for target, file := range to {
			if err := v.repoint(d, disks[target], file); err != nil {
				return err
			}
		}
		return nil
	})
}

// RejoinDisk makes a running domain write to the file under its overlay again.
func (v *Hypervisor) RejoinDisk(ctx context.Context, bh baadal.Host, uuid, target, _, to string) error {
	return v.onDisk(ctx, "freezer.rejoin", bh, uuid, target, func(d *domain, disk *baadal.DomainDisk) error { return v.repoint(d, disk, to) })
}

// BackupDisk is BackupDisks of one disk.
func (v *Hypervisor) BackupDisk(ctx context.Context, bh baadal.Host, uuid, target, to string, progress func(share float64)) error {
	return v.BackupDisks(ctx, bh, uuid, map[string]string{target: to}, progress)
}

// BackupDisks makes flat copies of a running domain's disks.
func (v *Hypervisor) BackupDisks(ctx context.Context, bh baadal.Host, uuid string, to map[string]string, progress func(share float64)) error {
	err := v.onDisks(ctx, "freezer.backup", bh, uuid, to, func(d *domain, disks map[string]*baadal.DomainDisk) error {
		for target, file := range to {
			ds, at := v.w.lookup(file)
			if at != nil {
				return baadal.Errorf(baadal.Conflict, "%s is there already", file).WithCode("domain_state")
			}
			if ds == nil || ds.ReadOnly {
				return baadal.Errorf(baadal.Conflict, "%s cannot be written", file).WithCode("datastore_read_only")
			}
			if area := path.Base(path.Dir(file)); area == baadal.DirTemplates || area == baadal.DirMigration {
				f, err := v.w.usable(d.host, disks[target].Path)
				if err != nil {
					return err
				}
				if err := v.w.copyTo(ds, f, area, path.Base(file)); err != nil {
					return err
				}
				continue
			}
			into := ds.Folders[path.Join(baadal.DirBases, path.Base(path.Dir(file)))]
			if into == nil || path.Base(file) != copyName {
				return baadal.Errorf(baadal.Conflict, "there is no folder for %s", file).WithCode("disk_missing")
			}
			if err := v.w.flatten(ds, disks[target].Path, into); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		progress(1)
	}
	return err
}

// repoint makes a running domain, and its definition, use another file.
func (v *Hypervisor) repoint(d *domain, disk *baadal.DomainDisk, to string) error {
	if disk.Path == to {
		return nil
	}
	if err := v.w.marked(d); err != nil {
		return err
	}
	_, old := v.w.lookup(disk.Path)
	f, err := v.w.usable(d.host, to)
	if err != nil {
		return err
	}
	for i, inode := range d.Open {
		if old != nil && inode == old.Inode {
			delete(v.w.writers, inode)
			d.Open[i] = f.Inode
		}
	}
	v.w.writers[f.Inode] = d
	disk.Path, v.w.dirty = to, true
	for i := range d.Def.Disks {
		if d.Def.Disks[i].Target == disk.Target {
			d.Def.Disks[i].Path = to
		}
	}
	delete(d.Mirrors, disk.Target)
	return nil
}

// onDisks runs fn on the disks of an active domain at the targets of to.
func (v *Hypervisor) onDisks(ctx context.Context, op string, bh baadal.Host, uuid string, to map[string]string, fn func(*domain, map[string]*baadal.DomainDisk) error) error {
	return v.withDomain(ctx, op, bh, uuid, func(d *domain) error {
		disks := map[string]*baadal.DomainDisk{}
		for target := range to {
			disk, err := d.liveDisk(target)
			if err != nil {
				return err
			}
			disks[target] = disk
		}
		return fn(d, disks)
	})
}

// liveDisk is a disk that an active domain runs with.
func (d *domain) liveDisk(target string) (*baadal.DomainDisk, error) {
	if !d.active() {
		return nil, baadal.Errorf(baadal.Conflict, "%s is off", d.Def.Name).WithCode("domain_state")
	}
	for i := range d.Live.Disks {
		if d.Live.Disks[i].Target == target {
			return &d.Live.Disks[i], nil
		}
	}
	return nil, baadal.Errorf(baadal.NotFound, "%s has no disk %s", d.Def.Name, target).WithCode("disk_missing")
}

// onDisk runs fn on a disk of an active domain.
func (v *Hypervisor) onDisk(ctx context.Context, op string, bh baadal.Host, uuid, target string, fn func(*domain, *baadal.DomainDisk) error) error {
	return v.withDomain(ctx, op, bh, uuid, func(d *domain) error {
		disk, err := d.liveDisk(target)
		if err != nil {
			return err
		}
		return fn(d, disk)
	})
}

// writtenBases tells the bases that a running domain writes to though disks of
// other VMs stand on them.
func (w *World) writtenBases() (bad []string) {
	for _, ds := range w.state.Datastores {
		for key, other := range ds.Folders {
			for name, f := range other.Files {
				_, base := w.lookup(f.Backing)
				if base == nil {
					continue
				}
				if by := w.writers[base.Inode]; by != nil && by.Def.UUID != other.Mark {
					bad = append(bad, path.Join(ds.Path, key, name)+" stands on a file that "+by.Def.Name+" writes to")
				}
			}
		}
	}
	return bad
}
