package workflow

import (
	"context"
	"fmt"
	"slices"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// backupVerify reads all files of a backup, and of those that it stands on, and
// compares them with what they were. A spoiled one makes the task fail, and is
// written down.
func (w *Workflows) backupVerify() task.Body {
	return task.Body{
		Kind: baadal.TaskBackupVerify,
		Steps: []task.Step{
			{Name: "check", Do: w.verifyBackup, Timeout: backupReadTimeout},
		},
		Done:   backupVerified,
		Undone: tellDamage,
	}
}

// backupDelete removes a backup that nothing stands on.
func (w *Workflows) backupDelete() task.Body {
	return task.Body{
		Kind: baadal.TaskBackupDelete,
		Steps: []task.Step{
			{Name: "remove", Do: w.removeBackup, Undo: w.lookForBackup},
		},
		Done: func(tx *store.Tx, r *task.Run) (string, error) { return forgetBackup(tx, r) },
		Undone: func(tx *store.Tx, r *task.Run) error {
			var left remains
			if known, err := r.Output("remove", &left); err != nil || !known || left.There {
				return err
			}
			_, err := forgetBackup(tx, r)
			return err
		},
	}
}

func forgetBackup(tx *store.Tx, r *task.Run) (string, error) {
	b, err := tx.Backup(r.Task.Subject.ID)
	if err != nil {
		return "", err
	}
	if err := backupEvent(tx, r, b, "deleted"); err != nil {
		return "", err
	}
	return fmt.Sprintf("backup %d of %s is deleted successfully", b.ID, b.VM), tx.DeleteBackup(b.ID)
}

func (w *Workflows) removeBackup(ctx context.Context, r *task.Run) error {
	b, ds, err := w.loadBackup(ctx, r.Task.Subject.ID)
	if err != nil {
		return err
	}
	host, err := w.anyHost(ctx, ds)
	if err != nil {
		return err
	}
	return w.sys.BackupFiles.RemoveBackup(ctx, host, ds, b.UUID)
}

// remains says whether a backup that was to be removed is still there.
type remains struct {
	There bool `json:"there"`
}

// lookForBackup finds out how far a removal came: a folder goes as a whole.
func (w *Workflows) lookForBackup(ctx context.Context, r *task.Run) error {
	b, ds, err := w.loadBackup(ctx, r.Task.Subject.ID)
	if err != nil {
		return ignoreMissing(err)
	}
	host, err := w.anyHost(ctx, ds)
	if err != nil {
		return err
	}
	there, err := w.sys.BackupFiles.HasBackup(ctx, host, ds, b.UUID)
	if err != nil {
		return err
	}
	return r.Record(remains{There: there})
}

func (w *Workflows) verifyBackup(ctx context.Context, r *task.Run) error {
	b, ds, err := w.loadBackup(ctx, r.Task.Subject.ID)
	if err != nil {
		return err
	}
	var host baadal.Host
	err = w.db.View(ctx, func(tx *store.Tx) (err error) { host, err = tx.Host(r.Task.HostID); return err })
	if err != nil || host.State != baadal.HostUp || !mounts(ds, host) { // it was chosen when the task was made
		if host, err = w.anyHost(ctx, ds); err != nil {
			return err
		}
	}
	return w.verifyChain(ctx, r, b, host)
}

// verification is what a look at a backup's files told.
type verification struct {
	Right  []int64 `json:"right,omitempty"` // backups whose files are as they were
	Bad    int64   `json:"bad,omitempty"`   // the one that is not
	Reason string  `json:"reason,omitempty"`
}

// verifyChain reads the files of a backup and of all that it stands on.
func (w *Workflows) verifyChain(ctx context.Context, r *task.Run, b baadal.Backup, host baadal.Host) error {
	var chain []baadal.Backup
	var ds baadal.Datastore
	var total, done int64
	err := w.db.View(ctx, func(tx *store.Tx) (err error) {
		chain, total = []baadal.Backup{b}, b.Bytes
		for up := b; up.ParentID != 0; {
			if up, err = tx.Backup(up.ParentID); err != nil {
				return err
			}
			chain, total = append(chain, up), total+up.Bytes
		}
		ds, err = tx.Datastore(b.DatastoreID)
		return err
	})
	if err != nil {
		return err
	}
	var v verification
	for _, c := range slices.Backward(chain) { // what others stand on first
		err := w.sys.BackupFiles.VerifyBackup(ctx, host, ds, c.UUID, c.Files, func(read int64) {
			r.Progress(float64(done+read)/float64(max(total, 1)), fmt.Sprintf("%d of %d MiB read", (done+read)>>20, total>>20))
		})
		if baadal.CodeOf(err) == "backup_damaged" {
			v.Bad, v.Reason = c.ID, baadal.Message(err)
			if err := r.Record(v); err != nil {
				return err
			}
			return baadal.Errorf(baadal.Conflict, "backup %d is damaged", c.ID).WithCode("backup_damaged").WithDetail("%s", v.Reason).
				WithNext("See whether an older one is whole", "baadal backup list --vm "+c.VM)
		}
		if err != nil {
			return err
		}
		done += c.Bytes
		v.Right = append(v.Right, c.ID)
	}
	r.Detail("%d MiB read, all as they were", total>>20)
	return r.Record(v)
}

func backupVerified(tx *store.Tx, r *task.Run) (string, error) {
	var v verification
	if _, err := r.Output("check", &v); err != nil {
		return "", err
	}
	if err := tellRight(tx, v.Right); err != nil {
		return "", err
	}
	return fmt.Sprintf("backup %d is whole", r.Task.Subject.ID), nil
}

func tellRight(tx *store.Tx, ids []int64) error {
	now := tx.Now()
	for _, id := range ids {
		b, err := tx.Backup(id)
		if err != nil {
			return err
		}
		if b.State == baadal.BackupDamaged {
			b.State, b.Reason = baadal.BackupReady, ""
		}
		b.VerifiedAt = &now
		if err := tx.UpdateBackup(&b); err != nil {
			return err
		}
	}
	return nil
}

// tellDamage writes down what the step "check" found damaged, with everything
// that stands on it.
func tellDamage(tx *store.Tx, r *task.Run) error {
	var v verification
	if _, err := r.Output("check", &v); err != nil || v.Bad == 0 {
		return err
	}
	b, err := tx.Backup(v.Bad)
	if err != nil {
		return ignoreMissing(err)
	}
	all, err := tx.VMBackups(b.VMID)
	if err != nil {
		return err
	}
	bad := map[int64]bool{b.ID: true}
	for _, c := range append([]baadal.Backup{b}, all...) { // oldest first: what an increment stands on comes before it
		if !bad[c.ID] && !bad[c.ParentID] || c.State == baadal.BackupMaking {
			continue
		}
		bad[c.ID] = true
		c.State, c.Reason = baadal.BackupDamaged, v.Reason
		if c.ID != b.ID {
			c.Reason = fmt.Sprintf("backup %d, on which it stands: %s", b.ID, v.Reason)
		}
		if err := tx.UpdateBackup(&c); err != nil {
			return err
		}
	}
	return nil
}
