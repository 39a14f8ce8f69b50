package workflow

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// How long whole disks may take to be copied, and to be read.
const (
	backupCopyTimeout = 24 * time.Hour
	backupReadTimeout = 12 * time.Hour
)

// BackupParams are the parameters of the task that makes a backup. The backup's
// row, with its claim, was made in the transaction that made the task.
type BackupParams struct {
	BackupID    int64  `json:"backup_id"`
	Incremental bool   `json:"incremental,omitempty"`
	Datastore   string `json:"datastore,omitempty"` // as it was asked for, for a retry
}

// backupCreate copies all disks of a VM as they are at one moment: a domain
// that runs is told to, the disks of one that is off are copied. The copies lie
// in a folder under a temporary name until they are whole.
func (w *Workflows) backupCreate() task.Body {
	return task.Body{
		Kind: baadal.TaskBackupCreate,
		Steps: []task.Step{
			{Name: "copy", Do: w.copyBackup, Undo: w.dropBackup, Timeout: backupCopyTimeout},
			{Name: "seal", Do: w.sealBackup, Timeout: backupReadTimeout},
		},
		Done: backupMade,
		Undone: func(tx *store.Tx, r *task.Run) error {
			params, err := task.Params[BackupParams](r)
			if err != nil {
				return err
			}
			return tx.DeleteBackup(params.BackupID)
		},
	}
}

// backupPlan is how a backup is made; recorded before anything is done.
type backupPlan struct {
	Active     bool   `json:"active"`
	Kind       string `json:"kind"`
	Reason     string `json:"reason,omitempty"` // why it is no increment though one was asked for
	Parent     int64  `json:"parent,omitempty"`
	ParentUUID string `json:"parent_uuid,omitempty"`
	Since      string `json:"since,omitempty"`      // checkpoint that the increment begins at
	Checkpoint string `json:"checkpoint,omitempty"` // one that begins with it
}

// saving is a backup being made with everything around it.
type saving struct {
	place
	params BackupParams
	backup baadal.Backup
	target baadal.Datastore
	plan   backupPlan
}

func (w *Workflows) loadSaving(ctx context.Context, r *task.Run) (b saving, known bool, err error) {
	if b.params, err = task.Params[BackupParams](r); err != nil {
		return b, false, err
	}
	if b.place, err = w.load(ctx, r); err != nil {
		return b, false, err
	}
	if b.backup, b.target, err = w.loadBackup(ctx, b.params.BackupID); err != nil {
		return b, false, err
	}
	known, err = r.Output("copy", &b.plan)
	return b, known, err
}

func (w *Workflows) loadBackup(ctx context.Context, id int64) (b baadal.Backup, ds baadal.Datastore, err error) {
	err = w.db.View(ctx, func(tx *store.Tx) (err error) {
		if b, err = tx.Backup(id); err != nil {
			return err
		}
		ds, err = tx.Datastore(b.DatastoreID)
		return err
	})
	return b, ds, err
}

func (w *Workflows) copyBackup(ctx context.Context, r *task.Run) error {
	b, known, err := w.loadSaving(ctx, r)
	if err != nil {
		return err
	}
	info, err := w.sys.Hypervisor.Domain(ctx, b.host, b.vm.UUID)
	if err != nil {
		return err
	}
	if info.Saved {
		return baadal.Errorf(baadal.Conflict, "%s is saved to disk: its disks and its memory must not part", b.vm.Name).WithCode("vm_saved").
			WithNext("Start it first", "baadal vm start "+b.vm.Name)
	}
	active := info.State != baadal.VMOff && info.State != baadal.VMCrashed
	if known { // an earlier try was broken off
		if err := w.stopBackup(ctx, &b, active); err != nil {
			return err
		}
	}
	if !known || b.plan.Active != active || b.plan.Checkpoint != "" && b.plan.Kind == baadal.BackupFull {
		if err := w.planBackup(ctx, r, &b, active, ""); err != nil {
			return err
		}
	}
	err = w.copyDisks(ctx, r, &b)
	if baadal.CodeOf(err) == "checkpoint_lost" && b.plan.Kind == baadal.BackupIncremental {
		if err := w.planBackup(ctx, r, &b, active, notRecorded); err != nil {
			return err
		}
		err = w.copyDisks(ctx, r, &b)
	}
	if err == nil {
		r.Detail("%s, %d disks", b.plan.Kind, len(b.backup.Machine.Disks))
	}
	return err
}

