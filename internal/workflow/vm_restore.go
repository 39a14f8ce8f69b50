package workflow

import (
	"context"
	"slices"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// vmRestore brings a deleted VM back, shut off. Its host, address and port were
// claimed anew in the transaction that made the task.
func (w *Workflows) vmRestore() task.Body {
	return task.Body{
		Kind: baadal.TaskVMRestore,
		Steps: []task.Step{
			{Name: "image", Do: w.restoreImage, Undo: w.rearchiveImage},
			{Name: "disks", Do: w.restoreDisks, Undo: w.archiveDisks},
			{Name: "define", Do: w.defineWhole, Undo: w.undefine},
		},
		Done:   vmRestored,
		Undone: vmDeletedAgain,
		Owed: func(tx *store.Tx, r *task.Run, cause error) error {
			_, err := vmChanged(tx, r, baadal.VMUnknown, "its restore failed ("+baadal.Message(cause)+"); what is left is taken back when its host answers")
			return err
		},
	}
}

// vmRestored makes the VM one like any other again.
func vmRestored(tx *store.Tx, r *task.Run) (string, error) {
	vm, err := vmChanged(tx, r, baadal.VMOff, "")
	if err != nil {
		return "", err
	}
	if vm, err = tx.VM(vm.ID); err != nil {
		return "", err
	}
	vm.DeletedAt, vm.PurgeAfter = nil, nil
	return vm.Name + " is restored successfully", tx.UpdateVM(&vm)
}

// vmPurge removes a deleted VM for good, once its retention has ended.
func (w *Workflows) vmPurge() task.Body {
	return task.Body{
		Kind:  baadal.TaskVMPurge,
		Steps: []task.Step{{Name: "remove", Do: w.purgeImage}, {Name: "remove disks", Do: w.purgeDisks}},
		Done: func(tx *store.Tx, r *task.Run) (string, error) {
			return r.Task.Subject.Name + " is purged", forgetVM(tx, r.Task.Subject.ID)
		},
	}
}

func (w *Workflows) restoreImage(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	return w.sys.Disks.RestoreImage(ctx, p.host, p.store, p.vm.Identity, p.vm.UUID)
}

func (w *Workflows) rearchiveImage(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	err = w.sys.Disks.ArchiveImage(ctx, p.host, p.store, p.vm.Identity, p.vm.UUID)
	if baadal.KindOf(err) == baadal.NotFound {
		return nil
	}
	return err
}

// vmDeletedAgain gives back what the restore had claimed; the VM is as deleted
// as it was, until the same day.
func vmDeletedAgain(tx *store.Tx, r *task.Run) error {
	vm, err := vmChanged(tx, r, baadal.VMDeleted, "")
	if err != nil {
		return err
	}
	if err := tx.LeaveNAT(vm.ID); err != nil {
		return err
	}
	if err := tx.ReleaseAddress(vm.ID); err != nil {
		return err
	}
	if err := tx.ReleaseVNCPort(vm.ID); err != nil {
		return err
	}
	if vm, err = tx.VM(vm.ID); err != nil {
		return err
	}
	vm.HostID = 0
	return tx.UpdateVM(&vm)
}

func (w *Workflows) purgeImage(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	host, err := w.anyHost(ctx, p.store)
	if err != nil {
		return err
	}
	return w.sys.Disks.PurgeImage(ctx, host, p.store, p.vm.Identity, p.vm.UUID)
}

// anyHost returns a host that is up and mounts the datastore: disk work that
// belongs to no VM's host is done there. The fewest VMs come first.
func (w *Workflows) anyHost(ctx context.Context, ds baadal.Datastore) (best baadal.Host, err error) {
	err = w.db.View(ctx, func(tx *store.Tx) error {
		hosts, err := tx.AllHosts()
		if err != nil {
			return err
		}
		for _, h := range hosts {
			if h.State == baadal.HostUp && mounts(ds, h) && (best.ID == 0 || h.VMs < best.VMs) {
				best = h
			}
		}
		return nil
	})
	if err == nil && best.ID == 0 {
		err = baadal.Errorf(baadal.Unavailable, "no host that is up mounts datastore %s", ds.Name).WithCode("no_host").
			WithNext("See what is wrong with the hosts", "baadal host list")
	}
	return best, err
}

// mounts reports whether a host was seen to mount the datastore; before the
// first measurement every host may.
func mounts(ds baadal.Datastore, h baadal.Host) bool {
	return ds.MeasuredAt == nil || len(ds.Hosts) == 0 || slices.Contains(ds.Hosts, h.Name)
}
