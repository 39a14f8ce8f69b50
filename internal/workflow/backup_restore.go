package workflow

import (
	"context"
	"fmt"

	"baadal"
	"baadal/internal/cloudinit"
	"baadal/internal/store"
	"baadal/internal/task"
)

// BackupRestoreParams are the parameters of the task that makes a VM from a
// backup. The VM's row with all claims, its disks' rows too, was made in the
// transaction that made the task.
type BackupRestoreParams struct {
	BackupID int64                `json:"backup_id"`
	Wish     baadal.BackupRestore `json:"wish"`
	Disks    map[int64]int64      `json:"disks,omitempty"` // of the backup to those of the VM, by their ids
}

// backupRestore makes a new VM of what a backup holds. Its disks are made on
// the backup's files first, and then filled, so that they stand on nothing.
func (w *Workflows) backupRestore() task.Body {
	return task.Body{
		Kind: baadal.TaskBackupRestore,
		Steps: []task.Step{
			{Name: "check", Do: w.checkBackup, Timeout: backupReadTimeout},
			{Name: "image", Do: w.imageOnBackup, Undo: w.removeImage},
			{Name: "disks", Do: w.makeRestoredDisks, Undo: w.removeRestoredDisks},
			{Name: "fill", Do: w.fillDisks, Undo: w.unfillDisks, Timeout: backupCopyTimeout},
			{Name: "define", Do: w.define, Undo: w.undefine},
			{Name: "start", Do: w.startRestored, Undo: w.destroy},
		},
		Done:   backupRestored,
		Undone: restoreUndone,
		Owed: func(tx *store.Tx, r *task.Run, cause error) error {
			_, err := vmChanged(tx, r, baadal.VMUnknown, "it could not be restored ("+baadal.Message(cause)+"); what is left is taken back when its host answers")
			return err
		},
	}
}

// restoring is a restore with everything around it.
type restoring struct {
	place
	params BackupRestoreParams
	backup baadal.Backup
	source baadal.Datastore
}

func (w *Workflows) loadRestoring(ctx context.Context, r *task.Run) (b restoring, err error) {
	if b.params, err = task.Params[BackupRestoreParams](r); err != nil {
		return b, err
	}
	if b.place, err = w.load(ctx, r); err != nil {
		return b, err
	}
	b.backup, b.source, err = w.loadBackup(ctx, b.params.BackupID)
	return b, err
}

// copies are the backup's disks with the VM's that they belong to.
func (b *restoring) copies() (all []refill, err error) {
	for _, d := range b.backup.Machine.Disks {
		id := d.ID
		if other, ok := b.params.Disks[id]; ok {
			id = other
		}
		k, err := b.disk(id)
		if err != nil {
			return nil, err
		}
		all = append(all, refill{disk: k, file: b.file(k), from: b.source.BackupDir(b.backup.UUID) + "/" + d.File, gib: d.SizeGiB})
	}
	return all, nil
}

// refill is one disk that gets its content from a file of a backup.
type refill struct {
	disk diskAt
	file baadal.DiskFile
	from string
	gib  int
}

func (w *Workflows) checkBackup(ctx context.Context, r *task.Run) error {
	b, err := w.loadRestoring(ctx, r)
	if err != nil {
		return err
	}
	return w.verifyChain(ctx, r, b.backup, b.host)
}

func (w *Workflows) imageOnBackup(ctx context.Context, r *task.Run) error {
	b, err := w.loadRestoring(ctx, r)
	if err != nil {
		return err
	}
	seed, err := cloudinit.Seed(cloudinit.Config{InstanceID: b.vm.UUID, Hostname: b.vm.Name, SSHKeys: b.vm.SSHKeys, Password: b.password})
	if err != nil {
		return err
	}
	return w.sys.Disks.CreateImage(ctx, b.host, baadal.VMImage{
		Datastore: b.store, Identity: b.vm.Identity, UUID: b.vm.UUID, Template: b.source.BackupDir(b.backup.UUID) + "/" + baadal.BackupDiskFile(0),
		Format: "qcow2", Bytes: int64(b.vm.DiskGiB) << 30, Seed: seed,
	})
}

