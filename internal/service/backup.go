package service

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"baadal"
	"baadal/internal/placement"
	"baadal/internal/store"
)

// backupParams are the parameters of the task that makes a backup.
type backupParams struct {
	BackupID    int64  `json:"backup_id"`
	Incremental bool   `json:"incremental,omitempty"`
	Datastore   string `json:"datastore,omitempty"` // as it was asked for, for a retry
}

func backupSubject(b baadal.Backup) baadal.Subject {
	return baadal.Subject{Kind: "backup", ID: b.ID, Name: fmt.Sprintf("backup %d of %s", b.ID, b.VM)}
}

// Backups lists the backups that the actor may see, those of VMs that are gone
// included.
func (s *Service) Backups(ctx context.Context, a baadal.Actor, q baadal.ListQuery) (list baadal.List[baadal.Backup], err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		if list, err = tx.Backups(q, a.Sees(baadal.ActionBackupRead)); err != nil {
			return err
		}
		for i := range list.Items {
			if err := offerBackup(tx, a, &list.Items[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return list, err
}

// Backup returns one backup by id or UUID.
func (s *Service) Backup(ctx context.Context, a baadal.Actor, ref string) (b baadal.Backup, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		if b, err = tx.BackupByRef(ref, a.Sees(baadal.ActionBackupRead)); err != nil {
			return err
		}
		return offerBackup(tx, a, &b)
	})
	return b, err
}

func offerBackup(tx *store.Tx, a baadal.Actor, b *baadal.Backup) error {
	_, err := replaceable(tx, a, b)
	if kind := baadal.KindOf(err); kind == baadal.Internal && err != nil {
		return err
	}
	b.Actions = map[string]baadal.Access{
		"verify":           access(allowedBackup(a, baadal.ActionBackupVerify, b)),
		"restore":          access(allowedBackup(a, baadal.ActionBackupRestore, b)),
		"restore_in_place": access(err),
		"delete":           access(allowedBackup(a, baadal.ActionBackupDelete, b)),
	}
	return nil
}

// allowedBackup is the one rule for an action on a backup.
func allowedBackup(a baadal.Actor, action baadal.Action, b *baadal.Backup) error {
	return first(reach(a, action, b.OrganisationID, b.OwnerID), b.CheckAction(action))
}

// CreateBackup claims room for a backup of a VM and makes the task for it.
func (s *Service) CreateBackup(ctx context.Context, a baadal.Actor, ref string, in baadal.BackupCreate, opt baadal.ChangeOptions) (baadal.Change[baadal.Backup], error) {
	return s.changeBackup(ctx, a, opt, func(tx *store.Tx) (b baadal.Backup, t baadal.Task, plan baadal.Plan, err error) {
		if err := tx.Lock("placement"); err != nil {
			return b, t, plan, err
		}
		vm, err := tx.VMForUpdate(ref, a.Sees(baadal.ActionVMRead))
		if err != nil {
			return b, t, plan, err
		}
		if err := first(checkGeneration(opt, vm.Generation), allowed(a, baadal.ActionBackupCreate, &vm)); err != nil {
			return b, t, plan, err
		}
		if b, err = claimBackup(tx, vm, in); err != nil {
			return b, t, plan, err
		}
		if t, err = newVMTask(a, baadal.TaskBackupCreate, vm, backupCost, backupParams{BackupID: b.ID, Incremental: in.Incremental, Datastore: in.Datastore}); err != nil {
			return b, t, plan, err
		}
		plan = baadal.Plan{
			Summary: fmt.Sprintf("back up %s to datastore %s", vm.Name, b.Datastore), Host: vm.Host, Datastore: b.Datastore,
			Claims: []string{fmt.Sprintf("%d GiB on datastore %s while it is made; then what its files have", b.ClaimGiB, b.Datastore)},
		}
		if vm.State != baadal.VMOff {
			plan.Effects = append(plan.Effects, "it runs on; what its guest had not written to disk yet is not in the backup")
		}
		if in.Incremental {
			plan.Effects = append(plan.Effects, "only what was written since the last incremental backup is copied, or everything where that cannot be")
		}
		return b, t, plan, nil
	})
}

// What the copying of whole disks, and the reading of a backup, weigh on a host.
const (
	backupCost = 4
	verifyCost = 2
)

// readerOf chooses a host to read a backup on, so that many of them are read on
// many hosts; 0 if none is up that mounts its datastore.
func readerOf(tx *store.Tx, b baadal.Backup) (int64, error) {
	ds, err := tx.Datastore(b.DatastoreID)
	if err != nil {
		return 0, err
	}
	hosts, err := tx.AllHosts()
	if err != nil {
		return 0, err
	}
	hosts = slices.DeleteFunc(hosts, func(h baadal.Host) bool { return h.State != baadal.HostUp || placement.Mounts(h, ds) != nil })
	if len(hosts) == 0 {
		return 0, nil
	}
	return hosts[b.ID%int64(len(hosts))].ID, nil
}

// claimBackup makes the backup's row on the datastore that is wanted.
func claimBackup(tx *store.Tx, vm baadal.VM, in baadal.BackupCreate) (b baadal.Backup, err error) {
	settings, err := tx.SettingValues()
	if err != nil {
		return b, err
	}
	ds, err := tx.DatastoreByRef(cmp.Or(in.Datastore, settings.String(baadal.SettingBackupStore), vm.Datastore))
	if err != nil {
		return b, fieldOf(err, "datastore")
	}
	host, err := tx.Host(vm.HostID)
	if err != nil {
		return b, err
	}
	b, occupied, err := tx.BackupOf(vm)
	if err != nil {
		return b, err
	}
	b.DatastoreID, b.Type = ds.ID, baadal.BackupUser
	if err := placement.ChooseBackupStore(host, ds, int64(b.ClaimGiB)<<30, occupied, placement.LimitsOf(settings)); err != nil {
		return b, err
	}
	return b, tx.ClaimBackup(&b, settings.Int(baadal.SettingBackupLimit))
}

// VerifyBackup makes the task that reads a backup's files, and those of what it
// stands on, and compares them with what they were.
func (s *Service) VerifyBackup(ctx context.Context, a baadal.Actor, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.Backup], error) {
	return s.actBackup(ctx, a, ref, opt, baadal.ActionBackupVerify, baadal.TaskBackupVerify, func(_ *store.Tx, b *baadal.Backup) (baadal.Plan, error) {
		return baadal.Plan{Summary: fmt.Sprintf("read %d MiB of backup %d and what it stands on", b.Bytes>>20, b.ID), Datastore: b.Datastore}, nil
	})
}

