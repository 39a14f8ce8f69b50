package workflow

import (
	"context"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// diskAdd makes an extra disk, whose row and room were claimed in the
// transaction that made the task, and gives it to the VM: at once if it runs.
func (w *Workflows) diskAdd() task.Body {
	return task.Body{
		Kind: baadal.TaskDiskAdd,
		Steps: []task.Step{
			{Name: "create", Do: additionalHDD(w.createDisk), Undo: w.removeDisk},
			{Name: "attach", Do: additionalHDD(w.attachDisk), Undo: w.detachDisk},
		},
		Done:   diskAttached,
		Undone: diskForgotten,
	}
}

// diskAttach gives a VM back a disk that was detached, or deleted not too long
// ago. Its target was claimed in the transaction that made the task.
func (w *Workflows) diskAttach() task.Body {
	return task.Body{
		Kind: baadal.TaskDiskAttach,
		Steps: []task.Step{
			{Name: "fetch", Do: w.fetchDisk, Undo: w.bringBackDisk},
			{Name: "attach", Do: w.attachDisk, Undo: w.detachDisk},
		},
		Done: diskAttached,
		Undone: func(tx *store.Tx, r *task.Run) error {
			_, err := changeDisk(tx, r, "not attached", func(k *baadal.Disk) { k.Target = "" })
			return err
		},
	}
}

// additionalHDD gives a failure the specification's words before its own.
func additionalHDD(do func(context.Context, *task.Run) error) func(context.Context, *task.Run) error {
	return func(ctx context.Context, r *task.Run) error {
		err := do(ctx, r)
		if err == nil || ctx.Err() != nil {
			return err
		}
		return &baadal.Error{
			Kind: baadal.KindOf(err), Code: baadal.CodeOf(err), Err: err, Detail: baadal.Message(err),
			Title: "Your request for additional HDD could not be completed at this moment. Check logs.",
		}
	}
}

func (w *Workflows) createDisk(ctx context.Context, r *task.Run) error {
	return w.fileWork(ctx, r, func(host baadal.Host, f baadal.DiskFile, k diskAt, _ DiskParams) error {
		return w.sys.ExtraDisks.CreateDisk(ctx, host, f, int64(k.SizeGiB)<<30)
	})
}

func (w *Workflows) removeDisk(ctx context.Context, r *task.Run) error {
	return w.fileWork(ctx, r, func(host baadal.Host, f baadal.DiskFile, _ diskAt, _ DiskParams) error {
		return w.sys.ExtraDisks.RemoveDisk(ctx, host, f)
	})
}

// fetchDisk brings a deleted disk back from vm_deleted.
func (w *Workflows) fetchDisk(ctx context.Context, r *task.Run) error {
	return w.fileWork(ctx, r, func(host baadal.Host, f baadal.DiskFile, _ diskAt, params DiskParams) error {
		if params.Was != baadal.DiskDeleted {
			return nil
		}
		return w.sys.ExtraDisks.RestoreDisk(ctx, host, f)
	})
}

func (w *Workflows) bringBackDisk(ctx context.Context, r *task.Run) error {
	return w.fileWork(ctx, r, func(host baadal.Host, f baadal.DiskFile, _ diskAt, params DiskParams) error {
		if params.Was != baadal.DiskDeleted {
			return nil
		}
		err := w.sys.ExtraDisks.ArchiveDisk(ctx, host, f)
		if baadal.KindOf(err) == baadal.NotFound {
			return nil
		}
		return err
	})
}

func diskAttached(tx *store.Tx, r *task.Run) (string, error) {
	_, err := changeDisk(tx, r, "attached", func(k *baadal.Disk) {
		k.State, k.DeletedAt, k.PurgeAfter = baadal.DiskAttached, nil, nil
	})
	return "Attached extra disk successfully", err
}

// diskForgotten gives back what the new disk had claimed.
func diskForgotten(tx *store.Tx, r *task.Run) error {
	params, err := task.Params[DiskParams](r)
	if err != nil {
		return err
	}
	k, err := tx.Disk(params.DiskID)
	if err != nil {
		return ignoreMissing(err)
	}
	if err := tx.DeleteDisk(k.ID); err != nil {
		return err
	}
	return freeBase(tx, k.BaseID)
}
