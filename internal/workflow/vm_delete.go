package workflow

import (
	"context"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// vmDelete stops a VM and moves its disks to vm_deleted, from where it can be
// restored until the retention ends.
func (w *Workflows) vmDelete() task.Body {
	return task.Body{
		Kind: baadal.TaskVMDelete,
		Steps: []task.Step{
			{Name: "stop", Do: w.stopForDelete, Undo: w.startAgain},
			{Name: "undefine", Do: w.endChainFirst(w.undefine), Undo: w.defineAgain},
			{Name: "archive", Do: w.archiveImage, Undo: w.unarchiveImage},
			{Name: "archive disks", Do: w.archiveDisks, Undo: w.unarchiveDisks},
		},
		Done: vmDeleted,
	}
}

// found is what the operation found, so that its undo can bring it back.
type found struct {
	State baadal.VMState `json:"state"`
	Saved bool           `json:"saved,omitempty"`
}

func (w *Workflows) stopForDelete(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	if err := w.recordState(ctx, r, p); err != nil {
		return err
	}
	if err := w.refuseElsewhere(ctx, r, p); err != nil {
		return err
	}
	return w.sys.Hypervisor.Destroy(ctx, p.host, p.vm.UUID)
}

// recordState makes the domain's state, as the first try of the step at work
// found it, the step's output.
func (w *Workflows) recordState(ctx context.Context, r *task.Run, p place) error {
	var before found
	if known, err := r.Output(r.Task.Step, &before); known || err != nil {
		return err
	}
	info, err := w.sys.Hypervisor.Domain(ctx, p.host, p.vm.UUID)
	switch {
	case err == nil:
		before.State, before.Saved = info.State, info.Saved
	case baadal.KindOf(err) == baadal.NotFound:
		before.State = baadal.VMMissing
	default:
		return err
	}
	return r.Record(before)
}

func (w *Workflows) startAgain(ctx context.Context, r *task.Run) error {
	var before found
	if known, err := r.Output("stop", &before); err != nil || !known || before.State != baadal.VMRunning {
		return err
	}
	return w.start(ctx, r)
}

func (w *Workflows) defineAgain(ctx context.Context, r *task.Run) error {
	var before found
	if known, err := r.Output("stop", &before); err != nil || !known || before.State == baadal.VMMissing {
		return err
	}
	return w.defineWhole(ctx, r)
}

// archived says whether there was a folder to archive.
type archived struct {
	Nothing bool `json:"nothing"`
}

func (w *Workflows) archiveImage(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	err = w.sys.Disks.ArchiveImage(ctx, p.host, p.store, p.vm.Identity, p.vm.UUID)
	if baadal.KindOf(err) == baadal.NotFound {
		r.Detail("its folder was gone already")
		return r.Record(archived{Nothing: true})
	}
	return err
}

func (w *Workflows) unarchiveImage(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	err = w.sys.Disks.RestoreImage(ctx, p.host, p.store, p.vm.Identity, p.vm.UUID)
	if baadal.KindOf(err) == baadal.NotFound {
		return nil
	}
	return err
}

// vmDeleted gives back what the VM had claimed. Without a folder and extra disks
// nothing could be restored, so its row goes too.
func vmDeleted(tx *store.Tx, r *task.Run) (string, error) {
	vm, err := vmChanged(tx, r, baadal.VMDeleted, "")
	if err != nil {
		return "", err
	}
	message := vm.Name + " is deleted successfully"
	var a archived
	if _, err := r.Output("archive", &a); err != nil {
		return "", err
	}
	disks, err := tx.ExtraDisks(vm.ID)
	if err != nil {
		return "", err
	}
	if a.Nothing && len(disks) == 0 {
		return message, forgetVM(tx, vm.ID)
	}
	settings, err := tx.SettingValues()
	if err != nil {
		return "", err
	}
	if err := tx.LeaveNAT(vm.ID); err != nil {
		return "", err
	}
	if err := tx.ReleaseAddress(vm.ID); err != nil {
		return "", err
	}
	if err := tx.ReleaseVNCPort(vm.ID); err != nil {
		return "", err
	}
	if vm, err = tx.VM(vm.ID); err != nil {
		return "", err
	}
	now := tx.Now()
	purge := now.Add(settings.Duration(baadal.SettingRetention))
	vm.HostID, vm.DeletedAt, vm.PurgeAfter = 0, &now, &purge
	return message, tx.UpdateVM(&vm)
}
