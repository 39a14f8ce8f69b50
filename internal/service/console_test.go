package service_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/console"
	"baadal/internal/service"
	"baadal/internal/store"
)

// slowHost is a host whose guests' consoles answer when they are told to.
type slowHost struct {
	called chan struct{}
	answer chan error
}

func newSlowHost() *slowHost {
	return &slowHost{called: make(chan struct{}, 8), answer: make(chan error, 8)}
}

func (h *slowHost) DialUnix(ctx context.Context, _ baadal.Host, _ string) (net.Conn, error) {
	h.called <- struct{}{}
	select {
	case err := <-h.answer:
		if err != nil {
			return nil, err
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ours, theirs := net.Pipe()
	context.AfterFunc(ctx, func() { _ = ours.Close() })
	return theirs, nil
}

// consoles are a cloud's whose hosts are slow.
func consoles(t *testing.T) (*cloud, *slowHost, baadal.VM) {
	t.Helper()
	c, h := newCloud(t), newSlowHost()
	vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "web"})
	c.Service = service.New(c.db, c.queue, service.Options{Consoles: console.New(h)})
	return c, h, vm
}

func (c *cloud) openConsole(t *testing.T, vm baadal.VM) (service.Console, error) {
	t.Helper()
	ticket, err := c.ConsoleTicket(t.Context(), c.orgadmin, vm.Name, baadal.ConsoleSerial)
	if err != nil {
		t.Fatal(err)
	}
	return c.OpenConsole(t.Context(), c.orgadmin, ticket.Ticket)
}

// History says that a console was opened when it was, not when it was asked for.
func TestConsoleThatTheHostRefuses(t *testing.T) {
	t.Parallel()
	c, h, vm := consoles(t)
	opened := func() (n int) {
		c.view(t, func(tx *store.Tx) error {
			all, err := tx.EventsAfter(0, nil, nil, c.orgadmin.Sees(baadal.ActionVMRead), 1000)
			n = len(slices.DeleteFunc(all, func(e baadal.Event) bool { return !strings.Contains(e.What, "console opened") }))
			return err
		})
		return n
	}
	h.answer <- baadal.Errorf(baadal.Unavailable, "host1 does not answer")
	if _, err := c.openConsole(t, vm); baadal.KindOf(err) != baadal.Unavailable {
		t.Fatalf("got %v", err)
	}
	if n := opened(); n != 0 {
		t.Errorf("%d consoles were opened, says history", n)
	}
	h.answer <- nil
	s, err := c.openConsole(t, vm)
	if err != nil {
		t.Fatal(err)
	}
	if n := opened(); n != 1 {
		t.Errorf("%d consoles were opened, says history", n)
	}
	_ = s.Stream.Close()
	c.EndConsole(t.Context(), c.orgadmin, s)
}

// A serial line stays this controller's while somebody is about to look at it,
// though the one before leaves just then.
func TestSerialLineIsKeptForWhoComes(t *testing.T) {
	t.Parallel()
	c, h, vm := consoles(t)
	h.answer <- nil
	first, err := c.openConsole(t, vm)
	if err != nil {
		t.Fatal(err)
	}
	<-h.called
	_ = first.Stream.Close()
	second := make(chan service.Console)
	go func() {
		defer close(second)
		s, err := c.openConsole(t, vm)
		if err != nil {
			t.Error(err)
			return
		}
		second <- s
	}()
	<-h.called // it has claimed the line, and dials
	c.EndConsole(t.Context(), c.orgadmin, first)
	others := func() (got bool) {
		c.update(t, func(tx *store.Tx) (err error) {
			got, err = tx.HoldLine(vm.ID, "another controller", tx.Now().Add(time.Minute))
			return err
		})
		return got
	}
	if others() {
		t.Error("another controller got the line")
	}
	h.answer <- nil
	s, ok := <-second
	if !ok {
		return
	}
	_ = s.Stream.Close()
	c.EndConsole(t.Context(), c.orgadmin, s)
	if !others() {
		t.Error("the line is held by nobody's console")
	}
}
