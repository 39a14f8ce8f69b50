package workflow

import (
	"context"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// snapshotRevert brings a VM back to a snapshot. What was written since is lost
// from the moment the step "revert" begins; everything that can be checked is
// checked before, because a revert that fails leaves the VM off.
func (w *Workflows) snapshotRevert() task.Body {
	return task.Body{
		Kind: baadal.TaskSnapshotRevert,
		Steps: []task.Step{
			{Name: "check", Do: w.endChainFirst(w.checkRevert)},
			{Name: "revert", Do: w.revert, Undo: w.afterRevert, Timeout: snapshotTimeout},
			{Name: "look", Do: w.lookAtSnapshots},
			{Name: "measure", Do: w.measureReverted},
			{Name: "nics", Do: w.alignNICs},
		},
		Done:   reverted,
		Undone: revertUndone,
	}
}

func (w *Workflows) checkRevert(ctx context.Context, r *task.Run) error {
	p, params, err := w.loadSnapshot(ctx, r)
	if err != nil {
		return err
	}
	if err := w.recordState(ctx, r, p); err != nil {
		return err
	}
	var snap baadal.Snapshot
	if err := w.db.View(ctx, func(tx *store.Tx) (err error) { snap, err = tx.Snapshot(params.SnapshotID); return err }); err != nil {
		return err
	}
	if hw := snap.Hardware(&p.vm); hw != "" {
		r.Detail("brings back %s", hw)
	}
	return w.sys.Snapshots.CheckRevert(ctx, p.host, p.vm.UUID, params.Name)
}

// begun is recorded before the machine is touched.
type begun struct {
	Revert bool `json:"revert"`
}

func (w *Workflows) revert(ctx context.Context, r *task.Run) error {
	p, params, err := w.loadSnapshot(ctx, r)
	if err != nil {
		return err
	}
	if err := r.Record(begun{Revert: true}); err != nil {
		return err
	}
	return w.sys.Snapshots.RevertSnapshot(ctx, p.host, p.vm.UUID, params.Name)
}

// afterRevert makes the best of a revert that failed: a VM that ran runs again,
// from whatever its disks hold now, and the store says what the host says.
func (w *Workflows) afterRevert(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	var before found
	if _, err := r.Output("check", &before); err != nil {
		return err
	}
	info, err := w.sys.Hypervisor.Domain(ctx, p.host, p.vm.UUID)
	if err != nil {
		return err
	}
	if before.State == baadal.VMRunning && info.State == baadal.VMOff {
		if err := w.sys.Hypervisor.Start(ctx, p.host, p.vm.UUID); err != nil {
			return err
		}
		r.Detail("it was off, and was started again")
	}
	if err := w.settleSnapshots(ctx, r); err != nil {
		return err
	}
	if err := w.alignNICs(ctx, r); err != nil {
		return err
	}
	return w.settleHardware(ctx, p)
}

// sizes are the virtual sizes of disks by their ids, GiB.
type sizes map[int64]int

// measureReverted looks at the disks: one that was grown since the snapshot has
// its old size again.
func (w *Workflows) measureReverted(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	found, err := w.measureAll(ctx, p)
	if err != nil {
		return err
	}
	return r.Record(found)
}

func (w *Workflows) measureAll(ctx context.Context, p place) (sizes, error) {
	found := sizes{}
	for _, k := range p.disks {
		if k.State != baadal.DiskAttached {
			continue
		}
		info, err := w.sys.Sizer.DiskInfo(ctx, p.host, p.file(k))
		if baadal.KindOf(err) == baadal.NotFound {
			continue
		}
		if err != nil {
			return nil, err
		}
		found[k.ID] = int((info.VirtualSize + 1<<30 - 1) >> 30)
	}
	return found, nil
}

// write stores the sizes; vm is stored by the caller.
func (s sizes) write(tx *store.Tx, vm *baadal.VM) error {
	for id, gib := range s {
		if id == 0 {
			vm.DiskGiB = gib
			continue
		}
		k, err := tx.Disk(id)
		if err != nil {
			return err
		}
		if k.SizeGiB == gib {
			continue
		}
		k.SizeGiB = gib
		if err := tx.UpdateDisk(&k); err != nil {
			return err
		}
	}
	return nil
}

// settleHardware claims for a VM what its machine has now.
func (w *Workflows) settleHardware(ctx context.Context, p place) error {
	info, err := w.sys.Hypervisor.Domain(ctx, p.host, p.vm.UUID)
	if err != nil {
		return err
	}
	found, err := w.measureAll(ctx, p)
	if err != nil {
		return err
	}
	disc, err := w.lookAtDisc(ctx, p)
	if err != nil {
		return err
	}
	return w.db.Update(ctx, func(tx *store.Tx) error {
		if err := disc.write(tx, p.vm.ID); err != nil {
			return err
		}
		vm, err := tx.VM(p.vm.ID)
		if err != nil {
			return err
		}
		vm.LiveVCPUs, vm.LiveRAMMiB = 0, 0
		if info.State != baadal.VMOff {
			vm.LiveVCPUs, vm.LiveRAMMiB = differing(info.VCPUs, vm.VCPUs), differing(info.RAMMiB, vm.RAMMiB)
		}
		if err := found.write(tx, &vm); err != nil {
			return err
		}
		return tx.UpdateVM(&vm)
	})
}

// reverted writes down the machine and the state that the VM has again.
func reverted(tx *store.Tx, r *task.Run) (string, error) {
	var l looked
	if _, err := r.Output("look", &l); err != nil {
		return "", err
	}
	if err := seenSnapshots(tx, r); err != nil {
		return "", err
	}
	found := sizes{}
	if _, err := r.Output("measure", &found); err != nil {
		return "", err
	}
	if err := l.Disc.write(tx, r.Task.Subject.ID); err != nil {
		return "", err
	}
	vm, err := tx.VM(r.Task.Subject.ID)
	if err != nil {
		return "", err
	}
	vm.VCPUs, vm.RAMMiB = l.VCPUs, l.RAMMiB
	if err := found.write(tx, &vm); err != nil {
		return "", err
	}
	vm.LiveVCPUs, vm.LiveRAMMiB, vm.HotCPUs = 0, 0, false
	if err := tx.UpdateVM(&vm); err != nil {
		return "", err
	}
	if err := tx.SetVMAnswered(vm.ID, nil); err != nil {
		return "", err
	}
	if _, err := vmChanged(tx, r, l.State, ""); err != nil {
		return "", err
	}
	return "Reverted to snapshot successfully", nil
}

// revertUndone gives back what was claimed for the revert, unless the revert
// had begun: then the machine itself was asked what it has.
func revertUndone(tx *store.Tx, r *task.Run) error {
	params, err := task.Params[SnapshotParams](r)
	if err != nil {
		return err
	}
	var b begun
	if known, err := r.Output("revert", &b); err != nil || known {
		return err
	}
	vm, err := tx.VM(r.Task.Subject.ID)
	if err != nil {
		return err
	}
	vm.LiveVCPUs, vm.LiveRAMMiB, vm.DiskGiB = params.Live.VCPUs, params.Live.RAMMiB, params.DiskGiB
	return tx.UpdateVM(&vm)
}
