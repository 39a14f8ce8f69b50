package reconcile

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"baadal"
	"baadal/internal/placement"
	"baadal/internal/store"
)

// backupPause is how long the schedule leaves a VM alone after it asked for a
// backup of it: one that cannot be made is not asked for all the time.
const backupPause = time.Hour

// backups asks for the scheduled backups that are due, for the end of those
// that are too many, and of those of VMs that are gone. What is busy is left
// for the next time.
func (l *Loops) backups(ctx context.Context) error {
	var vms []baadal.VM
	if err := l.db.View(ctx, func(tx *store.Tx) (err error) { vms, err = tx.BackedUpVMs(); return err }); err != nil {
		return err
	}
	for _, vm := range vms {
		err := l.db.Update(ctx, func(tx *store.Tx) error { return backUpVM(tx, vm.ID) })
		if kind := baadal.KindOf(err); err != nil && kind != baadal.Conflict && kind != baadal.NotFound && kind != baadal.Exhausted {
			return err
		}
	}
	return l.db.Update(ctx, forgetGone)
}

// forgetGone asks for the end of backups whose VM is gone for too long.
func forgetGone(tx *store.Tx) error {
	if err := tx.NoteGoneBackups(); err != nil {
		return err
	}
	settings, err := tx.SettingValues()
	if err != nil {
		return err
	}
	old, err := tx.PurgeableBackups(tx.Now().Add(-settings.Duration(baadal.SettingBackupKeepGone)))
	if err != nil {
		return err
	}
	for _, b := range old {
		if err := askBackupDelete(tx, b); err != nil {
			return err
		}
	}
	return nil
}

// askBackupDelete asks for the end of a backup, unless it is busy.
func askBackupDelete(tx *store.Tx, b baadal.Backup) error {
	if err := tx.LockBackups(b); err != nil {
		return err
	}
	b, err := tx.Backup(b.ID)
	if err != nil {
		return err
	}
	if b.CheckAction(baadal.ActionBackupDelete) != nil || tx.BackupUnused(b) != nil {
		return nil
	}
	t := systemTask(baadal.TaskBackupDelete, baadal.Subject{Kind: "backup", ID: b.ID, Name: fmt.Sprintf("backup %d of %s", b.ID, b.VM)})
	t.OwnerID, t.OrganisationID = b.OwnerID, b.OrganisationID
	return ask(tx, t)
}

// backUpVM asks for at most one task about a VM's scheduled backups.
func backUpVM(tx *store.Tx, id int64) error {
	vm, err := tx.VM(id)
	if err != nil {
		return err
	}
	schedule, err := tx.BackupSchedule(id)
	if err != nil {
		return err
	}
	all, err := tx.VMBackups(id)
	if err != nil {
		return err
	}
	made := slices.DeleteFunc(slices.Clone(all), func(b baadal.Backup) bool { return b.Type == baadal.BackupUser || b.State == baadal.BackupMaking })
	for i := len(made) - schedule.Keep - 1; i >= 0; i-- { // the newest that can go first: others may stand on older ones
		if made[i].Standing == 0 && made[i].Task == nil {
			return askBackupDelete(tx, made[i])
		}
	}
	period := schedule.Period()
	if period == 0 || len(made) > 0 && tx.Now().Sub(made[len(made)-1].CreatedAt) < period {
		return nil
	}
	if vm.CheckAction(baadal.ActionBackupCreate) != nil || !vm.Reachable {
		return nil
	}
	last, err := tx.LastTask(baadal.Subject{Kind: "vm", ID: vm.ID}, baadal.TaskBackupCreate)
	if err != nil {
		return err
	}
	// The pause is for failures: a backup that came of the last task is none.
	if tx.Now().Sub(last) < backupPause && (len(all) == 0 || all[len(all)-1].CreatedAt.Before(last)) {
		return nil
	}
	return askBackup(tx, vm, schedule)
}

// askBackup claims a scheduled backup and inserts the task that makes it.
func askBackup(tx *store.Tx, vm baadal.VM, schedule baadal.BackupSchedule) error {
	if err := tx.Lock("placement"); err != nil {
		return err
	}
	settings, err := tx.SettingValues()
	if err != nil {
		return err
	}
	ds, err := tx.DatastoreByRef(cmp.Or(schedule.Datastore, settings.String(baadal.SettingBackupStore), vm.Datastore))
	if err != nil {
		return err
	}
	host, err := tx.Host(vm.HostID)
	if err != nil {
		return err
	}
	b, occupied, err := tx.BackupOf(vm)
	if err != nil {
		return err
	}
	b.DatastoreID, b.Type = ds.ID, schedule.Every
	if err := placement.ChooseBackupStore(host, ds, int64(b.ClaimGiB)<<30, occupied, placement.LimitsOf(settings)); err != nil {
		return err
	}
	if err := tx.ClaimBackup(&b, 0); err != nil {
		return err
	}
	params, err := json.Marshal(map[string]any{"backup_id": b.ID, "incremental": schedule.Incremental, "type": b.Type})
	if err != nil {
		return err
	}
	t := systemTask(baadal.TaskBackupCreate, baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name})
	t.Params, t.OwnerID, t.OrganisationID, t.HostID, t.Cost = params, vm.OwnerID, vm.OrganisationID, vm.HostID, 4
	return tx.InsertTask(&t)
}
