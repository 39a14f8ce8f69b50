package workflow

import (
	"context"
	"fmt"
	"slices"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// A chain is a full backup with the increments on it. Since its newest one the
// domain has a checkpoint, and each of its disks a bitmap of what was written.
// Those do not go with internal snapshots, with other files under the disks,
// nor with another host: whoever is about to do such a thing ends the chain
// first, and the next backup is a full one.

// endChain leaves no checkpoint in the VM's domain and no bitmap in its disks.
// Without a chain it does nothing; the same again is success.
func (w *Workflows) endChain(ctx context.Context, p place) error {
	var checkpoint string
	err := w.db.View(ctx, func(tx *store.Tx) (err error) { _, checkpoint, err = tx.BackupChain(p.vm.ID); return err })
	if err != nil || checkpoint == "" {
		return err
	}
	if err := w.sys.Backups.DropCheckpoints(ctx, p.host, p.vm.UUID); err != nil {
		return err
	}
	active, err := w.active(ctx, p)
	if err != nil && baadal.KindOf(err) != baadal.NotFound {
		return err
	}
	for _, k := range p.disks {
		if active || !k.First() && k.State == baadal.DiskDeleted {
			continue
		}
		host, err := w.diskHost(ctx, p, k.store)
		if err != nil {
			return err
		}
		if err := w.sys.Refiller.ForgetBitmaps(ctx, host, p.file(k)); err != nil {
			return err
		}
	}
	return w.db.Update(ctx, func(tx *store.Tx) error { return tx.EndBackupChain(p.vm.ID) })
}

// endChainFirst is a step's do that must not meet a chain.
func (w *Workflows) endChainFirst(do func(context.Context, *task.Run) error) func(context.Context, *task.Run) error {
	return func(ctx context.Context, r *task.Run) error {
		p, err := w.load(ctx, r)
		if err != nil {
			return err
		}
		if err := w.endChain(ctx, p); err != nil {
			return err
		}
		return do(ctx, r)
	}
}

// planBackup decides what kind of backup it will be, and notes it before
// anything is done. lost says why it must not be an increment.
func (w *Workflows) planBackup(ctx context.Context, r *task.Run, b *saving, active bool, lost string) error {
	b.plan = backupPlan{Active: active, Kind: baadal.BackupFull}
	var parent baadal.Backup
	if b.params.Incremental {
		var err error
		if parent, b.plan.Reason, err = w.findParent(ctx, b, active, lost); err != nil {
			return err
		}
	}
	if parent.ID != 0 {
		b.plan.Kind, b.plan.Parent, b.plan.ParentUUID, b.plan.Since = baadal.BackupIncremental, parent.ID, parent.UUID, parent.Checkpoint()
	}
	if b.params.Incremental && active && b.plan.Reason != hasSnapshots {
		b.plan.Checkpoint = b.backup.Checkpoint()
	}
	if b.plan.Checkpoint != "" && b.plan.Kind == baadal.BackupFull {
		if err := w.endChain(ctx, b.place); err != nil {
			return err
		}
	}
	err := w.db.Update(ctx, func(tx *store.Tx) error { return b.decide(tx) })
	if err != nil {
		return err
	}
	return r.Record(b.plan)
}

// decide writes the plan down. A parent that is about to be deleted is none.
func (b *saving) decide(tx *store.Tx) error {
	if err := tx.Lock(fmt.Sprintf("backups %d", b.vm.ID)); err != nil {
		return err
	}
	row, err := tx.Backup(b.backup.ID)
	if err != nil {
		return err
	}
	if b.plan.Parent != 0 {
		parent, err := tx.Backup(b.plan.Parent)
		if err != nil {
			return err
		}
		if parent.Task != nil && parent.Task.Kind == baadal.TaskBackupDelete {
			return parent.CheckAction(baadal.ActionBackupRead)
		}
	}
	row.Kind, row.ParentID, row.Reason = b.plan.Kind, b.plan.Parent, b.plan.Reason
	if err := tx.UpdateBackup(&row); err != nil {
		return err
	}
	b.backup = row
	if b.plan.Checkpoint == "" || b.plan.Kind == baadal.BackupIncremental {
		return nil
	}
	return tx.SetBackupChain(b.vm.ID, 0, b.plan.Checkpoint) // before there is anything of it
}

// Why a backup is no increment.
const (
	hasSnapshots = "the VM has snapshots, with which increments do not go"
	isOff        = "the VM is off, and what it wrote is told only by one that runs"
	notRecorded  = "what was written since the last one is not recorded any more"
	isFirst      = "there is none before it that an increment can stand on"
)

// findParent returns the backup that an increment can stand on, or says why
// there is none.
func (w *Workflows) findParent(ctx context.Context, b *saving, active bool, lost string) (parent baadal.Backup, why string, err error) {
	if !active {
		return parent, isOff, nil
	}
	snaps, err := w.sys.Snapshots.Snapshots(ctx, b.host, b.vm.UUID)
	if err != nil {
		return parent, "", err
	}
	if len(snaps) > 0 {
		return parent, hasSnapshots, nil
	}
	if lost != "" {
		return parent, lost, nil
	}
	var checkpoint string
	var length, most int
	err = w.db.View(ctx, func(tx *store.Tx) error {
		id := int64(0)
		if id, checkpoint, err = tx.BackupChain(b.vm.ID); err != nil || id == 0 {
			return err
		}
		settings, err := tx.SettingValues()
		if err != nil {
			return err
		}
		most = settings.Int(baadal.SettingBackupChain)
		if parent, err = tx.Backup(id); err != nil {
			return err
		}
		for up := parent; up.ParentID != 0; length++ {
			if up, err = tx.Backup(up.ParentID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return baadal.Backup{}, "", err
	}
	if why := unfit(b, parent, length, most); why != "" {
		return baadal.Backup{}, why, nil
	}
	known, err := w.sys.Backups.Checkpoints(ctx, b.host, b.vm.UUID)
	if err != nil {
		return baadal.Backup{}, "", err
	}
	if !slices.Contains(known, checkpoint) {
		return baadal.Backup{}, notRecorded, nil
	}
	if older := slices.DeleteFunc(known, func(name string) bool { return name == checkpoint }); len(older) > 0 {
		err = w.sys.Backups.DropCheckpoints(ctx, b.host, b.vm.UUID, older...) // nothing begins at them any more
	}
	return parent, "", err
}

// unfit says why an increment cannot stand on a backup; empty if it can.
func unfit(b *saving, parent baadal.Backup, length, most int) string {
	switch {
	case parent.ID == 0:
		return isFirst
	case parent.State != baadal.BackupReady:
		return fmt.Sprintf("backup %d, on which it would stand, is %s", parent.ID, parent.State)
	case parent.DatastoreID != b.backup.DatastoreID:
		return fmt.Sprintf("backup %d, on which it would stand, is on datastore %s", parent.ID, parent.Datastore)
	case length >= most:
		return fmt.Sprintf("%d increments stand on each other", length)
	case !slices.EqualFunc(parent.Machine.Disks, b.backup.Machine.Disks, func(x, y baadal.BackupDisk) bool {
		return x.ID == y.ID && x.SizeGiB == y.SizeGiB && x.Target == y.Target
	}):
		return "the VM's disks are others than they were"
	}
	return ""
}
