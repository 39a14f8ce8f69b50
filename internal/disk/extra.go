package disk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"baadal"
)

// CreateDisk makes an extra disk's empty file, and the VM's folder of them if
// it is the first. The disk's own file is success and is left as it is; any
// other one of its name is Conflict (code folder_exists). It is on stable
// storage when it returns.
func (d *Disks) CreateDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile, size int64) error {
	if size <= 0 || size > maxVirtualSize || size%512 != 0 {
		return baadal.Errorf(baadal.Invalid, "a disk of %d bytes is not possible", size).WithField("size_gib")
	}
	return wrap("create disk", d.extra(ctx, host, f, extraCreateScript, quick, f.Dir(), f.UUID, attempt(), f.Name, id(f), strconv.FormatInt(size, 10), "", "no"))
}

// ForkDisk makes an extra disk's file as CreateDisk does, an overlay on a base,
// or a copy of it.
func (d *Disks) ForkDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile, base string, full bool) error {
	if err := checkUUID(base); err != nil {
		return err
	}
	limit := quick
	if full {
		limit = copies
	}
	return wrap("fork disk", d.extra(ctx, host, f, extraCreateScript, limit, f.Dir(), f.UUID, attempt(), f.Name, id(f), "0", f.Datastore.BaseFile(base), yesNo(full)))
}

// RemoveDisk removes an extra disk's file from its place, and its folder with
// the last one. None is success.
func (d *Disks) RemoveDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile) error {
	return wrap("remove disk", d.extra(ctx, host, f, extraRemoveScript, slow, f.Dir(), f.UUID, attempt(), f.Name, id(f)))
}

// ArchiveDisk moves an extra disk's file to vm_deleted. Already there is
// success; nowhere is NotFound.
func (d *Disks) ArchiveDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile) error {
	return wrap("archive disk", d.extra(ctx, host, f, extraMoveScript, quick, f.Dir(), f.DeletedDir(), f.UUID, attempt(), f.Name, id(f)))
}

// RestoreDisk moves it back. Already back is success; nowhere is NotFound.
func (d *Disks) RestoreDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile) error {
	return wrap("restore disk", d.extra(ctx, host, f, extraMoveScript, quick, f.DeletedDir(), f.Dir(), f.UUID, attempt(), f.Name, id(f)))
}

// PurgeDisk removes an extra disk's file from vm_deleted for ever. None is
// success.
func (d *Disks) PurgeDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile) error {
	return wrap("purge disk", d.extra(ctx, host, f, extraRemoveScript, slow, f.DeletedDir(), f.UUID, attempt(), f.Name, id(f)))
}

func id(f baadal.DiskFile) string { return strconv.FormatInt(f.DiskID, 10) }

// extra runs a script about one extra disk.
func (d *Disks) extra(ctx context.Context, host baadal.Host, f baadal.DiskFile, script string, limit time.Duration, args ...string) error {
	if err := checkDisk(f); err != nil {
		return err
	}
	if f.DiskID < 1 {
		return baadal.Errorf(baadal.Invalid, "%s is not an extra disk", f.Name)
	}
	_, _, err := d.run(ctx, host, f.Datastore, work{script: extraPrelude + script, args: args, limit: limit})
	return err
}

func checkDisk(f baadal.DiskFile) error {
	if err := checkVM(f.Identity, f.UUID); err != nil {
		return err
	}
	if err := checkEntry("datastore", f.Datastore.Name); err != nil {
		return err
	}
	return checkEntry("disk", f.Name)
}

// ArchiveDisks moves the VM's folder of extra disks on a datastore to
// vm_deleted. Already there is success; nowhere is NotFound.
func (d *Disks) ArchiveDisks(ctx context.Context, host baadal.Host, ds baadal.Datastore, identity, uuid string) error {
	return wrap("archive disks", d.moveDisks(ctx, host, ds, identity, uuid, ds.ExtraDisksDir(identity), ds.DeletedDisksDir(identity, uuid)))
}

// RestoreDisks moves it back. Already back is success; nowhere is NotFound.
func (d *Disks) RestoreDisks(ctx context.Context, host baadal.Host, ds baadal.Datastore, identity, uuid string) error {
	return wrap("restore disks", d.moveDisks(ctx, host, ds, identity, uuid, ds.DeletedDisksDir(identity, uuid), ds.ExtraDisksDir(identity)))
}

