package workflow

import (
	"context"
	"sync"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// foundAt is a domain of a VM on a host that is not the VM's.
type foundAt struct {
	host baadal.Host
	info baadal.DomainInfo
}

// lookElsewhere asks all other hosts that are up whether they know the VM; nil
// if none does. A host that does not answer says nothing: that a disk is open
// there is known by its lock.
func (w *Workflows) lookElsewhere(ctx context.Context, vm baadal.VM) (*foundAt, error) {
	var hosts []baadal.Host
	if err := w.db.View(ctx, func(tx *store.Tx) (err error) { hosts, err = tx.KnownHosts(); return err }); err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	var mu sync.Mutex
	var wg sync.WaitGroup
	var found *foundAt
	limit := make(chan struct{}, 128)
	for _, h := range hosts {
		if h.ID == vm.HostID || h.State == baadal.HostDown {
			continue
		}
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			info, err := w.sys.Hypervisor.Domain(ctx, h, vm.UUID)
			mu.Lock()
			defer mu.Unlock()
			if err == nil && (found == nil || found.info.State == baadal.VMOff) {
				found = &foundAt{h, info}
			}
		})
	}
	wg.Wait()
	return found, nil
}

// refuseElsewhere refuses to go on with a VM that its host does not know and
// another one does: somebody moved it by hand, and its disks may be open there.
func (w *Workflows) refuseElsewhere(ctx context.Context, r *task.Run, p place) error {
	var before found
	if known, err := r.Output(r.Task.Step, &before); err != nil || !known || before.State != baadal.VMMissing {
		return err
	}
	at, err := w.lookElsewhere(ctx, p.vm)
	if err != nil || at == nil {
		return err
	}
	return baadal.Errorf(baadal.Conflict, "%s is not on %s but on %s, where it is %s", p.vm.Name, p.host.Name, at.host.Name, at.info.State).
		WithCode("moved_by_hand").WithDetail("somebody moved it there by hand; its disks were not touched").
		WithNext("Write down where it is, then try again", "baadal audit --repair")
}

// mendMoved writes down that a VM is where it was found. It looks again: its own
// host must answer and not know it.
func (w *Workflows) mendMoved(ctx context.Context, d baadal.Difference) error {
	p, err := w.load(ctx, &task.Run{Task: baadal.Task{Subject: d.Subject}})
	if err != nil {
		return err
	}
	if err := quiet(p.vm); err != nil {
		return err
	}
	changed := baadal.Errorf(baadal.Conflict, "%s was moved since; audit again", p.vm.Name)
	if _, err := w.sys.Hypervisor.Domain(ctx, p.host, p.vm.UUID); err == nil {
		return changed
	} else if baadal.KindOf(err) != baadal.NotFound {
		return err
	}
	at, err := w.lookElsewhere(ctx, p.vm)
	if err != nil {
		return err
	}
	if at == nil {
		return changed
	}
	return w.db.Update(ctx, func(tx *store.Tx) error {
		now, err := tx.VM(p.vm.ID)
		if err != nil {
			return err
		}
		if err := quiet(now); err != nil {
			return err
		}
		if now.HostID != p.vm.HostID {
			return changed
		}
		if err := tx.MoveVM(now.ID, at.host.ID, "the audit found it there: it was moved by hand"); err != nil {
			return err
		}
		_, vm, err := tx.SetVMState(now.ID, at.info.State, "")
		if err != nil {
			return err
		}
		changes, err := baadal.Changes{"host": {Old: now.Host, New: at.host.Name}, "state": {Old: now.State, New: vm.State}}.JSON()
		if err != nil {
			return err
		}
		system := baadal.System().User
		_, err = tx.AddEvent(baadal.Event{
			Topic: "vm", Subject: d.Subject, Version: vm.Generation, What: "found on " + at.host.Name, ActorID: system.ID, Actor: system.Username,
			OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID, Changes: changes,
		})
		return err
	})
}
