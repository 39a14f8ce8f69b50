package service_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

// One who comes and one who goes at the same moment do not wait for each other,
// and nobody who writes waits for them.
func TestWhoComesAndWhoGoes(t *testing.T) {
	t.Parallel()
	c, h, vm := consoles(t)
	ctx := t.Context()
	for range 8 {
		h.answer <- nil
		first, err := c.openConsole(t, vm)
		if err != nil {
			t.Fatal(err)
		}
		<-h.called
		ticket, err := c.ConsoleTicket(ctx, c.orgadmin, vm.Name, baadal.ConsoleSerial)
		if err != nil {
			t.Fatal(err)
		}
		_ = first.Stream.Close()
		writes, done := make(chan struct{}), make(chan struct{})
		go func() {
			_ = c.db.Update(ctx, func(*store.Tx) error { close(writes); <-done; return nil })
		}()
		<-writes // both queue up behind this
		var both sync.WaitGroup
		h.answer <- nil
		both.Go(func() {
			s, err := c.OpenConsole(ctx, c.orgadmin, ticket.Ticket)
			if err != nil {
				t.Error(err)
				return
			}
			_ = s.Stream.Close()
			c.EndConsole(ctx, c.orgadmin, s)
		})
		both.Go(func() { c.EndConsole(ctx, c.orgadmin, first) })
		time.Sleep(20 * time.Millisecond) // for both to be there; it must come through however this goes
		begun := time.Now()
		close(done)
		both.Wait()
		<-h.called
		if took := time.Since(begun); took > 3*time.Second {
			t.Fatalf("it took %s", took)
		}
	}
}

// A line that another controller reads is told when the ticket is asked for, and
// one that a killed controller left is free at the next start.
func TestSerialLineOfAKilledController(t *testing.T) {
	t.Parallel()
	c, h, vm := consoles(t)
	c.update(t, func(tx *store.Tx) error {
		_, err := tx.HoldLine(vm.ID, "killed", tx.Now().Add(time.Minute))
		return err
	})
	_, err := c.ConsoleTicket(t.Context(), c.orgadmin, vm.Name, baadal.ConsoleSerial)
	refused(t, err, baadal.Conflict, "console_in_use")
	if _, err := c.ConsoleTicket(t.Context(), c.orgadmin, vm.Name, baadal.ConsoleScreen); err != nil {
		t.Errorf("the screen: %v", err)
	}
	if err := c.ForgetLines(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.answer <- nil
	s, err := c.openConsole(t, vm)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Stream.Close()
	c.EndConsole(t.Context(), c.orgadmin, s)
}

// Who may look at a VM sees who does.
func TestConsoleViewers(t *testing.T) {
	t.Parallel()
	c, h, vm := viewers(t)
	ctx := t.Context()
	want := func(a baadal.Actor, want ...string) {
		t.Helper()
		all, err := c.ConsoleViewers(ctx, a, vm.Name)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, v := range all {
			got = append(got, fmt.Sprint(v.User, " ", v.Kind, " client:", v.VNCClient, " yours:", v.Yours))
			if !v.Since.Equal(c.clock.Now()) {
				t.Errorf("%s since %s", v.User, v.Since)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	want(c.admin)
	h.answer <- nil
	s, err := c.openConsole(t, vm)
	if err != nil {
		t.Fatal(err)
	}
	g, err := c.GrantVNC(ctx, c.admin, "web", baadal.VNCGrantCreate{})
	if err != nil {
		t.Fatal(err)
	}
	h.answer <- nil
	client, err := c.VNCScreen(ctx, g.ID, "192.0.2.7:4711")
	if err != nil {
		t.Fatal(err)
	}
	dean, admin := c.orgadmin.User.Username, c.admin.User.Username
	want(c.admin, dean+" serial client:false yours:false", admin+" screen client:true yours:true")
	want(c.orgadmin, dean+" serial client:false yours:true", admin+" screen client:true yours:false")
	_, err = c.ConsoleViewers(ctx, c.stranger, vm.Name)
	refused(t, err, baadal.NotFound, "not_found")
	_ = client.Close()
	_ = client.Close()
	_ = s.Stream.Close()
	c.EndConsole(ctx, c.orgadmin, s)
	want(c.admin)
}

// heldScreens take pictures that are finished when they are told to.
type heldScreens struct {
	begun, finish chan struct{}
	err           error
}

func (s heldScreens) Screenshot(context.Context, baadal.Host, string) ([]byte, error) {
	s.begun <- struct{}{}
	<-s.finish
	return []byte("a picture"), s.err
}

// Pictures are taken a few at a time, and each leaves a line in history.
func TestScreenshots(t *testing.T) {
	t.Parallel()
	c, _, vm := consoles(t)
	screens := heldScreens{make(chan struct{}, 8), make(chan struct{}), nil}
	c.Service = service.New(c.db, c.queue, service.Options{Screens: screens})
	const few, many = 4, 6
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			if _, err := c.Screenshot(t.Context(), c.orgadmin, vm.Name); err != nil {
				t.Error(err)
			}
		})
	}
	for range few {
		<-screens.begun
	}
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	if _, err := c.Screenshot(ctx, c.orgadmin, vm.Name); err == nil {
		t.Error("one more was taken at once")
	}
	if n := len(screens.begun); n != 0 {
		t.Errorf("%d more were begun", n)
	}
	close(screens.finish)
	all.Wait()
	taken := 0
	c.view(t, func(tx *store.Tx) error {
		events, err := tx.EventsAfter(0, nil, nil, c.orgadmin.Sees(baadal.ActionVMRead), 1000)
		for _, e := range events {
			if e.What == "picture of the screen taken" && e.ActorID == c.orgadmin.User.ID {
				taken++
			}
		}
		return err
	})
	if taken != many {
		t.Errorf("history has %d pictures, want %d", taken, many)
	}
}

// Who does not learn which host his VM is on does not learn it from what the
// host says about a console, or does not say.
func TestConsolesHideHosts(t *testing.T) {
	t.Parallel()
	c, h, _ := consoles(t)
	ctx := t.Context()
	c.create(t, c.admin, baadal.VMCreate{Name: "ml", Owner: c.student.User.Username})
	for _, said := range []error{
		baadal.Errorf(baadal.Unavailable, "host1 does not answer").WithCode("host_timeout"),
		baadal.Errorf(baadal.Unavailable, "/run/baadal/x/serial on host1 takes no connection").WithCode("socket_refused"),
		baadal.Errorf(baadal.Conflict, "host1 does not accept the controller's SSH key").WithCode("ssh_key_refused"),
	} {
		h.answer <- said
		ticket, err := c.ConsoleTicket(ctx, c.student, "ml", baadal.ConsoleSerial)
		if err != nil {
			t.Fatal(err)
		}
		_, opened := c.OpenConsole(ctx, c.student, ticket.Ticket)
		screens := heldScreens{make(chan struct{}, 8), make(chan struct{}), said}
		close(screens.finish)
		_, pictured := service.New(c.db, c.queue, service.Options{Screens: screens}).Screenshot(ctx, c.student, "ml")
		for _, err := range []error{opened, pictured} {
			if err == nil || strings.Contains(baadal.Message(err)+err.Error(), "host1") {
				t.Errorf("%v becomes %v", said, err)
			}
		}
	}
}
