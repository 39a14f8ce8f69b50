package workflow

import (
	"context"
	"time"

	"baadal"
	"baadal/internal/cloudinit"
	"baadal/internal/store"
	"baadal/internal/task"
)

// CloneCreateParams are the parameters of the task that makes one clone.
type CloneCreateParams struct {
	Base  int64 `json:"base"`
	Full  bool  `json:"full,omitempty"`
	Start bool  `json:"start,omitempty"`
	Made  bool  `json:"made,omitempty"` // its files were made together with those of the others
}

// cloneCreate makes one clone on a base. It is vmCreate with a base for a
// template, and ends shut off if not told otherwise.
func (w *Workflows) cloneCreate() task.Body {
	return task.Body{
		Kind: baadal.TaskCloneCreate,
		Steps: []task.Step{
			{Name: "image", Do: w.cloneImage, Undo: w.removeImage, Timeout: 6 * time.Hour, Ahead: madeTogether},
			{Name: "disks", Do: w.cloneDisks, Undo: w.removeDisks, Timeout: 6 * time.Hour, Ahead: madeTogether},
			{Name: "define", Do: w.define, Undo: w.undefine},
			{Name: "start", Do: w.startClone, Undo: w.destroy},
		},
		Done: cloneDone,
		Undone: func(tx *store.Tx, r *task.Run) error {
			if err := tx.DeleteVM(r.Task.Subject.ID); err != nil {
				return err
			}
			return wakeParent(tx, r)
		},
		Owed: func(tx *store.Tx, r *task.Run, cause error) error {
			_, err := vmChanged(tx, r, baadal.VMUnknown, "it could not be cloned ("+baadal.Message(cause)+"); what is left is taken back when its host answers")
			if err != nil {
				return err
			}
			return wakeParent(tx, r)
		},
	}
}

// madeTogether reports whether the files may be there before the clone's own
// task begins: those of thin clones are made together, and where that broke off
// nobody knows which of them are.
func madeTogether(r *task.Run) bool {
	params, err := task.Params[CloneCreateParams](r)
	return err != nil || !params.Full
}

// wakeParent wakes the task that this one is a part of, if it is the last part.
func wakeParent(tx *store.Tx, r *task.Run) error {
	open, err := tx.OpenChildren(r.Task.ParentID)
	if err != nil || open > 1 { // this one has not ended yet
		return err
	}
	return tx.HurryTask(r.Task.ParentID)
}

func (w *Workflows) cloneImage(ctx context.Context, r *task.Run) error {
	params, err := task.Params[CloneCreateParams](r)
	if err != nil || params.Made {
		return err
	}
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	base, err := w.base(ctx, params.Base)
	if err != nil {
		return err
	}
	seed, err := seedOf(p)
	if err != nil {
		return err
	}
	return w.sys.Disks.CreateImage(ctx, p.host, baadal.VMImage{
		Datastore: p.store, Identity: p.vm.Identity, UUID: p.vm.UUID, Template: p.store.BaseFile(base.UUID), Format: "qcow2",
		Bytes: max(int64(p.vm.DiskGiB)<<30, p.template.VirtualSize), FullCopy: params.Full, Seed: seed,
	})
}

// seedOf is what a VM's guest is told at its first boot.
func seedOf(p place) ([]byte, error) {
	return cloudinit.Seed(cloudinit.Config{InstanceID: p.vm.UUID, Hostname: p.vm.Name, SSHKeys: p.vm.SSHKeys, Password: p.password})
}

// cloneDisks makes the clone's extra disks.
func (w *Workflows) cloneDisks(ctx context.Context, r *task.Run) error {
	params, err := task.Params[CloneCreateParams](r)
	if err != nil || params.Made {
		return err
	}
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	for _, k := range p.extra() {
		base, err := w.base(ctx, k.BaseID)
		if err != nil {
			return err
		}
		if err := w.sys.ExtraDisks.ForkDisk(ctx, p.host, p.file(k), base.UUID, params.Full); err != nil {
			return err
		}
	}
	return nil
}

func (w *Workflows) removeDisks(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	for _, k := range p.extra() {
		if err := w.sys.ExtraDisks.RemoveDisk(ctx, p.host, p.file(k)); err != nil {
			return err
		}
	}
	return nil
}

func (w *Workflows) startClone(ctx context.Context, r *task.Run) error {
	params, err := task.Params[CloneCreateParams](r)
	if err != nil || !params.Start {
		return err
	}
	return w.start(ctx, r)
}

// cloneDone makes the clone a VM like any other. A full copy stands on nothing.
func cloneDone(tx *store.Tx, r *task.Run) (string, error) {
	params, err := task.Params[CloneCreateParams](r)
	if err != nil {
		return "", err
	}
	state := baadal.VMOff
	if params.Start {
		state = baadal.VMRunning
	}
	if _, err := vmChanged(tx, r, state, ""); err != nil {
		return "", err
	}
	if params.Full {
		if err := tx.SetVMDisk(r.Task.Subject.ID, "", 0); err != nil {
			return "", err
		}
	}
	disks, err := tx.ExtraDisks(r.Task.Subject.ID)
	if err != nil {
		return "", err
	}
	for _, k := range disks {
		k.State = baadal.DiskAttached
		if err := tx.UpdateDisk(&k); err != nil {
			return "", err
		}
		if params.Full {
			if err := tx.SetDisk(k.ID, "", 0); err != nil {
				return "", err
			}
		}
	}
	return "Cloned successfully.", wakeParent(tx, r)
}

func (w *Workflows) base(ctx context.Context, id int64) (b baadal.Base, err error) {
	err = w.db.View(ctx, func(tx *store.Tx) (err error) { b, err = tx.Base(id); return err })
	return b, err
}
