package placement

import "baadal"

// RoomForSnapshot refuses, as Exhausted, a snapshot that might fill the VM's
// datastore: all of its memory may have to be written if it does not stand still.
func RoomForSnapshot(ds baadal.Datastore, vm baadal.VM, lim Limits) error {
	need := lim.DiskReserve
	if vm.State != baadal.VMOff {
		need += int64(vm.Claim().RAMMiB) << 20
	}
	if ds.MeasuredAt != nil && ds.Free < need {
		return baadal.Errorf(baadal.Exhausted, "datastore %s has no room for a snapshot", ds.Name).WithCode("datastore_full").
			WithDetail("%s may be needed, %s are free", gib(need), gib(ds.Free)).WithNext("See what lies there", "baadal datastore show "+ds.Name)
	}
	return nil
}
