package service

import (
	"context"
	"fmt"
	"time"

	"baadal"
	"baadal/internal/store"
)

// Forwards lists the mappings to VMs that the actor may see, the next to end
// first.
func (s *Service) Forwards(ctx context.Context, a baadal.Actor) (all []baadal.Forward, err error) {
	if err := may(a, baadal.ActionForwardRead); err != nil {
		return nil, err
	}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		all, err = tx.Forwards(baadal.ForwardPort, a.Sees(baadal.ActionForwardRead))
		s.presentForwards(tx, all)
		return err
	})
	return all, err
}

// VMForwards lists the mappings to a VM.
func (s *Service) VMForwards(ctx context.Context, a baadal.Actor, ref string) (all []baadal.Forward, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		vm, err := tx.VMByRef(ref, a.Sees(baadal.ActionVMRead))
		if err != nil {
			return err
		}
		if err := reach(a, baadal.ActionForwardRead, vm.OrganisationID, vm.OwnerID, vm.RequesterID); err != nil {
			return err
		}
		all, err = tx.VMForwards(vm.ID, baadal.ForwardPort)
		s.presentForwards(tx, all)
		return err
	})
	return all, err
}

// Forward returns one mapping of a VM.
func (s *Service) Forward(ctx context.Context, a baadal.Actor, ref string, id int64) (f baadal.Forward, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		vm, err := tx.VMByRef(ref, a.Sees(baadal.ActionVMRead))
		if err != nil {
			return err
		}
		if f, err = forwardOf(tx, a, baadal.ActionForwardRead, vm, id); err != nil {
			return err
		}
		one := []baadal.Forward{f}
		s.presentForwards(tx, one)
		f = one[0]
		return nil
	})
	return f, err
}

func (s *Service) presentForwards(tx *store.Tx, all []baadal.Forward) {
	for i := range all {
		f := &all[i]
		f.Public, f.SecondsTo = s.opt.NAT.Public, int64(f.ExpiresAt.Sub(tx.Now()).Round(time.Second)/time.Second)
	}
}

// AddForward opens a port of a VM to the outside for a time.
func (s *Service) AddForward(ctx context.Context, a baadal.Actor, ref string, in baadal.ForwardAdd, opt baadal.ChangeOptions) (c baadal.Change[baadal.Forward], err error) {
	if err := first(may(a, baadal.ActionForwardAdd), in.Validate(), s.needNAT()); err != nil {
		return c, err
	}
	return s.changeForward(ctx, a, opt, "port mapping added", func(tx *store.Tx) (f baadal.Forward, err error) {
		vm, err := tx.VMForUpdate(ref, a.Sees(baadal.ActionVMRead))
		if err != nil {
			return f, err
		}
		if err := reach(a, baadal.ActionForwardAdd, vm.OrganisationID, vm.OwnerID, vm.RequesterID); err != nil {
			return f, err
		}
		if vm.State == baadal.VMDeleted || vm.Address == "" {
			return f, baadal.Errorf(baadal.Conflict, "%s is deleted", vm.Name).WithCode("vm_deleted")
		}
		settings, until, err := forwardUntil(tx, in.Seconds)
		if err != nil {
			return f, err
		}
		low, high := settings.Int(baadal.SettingForwardFirst), settings.Int(baadal.SettingForwardLast)
		if in.PublicPort != 0 && (in.PublicPort < low || in.PublicPort > high) {
			return f, baadal.Errorf(baadal.Invalid, "port %d of the NAT box is not for mappings", in.PublicPort).WithField("public_port").WithDetail("%d to %d are", low, high)
		}
		open, err := tx.CountForwards(vm.ID, baadal.ForwardPort)
		if err != nil {
			return f, err
		}
		if most := settings.Int(baadal.SettingForwardLimit); open >= most {
			return f, baadal.Errorf(baadal.Exhausted, "%s has %d port mappings", vm.Name, open).WithCode("forward_limit").
				WithDetail("%d at a time is the most (setting %s)", most, baadal.SettingForwardLimit).WithNext("End one", "baadal vm forward end "+vm.Name+" PORT")
		}
		f = baadal.Forward{
			VMID: vm.ID, Service: baadal.ForwardPort, Protocol: in.Protocol, PublicPort: in.PublicPort, Port: in.Port, ExpiresAt: until, ByID: a.User.ID,
		}
		err = tx.AddForward(&f, low, high)
		return f, err
	})
}

