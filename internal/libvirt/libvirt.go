// Package libvirt drives libvirtd on the hosts: it defines, starts, stops and
// watches domains, over the host's SSH connection.
//
// libvirtd is spoken to by its own RPC protocol, with two connections per host:
// one for calls, one for events while Watch runs. Every call has a deadline;
// one that is overdue costs the connection, because a libvirtd that does not
// answer one call is not to be trusted with others. A connection that was lost
// is never mended: the next call makes a new one.
//
// The package must not decide anything: which VM runs where, and what a state
// means for a task, is for its callers. It never sets autostart: only the
// controller starts a VM, or two hosts could.
package libvirt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"baadal"
	"baadal/internal/ssh"
)

// Options sets up a Hypervisor. All of it may be left out.
type Options struct {
	Socket string // libvirtd's socket on the host; /run/libvirt/libvirt-sock
	URI    string // driver; qemu:///system

	// Dial connects to libvirtd in another way than through the pool.
	Dial func(ctx context.Context, host baadal.Host) (net.Conn, error)

	ConnectTimeout time.Duration // until libvirtd has opened the driver; 10 s
	CallTimeout    time.Duration // of one call, whatever the context says; 60 s
	CheckInterval  time.Duration // how often Watch asks an idle libvirtd for a sign of life; 10 s

	Logger *slog.Logger     // discards if nil
	Now    func() time.Time // time.Now if nil
}

func (o Options) withDefaults(pool *ssh.Pool) Options {
	if o.Socket == "" {
		o.Socket = "/run/libvirt/libvirt-sock"
	}
	if o.URI == "" {
		o.URI = "qemu:///system"
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, host baadal.Host) (net.Conn, error) {
			return pool.DialUnix(ctx, host, o.Socket)
		}
	}
	for d, v := range map[*time.Duration]time.Duration{
		&o.ConnectTimeout: 10 * time.Second, &o.CallTimeout: time.Minute, &o.CheckInterval: 10 * time.Second,
	} {
		if *d <= 0 {
			*d = v
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Hypervisor is libvirt on all hosts. It is safe for concurrent use.
type Hypervisor struct {
	pool *ssh.Pool
	opts Options

	mu    sync.Mutex
	peers map[string]*peer
}

// New returns a Hypervisor that reaches libvirtd through pool. Without a pool,
// Options.Dial is needed, and the folders for consoles are not made.
func New(pool *ssh.Pool, opts Options) *Hypervisor {
	return &Hypervisor{pool: pool, opts: opts.withDefaults(pool), peers: map[string]*peer{}}
}

// Close drops all connections. Calls under way end with Unavailable; later
// calls connect again.
func (h *Hypervisor) Close() {
	h.mu.Lock()
	peers := h.peers
	h.peers = map[string]*peer{}
	h.mu.Unlock()
	for _, p := range peers {
		p.close()
	}
}

// Forget drops the connection of a host that was removed, and what is
// remembered of its domains.
func (h *Hypervisor) Forget(hostID int64) {
	key := peerKey(baadal.Host{ID: hostID})
	h.mu.Lock()
	p := h.peers[key]
	delete(h.peers, key)
	h.mu.Unlock()
	if p != nil {
		p.close()
	}
}

// peerKey is the host's id, or its address while it has none.
func peerKey(host baadal.Host) string {
	if host.ID != 0 {
		return strconv.FormatInt(host.ID, 10)
	}
	return host.SSHAddr()
}

func (h *Hypervisor) peer(host baadal.Host) *peer {
	key := peerKey(host)
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.peers[key]
	if p == nil {
		p = &peer{h: h}
		h.peers[key] = p
	}
	return p
}

// peer is one host's libvirtd: the connection for calls, or the attempt to
// make one that all callers share.
type peer struct {
	h *Hypervisor

	mu      sync.Mutex
	link    *link
	attempt *attempt
	closed  bool
}

// attempt is one try to connect; link and err may be read once done is closed.
type attempt struct {
	done chan struct{}
	link *link
	err  error
}

// connect returns the live connection, or joins or starts an attempt. The
// attempt belongs to no caller: it goes on when ctx ends. Failures are not
// remembered here; the SSH pool does that.
func (p *peer) connect(ctx context.Context, host baadal.Host) (*link, error) {
	p.mu.Lock()
	if p.link != nil && !p.link.isDone() {
		defer p.mu.Unlock()
		return p.link, nil
	}
	a := p.attempt
	if a == nil {
		a = &attempt{done: make(chan struct{})}
		p.attempt = a
		go p.try(context.WithoutCancel(ctx), host, a)
	}
	p.mu.Unlock()
	select {
	case <-a.done:
		return a.link, a.err
	case <-ctx.Done():
		return nil, interrupted(ctx, host.Name, "connect to libvirtd")
	}
}

func (p *peer) try(ctx context.Context, host baadal.Host, a *attempt) {
	l, err := p.h.open(ctx, host)
	p.mu.Lock()
	defer p.mu.Unlock()
	defer close(a.done)
	p.attempt = nil
	if err == nil && p.closed {
		l.close()
	}
	a.link, a.err = l, err
	p.link = l
}

func (p *peer) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.link != nil {
		p.link.close()
	}
}

// interrupted is the error of a call whose ctx ended before its answer came:
// what it did is unknown. A cancellation is passed on as it is.
func interrupted(ctx context.Context, host, op string) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &baadal.Error{
			Kind: baadal.Unavailable, Code: "libvirt_timeout", Err: context.Cause(ctx),
			Title: fmt.Sprintf("%s on %s", op, host), Detail: "libvirtd has not answered in time",
		}
	}
	return fmt.Errorf("%s on %s: %w", op, host, context.Cause(ctx))
}
