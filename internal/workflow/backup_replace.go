package workflow

import (
	"context"
	"fmt"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// backupReplace puts the disks of a VM that is off back as a backup holds them.
// What the VM has is put aside and comes back if anything fails; only when the
// VM is whole again it goes.
func (w *Workflows) backupReplace() task.Body {
	return task.Body{
		Kind: baadal.TaskBackupReplace,
		Steps: []task.Step{
			{Name: "check", Do: w.checkReplace, Timeout: backupReadTimeout},
			{Name: "stage", Do: w.stageDisks, Undo: w.unstageDisks, Timeout: backupCopyTimeout},
			{Name: "take snapshots off", Do: w.dropSnapshots, Undo: w.bringSnapshots},
			{Name: "swap", Do: w.swapDisks, Undo: w.unswapDisks},
			{Name: "clean", Do: w.cleanReplaced, Undo: w.cleanReplaced},
		},
		Done:   backupReplaced,
		Undone: replaceUndone,
	}
}

func (w *Workflows) checkReplace(ctx context.Context, r *task.Run) error {
	b, err := w.loadRestoring(ctx, r)
	if err != nil {
		return err
	}
	if err := w.mustBeOff(ctx, b.place); err != nil {
		return err
	}
	if err := w.verifyChain(ctx, r, b.backup, b.host); err != nil {
		return err
	}
	return w.endChain(ctx, b.place) // the new files have no bitmaps
}

// mustBeOff refuses a VM that somebody started on its host.
func (w *Workflows) mustBeOff(ctx context.Context, p place) error {
	info, err := w.sys.Hypervisor.Domain(ctx, p.host, p.vm.UUID)
	if err != nil {
		return err
	}
	if info.Saved || info.State != baadal.VMOff && info.State != baadal.VMCrashed {
		return baadal.Errorf(baadal.Conflict, "%s is not off on %s", p.vm.Name, p.host.Name).WithCode("vm_state").WithDetail("its disks were not touched")
	}
	return nil
}

func (w *Workflows) stageDisks(ctx context.Context, r *task.Run) error {
	b, err := w.loadRestoring(ctx, r)
	if err != nil {
		return err
	}
	return w.stage(ctx, r, &b)
}

// unstageDisks removes the copies, unless they are the VM's disks by now.
func (w *Workflows) unstageDisks(ctx context.Context, r *task.Run) error {
	if known, err := r.Output("clean", new(cleaning)); known || err != nil {
		return err
	}
	return w.unfillDisks(ctx, r)
}

// dropSnapshots writes the snapshots to the journal before they are taken off:
// their data is in the files that are put aside.
func (w *Workflows) dropSnapshots(ctx context.Context, r *task.Run) error {
	b, err := w.loadRestoring(ctx, r)
	if err != nil {
		return err
	}
	_, err = w.takeOff(ctx, r, b.host, b.vm.UUID)
	return err
}

func (w *Workflows) bringSnapshots(ctx context.Context, r *task.Run) error {
	if known, err := r.Output("clean", new(cleaning)); known || err != nil {
		return err
	}
	b, err := w.loadRestoring(ctx, r)
	if err != nil {
		return err
	}
	var c carried
	if known, err := r.Output("take snapshots off", &c); err != nil || !known {
		return err
	}
	return w.sys.Snapshots.RedefineSnapshots(ctx, b.host, b.vm.UUID, c.Snapshots)
}

func (w *Workflows) swapDisks(ctx context.Context, r *task.Run) error {
	b, err := w.loadRestoring(ctx, r)
	if err != nil {
		return err
	}
	if err := w.mustBeOff(ctx, b.place); err != nil {
		return err
	}
	return b.each(func(f baadal.DiskFile) error { return w.sys.Refiller.SwapDisk(ctx, b.host, f, b.backup.UUID) })
}

// unswapDisks brings back what was put aside, unless that is going already.
func (w *Workflows) unswapDisks(ctx context.Context, r *task.Run) error {
	if known, err := r.Output("clean", new(cleaning)); known || err != nil {
		return err
	}
	return w.unfillDisks(ctx, r)
}

// cleaning says that what was put aside is going: from here on there is no way
// back, and whoever takes the task over goes on.
type cleaning struct {
	Begun bool `json:"begun"`
}

// cleanReplaced removes what the backup's disks took the place of. It is its
// own undo.
func (w *Workflows) cleanReplaced(ctx context.Context, r *task.Run) error {
	known, err := r.Output("clean", new(cleaning))
	if err != nil || r.Cause() != nil && !known {
		return err
	}
	if err := r.Record(cleaning{Begun: true}); err != nil {
		return err
	}
	b, err := w.loadRestoring(ctx, r)
	if err != nil {
		return err
	}
	done := 0
	err = b.each(func(f baadal.DiskFile) error {
		done++
		return w.sys.Refiller.DropOldDisk(ctx, b.host, f, b.backup.UUID)
	})
	r.Detail("%d disks are as they were at the backup", done)
	return err
}

func backupReplaced(tx *store.Tx, r *task.Run) (string, error) {
	if err := tx.ReleaseMoves(r.Task.Subject.ID); err != nil {
		return "", err
	}
	params, err := task.Params[BackupRestoreParams](r)
	if err != nil {
		return "", err
	}
	b, err := tx.Backup(params.BackupID)
	if err != nil {
		return "", err
	}
	vm, err := tx.VM(r.Task.Subject.ID)
	if err != nil {
		return "", err
	}
	for _, d := range b.Machine.Disks { // they stand on nothing now
		if err := standAlone(tx, vm, d.ID); err != nil {
			return "", err
		}
	}
	if vm, err = tx.VM(vm.ID); err != nil {
		return "", err
	}
	found := sizes{}
	for _, d := range b.Machine.Disks {
		found[d.ID] = d.SizeGiB
	}
	if err := found.write(tx, &vm); err != nil {
		return "", err
	}
	if err := tx.UpdateVM(&vm); err != nil {
		return "", err
	}
	snaps, err := tx.Snapshots(vm.ID)
	if err != nil {
		return "", err
	}
	for _, s := range snaps {
		if err := tx.DeleteSnapshot(s.ID); err != nil {
			return "", err
		}
	}
	message := fmt.Sprintf("%s is restored successfully from backup %d", vm.Name, b.ID)
	return message, backupEvent(tx, r, b, "restored in place")
}

// replaceUndone leaves the VM as it was, or, if what it had was going already,
// as the backup has it.
func replaceUndone(tx *store.Tx, r *task.Run) error {
	if known, err := r.Output("clean", new(cleaning)); err != nil {
		return err
	} else if known {
		_, err := backupReplaced(tx, r)
		return err
	}
	if err := tx.ReleaseMoves(r.Task.Subject.ID); err != nil {
		return err
	}
	return tellDamage(tx, r)
}