// eachExtra does something to the file of each disk beside the first.
func (w *Workflows) eachExtra(ctx context.Context, r *task.Run, do func(p place, f baadal.DiskFile, gib int) error) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	for _, k := range p.disks {
		if k.First() {
			continue
		}
		if err := do(p, p.file(k), k.SizeGiB); err != nil {
			return err
		}
	}
	return nil
}

func (w *Workflows) makeRestoredDisks(ctx context.Context, r *task.Run) error {
	return w.eachExtra(ctx, r, func(p place, f baadal.DiskFile, gib int) error {
		return w.sys.ExtraDisks.CreateDisk(ctx, p.host, f, int64(gib)<<30)
	})
}

func (w *Workflows) removeRestoredDisks(ctx context.Context, r *task.Run) error {
	return w.eachExtra(ctx, r, func(p place, f baadal.DiskFile, _ int) error {
		return w.sys.ExtraDisks.RemoveDisk(ctx, p.host, f)
	})
}

// fillDisks puts the backup's content into the new VM's disks.
func (w *Workflows) fillDisks(ctx context.Context, r *task.Run) error {
	b, err := w.loadRestoring(ctx, r)
	if err != nil {
		return err
	}
	if err := w.stage(ctx, r, &b); err != nil {
		return err
	}
	return b.each(func(f baadal.DiskFile) error {
		if err := w.sys.Refiller.SwapDisk(ctx, b.host, f, b.backup.UUID); err != nil {
			return err
		}
		return w.sys.Refiller.DropOldDisk(ctx, b.host, f, b.backup.UUID)
	})
}

// each does something to every disk that the backup refills.
func (b *restoring) each(do func(baadal.DiskFile) error) error {
	all, err := b.copies()
	if err != nil {
		return err
	}
	for _, c := range all {
		if err := do(c.file); err != nil {
			return err
		}
	}
	return nil
}

// stage copies the backup's content beside the disks that it is for.
func (w *Workflows) stage(ctx context.Context, r *task.Run, b *restoring) error {
	all, err := b.copies()
	if err != nil {
		return err
	}
	for i, c := range all {
		err := w.sys.Refiller.StageDisk(ctx, b.host, c.file, b.backup.UUID, c.from, func(share float64) {
			share = (float64(i) + share) / float64(len(all))
			r.Progress(share, fmt.Sprintf("%d %% copied", int(100*share)))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// unfillDisks removes what was copied beside disks that go themselves.
func (w *Workflows) unfillDisks(ctx context.Context, r *task.Run) error {
	b, err := w.loadRestoring(ctx, r)
	if err != nil {
		return err
	}
	return b.each(func(f baadal.DiskFile) error { return w.sys.Refiller.UnswapDisk(ctx, b.host, f, b.backup.UUID) })
}

func (w *Workflows) startRestored(ctx context.Context, r *task.Run) error {
	params, err := task.Params[BackupRestoreParams](r)
	if err != nil || !params.Wish.Start {
		return err
	}
	return w.start(ctx, r)
}

func backupRestored(tx *store.Tx, r *task.Run) (string, error) {
	params, err := task.Params[BackupRestoreParams](r)
	if err != nil {
		return "", err
	}
	state := baadal.VMOff
	if params.Wish.Start {
		state = baadal.VMRunning
	}
	vm, err := vmChanged(tx, r, state, "")
	if err != nil {
		return "", err
	}
	b, err := tx.Backup(params.BackupID)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s is restored successfully from backup %d", vm.Name, b.ID), backupEvent(tx, r, b, "restored as "+vm.Name)
}

// restoreUndone gives back what the VM had claimed. What was found damaged is
// said to be.
func restoreUndone(tx *store.Tx, r *task.Run) error {
	if err := tellDamage(tx, r); err != nil {
		return err
	}
	disks, err := tx.ExtraDisks(r.Task.Subject.ID)
	if err != nil {
		return err
	}
	for _, k := range disks {
		if err := tx.DeleteDisk(k.ID); err != nil {
			return err
		}
	}
	return tx.DeleteVM(r.Task.Subject.ID)
}