func (d *Disks) moveDisks(ctx context.Context, host baadal.Host, ds baadal.Datastore, identity, uuid, from, to string) error {
	if err := checkDisk(baadal.DiskFile{Datastore: ds, Identity: identity, UUID: uuid, Name: "any"}); err != nil {
		return err
	}
	script := moveScript
	if strings.HasPrefix(to, baadal.DirExtraDisks) {
		script = `mounted "$1"; [ -d "$(dirname -- "$1/$3")" ] || mkdir -p -m 0711 -- "$(dirname -- "$1/$3")"` + "\n" + script
	}
	_, _, err := d.run(ctx, host, ds, work{script: script, args: []string{from, to, uuid}, limit: quick})
	return err
}

// PurgeDisks removes that folder from vm_deleted for ever. None is success.
func (d *Disks) PurgeDisks(ctx context.Context, host baadal.Host, ds baadal.Datastore, identity, uuid string) error {
	return wrap("purge disks", d.remove(ctx, host, ds, baadal.DirDeleted, path.Base(ds.DeletedDisksDir(identity, uuid)), identity, uuid))
}

// DiskInfo tells a disk's format, virtual size and what it occupies. QEMU may
// have it open. There is none: NotFound.
func (d *Disks) DiskInfo(ctx context.Context, host baadal.Host, f baadal.DiskFile) (baadal.ImageInfo, error) {
	info, err := d.sized(ctx, host, f, 0)
	return info, wrap("look at disk", err)
}

// GrowDisk makes a disk that nobody has open larger. The size it has is
// success; a smaller one is Invalid (code disk_shrink), and nothing is done.
func (d *Disks) GrowDisk(ctx context.Context, host baadal.Host, f baadal.DiskFile, size int64) error {
	info, err := d.sized(ctx, host, f, 0)
	switch {
	case err != nil || info.VirtualSize == size:
		return wrap("grow disk", err)
	case info.VirtualSize > size:
		return baadal.Errorf(baadal.Invalid, "%s has %s and does not shrink", f.Name, gib(info.VirtualSize)).WithCode("disk_shrink")
	}
	_, err = d.sized(ctx, host, f, size)
	return wrap("grow disk", err)
}

func (d *Disks) sized(ctx context.Context, host baadal.Host, f baadal.DiskFile, size int64) (info baadal.ImageInfo, err error) {
	if err := checkDisk(f); err != nil {
		return info, err
	}
	if size < 0 || size > maxVirtualSize {
		return info, baadal.Errorf(baadal.Invalid, "a disk of %d bytes is not possible", size).WithField("size_gib")
	}
	out, _, err := d.run(ctx, host, f.Datastore, work{script: imageSizeScript, args: []string{f.Dir(), f.UUID, f.Name, strconv.FormatInt(size, 10)}, limit: slow})
	if err != nil {
		return info, err
	}
	var told struct {
		Format  string `json:"format"`
		Virtual int64  `json:"virtual-size"`
		Actual  int64  `json:"actual-size"`
	}
	if err := json.Unmarshal(out, &told); err != nil {
		return info, fmt.Errorf("read qemu-img's answer from %s: %w", host.Name, err)
	}
	return baadal.ImageInfo{Format: told.Format, VirtualSize: told.Virtual, FileSize: told.Actual}, nil
}

// DiskSizes tells what the files of all disks in vm_images and vm_extra_disks
// occupy.
func (d *Disks) DiskSizes(ctx context.Context, host baadal.Host, ds baadal.Datastore) ([]baadal.DiskSize, error) {
	out, _, err := d.run(ctx, host, ds, work{script: sizesScript, limit: slow, output: listLimit})
	if err != nil {
		return nil, wrap("measure disks", err)
	}
	const blockBytes = 512
	var all []baadal.DiskSize
	for rec := range bytes.SplitSeq(out, []byte{0}) {
		blocks, file, ok := strings.Cut(string(rec), "\t")
		if n, err := strconv.ParseInt(blocks, 10, 64); ok && err == nil {
			all = append(all, baadal.DiskSize{File: file, Bytes: n * blockBytes})
		}
	}
	return all, nil
}
