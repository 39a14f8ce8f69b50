package disk

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"strconv"

	"baadal"
)

// CreateImage makes the VM's folder with its mark, its first disk and, if
// img.Seed is not empty, its seed: as a whole or not at all. A folder that
// carries the VM's mark already is success and is left as it is; any other one
// is Conflict (code folder_exists). The new disk is on stable storage when it
// returns.
func (d *Disks) CreateImage(ctx context.Context, host baadal.Host, img baadal.VMImage) error {
	if err := checkVM(img.Identity, img.UUID); err != nil {
		return err
	}
	if err := checkFile("template", img.Template); err != nil {
		return err
	}
	if img.Format != "qcow2" && img.Format != "raw" && (img.Format != "vmdk" || !img.FullCopy) {
		return baadal.Errorf(baadal.Invalid, "template format %q is not possible", img.Format).WithDetail("qcow2 and raw are, for a copy vmdk too")
	}
	if img.Bytes <= 0 || img.Bytes > maxVirtualSize || img.Bytes%512 != 0 {
		return baadal.Errorf(baadal.Invalid, "a disk of %d bytes is not possible", img.Bytes).WithField("disk_gib")
	}
	limit := quick
	if img.FullCopy {
		limit = copies
	}
	_, _, err := d.run(ctx, host, img.Datastore, work{
		script: createScript,
		args: []string{
			img.Identity, img.UUID, attempt(), img.Template, img.Format,
			strconv.FormatInt(img.Bytes, 10), yesNo(img.FullCopy), yesNo(len(img.Seed) > 0),
		},
		stdin: bytes.NewReader(img.Seed),
		limit: limit,
	})
	return wrap("create image", err)
}

// RemoveImage removes the VM's folder from vm_images and everything that
// unfinished attempts for the VM left there. None is success.
func (d *Disks) RemoveImage(ctx context.Context, host baadal.Host, ds baadal.Datastore, identity, uuid string) error {
	return wrap("remove image", d.remove(ctx, host, ds, baadal.DirImages, identity, identity, uuid))
}

// PurgeImage removes the VM's folder from vm_deleted for ever. None is success.
func (d *Disks) PurgeImage(ctx context.Context, host baadal.Host, ds baadal.Datastore, identity, uuid string) error {
	return wrap("purge image", d.remove(ctx, host, ds, baadal.DirDeleted, path.Base(ds.DeletedDir(identity, uuid)), identity, uuid))
}

func (d *Disks) remove(ctx context.Context, host baadal.Host, ds baadal.Datastore, area, folder, identity, uuid string) error {
	if err := checkVM(identity, uuid); err != nil {
		return err
	}
	_, _, err := d.run(ctx, host, ds, work{script: removeScript, args: []string{area, folder, uuid, attempt()}, limit: slow})
	return err
}

// ArchiveImage renames the VM's folder into vm_deleted. Already there is
// success; nowhere is NotFound.
func (d *Disks) ArchiveImage(ctx context.Context, host baadal.Host, ds baadal.Datastore, identity, uuid string) error {
	images, deleted := places(ds, identity, uuid)
	return wrap("archive image", d.move(ctx, host, ds, images, deleted, identity, uuid))
}

// RestoreImage renames the VM's folder back into vm_images. Already back is
// success; nowhere is NotFound; a folder of the same name that another VM has
// made meanwhile is Conflict.
func (d *Disks) RestoreImage(ctx context.Context, host baadal.Host, ds baadal.Datastore, identity, uuid string) error {
	images, deleted := places(ds, identity, uuid)
	return wrap("restore image", d.move(ctx, host, ds, deleted, images, identity, uuid))
}

func (d *Disks) move(ctx context.Context, host baadal.Host, ds baadal.Datastore, from, to, identity, uuid string) error {
	if err := checkVM(identity, uuid); err != nil {
		return err
	}
	_, _, err := d.run(ctx, host, ds, work{script: moveScript, args: []string{from, to, uuid}, limit: quick})
	return err
}

// places returns the VM's two folders, relative to the datastore.
func places(ds baadal.Datastore, identity, uuid string) (images, deleted string) {
	return path.Join(baadal.DirImages, identity), path.Join(baadal.DirDeleted, path.Base(ds.DeletedDir(identity, uuid)))
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// wrap says during what an error happened.
func wrap(operation string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	return nil
}
