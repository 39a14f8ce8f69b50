package workflow

import (
	"context"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// diskDetach takes a disk away from its VM; its file stays where it is.
func (w *Workflows) diskDetach() task.Body {
	return task.Body{
		Kind:  baadal.TaskDiskDetach,
		Steps: []task.Step{{Name: "detach", Do: w.endChainFirst(w.detachDisk), Undo: w.attachDisk}},
		Done: func(tx *store.Tx, r *task.Run) (string, error) {
			k, err := changeDisk(tx, r, "detached", func(k *baadal.Disk) { k.State, k.Target = baadal.DiskDetached, "" })
			return k.Name + " is detached from " + k.VM + " successfully", err
		},
	}
}

// diskDelete takes a disk away from its VM and moves its file to vm_deleted,
// from where it can be attached again until the retention ends.
func (w *Workflows) diskDelete() task.Body {
	return task.Body{
		Kind: baadal.TaskDiskDelete,
		Steps: []task.Step{
			{Name: "detach", Do: w.endChainFirst(w.detachDisk), Undo: w.attachIfItWas},
			{Name: "archive", Do: w.archiveDisk, Undo: w.unarchiveDisk},
		},
		Done: diskDeleted,
	}
}

// diskPurge removes a deleted disk for good, once its retention has ended.
func (w *Workflows) diskPurge() task.Body {
	return task.Body{
		Kind: baadal.TaskDiskPurge,
		Steps: []task.Step{{Name: "remove", Do: func(ctx context.Context, r *task.Run) error {
			return w.fileWork(ctx, r, func(host baadal.Host, f baadal.DiskFile, _ diskAt, _ DiskParams) error {
				return w.sys.ExtraDisks.PurgeDisk(ctx, host, f)
			})
		}}},
		Done: func(tx *store.Tx, r *task.Run) (string, error) {
			return "a deleted disk of " + r.Task.Subject.Name + " is purged", diskForgotten(tx, r)
		},
	}
}

func (w *Workflows) attachIfItWas(ctx context.Context, r *task.Run) error {
	params, err := task.Params[DiskParams](r)
	if err != nil || params.Was != baadal.DiskAttached {
		return err
	}
	return w.attachDisk(ctx, r)
}

func (w *Workflows) archiveDisk(ctx context.Context, r *task.Run) error {
	return w.fileWork(ctx, r, func(host baadal.Host, f baadal.DiskFile, _ diskAt, _ DiskParams) error {
		err := w.sys.ExtraDisks.ArchiveDisk(ctx, host, f)
		if baadal.KindOf(err) == baadal.NotFound {
			r.Detail("its file was gone already")
			return r.Record(archived{Nothing: true})
		}
		return err
	})
}

func (w *Workflows) unarchiveDisk(ctx context.Context, r *task.Run) error {
	return w.fileWork(ctx, r, func(host baadal.Host, f baadal.DiskFile, _ diskAt, _ DiskParams) error {
		err := w.sys.ExtraDisks.RestoreDisk(ctx, host, f)
		if baadal.KindOf(err) == baadal.NotFound {
			return nil
		}
		return err
	})
}

// diskDeleted keeps the row, and with it the claim, until the file is purged.
func diskDeleted(tx *store.Tx, r *task.Run) (string, error) {
	settings, err := tx.SettingValues()
	if err != nil {
		return "", err
	}
	now := tx.Now()
	purge := now.Add(settings.Duration(baadal.SettingRetention))
	k, err := changeDisk(tx, r, "deleted", func(k *baadal.Disk) {
		k.State, k.Target, k.DeletedAt, k.PurgeAfter = baadal.DiskDeleted, "", &now, &purge
	})
	if err != nil {
		return "", err
	}
	var a archived
	if _, err := r.Output("archive", &a); err != nil {
		return "", err
	}
	if a.Nothing {
		err = diskForgotten(tx, r)
	}
	return k.Name + " of " + k.VM + " is deleted successfully", err
}
