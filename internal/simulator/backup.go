package simulator

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"baadal"
)

// BackupDomain makes copies of a running domain's disks.
func (v *Hypervisor) BackupDomain(ctx context.Context, bh baadal.Host, uuid string, job baadal.BackupJob, progress func(share float64)) error {
	err := v.withDomain(ctx, "backups.domain", bh, uuid, func(d *domain) error {
		if !d.active() {
			return baadal.Errorf(baadal.Conflict, "%s is off", d.Def.Name).WithCode("domain_state")
		}
		if job.Since != "" && !slices.Contains(d.Checks, job.Since) {
			return baadal.Errorf(baadal.Conflict, "%s has no checkpoint %s", d.Def.Name, job.Since).WithCode("checkpoint_lost")
		}
		if slices.Contains(d.Checks, job.Checkpoint) {
			return baadal.Errorf(baadal.Conflict, "%s has a checkpoint %s", d.Def.Name, job.Checkpoint).WithCode("domain_state")
		}
		return v.w.backUp(d, job)
	})
	if err == nil {
		progress(1)
	}
	return err
}

func (w *World) backUp(d *domain, job baadal.BackupJob) error {
	var disks []*file
	for _, t := range job.Disks {
		i := slices.IndexFunc(d.Live.Disks, func(k baadal.DomainDisk) bool { return k.Target == t.Target })
		if i < 0 {
			return baadal.Errorf(baadal.Conflict, "%s has no disk %s", d.Def.Name, t.Target).WithCode("disk_missing")
		}
		disk, err := w.usable(d.host, d.Live.Disks[i].Path)
		if err != nil {
			return err
		}
		if job.Since != "" && !slices.Contains(disk.Bitmaps, job.Since) {
			return baadal.Errorf(baadal.Conflict, "disk %s has no bitmap %s", t.Target, job.Since).WithCode("checkpoint_lost")
		}
		if err := w.copyOut(d.Live.Disks[i].Path, t.File, job.Since != ""); err != nil {
			return err
		}
		disks = append(disks, disk)
	}
	if job.Checkpoint != "" {
		d.Checks = append(d.Checks, job.Checkpoint)
		for _, disk := range disks {
			disk.Bitmaps = append(disk.Bitmaps, job.Checkpoint)
		}
	}
	return nil
}

// copyOut makes the file to, in a folder that is there, a copy of an image.
func (w *World) copyOut(from, to string, increment bool) error {
	_, disk := w.lookup(from)
	dir, name := path.Split(to)
	for _, ds := range w.state.Datastores {
		key, ok := strings.CutPrefix(strings.TrimSuffix(dir, "/"), ds.Path+"/")
		if !ok || ds.Folders[key] == nil || disk == nil {
			continue
		}
		if ds.ReadOnly {
			return baadal.Errorf(baadal.Conflict, "%s cannot be written", to).WithCode("datastore_read_only")
		}
		made := w.newFile(overlayBytes)
		made.Virtual, made.Format = disk.Virtual, "qcow2"
		for f := disk; f != nil && !increment; _, f = w.lookup(f.Backing) {
			made.Bytes += f.Bytes
		}
		if err := ds.room(made.Bytes); err != nil {
			return err
		}
		if old := ds.Folders[key].Files[name]; old != nil {
			ds.used -= old.Bytes
		}
		ds.Folders[key].Files[name] = made
		ds.used += made.Bytes
		return nil
	}
	return baadal.Errorf(baadal.Conflict, "there is no folder for %s", to).WithCode("disk_missing")
}

// AbortBackup finds nothing to end: the simulator's backups end at once.
func (v *Hypervisor) AbortBackup(ctx context.Context, bh baadal.Host, _ string) error {
	return v.w.call(ctx, "backups.abort", bh, func(*host) error { return nil })
}

// Checkpoints lists a domain's checkpoints, oldest first.
func (v *Hypervisor) Checkpoints(ctx context.Context, bh baadal.Host, uuid string) (names []string, err error) {
	err = v.withDomain(ctx, "backups.checkpoints", bh, uuid, func(d *domain) error {
		names = slices.Clone(d.Checks)
		return nil
	})
	return names, err
}

