package libvirt_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"baadal"
	"baadal/internal/libvirt"
	"baadal/internal/libvirt/libvirttest"
)

// relay passes a stream on to libvirtd until it is told to hold everything
// back, as a stuck libvirtd would.
type relay struct {
	socket string
	stuck  atomic.Bool
	dials  atomic.Int32

	mu    sync.Mutex
	conns []net.Conn
}

func (r *relay) dial(ctx context.Context, _ baadal.Host) (net.Conn, error) {
	r.dials.Add(1)
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", r.socket)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.conns = append(r.conns, c)
	r.mu.Unlock()
	return &relayed{c, r}, nil
}

// cut ends all connections, as a killed libvirtd would.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.conns = nil
}

type relayed struct {
	net.Conn
	r *relay
}

func (c *relayed) Write(b []byte) (int, error) {
	if c.r.stuck.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// TestStuckDaemon swallows calls: the caller's deadline must hold without
// hurting others, and the call's own must give up the connection.
func TestStuckDaemon(t *testing.T) {
	t.Parallel()
	r := &relay{socket: libvirttest.StartDaemon(t)}
	h := newLocal(t, "", libvirt.Options{Dial: r.dial, CallTimeout: 2 * time.Second, ConnectTimeout: 2 * time.Second, CheckInterval: 500 * time.Millisecond})
	if _, err := h.Domains(t.Context(), testHost); err != nil {
		t.Fatal(err)
	}
	watch := make(chan error, 1)
	first := make(chan struct{})
	var once sync.Once
	go func() {
		watch <- h.Watch(t.Context(), testHost, func(baadal.DomainEvent) { once.Do(func() { close(first) }) })
	}()
	<-first
	r.stuck.Store(true)

	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := h.Domains(short, testHost)
	if baadal.CodeOf(err) != "libvirt_timeout" || time.Since(began) > 1500*time.Millisecond {
		t.Errorf("with a deadline of 100 ms: %v after %s", err, time.Since(began))
	}
	if n := r.dials.Load(); n != 2 {
		t.Errorf("%d connections: the caller's deadline cost one", n)
	}
	_, err = h.Domains(t.Context(), testHost)
	if baadal.KindOf(err) != baadal.Unavailable || time.Since(began) > 8*time.Second {
		t.Errorf("without deadline: %v after %s", err, time.Since(began))
	}
	select {
	case err := <-watch:
		if baadal.KindOf(err) != baadal.Unavailable {
			t.Errorf("Watch ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Watch does not notice that libvirtd is stuck")
	}
	_, err = h.Domains(t.Context(), testHost) // cannot even connect
	if baadal.KindOf(err) != baadal.Unavailable {
		t.Errorf("got %v", err)
	}
	r.stuck.Store(false)
	if _, err := h.Domains(t.Context(), testHost); err != nil {
		t.Errorf("libvirtd answers again but: %v", err)
	}
}

// TestLostConnection cuts the stream below calls and Watch.
func TestLostConnection(t *testing.T) {
	t.Parallel()
	r := &relay{socket: libvirttest.StartDaemon(t)}
	h := newLocal(t, "", libvirt.Options{Dial: r.dial})
	for range 5 {
		first := make(chan struct{})
		var once sync.Once
		watch := make(chan error, 1)
		go func() {
			watch <- h.Watch(t.Context(), testHost, func(baadal.DomainEvent) { once.Do(func() { close(first) }) })
		}()
		<-first
		_, err := h.Domains(t.Context(), testHost)
		if baadal.CodeOf(err) == "libvirt_lost" { // the last cut was noticed only now
			_, err = h.Domains(t.Context(), testHost)
		}
		if err != nil {
			t.Fatal(err)
		}
		r.cut()
		select {
		case err := <-watch:
			if baadal.CodeOf(err) != "libvirt_lost" {
				t.Errorf("Watch ended with %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("Watch does not notice the loss")
		}
	}
	h.Forget(testHost.ID)
	if _, err := h.Domains(t.Context(), testHost); err != nil {
		t.Errorf("after Forget: %v", err)
	}
}

// TestHostileStream connects to something that is no libvirtd.
func TestHostileStream(t *testing.T) {
	t.Parallel()
	for name, say := range map[string]func(net.Conn){
		"huge packet":  func(c net.Conn) { _ = binary.Write(c, binary.BigEndian, uint32(1<<31)); _, _ = io.Copy(io.Discard, c) },
		"tiny packet":  func(c net.Conn) { _ = binary.Write(c, binary.BigEndian, uint32(3)); _, _ = io.Copy(io.Discard, c) },
		"closes":       func(net.Conn) {},
		"says nothing": func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newLocal(t, "", libvirt.Options{ConnectTimeout: 300 * time.Millisecond, Dial: func(context.Context, baadal.Host) (net.Conn, error) {
				ours, theirs := net.Pipe()
				go func() { say(theirs); _ = theirs.Close() }()
				return ours, nil
			}})
			began := time.Now()
			_, err := h.Domains(t.Context(), testHost)
			if baadal.KindOf(err) != baadal.Unavailable || time.Since(began) > 2*time.Second {
				t.Errorf("%v after %s", err, time.Since(began))
			}
		})
	}
}

func TestNode(t *testing.T) {
	t.Parallel()
	h := newLocal(t, libvirttest.StartDaemon(t), libvirt.Options{})
	got, err := h.Node(t.Context(), testHost)
	if err != nil {
		t.Fatal(err)
	}
	if got.CPUs != 16 || got.RAMMiB != 3072 || got.Hostname == "" || len(got.Libvirt) < 5 { // the test driver's machine
		t.Errorf("got %+v", got)
	}
	runs, detail, err := h.VirtRuns(t.Context(), testHost, "kvm")
	if runs || err != nil || detail != "libvirt does not offer kvm" {
		t.Errorf("VirtRuns = %t, %q, %v", runs, detail, err)
	}
}
