package service

import (
	"context"
	"crypto/rand"
	"math"
	"math/big"
	"net"
	"strconv"
	"time"

	"baadal"
	"baadal/internal/store"
)

// passwordLetters are those that nobody takes for one another.
const passwordLetters = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"

// newVNC is how long a grant is its first controller's, to open its door.
const newVNC = 20 * time.Second

// VNCGrants lists the grants that live of the VMs that the actor may see.
func (s *Service) VNCGrants(ctx context.Context, a baadal.Actor) (all []baadal.VNCGrant, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) {
		if all, err = tx.VNCGrants(a.Sees(baadal.ActionVNCRead)); err != nil {
			return err
		}
		for i := range all {
			if err := s.presentVNC(tx, &all[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return all, err
}

// VNCGrant returns the grant of a VM; NotFound (code no_vnc_grant) if it has
// none.
func (s *Service) VNCGrant(ctx context.Context, a baadal.Actor, ref string) (g baadal.VNCGrant, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		if _, g, err = vncGrant(tx, a, baadal.ActionVNCRead, ref); err != nil {
			return err
		}
		return s.presentVNC(tx, &g)
	})
	return g, err
}

// presentVNC makes of a grant what people may see of it: no password, and the
// address that they can reach. With a NAT box that is the box's, once it has it.
func (s *Service) presentVNC(tx *store.Tx, g *baadal.VNCGrant) error {
	g.Password = ""
	g.Address = net.JoinHostPort(g.Controller, strconv.Itoa(g.Port))
	if s.opt.NAT.Public == "" {
		return nil
	}
	led, err := tx.VMForwards(g.VMID, baadal.ForwardVNC)
	if err != nil || len(led) == 0 { // made before there was a NAT box
		return err
	}
	g.Address = net.JoinHostPort(s.opt.NAT.Public, strconv.Itoa(led[0].PublicPort))
	g.Open = g.Open && led[0].Applied
	return nil
}

// vncGrant finds a VM's grant for somebody who may do this with it.
func vncGrant(tx *store.Tx, a baadal.Actor, action baadal.Action, ref string) (vm baadal.VM, g baadal.VNCGrant, err error) {
	if vm, err = tx.VMByRef(ref, a.Sees(baadal.ActionVMRead)); err != nil {
		return vm, g, err
	}
	if err := reach(a, action, vm.OrganisationID, vm.OwnerID, vm.RequesterID); err != nil {
		return vm, g, err
	}
	g, err = tx.VNCGrant(vm.ID)
	if baadal.KindOf(err) == baadal.NotFound {
		err = baadal.Errorf(baadal.NotFound, "%s has no VNC grant", vm.Name).WithCode("no_vnc_grant").WithNext("Make one", "baadal vm vnc grant "+vm.Name)
	}
	return vm, g, err
}

// GrantVNC lets a VNC client see a VM for a while. The password is returned this
// once.
func (s *Service) GrantVNC(ctx context.Context, a baadal.Actor, ref string, in baadal.VNCGrantCreate) (g baadal.VNCGrant, err error) {
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		vm, err := tx.VMByRef(ref, a.Sees(baadal.ActionVMRead))
		if err != nil {
			return err
		}
		if err := reach(a, baadal.ActionVNCGrant, vm.OrganisationID, vm.OwnerID, vm.RequesterID); err != nil {
			return err
		}
		if err := first(s.listens(vm), viewable(a, &vm)); err != nil {
			return hideHosts(a, err)
		}
		settings, err := tx.SettingValues()
		if err != nil {
			return err
		}
		long := seconds(in.Seconds)
		if in.Seconds == 0 {
			long = settings.Duration(baadal.SettingVNCGrant)
		}
		if err := baadal.CheckVNCGrantTime(long, settings.Duration(baadal.SettingVNCLongest)); err != nil {
			return err
		}
		password := newVNCPassword()
		g = baadal.VNCGrant{VMID: vm.ID, VM: vm.Name, ByID: a.User.ID, Password: password, Controller: s.opt.VNCAddress, ExpiresAt: tx.Now().Add(long)}
		if err := tx.AddVNCGrant(&g, tx.Now().Add(newVNC), settings.Int(baadal.SettingVNCPerDay)); err != nil {
			return err
		}
		if err := s.leadVNC(tx, vm, g); err != nil {
			return err
		}
		if g, err = s.readVNC(tx, vm); err != nil {
			return err
		}
		g.Password = password
		return vncEvent(tx, a, vm, "VNC grant made", g)
	})
	return g, err
}

// leadVNC has the NAT box, if there is one, lead the VM's own port of its public
// address to this controller until the grant ends.
func (s *Service) leadVNC(tx *store.Tx, vm baadal.VM, g baadal.VNCGrant) error {
	if s.opt.NAT.Public == "" {
		return nil
	}
	f := baadal.Forward{
		VMID: vm.ID, Service: baadal.ForwardVNC, Protocol: baadal.TCP, PublicPort: vm.VNCPort, Target: g.Controller, Port: vm.VNCPort,
		ExpiresAt: g.ExpiresAt, ByID: g.ByID,
	}
	return tx.AddForward(&f, vm.VNCPort, vm.VNCPort)
}

