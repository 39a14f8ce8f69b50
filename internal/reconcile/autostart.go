package reconcile

import (
	"context"
	"fmt"
	"time"

	"baadal"
	"baadal/internal/store"
)

// How many VMs of one host are started at one time because it came back, and how
// long after a start that failed the next one is tried: so long, then twice as
// long.
const (
	startsAtOnce = 4
	startAgain   = time.Minute
)

// startCost is what a start weighs on its host.
const startCost = 2

// When a VM is left alone: one that runs anyway, and one that could not be
// started for so long.
const (
	runsAnyway  = 10 * time.Minute
	startWithin = time.Hour
)

// checkBoot finds out whether the host was off since it was last looked at, and
// notes which of its VMs ran then. It comes before anything that the host says
// of its domains is written down. Without force it asks only after the
// connection was made anew.
func (w *watcher) checkBoot(ctx context.Context, force bool) error {
	if w.l.sys.Boot == nil || !force && !w.rebooted.Load() {
		return nil
	}
	boot, err := w.l.sys.Boot(ctx, w.host)
	if err != nil {
		return err
	}
	known := false
	err = w.l.db.View(ctx, func(tx *store.Tx) error {
		before, err := tx.HostBoot(w.host.ID)
		known = before == boot
		return err
	})
	if err != nil || known {
		w.rebooted.Store(err != nil)
		return ignoreGone(err)
	}
	err = w.l.db.Update(ctx, func(tx *store.Tx) error {
		due, err := tx.NoteHostBoot(w.host.ID, boot)
		if err != nil || due == 0 {
			return err
		}
		tx.Wake("autostart")
		h, err := tx.Host(w.host.ID)
		if err != nil {
			return err
		}
		return note(tx, "host", baadal.Subject{Kind: "host", ID: h.ID, Name: h.Name}, h.Generation, "was off", 0, 0, map[string]any{"vms_to_start": due})
	})
	if err == nil {
		w.rebooted.Store(false)
	}
	return ignoreGone(err)
}

// autostart starts the VMs whose host came back after having been off, as far
// as their policy says so.
func (l *Loops) autostart(ctx context.Context) {
	if l.sys.Boot == nil {
		return
	}
	wake, unsubscribe := l.db.Subscribe("autostart")
	defer unsubscribe()
	l.every(ctx, "autostart", l.opt.Autostart, wake, func(ctx context.Context) error {
		var due []store.Due
		if err := l.db.View(ctx, func(tx *store.Tx) (err error) { due, err = tx.DueVMs(); return err }); err != nil {
			return err
		}
		for _, d := range due {
			err := l.db.Update(ctx, func(tx *store.Tx) error { return startDue(tx, d) })
			if err != nil && baadal.KindOf(err) != baadal.Conflict { // another controller, or a person, was quicker
				return err
			}
		}
		return nil
	})
}

// startDue makes the task that starts a VM, if it is its turn, or leaves it
// alone from now on.
func startDue(tx *store.Tx, d store.Due) error {
	vm, err := tx.VM(d.VMID)
	if err != nil {
		return ignoreGone(err)
	}
	now, old := tx.Now(), tx.Now().Sub(d.NotedAt)
	switch vm.State {
	case baadal.VMRunning, baadal.VMPaused:
		// Its row says so until its host was looked at.
		if old > runsAnyway || vm.StateSince.After(d.NotedAt) {
			return tx.ForgetDue(vm.ID)
		}
		return nil
	case baadal.VMOff, baadal.VMCrashed:
	default:
		if old > startWithin || vm.State == baadal.VMDeleted {
			return tx.ForgetDue(vm.ID)
		}
		return nil
	}
	switch {
	case vm.Task != nil || !vm.Reachable || now.Before(d.RunAfter):
		return nil // its turn comes
	case vm.HostID != d.HostID || old > startWithin:
		return tx.ForgetDue(vm.ID)
	}
	h, err := tx.Host(vm.HostID)
	if err != nil || h.State != baadal.HostUp {
		return err
	}
	subject := baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name}
	if d.Tries == 0 {
		if err := tx.ForgetDue(vm.ID); err != nil {
			return err
		}
		return note(tx, "vm", subject, vm.Generation, fmt.Sprintf("given up after %d starts", store.AutostartTries), vm.OwnerID, vm.OrganisationID, nil)
	}
	if n, err := tx.StartsOnHost(h.ID); err != nil || n >= startsAtOnce {
		return err
	}
	reason, err := startForbidden(tx, vm)
	if err != nil {
		return err
	}
	if reason != "" {
		if err := tx.ForgetDue(vm.ID); err != nil {
			return err
		}
		return note(tx, "vm", subject, vm.Generation, "not started: "+reason, vm.OwnerID, vm.OrganisationID, nil)
	}
	t := systemTask(baadal.TaskVMStart, subject)
	t.OwnerID, t.OrganisationID, t.HostID, t.Cost = vm.OwnerID, vm.OrganisationID, vm.HostID, startCost
	if err := tx.InsertTask(&t); err != nil {
		return err
	}
	if err := note(tx, "vm", subject, vm.Generation, "to be started: its host was off", vm.OwnerID, vm.OrganisationID, nil); err != nil {
		return err
	}
	d.RunAfter = now.Add(startAgain << (store.AutostartTries - d.Tries))
	d.Tries--
	return tx.UpdateDue(d)
}
