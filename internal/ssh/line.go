package ssh

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"baadal"
)

// target is what a connection is made to; a change of any of it means another
// connection.
type target struct {
	host, addr, user, hostKey string
}

func targetOf(h baadal.Host) target {
	user := h.SSHUser
	if user == "" {
		user = "root"
	}
	return target{host: h.Name, addr: h.SSHAddr(), user: user, hostKey: h.HostKey}
}

// line is what leads to one host: a connection, an attempt to make one that all
// callers share, or the failure of the last one while it is too early for the
// next.
type line struct {
	opts   *Options
	target target
	ctx    context.Context // ends with the line; bounds attempts, which belong to no caller
	cancel context.CancelFunc

	mu       sync.Mutex
	conn     *conn
	attempt  *attempt
	failures int
	failure  error
	retryAt  time.Time
}

// attempt is one try to connect; err may be read once done is closed.
type attempt struct {
	done chan struct{}
	conn *conn
	err  error
}

func newLine(opts *Options, t target) *line {
	ctx, cancel := context.WithCancel(context.Background())
	return &line{opts: opts, target: t, ctx: ctx, cancel: cancel}
}

// current returns the connection if there is a live one.
func (l *line) current() *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil && !l.conn.isDone() {
		return l.conn
	}
	return nil
}

// connect returns the live connection, joins the attempt under way, repeats the
// last failure while its pause lasts, or starts an attempt.
func (l *line) connect(ctx context.Context) (*conn, error) {
	l.mu.Lock()
	if l.conn != nil && !l.conn.isDone() {
		defer l.mu.Unlock()
		return l.conn, nil
	}
	if l.attempt == nil {
		if l.failure != nil && l.opts.Now().Before(l.retryAt) {
			defer l.mu.Unlock()
			return nil, l.failure
		}
		l.attempt = &attempt{done: make(chan struct{})}
		go l.try(l.attempt)
	}
	a := l.attempt
	l.mu.Unlock()

	select {
	case <-a.done:
		return a.conn, a.err
	case <-ctx.Done():
		return nil, interrupted(ctx, l.target.host, context.Cause(ctx))
	}
}

// try connects once and writes down how it ended.
func (l *line) try(a *attempt) {
	ctx, cancel := context.WithTimeout(l.ctx, l.opts.ConnectTimeout)
	defer cancel()
	c, err := dial(ctx, l.opts, l.target)

	l.mu.Lock()
	defer l.mu.Unlock()
	defer close(a.done)
	l.attempt = nil
	if err == nil && l.ctx.Err() != nil { // closed meanwhile
		c.drop("the connection was given up")
		err = c.lost()
	}
	if err != nil {
		a.err = err
		l.failed(err)
		return
	}
	a.conn, l.conn = c, c
	l.failure = nil
	go l.watch(c)
}

// watch notes when a connection ends. One that lasted gives the host a fresh
// start; one that died at once counts as one more failure, so that a host that
// accepts and drops us is not dialled in a tight loop.
func (l *line) watch(c *conn) {
	<-c.done
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == c {
		l.conn = nil
	}
	if l.opts.Now().Sub(c.since) >= l.opts.MinBackoff {
		l.failures = 0
		return
	}
	l.failed(c.lost())
}

// failed sets the pause before the next attempt: doubling, with up to a quarter
// of jitter so that the hosts of a rack that lost power do not come in step.
func (l *line) failed(err error) {
	pause := l.opts.MaxBackoff
	if l.failures < 16 {
		pause = min(pause, l.opts.MinBackoff<<l.failures)
	}
	l.failures++
	l.failure = err
	pause -= time.Duration(rand.Int64N(int64(pause)/4 + 1)) //nolint:gosec // jitter, not a secret
	l.retryAt = l.opts.Now().Add(pause)
}

func (l *line) close(reason string) {
	l.cancel()
	if c := l.current(); c != nil {
		c.drop(reason)
	}
}
