package reconcile

import (
	"context"
	"encoding/json"
	"time"

	"baadal"
	"baadal/internal/placement"
	"baadal/internal/store"
)

// snapshotPause is how long the schedule leaves a VM alone after it asked for a
// snapshot of it: one that cannot be made is not asked for all the time.
const snapshotPause = time.Hour

// snapshots asks for the scheduled snapshots that are due and, once a newer one
// is there, for the end of those that are too many. A VM that something else
// holds is left for the next time.
func (l *Loops) snapshots(ctx context.Context) error {
	var vms []baadal.VM
	if err := l.db.View(ctx, func(tx *store.Tx) (err error) { vms, err = tx.ScheduledVMs(); return err }); err != nil {
		return err
	}
	for _, vm := range vms {
		err := l.db.Update(ctx, func(tx *store.Tx) error { return snapshotVM(tx, vm.ID) })
		if err != nil && baadal.KindOf(err) != baadal.Conflict && baadal.KindOf(err) != baadal.NotFound {
			return err
		}
	}
	return nil
}

// snapshotVM asks for at most one task on a VM.
func snapshotVM(tx *store.Tx, id int64) error {
	vm, err := tx.VM(id)
	if err != nil {
		return err
	}
	if vm.CheckAction(baadal.ActionSnapshotCreate) != nil || !vm.Reachable {
		return nil
	}
	schedule, err := tx.SnapshotSchedule(id)
	if err != nil {
		return err
	}
	all, err := tx.Snapshots(id)
	if err != nil {
		return err
	}
	settings, err := tx.SettingValues()
	if err != nil {
		return err
	}
	for _, p := range schedule.Periods() {
		var made []baadal.Snapshot // oldest first
		for _, s := range all {
			if s.Type == p.Type && s.Ready {
				made = append(made, s)
			}
		}
		switch {
		case len(made) > settings.Int(p.Keep):
			return askDelete(tx, vm, made[0])
		case p.Wanted && (len(made) == 0 || tx.Now().Sub(made[len(made)-1].CreatedAt) >= p.Every):
			if asked, err := askSnapshot(tx, vm, placement.LimitsOf(settings), p.Type); err != nil || asked {
				return err
			}
		}
	}
	return nil
}

// askSnapshot claims a scheduled snapshot and inserts the task that makes it.
func askSnapshot(tx *store.Tx, vm baadal.VM, limits placement.Limits, kind baadal.SnapshotType) (bool, error) {
	if vm.HotCPUs && vm.State != baadal.VMOff {
		return false, nil // its memory could not be read back
	}
	subject := baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name}
	last, err := tx.LastTask(subject, baadal.TaskSnapshotCreate)
	if err != nil {
		return false, err
	}
	fresh, err := tx.Snapshots(vm.ID)
	if err != nil {
		return false, err
	}
	// The pause is for failures: a snapshot that came of the last task is none.
	if tx.Now().Sub(last) < snapshotPause && (len(fresh) == 0 || fresh[len(fresh)-1].CreatedAt.Before(last)) {
		return false, nil
	}
	ds, err := tx.Datastore(vm.DatastoreID)
	if err != nil {
		return false, err
	}
	if placement.RoomForSnapshot(ds, vm, limits) != nil {
		return false, nil
	}
	s := baadal.Snapshot{
		VMID: vm.ID, Name: baadal.SnapshotName(kind, tx.Now()), Description: "by schedule", Type: kind, VMState: vm.State,
		VCPUs: vm.VCPUs, RAMMiB: vm.RAMMiB, DiskGiB: vm.DiskGiB,
	}
	if err := tx.CreateSnapshot(&s); err != nil {
		return false, err
	}
	return true, insertSnapshotTask(tx, vm, baadal.TaskSnapshotCreate, s)
}

func askDelete(tx *store.Tx, vm baadal.VM, s baadal.Snapshot) error {
	return insertSnapshotTask(tx, vm, baadal.TaskSnapshotDelete, s)
}

func insertSnapshotTask(tx *store.Tx, vm baadal.VM, kind baadal.TaskKind, s baadal.Snapshot) error {
	params, err := json.Marshal(map[string]any{"snapshot_id": s.ID, "name": s.Name, "type": s.Type})
	if err != nil {
		return err
	}
	t := systemTask(kind, baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name})
	t.Params, t.OwnerID, t.OrganisationID, t.HostID, t.Cost = params, vm.OwnerID, vm.OrganisationID, vm.HostID, 2
	return tx.InsertTask(&t)
}