// DeleteBackup makes the task that removes a backup on which nothing stands.
func (s *Service) DeleteBackup(ctx context.Context, a baadal.Actor, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.Backup], error) {
	return s.actBackup(ctx, a, ref, opt, baadal.ActionBackupDelete, baadal.TaskBackupDelete, func(tx *store.Tx, b *baadal.Backup) (baadal.Plan, error) {
		plan := baadal.Plan{Summary: fmt.Sprintf("delete backup %d of %s for ever", b.ID, b.VM), Datastore: b.Datastore}
		return plan, tx.BackupUnused(*b)
	})
}

func (s *Service) actBackup(ctx context.Context, a baadal.Actor, ref string, opt baadal.ChangeOptions, action baadal.Action, kind baadal.TaskKind,
	decide func(*store.Tx, *baadal.Backup) (baadal.Plan, error),
) (baadal.Change[baadal.Backup], error) {
	return s.changeBackup(ctx, a, opt, func(tx *store.Tx) (b baadal.Backup, t baadal.Task, plan baadal.Plan, err error) {
		if b, err = tx.BackupByRef(ref, a.Sees(baadal.ActionBackupRead)); err != nil {
			return b, t, plan, err
		}
		if err := tx.LockBackups(b); err != nil {
			return b, t, plan, err
		}
		if b, err = tx.Backup(b.ID); err != nil {
			return b, t, plan, err
		}
		if err := first(checkGeneration(opt, b.Generation), allowedBackup(a, action, &b)); err != nil {
			return b, t, plan, err
		}
		if plan, err = decide(tx, &b); err != nil {
			return b, t, plan, err
		}
		if t, err = newTask(a, kind, backupSubject(b), struct{}{}); err != nil {
			return b, t, plan, err
		}
		t.OwnerID, t.OrganisationID = b.OwnerID, b.OrganisationID
		if kind == baadal.TaskBackupVerify {
			t.HostID, err = readerOf(tx, b)
			t.Cost = verifyCost
		}
		return b, t, plan, err
	})
}

