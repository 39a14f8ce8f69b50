package workflow

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// DiskParams are the parameters of the operations on one disk of a VM.
type DiskParams struct {
	DiskID int64            `json:"disk_id"` // 0 is the first disk
	Was    string           `json:"was"`     // its state before
	WasGiB int              `json:"was_gib"` // its size before a growth
	Limit  baadal.DiskLimit `json:"limit"`   // the limits wanted
}

// diskAt is a disk with the datastore that it lies on.
type diskAt struct {
	baadal.Disk
	store baadal.Datastore
}

// loadDisks reads a VM's disks, the first one first, deleted ones included.
func loadDisks(tx *store.Tx, vm baadal.VM, ds baadal.Datastore) ([]diskAt, error) {
	first, err := tx.FirstDisk(vm)
	if err != nil {
		return nil, err
	}
	extra, err := tx.ExtraDisks(vm.ID)
	if err != nil {
		return nil, err
	}
	stores := map[int64]baadal.Datastore{ds.ID: ds}
	all := []diskAt{{first, ds}}
	for _, k := range extra {
		if _, known := stores[k.DatastoreID]; !known {
			if stores[k.DatastoreID], err = tx.Datastore(k.DatastoreID); err != nil {
				return nil, err
			}
		}
		all = append(all, diskAt{k, stores[k.DatastoreID]})
	}
	return all, nil
}

// file is where a disk's file lies.
func (p *place) file(k diskAt) baadal.DiskFile {
	f := baadal.DiskFile{Datastore: k.store, Identity: p.vm.Identity, UUID: p.vm.UUID, DiskID: k.ID, Name: k.FileName()}
	if k.First() {
		f.Name = path.Base(p.store.DiskPath(&p.vm))
	}
	return f
}

// diskByID is a disk of the VM; 0 is the first one.
func (p *place) diskByID(id int64) diskAt {
	for _, k := range p.disks {
		if k.ID == id {
			return k
		}
	}
	return diskAt{}
}

// extra are the VM's disks beside the first one that were not deleted.
func (p *place) extra() (all []diskAt) {
	for _, k := range p.disks {
		if !k.First() && k.State != baadal.DiskDeleted {
			all = append(all, k)
		}
	}
	return all
}

// device is a disk as the hypervisor is told of it.
func (p *place) device(k diskAt) baadal.DomainDisk {
	f := p.file(k)
	return baadal.DomainDisk{
		Path: f.Path(), Format: "qcow2", Target: k.Target, Serial: k.Serial, BytesPerSecond: k.BytesPerSecond, IOPS: k.IOPS,
	}
}

// devices are the disks that the VM has. One that is being made has those that
// are made with it.
func (p *place) devices() (all []baadal.DomainDisk) {
	for _, k := range p.disks {
		if k.First() || k.State == baadal.DiskAttached || k.State == baadal.DiskCreating && p.vm.State == baadal.VMInQueue {
			all = append(all, p.device(k))
		}
	}
	return all
}

// loadDisk reads the disk that a task is about, with its VM.
func (w *Workflows) loadDisk(ctx context.Context, r *task.Run) (p place, k diskAt, params DiskParams, err error) {
	if params, err = task.Params[DiskParams](r); err != nil {
		return p, k, params, err
	}
	if p, err = w.load(ctx, r); err != nil {
		return p, k, params, err
	}
	for _, k := range p.disks {
		if k.ID == params.DiskID {
			return p, k, params, nil
		}
	}
	return p, k, params, baadal.Errorf(baadal.NotFound, "%s has no disk %d", p.vm.Name, params.DiskID)
}

// attachDisk gives the VM the disk, at the target that was claimed for it, or
// at the next one if somebody has put something else there.
func (w *Workflows) attachDisk(ctx context.Context, r *task.Run) error {
	p, k, _, err := w.loadDisk(ctx, r)
	if err != nil {
		return err
	}
	taken, err := w.sys.DiskPlugs.Targets(ctx, p.host, p.vm.UUID)
	if err != nil {
		return err
	}
	file := p.device(k).Path
	if at, used := taken[k.Target]; used && at != file || k.Target == "" {
		if k.Target, err = w.claimTarget(ctx, k.Disk, slices.Collect(maps.Keys(taken))); err != nil {
			return err
		}
	}
	for target, at := range taken { // an earlier try, or somebody else, plugged it in
		if at == file && target != k.Target {
			return baadal.Errorf(baadal.Conflict, "%s has %s already, as %s", p.vm.Name, k.Name, target).WithCode("target_taken")
		}
	}
	r.Detail("as %s", k.Target)
	return w.sys.DiskPlugs.AttachDisk(ctx, p.host, p.vm.UUID, p.device(k))
}

// claimTarget gives the disk another target than those that were seen.
func (w *Workflows) claimTarget(ctx context.Context, k baadal.Disk, taken []string) (target string, err error) {
	err = w.db.Update(ctx, func(tx *store.Tx) error {
		now, err := tx.Disk(k.ID)
		if err != nil {
			return err
		}
		if now.Target, err = tx.FreeTarget(now.VMID, taken); err != nil {
			return err
		}
		target = now.Target
		return tx.UpdateDisk(&now)
	})
	return target, err
}

