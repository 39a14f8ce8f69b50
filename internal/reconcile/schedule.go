package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"baadal"
	"baadal/internal/store"
)

// How long history, ended tasks and idempotency keys are kept, and how old the last audit
// may become.
const (
	keepEvents = 90 * 24 * time.Hour
	keepTasks  = 90 * 24 * time.Hour
	keepKeys   = 24 * time.Hour
	auditEvery = 24 * time.Hour
)

// schedule does what is due: purges deleted VMs whose retention has ended, removes bases that
// nothing stands on and transfers that nobody fetches, asks for scheduled snapshots and backups and
// for the daily audit, forgets old sessions, events, tasks and keys. One that fails keeps none of the
// others from its turn.
func (l *Loops) schedule(ctx context.Context) {
	l.every(ctx, "schedule", l.opt.Schedule, nil, func(ctx context.Context) (err error) {
		for _, due := range []func(context.Context) error{l.purge, l.removeBases, l.removeTransfers, l.snapshots, l.backups, l.askAudit, l.forget} {
			err = errors.Join(err, due(ctx))
		}
		return err
	})
}

// forget drops what is old: piece by piece, so that nobody waits for it long.
func (l *Loops) forget(ctx context.Context) error {
	err := l.db.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.PruneSessions(); err != nil {
			return err
		}
		_, err := tx.PruneIdempotent(tx.Now().Add(-keepKeys))
		return err
	})
	if err != nil {
		return err
	}
	for _, prune := range []func(*store.Tx) (int, error){
		func(tx *store.Tx) (int, error) { return tx.PruneEvents(tx.Now().Add(-keepEvents)) },
		func(tx *store.Tx) (int, error) { return tx.PruneTasks(tx.Now().Add(-keepTasks)) },
	} {
		for n := store.PruneBatch; n == store.PruneBatch; {
			if err := l.db.Update(ctx, func(tx *store.Tx) (err error) { n, err = prune(tx); return err }); err != nil {
				return err
			}
		}
	}
	return nil
}

// How long to wait before asking again for what failed: twice as long each time.
const (
	firstRest   = 10 * time.Minute
	longestRest = 24 * time.Hour
)

// resting reports whether a task failed too short a time ago to be asked for
// again: a datastore that is gone for a week would fill the list of tasks.
func resting(tx *store.Tx, t baadal.Task) (bool, error) {
	n, last, err := tx.Failures(t.Kind, t.Subject)
	if err != nil || n == 0 {
		return false, err
	}
	rest := longestRest
	if n <= 8 {
		rest = min(rest, firstRest<<(n-1))
	}
	return tx.Now().Sub(last) < rest, nil
}

// ask makes a task, unless one like it failed too short a time ago.
func ask(tx *store.Tx, t baadal.Task) error {
	if rests, err := resting(tx, t); err != nil || rests {
		return err
	}
	return tx.InsertTask(&t)
}

// systemTask is a task that nobody but the cloud itself asked for.
func systemTask(kind baadal.TaskKind, s baadal.Subject) baadal.Task {
	system := baadal.System().User
	return baadal.Task{
		Kind: kind, Subject: s, Params: json.RawMessage("{}"), RequesterID: system.ID, Requester: system.Username,
		OwnerID: system.ID, Exclusive: true,
	}
}

func (l *Loops) purge(ctx context.Context) error {
	return l.db.Update(ctx, func(tx *store.Tx) error {
		vms, err := tx.PurgeableVMs()
		if err != nil {
			return err
		}
		for _, vm := range vms {
			if vm.Task != nil {
				continue
			}
			t := systemTask(baadal.TaskVMPurge, baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name})
			t.OwnerID, t.OrganisationID = vm.OwnerID, vm.OrganisationID
			if err := ask(tx, t); err != nil {
				return err
			}
		}
		return nil
	})
}

// removeBases asks for the removal of bases that nothing stands on any more.
func (l *Loops) removeBases(ctx context.Context) error {
	return l.db.Update(ctx, func(tx *store.Tx) error {
		bases, err := tx.UnusedBases()
		if err != nil {
			return err
		}
		for _, b := range bases {
			t := systemTask(baadal.TaskBaseRemove, baadal.Subject{Kind: "base", ID: b.ID, Name: b.Origin})
			if held, err := tx.ActiveTask(t.Subject); err != nil || held != nil {
				if err != nil {
					return err
				}
				continue
			}
			if err := ask(tx, t); err != nil {
				return err
			}
		}
		return purgeDisks(tx)
	})
}

// purgeDisks asks for the end of deleted disks whose retention has ended; a VM
// that is busy gets its turn later.
func purgeDisks(tx *store.Tx) error {
	disks, err := tx.PurgeableDisks()
	if err != nil {
		return err
	}
	for _, k := range disks {
		vm, err := tx.VM(k.VMID)
		if err != nil {
			return err
		}
		if vm.Task != nil {
			continue
		}
		t := systemTask(baadal.TaskDiskPurge, baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name})
		t.Params = json.RawMessage(fmt.Sprintf(`{"disk_id":%d}`, k.ID))
		t.OwnerID, t.OrganisationID = vm.OwnerID, vm.OrganisationID
		if err := ask(tx, t); err != nil {
			return err
		}
	}
	return nil
}

func (l *Loops) askAudit(ctx context.Context) error {
	return l.db.Update(ctx, func(tx *store.Tx) error {
		due, err := tx.AuditDue(tx.Now().Add(-auditEvery))
		if err != nil || !due {
			return err
		}
		t := systemTask(baadal.TaskAudit, baadal.Subject{Kind: "cloud", Name: "cloud"})
		if err := tx.InsertTask(&t); baadal.KindOf(err) != baadal.Conflict {
			return err
		}
		return nil // one is at work
	})
}
