package workflow

import (
	"context"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// baseRemove removes a base that nothing stands on any more. Both the store and
// the datastore must say so. There is no way back: a base that it failed to
// remove is not used again, and the next task goes on.
func (w *Workflows) baseRemove() task.Body {
	return task.Body{
		Kind: baadal.TaskBaseRemove,
		Steps: []task.Step{
			{Name: "claim", Do: w.claimBase},
			{Name: "remove", Do: w.removeBase},
		},
		Done: func(tx *store.Tx, r *task.Run) (string, error) {
			b, err := tx.Base(r.Task.Subject.ID)
			if err != nil {
				return "", err
			}
			if err := tx.DeleteBase(b.ID); err != nil {
				return "", err
			}
			return "the base of " + b.Origin + " is removed", freeBase(tx, b.ParentID)
		},
	}
}

// forgetVM forgets a VM whose disks are gone, and asks for the removal of the
// base that it stood on if it was the last one.
func forgetVM(tx *store.Tx, id int64) error {
	vm, err := tx.VM(id)
	if err != nil {
		return ignoreMissing(err)
	}
	disks, err := tx.ExtraDisks(id)
	if err != nil {
		return err
	}
	if err := tx.DeleteVM(id); err != nil {
		return err
	}
	bases := []int64{vm.BaseID}
	for _, k := range disks {
		bases = append(bases, k.BaseID)
	}
	for _, base := range bases {
		if err := freeBase(tx, base); err != nil {
			return err
		}
	}
	return nil
}

// standAlone notes that a VM's disk, 0 for the first one, stands on no base any
// more.
func standAlone(tx *store.Tx, vm baadal.VM, diskID int64) error {
	file, base := vm.DiskFile, vm.BaseID
	if diskID != 0 {
		k, err := tx.Disk(diskID)
		if err != nil {
			return err
		}
		file, base = k.File, k.BaseID
	}
	if base == 0 {
		return nil
	}
	if err := setDisk(tx, vm.ID, diskID, file, 0); err != nil {
		return err
	}
	return freeBase(tx, base)
}

// freeBase asks for the removal of a base if nothing stands on it. The schedule
// does so too, for what was forgotten.
func freeBase(tx *store.Tx, id int64) error {
	b, err := tx.Base(id)
	if id == 0 || err != nil || b.Standing > 0 || b.State == baadal.BaseMaking {
		return ignoreMissing(err)
	}
	system := baadal.System().User
	t := baadal.Task{
		Kind: baadal.TaskBaseRemove, Subject: baadal.Subject{Kind: "base", ID: b.ID, Name: b.Origin},
		RequesterID: system.ID, Requester: system.Username, OwnerID: system.ID, Exclusive: true,
	}
	if held, err := tx.ActiveTask(t.Subject); err != nil || held != nil {
		return err
	}
	return tx.InsertTask(&t)
}

// claimBase makes sure that nobody puts a clone on the base from here on.
func (w *Workflows) claimBase(ctx context.Context, r *task.Run) error {
	return w.db.Update(ctx, func(tx *store.Tx) error {
		if err := tx.Lock("placement"); err != nil {
			return err
		}
		b, err := tx.Base(r.Task.Subject.ID)
		if err != nil {
			return err
		}
		if b.Standing > 0 {
			return baadal.Errorf(baadal.Conflict, "%d disks or bases stand on the base of %s", b.Standing, b.Origin).WithCode("base_in_use")
		}
		return tx.SetBase(b.ID, baadal.BaseRemoving, b.ParentID)
	})
}

func (w *Workflows) removeBase(ctx context.Context, r *task.Run) error {
	b, err := w.base(ctx, r.Task.Subject.ID)
	if err != nil {
		return err
	}
	var ds baadal.Datastore
	if err := w.db.View(ctx, func(tx *store.Tx) (err error) { ds, err = tx.Datastore(b.DatastoreID); return err }); err != nil {
		return err
	}
	host, err := w.anyHost(ctx, ds)
	if err != nil {
		return err
	}
	return w.sys.Bases.RemoveBase(ctx, host, ds, b.UUID)
}