// detachDisk takes the disk away from the VM; one that it does not have, or a
// domain that is not there, is success.
func (w *Workflows) detachDisk(ctx context.Context, r *task.Run) error {
	p, k, _, err := w.loadDisk(ctx, r)
	if err != nil {
		return err
	}
	err = w.sys.DiskPlugs.DetachDisk(ctx, p.host, p.vm.UUID, p.device(k))
	if baadal.KindOf(err) == baadal.NotFound {
		return nil
	}
	return err
}

// diskHost is where a disk's file is worked on: on the VM's host, unless that
// does not mount the disk's datastore.
func (w *Workflows) diskHost(ctx context.Context, p place, ds baadal.Datastore) (baadal.Host, error) {
	if p.host.ID != 0 && mounts(ds, p.host) {
		return p.host, nil
	}
	return w.anyHost(ctx, ds)
}

// fileWork does something to the file of the disk that a task is about.
func (w *Workflows) fileWork(ctx context.Context, r *task.Run, do func(host baadal.Host, f baadal.DiskFile, k diskAt, params DiskParams) error) error {
	p, k, params, err := w.loadDisk(ctx, r)
	if err != nil {
		return err
	}
	host, err := w.diskHost(ctx, p, k.store)
	if err != nil {
		return err
	}
	return do(host, p.file(k), k, params)
}

// changeDisk writes what became of a disk, with an event that names the task's
// requester.
func changeDisk(tx *store.Tx, r *task.Run, what string, change func(k *baadal.Disk)) (k baadal.Disk, err error) {
	params, err := task.Params[DiskParams](r)
	if err != nil {
		return k, err
	}
	vm, err := tx.VM(r.Task.Subject.ID)
	if err != nil {
		return k, err
	}
	if params.DiskID == 0 {
		k, err = tx.FirstDisk(vm)
	} else {
		k, err = tx.Disk(params.DiskID)
	}
	if err != nil {
		return k, err
	}
	target := k.Target
	change(&k)
	if err := tx.UpdateDisk(&k); err != nil {
		return k, err
	}
	if target == "" {
		target = k.Target
	}
	_, err = tx.AddEvent(baadal.Event{
		Topic: "vm", Subject: vmSubject(vm), Version: vm.Generation, What: fmt.Sprintf("disk %s %s", target, what),
		ActorID: r.Task.RequesterID, Actor: r.Task.Requester, OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID,
	})
	return k, err
}

// eachStore does something on every datastore where the VM has extra disks that
// were not deleted by themselves.
func (w *Workflows) eachStore(ctx context.Context, p place, do func(host baadal.Host, ds baadal.Datastore) error) error {
	done := map[int64]bool{}
	for _, k := range p.disks {
		if k.First() || k.State == baadal.DiskDeleted || done[k.store.ID] {
			continue
		}
		done[k.store.ID] = true
		host, err := w.diskHost(ctx, p, k.store)
		if err != nil {
			return err
		}
		if err := do(host, k.store); err != nil {
			return err
		}
	}
	return nil
}

// archiveDisks moves the extra disks of a VM that is deleted to vm_deleted.
func (w *Workflows) archiveDisks(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	return w.eachStore(ctx, p, func(host baadal.Host, ds baadal.Datastore) error {
		err := w.sys.ExtraDisks.ArchiveDisks(ctx, host, ds, p.vm.Identity, p.vm.UUID)
		if baadal.KindOf(err) == baadal.NotFound {
			r.Detail("the folder of its disks on %s was gone already", ds.Name)
			return nil
		}
		return err
	})
}

// unarchiveDisks moves them back; what is not there cannot be.
func (w *Workflows) unarchiveDisks(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	return w.eachStore(ctx, p, func(host baadal.Host, ds baadal.Datastore) error {
		err := w.sys.ExtraDisks.RestoreDisks(ctx, host, ds, p.vm.Identity, p.vm.UUID)
		if baadal.KindOf(err) == baadal.NotFound {
			return nil
		}
		return err
	})
}

// restoreDisks moves them back; all of them must be there.
func (w *Workflows) restoreDisks(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	return w.eachStore(ctx, p, func(host baadal.Host, ds baadal.Datastore) error {
		return w.sys.ExtraDisks.RestoreDisks(ctx, host, ds, p.vm.Identity, p.vm.UUID)
	})
}

// purgeDisks removes all extra disks of a deleted VM for ever.
func (w *Workflows) purgeDisks(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	for _, k := range p.disks {
		if k.First() || k.State != baadal.DiskDeleted {
			continue
		}
		host, err := w.diskHost(ctx, p, k.store)
		if err != nil {
			return err
		}
		if err := w.sys.ExtraDisks.PurgeDisk(ctx, host, p.file(k)); err != nil {
			return err
		}
	}
	return w.eachStore(ctx, p, func(host baadal.Host, ds baadal.Datastore) error {
		return w.sys.ExtraDisks.PurgeDisks(ctx, host, ds, p.vm.Identity, p.vm.UUID)
	})
}
