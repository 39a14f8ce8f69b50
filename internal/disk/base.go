package disk

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strconv"

	"baadal"
)

// DiskChain looks at a VM's disk and at what it stands on. A VM that runs is
// not disturbed.
func (d *Disks) DiskChain(ctx context.Context, host baadal.Host, f baadal.DiskFreeze) (baadal.DiskChain, error) {
	var c baadal.DiskChain
	if err := checkDisk(f.DiskFile); err != nil {
		return c, err
	}
	out, _, err := d.run(ctx, host, f.Datastore, work{script: chainScript, args: []string{f.Dir(), f.UUID, f.Name}, limit: quick})
	if err != nil {
		return c, wrap("look at disk", err)
	}
	var files []struct {
		File        string            `json:"filename"`
		Format      string            `json:"format"`
		VirtualSize int64             `json:"virtual-size"`
		ActualSize  int64             `json:"actual-size"`
		Snapshots   []json.RawMessage `json:"snapshots"`
	}
	if err := json.Unmarshal(out, &files); err != nil || len(files) == 0 {
		return c, fmt.Errorf("look at disk: read qemu-img info: %w", err)
	}
	c = baadal.DiskChain{Depth: len(files) - 1, Snapshots: len(files[0].Snapshots), Bytes: files[0].VirtualSize}
	below := files[1:]
	if n := len(below); n > 0 && path.Dir(below[n-1].File) == path.Dir(f.Datastore.TemplateFile("x")) {
		c.Root, c.Format, below = below[n-1].File, below[n-1].Format, below[:n-1]
	}
	for _, b := range below {
		c.Between += b.ActualSize
	}
	return c, nil
}

// ShareDisk gives the disk a second name, as the base, and makes an empty
// overlay on that name which nobody uses yet. It can be called again after any
// failure, also when the VM writes to the overlay already.
func (d *Disks) ShareDisk(ctx context.Context, host baadal.Host, f baadal.DiskFreeze) error {
	if f.Bytes <= 0 || f.Bytes > maxVirtualSize {
		return baadal.Errorf(baadal.Invalid, "a disk of %d bytes is not possible", f.Bytes)
	}
	return d.freeze(ctx, host, f, "share disk", shareScript, f.Overlay, strconv.FormatInt(f.Bytes, 10), id(f.DiskFile), attempt())
}

// SealBase makes the base read-only, and removes its name in the folder of a VM
// that is off. Idempotent.
func (d *Disks) SealBase(ctx context.Context, host baadal.Host, f baadal.DiskFreeze, off bool) error {
	return d.freeze(ctx, host, f, "seal base", sealScript, yesNo(off))
}

// MergeDisk writes back what a VM that is off wrote to its overlay. Idempotent.
func (d *Disks) MergeDisk(ctx context.Context, host baadal.Host, f baadal.DiskFreeze) error {
	return d.freeze(ctx, host, f, "merge disk", mergeScript, f.Overlay, id(f.DiskFile), attempt())
}

// UnshareDisk removes the overlay; the base's file is the VM's disk again. Idempotent.
func (d *Disks) UnshareDisk(ctx context.Context, host baadal.Host, f baadal.DiskFreeze) error {
	return d.freeze(ctx, host, f, "unshare disk", unshareScript, f.Overlay, id(f.DiskFile), attempt())
}

// PrepareCopy makes the base's folder for a copy, and removes an unfinished one.
func (d *Disks) PrepareCopy(ctx context.Context, host baadal.Host, f baadal.DiskFreeze) error {
	if err := checkFreeze(f); err != nil {
		return err
	}
	_, _, err := d.run(ctx, host, f.Datastore, work{script: copyPrepareScript, args: []string{f.Base, attempt()}, limit: quick})
	return wrap("prepare copy", err)
}

// CopyDisk copies the disk of a VM that is off, flat. A base that is there
// already is success.
func (d *Disks) CopyDisk(ctx context.Context, host baadal.Host, f baadal.DiskFreeze) error {
	return d.freeze(ctx, host, f, "copy disk", copyScript)
}

// KeepCopy gives a finished copy the base's name and makes it read-only. Idempotent.
func (d *Disks) KeepCopy(ctx context.Context, host baadal.Host, f baadal.DiskFreeze) error {
	if err := checkFreeze(f); err != nil {
		return err
	}
	_, _, err := d.run(ctx, host, f.Datastore, work{script: copyKeepScript, args: []string{f.Base}, limit: slow})
	return wrap("keep copy", err)
}

// RemoveBase removes a base's folder unless a disk on the datastore names it:
// Conflict (code base_in_use). None is success.
func (d *Disks) RemoveBase(ctx context.Context, host baadal.Host, ds baadal.Datastore, base string) error {
	if err := checkUUID(base); err != nil {
		return err
	}
	_, _, err := d.run(ctx, host, ds, work{script: baseRemoveScript, args: []string{base, attempt()}, limit: slow})
	return wrap("remove base", err)
}

func (d *Disks) freeze(ctx context.Context, host baadal.Host, f baadal.DiskFreeze, op, script string, args ...string) error {
	if err := checkFreeze(f); err != nil {
		return err
	}
	limit := slow
	if script == copyScript || script == mergeScript {
		limit = copies
	}
	args = append([]string{f.Dir(), f.UUID, f.Base, f.Name}, args...)
	_, _, err := d.run(ctx, host, f.Datastore, work{script: extraPrelude + script, args: args, limit: limit})
	return wrap(op, err)
}

func checkFreeze(f baadal.DiskFreeze) error {
	if err := checkDisk(f.DiskFile); err != nil {
		return err
	}
	if err := checkUUID(f.Base); err != nil {
		return err
	}
	return checkEntry("overlay", f.Overlay)
}
