// Package console reaches the screens and serial lines of VMs: Unix sockets on
// their hosts, over the hosts' SSH connections. It shares a VM's serial line,
// which takes only one client, among all who look at it. It knows nothing of who
// may look.
package console

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"baadal"
)

// Dialer opens a stream to a Unix socket on a host.
type Dialer interface {
	DialUnix(ctx context.Context, host baadal.Host, path string) (net.Conn, error)
}

// Bounds of a shared serial line.
const (
	keepBytes = 32 << 10 // of what was said lately, for who comes later
	queueSize = 256      // pieces a viewer may be behind before it is let go
	pieceSize = 4 << 10
)

// codeRefused is of a host that answers, and has nobody at that socket.
const codeRefused = "socket_refused"

// errSlow ends a viewer that does not read.
var errSlow = errors.New("too slow to follow the serial line")

// Hub opens consoles. It is safe for concurrent use.
type Hub struct {
	dial Dialer

	mu    sync.Mutex
	lines map[string]*line // by VM's UUID
}

// New returns a hub that holds nothing open.
func New(dial Dialer) *Hub { return &Hub{dial: dial, lines: map[string]*line{}} }

// Close ends every serial line.
func (h *Hub) Close() {
	h.mu.Lock()
	lines := h.lines
	h.lines = map[string]*line{}
	h.mu.Unlock()
	for _, l := range lines {
		l.end(net.ErrClosed)
	}
}

// Open opens a console of a VM on its host. A screen is a connection of its
// own; a serial line is shared, and begins with what was said lately. The stream
// ends with the VM's run on that host. Unavailable if the host does not answer,
// NotFound (code no_console) if the VM has no such socket there, as after it stopped.
func (h *Hub) Open(ctx context.Context, host baadal.Host, uuid string, kind baadal.ConsoleKind) (baadal.ConsoleStream, error) {
	if kind == baadal.ConsoleScreen {
		return h.dialConsole(ctx, host, uuid, kind)
	}
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		l, fresh := h.line(host, uuid)
		if fresh {
			conn, err := h.dialConsole(ctx, host, uuid, kind)
			if err != nil && ctx.Err() != nil { // it is we who gave up, not the host: who waits tries for himself
				err = errOver
			}
			l.start(conn, err, func() { h.forget(uuid, l) })
		}
		select {
		case <-l.ready:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		v, err := l.join()
		if !errors.Is(err, errOver) { // it ended between our look and our coming: look again
			return v, err
		}
	}
}

func (h *Hub) dialConsole(ctx context.Context, host baadal.Host, uuid string, kind baadal.ConsoleKind) (net.Conn, error) {
	conn, err := h.dial.DialUnix(ctx, host, baadal.ConsoleSocket(baadal.ConsoleFolder(uuid), kind))
	switch k := baadal.KindOf(err); {
	case err == nil:
		return conn, nil
	case k == baadal.NotFound, k == baadal.Internal, baadal.CodeOf(err) == codeRefused:
		return nil, &baadal.Error{
			Kind: baadal.NotFound, Code: "no_console", Err: err, Title: fmt.Sprintf("its %s console is not there", kind),
			Detail: "the VM may have stopped, restarted or moved this moment", Next: []baadal.Offer{{Label: "See whether it runs"}},
		}
	}
	return nil, err
}

// line returns the VM's line on that host; fresh says that the caller must start it.
func (h *Hub) line(host baadal.Host, uuid string) (l *line, fresh bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l = h.lines[uuid]; l != nil && l.host == host.ID {
		return l, false
	}
	if l != nil { // it moved; its old line ends by itself, and sooner by this
		go l.end(net.ErrClosed)
	}
	l = &line{host: host.ID, ready: make(chan struct{}), viewers: map[*viewer]bool{}}
	h.lines[uuid] = l
	return l, true
}

func (h *Hub) forget(uuid string, l *line) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lines[uuid] == l {
		delete(h.lines, uuid)
	}
}

// errOver says that a line ended before one could join it.
var errOver = errors.New("the serial line is over")

// line is a VM's serial line with all who look at it. It ends with its
// connection, and when the last viewer leaves.
type line struct {
	host   int64
	ready  chan struct{} // closed once conn or failed is set
	conn   net.Conn
	failed error
	forget func()

	write sync.Mutex // one writer at a time

	mu      sync.Mutex
	recent  []byte
	viewers map[*viewer]bool
	over    bool
}

func (l *line) start(conn net.Conn, err error, forget func()) {
	l.conn, l.failed, l.forget = conn, err, forget
	if err != nil {
		forget()
	} else {
		go l.pump() // ends with the connection
	}
	close(l.ready)
}

// pump reads what the VM says and hands it to everybody.
func (l *line) pump() {
	for {
		b := make([]byte, pieceSize)
		n, err := l.conn.Read(b)
		if n > 0 {
			l.say(b[:n])
		}
		if err != nil {
			l.end(err)
			return
		}
	}
}

func (l *line) say(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recent = append(l.recent, b...)
	if over := len(l.recent) - keepBytes; over > 0 {
		l.recent = append(l.recent[:0], l.recent[over:]...)
	}
	for v := range l.viewers {
		select {
		case v.out <- b:
		default:
			l.drop(v, errSlow)
		}
	}
}

// drop ends a viewer. The lock is held.
func (l *line) drop(v *viewer, err error) {
	if l.viewers[v] {
		delete(l.viewers, v)
		v.err = err
		close(v.out)
	}
}

// end ends the line and everybody who looks at it. It may be called again.
func (l *line) end(err error) {
	<-l.ready
	l.mu.Lock()
	over := l.over
	l.over = true
	for v := range l.viewers {
		l.drop(v, err)
	}
	l.mu.Unlock()
	if over || l.conn == nil {
		return
	}
	l.forget()
	_ = l.conn.Close()
}

func (l *line) join() (baadal.ConsoleStream, error) {
	if l.failed != nil {
		return nil, l.failed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return nil, errOver
	}
	v := &viewer{line: l, out: make(chan []byte, queueSize)}
	if len(l.recent) > 0 {
		v.left = append(v.left, l.recent...)
	}
	l.viewers[v] = true
	return v, nil
}

// leave takes a viewer away; the last one ends the line, before anybody can join
// what is about to end.
func (l *line) leave(v *viewer) {
	l.mu.Lock()
	l.drop(v, net.ErrClosed)
	last := len(l.viewers) == 0 && !l.over
	l.over = l.over || last
	l.mu.Unlock()
	if last {
		l.forget()
		_ = l.conn.Close()
	}
}

// viewer is one who looks at a line.
type viewer struct {
	line *line
	out  chan []byte
	left []byte // of the last piece
	err  error  // set before out is closed
}

// Read returns what the VM says next; one goroutine may read.
func (v *viewer) Read(p []byte) (int, error) {
	if len(v.left) == 0 {
		b, ok := <-v.out
		if !ok {
			return 0, v.err
		}
		v.left = b
	}
	n := copy(p, v.left)
	v.left = v.left[n:]
	return n, nil
}

// Write sends what a person types. A guest that takes nothing holds it up;
// Close of the last viewer ends that.
func (v *viewer) Write(p []byte) (int, error) {
	v.line.write.Lock()
	defer v.line.write.Unlock()
	return v.line.conn.Write(p) //nolint:wrapcheck // a Writer
}

// Close leaves the line. It may be called again.
func (v *viewer) Close() error {
	v.line.leave(v)
	return nil
}