// readVNC returns a VM's grant as people see it.
func (s *Service) readVNC(tx *store.Tx, vm baadal.VM) (baadal.VNCGrant, error) {
	g, err := tx.VNCGrant(vm.ID)
	if err != nil {
		return g, err
	}
	err = s.presentVNC(tx, &g)
	return g, err
}

// seconds is so long, or the longest time that there is: more would begin again at
// nothing.
func seconds(n int64) time.Duration {
	return time.Duration(min(n, int64(math.MaxInt64/time.Second))) * time.Second
}

// listens refuses grants where nobody would listen for their clients.
func (s *Service) listens(vm baadal.VM) error {
	if s.opt.VNCAddress != "" {
		return nil
	}
	return baadal.Errorf(baadal.Conflict, "this controller does not listen for VNC clients").WithCode("no_vnc_address").
		WithDetail("its configuration has no vnc.address").WithNext("Look at it through your own computer", "baadal vm vnc "+vm.Name)
}

// ExtendVNC has a grant last longer, from now on. What is connected stays so.
func (s *Service) ExtendVNC(ctx context.Context, a baadal.Actor, ref string, in baadal.VNCGrantExtend) (g baadal.VNCGrant, err error) {
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		vm, old, err := vncGrant(tx, a, baadal.ActionVNCExtend, ref)
		if err != nil {
			return err
		}
		settings, err := tx.SettingValues()
		if err != nil {
			return err
		}
		longest, end := settings.Duration(baadal.SettingVNCLongest), tx.Now().Add(seconds(in.Seconds))
		if end.Before(old.ExpiresAt) {
			return baadal.Errorf(baadal.Invalid, "the grant lasts longer than that already").WithField("seconds").
				WithDetail("it ends in %s", old.ExpiresAt.Sub(tx.Now()).Round(time.Second)).WithNext("End it now", "baadal vm vnc end "+vm.Name)
		}
		if err := baadal.CheckVNCGrantTime(end.Sub(old.CreatedAt), longest); err != nil {
			return err
		}
		if err := tx.ExtendVNCGrant(old.ID, end); err != nil {
			return err
		}
		led, err := tx.VMForwards(vm.ID, baadal.ForwardVNC)
		if err != nil {
			return err
		}
		for i := range led {
			if err := tx.ExtendForward(&led[i], end); err != nil {
				return err
			}
		}
		if g, err = s.readVNC(tx, vm); err != nil {
			return err
		}
		return vncEvent(tx, a, vm, "VNC grant extended", g)
	})
	return g, err
}

// EndVNC ends a VM's grant, and who came through it.
func (s *Service) EndVNC(ctx context.Context, a baadal.Actor, ref string) error {
	return s.db.Update(ctx, func(tx *store.Tx) error {
		vm, g, err := vncGrant(tx, a, baadal.ActionVNCEnd, ref)
		if err != nil {
			return err
		}
		if _, err := tx.EndVNCGrants(vm.ID); err != nil {
			return err
		}
		return vncEvent(tx, a, vm, "VNC grant ended", g)
	})
}

func vncEvent(tx *store.Tx, a baadal.Actor, vm baadal.VM, what string, g baadal.VNCGrant) error {
	return event(tx, a, baadal.Event{Subject: vmSubject(vm), Version: vm.Generation, What: what, OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID},
		map[string]any{"until": g.ExpiresAt})
}

func newVNCPassword() string {
	b := make([]byte, baadal.VNCPasswordLength)
	for i := range b {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(passwordLetters))))
		if err != nil { // never: it would have ended the program
			panic(err)
		}
		b[i] = passwordLetters[n.Int64()]
	}
	return string(b)
}

// VNCScreen opens the screen for a client of a grant that knows its password.
// Who asked for the grant must still be allowed to look.
func (s *Service) VNCScreen(ctx context.Context, grantID int64, client string) (baadal.ConsoleStream, error) {
	var a baadal.Actor
	var vm baadal.VM
	var host baadal.Host
	err := s.db.View(ctx, func(tx *store.Tx) error {
		g, err := tx.VNCGrantByID(grantID)
		if err != nil {
			return err
		}
		if a.User, err = tx.User(g.ByID); err != nil {
			return err
		}
		if a.User.Blocked {
			return forbidden(baadal.ActionVMConsole)
		}
		if vm, err = tx.VM(g.VMID); err != nil {
			return err
		}
		if err := viewable(a, &vm); err != nil {
			return hideHosts(a, err)
		}
		host, err = tx.Host(vm.HostID)
		return err
	})
	if err != nil {
		return nil, err
	}
	stream, err := s.opt.Consoles.Open(ctx, host, vm.UUID, baadal.ConsoleScreen)
	if err != nil {
		return nil, hideOutside(a, err)
	}
	screen := &lookedAt{ConsoleStream: stream, leave: s.looking.enter(vm.ID, a, baadal.ConsoleScreen, true, s.db.Now())}
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		return event(tx, a, baadal.Event{
			Subject: vmSubject(vm), Version: vm.Generation, What: "screen opened by a VNC client", OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID,
		}, map[string]any{"client": client})
	})
	if err != nil {
		_ = screen.Close()
		return nil, err
	}
	return screen, nil
}
