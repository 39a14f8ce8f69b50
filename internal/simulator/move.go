package simulator

import (
	"context"
	"fmt"
	"maps"
	"path"
	"time"

	"baadal"
)

// mirror is the copying of a running domain's disk. It ends with the domain.
type mirror struct {
	To    string
	Ready bool
}

// DiskCopies tells which file each disk of a domain is, and what it is being
// copied to.
func (v *Hypervisor) DiskCopies(ctx context.Context, bh baadal.Host, uuid string) (active bool, all []baadal.DiskCopy, err error) {
	err = v.withDomain(ctx, "hypervisor.disk_copies", bh, uuid, func(d *domain) error {
		active = d.active()
		for _, k := range d.definition().Disks {
			m := d.Mirrors[k.Target]
			all = append(all, baadal.DiskCopy{Target: k.Target, File: k.Path, To: m.To, Ready: m.Ready})
		}
		return nil
	})
	return active, all, err
}

// CopyDisk copies a running domain's disk for as long as a migration of its
// memory takes. What is at work goes on by itself when nobody waits for it; it
// is ready at the next look.
func (v *Hypervisor) CopyDisk(ctx context.Context, bh baadal.Host, uuid, target, to string, limit int64, progress func(baadal.CopyProgress)) error {
	var total int64
	err := v.onDisk(ctx, "hypervisor.copy_disk", bh, uuid, target, func(d *domain, k *baadal.DomainDisk) error {
		if k.Path == to || d.Mirrors[target].To == to {
			return nil
		}
		if other := d.Mirrors[target].To; other != "" {
			return baadal.Errorf(baadal.Conflict, "%s is being copied to %s", target, other).WithCode("block_job")
		}
		if _, err := v.w.usable(d.host, to); err != nil {
			return err
		}
		total = v.w.flatBytes(k.Path)
		if d.Mirrors == nil {
			d.Mirrors = map[string]mirror{}
		}
		d.Mirrors[target], v.w.dirty = mirror{To: to}, true
		return nil
	})
	if err != nil {
		return err
	}
	took := v.w.cfg.MigrateTime
	if limit > 0 && took > 0 {
		took = max(took, time.Duration(total/limit)*time.Second)
	}
	if err := sleep(ctx, took); err != nil {
		return interrupted("hypervisor.copy_disk", err)
	}
	err = v.onDisk(ctx, "hypervisor.copy_ready", bh, uuid, target, func(d *domain, k *baadal.DomainDisk) error {
		if k.Path == to || d.Mirrors[target].Ready {
			return nil
		}
		if d.Mirrors[target].To != to {
			return brokenOff(d, target)
		}
		return v.w.fillMirror(d, k, to)
	})
	if err == nil {
		progress(baadal.CopyProgress{Done: total, Total: total})
	}
	return err
}

func brokenOff(d *domain, target string) error {
	return baadal.Errorf(baadal.Conflict, "the copying of %s of %s was broken off", target, d.Def.Name).WithCode("copy_failed")
}

// fillMirror makes both files alike; the copying is broken off if the second one
// cannot take it.
func (w *World) fillMirror(d *domain, k *baadal.DomainDisk, to string) error {
	ds, into := w.lookup(to)
	_, from := w.lookup(k.Path)
	w.dirty = true
	if into == nil || from == nil || ds.ReadOnly || ds.room(w.flatBytes(k.Path)-into.Bytes) != nil {
		if ds != nil && into != nil && !ds.ReadOnly { // it fills up what there is
			into.Bytes += ds.free()
			ds.used += ds.free()
		}
		delete(d.Mirrors, k.Target)
		return brokenOff(d, k.Target)
	}
	w.copyFlat(ds, k.Path, into)
	d.Mirrors[k.Target] = mirror{To: to, Ready: true}
	return nil
}

// flatBytes is what a flat copy of an image occupies.
func (w *World) flatBytes(from string) (n int64) {
	for _, f := w.lookup(from); f != nil; _, f = w.lookup(f.Backing) {
		n += f.Bytes
	}
	return n
}

// copyFlat makes a file a flat copy of an image.
func (w *World) copyFlat(ds *datastore, from string, into *file) {
	_, f := w.lookup(from)
	n := w.flatBytes(from)
	ds.used += n - into.Bytes
	into.Bytes, into.Virtual, into.Format, into.Backing = n, f.Virtual, "qcow2", ""
}

// PivotDisk makes a running domain, and its definition, use the copy.
func (v *Hypervisor) PivotDisk(ctx context.Context, bh baadal.Host, uuid, target, to string) error {
	ready := false
	err := v.onDisk(ctx, "hypervisor.pivot_check", bh, uuid, target, func(d *domain, k *baadal.DomainDisk) error {
		if ready = k.Path == to || d.Mirrors[target] == (mirror{To: to, Ready: true}); !ready {
			return baadal.Errorf(baadal.Conflict, "the copy of %s of %s is not ready", target, d.Def.Name).WithCode("copy_failed")
		}
		return nil
	})
	if err != nil {
		return err
	}
	return v.onDisk(ctx, "hypervisor.pivot_disk", bh, uuid, target, func(d *domain, disk *baadal.DomainDisk) error { return v.repoint(d, disk, to) })
}

// StopCopy ends the copying of a disk.
func (v *Hypervisor) StopCopy(ctx context.Context, bh baadal.Host, uuid, target string) error {
	err := v.withDomain(ctx, "hypervisor.stop_copy", bh, uuid, func(d *domain) error {
		delete(d.Mirrors, target)
		v.w.dirty = true
		return nil
	})
	if baadal.KindOf(err) == baadal.NotFound {
		return nil
	}
	return err
}

