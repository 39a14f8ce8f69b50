package ssh

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// conn is one live SSH connection. It ends once and is never mended.
type conn struct {
	opts     *Options
	host     string
	client   *ssh.Client
	wire     *wire
	since    time.Time
	sessions chan struct{} // one element per command under way
	kills    chan struct{} // one element per session that kills another; sshd has room for two beside 8
	done     chan struct{} // closed when the connection is over

	dropOnce sync.Once
	reason   atomic.Pointer[string] // why it was dropped from our side
	waitErr  error                  // what ended it; set before done is closed
}

// dial connects, checks the pinned host key and authenticates, all until ctx
// ends.
func dial(ctx context.Context, opts *Options, t target) (*conn, error) {
	pin, err := parsePin(t)
	if err != nil {
		return nil, err
	}
	raw, err := opts.Dial(ctx, "tcp", t.addr)
	if err != nil {
		return nil, unavailable(t.host, "", fmt.Errorf("dial %s: %w", t.addr, plainDialError(err)))
	}
	w := &wire{Conn: raw}
	w.touch()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	sc, chans, reqs, err := ssh.NewClientConn(w, t.addr, &ssh.ClientConfig{
		User:              t.user,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(opts.Signer)},
		HostKeyCallback:   pin.check,
		HostKeyAlgorithms: pin.algorithms(),
	})
	if !stop() && err == nil {
		_ = sc.Close()
		err = ctx.Err()
	}
	if err != nil {
		_ = raw.Close()
		return nil, handshakeError(ctx, opts, t, pin, err)
	}
	c := &conn{
		opts: opts, host: t.host, wire: w, since: opts.Now(),
		client:   ssh.NewClient(sc, chans, reqs),
		sessions: make(chan struct{}, opts.MaxSessions),
		kills:    make(chan struct{}, 2),
		done:     make(chan struct{}),
	}
	go func() {
		c.waitErr = c.client.Wait()
		close(c.done)
		_ = raw.Close()
		opts.Logger.Info("connection to host ended", "host", c.host, "reason", c.why())
	}()
	go c.keepAlive()
	opts.Logger.Info("connected to host", "host", c.host, "addr", t.addr)
	return c, nil
}

// keepAlive asks a silent host for a sign of life and drops the connection
// when none came for KeepAliveMissed intervals. Any byte received counts, so a
// host busy with a large transfer is not taken for dead.
func (c *conn) keepAlive() {
	tick := time.NewTicker(c.opts.KeepAlive)
	defer tick.Stop()
	limit := time.Duration(c.opts.KeepAliveMissed) * c.opts.KeepAlive
	asked := make(chan struct{}, 1) // holds an element while a question is out
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
		}
		silent := c.wire.silent()
		if silent >= limit {
			c.drop(fmt.Sprintf("no sign of life for %s", silent.Round(100*time.Millisecond)))
			return
		}
		if silent < c.opts.KeepAlive/2 {
			continue
		}
		select {
		case asked <- struct{}{}:
			go func() {
				_, _, _ = c.client.SendRequest("keepalive@openssh.com", true, nil)
				<-asked
			}()
		default:
		}
	}
}

// drop ends the connection from our side. It closes the TCP connection rather
// than saying goodbye, because the host may be silent.
func (c *conn) drop(reason string) {
	c.dropOnce.Do(func() {
		c.reason.Store(&reason)
		_ = c.wire.Close()
	})
}

func (c *conn) isDone() bool {
	select {
	case <-c.done:
		return true
	default:
		return c.reason.Load() != nil
	}
}

// why says what ended the connection. Call it after done.
func (c *conn) why() string {
	if r := c.reason.Load(); r != nil {
		return *r
	}
	if c.waitErr != nil {
		return "the connection was closed: " + c.waitErr.Error()
	}
	return "the connection was closed"
}

// stream is a stream over the connection. After the connection was dropped it
// says why; by itself it would only end.
type stream struct {
	net.Conn
	conn *conn
}

func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	return n, s.explain(err)
}

func (s *stream) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	return n, s.explain(err)
}

func (s *stream) explain(err error) error {
	if reason := s.conn.reason.Load(); err != nil && reason != nil {
		return unavailable(s.conn.host, *reason, err)
	}
	return err
}

// wire is the TCP connection, which remembers when it last heard the host.
type wire struct {
	net.Conn
	heard atomic.Int64 // on the monotonic clock, since wireEpoch
}

var wireEpoch = time.Now()

func (w *wire) touch() { w.heard.Store(int64(time.Since(wireEpoch))) }

func (w *wire) silent() time.Duration {
	return time.Since(wireEpoch) - time.Duration(w.heard.Load())
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if n > 0 {
		w.touch()
	}
	return n, err
}
