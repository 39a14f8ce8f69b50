// Package vnc lets VNC clients in that have a grant: it listens on a VM's own
// port while a grant for it lives, asks for the grant's password and leads to
// the VM's screen. It knows nothing of who may have a grant, or where a VM is.
package vnc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"baadal"
)

// Options of a Server. Zero fields get the defaults.
type Options struct {
	// Screen opens the screen of the VM of a grant for a client that knows its
	// password. Its error's message is told to the client.
	Screen func(ctx context.Context, grantID int64, client string) (io.ReadWriteCloser, error)
	Logger *slog.Logger

	Pause     time.Duration // after a wrong password, before another one is looked at; 1 s
	Patience  time.Duration // for who has not signed in yet: some viewers ask for the password then; 1 min
	Strangers int           // how many clients of a grant may be signing in at a time; 8
}

// Server listens for VNC clients on one address of the controller. It is safe
// for concurrent use.
type Server struct {
	address netip.Addr
	opt     Options
	log     *slog.Logger
	ctx     context.Context //nolint:containedctx // of all that it has running
	stop    context.CancelFunc
	wg      sync.WaitGroup

	mu    sync.Mutex
	doors map[int64]*door // by grant
}

// New returns a server that listens on no port yet.
func New(address netip.Addr, opt Options) *Server {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Pause == 0 {
		opt.Pause = time.Second
	}
	if opt.Patience == 0 {
		opt.Patience = time.Minute
	}
	if opt.Strangers == 0 {
		opt.Strangers = 8
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Server{address: address, opt: opt, log: opt.Logger, ctx: ctx, stop: stop, doors: map[int64]*door{}}
}

// Serve opens the doors of these grants and closes all others, with everybody
// who came through them. A door ends by itself at its time, also when Serve is
// not called again. It returns what could not be opened, by grant; the same call
// tries that again.
func (s *Server) Serve(grants []baadal.VNCDoor) map[int64]error {
	wanted := map[int64]baadal.VNCDoor{}
	for _, g := range grants {
		wanted[g.GrantID] = g
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, d := range s.doors {
		if _, ok := wanted[id]; !ok {
			d.close("it ended")
			delete(s.doors, id)
		}
	}
	failed := map[int64]error{}
	for id, g := range wanted {
		if d := s.doors[id]; d != nil && d.until(g.Until) {
			continue
		}
		d, err := s.open(g)
		if err != nil {
			failed[id] = err
			delete(s.doors, id)
			continue
		}
		s.doors[id] = d
	}
	return failed
}

// Close closes every door and waits for who came through them.
func (s *Server) Close() {
	s.Serve(nil)
	s.stop()
	s.wg.Wait()
}

// open opens a door. The lock is held.
func (s *Server) open(g baadal.VNCDoor) (*door, error) {
	if s.ctx.Err() != nil {
		return nil, net.ErrClosed
	}
	lc := net.ListenConfig{KeepAlive: 15 * time.Second}
	l, err := lc.Listen(s.ctx, "tcp", netip.AddrPortFrom(s.address, uint16(g.Port)).String()) //nolint:gosec // a port
	if err != nil {
		return nil, baadal.Errorf(baadal.Unavailable, "listen for VNC clients: %w", err)
	}
	ctx, stop := context.WithCancelCause(s.ctx)
	d := &door{s: s, grant: g, listener: l, ctx: ctx, stop: stop, strangers: make(chan struct{}, s.opt.Strangers), turn: make(chan struct{}, 1)}
	d.timer = time.AfterFunc(time.Until(g.Until), func() { stop(errors.New("its time is over")) })
	context.AfterFunc(ctx, func() { _ = l.Close() })
	s.wg.Go(d.accept)
	return d, nil
}

// door is an open port of a grant.
type door struct {
	s        *Server
	grant    baadal.VNCDoor
	listener net.Listener
	ctx      context.Context //nolint:containedctx // ends with the door
	stop     context.CancelCauseFunc
	timer    *time.Timer

	strangers chan struct{} // who signs in
	turn      chan struct{} // whose password is looked at
	failed    int           // passwords in a row; in turn
	next      time.Time     // when the next one is looked at; in turn
}

// close ends the door and everybody's connection. It may be called again.
func (d *door) close(why string) {
	d.timer.Stop()
	d.stop(errors.New(why))
	_ = d.listener.Close() // here, so that the port is free at once
}

// until moves the door's end; false if it is closed.
func (d *door) until(t time.Time) bool {
	d.timer.Reset(time.Until(t))
	return d.ctx.Err() == nil
}

func (d *door) accept() {
	for {
		conn, err := d.listener.Accept()
		if d.ctx.Err() != nil {
			return
		}
		if err != nil { // as when there are too many open files
			d.s.log.Warn("VNC client not accepted", "vm", d.grant.VM, "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-d.ctx.Done():
			}
			continue
		}
		select {
		case d.strangers <- struct{}{}:
			d.s.wg.Go(func() { d.serve(conn) })
		default:
			_ = conn.Close()
		}
	}
}

// serve carries one client from its greeting to its end.
func (d *door) serve(conn net.Conn) {
	ended := context.AfterFunc(d.ctx, func() { _ = conn.Close() })
	defer ended()
	defer conn.Close()
	screen, err := d.admit(conn)
	<-d.strangers
	if err != nil {
		if d.ctx.Err() == nil {
			d.s.log.Info("VNC client not let in", "vm", d.grant.VM, "client", conn.RemoteAddr().String(), "error", err)
		}
		return
	}
	defer screen.Close()
	done := make(chan struct{})
	d.s.wg.Go(func() { // ends with either side
		defer close(done)
		_, _ = io.Copy(screen, conn)
		_ = screen.Close()
		_ = conn.Close()
	})
	_, _ = io.Copy(conn, screen)
	_ = conn.Close()
	_ = screen.Close()
	<-done
}

// admit asks for the password and opens the screen.
func (d *door) admit(conn net.Conn) (io.ReadWriteCloser, error) {
	if err := conn.SetDeadline(time.Now().Add(d.s.opt.Patience)); err != nil {
		return nil, err
	}
	c := &client{ReadWriter: conn}
	challenge, answer, err := c.greet()
	if err != nil {
		return nil, err
	}
	if err := d.check(challenge, answer); err != nil {
		c.refuse(err.Error())
		return nil, err
	}
	ctx, stop := context.WithTimeout(d.ctx, d.s.opt.Patience)
	defer stop()
	screen, err := d.s.opt.Screen(ctx, d.grant.GrantID, conn.RemoteAddr().String())
	if err != nil {
		c.refuse(baadal.Message(err))
		return nil, fmt.Errorf("open screen: %w", err)
	}
	hung := context.AfterFunc(ctx, func() { _ = screen.Close() }) // a screen that says nothing
	err = enter(screen)
	if err == nil {
		err = c.welcome()
	} else {
		c.refuse("the screen does not answer")
	}
	if !hung() && err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = screen.Close()
		return nil, err
	}
	return screen, nil
}

// check looks at one password at a time, and takes its time after a wrong one:
// the whole door is asked, wherever its clients come from, for behind a NAT box
// all come from one address.
func (d *door) check(challenge, answer []byte) error {
	select {
	case d.turn <- struct{}{}:
	case <-d.ctx.Done():
		return context.Cause(d.ctx)
	}
	defer func() { <-d.turn }()
	select {
	case <-time.After(time.Until(d.next)):
	case <-d.ctx.Done():
		return context.Cause(d.ctx)
	}
	err := check(d.grant.Password, challenge, answer)
	if errors.Is(err, errWrong) {
		d.failed++
		d.next = time.Now().Add(d.s.opt.Pause)
		if d.failed == alarming {
			d.s.log.Warn("somebody guesses the password of a VNC grant", "vm", d.grant.VM)
		}
	}
	return err
}

// alarming is after how many wrong passwords it is said aloud.
const alarming = 20
