package workflow

import (
	"context"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// VMExportParams are the parameters of an export. The transfer's row was made
// with the task.
type VMExportParams struct {
	Transfer int64 `json:"transfer"`
}

// vmExport makes a flat copy of a VM's first disk, which waits to be fetched.
func (w *Workflows) vmExport() task.Body {
	return task.Body{
		Kind:  baadal.TaskVMExport,
		Steps: []task.Step{w.copyStep(w.exportCopy)},
		Done: func(tx *store.Tx, r *task.Run) (string, error) {
			params, err := task.Params[VMExportParams](r)
			if err != nil {
				return "", err
			}
			var info baadal.ImageInfo
			if _, err := r.Output("copy", &info); err != nil {
				return "", err
			}
			return r.Task.Subject.Name + " is exported successfully", tx.SetTransfer(params.Transfer, baadal.TransferReady, info)
		},
		Undone: func(tx *store.Tx, r *task.Run) error {
			params, err := task.Params[VMExportParams](r)
			if err != nil {
				return err
			}
			return tx.DeleteTransfer(params.Transfer)
		},
	}
}

// exportCopy is the VM and the image that waits to be fetched.
func (w *Workflows) exportCopy(ctx context.Context, r *task.Run) (p place, c baadal.ImageCopy, err error) {
	params, err := task.Params[VMExportParams](r)
	if err != nil {
		return p, c, err
	}
	if p, err = w.load(ctx, r); err != nil {
		return p, c, err
	}
	f, err := w.transfer(ctx, params.Transfer)
	return p, baadal.ImageCopy{Datastore: p.store, Area: baadal.DirMigration, File: f.UUID}, err
}

// everything is what the cloud itself sees.
var everything = baadal.Visibility{Scope: baadal.ScopeAny}

func (w *Workflows) transfer(ctx context.Context, id int64) (f baadal.Transfer, err error) {
	err = w.db.View(ctx, func(tx *store.Tx) (err error) { f, err = tx.Transfer(id, everything); return err })
	return f, err
}

// transferRemove removes the file of a transfer that nobody needs any more.
// There is no way back: one that failed half-way is tried until it is done.
func (w *Workflows) transferRemove() task.Body {
	return task.Body{
		Kind:  baadal.TaskTransferRemove,
		Steps: []task.Step{{Name: "remove", Do: w.removeTransfer, Undo: w.removeTransfer}},
		Done: func(tx *store.Tx, r *task.Run) (string, error) {
			return r.Task.Subject.Name + " is removed", tx.DeleteTransfer(r.Task.Subject.ID)
		},
		Undone: func(tx *store.Tx, r *task.Run) error { return tx.DeleteTransfer(r.Task.Subject.ID) },
	}
}

func (w *Workflows) removeTransfer(ctx context.Context, r *task.Run) error {
	f, err := w.transfer(ctx, r.Task.Subject.ID)
	if err != nil {
		return ignoreMissing(err)
	}
	var ds baadal.Datastore
	if err := w.db.View(ctx, func(tx *store.Tx) (err error) { ds, err = tx.Datastore(f.DatastoreID); return err }); err != nil {
		return err
	}
	host, err := w.anyHost(ctx, ds)
	if err != nil {
		return err
	}
	return w.sys.Images.RemoveImageCopy(ctx, host, baadal.ImageCopy{Datastore: ds, Area: baadal.DirMigration, File: f.UUID})
}

// freeTransfer asks for the removal of a transfer's file. The schedule does so
// too, for those that nobody uses.
func freeTransfer(tx *store.Tx, f baadal.Transfer) error {
	system := baadal.System().User
	t := baadal.Task{
		Kind: baadal.TaskTransferRemove, Subject: baadal.Subject{Kind: "transfer", ID: f.ID, Name: f.Name},
		RequesterID: system.ID, Requester: system.Username, OwnerID: system.ID, Exclusive: true,
	}
	if held, err := tx.ActiveTask(t.Subject); err != nil || held != nil {
		return err
	}
	return tx.InsertTask(&t)
}