// forwardUntil is when a mapping ends that is to be open for so long.
func forwardUntil(tx *store.Tx, seconds int64) (baadal.SettingValues, time.Time, error) {
	settings, err := tx.SettingValues()
	if err != nil {
		return nil, time.Time{}, err
	}
	d, most := time.Duration(seconds)*time.Second, settings.Duration(baadal.SettingForwardLongest)
	if d > most {
		return nil, time.Time{}, baadal.Errorf(baadal.Invalid, "a port cannot be open for %s", d).WithCode("too_long").WithField("seconds").
			WithDetail("%s is the most (setting %s); it can be extended before it ends", most, baadal.SettingForwardLongest)
	}
	return settings, tx.Now().Add(d), nil
}

// ExtendForward gives a mapping another end; it may also be an earlier one.
func (s *Service) ExtendForward(ctx context.Context, a baadal.Actor, ref string, id int64, in baadal.ForwardExtend, opt baadal.ChangeOptions) (c baadal.Change[baadal.Forward], err error) {
	if err := first(may(a, baadal.ActionForwardExtend), in.Validate(), s.needNAT()); err != nil {
		return c, err
	}
	return s.changeForward(ctx, a, opt, "port mapping extended", func(tx *store.Tx) (baadal.Forward, error) {
		f, err := forwardFor(tx, a, baadal.ActionForwardExtend, ref, id, opt)
		if err != nil {
			return f, err
		}
		_, until, err := forwardUntil(tx, in.Seconds)
		if err != nil {
			return f, err
		}
		return f, tx.ExtendForward(&f, until)
	})
}

// EndForward ends a mapping at once.
func (s *Service) EndForward(ctx context.Context, a baadal.Actor, ref string, id int64, opt baadal.ChangeOptions) (c baadal.Change[baadal.Forward], err error) {
	if err := may(a, baadal.ActionForwardEnd); err != nil {
		return c, err
	}
	return s.changeForward(ctx, a, opt, "port mapping ended", func(tx *store.Tx) (baadal.Forward, error) {
		f, err := forwardFor(tx, a, baadal.ActionForwardEnd, ref, id, opt)
		if err != nil {
			return f, err
		}
		return f, tx.EndForward(f.ID)
	})
}

// forwardFor finds the mapping that an actor wants to change.
func forwardFor(tx *store.Tx, a baadal.Actor, action baadal.Action, ref string, id int64, opt baadal.ChangeOptions) (f baadal.Forward, err error) {
	vm, err := tx.VMForUpdate(ref, a.Sees(baadal.ActionVMRead))
	if err != nil {
		return f, err
	}
	if f, err = forwardOf(tx, a, action, vm, id); err != nil {
		return f, err
	}
	return f, checkGeneration(opt, f.Generation)
}

// forwardOf finds a mapping of a VM that the actor may do the action to.
func forwardOf(tx *store.Tx, a baadal.Actor, action baadal.Action, vm baadal.VM, id int64) (f baadal.Forward, err error) {
	if err := reach(a, action, vm.OrganisationID, vm.OwnerID, vm.RequesterID); err != nil {
		return f, err
	}
	if f, err = tx.Forward(id, baadal.ForwardPort); err != nil {
		return f, err
	}
	if f.VMID != vm.ID {
		return f, baadal.Errorf(baadal.NotFound, "there is no port mapping %d of %s", id, vm.Name)
	}
	return f, nil
}

// changeForward runs a change in a transaction, with its line of history.
func (s *Service) changeForward(ctx context.Context, a baadal.Actor, opt baadal.ChangeOptions, what string, change func(*store.Tx) (baadal.Forward, error)) (c baadal.Change[baadal.Forward], err error) {
	var f baadal.Forward
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if f, err = change(tx); err != nil {
			return err
		}
		if now, err := tx.Forward(f.ID, baadal.ForwardPort); err == nil { // one that has not just ended
			f = now
		}
		one := []baadal.Forward{f}
		s.presentForwards(tx, one)
		f = one[0]
		if opt.DryRun {
			return errDryRun
		}
		vm, err := tx.VM(f.VMID)
		if err != nil {
			return err
		}
		return event(tx, a, baadal.Event{Subject: vmSubject(vm), Version: vm.Generation, What: what, OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID},
			map[string]any{"port": f.Name(), "public_port": f.PublicPort, "expires_at": f.ExpiresAt})
	})
	if isDryRun(err) {
		return baadal.Change[baadal.Forward]{Plan: &baadal.Plan{
			Summary: fmt.Sprintf("%s: %s port %d leads to port %s of %s until %s", what, f.Public, f.PublicPort, f.Name(), f.VM, f.ExpiresAt.Format(time.RFC3339)),
		}}, nil
	}
	if err != nil {
		return c, err
	}
	return baadal.Change[baadal.Forward]{Resource: &f}, nil
}
