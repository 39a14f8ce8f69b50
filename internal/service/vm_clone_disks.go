package service

import (
	"slices"

	"baadal"
	"baadal/internal/placement"
	"baadal/internal/store"
)

// cloneDisk is an extra disk of the VM that is cloned, with the base that it
// becomes.
type cloneDisk struct {
	DiskID int64 `json:"disk_id"`
	Base   int64 `json:"base"`
}

// base is the base that a disk becomes.
func (ct *cloneTask) base(diskID int64) int64 {
	for _, d := range ct.Disks {
		if d.DiskID == diskID {
			return d.Base
		}
	}
	return 0
}

// disksOf returns the extra disks that the clones get too: those that are
// attached.
func (ct *cloneTask) disksOf(tx *store.Tx, parent baadal.VM) ([]baadal.Disk, error) {
	if ct.Wish.WithoutDisks {
		return nil, nil
	}
	all, err := tx.ExtraDisks(parent.ID)
	return slices.DeleteFunc(all, func(k baadal.Disk) bool { return k.State != baadal.DiskAttached }), err
}

// claimBases makes the rows of the bases that all clones will stand on; their
// sizes are claimed with them. The bases of a retry are used again if they are
// all still there and the VM has the same disks.
func claimBases(tx *store.Tx, parent baadal.VM, ct *cloneTask) error {
	disks, err := ct.disksOf(tx, parent)
	if err != nil {
		return err
	}
	if there, err := ct.basesThere(tx, disks); err != nil || there {
		return err
	}
	create := func(datastore int64, gib int) (int64, error) {
		b := baadal.Base{UUID: newUUID(), DatastoreID: datastore, Origin: parent.Identity, SizeGiB: gib, State: baadal.BaseMaking}
		err := tx.CreateBase(&b)
		return b.ID, err
	}
	if ct.Base, err = create(parent.DatastoreID, parent.DiskGiB); err != nil {
		return err
	}
	ct.Disks = nil
	for _, k := range disks {
		id, err := create(k.DatastoreID, k.SizeGiB)
		if err != nil {
			return err
		}
		ct.Disks = append(ct.Disks, cloneDisk{DiskID: k.ID, Base: id})
	}
	return nil
}

func (ct *cloneTask) basesThere(tx *store.Tx, disks []baadal.Disk) (bool, error) {
	if ct.Base == 0 || len(disks) != len(ct.Disks) {
		return false, nil
	}
	ids := []int64{ct.Base}
	for _, k := range disks {
		ids = append(ids, ct.base(k.ID))
	}
	for _, id := range ids {
		b, err := tx.Base(id)
		if baadal.KindOf(err) == baadal.NotFound || err == nil && b.State != baadal.BaseReady {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// fitDisks leaves only hosts that mount the datastores of all disks, and refuses
// clones whose extra disks have no room. What it returns is the wish for one
// clone with what its extra disks need beside the first one.
func (r *room) fitDisks(cr creation, parent baadal.VM, disks []baadal.Disk, clones int) (creation, error) {
	need := map[int64]int64{}
	for _, k := range disks {
		if k.DatastoreID == parent.DatastoreID {
			cr.want.DiskBytes += int64(k.SizeGiB) << 30
			continue
		}
		need[k.DatastoreID] += int64(clones*k.SizeGiB) << 30
	}
	var stores []baadal.Datastore
	for _, ds := range r.stores {
		if need[ds.ID] > 0 {
			stores = append(stores, ds)
		}
	}
	if len(stores) == 0 {
		return cr, nil
	}
	mounting := placement.Mounting(r.hosts, stores)
	if len(mounting) == 0 {
		return cr, baadal.Errorf(baadal.Exhausted, "no host mounts the datastores of all disks of %s", parent.Name).WithCode("no_host").
			WithNext("Leave the extra disks out", "baadal vm clone "+parent.Name+" --without-disks")
	}
	r.hosts = mounting
	for _, ds := range stores {
		want := placement.Want{DiskBytes: need[ds.ID], Datastore: ds.ID}
		if _, _, err := placement.ChooseDatastore(mounting[0], r.stores, want, placement.LimitsOf(cr.settings)); err != nil {
			return cr, err
		}
	}
	return cr, nil
}

// limitFirst gives a new VM's first disk the limits of the one that it is a copy
// of.
func limitFirst(tx *store.Tx, vm baadal.VM, bytesPerSecond, iops int64) error {
	if bytesPerSecond == 0 && iops == 0 {
		return nil
	}
	return tx.UpdateDisk(&baadal.Disk{VMID: vm.ID, BytesPerSecond: bytesPerSecond, IOPS: iops})
}

// claimDisks makes the rows of a clone's extra disks, at the targets where its
// parent has them; all its disks have the limits of its parent's.
func claimDisks(tx *store.Tx, vm, parent baadal.VM, disks []baadal.Disk, ct *cloneTask) error {
	first, err := tx.FirstDisk(parent)
	if err != nil {
		return err
	}
	if err := limitFirst(tx, vm, first.BytesPerSecond, first.IOPS); err != nil {
		return err
	}
	for _, k := range disks {
		own := baadal.Disk{
			VMID: vm.ID, DatastoreID: k.DatastoreID, Target: k.Target, SizeGiB: k.SizeGiB, BytesPerSecond: k.BytesPerSecond, IOPS: k.IOPS, BaseID: ct.base(k.ID),
		}
		if err := tx.CreateDisk(&own); err != nil {
			return err
		}
	}
	return nil
}