// DropCheckpoints removes these checkpoints, or all; the bitmaps too if the
// domain is active.
func (v *Hypervisor) DropCheckpoints(ctx context.Context, bh baadal.Host, uuid string, names ...string) error {
	err := v.withDomain(ctx, "backups.drop", bh, uuid, func(d *domain) error {
		goes := func(name string) bool { return len(names) == 0 || slices.Contains(names, name) }
		d.Checks = slices.DeleteFunc(d.Checks, goes)
		v.w.dirty = true
		if !d.active() {
			return nil
		}
		for _, k := range d.Live.Disks {
			if _, f := v.w.lookup(k.Path); f != nil {
				f.Bitmaps = slices.DeleteFunc(f.Bitmaps, goes)
			}
		}
		return nil
	})
	if baadal.CodeOf(err) == "domain_unknown" {
		return nil
	}
	return err
}

// marked refuses what does not go with checkpoints.
func (w *World) marked(d *domain) error {
	for _, k := range d.definition().Disks {
		if _, f := w.lookup(k.Path); f != nil && len(f.Bitmaps) > 0 {
			return baadal.Errorf(baadal.Conflict, "disk %s of %s has active dirty bitmaps", k.Target, d.Def.Name).WithCode("domain_state")
		}
	}
	if len(d.Checks) > 0 {
		return baadal.Errorf(baadal.Conflict, "%s has checkpoints", d.Def.Name).WithCode("domain_state")
	}
	return nil
}

func backupKey(uuid string) string { return path.Join(baadal.DirBackups, uuid) }

func partKey(uuid string) string { return path.Join(baadal.DirBackups, "."+uuid+".part") }

// onBackup runs fn with the datastore of a backup.
func (s *Disks) onBackup(ctx context.Context, op string, bh baadal.Host, bds baadal.Datastore, uuid string, writes bool, fn func(ds *datastore) error) error {
	return s.w.call(ctx, op, bh, func(h *host) error {
		if err := checkUUID(uuid); err != nil {
			return err
		}
		ds, err := s.w.readable(h, bds.Path)
		if err == nil && writes {
			ds, err = s.w.writable(h, bds.Path)
		}
		if err != nil {
			return err
		}
		s.w.dirty = s.w.dirty || writes
		return fn(ds)
	})
}

// PrepareBackup makes the folder that a backup's files are written to.
func (s *Disks) PrepareBackup(ctx context.Context, bh baadal.Host, bds baadal.Datastore, uuid string) error {
	return s.onBackup(ctx, "backup_files.prepare", bh, bds, uuid, true, func(ds *datastore) error {
		if ds.Folders[backupKey(uuid)] != nil {
			return baadal.Errorf(baadal.Conflict, "%s is there already", backupKey(uuid)).WithCode("folder_exists")
		}
		if err := s.w.removeFolder(ds, partKey(uuid), uuid); err != nil {
			return err
		}
		ds.Folders[partKey(uuid)] = &folder{Mark: uuid, Files: map[string]*file{}}
		return nil
	})
}

// CopyToBackup copies a disk that nobody writes to.
func (s *Disks) CopyToBackup(ctx context.Context, bh baadal.Host, bds baadal.Datastore, uuid string, f baadal.DiskFile, name string, progress func(share float64)) error {
	err := s.onBackup(ctx, "backup_files.copy", bh, bds, uuid, true, func(*datastore) error {
		_, disk := s.w.lookup(f.Path())
		if disk == nil {
			return baadal.Errorf(baadal.NotFound, "there is no %s", f.Path()).WithCode("folder_missing")
		}
		if s.w.writer(disk.Inode) != nil {
			return baadal.Errorf(baadal.Conflict, "%s is in use", f.Path()).WithCode("disk_in_use")
		}
		return s.w.copyOut(f.Path(), path.Join(bds.Path, partKey(uuid), name), false)
	})
	if err == nil {
		progress(1)
	}
	return err
}

