package service

import (
	"context"
	"sync"
	"time"

	"baadal"
	"baadal/internal/auth"
	"baadal/internal/store"
)

// Consoles opens the screens and serial lines of VMs on their hosts.
type Consoles interface {
	// Open returns a stream that ends with the VM's run on that host. Unavailable if the host does not answer, NotFound if the VM has no such console there.
	Open(ctx context.Context, host baadal.Host, uuid string, kind baadal.ConsoleKind) (baadal.ConsoleStream, error)
}

// Screens takes pictures of VMs.
type Screens interface {
	// Screenshot returns what is on the VM's screen, as PNG; Conflict if it does not run.
	Screenshot(ctx context.Context, host baadal.Host, uuid string) ([]byte, error)
}

const (
	consolePrefix = "bc_" // of tickets
	consolePath   = "/api/v1/console"
	// holdLine is how long a serial line stays a controller's that says nothing any more.
	holdLine = 45 * time.Second
	// mostPictures is how many screenshots are taken at a time.
	mostPictures = 4
)

// Console is an open console of a VM.
type Console struct {
	VM     baadal.VM
	Kind   baadal.ConsoleKind
	Stream baadal.ConsoleStream

	release func(context.Context) // gives a serial line back that nobody else holds; once
}

// openLines counts by VM who looks at its serial line or is about to.
type openLines struct {
	sync.Mutex
	open map[int64]int
}

// viewable is the rule for looking at a VM: also while a task changes it.
func viewable(a baadal.Actor, vm *baadal.VM) error {
	if err := reach(a, baadal.ActionVMConsole, vm.OrganisationID, vm.OwnerID, vm.RequesterID); err != nil {
		return err
	}
	if vm.State != baadal.VMRunning && vm.State != baadal.VMPaused {
		return baadal.Errorf(baadal.Conflict, "%s does not run: there is nothing to see", vm.Name).WithCode("vm_not_running").
			WithDetail("it is %s", vm.State).WithNext("Start it", "baadal vm start "+vm.Name)
	}
	if !vm.Reachable {
		return baadal.Errorf(baadal.Unavailable, "%s is on %s, which does not answer", vm.Name, vm.Host).WithCode("host_unreachable").
			WithNext("See what is wrong with the host", "baadal host show "+vm.Host)
	}
	return nil
}

// ConsoleTicket gives a ticket for a console of a VM that runs.
func (s *Service) ConsoleTicket(ctx context.Context, a baadal.Actor, ref string, kind baadal.ConsoleKind) (t baadal.ConsoleTicket, err error) {
	if err := kind.Validate(); err != nil {
		return t, err
	}
	secret := auth.NewSecret(consolePrefix)
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		vm, err := tx.VMByRef(ref, a.Sees(baadal.ActionVMRead))
		if err != nil {
			return err
		}
		if err := viewable(a, &vm); err != nil {
			return hideHosts(a, err)
		}
		if kind == baadal.ConsoleSerial { // said here, since a browser does not tell why a WebSocket is refused
			if free, err := tx.LineIsFree(vm.ID, s.instance); err != nil {
				return err
			} else if !free {
				return lineInUse(vm)
			}
		}
		t = baadal.ConsoleTicket{Ticket: secret, Kind: kind, URL: consolePath + "?ticket=" + secret, ExpiresAt: tx.Now().Add(baadal.ConsoleTicketTTL)}
		return tx.AddConsoleTicket(auth.HashSecret(secret), vm.ID, a.User.ID, kind, t.ExpiresAt)
	})
	if err != nil {
		return baadal.ConsoleTicket{}, err
	}
	return t, nil
}

// OpenConsole uses a ticket up and opens its console. The caller closes the
// stream, calls KeepConsole now and then, and EndConsole at the end.
func (s *Service) OpenConsole(ctx context.Context, a baadal.Actor, ticket string) (c Console, err error) {
	bad := baadal.Errorf(baadal.Forbidden, "the console ticket is not good").WithCode("bad_ticket").
		WithDetail("it is good once, for half a minute, and for who asked for it").WithNext("Ask for a new one", "")
	if !auth.IsSecret(consolePrefix, ticket) {
		return c, bad
	}
	var host baadal.Host
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		id, kind, err := tx.TakeConsoleTicket(auth.HashSecret(ticket), a.User.ID)
		if baadal.KindOf(err) == baadal.NotFound {
			return bad
		}
		if err != nil {
			return err
		}
		if c.VM, err = tx.VM(id); err != nil {
			return err
		}
		if err := viewable(a, &c.VM); err != nil {
			return hideHosts(a, err)
		}
		if host, err = tx.Host(c.VM.HostID); err != nil {
			return err
		}
		c.Kind = kind
		if c.release == nil { // this may run again
			c.release = s.enterLine(c)
		}
		return s.holdLine(tx, c)
	})
	if err != nil {
		if c.release != nil {
			c.release(ctx)
		}
		return c, err
	}
	if c.Stream, err = s.opt.Consoles.Open(ctx, host, c.VM.UUID, c.Kind); err != nil {
		c.release(ctx)
		return c, hideOutside(a, err)
	}
	leave, release := s.looking.enter(c.VM.ID, a, c.Kind, false, s.db.Now()), c.release
	c.release = func(ctx context.Context) { leave(); release(ctx) }
	if err := s.noteLook(ctx, a, c.VM, string(c.Kind)+" console opened"); err != nil { // who hears of it asks who looks
		_ = c.Stream.Close()
		c.release(ctx)
		return c, err
	}
	return c, nil
}

