package workflow

import (
	"context"
	"fmt"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// VMMigrateParams are the parameters of a migration beside the VM's row. Room on
// the destination was claimed in the transaction that made the task.
type VMMigrateParams struct {
	From      int64            `json:"from"`
	To        int64            `json:"to"`
	Why       string           `json:"why"` // it goes there
	Wish      baadal.VMMigrate `json:"wish"`
	Migration baadal.Migration `json:"migration"`
}

// vmMigrate moves a VM to another host. Whatever happens, where the VM is
// afterwards is what the two hosts say, and the store is told so. Its snapshots
// are taken off the domain before and told to whichever host has it then; their
// data stays in the images.
func (w *Workflows) vmMigrate() task.Body {
	return task.Body{
		Kind: baadal.TaskVMMigrate,
		Steps: []task.Step{
			{Name: "preflight", Do: w.migratePreflight},
			{Name: "take snapshots off", Do: w.endChainFirst(w.takeSnapshotsOff), Undo: w.putSnapshotsBack},
			{Name: "migrate", Do: w.migrate, Undo: w.settleMigration, Timeout: 25 * time.Hour},
			{Name: "put snapshots on", Do: w.putSnapshotsBack},
		},
		Tries:  3,
		Done:   vmMigrated,
		Undone: vmNotMigrated,
	}
}

// voyage is a migration with everything around it.
type voyage struct {
	place
	params   VMMigrateParams
	from, to baadal.Host
}

func (w *Workflows) loadVoyage(ctx context.Context, r *task.Run) (v voyage, err error) {
	if v.params, err = task.Params[VMMigrateParams](r); err != nil {
		return v, err
	}
	if v.place, err = w.load(ctx, r); err != nil {
		return v, err
	}
	err = w.db.View(ctx, func(tx *store.Tx) error {
		if v.from, err = tx.Host(v.params.From); err != nil {
			return err
		}
		v.to, err = tx.Host(v.params.To)
		return err
	})
	return v, err
}

// migratePreflight looks at both hosts once more, before anything is touched,
// and records how the domain was.
func (w *Workflows) migratePreflight(ctx context.Context, r *task.Run) error {
	v, err := w.loadVoyage(ctx, r)
	if err != nil {
		return err
	}
	if known, err := r.Output("preflight", &found{}); known || err != nil {
		return err
	}
	there, err := w.sys.Migrator.Half(ctx, v.to, v.vm.UUID)
	if err != nil {
		return err
	}
	if there.There {
		return baadal.Errorf(baadal.Conflict, "%s has a domain of %s already", v.to.Name, v.vm.Name).WithCode("domain_exists").
			WithNext("See what is there", "baadal audit")
	}
	here, err := w.sys.Migrator.Half(ctx, v.from, v.vm.UUID)
	if err != nil {
		return err
	}
	active := here.State == baadal.VMRunning || here.State == baadal.VMPaused
	switch {
	case !here.There:
		return baadal.Errorf(baadal.Conflict, "%s does not know the domain of %s", v.from.Name, v.vm.Name).WithCode("vm_missing").
			WithNext("Define it again from the store", "baadal audit --repair")
	case here.Saved:
		return baadal.Errorf(baadal.Conflict, "%s is saved to the disk of %s: it can only go on there", v.vm.Name, v.from.Name).WithCode("vm_saved")
	case active && v.params.Wish.Offline:
		return baadal.Errorf(baadal.Conflict, "%s is %s by now, and was to be moved offline", v.vm.Name, here.State).WithCode("vm_state")
	}
	if err := w.sys.Migrator.Fits(ctx, v.from, v.to, v.vm.UUID); err != nil {
		return err
	}
	r.Detail("%s on %s", here.State, v.from.Name)
	return r.Record(found{State: here.State})
}

// carried are the snapshots on their way, secrets in their XML included: the
// journal is the store's, as the snapshots' own table is.
type carried struct {
	Snapshots []baadal.DomainSnapshot `json:"snapshots"`
}

// takeSnapshotsOff writes all snapshots to the journal before their metadata is
// taken off the domain: libvirt moves no domain that has any.
func (w *Workflows) takeSnapshotsOff(ctx context.Context, r *task.Run) error {
	v, err := w.loadVoyage(ctx, r)
	if err != nil {
		return err
	}
	n, err := w.takeOff(ctx, r, v.from, v.vm.UUID)
	if n > 0 {
		r.Detail("%d snapshots", n)
	}
	return err
}

// takeOff is a step of the name "take snapshots off"; it tells how many.
func (w *Workflows) takeOff(ctx context.Context, r *task.Run, host baadal.Host, uuid string) (int, error) {
	var c carried
	known, err := r.Output(r.Task.Step, &c)
	if err != nil {
		return 0, err
	}
	if !known {
		if c.Snapshots, err = w.sys.Snapshots.Snapshots(ctx, host, uuid); err != nil {
			return 0, err
		}
		if err := r.Record(c); err != nil {
			return 0, err
		}
	}
	if len(c.Snapshots) == 0 {
		return 0, nil
	}
	return len(c.Snapshots), w.sys.Snapshots.ForgetSnapshots(ctx, host, uuid)
}

// putSnapshotsBack tells the host that has the domain now of its snapshots.
func (w *Workflows) putSnapshotsBack(ctx context.Context, r *task.Run) error {
	v, err := w.loadVoyage(ctx, r)
	if err != nil {
		return err
	}
	var c carried
	if _, err := r.Output("take snapshots off", &c); err != nil || len(c.Snapshots) == 0 {
		return err
	}
	at, err := v.at(r)
	if err != nil {
		return err
	}
	r.Detail("%d snapshots on %s", len(c.Snapshots), at.Name)
	return w.sys.Snapshots.RedefineSnapshots(ctx, at, v.vm.UUID, c.Snapshots)
}

// at is the host that has the domain, as far as the journal knows.
func (v *voyage) at(r *task.Run) (baadal.Host, error) {
	var s settled
	if _, err := r.Output("migrate", &s); err != nil || s.Host != v.to.ID {
		return v.from, err
	}
	return v.to, nil
}

// migrate moves the domain. It begins and ends with asking both hosts where it
// is, so that it may be repeated at any point.
func (w *Workflows) migrate(ctx context.Context, r *task.Run) error {
	v, err := w.loadVoyage(ctx, r)
	if err != nil {
		return err
	}
	var before found
	if _, err := r.Output("preflight", &before); err != nil {
		return err
	}
	s, err := w.settle(ctx, v, before, false)
	if err != nil {
		return err
	}
	if s.Host == v.from.ID && s.State == baadal.VMOff && (before.State == baadal.VMRunning || before.State == baadal.VMPaused) {
		return baadal.Errorf(baadal.Conflict, "%s is off by now: it, or %s, lost its power while it was to be moved", v.vm.Name, v.from.Name).WithCode("vm_state").
			WithNext("Start it", "baadal vm start "+v.vm.Name)
	}
	if s.Host != v.to.ID {
		cause := w.moveDomain(ctx, r, v, s.State)
		// Where it is now is asked even if the time is over: it may have arrived.
		after, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer stop()
		if s, err = w.settle(after, v, before, false); err != nil {
			if cause != nil {
				return fmt.Errorf("%w (and then: %w)", cause, err)
			}
			return err
		}
		if s.Host != v.to.ID {
			if cause == nil {
				cause = baadal.Errorf(baadal.Conflict, "%s did not stay on %s", v.vm.Name, v.to.Name).WithCode("migration_failed")
			}
			return cause
		}
	}
	return r.Record(s)
}

// moveDomain moves an active domain with its memory, of one that is off only
// the definition.
func (w *Workflows) moveDomain(ctx context.Context, r *task.Run, v voyage, state baadal.VMState) error {
	if state != baadal.VMRunning && state != baadal.VMPaused {
		p := v.place
		p.host = v.to
		r.Detail("definition only: it is %s", state)
		return w.sys.Hypervisor.Define(ctx, v.to, w.domain(p))
	}
	begun := time.Now()
	done, err := w.sys.Migrator.Migrate(ctx, v.from, v.to, v.vm.UUID, v.params.Migration, func(p baadal.MigrationProgress) {
		words := fmt.Sprintf("%d of %d MiB", (p.Total-p.Remaining)>>20, p.Total>>20)
		if p.Rate > 0 {
			words += fmt.Sprintf(", %d MiB/s", p.Rate>>20)
		}
		words += fmt.Sprintf(", %d MiB remain", p.Remaining>>20)
		if p.PostCopy {
			words += fmt.Sprintf("; it goes on on %s already", v.to.Name)
		}
		r.Progress(p.Share(), words)
	})
	switch {
	case err == nil && done.PostCopy:
		r.Detail("in %s, the last part of its memory by post-copy", time.Since(begun).Round(10*time.Millisecond))
	case err == nil:
		r.Detail("in %s, the guest stood still for %s", time.Since(begun).Round(10*time.Millisecond), done.Downtime)
	}
	return err
}

// settleMigration is the undo: it makes the VM whole in the one place where it
// is. What has arrived is not sent back.
func (w *Workflows) settleMigration(ctx context.Context, r *task.Run) error {
	v, err := w.loadVoyage(ctx, r)
	if err != nil {
		return err
	}
	var before found
	if _, err := r.Output("preflight", &before); err != nil {
		return err
	}
	s, err := w.settle(ctx, v, before, true)
	if err != nil {
		return err
	}
	return r.Record(s)
}

// settled says where a domain is.
type settled struct {
	Host  int64          `json:"host"`
	State baadal.VMState `json:"state"`
}

// settle asks both hosts what they have of the domain and removes the half that
// is not it. If either does not answer, nothing is resumed, started or removed:
// that is Unavailable. With both off, the domain is where it was when the
// migration is taken back, and where it goes to otherwise.
//
//	source              destination          the VM is
//	running             nothing or half      at the source; the half is destroyed
//	paused by the move  nothing or half      at the source, which is resumed; the half is destroyed
//	off                 nothing or half      at the source: its host lost power; the half is destroyed
//	paused or off       whole                at the destination; the source is destroyed and undefined
//	running             running              nowhere safe: nothing is touched
//	post-copy, or off   post-copy, or none   off at the source: its memory was torn, both parts are destroyed
func (w *Workflows) settle(ctx context.Context, v voyage, before found, back bool) (settled, error) {
	uuid := v.vm.UUID
	if err := w.sys.Migrator.AbortMigration(ctx, v.from, uuid); err != nil {
		return settled{}, err
	}
	there, err := w.sys.Migrator.Half(ctx, v.to, uuid)
	if err != nil {
		return settled{}, err
	}
	here, err := w.sys.Migrator.Half(ctx, v.from, uuid)
	if err != nil {
		return settled{}, err
	}
	if here.PostCopy || there.PostCopy {
		return w.settleTorn(ctx, v, here, there, back)
	}
	active := func(h baadal.DomainHalf) bool { return h.State == baadal.VMRunning || h.State == baadal.VMPaused }
	whole := there.There && there.Persistent && !there.Migrating
	switch {
	case here.There && here.State == baadal.VMRunning && whole && active(there):
		return settled{}, baadal.Errorf(baadal.Conflict, "%s runs on %s and is %s on %s: nothing was touched", v.vm.Name, v.from.Name, there.State, v.to.Name).
			WithCode("two_writers").WithNext("Look at both hosts, and cut the power of one", "baadal audit")
	case whole && (!here.There || here.State != baadal.VMRunning) && (!back || !here.There || active(here) || active(there)):
		return settled{v.to.ID, there.State}, w.removeDomain(ctx, v.from, uuid, here)
	case !here.There && there.There:
		return settled{}, baadal.Errorf(baadal.Conflict, "%s has only half of %s, and %s has nothing: nothing was touched", v.to.Name, v.vm.Name, v.from.Name).
			WithCode("migration_lost").WithNext("Look at both hosts", "baadal audit")
	case !here.There:
		return settled{v.from.ID, baadal.VMMissing}, nil
	}
	if err := w.removeDomain(ctx, v.to, uuid, there); err != nil {
		return settled{}, err
	}
	if here.State == baadal.VMPaused && before.State == baadal.VMRunning && here.Migrating {
		if err := w.sys.Migrator.ResumeMigrated(ctx, v.from, uuid); err != nil {
			return settled{}, err
		}
		here.State = baadal.VMRunning
	}
	return settled{v.from.ID, here.State}, nil
}

// settleTorn ends a post-copy that broke: part of the VM's memory is on each
// host, or was on the one that died, and nothing puts it together again. It has
// written to its disks on the destination, so what the source has must not run
// either. One that is whole on the destination, with nothing of it left running
// on the source, has only just arrived.
func (w *Workflows) settleTorn(ctx context.Context, v voyage, here, there baadal.DomainHalf, back bool) (settled, error) {
	for _, x := range []struct {
		host baadal.Host
		half baadal.DomainHalf
	}{{v.to, there}, {v.from, here}} {
		if x.half.There && x.half.State != baadal.VMOff {
			if err := w.sys.Hypervisor.Destroy(ctx, x.host, v.vm.UUID); err != nil {
				return settled{}, err
			}
		}
	}
	if here.There {
		if there.There {
			if err := w.sys.Hypervisor.Undefine(ctx, v.to, v.vm.UUID); err != nil {
				return settled{}, err
			}
		}
		if !back {
			return settled{}, baadal.Errorf(baadal.Conflict, "the memory of %s was lost between %s and %s: it is off, as after a power failure", v.vm.Name, v.from.Name, v.to.Name).
				WithCode("postcopy_lost").WithDetail("its disks are as the guest last wrote them").WithNext("Start it", "baadal vm start "+v.vm.Name)
		}
		return settled{v.from.ID, baadal.VMOff}, nil
	}
	return settled{v.to.ID, baadal.VMOff}, nil
}

// removeDomain removes what a host has of a domain that is on another.
func (w *Workflows) removeDomain(ctx context.Context, host baadal.Host, uuid string, half baadal.DomainHalf) error {
	if !half.There {
		return nil
	}
	if half.State != baadal.VMOff {
		if err := w.sys.Hypervisor.Destroy(ctx, host, uuid); err != nil {
			return err
		}
	}
	return w.sys.Hypervisor.Undefine(ctx, host, uuid)
}

// vmMigrated is the cut-over in the store.
func vmMigrated(tx *store.Tx, r *task.Run) (string, error) {
	vm, err := arrived(tx, r)
	return vm.Name + " is migrated successfully", err
}

// vmNotMigrated gives the claim on the destination back, or, when the VM had
// arrived there before the migration was taken back, the one on the source.
func vmNotMigrated(tx *store.Tx, r *task.Run) error {
	vm, err := arrived(tx, r)
	if err != nil {
		return err
	}
	params, err := task.Params[VMMigrateParams](r)
	if err == nil && vm.HostID == params.To {
		r.Task.Message += "; it had arrived on " + vm.Host + " by then and stays there"
	}
	return err
}

// arrived writes down where the VM is and how. Its state was not followed while
// it was in two places.
func arrived(tx *store.Tx, r *task.Run) (baadal.VM, error) {
	params, err := task.Params[VMMigrateParams](r)
	if err != nil {
		return baadal.VM{}, err
	}
	var s settled
	known, err := r.Output("migrate", &s)
	if err != nil {
		return baadal.VM{}, err
	}
	before, err := tx.VM(r.Task.Subject.ID)
	if err != nil {
		return before, err
	}
	if !known || s.Host != params.To {
		if err := tx.ReleaseVMTarget(before.ID); err != nil {
			return before, err
		}
	} else if err := tx.MoveVM(before.ID, params.To, params.Why); err != nil {
		return before, err
	}
	state, reason := before.State, before.Reason
	if known && s.State != before.State {
		state, reason = s.State, ""
	}
	vm, err := vmChanged(tx, r, state, reason)
	if err != nil || vm.HostID == before.HostID {
		return vm, err
	}
	changes, err := baadal.Changes{"host": {Old: before.Host, New: vm.Host}}.JSON()
	if err != nil {
		return vm, err
	}
	_, err = tx.AddEvent(baadal.Event{
		Topic: "vm", Subject: vmSubject(vm), Version: vm.Generation, What: "migrated", ActorID: r.Task.RequesterID, Actor: r.Task.Requester,
		OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID, Changes: changes,
	})
	return vm, err
}