// SealBackup gives the folder its name, and its files what they stand on.
func (s *Disks) SealBackup(ctx context.Context, bh baadal.Host, bds baadal.Datastore, uuid, parent string, files []string, _ []byte) (all []baadal.BackupFile, err error) {
	err = s.onBackup(ctx, "backup_files.seal", bh, bds, uuid, true, func(ds *datastore) error {
		all = nil
		into := ds.Folders[backupKey(uuid)]
		if into == nil {
			if into = ds.Folders[partKey(uuid)]; into == nil {
				return baadal.Errorf(baadal.NotFound, "there is no backup %s", uuid).WithCode("folder_missing")
			}
			if err := s.w.moveFolder(ds, partKey(uuid), backupKey(uuid), uuid); err != nil {
				return err
			}
		}
		for _, name := range files {
			f := into.Files[name]
			if f == nil {
				return baadal.Errorf(baadal.NotFound, "the backup %s has no %s", uuid, name).WithCode("folder_missing")
			}
			if parent != "" {
				f.Backing = path.Join(bds.Path, backupKey(parent), name)
			}
			f.SHA256 = fmt.Sprintf("%064x", f.Inode)
			all = append(all, baadal.BackupFile{Name: name, Bytes: f.Bytes, SHA256: f.SHA256})
		}
		return nil
	})
	return all, err
}

// VerifyBackup compares the files with what they were.
func (s *Disks) VerifyBackup(ctx context.Context, bh baadal.Host, bds baadal.Datastore, uuid string, files []baadal.BackupFile, progress func(read int64)) error {
	var read int64
	err := s.onBackup(ctx, "backup_files.verify", bh, bds, uuid, false, func(ds *datastore) error {
		bad := func(format string, args ...any) error {
			return baadal.Errorf(baadal.Conflict, "a file of the backup is not as it was").WithCode("backup_damaged").WithDetail(format, args...)
		}
		dir := ds.Folders[backupKey(uuid)]
		if dir == nil {
			return bad("the folder %s is missing", backupKey(uuid))
		}
		for _, f := range files {
			switch has := dir.Files[f.Name]; {
			case has == nil:
				return bad("%s is missing", f.Name)
			case has.SHA256 != f.SHA256:
				return bad("%s is spoiled: its SHA-256 is another one", f.Name)
			}
			read += f.Bytes
		}
		return nil
	})
	if err == nil {
		progress(read)
	}
	return err
}

// HasBackup tells whether there is a sealed folder.
func (s *Disks) HasBackup(ctx context.Context, bh baadal.Host, bds baadal.Datastore, uuid string) (there bool, err error) {
	err = s.onBackup(ctx, "backup_files.has", bh, bds, uuid, false, func(ds *datastore) error {
		there = ds.Folders[backupKey(uuid)] != nil
		return nil
	})
	return there, err
}

// RemoveBackup removes a backup's folder, sealed or not.
func (s *Disks) RemoveBackup(ctx context.Context, bh baadal.Host, bds baadal.Datastore, uuid string) error {
	return s.onBackup(ctx, "backup_files.remove", bh, bds, uuid, true, func(ds *datastore) error {
		prefix := path.Join(bds.Path, backupKey(uuid)) + "/"
		for key, other := range ds.Folders {
			for name, f := range other.Files {
				if strings.HasPrefix(f.Backing, prefix) {
					return baadal.Errorf(baadal.Conflict, "%s/%s stands on the backup", key, name).WithCode("base_in_use")
				}
			}
		}
		if err := s.w.removeFolder(ds, partKey(uuid), uuid); err != nil {
			return err
		}
		return s.w.removeFolder(ds, backupKey(uuid), uuid)
	})
}

// onContent runs fn with the folder of a disk whose content changes; nil if
// there is none.
func (s *Disks) onContent(ctx context.Context, op string, bh baadal.Host, f baadal.DiskFile, fn func(ds *datastore, dir *folder) error) error {
	return s.onDisk(ctx, op, bh, f, func(ds *datastore) error {
		dir, err := ds.folderOf(f.Dir(), f.UUID)
		if err != nil {
			return err
		}
		s.w.dirty = true
		return fn(ds, dir)
	})
}

func staged(f baadal.DiskFile, tag string) string { return "." + f.Name + "." + tag + ".staged" }

func aside(f baadal.DiskFile, tag string) string { return "." + f.Name + "." + tag + ".aside" }