// noteLook tells history that somebody looks: nobody does without a line of it.
func (s *Service) noteLook(ctx context.Context, a baadal.Actor, vm baadal.VM, what string) error {
	return s.db.Update(ctx, func(tx *store.Tx) error {
		return event(tx, a, baadal.Event{Subject: vmSubject(vm), Version: vm.Generation, What: what, OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID}, nil)
	})
}

// enterLine counts one more who holds the serial line open, before it is
// claimed; what it returns counts him off, and gives the line back with the last.
func (s *Service) enterLine(c Console) (leave func(context.Context)) {
	if c.Kind != baadal.ConsoleSerial {
		return func(context.Context) {}
	}
	s.lines.Lock()
	defer s.lines.Unlock()
	s.lines.open[c.VM.ID]++
	var once sync.Once
	return func(ctx context.Context) { once.Do(func() { s.leaveLine(ctx, c) }) }
}

// holdLine claims a serial line, which only one controller can read.
func (s *Service) holdLine(tx *store.Tx, c Console) error {
	if c.Kind != baadal.ConsoleSerial {
		return nil
	}
	ok, err := tx.HoldLine(c.VM.ID, s.instance, tx.Now().Add(holdLine))
	if err == nil && !ok {
		err = lineInUse(c.VM)
	}
	return err
}

func lineInUse(vm baadal.VM) error {
	return baadal.Errorf(baadal.Conflict, "the serial console of %s is open through another controller", vm.Name).WithCode("console_in_use").
		WithDetail("a serial line has one reader").WithNext("Use the screen, or ask for it again in a minute", "")
}

// leaveLine gives a serial line back unless somebody else holds it open. Who
// comes while it is given back waits, so that the line is not taken away from
// him. The lock is taken inside the transaction, as by who comes: the other way
// round the two would wait for each other, and all that writes for both.
func (s *Service) leaveLine(ctx context.Context, c Console) {
	s.lines.Lock()
	s.lines.open[c.VM.ID]--
	held := s.lines.open[c.VM.ID] > 0
	if !held {
		delete(s.lines.open, c.VM.ID)
	}
	s.lines.Unlock()
	if held {
		return
	}
	// The request is over; when this fails the line is free a little later.
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer stop()
	err := s.db.Update(ctx, func(tx *store.Tx) error {
		s.lines.Lock()
		defer s.lines.Unlock()
		if s.lines.open[c.VM.ID] > 0 { // somebody came
			return nil
		}
		return tx.ReleaseLine(c.VM.ID, s.instance)
	})
	if err != nil {
		s.log.WarnContext(ctx, "serial line is not released", "vm", c.VM.Name, "error", err)
	}
}

// ForgetLines frees the serial lines that a controller held which was killed. It
// is called before anybody comes, where no other controller can hold one.
func (s *Service) ForgetLines(ctx context.Context) error {
	if s.db.Shared() {
		return nil
	}
	return s.db.Update(ctx, func(tx *store.Tx) error { return tx.ForgetLines() })
}

// KeepConsole looks whether the actor may still look, and keeps the serial line
// this controller's. Whatever it returns but nil must end the console.
func (s *Service) KeepConsole(ctx context.Context, a baadal.Actor, c Console) error {
	look := s.db.View
	if c.Kind == baadal.ConsoleSerial {
		look = s.db.Update
	}
	return look(ctx, func(tx *store.Tx) error {
		vm, err := tx.VM(c.VM.ID)
		if err != nil {
			return err
		}
		if err := reach(a, baadal.ActionVMConsole, vm.OrganisationID, vm.OwnerID, vm.RequesterID); err != nil {
			return err
		}
		return s.holdLine(tx, c)
	})
}

// EndConsole is called after a console's stream was closed. It tells what is to
// be said to who looked, if the VM ended it.
func (s *Service) EndConsole(ctx context.Context, a baadal.Actor, c Console) baadal.ConsoleEnd {
	c.release(ctx)
	var vm baadal.VM
	err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		vm, err = tx.VM(c.VM.ID)
		return err
	})
	refused := baadal.KindOf(err) == baadal.NotFound
	if err == nil {
		refused = !a.Reaches(baadal.ActionVMConsole, vm.OrganisationID, vm.OwnerID, vm.RequesterID)
	}
	switch {
	case refused:
		return baadal.ConsoleEnd{Code: baadal.ConsoleRefused, Reason: "you may not see " + c.VM.Name + " any more"}
	case err != nil: // nobody can say now
		return baadal.ConsoleEnd{Code: baadal.ConsoleMoved, Reason: "the server has a moment of trouble"}
	case vm.State != baadal.VMRunning && vm.State != baadal.VMPaused:
		return baadal.ConsoleEnd{Code: baadal.ConsoleOff, Reason: c.VM.Name + " is " + vm.State.String()}
	}
	return baadal.ConsoleEnd{Code: baadal.ConsoleMoved, Reason: c.VM.Name + " restarts or moves"}
}

// Screenshot returns what is on a VM's screen, as PNG.
func (s *Service) Screenshot(ctx context.Context, a baadal.Actor, ref string) ([]byte, error) {
	var vm baadal.VM
	var host baadal.Host
	err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		if vm, err = tx.VMByRef(ref, a.Sees(baadal.ActionVMRead)); err != nil {
			return err
		}
		if err := viewable(a, &vm); err != nil {
			return err
		}
		host, err = tx.Host(vm.HostID)
		return err
	})
	if err != nil {
		return nil, hideHosts(a, err)
	}
	// A picture takes some 30 MB and half a second while it is made, whoever asks
	// how often.
	select {
	case s.pictures <- struct{}{}:
		defer func() { <-s.pictures }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	png, err := s.opt.Screens.Screenshot(ctx, host, vm.UUID)
	if err != nil {
		return nil, hideOutside(a, err)
	}
	return png, s.noteLook(ctx, a, vm, "picture of the screen taken")
}
