package reconcile

import (
	"context"
	"time"

	"baadal"
	"baadal/internal/store"
)

// holdVNC is how long nobody else listens for a grant's clients when its
// controller says nothing any more.
const holdVNC = 20 * time.Second

// vnc keeps the doors open of the grants for VNC clients that this controller
// holds, and ends what is over. Each grant is one controller's; when that one is
// gone, another opens the door at its own address.
func (l *Loops) vnc(ctx context.Context) {
	wake, unsubscribe := l.db.Subscribe(store.TopicVNC)
	defer unsubscribe()
	l.every(ctx, "vnc", l.opt.VNC, wake, func(ctx context.Context) error {
		if err := l.endVNC(ctx); err != nil || l.sys.VNC == nil {
			return err
		}
		held, err := l.holdVNC(ctx)
		if err != nil {
			return err
		}
		doors := make([]baadal.VNCDoor, len(held))
		for i, g := range held {
			doors[i] = baadal.VNCDoor{GrantID: g.ID, VM: g.VM, Port: g.Port, Password: g.Password, Until: g.ExpiresAt}
		}
		failed := l.sys.VNC(doors)
		return l.noteVNC(ctx, held, failed)
	})
}

// endVNC ends the grants whose time is over, and those of people who may not
// look at the VM any more.
func (l *Loops) endVNC(ctx context.Context) error {
	due := false
	err := l.db.View(ctx, func(tx *store.Tx) error {
		n, err := tx.VNCGrantsDue()
		if err != nil || n > 0 {
			due = true
			return err
		}
		lost, err := lostVNC(tx)
		due = len(lost) > 0
		return err
	})
	if err != nil || !due {
		return err
	}
	return l.db.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.EndVNCGrantsDue(); err != nil {
			return err
		}
		lost, err := lostVNC(tx)
		if err != nil {
			return err
		}
		for _, vm := range lost {
			if _, err := tx.EndVNCGrants(vm.ID); err != nil {
				return err
			}
			s := baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name}
			if err := note(tx, "vm", s, vm.Generation, "VNC grant ended: who asked for it may not see it any more", vm.OwnerID, vm.OrganisationID, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// lostVNC returns the VMs whose grant's maker may not look at them any more.
func lostVNC(tx *store.Tx) (lost []baadal.VM, err error) {
	all, err := tx.VNCGrants(baadal.Visibility{Scope: baadal.ScopeAny})
	if err != nil {
		return nil, err
	}
	for _, g := range all {
		vm, err := tx.VM(g.VMID)
		if err != nil {
			return nil, err
		}
		user, err := tx.User(g.ByID)
		if err != nil {
			return nil, err
		}
		if user.Blocked || !(baadal.Actor{User: user}).Reaches(baadal.ActionVMConsole, vm.OrganisationID, vm.OwnerID, vm.RequesterID) {
			lost = append(lost, vm)
		}
	}
	return lost, nil
}

// holdVNC returns the grants that are this controller's.
func (l *Loops) holdVNC(ctx context.Context) (held []baadal.VNCGrant, err error) {
	var all []baadal.VNCGrant
	read := func(tx *store.Tx) (err error) {
		all, err = tx.VNCGrants(baadal.Visibility{Scope: baadal.ScopeAny})
		return err
	}
	if err := l.db.View(ctx, read); err != nil || len(all) == 0 {
		return nil, err
	}
	err = l.db.Update(ctx, func(tx *store.Tx) error {
		held = nil
		for _, g := range all {
			ok, err := tx.HoldVNCGrant(g.ID, l.sys.VNCAddress, tx.Now().Add(holdVNC))
			if err != nil {
				return err
			}
			if ok && g.Port != 0 {
				held = append(held, g)
			}
		}
		return nil
	})
	return held, err
}

// noteVNC writes down which doors are open.
func (l *Loops) noteVNC(ctx context.Context, held []baadal.VNCGrant, failed map[int64]error) error {
	if len(held) == 0 {
		return nil
	}
	return l.db.Update(ctx, func(tx *store.Tx) error {
		for _, g := range held {
			problem := ""
			if err := failed[g.ID]; err != nil {
				problem = baadal.Message(err)
			}
			if err := tx.SetVNCOpen(g.ID, l.sys.VNCAddress, problem); err != nil {
				return err
			}
		}
		return nil
	})
}
