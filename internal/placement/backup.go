package placement

import "baadal"

// ChooseBackupStore refuses, as Exhausted, a datastore on which a backup of a VM
// that is on a host cannot be put: the host must mount it, what may be claimed
// must not be exceeded, and what the VM's disks were seen to occupy must be free.
func ChooseBackupStore(h baadal.Host, ds baadal.Datastore, bytes, occupied int64, lim Limits) error {
	if _, _, err := ChooseDatastore(h, []baadal.Datastore{ds}, Want{DiskBytes: bytes, Datastore: ds.ID}, lim); err != nil {
		return err
	}
	return RoomForFiles(ds, occupied, lim)
}

// RoomForFiles refuses, as Exhausted, files that would not leave free on a
// datastore what must stay free.
func RoomForFiles(ds baadal.Datastore, bytes int64, lim Limits) error {
	if ds.MeasuredAt != nil && ds.Free < bytes+lim.DiskReserve {
		return baadal.Errorf(baadal.Exhausted, "datastore %s has too little room", ds.Name).WithCode("datastore_full").
			WithDetail("%s are needed and %s must stay free, %s are free", gib(bytes), gib(lim.DiskReserve), gib(ds.Free)).
			WithNext("Empty it or choose another", "baadal datastore list")
	}
	return nil
}

// Mounts refuses, as Conflict, a datastore that a host was seen not to mount.
func Mounts(h baadal.Host, ds baadal.Datastore) error {
	if notMounted(h, []baadal.Datastore{ds}) == "" {
		return nil
	}
	return baadal.Errorf(baadal.Conflict, "%s does not mount datastore %s", h.Name, ds.Name).WithCode("datastore_not_mounted").
		WithNext("See what is wrong with the host", "baadal host show "+h.Name)
}
