package libvirt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"baadal"
)

// link is one connection to a libvirtd. It ends once and is never mended:
// go-libvirt can race when an object is connected anew.
type link struct {
	host baadal.Host
	opts *Options
	rpc  *golibvirt.Libvirt
	conn *guard

	mu       sync.Mutex
	facts    map[golibvirt.UUID]facts // what does not change unless a domain is defined anew
	consoles map[string]bool          // folders that exist on the host

	maker consoleMaker
}

// open makes a connection of its own, within ConnectTimeout.
func (h *Hypervisor) open(ctx context.Context, host baadal.Host) (*link, error) {
	return h.openWith(ctx, host, func(c net.Conn) net.Conn { return c })
}

// openWith is open with a hand on what comes from libvirtd.
func (h *Hypervisor) openWith(ctx context.Context, host baadal.Host, wrap func(net.Conn) net.Conn) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, h.opts.ConnectTimeout)
	defer cancel()
	raw, err := h.opts.Dial(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("connect to libvirtd: %w", err)
	}
	g := &guard{Conn: wrap(raw), done: make(chan struct{})}
	l := &link{
		host: host, opts: &h.opts, rpc: golibvirt.NewWithDialer(g), conn: g,
		facts: map[golibvirt.UUID]facts{}, consoles: map[string]bool{},
	}
	_, err = call(ctx, l, "connect to libvirtd", func(rpc *golibvirt.Libvirt) (struct{}, error) {
		return struct{}{}, rpc.ConnectToURI(golibvirt.ConnectURI(h.opts.URI))
	})
	if err != nil {
		l.close()
		return nil, err
	}
	h.opts.Logger.Debug("connected to libvirtd", "host", host.Name)
	return l, nil
}

func (l *link) close() { _ = l.conn.Close() }

func (l *link) isDone() bool {
	select {
	case <-l.conn.done:
		return true
	default:
		return false
	}
}

// lost is the error of what was under way when the connection ended.
func (l *link) lost(op string, cause error) error {
	e := &baadal.Error{
		Kind: baadal.Unavailable, Code: "libvirt_lost", Err: cause,
		Title: fmt.Sprintf("%s on %s", op, l.host.Name), Detail: "the connection to libvirtd was lost",
	}
	if why, ok := errors.AsType[*baadal.Error](l.conn.why()); ok { // the host's connection is what was lost
		e.Detail, e.Err = why.Error(), why
	}
	return e
}

// call runs one RPC. go-libvirt has no deadlines: the call is left behind when
// ctx ends, and when CallTimeout has passed without an answer the connection is
// closed, which ends it and all others on it.
func call[T any](ctx context.Context, l *link, op string, f func(*golibvirt.Libvirt) (T, error)) (T, error) {
	return callWithin(ctx, l, op, l.opts.CallTimeout, f)
}

// callWithin is call for what may take longer than CallTimeout by its nature.
func callWithin[T any](ctx context.Context, l *link, op string, limit time.Duration, f func(*golibvirt.Libvirt) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		overdue := time.AfterFunc(limit, l.close)
		defer overdue.Stop()
		v, err := f(l.rpc)
		done <- answer{v, err}
	}()
	var none T
	select {
	case a := <-done:
		if a.err != nil {
			return none, l.explain(op, a.err)
		}
		return a.value, nil
	case <-l.conn.done:
		return none, l.lost(op, nil)
	case <-ctx.Done():
		return none, interrupted(ctx, l.host.Name, op)
	}
}

// do runs one RPC on the host's connection for calls.
func do[T any](ctx context.Context, h *Hypervisor, host baadal.Host, op string, f func(*golibvirt.Libvirt) (T, error)) (T, error) {
	l, err := h.peer(host).connect(ctx, host)
	if err != nil {
		var none T
		return none, err
	}
	return call(ctx, l, op, f)
}

// guard is the stream to libvirtd. It tells when it ended, and ends it itself
// at a packet of impossible size, which go-libvirt would try to allocate.
type guard struct {
	net.Conn
	once sync.Once
	done chan struct{}
	end  error // why it ended; read it after done

	frame frame
}

// Dial gives the stream to go-libvirt.
func (g *guard) Dial() (net.Conn, error) { return g, nil }

func (g *guard) Read(b []byte) (int, error) {
	n, err := g.Conn.Read(b)
	if err == nil {
		err = g.frame.check(b[:n])
	}
	if err != nil {
		g.finish(err)
		return 0, err
	}
	return n, nil
}

// Close ends the stream and all calls on it, now.
func (g *guard) Close() error {
	g.finish(net.ErrClosed)
	return nil
}

// finish closes the stream. The other side may be silent, so that closing waits
// for nobody.
func (g *guard) finish(why error) {
	g.once.Do(func() {
		g.end = why
		close(g.done)
		go func() { _ = g.Conn.Close() }()
	})
}

// why is what ended the stream; nil if it has not ended.
func (g *guard) why() error {
	select {
	case <-g.done:
		return g.end
	default:
		return nil
	}
}

// Limits of a packet: its length and header; libvirt's VIR_NET_MESSAGE_MAX with
// room to spare.
const (
	minPacket = 28
	maxPacket = 64 << 20
)

var errPacketSize = errors.New("libvirtd sent a packet of impossible size")

// frame follows the packets of a stream by their lengths.
type frame struct {
	length [4]byte
	have   int // bytes of length seen
	left   int // bytes of the packet still to come
}

func (f *frame) check(b []byte) error {
	for len(b) > 0 {
		if f.left == 0 {
			n := copy(f.length[f.have:], b)
			f.have += n
			b = b[n:]
			if f.have < len(f.length) {
				return nil
			}
			size := binary.BigEndian.Uint32(f.length[:])
			if size < minPacket || size > maxPacket {
				return errPacketSize
			}
			f.have, f.left = 0, int(size)-len(f.length)
			continue
		}
		n := min(f.left, len(b))
		f.left -= n
		b = b[n:]
	}
	return nil
}
