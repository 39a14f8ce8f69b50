package console_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"baadal"
	"baadal/internal/console"
)

// guest is a VM's serial socket as QEMU has it: it serves one client at a time.
type guest struct {
	path  string
	dials atomic.Int32
	conns chan net.Conn
}

func newGuest(t *testing.T) *guest {
	t.Helper()
	g := &guest{path: filepath.Join(t.TempDir(), "s"), conns: make(chan net.Conn, 8)}
	l, err := net.Listen("unix", g.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.conns <- c
		}
	}()
	return g
}

func (g *guest) DialUnix(ctx context.Context, host baadal.Host, path string) (net.Conn, error) {
	if !strings.HasPrefix(path, "/run/baadal/") {
		return nil, os.ErrNotExist
	}
	if host.Name == "dead" {
		return nil, baadal.Errorf(baadal.Unavailable, "dead does not answer")
	}
	if strings.Contains(path, "off") {
		return nil, os.ErrNotExist
	}
	g.dials.Add(1)
	return (&net.Dialer{}).DialContext(ctx, "unix", g.path)
}

func open(t *testing.T, h *console.Hub, host baadal.Host) baadal.ConsoleStream {
	t.Helper()
	s, err := h.Open(t.Context(), host, "u", baadal.ConsoleSerial)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantRead(t *testing.T, r io.Reader, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(r, b); err != nil || string(b) != want {
		t.Fatalf("read %q, %v, want %q", b, err, want)
	}
}

// All who look at a serial line see the same, what was said before they came
// too, and each may type; the line is let go with the last of them.
func TestSerialIsShared(t *testing.T) {
	g, host := newGuest(t), baadal.Host{ID: 1, Name: "host1"}
	h := console.New(g)
	a := open(t, h, host)
	qemu := <-g.conns
	_, _ = qemu.Write([]byte("login: "))
	wantRead(t, a, "login: ")
	b := open(t, h, host)
	wantRead(t, b, "login: ")
	for _, s := range []io.Writer{a, b} {
		_, _ = s.Write([]byte("root\n"))
		wantRead(t, qemu, "root\n")
	}
	_, _ = qemu.Write([]byte("# "))
	wantRead(t, a, "# ")
	wantRead(t, b, "# ")
	if n := g.dials.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	_ = a.Close()
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
	_, _ = qemu.Write([]byte("x"))
	wantRead(t, b, "x")
	_ = b.Close()
	_ = b.Close()
	if _, err := qemu.Read(make([]byte, 1)); err == nil {
		t.Error("the line is still held")
	}
	c := open(t, h, host) // and can be had again
	qemu = <-g.conns
	_, _ = qemu.Write([]byte("y"))
	wantRead(t, c, "y")
	_ = c.Close()
}

// The VM's end on its host is everybody's end; on another host it has another
// line.
func TestSerialEndsWithTheVM(t *testing.T) {
	g := newGuest(t)
	h := console.New(g)
	a := open(t, h, baadal.Host{ID: 1, Name: "host1"})
	b := open(t, h, baadal.Host{ID: 1, Name: "host1"})
	_ = (<-g.conns).Close()
	for _, s := range []io.Reader{a, b} {
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("got %v", err)
		}
	}
	old := open(t, h, baadal.Host{ID: 1, Name: "host1"})
	<-g.conns
	c := open(t, h, baadal.Host{ID: 2, Name: "host2"})
	if _, err := old.Read(make([]byte, 1)); err == nil {
		t.Error("the old host's line is still open")
	}
	qemu := <-g.conns
	_, _ = qemu.Write([]byte("new"))
	wantRead(t, c, "new")
	h.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("open after Close")
	}
}

// One who does not read holds nobody up.
func TestSlowViewer(t *testing.T) {
	g := newGuest(t)
	h := console.New(g)
	slow, quick := open(t, h, baadal.Host{ID: 1}), open(t, h, baadal.Host{ID: 1})
	qemu := <-g.conns
	piece := strings.Repeat("z", 4096)
	for range 600 {
		if _, err := qemu.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
		wantRead(t, quick, piece)
	}
	n, err := io.Copy(io.Discard, slow)
	if err == nil || n == 0 || n > 599*4096 {
		t.Errorf("the slow one got %d bytes and %v", n, err)
	}
}

func TestNoConsole(t *testing.T) {
	g := newGuest(t)
	h := console.New(g)
	for _, kind := range []baadal.ConsoleKind{baadal.ConsoleSerial, baadal.ConsoleScreen} {
		_, err := h.Open(t.Context(), baadal.Host{Name: "dead"}, "u", kind)
		if baadal.KindOf(err) != baadal.Unavailable {
			t.Errorf("%s of a dead host: %v", kind, err)
		}
		if _, err = h.Open(t.Context(), baadal.Host{Name: "host1"}, "off", kind); baadal.CodeOf(err) != "no_console" {
			t.Errorf("%s of a VM that is off: %v", kind, err)
		}
	}
	// As sshd's refusal comes: of a path that is for administrators.
	refusal := baadal.Errorf(baadal.Unavailable, "/run/baadal/u/vnc on host1 takes no connection").WithCode("socket_refused")
	_, err := console.New(refusing{refusal}).Open(t.Context(), baadal.Host{Name: "host1"}, "u", baadal.ConsoleScreen)
	if baadal.CodeOf(err) != "no_console" || baadal.KindOf(err) != baadal.NotFound || strings.Contains(err.Error(), "/run") {
		t.Errorf("a socket where nobody listens: %v", err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	if _, err := h.Open(ctx, baadal.Host{Name: "host1"}, "u", baadal.ConsoleSerial); err != nil { // a failure is not kept
		t.Error(err)
	}
}

// refusing is a host that answers so.
type refusing struct{ err error }

func (r refusing) DialUnix(context.Context, baadal.Host, string) (net.Conn, error) { return nil, r.err }

// waiting is a host whose first call takes until its caller gives up.
type waiting struct {
	*guest
	called chan struct{}
	first  atomic.Bool
}

func (w *waiting) DialUnix(ctx context.Context, host baadal.Host, path string) (net.Conn, error) {
	if w.first.CompareAndSwap(false, true) {
		close(w.called)
		<-ctx.Done()
		return nil, baadal.Errorf(baadal.Unavailable, "%s: %w", host.Name, ctx.Err())
	}
	return w.guest.DialUnix(ctx, host, path)
}

// One who gives up while he opens a line takes nobody with him.
func TestFirstOpenerGivesUp(t *testing.T) {
	w := &waiting{guest: newGuest(t), called: make(chan struct{})}
	h, host := console.New(w), baadal.Host{ID: 1, Name: "host1"}
	ctx, giveUp := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := h.Open(ctx, host, "u", baadal.ConsoleSerial)
		first <- err
	}()
	<-w.called
	go func() {
		s, err := h.Open(t.Context(), host, "u", baadal.ConsoleSerial)
		if err == nil {
			defer s.Close()
		}
		second <- err
	}()
	time.Sleep(20 * time.Millisecond) // for the second to wait; it must come through however this goes
	giveUp()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first got %v", err)
	}
	if err := <-second; err != nil {
		t.Errorf("the second got %v", err)
	}
}