// copyDisks puts a copy of each disk into the backup's folder.
func (w *Workflows) copyDisks(ctx context.Context, r *task.Run, b *saving) error {
	if err := w.sys.BackupFiles.PrepareBackup(ctx, b.host, b.target, b.backup.UUID); err != nil {
		return err
	}
	if b.plan.Active {
		job := baadal.BackupJob{Since: b.plan.Since, Checkpoint: b.plan.Checkpoint}
		for _, d := range b.backup.Machine.Disks {
			job.Disks = append(job.Disks, baadal.BackupTarget{Target: d.Target, File: b.target.BackupPart(b.backup.UUID) + "/" + d.File})
		}
		return w.sys.Backups.BackupDomain(ctx, b.host, b.vm.UUID, job, func(share float64) {
			r.Progress(share, fmt.Sprintf("%s, %d %% copied", b.plan.Kind, int(100*share)))
		})
	}
	for i, d := range b.backup.Machine.Disks {
		k, err := b.disk(d.ID)
		if err != nil {
			return err
		}
		err = w.sys.BackupFiles.CopyToBackup(ctx, b.host, b.target, b.backup.UUID, b.file(k), d.File, func(share float64) {
			share = (float64(i) + share) / float64(len(b.backup.Machine.Disks))
			r.Progress(share, fmt.Sprintf("full, %d %% copied", int(100*share)))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// disk is one that the VM has now.
func (p *place) disk(id int64) (diskAt, error) {
	for _, k := range p.disks {
		if k.ID == id && (k.First() || k.State == baadal.DiskAttached) {
			return k, nil
		}
	}
	return diskAt{}, baadal.Errorf(baadal.Conflict, "%s does not have the disk %d any more", p.vm.Name, id).WithCode("disk_missing")
}

// stopBackup ends what an earlier try left at work in the domain.
func (w *Workflows) stopBackup(ctx context.Context, b *saving, active bool) error {
	if !b.plan.Active {
		return nil
	}
	if err := w.sys.Backups.AbortBackup(ctx, b.host, b.vm.UUID); err != nil {
		return err
	}
	switch {
	case b.plan.Checkpoint == "":
		return nil
	case b.plan.Kind == baadal.BackupIncremental && active:
		return w.sys.Backups.DropCheckpoints(ctx, b.host, b.vm.UUID, b.plan.Checkpoint)
	}
	return w.endChain(ctx, b.place)
}

// dropBackup leaves nothing of a backup that is not to be.
func (w *Workflows) dropBackup(ctx context.Context, r *task.Run) error {
	b, known, err := w.loadSaving(ctx, r)
	if baadal.KindOf(err) == baadal.NotFound || err == nil && !known {
		return nil // nothing was begun, or everything is taken back
	}
	if err != nil {
		return err
	}
	active, err := w.active(ctx, b.place)
	if err != nil && baadal.KindOf(err) != baadal.NotFound {
		return err
	}
	if err := w.stopBackup(ctx, &b, active); err != nil {
		return err
	}
	return w.sys.BackupFiles.RemoveBackup(ctx, b.host, b.target, b.backup.UUID)
}

// sealBackup makes the copies one whole: increments get the files that they
// stand on, everything is checked, summed up, described and given its name.
func (w *Workflows) sealBackup(ctx context.Context, r *task.Run) error {
	b, _, err := w.loadSaving(ctx, r)
	if err != nil {
		return err
	}
	words, err := json.MarshalIndent(struct {
		VM        string               `json:"vm"`
		Owner     string               `json:"owner"`
		CreatedAt time.Time            `json:"created_at"`
		Kind      string               `json:"kind"`
		StandsOn  string               `json:"stands_on,omitempty"`
		Machine   baadal.BackupMachine `json:"machine"`
	}{b.vm.Name, b.vm.Owner, b.backup.CreatedAt, b.plan.Kind, b.plan.ParentUUID, b.backup.Machine}, "", "  ")
	if err != nil {
		return fmt.Errorf("describe backup: %w", err)
	}
	names := make([]string, len(b.backup.Machine.Disks))
	for i, d := range b.backup.Machine.Disks {
		names[i] = d.File
	}
	files, err := w.sys.BackupFiles.SealBackup(ctx, b.host, b.target, b.backup.UUID, b.plan.ParentUUID, names, append(words, '\n'))
	if err != nil {
		return err
	}
	return r.Record(files)
}

func backupMade(tx *store.Tx, r *task.Run) (string, error) {
	params, err := task.Params[BackupParams](r)
	if err != nil {
		return "", err
	}
	b, err := tx.Backup(params.BackupID)
	if err != nil {
		return "", err
	}
	var plan backupPlan
	if _, err := r.Output("copy", &plan); err != nil {
		return "", err
	}
	if _, err := r.Output("seal", &b.Files); err != nil {
		return "", err
	}
	b.State, b.ClaimGiB, b.Bytes = baadal.BackupReady, 0, 0
	for _, f := range b.Files {
		b.Bytes += f.Bytes
	}
	if err := tx.UpdateBackup(&b); err != nil {
		return "", err
	}
	if plan.Checkpoint != "" {
		if err := tx.SetBackupChain(b.VMID, b.ID, plan.Checkpoint); err != nil {
			return "", err
		}
	}
	message := fmt.Sprintf("%s is backed up successfully, as backup %d", b.VM, b.ID)
	if plan.Reason != "" {
		message += "; it is a full one: " + plan.Reason
	}
	return message, backupEvent(tx, r, b, "backed up")
}

// backupEvent tells of something that happened to a backup, in its VM's history
// if that is still there.
func backupEvent(tx *store.Tx, r *task.Run, b baadal.Backup, what string) error {
	changes, err := json.Marshal(map[string]any{"backup": b.ID, "kind": b.Kind})
	if err != nil {
		return err
	}
	e := baadal.Event{
		Topic: "backup", Subject: backupSubject(b), Version: b.Generation, What: what, ActorID: r.Task.RequesterID, Actor: r.Task.Requester,
		OwnerID: b.OwnerID, OrganisationID: b.OrganisationID, Changes: changes,
	}
	if _, err := tx.AddEvent(e); err != nil || b.VMID == 0 {
		return err
	}
	vm, err := tx.VM(b.VMID)
	if err != nil {
		return ignoreMissing(err)
	}
	e.Topic, e.Subject, e.Version = "vm", vmSubject(vm), vm.Generation
	if what == "backed up" || what == "restored in place" {
		_, err = tx.AddEvent(e)
	}
	return err
}

func backupSubject(b baadal.Backup) baadal.Subject {
	return baadal.Subject{Kind: "backup", ID: b.ID, Name: fmt.Sprintf("backup %d of %s", b.ID, b.VM)}
}
