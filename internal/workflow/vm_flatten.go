package workflow

import (
	"context"
	"fmt"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// FlattenParams are the parameters of a task that flattens a VM's disks.
type FlattenParams struct {
	BytesPerSecond int64 `json:"bytes_per_second"`
}

// diskFlatten makes a VM's disks stand on no bases any more: what they have of
// them is copied into them, the template at the bottom stays. Nothing is to be
// undone: at every moment the guest reads the same, and what was copied when it
// is stopped is not copied again.
func (w *Workflows) diskFlatten() task.Body {
	return task.Body{
		Kind:  baadal.TaskDiskFlatten,
		Steps: []task.Step{{Name: "flatten", Do: w.endChainFirst(w.flattenDisks), Timeout: 25 * time.Hour}},
		Done: func(tx *store.Tx, r *task.Run) (string, error) {
			vm, err := tx.VM(r.Task.Subject.ID)
			if err != nil {
				return "", err
			}
			_, err = tx.AddEvent(baadal.Event{
				Topic: "vm", Subject: vmSubject(vm), Version: vm.Generation, What: "flattened",
				ActorID: r.Task.RequesterID, Actor: r.Task.Requester, OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID,
			})
			return vm.Name + " is flattened successfully", err
		},
	}
}

func (w *Workflows) flattenDisks(ctx context.Context, r *task.Run) error {
	params, err := task.Params[FlattenParams](r)
	if err != nil {
		return err
	}
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	info, err := w.sys.Hypervisor.Domain(ctx, p.host, p.vm.UUID)
	if err != nil {
		return err
	}
	if err := notSaved(p.vm, info); err != nil {
		return err
	}
	active := info.State != baadal.VMOff && info.State != baadal.VMCrashed
	for _, k := range p.disks {
		if k.BaseID == 0 || k.State == baadal.DiskDeleted || k.State == baadal.DiskCreating {
			continue
		}
		if err := w.flattenDisk(ctx, r, p, k, active && k.State == baadal.DiskAttached, params.BytesPerSecond); err != nil {
			return err
		}
	}
	return nil
}

// flattenDisk flattens one disk and gives up what it stood on.
func (w *Workflows) flattenDisk(ctx context.Context, r *task.Run, p place, k diskAt, open bool, bytesPerSecond int64) error {
	host, err := w.diskHost(ctx, p, k.store)
	if err != nil {
		return err
	}
	file := p.file(k)
	chain, err := w.sys.Bases.DiskChain(ctx, host, baadal.DiskFreeze{DiskFile: file})
	if err != nil {
		return err
	}
	if chain.Snapshots > 0 { // they have holes where the bases shine through
		return baadal.Errorf(baadal.Conflict, "%s of %s holds %d snapshots", k.Target, p.vm.Name, chain.Snapshots).WithCode("has_snapshots").
			WithDetail("they stand on the bases too; nothing was changed").WithNext("Delete them first", "baadal vm snapshot list "+p.vm.Name)
	}
	if err := w.roomFor(ctx, host, k.store, chain.Between, "flatten the disk"); err != nil {
		return err
	}
	switch {
	case open:
		words := fmt.Sprintf("flattening %s", k.Target)
		err = w.sys.Freezer.PullDisk(ctx, p.host, p.vm.UUID, k.Target, chain.Root, bytesPerSecond, func(share float64) { r.Progress(share, words) })
	default:
		err = w.sys.Bases.FlattenDisk(ctx, host, file, chain.Root, chain.Format, bytesPerSecond)
	}
	if err != nil {
		return err
	}
	if err := w.sys.Bases.DropNames(ctx, host, file); err != nil {
		return err
	}
	r.Detail("%s stood on %d files", k.Target, chain.Depth)
	name := file.Name
	if name == k.Name {
		name = ""
	}
	return w.db.Update(ctx, func(tx *store.Tx) error {
		if err := setDisk(tx, p.vm.ID, k.ID, name, 0); err != nil {
			return err
		}
		return freeBase(tx, k.BaseID)
	})
}
