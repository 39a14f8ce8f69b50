package simulator

import (
	"context"
	"path"
	"slices"
	"strconv"
	"strings"

	"baadal"
)

// emptyBytes is what a fresh disk without a base occupies.
const emptyBytes = 192 << 10

// CreateDisk makes an extra disk's file, and the VM's folder with the first.
func (s *Disks) CreateDisk(ctx context.Context, bh baadal.Host, f baadal.DiskFile, size int64) error {
	return s.onDisk(ctx, "disks.create_disk", bh, f, func(ds *datastore) error {
		if size <= 0 || size%sectorBytes != 0 {
			return baadal.Errorf(baadal.Invalid, "a disk of %d bytes is not possible", size).WithField("size_gib")
		}
		return s.w.newExtra(ds, f, &file{Bytes: emptyBytes, Virtual: size})
	})
}

// newExtra puts a new extra disk into its folder, which is made with the first.
func (w *World) newExtra(ds *datastore, f baadal.DiskFile, like *file) error {
	dir, has, err := ds.extraOf(f.Dir(), f)
	if err != nil || has != nil {
		return err
	}
	if err := ds.room(like.Bytes); err != nil {
		return err
	}
	if dir == nil {
		dir = &folder{Mark: f.UUID, Files: map[string]*file{}}
		ds.Folders[f.Dir()] = dir
	}
	has = w.newFile(like.Bytes)
	has.Virtual, has.Backing, has.Format, has.DiskID = like.Virtual, like.Backing, "qcow2", f.DiskID
	dir.Files[f.Name] = has
	ds.used += has.Bytes
	return nil
}

func (s *Disks) onDisk(ctx context.Context, op string, bh baadal.Host, f baadal.DiskFile, fn func(ds *datastore) error) error {
	return s.w.call(ctx, op, bh, func(h *host) error {
		for field, name := range map[string]string{"identity": f.Identity, "disk": f.Name, "datastore": f.Datastore.Name} {
			if err := checkName(field, name); err != nil {
				return err
			}
		}
		if err := checkUUID(f.UUID); err != nil {
			return err
		}
		ds, err := s.w.writable(h, f.Datastore.Path)
		if err != nil {
			return err
		}
		return fn(ds)
	})
}

// extraOf returns a VM's folder and the disk's file in it, nil if there is
// none; Conflict if either is not theirs.
func (ds *datastore) extraOf(key string, f baadal.DiskFile) (*folder, *file, error) {
	dir, err := ds.folderOf(key, f.UUID)
	if dir == nil || err != nil {
		return nil, nil, err
	}
	has := dir.Files[f.Name]
	if has != nil && has.DiskID != f.DiskID {
		return nil, nil, baadal.Errorf(baadal.Conflict, "%s/%s/%s is not this disk's", ds.Path, key, f.Name).WithCode("folder_exists").
			WithDetail("it is marked as that of disk %s", strconv.FormatInt(has.DiskID, 10))
	}
	return dir, has, nil
}

// RemoveDisk removes an extra disk's file, and its folder with the last one.
func (s *Disks) RemoveDisk(ctx context.Context, bh baadal.Host, f baadal.DiskFile) error {
	return s.removeDisk(ctx, "disks.remove_disk", bh, f, f.Dir())
}

// PurgeDisk removes an extra disk's file from vm_deleted.
func (s *Disks) PurgeDisk(ctx context.Context, bh baadal.Host, f baadal.DiskFile) error {
	return s.removeDisk(ctx, "disks.purge_disk", bh, f, f.DeletedDir())
}

func (s *Disks) removeDisk(ctx context.Context, op string, bh baadal.Host, f baadal.DiskFile, key string) error {
	return s.onDisk(ctx, op, bh, f, func(ds *datastore) error {
		dir, has, err := ds.extraOf(key, f)
		if dir == nil || err != nil {
			return err
		}
		if has != nil {
			delete(dir.Files, f.Name)
			ds.used -= has.Bytes
		}
		ds.dropOthers(dir, f)
		s.w.tidy(ds, key)
		return nil
	})
}

// dropOthers removes the other names that a disk's file had: files that became
// bases.
func (ds *datastore) dropOthers(dir *folder, f baadal.DiskFile) {
	for name, other := range dir.Files {
		if name != f.Name && other.DiskID == f.DiskID {
			delete(dir.Files, name)
			ds.used -= other.Bytes
		}
	}
}

// tidy removes a folder in which nothing is left.
func (w *World) tidy(ds *datastore, key string) {
	if dir := ds.Folders[key]; dir != nil && len(dir.Files) == 0 {
		delete(ds.Folders, key)
	}
	w.dirty = true
}

// ArchiveDisk moves an extra disk's file to vm_deleted.
func (s *Disks) ArchiveDisk(ctx context.Context, bh baadal.Host, f baadal.DiskFile) error {
	return s.moveDisk(ctx, "disks.archive_disk", bh, f, f.Dir(), f.DeletedDir())
}

