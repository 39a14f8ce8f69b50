// Package ssh keeps one SSH connection per host and carries everything over it:
// commands, files by way of their standard input and output, and streams to
// Unix sockets (libvirt, VNC, serial consoles).
//
// Host keys are pinned: a host that shows another key gets no work at all until
// a person has pinned the new one. A host that falls silent is noticed by
// keepalives within about eight seconds, and everything that waits for it then
// ends with baadal.Unavailable; other hosts are not held up meanwhile.
//
// The package must not know what runs at the other end: no libvirt, no disks.
package ssh

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"baadal"
)

// Options sets up a Pool. Only Signer is needed.
type Options struct {
	Signer ssh.Signer // the controller's key, which the hosts' authorized_keys must hold

	// Dial makes the TCP connection; a net.Dialer if nil.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	ConnectTimeout  time.Duration // TCP connect and handshake together; 5 s
	CallTimeout     time.Duration // of a call whose context has no deadline; 30 s
	KeepAlive       time.Duration // how often a quiet host is asked for a sign of life; 2 s
	KeepAliveMissed int           // intervals without any byte after which the connection is dropped; 3
	MaxSessions     int           // commands at once per host (sshd's own limit is 10); 8
	MinBackoff      time.Duration // pause after the first failed connect; 0.5 s
	MaxBackoff      time.Duration // longest pause; 15 s

	Logger *slog.Logger     // discards if nil
	Now    func() time.Time // time.Now if nil
}

func (o Options) withDefaults() Options {
	setDefault(&o.ConnectTimeout, 5*time.Second)
	setDefault(&o.CallTimeout, 30*time.Second)
	setDefault(&o.KeepAlive, 2*time.Second)
	setDefault(&o.KeepAliveMissed, 3)
	setDefault(&o.MaxSessions, 8)
	setDefault(&o.MinBackoff, 500*time.Millisecond)
	setDefault(&o.MaxBackoff, 15*time.Second)
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Pool holds the connections, at most one per host. It is safe for concurrent use.
type Pool struct {
	opts Options

	mu     sync.Mutex
	lines  map[string]*line
	closed bool
}

// New returns an empty pool; connections are made when first needed.
func New(opts Options) *Pool {
	return &Pool{opts: opts.withDefaults(), lines: map[string]*line{}}
}

// Close drops every connection; calls under way end with Unavailable, and so
// does every later one. It may be called again.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	lines := p.lines
	p.lines = map[string]*line{}
	p.mu.Unlock()
	for _, l := range lines {
		l.close("the controller is stopping")
	}
}

// Forget drops a host's connection and what is remembered of failed attempts,
// for a host that was removed or whose key was pinned anew.
func (p *Pool) Forget(hostID int64) {
	key := lineKey(baadal.Host{ID: hostID})
	p.mu.Lock()
	l := p.lines[key]
	delete(p.lines, key)
	p.mu.Unlock()
	if l != nil {
		l.close("the host was forgotten")
	}
}

// Ping makes one round trip over the host's connection, making it if need be.
func (p *Pool) Ping(ctx context.Context, host baadal.Host) error {
	ctx, cancel := p.callContext(ctx, 0)
	defer cancel()
	c, err := p.conn(ctx, host)
	if err != nil {
		return err
	}
	_, err = await(ctx, c, func() (struct{}, error) {
		_, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
		return struct{}{}, err
	}, nil)
	return err
}

// Alive reports whether the host is connected now. It does no I/O: after at
// most eight seconds of silence it turns false.
func (p *Pool) Alive(hostID int64) bool {
	p.mu.Lock()
	l := p.lines[lineKey(baadal.Host{ID: hostID})]
	p.mu.Unlock()
	return l != nil && l.current() != nil
}

// DialUnix opens a stream to a Unix socket on the host (direct-streamlocal; not
// counted against MaxSessions). Deadlines cannot be set on it: close it
// instead. It fails with Unavailable once the host has fallen silent.
func (p *Pool) DialUnix(ctx context.Context, host baadal.Host, path string) (net.Conn, error) {
	return p.dial(ctx, host, "unix", path, "AllowStreamLocalForwarding")
}

// DialTCP does what DialUnix does to an address and port as the host sees it.
func (p *Pool) DialTCP(ctx context.Context, host baadal.Host, addr string) (net.Conn, error) {
	return p.dial(ctx, host, "tcp", addr, "AllowTcpForwarding")
}

func (p *Pool) dial(ctx context.Context, host baadal.Host, network, addr, option string) (net.Conn, error) {
	ctx, cancel := p.callContext(ctx, 0)
	defer cancel()
	c, err := p.conn(ctx, host)
	if err != nil {
		return nil, err
	}
	return await(ctx, c, func() (net.Conn, error) {
		s, err := c.client.Dial(network, addr)
		if err != nil {
			return nil, refusedSocket(c, addr, option, err)
		}
		return &stream{Conn: s, conn: c}, nil
	}, func(s net.Conn) { _ = s.Close() })
}

// conn returns the host's live connection, making it if there is none.
func (p *Pool) conn(ctx context.Context, host baadal.Host) (*conn, error) {
	l, err := p.line(host)
	if err != nil {
		return nil, err
	}
	return l.connect(ctx)
}

// line finds the host's line. One that was made for another address or pinned
// key is replaced.
func (p *Pool) line(host baadal.Host) (*line, error) {
	key, t := lineKey(host), targetOf(host)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, unavailable(host.Name, "the controller is stopping", nil)
	}
	l := p.lines[key]
	if l != nil && l.target != t {
		go l.close("the host's address or key was changed")
		l = nil
	}
	if l == nil {
		l = newLine(&p.opts, t)
		p.lines[key] = l
	}
	return l, nil
}

// lineKey is the host's id, or its address while it has none because it is
// just being added.
func lineKey(host baadal.Host) string {
	if host.ID != 0 {
		return strconv.FormatInt(host.ID, 10)
	}
	return host.SSHAddr()
}

// callContext bounds a call: by timeout if that is set, else by CallTimeout if
// ctx has no deadline of its own. A negative timeout sets no bound.
func (p *Pool) callContext(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout == 0 {
		if _, has := ctx.Deadline(); !has {
			timeout = p.opts.CallTimeout
		}
	}
	if timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}

// await runs a call that may block for as long as the host is silent, and
// returns when it ends, ctx ends or the connection is lost. A value that comes
// too late is given to discard.
func await[T any](ctx context.Context, c *conn, call func() (T, error), discard func(T)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		v, err := call()
		done <- answer{v, err}
	}()
	var err error
	select {
	case a := <-done:
		if a.err == nil {
			return a.value, nil
		}
		var none T
		return none, c.explain(ctx, a.err)
	case <-ctx.Done():
		err = c.explain(ctx, context.Cause(ctx))
	case <-c.done:
		err = c.lost()
	}
	if discard != nil {
		go func() {
			if a := <-done; a.err == nil {
				discard(a.value)
			}
		}()
	}
	var none T
	return none, err
}