// SwapSeed puts a copy of its seed into the drive of a running domain.
func (v *Hypervisor) SwapSeed(ctx context.Context, bh baadal.Host, uuid, from, to string) error {
	return v.withDomain(ctx, "hypervisor.swap_seed", bh, uuid, func(d *domain) error {
		if !d.active() || d.Live.Seed != from {
			return nil
		}
		if _, err := v.w.usable(d.host, to); err != nil {
			return err
		}
		d.Live.Seed, v.w.dirty = to, true
		return nil
	})
}

// onMove runs fn with the datastore and the folder that a disk moves to; the
// folder is nil if there is none.
func (s *Disks) onMove(ctx context.Context, op string, bh baadal.Host, m baadal.DiskMove, fn func(ds *datastore, dir *folder) error) error {
	return s.onDisk(ctx, op, bh, m.To, func(ds *datastore) error {
		var dir *folder
		var err error
		if m.To.DiskID == 0 {
			dir, err = ds.folderOf(m.To.Dir(), m.To.UUID)
		} else {
			dir, _, err = ds.extraOf(m.To.Dir(), m.To)
		}
		if err != nil {
			return err
		}
		s.w.dirty = true
		return fn(ds, dir)
	})
}

// PrepareMove makes the VM's folder on the other datastore, with a copy of its
// seed if the first disk moves.
func (s *Disks) PrepareMove(ctx context.Context, bh baadal.Host, m baadal.DiskMove) error {
	return s.onMove(ctx, "disks.prepare_move", bh, m, func(ds *datastore, dir *folder) error {
		if dir == nil {
			dir = &folder{Mark: m.To.UUID, Files: map[string]*file{}}
		}
		_, seed := s.w.lookup(m.From.Datastore.SeedFile(m.From.Identity))
		name := path.Base(m.To.Datastore.SeedFile(m.To.Identity))
		if m.To.DiskID == 0 && seed != nil && dir.Files[name] == nil {
			if err := ds.room(seed.Bytes); err != nil {
				return err
			}
			dir.Files[name] = s.w.newFile(seed.Bytes)
			ds.used += seed.Bytes
		}
		ds.Folders[m.To.Dir()] = dir
		return nil
	})
}

// EmptyMove makes the disk's new file, empty.
func (s *Disks) EmptyMove(ctx context.Context, bh baadal.Host, m baadal.DiskMove) error {
	return s.replaceMove(ctx, "disks.empty_move", bh, m, func(*datastore, *file) error { return nil })
}

// CopyMove copies the file of a disk that nobody uses.
func (s *Disks) CopyMove(ctx context.Context, bh baadal.Host, m baadal.DiskMove, whole bool, _ int64, progress func(baadal.CopyProgress)) error {
	err := s.replaceMove(ctx, "disks.copy_move", bh, m, func(ds *datastore, into *file) error {
		_, from := s.w.lookup(m.From.Path())
		if from == nil {
			return baadal.Errorf(baadal.NotFound, "there is no %s", m.From.Path()).WithCode("folder_missing")
		}
		if by := s.w.writer(from.Inode); by != nil {
			return baadal.Errorf(baadal.Conflict, "%s is in use", m.From.Path()).WithCode("disk_in_use")
		}
		need := s.w.flatBytes(m.From.Path())
		if whole {
			need = from.Bytes
		}
		if err := ds.room(need - into.Bytes); err != nil {
			return err
		}
		s.w.copyFlat(ds, m.From.Path(), into)
		if whole {
			ds.used += from.Bytes - into.Bytes
			into.Bytes, into.Backing, into.Saved = from.Bytes, from.Backing, map[string]saved{}
			maps.Copy(into.Saved, from.Saved)
		}
		return nil
	})
	if err == nil {
		progress(baadal.CopyProgress{Done: m.Bytes, Total: m.Bytes})
	}
	return err
}

// replaceMove puts a new file at a disk's new place and fills it.
func (s *Disks) replaceMove(ctx context.Context, op string, bh baadal.Host, m baadal.DiskMove, fill func(*datastore, *file) error) error {
	return s.onMove(ctx, op, bh, m, func(ds *datastore, dir *folder) error {
		if dir == nil {
			return baadal.Errorf(baadal.NotFound, "there is no %s on %s", m.To.Dir(), ds.Path).WithCode("folder_missing")
		}
		if old := dir.Files[m.To.Name]; old != nil {
			if by := s.w.writer(old.Inode); by != nil {
				return baadal.Errorf(baadal.Conflict, "%s is in use", m.To.Path()).WithCode("disk_in_use")
			}
			ds.used -= old.Bytes
			delete(dir.Files, m.To.Name)
		}
		if err := ds.room(emptyBytes); err != nil {
			return err
		}
		into := s.w.newFile(emptyBytes)
		into.Virtual, into.Format, into.DiskID = m.Bytes, "qcow2", m.To.DiskID
		ds.used += into.Bytes
		if err := fill(ds, into); err != nil {
			ds.used -= into.Bytes
			return err
		}
		dir.Files[m.To.Name] = into
		return nil
	})
}

// MoveStamp returns words that are others after the old file was changed.
func (s *Disks) MoveStamp(ctx context.Context, bh baadal.Host, m baadal.DiskMove) (stamp string, err error) {
	err = s.w.call(ctx, "disks.move_stamp", bh, func(h *host) error {
		if _, err := s.w.readable(h, m.From.Datastore.Path); err != nil {
			return err
		}
		_, f := s.w.lookup(m.From.Path())
		if f == nil {
			return baadal.Errorf(baadal.NotFound, "there is no %s", m.From.Path()).WithCode("folder_missing")
		}
		stamp = fmt.Sprintf("%d %d %d", f.Inode, f.Bytes, f.Virtual)
		return nil
	})
	return stamp, err
}