// RestoreDisk moves it back.
func (s *Disks) RestoreDisk(ctx context.Context, bh baadal.Host, f baadal.DiskFile) error {
	return s.moveDisk(ctx, "disks.restore_disk", bh, f, f.DeletedDir(), f.Dir())
}

func (s *Disks) moveDisk(ctx context.Context, op string, bh baadal.Host, f baadal.DiskFile, from, to string) error {
	return s.onDisk(ctx, op, bh, f, func(ds *datastore) error {
		dir, there, err := ds.extraOf(to, f)
		if err != nil {
			return err
		}
		source, has, err := ds.extraOf(from, f)
		switch {
		case err != nil:
			return err
		case there != nil && has != nil:
			return baadal.Errorf(baadal.Conflict, "%s is in both %s and %s", f.Name, from, to).WithCode("folder_exists")
		case there != nil:
			return nil
		case has == nil:
			return baadal.Errorf(baadal.NotFound, "%s is neither in %s nor in %s", f.Name, from, to).WithCode("folder_missing")
		}
		if strings.HasPrefix(to, baadal.DirDeleted+"/") {
			if err := s.w.idle(ds, has); err != nil {
				return err
			}
		}
		if dir == nil {
			dir = &folder{Mark: f.UUID, Files: map[string]*file{}}
			ds.Folders[to] = dir
		}
		delete(source.Files, f.Name)
		dir.Files[f.Name] = has
		ds.dropOthers(source, f)
		s.w.tidy(ds, from)
		return nil
	})
}

// ArchiveDisks moves the VM's folder of extra disks to vm_deleted.
func (s *Disks) ArchiveDisks(ctx context.Context, bh baadal.Host, ds baadal.Datastore, identity, uuid string) error {
	return s.move(ctx, "disks.archive_disks", bh, ds, ds.ExtraDisksDir(identity), ds.DeletedDisksDir(identity, uuid), identity, uuid)
}

// RestoreDisks moves it back.
func (s *Disks) RestoreDisks(ctx context.Context, bh baadal.Host, ds baadal.Datastore, identity, uuid string) error {
	return s.move(ctx, "disks.restore_disks", bh, ds, ds.DeletedDisksDir(identity, uuid), ds.ExtraDisksDir(identity), identity, uuid)
}

// PurgeDisks removes that folder from vm_deleted.
func (s *Disks) PurgeDisks(ctx context.Context, bh baadal.Host, ds baadal.Datastore, identity, uuid string) error {
	return s.remove(ctx, "disks.purge_disks", bh, ds, ds.DeletedDisksDir(identity, uuid), identity, uuid)
}

// DiskInfo tells a disk's virtual size and what it occupies.
func (s *Disks) DiskInfo(ctx context.Context, bh baadal.Host, f baadal.DiskFile) (info baadal.ImageInfo, err error) {
	err = s.onDisk(ctx, "disks.disk_info", bh, f, func(*datastore) error {
		_, has := s.w.lookup(f.Path())
		if has == nil {
			return baadal.Errorf(baadal.NotFound, "there is no %s", f.Path()).WithCode("folder_missing")
		}
		info = baadal.ImageInfo{Format: has.Format, VirtualSize: has.Virtual, FileSize: has.Bytes}
		return nil
	})
	return info, err
}

// GrowDisk makes a disk that nobody has open larger.
func (s *Disks) GrowDisk(ctx context.Context, bh baadal.Host, f baadal.DiskFile, size int64) error {
	return s.onDisk(ctx, "disks.grow_disk", bh, f, func(*datastore) error {
		_, has := s.w.lookup(f.Path())
		if has != nil && s.w.writer(has.Inode) != nil {
			return baadal.Errorf(baadal.Conflict, "%s is in use", f.Path()).WithCode("disk_in_use")
		}
		return s.w.grow(has, f.Path(), size)
	})
}

// DiskSizes tells what the files of all disks occupy, by name.
func (s *Disks) DiskSizes(ctx context.Context, bh baadal.Host, bds baadal.Datastore) (all []baadal.DiskSize, err error) {
	err = s.w.call(ctx, "disks.disk_sizes", bh, func(h *host) error {
		ds, err := s.w.readable(h, bds.Path)
		if err != nil {
			return err
		}
		for key, dir := range ds.Folders {
			if strings.HasPrefix(key, baadal.DirDeleted+"/") {
				continue
			}
			for name, f := range dir.Files {
				if path.Ext(name) == ".qcow2" {
					all = append(all, baadal.DiskSize{File: name, Bytes: f.Bytes})
				}
			}
		}
		return nil
	})
	slices.SortFunc(all, func(a, b baadal.DiskSize) int { return strings.Compare(a.File, b.File) })
	return all, err
}
