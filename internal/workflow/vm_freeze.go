package workflow

import (
	"context"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// A VM's disk becomes a base without ever being renamed: the file gets a second
// name in the base's folder, an overlay on that name is made beside it, and only
// then the VM goes over to the overlay, at one moment. Before that moment the
// VM's disk is as it was, after it everything that the overlay stands on is in
// its place. The row of the VM says which of its files is the disk.

// maxChain is how many files a disk may stand on. A VM that was cloned so often
// gets a flat copy as the base of its next clones.
const maxChain = 8

// freezing is what the step found at its first try, before it did anything.
type freezing struct {
	Copy    bool   `json:"copy"` // a copy of the disk becomes the base; the VM stays as it is
	File    string `json:"file"`
	Overlay string `json:"overlay"`
	Bytes   int64  `json:"bytes"`
	Before  int64  `json:"before"` // the base that the VM stood on
}

// freezer is a freezing with everything around it.
type freezer struct {
	place
	freezing
	base baadal.Base
}

func (z *freezer) disk() baadal.DiskFreeze {
	return baadal.DiskFreeze{
		Datastore: z.store, Base: z.base.UUID, Identity: z.vm.Identity, UUID: z.vm.UUID, File: z.File, Overlay: z.Overlay, Bytes: z.Bytes,
	}
}

// target is the first disk's name in the guest.
const target = "vda"

func (w *Workflows) freezer(ctx context.Context, r *task.Run) (z freezer, known bool, err error) {
	params, err := task.Params[CloneParams](r)
	if err != nil {
		return z, false, err
	}
	if z.place, err = w.load(ctx, r); err != nil {
		return z, false, err
	}
	if z.base, err = w.base(ctx, params.Base); err != nil {
		return z, false, err
	}
	z.Copy = params.Wish.Full
	known, err = r.Output("freeze", &z.freezing)
	return z, known, err
}

func (w *Workflows) freezeParent(ctx context.Context, r *task.Run) error {
	z, known, err := w.freezer(ctx, r)
	if err != nil || z.base.State == baadal.BaseReady {
		return err // a retry makes missing clones of a base that is there
	}
	if !known {
		if err := w.lookAtDisk(ctx, r, &z); err != nil {
			return err
		}
	}
	if z.Copy {
		return w.copyBase(ctx, r, &z)
	}
	return w.freeze(ctx, r, &z)
}

// lookAtDisk decides how the base is made, and notes it before anything is done.
func (w *Workflows) lookAtDisk(ctx context.Context, r *task.Run, z *freezer) error {
	z.File, z.Before = z.vm.DiskFile, z.vm.BaseID
	if z.File == "" {
		z.File = z.vm.Identity + ".qcow2"
	}
	z.Overlay = z.vm.Identity + "." + z.base.UUID[:8] + ".qcow2"
	info, err := w.sys.Hypervisor.Domain(ctx, z.host, z.vm.UUID)
	if err != nil {
		return err
	}
	if info.Saved { // what was saved goes on with the disk that it had
		return baadal.Errorf(baadal.Conflict, "%s is saved to disk: its disk and its memory must not part", z.vm.Name).WithCode("vm_saved").
			WithNext("Start it first", "baadal vm start "+z.vm.Name)
	}
	chain, err := w.sys.Bases.DiskChain(ctx, z.host, z.disk())
	if err != nil {
		return err
	}
	z.Bytes = chain.Bytes
	if chain.Snapshots > 0 || chain.Depth >= maxChain {
		z.Copy = true
	}
	return r.Record(z.freezing)
}

// active reports whether a VM has a process on its host.
func (w *Workflows) active(ctx context.Context, p place) (bool, error) {
	info, err := w.sys.Hypervisor.Domain(ctx, p.host, p.vm.UUID)
	return err == nil && info.State != baadal.VMOff && info.State != baadal.VMCrashed, err
}

func (w *Workflows) freeze(ctx context.Context, r *task.Run, z *freezer) error {
	disk := z.disk()
	if err := w.sys.Bases.ShareDisk(ctx, z.host, disk); err != nil {
		return err
	}
	active, err := w.active(ctx, z.place)
	if err != nil {
		return err
	}
	if active {
		if err := w.sys.Freezer.SwitchDisk(ctx, z.host, z.vm.UUID, target, disk.New()); err != nil {
			return err
		}
	}
	err = w.db.Update(ctx, func(tx *store.Tx) error {
		if err := tx.SetBase(z.base.ID, baadal.BaseMaking, z.Before); err != nil {
			return err
		}
		return tx.SetVMDisk(z.vm.ID, z.Overlay, z.base.ID)
	})
	if err != nil {
		return err
	}
	if err := w.define(ctx, r); err != nil {
		return err
	}
	if err := w.sys.Bases.SealBase(ctx, z.host, disk, !active); err != nil {
		return err
	}
	r.Detail("its disk is the base now")
	return w.baseReady(ctx, z.base.ID, z.Before)
}

// copyBase makes a flat copy the base. The VM's own disk stays as it is, with
// its snapshots.
func (w *Workflows) copyBase(ctx context.Context, r *task.Run, z *freezer) error {
	disk := z.disk()
	active, err := w.active(ctx, z.place)
	if err != nil {
		return err
	}
	if err := w.sys.Bases.PrepareCopy(ctx, z.host, disk); err != nil {
		return err
	}
	if active {
		err = w.sys.Freezer.BackupDisk(ctx, z.host, z.vm.UUID, target, disk.BaseCopy(), func(share float64) { r.Progress(share, "copying its disk") })
	} else {
		err = w.sys.Bases.CopyDisk(ctx, z.host, disk)
	}
	if err != nil {
		return err
	}
	if err := w.sys.Bases.KeepCopy(ctx, z.host, disk); err != nil {
		return err
	}
	r.Detail("a copy of its disk is the base")
	return w.baseReady(ctx, z.base.ID, 0)
}

func (w *Workflows) baseReady(ctx context.Context, id, parent int64) error {
	return w.db.Update(ctx, func(tx *store.Tx) error { return tx.SetBase(id, baadal.BaseReady, parent) })
}

// thawParent gives the VM its disk back, unless clones stand on it.
func (w *Workflows) thawParent(ctx context.Context, r *task.Run) error {
	z, known, err := w.freezer(ctx, r)
	if baadal.KindOf(err) == baadal.NotFound || err == nil && !known {
		return nil // nothing was begun, or everything is taken back
	}
	if err != nil {
		return err
	}
	stay := 0
	err = w.db.View(ctx, func(tx *store.Tx) error {
		vms, err := tx.VMsOnBase(z.base.ID)
		stay = z.base.Standing - len(vms)
		for _, vm := range vms {
			if vm.ID != z.vm.ID && vm.State != baadal.VMInQueue {
				stay++
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	if stay > 0 {
		r.Detail("the base stays: %d clones stand on it", stay)
		return nil
	}
	if !z.Copy {
		if err := w.thaw(ctx, r, &z); err != nil {
			return err
		}
	}
	if err := w.sys.Bases.RemoveBase(ctx, z.host, z.store, z.base.UUID); err != nil {
		return err
	}
	return w.db.Update(ctx, func(tx *store.Tx) error { return tx.SetBase(z.base.ID, baadal.BaseMaking, 0) })
}

func (w *Workflows) thaw(ctx context.Context, r *task.Run, z *freezer) error {
	disk := z.disk()
	active, err := w.active(ctx, z.place)
	missing := baadal.KindOf(err) == baadal.NotFound
	if err != nil && !missing {
		return err
	}
	if active {
		err = w.sys.Freezer.RejoinDisk(ctx, z.host, z.vm.UUID, target, disk.New(), disk.Old())
	} else {
		err = w.sys.Bases.MergeDisk(ctx, z.host, disk)
	}
	if err != nil {
		return err
	}
	file := z.File
	if file == z.vm.Identity+".qcow2" {
		file = ""
	}
	if err := w.db.Update(ctx, func(tx *store.Tx) error { return tx.SetVMDisk(z.vm.ID, file, z.Before) }); err != nil {
		return err
	}
	if !missing {
		if err := w.define(ctx, r); err != nil {
			return err
		}
	}
	return w.sys.Bases.UnshareDisk(ctx, z.host, disk)
}
