package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/crypto/ssh"

	"baadal"
)

// unavailable is the error for a host that cannot be worked with now.
func unavailable(host, detail string, cause error) *baadal.Error {
	e := &baadal.Error{Kind: baadal.Unavailable, Code: "host_unreachable", Title: host + " does not answer", Detail: detail, Err: cause}
	if detail == "" && cause != nil {
		e.Detail = cause.Error()
	}
	return e
}

// interrupted is the error of a call whose ctx ended. A deadline means that the
// host was too slow; a cancellation is passed on as it is.
func interrupted(ctx context.Context, host string, cause error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e := unavailable(host, "no answer in time", cause)
		e.Code = "host_timeout"
		return e
	}
	return fmt.Errorf("wait for %s: %w", host, cause)
}

// lost is the error of everything that was under way when the connection ended.
func (c *conn) lost() error { return unavailable(c.host, c.why(), c.waitErr) }

// explain turns the error of a call into one for the caller: what the caller
// ended stays his, what the lost connection caused says so, errors with a kind
// stay as they are.
func (c *conn) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return interrupted(ctx, c.host, context.Cause(ctx))
	}
	if _, ok := errors.AsType[*baadal.Error](err); ok && !c.isDone() {
		return err
	}
	// Channels fail a moment before the connection is known to be over.
	select {
	case <-c.done:
		return c.lost()
	case <-time.After(100 * time.Millisecond):
	}
	if _, ok := errors.AsType[*baadal.Error](err); ok {
		return err
	}
	return unavailable(c.host, "", err)
}

// refusedSocket is the error for a Unix socket that sshd could not connect us
// to. sshd does not tell why.
func refusedSocket(c *conn, path, option string, err error) error {
	refused, ok := errors.AsType[*ssh.OpenChannelError](err)
	if !ok {
		return err
	}
	return &baadal.Error{
		Kind: baadal.Unavailable, Code: "socket_refused", Err: err,
		Title:  fmt.Sprintf("%s on %s takes no connection", path, c.host),
		Detail: fmt.Sprintf("sshd says %q: its daemon is not running, or sshd has %s off", refused.Message, option),
	}
}

// handshakeError explains why no SSH connection came about.
func handshakeError(ctx context.Context, opts *Options, t target, pin *pin, err error) error {
	if e := pin.mismatch(err); e != nil {
		return e
	}
	if ctx.Err() != nil {
		return unavailable(t.host, fmt.Sprintf("%s accepts connections but says nothing for %s", t.addr, opts.ConnectTimeout), ctx.Err())
	}
	if _, ok := errors.AsType[*ssh.ServerAuthError](err); ok || isAuthError(err) {
		e := &baadal.Error{Kind: baadal.Conflict, Code: "ssh_key_refused", Err: err, Title: t.host + " does not accept the controller's SSH key"}
		return e.WithDetail("user %s at %s has no such key in authorized_keys", t.user, t.addr).
			WithNext("Append this line to ~"+t.user+"/.ssh/authorized_keys on the host", authorizedKey(opts.Signer.PublicKey()))
	}
	return unavailable(t.host, "", fmt.Errorf("handshake with %s: %w", t.addr, err))
}

// plainDialError makes a timeout read alike whether the kernel or our own
// deadline ended the attempt, and drops the address that OpError repeats.
func plainDialError(err error) error {
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return errTimeout{err}
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		return op.Err
	}
	return err
}

// errTimeout reads "i/o timeout" and keeps its cause.
type errTimeout struct{ cause error }

func (errTimeout) Error() string   { return "i/o timeout" }
func (e errTimeout) Unwrap() error { return e.cause }
