package simulator

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"

	"baadal"
)

// Disks works on all datastores of a World.
type Disks struct{ w *World }

// Disks returns the world's datastores.
func (w *World) Disks() *Disks { return &Disks{w: w} }

// CreateImage makes the VM's folder with its first disk and its seed.
func (s *Disks) CreateImage(ctx context.Context, bh baadal.Host, img baadal.VMImage) error {
	return s.w.call(ctx, "disks.create_image", bh, func(h *host) error {
		ds, err := s.w.writable(h, img.Datastore.Path)
		if err != nil {
			return err
		}
		if err := errors.Join(checkName("identity", img.Identity), checkUUID(img.UUID)); err != nil {
			return err
		}
		key := path.Join(baadal.DirImages, img.Identity)
		if f, err := ds.folderOf(key, img.UUID); f != nil || err != nil {
			return err
		}
		disk, err := s.w.newDisk(h, img)
		if err != nil {
			return err
		}
		f := &folder{Mark: img.UUID, Files: map[string]*file{img.Identity + ".qcow2": disk}}
		if len(img.Seed) > 0 {
			f.Files[path.Base(img.Datastore.SeedFile(img.Identity))] = s.w.newFile(int64(len(img.Seed)))
		}
		if err := ds.room(f.bytes()); err != nil {
			return err
		}
		ds.Folders[key] = f
		ds.used += f.bytes()
		return nil
	})
}

// newDisk makes a disk from a template.
func (w *World) newDisk(h *host, img baadal.VMImage) (*file, error) {
	if img.Bytes <= 0 || img.Bytes%sectorBytes != 0 {
		return nil, baadal.Errorf(baadal.Invalid, "a disk of %d bytes is not possible", img.Bytes).WithField("disk_gib")
	}
	template, err := w.usable(h, img.Template)
	if err != nil {
		return nil, baadal.Errorf(baadal.Conflict, "the template is gone: %w", err).WithCode("template_missing").
			WithDetail("there is no %s", img.Template)
	}
	if img.Bytes < template.Virtual {
		return nil, baadal.Errorf(baadal.Invalid, "a disk of %d bytes is smaller than its template", img.Bytes).
			WithCode("disk_too_small").WithDetail("the template has %d bytes", template.Virtual)
	}
	disk := w.newFile(overlayBytes)
	disk.Virtual, disk.Format, disk.Backing = img.Bytes, "qcow2", img.Template
	if img.FullCopy {
		disk.Bytes, disk.Backing = template.Bytes, ""
	}
	return disk, nil
}

// RemoveImage removes the VM's folder from vm_images.
func (s *Disks) RemoveImage(ctx context.Context, bh baadal.Host, ds baadal.Datastore, identity, uuid string) error {
	return s.remove(ctx, "disks.remove_image", bh, ds, path.Join(baadal.DirImages, identity), identity, uuid)
}

// PurgeImage removes the VM's folder from vm_deleted.
func (s *Disks) PurgeImage(ctx context.Context, bh baadal.Host, ds baadal.Datastore, identity, uuid string) error {
	return s.remove(ctx, "disks.purge_image", bh, ds, deletedKey(identity, uuid), identity, uuid)
}

func (s *Disks) remove(ctx context.Context, op string, bh baadal.Host, bds baadal.Datastore, key, identity, uuid string) error {
	return s.w.call(ctx, op, bh, func(h *host) error {
		if err := checkName("identity", identity); err != nil {
			return err
		}
		ds, err := s.w.writable(h, bds.Path)
		if err != nil {
			return err
		}
		return s.w.removeFolder(ds, key, uuid)
	})
}

// ArchiveImage moves the VM's folder to vm_deleted.
func (s *Disks) ArchiveImage(ctx context.Context, bh baadal.Host, ds baadal.Datastore, identity, uuid string) error {
	return s.move(ctx, "disks.archive_image", bh, ds, path.Join(baadal.DirImages, identity), deletedKey(identity, uuid), identity, uuid)
}

// RestoreImage moves it back.
func (s *Disks) RestoreImage(ctx context.Context, bh baadal.Host, ds baadal.Datastore, identity, uuid string) error {
	return s.move(ctx, "disks.restore_image", bh, ds, deletedKey(identity, uuid), path.Join(baadal.DirImages, identity), identity, uuid)
}

func (s *Disks) move(ctx context.Context, op string, bh baadal.Host, bds baadal.Datastore, from, to, identity, uuid string) error {
	return s.w.call(ctx, op, bh, func(h *host) error {
		if err := checkName("identity", identity); err != nil {
			return err
		}
		ds, err := s.w.writable(h, bds.Path)
		if err != nil {
			return err
		}
		return s.w.moveFolder(ds, from, to, uuid)
	})
}

// deletedKey names a deleted VM's folder below the mount point.
func deletedKey(identity, uuid string) string {
	root := baadal.Datastore{Path: "/"}
	return strings.TrimPrefix(root.DeletedDir(identity, uuid), "/")
}

// Usage measures the datastore as the host sees it. Not mounted is an answer.
func (s *Disks) Usage(ctx context.Context, bh baadal.Host, bds baadal.Datastore) (u baadal.DatastoreUsage, err error) {
	err = s.w.call(ctx, "disks.usage", bh, func(h *host) error {
		if ds := s.w.mounted(h, bds.Path); ds != nil {
			u = baadal.DatastoreUsage{Mounted: true, Writable: !ds.ReadOnly, Capacity: ds.Capacity, Used: ds.Capacity - ds.free(), Free: ds.free()}
		}
		return nil
	})
	return u, err
}

// Entries lists what lies in vm_templates, vm_images, vm_deleted and
// vm_extra_disks, by area and name.
func (s *Disks) Entries(ctx context.Context, bh baadal.Host, bds baadal.Datastore) (all []baadal.DatastoreEntry, err error) {
	err = s.w.call(ctx, "disks.entries", bh, func(h *host) error {
		ds, err := s.w.readable(h, bds.Path)
		if err != nil {
			return err
		}
		for name, f := range ds.Templates {
			all = append(all, baadal.DatastoreEntry{Area: baadal.DirTemplates, Name: name, Bytes: f.Bytes})
		}
		for name, f := range ds.Transfers {
			all = append(all, baadal.DatastoreEntry{Area: baadal.DirMigration, Name: name, Bytes: f.Bytes})
		}
		for key, f := range ds.Folders {
			area, name, _ := strings.Cut(key, "/")
			all = append(all, baadal.DatastoreEntry{Area: area, Name: name, UUID: f.Mark, Bytes: f.bytes()})
			if area != baadal.DirExtraDisks && (area != baadal.DirBackups || strings.HasPrefix(name, ".")) {
				continue
			}
			for file, k := range f.Files {
				if file[0] == '.' {
					continue
				}
				all = append(all, baadal.DatastoreEntry{Area: area, Name: name + "/" + file, Bytes: k.Bytes})
			}
		}
		return nil
	})
	slices.SortFunc(all, func(a, b baadal.DatastoreEntry) int {
		return strings.Compare(a.Area+"/"+a.Name, b.Area+"/"+b.Name)
	})
	return all, err
}
