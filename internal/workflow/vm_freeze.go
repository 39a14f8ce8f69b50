package workflow

import (
	"context"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// A VM's disk becomes a base without ever being renamed: the file gets a second
// name in the base's folder, an overlay on that name is made beside it, and only
// then the VM goes over to the overlay, with all its disks at one moment. Before
// that moment the VM's disks are as they were, after it everything that the
// overlays stand on is in its place. The rows of the VM and of its extra disks
// say which files its disks are.

// maxChain is how many files a disk may stand on. A VM that was cloned so often,
// and not yet flattened, gets flat copies as the bases of its next clones.
const maxChain = 8

// freezing is what the step found at its first try, before it did anything.
type freezing struct {
	Copy   bool         `json:"copy"`   // copies of the disks become the bases; the VM stays as it is
	Copied bool         `json:"copied"` // they are made, all of one moment
	Disks  []frozenDisk `json:"disks"`
}

// frozenDisk is one disk of the VM, the first one first.
type frozenDisk struct {
	DiskID  int64  `json:"disk_id"`
	Base    int64  `json:"base"`
	Target  string `json:"target"`
	File    string `json:"file"`
	Overlay string `json:"overlay"`
	Bytes   int64  `json:"bytes"`
	Before  int64  `json:"before"` // the base that it stood on
}

// freezer is a freezing with everything around it.
type freezer struct {
	place
	freezing
	params CloneParams
	bases  map[int64]baadal.Base
}

// disk is what the outside is told of one of the disks.
func (z *freezer) disk(d frozenDisk) baadal.DiskFreeze {
	f := baadal.DiskFreeze{Base: z.bases[d.Base].UUID, Overlay: d.Overlay, Bytes: d.Bytes}
	f.DiskFile = z.file(z.diskByID(d.DiskID))
	f.Name = d.File
	return f
}

// each does something with every disk, in their order.
func (z *freezer) each(do func(frozenDisk, baadal.DiskFreeze) error) error {
	for _, d := range z.Disks {
		if err := do(d, z.disk(d)); err != nil {
			return err
		}
	}
	return nil
}

// targets maps each disk's target to a path.
func (z *freezer) targets(to func(baadal.DiskFreeze) string) map[string]string {
	all := map[string]string{}
	for _, d := range z.Disks {
		all[d.Target] = to(z.disk(d))
	}
	return all
}

// ready reports whether all bases are there.
func (z *freezer) ready() bool {
	for _, b := range z.bases {
		if b.State != baadal.BaseReady {
			return false
		}
	}
	return true
}

// target is the first disk's name in the guest.
const target = baadal.FirstTarget

func (w *Workflows) freezer(ctx context.Context, r *task.Run) (z freezer, known bool, err error) {
	if z.params, err = task.Params[CloneParams](r); err != nil {
		return z, false, err
	}
	if z.place, err = w.load(ctx, r); err != nil {
		return z, false, err
	}
	z.bases = map[int64]baadal.Base{}
	for _, id := range z.params.bases() {
		if z.bases[id], err = w.base(ctx, id); err != nil {
			return z, false, err
		}
	}
	z.Copy = z.params.Wish.Full
	known, err = r.Output("freeze", &z.freezing)
	return z, known, err
}

func (w *Workflows) freezeParent(ctx context.Context, r *task.Run) error {
	z, known, err := w.freezer(ctx, r)
	if err != nil || z.ready() {
		return err // a retry makes missing clones of bases that are there
	}
	if !known {
		if err := w.lookAtDisks(ctx, r, &z); err != nil {
			return err
		}
	}
	if z.Copy {
		return w.copyBases(ctx, r, &z)
	}
	return w.freeze(ctx, r, &z)
}

// lookAtDisks decides how the bases are made, and notes it before anything is
// done.
func (w *Workflows) lookAtDisks(ctx context.Context, r *task.Run, z *freezer) error {
	info, err := w.sys.Hypervisor.Domain(ctx, z.host, z.vm.UUID)
	if err != nil {
		return err
	}
	if err := notSaved(z.vm, info); err != nil {
		return err
	}
	for _, c := range append([]CloneDisk{{Base: z.params.Base}}, z.params.Disks...) {
		k := z.diskByID(c.DiskID)
		f := z.file(k)
		d := frozenDisk{DiskID: c.DiskID, Base: c.Base, Target: k.Target, File: f.Name, Overlay: baadal.OverlayName(k.Name, z.bases[c.Base].UUID), Before: k.BaseID}
		z.Disks = append(z.Disks, d)
		chain, err := w.sys.Bases.DiskChain(ctx, z.host, z.disk(d))
		if err != nil {
			return err
		}
		z.Disks[len(z.Disks)-1].Bytes = chain.Bytes
		if chain.Snapshots > 0 || chain.Depth >= maxChain {
			z.Copy = true
		}
	}
	return r.Record(z.freezing)
}

// notSaved refuses what must not meet a domain whose memory is on disk: what was
// saved goes on with the disks that it had.
func notSaved(vm baadal.VM, info baadal.DomainInfo) error {
	if !info.Saved {
		return nil
	}
	return baadal.Errorf(baadal.Conflict, "%s is saved to disk: its disk and its memory must not part", vm.Name).WithCode("vm_saved").
		WithNext("Start it first", "baadal vm start "+vm.Name)
}

// active reports whether a VM has a process on its host.
func (w *Workflows) active(ctx context.Context, p place) (bool, error) {
	info, err := w.sys.Hypervisor.Domain(ctx, p.host, p.vm.UUID)
	return err == nil && info.State != baadal.VMOff && info.State != baadal.VMCrashed, err
}

func (w *Workflows) freeze(ctx context.Context, r *task.Run, z *freezer) error {
	share := func(_ frozenDisk, f baadal.DiskFreeze) error { return w.sys.Bases.ShareDisk(ctx, z.host, f) }
	if err := z.each(share); err != nil {
		return err
	}
	active, err := w.active(ctx, z.place)
	if err != nil {
		return err
	}
	if active {
		to := z.targets(func(f baadal.DiskFreeze) string { return f.New() })
		if err := w.sys.Freezer.SwitchDisks(ctx, z.host, z.vm.UUID, to); err != nil {
			return err
		}
	}
	err = w.db.Update(ctx, func(tx *store.Tx) error {
		return z.each(func(d frozenDisk, _ baadal.DiskFreeze) error {
			if err := tx.SetBase(d.Base, baadal.BaseMaking, d.Before); err != nil {
				return err
			}
			return setDisk(tx, z.vm.ID, d.DiskID, d.Overlay, d.Base)
		})
	})
	if err != nil {
		return err
	}
	if err := w.define(ctx, r); err != nil {
		return err
	}
	seal := func(_ frozenDisk, f baadal.DiskFreeze) error { return w.sys.Bases.SealBase(ctx, z.host, f, !active) }
	if err := z.each(seal); err != nil {
		return err
	}
	if len(z.Disks) > 1 {
		r.Detail("its %d disks are the bases now", len(z.Disks))
	} else {
		r.Detail("its disk is the base now")
	}
	return w.basesReady(ctx, z)
}

// setDisk notes which file a VM's disk is, 0 for the first one, and what it
// stands on.
func setDisk(tx *store.Tx, vmID, diskID int64, file string, base int64) error {
	if diskID == 0 {
		return tx.SetVMDisk(vmID, file, base)
	}
	return tx.SetDisk(diskID, file, base)
}

// copyBases makes flat copies the bases. The VM's own disks stay as they are,
// with their snapshots.
func (w *Workflows) copyBases(ctx context.Context, r *task.Run, z *freezer) error {
	if !z.Copied {
		if err := w.copyToBases(ctx, r, z); err != nil {
			return err
		}
		z.Copied = true
		if err := r.Record(z.freezing); err != nil {
			return err
		}
	}
	keep := func(_ frozenDisk, f baadal.DiskFreeze) error { return w.sys.Bases.KeepCopy(ctx, z.host, f) }
	if err := z.each(keep); err != nil {
		return err
	}
	if len(z.Disks) > 1 {
		r.Detail("copies of its %d disks are the bases", len(z.Disks))
	} else {
		r.Detail("a copy of its disk is the base")
	}
	return w.basesReady(ctx, z)
}

func (w *Workflows) copyToBases(ctx context.Context, r *task.Run, z *freezer) error {
	active, err := w.active(ctx, z.place)
	if err != nil {
		return err
	}
	prepare := func(d frozenDisk, f baadal.DiskFreeze) error {
		if err := w.sys.Bases.PrepareCopy(ctx, z.host, f); err != nil {
			return err
		}
		return w.roomForCopy(ctx, z.place, z.diskByID(d.DiskID))
	}
	if err := z.each(prepare); err != nil {
		return err
	}
	if active {
		to := z.targets(func(f baadal.DiskFreeze) string { return f.BaseCopy() })
		err := w.sys.Freezer.BackupDisks(ctx, z.host, z.vm.UUID, to, func(share float64) { r.Progress(share, "copying its disks") })
		return w.whyNotCopied(ctx, z, err)
	}
	return z.each(func(_ frozenDisk, f baadal.DiskFreeze) error { return w.sys.Bases.CopyDisk(ctx, z.host, f) })
}

// whyNotCopied finds out why a copy was broken off: QEMU does not say. Where
// there is no room it is no use to try again.
func (w *Workflows) whyNotCopied(ctx context.Context, z *freezer, cause error) error {
	if baadal.CodeOf(cause) != "backup_failed" {
		return cause
	}
	const little = 4 << 20
	return z.each(func(_ frozenDisk, f baadal.DiskFreeze) error {
		u, err := w.sys.Disks.Usage(ctx, z.host, f.Datastore)
		if err != nil {
			return cause
		}
		// What was written of the copy may be gone again by now.
		info, err := w.sys.Sizer.DiskInfo(ctx, z.host, f.DiskFile)
		if err != nil || u.Free >= max(little, info.FileSize) {
			return cause
		}
		return (&baadal.Error{Kind: baadal.Exhausted, Code: "datastore_full", Title: "datastore " + f.Datastore.Name + " is full", Err: cause}).
			WithDetail("%d of %d MiB were free when the copying was broken off; %s runs on as it was", u.Free>>20, u.Capacity>>20, z.vm.Name).
			WithNext("Purge deleted VMs or add room", "baadal datastore list")
	})
}

func (w *Workflows) basesReady(ctx context.Context, z *freezer) error {
	return w.db.Update(ctx, func(tx *store.Tx) error {
		return z.each(func(d frozenDisk, _ baadal.DiskFreeze) error {
			parent := d.Before
			if z.Copy {
				parent = 0
			}
			return tx.SetBase(d.Base, baadal.BaseReady, parent)
		})
	})
}

// thawParent gives the VM its disks back, unless clones stand on them.
func (w *Workflows) thawParent(ctx context.Context, r *task.Run) error {
	z, known, err := w.freezer(ctx, r)
	if baadal.KindOf(err) == baadal.NotFound || err == nil && !known {
		return nil // nothing was begun, or everything is taken back
	}
	if err != nil {
		return err
	}
	stay, err := w.standing(ctx, r, &z)
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
	err = z.each(func(_ frozenDisk, f baadal.DiskFreeze) error {
		return w.sys.Bases.RemoveBase(ctx, z.host, f.Datastore, f.Base)
	})
	if err != nil {
		return err
	}
	return w.db.Update(ctx, func(tx *store.Tx) error {
		return z.each(func(d frozenDisk, _ baadal.DiskFreeze) error { return tx.SetBase(d.Base, baadal.BaseMaking, 0) })
	})
}

// standing counts who stands on the base of the first disk beside the VM itself
// and clones that are not made. Whoever stands on the others stands on this one.
// A clone that was made, deleted, and is being restored just now is made.
func (w *Workflows) standing(ctx context.Context, r *task.Run, z *freezer) (n int, err error) {
	base := z.bases[z.params.Base]
	err = w.db.View(ctx, func(tx *store.Tx) error {
		children, err := tx.ChildTasks(r.Task.ID)
		if err != nil {
			return err
		}
		made := map[int64]bool{}
		for _, c := range children {
			made[c.Subject.ID] = c.State == baadal.TaskSuccess
		}
		vms, err := tx.VMsOnBase(base.ID)
		n = base.Standing - len(vms)
		for _, vm := range vms {
			if vm.ID != z.vm.ID && (vm.State != baadal.VMInQueue || made[vm.ID]) {
				n++
			}
		}
		return err
	})
	return n, err
}

func (w *Workflows) thaw(ctx context.Context, r *task.Run, z *freezer) error {
	active, err := w.active(ctx, z.place)
	missing := baadal.KindOf(err) == baadal.NotFound
	if err != nil && !missing {
		return err
	}
	err = z.each(func(d frozenDisk, f baadal.DiskFreeze) error {
		if active {
			return w.sys.Freezer.RejoinDisk(ctx, z.host, z.vm.UUID, d.Target, f.New(), f.Old())
		}
		return w.sys.Bases.MergeDisk(ctx, z.host, f)
	})
	if err != nil {
		return err
	}
	err = w.db.Update(ctx, func(tx *store.Tx) error {
		return z.each(func(d frozenDisk, _ baadal.DiskFreeze) error {
			file := d.File
			if file == z.diskByID(d.DiskID).Name {
				file = ""
			}
			return setDisk(tx, z.vm.ID, d.DiskID, file, d.Before)
		})
	})
	if err != nil {
		return err
	}
	if !missing {
		if err := w.define(ctx, r); err != nil {
			return err
		}
	}
	return z.each(func(_ frozenDisk, f baadal.DiskFreeze) error { return w.sys.Bases.UnshareDisk(ctx, z.host, f) })
}