// StageDisk makes a flat copy of a file beside a disk.
func (s *Disks) StageDisk(ctx context.Context, bh baadal.Host, f baadal.DiskFile, tag, from string, progress func(share float64)) error {
	err := s.onContent(ctx, "refiller.stage", bh, f, func(_ *datastore, dir *folder) error {
		if dir == nil {
			return baadal.Errorf(baadal.NotFound, "there is no %s", f.Dir()).WithCode("folder_missing")
		}
		if dir.Files[staged(f, tag)] != nil {
			return nil
		}
		if _, source := s.w.lookup(from); source == nil {
			return baadal.Errorf(baadal.NotFound, "there is no %s", from).WithCode("folder_missing")
		}
		if err := s.w.copyOut(from, path.Join(f.Datastore.Path, f.Dir(), staged(f, tag)), false); err != nil {
			return err
		}
		dir.Files[staged(f, tag)].DiskID = f.DiskID
		return nil
	})
	if err == nil {
		progress(1)
	}
	return err
}

// SwapDisk puts a disk's file aside and the staged one in its place.
func (s *Disks) SwapDisk(ctx context.Context, bh baadal.Host, f baadal.DiskFile, tag string) error {
	return s.onContent(ctx, "refiller.swap", bh, f, func(_ *datastore, dir *folder) error {
		if dir == nil || dir.Files[staged(f, tag)] == nil && dir.Files[aside(f, tag)] == nil {
			return baadal.Errorf(baadal.NotFound, "nothing is staged for %s", f.Name).WithCode("folder_missing")
		}
		fresh, now := dir.Files[staged(f, tag)], dir.Files[f.Name]
		if fresh == nil {
			return nil
		}
		if now != nil && s.w.writer(now.Inode) != nil {
			return baadal.Errorf(baadal.Conflict, "%s is in use", f.Name).WithCode("disk_in_use")
		}
		if dir.Files[aside(f, tag)] == nil && now != nil {
			dir.Files[aside(f, tag)] = now
		}
		dir.Files[f.Name] = fresh
		delete(dir.Files, staged(f, tag))
		return nil
	})
}

// UnswapDisk brings back what was put aside and removes what was staged.
func (s *Disks) UnswapDisk(ctx context.Context, bh baadal.Host, f baadal.DiskFile, tag string) error {
	return s.onContent(ctx, "refiller.unswap", bh, f, func(ds *datastore, dir *folder) error {
		if dir == nil {
			return nil
		}
		if old := dir.Files[aside(f, tag)]; old != nil {
			if now := dir.Files[f.Name]; now != nil {
				ds.used -= now.Bytes
			}
			dir.Files[f.Name] = old
			delete(dir.Files, aside(f, tag))
		}
		ds.drop(dir, staged(f, tag))
		return nil
	})
}

// DropOldDisk removes what was put aside.
func (s *Disks) DropOldDisk(ctx context.Context, bh baadal.Host, f baadal.DiskFile, tag string) error {
	return s.onContent(ctx, "refiller.drop", bh, f, func(ds *datastore, dir *folder) error {
		if dir != nil {
			ds.drop(dir, aside(f, tag))
		}
		return nil
	})
}

// drop removes a file from a folder; none is success.
func (ds *datastore) drop(dir *folder, name string) {
	if f := dir.Files[name]; f != nil {
		ds.used -= f.Bytes
		delete(dir.Files, name)
	}
}

// ForgetBitmaps removes the bitmaps from a disk that nobody uses.
func (s *Disks) ForgetBitmaps(ctx context.Context, bh baadal.Host, f baadal.DiskFile) error {
	return s.onContent(ctx, "refiller.forget", bh, f, func(_ *datastore, dir *folder) error {
		if dir != nil && dir.Files[f.Name] != nil {
			dir.Files[f.Name].Bitmaps = nil
		}
		return nil
	})
}

// SpoilBackup changes a byte of a backup's file.
func (w *World) SpoilBackup(mount, uuid, name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	ds := w.state.Datastores[mount]
	if ds == nil || ds.Folders[backupKey(uuid)] == nil || ds.Folders[backupKey(uuid)].Files[name] == nil {
		return baadal.Errorf(baadal.NotFound, "the simulated world has no backup %s with a file %s", uuid, name)
	}
	ds.Folders[backupKey(uuid)].Files[name].SHA256, w.dirty = "spoiled", true
	return w.save()
}
