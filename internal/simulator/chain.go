package simulator

import (
	"context"
	"path"
	"strings"

	"baadal"
)

// chainOf tells what a disk stands on.
func (w *World) chainOf(disk *file) baadal.DiskChain {
	c := baadal.DiskChain{Snapshots: len(disk.Saved), Bytes: disk.Virtual}
	for disk.Backing != "" {
		at := disk.Backing
		_, below := w.lookup(at)
		if below == nil {
			break
		}
		c.Depth++
		if path.Base(path.Dir(at)) == baadal.DirTemplates {
			c.Root, c.Format = at, below.Format
		} else {
			c.Between += below.Bytes
		}
		disk = below
	}
	return c
}

// pull makes a disk stand on one file only, or on none.
func (w *World) pull(at, onto string) error {
	ds, disk := w.lookup(at)
	if disk == nil {
		return baadal.Errorf(baadal.NotFound, "there is no %s", at).WithCode("folder_missing")
	}
	need := int64(0)
	for below := disk.Backing; below != onto; {
		if below == "" {
			return baadal.Errorf(baadal.Conflict, "%s does not stand on %s", at, onto).WithCode("disk_missing")
		}
		_, f := w.lookup(below)
		need += f.Bytes
		below = f.Backing
	}
	if err := ds.room(need); err != nil {
		return err
	}
	ds.used += need
	disk.Bytes, disk.Backing, w.dirty = disk.Bytes+need, onto, true
	return nil
}

// PullDisk makes a disk of a running domain stand on one file only.
func (v *Hypervisor) PullDisk(ctx context.Context, bh baadal.Host, uuid, target, onto string, _ int64, progress func(share float64)) error {
	err := v.onDisk(ctx, "freezer.pull", bh, uuid, target, func(_ *domain, disk *baadal.DomainDisk) error { return v.w.pull(disk.Path, onto) })
	if err == nil {
		progress(1)
	}
	return err
}

// FlattenDisk makes a disk that nobody has open stand on one file only.
func (s *Disks) FlattenDisk(ctx context.Context, bh baadal.Host, f baadal.DiskFile, onto, _ string, _ int64) error {
	return s.onDisk(ctx, "bases.flatten", bh, f, func(*datastore) error {
		if _, has := s.w.lookup(f.Path()); has != nil && s.w.writer(has.Inode) != nil {
			return baadal.Errorf(baadal.Conflict, "%s is in use", f.Path()).WithCode("disk_in_use")
		}
		return s.w.pull(f.Path(), onto)
	})
}

// DropNames removes the names that bases have in the folder of a disk.
func (s *Disks) DropNames(ctx context.Context, bh baadal.Host, f baadal.DiskFile) error {
	return s.onDisk(ctx, "bases.drop_names", bh, f, func(ds *datastore) error {
		dir, err := ds.folderOf(f.Dir(), f.UUID)
		if err != nil {
			return err
		}
		if dir == nil {
			return baadal.Errorf(baadal.NotFound, "there is no %s", f.Dir()).WithCode("folder_missing")
		}
		bases := map[int64]bool{}
		for key, other := range ds.Folders {
			if b := other.Files[baseName]; b != nil && strings.HasPrefix(key, baadal.DirBases+"/") {
				bases[b.Inode] = true
			}
		}
		for name, other := range dir.Files {
			if name != f.Name && other.DiskID == f.DiskID && bases[other.Inode] {
				delete(dir.Files, name)
				s.w.dirty = true
			}
		}
		return nil
	})
}

// ForkDisk makes an extra disk that stands on a base, or is a copy of it.
func (s *Disks) ForkDisk(ctx context.Context, bh baadal.Host, f baadal.DiskFile, base string, full bool) error {
	return s.onDisk(ctx, "disks.fork_disk", bh, f, func(ds *datastore) error {
		like, err := s.w.forked(ds, f.Datastore.BaseFile(base), full)
		if err != nil {
			return err
		}
		return s.w.newExtra(ds, f, like)
	})
}

// forked is a new disk on a base, or a copy of it.
func (w *World) forked(ds *datastore, base string, full bool) (*file, error) {
	_, b := w.lookup(base)
	if b == nil {
		return nil, baadal.Errorf(baadal.Conflict, "there is no %s on %s", base, ds.Path).WithCode("template_missing")
	}
	if !full {
		return &file{Bytes: overlayBytes, Virtual: b.Virtual, Backing: base}, nil
	}
	flat := &file{Virtual: b.Virtual}
	for f := b; f != nil; _, f = w.lookup(f.Backing) {
		flat.Bytes += f.Bytes
	}
	return flat, nil
}

// ForkDisks makes the folders of many VMs.
func (s *Disks) ForkDisks(ctx context.Context, bh baadal.Host, in baadal.DiskForks) (made []string, err error) {
	err = s.w.call(ctx, "disks.fork", bh, func(h *host) error {
		ds, err := s.w.writable(h, in.Datastore.Path)
		if err != nil {
			return err
		}
		for _, f := range in.Folders {
			there, err := s.w.forkFolder(ds, in, f)
			if err != nil {
				return err
			}
			if there {
				made = append(made, f.UUID)
			}
		}
		return nil
	})
	return made, err
}

// forkFolder makes one of the folders; it reports whether it is there.
func (w *World) forkFolder(ds *datastore, in baadal.DiskForks, f baadal.DiskFork) (there bool, err error) {
	key := path.Join(baadal.DirImages, f.Identity)
	if in.Extra {
		key = in.Datastore.ExtraDisksDir(f.Identity)
	}
	if old := ds.Folders[key]; old != nil {
		return old.Mark == f.UUID, nil
	}
	dir := &folder{Mark: f.UUID, Files: map[string]*file{}}
	for _, k := range f.Disks {
		like, err := w.forked(ds, in.Datastore.BaseFile(k.Base), false)
		if err != nil {
			return false, err
		}
		disk := w.newFile(like.Bytes)
		disk.Virtual, disk.Backing, disk.Format, disk.DiskID = k.Bytes, like.Backing, "qcow2", k.ID
		dir.Files[k.Name] = disk
	}
	if len(f.Seed) > 0 {
		dir.Files[path.Base(in.Datastore.SeedFile(f.Identity))] = w.newFile(int64(len(f.Seed)))
	}
	if err := ds.room(dir.bytes()); err != nil {
		return false, err
	}
	ds.Folders[key] = dir
	ds.used += dir.bytes()
	w.dirty = true
	return true, nil
}
