package flow

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"baadal"
)

// line is a connection to the switch of one bridge (OpenFlow 1.4), over which
// only two things are said: that both are there, and how many rules there are.
// Its end is the end of ovs-vswitchd, and with it of all rules.
type line struct {
	up   bool // belongs to the session
	stop context.CancelFunc

	rules atomic.Int64 // how many there should be; negative: not known
}

// event is what a line tells.
type event struct {
	line   *line
	bridge string
	up     bool
	rules  int // in the switch, if they are not as many as there should be
}

func (l *line) close() { l.stop() }

// expect says how many rules the switch has now; -1 while they are being laid.
func (l *line) expect(n int) { l.rules.Store(int64(n)) }

// follow keeps a line to a bridge's switch until ctx ends or it is closed: when
// the switch is lost it calls again until it is back.
func (k *Keeper) follow(ctx context.Context, host baadal.Host, bridge string, events chan<- event) *line {
	ctx, stop := context.WithCancel(ctx)
	l := &line{stop: stop}
	l.rules.Store(-1)
	say := func(e event) {
		e.line, e.bridge = l, bridge
		select {
		case events <- e:
		case <-ctx.Done():
		}
	}
	go func() {
		for ctx.Err() == nil {
			if conn, err := k.conn.DialUnix(ctx, host, k.opt.RunDir+"/"+bridge+".mgmt"); err == nil {
				l.talk(ctx, conn, say)
			}
			select {
			case <-ctx.Done():
			case <-time.After(lineAgain):
			}
		}
	}()
	return l
}

// Message types of OpenFlow.
const (
	ofVersion   = 0x05
	ofHello     = 0
	ofEcho      = 2
	ofEchoReply = 3
	ofRequest   = 18
	ofReply     = 19
)

// talk greets the switch and asks for the number of rules from time to time,
// until the connection is lost.
func (l *line) talk(ctx context.Context, conn net.Conn, say func(event)) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	replies := make(chan []byte)
	go func() {
		defer stop()
		for {
			m, err := readMessage(conn)
			if err != nil {
				return
			}
			select {
			case replies <- m:
			case <-ctx.Done():
				return
			}
		}
	}()
	if send(conn, ofHello, nil) != nil {
		return
	}
	tick := time.NewTicker(countEvery)
	defer tick.Stop()
	greeted, asked := false, int64(-1)
	defer func() {
		if greeted {
			say(event{})
		}
	}()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if asked = l.rules.Load(); greeted && asked >= 0 {
				err = send(conn, ofRequest, countRequest)
			}
		case m := <-replies:
			switch m[1] {
			case ofHello:
				greeted = true
				l.rules.Store(-1) // until they are laid
				say(event{up: true})
			case ofEcho:
				err = send(conn, ofEchoReply, m[8:])
			case ofReply:
				if n, ok := parseCount(m); ok && asked >= 0 && asked == l.rules.Load() && int64(n) != asked {
					l.rules.Store(-1)
					say(event{up: true, rules: n})
				}
			}
		}
		if err != nil {
			return
		}
	}
}

var errShort = errors.New("a message that is too short")

func readMessage(r io.Reader) ([]byte, error) {
	head := make([]byte, 8)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	n := int(binary.BigEndian.Uint16(head[2:]))
	if n < len(head) {
		return nil, errShort
	}
	m := append(head, make([]byte, n-len(head))...)
	if _, err := io.ReadFull(r, m[8:]); err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	return m, nil
}

func send(w io.Writer, kind byte, body []byte) error {
	m := make([]byte, 8, 8+len(body))
	m[0], m[1] = ofVersion, kind
	binary.BigEndian.PutUint16(m[2:], uint16(8+len(body))) //nolint:gosec // our messages, and echoes of as much
	m[7] = 1
	_, err := w.Write(append(m, body...))
	return err
}

// countRequest asks for the aggregate over all rules of all tables.
var countRequest = func() []byte {
	b := make([]byte, 48)
	b[1] = 2                                       // OFPMP_AGGREGATE
	b[8] = 0xff                                    // all tables
	binary.BigEndian.PutUint32(b[12:], 0xffffffff) // any port
	binary.BigEndian.PutUint32(b[16:], 0xffffffff) // any group
	b[41], b[43] = 1, 4                            // an empty match
	return b
}()

// parseCount reads the answer to countRequest.
func parseCount(m []byte) (rules int, ok bool) {
	if len(m) < 40 || m[9] != 2 {
		return 0, false
	}
	return int(binary.BigEndian.Uint32(m[32:])), true
}