// changeBackup is what the acts on backups have in common: the rule and its
// claims, the task, or the plan.
func (s *Service) changeBackup(ctx context.Context, a baadal.Actor, opt baadal.ChangeOptions,
	decide func(*store.Tx) (baadal.Backup, baadal.Task, baadal.Plan, error),
) (c baadal.Change[baadal.Backup], err error) {
	var b baadal.Backup
	var t baadal.Task
	var plan baadal.Plan
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if b, t, plan, err = decide(tx); err != nil {
			return err
		}
		if err := tx.InsertTask(&t); err != nil {
			return err
		}
		plan.Steps = s.queue.StepNames(t.Kind)
		if b, err = tx.Backup(b.ID); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		return offerBackup(tx, a, &b)
	})
	if isDryRun(err) {
		return baadal.Change[baadal.Backup]{Plan: presentPlan(a, &plan)}, nil
	}
	if err != nil {
		return c, hideHosts(a, err)
	}
	return baadal.Change[baadal.Backup]{Resource: &b, Task: &t}, nil
}

// BackupSchedule tells which backups of a VM are made by themselves.
func (s *Service) BackupSchedule(ctx context.Context, a baadal.Actor, ref string) (out baadal.BackupSchedule, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		vm, err := tx.VMByRef(ref, a.Sees(baadal.ActionVMRead))
		if err != nil {
			return err
		}
		out, err = tx.BackupSchedule(vm.ID)
		return err
	})
	return out, err
}

// SetBackupSchedule changes it. What a schedule made stays when it ends.
func (s *Service) SetBackupSchedule(ctx context.Context, a baadal.Actor, ref string, in baadal.BackupSchedule) (baadal.BackupSchedule, error) {
	if err := in.Validate(); err != nil {
		return in, err
	}
	err := s.db.Update(ctx, func(tx *store.Tx) error {
		vm, err := tx.VMByRef(ref, a.Sees(baadal.ActionVMRead))
		if err != nil {
			return err
		}
		if err := reach(a, baadal.ActionBackupSchedule, vm.OrganisationID, vm.OwnerID, vm.RequesterID); err != nil {
			return err
		}
		if vm.State == baadal.VMDeleted {
			return vm.CheckAction(baadal.ActionBackupCreate)
		}
		if in.Datastore != "" {
			ds, err := tx.DatastoreByRef(in.Datastore)
			if err != nil {
				return fieldOf(err, "datastore")
			}
			in.Datastore = ds.Name
		}
		if err := tx.SetBackupSchedule(vm.ID, in); err != nil {
			return err
		}
		return event(tx, a, baadal.Event{
			Subject: vmSubject(vm), Version: vm.Generation, What: "backup schedule changed", OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID,
		}, map[string]any{"every": in.Every, "incremental": in.Incremental, "keep": in.Keep})
	})
	return in, err
}

// repeatBackup asks for a failed act on a backup again.
func (s *Service) repeatBackup(ctx context.Context, a baadal.Actor, t baadal.Task) (*baadal.Task, error) {
	ref := fmt.Sprint(t.Subject.ID)
	var p struct {
		backupParams
		Type baadal.BackupType    `json:"type"`
		Wish baadal.BackupRestore `json:"wish"`
	}
	if err := json.Unmarshal(t.Params, &p); err != nil {
		return nil, fmt.Errorf("read task parameters: %w", err)
	}
	switch t.Kind {
	case baadal.TaskBackupVerify:
		c, err := s.VerifyBackup(ctx, a, ref, baadal.ChangeOptions{})
		return c.Task, err
	case baadal.TaskBackupDelete:
		c, err := s.DeleteBackup(ctx, a, ref, baadal.ChangeOptions{})
		return c.Task, err
	case baadal.TaskBackupRestore:
		c, err := s.RestoreBackup(ctx, a, fmt.Sprint(p.BackupID), p.Wish, baadal.ChangeOptions{})
		return c.Task, err
	case baadal.TaskBackupReplace:
		c, err := s.RestoreBackupInPlace(ctx, a, fmt.Sprint(p.BackupID), baadal.ChangeOptions{})
		return c.Task, err
	}
	if p.Type != "" {
		return nil, baadal.Errorf(baadal.Conflict, "a %s backup is tried again by itself", p.Type).WithCode("task_state")
	}
	c, err := s.CreateBackup(ctx, a, ref, baadal.BackupCreate{Incremental: p.Incremental, Datastore: p.Datastore}, baadal.ChangeOptions{})
	return c.Task, err
}
