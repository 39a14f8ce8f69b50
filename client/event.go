package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"baadal"
)

// TopicReset is the topic of a pseudo-event: the server does not keep the
// events since the last one seen any more, so everything has to be looked at
// again. Its ID is where the stream continues.
const TopicReset = "reset"

// EventOptions narrows an event stream.
type EventOptions struct {
	Topics []string // all if empty
	IDs    []int64  // ids of subjects; all if empty
	After  int64    // resume after this event; 0 starts with what comes next

	// Lost, if not nil, is called when the connection broke and is made again.
	Lost func(error)
}

const (
	silence      = 50 * time.Second // three missed heartbeats: the connection is dead
	maxLine      = 4 << 20
	firstRetry   = 500 * time.Millisecond
	longestRetry = 15 * time.Second
)

// EventList returns one page of history.
func (c *Client) EventList(ctx context.Context, q baadal.ListQuery) (baadal.List[baadal.Event], error) {
	return call[baadal.List[baadal.Event]](ctx, c, get("/event-log", listQuery(q)))
}

// Events follows what changes, without gaps and doubles over broken
// connections. It ends when ctx does, or with an error that another try would
// not mend (not signed in, not allowed, invalid).
func (c *Client) Events(ctx context.Context, opt EventOptions) iter.Seq2[baadal.Event, error] {
	return func(yield func(baadal.Event, error) bool) {
		f := &follower{c: c, opt: opt, last: opt.After, yield: yield}
		pause := firstRetry
		for {
			before := f.last
			err := f.connect(ctx)
			switch {
			case f.stopped || ctx.Err() != nil:
				return
			case isFinal(err):
				yield(baadal.Event{}, err)
				return
			}
			if opt.Lost != nil {
				opt.Lost(err)
			}
			if f.last != before {
				pause = firstRetry
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
			pause = min(pause*2, longestRetry)
		}
	}
}

// isFinal reports whether the same request would fail again.
func isFinal(err error) bool {
	return slices.Contains([]baadal.Kind{baadal.Invalid, baadal.Unauthenticated, baadal.Forbidden, baadal.NotFound}, baadal.KindOf(err))
}

// follower is one run of Events over many connections.
type follower struct {
	c       *Client
	opt     EventOptions
	last    int64 // resume after
	stopped bool  // by the consumer
	yield   func(baadal.Event, error) bool
}

var errSilent = errors.New("nothing was heard from the server")

// connect follows one connection until it breaks.
func (f *follower) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer watchdog.Stop()

	r := request{method: http.MethodGet, path: "/events", query: url.Values{}, header: http.Header{}}
	if len(f.opt.Topics) > 0 {
		r.query.Set("topics", strings.Join(f.opt.Topics, ","))
	}
	if len(f.opt.IDs) > 0 {
		ids := make([]string, len(f.opt.IDs))
		for i, n := range f.opt.IDs {
			ids[i] = id(n)
		}
		r.query.Set("ids", strings.Join(ids, ","))
	}
	if f.last > 0 {
		r.header.Set("Last-Event-ID", id(f.last))
	}
	req, err := f.c.newRequest(ctx, r, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := f.c.http.Do(req)
	if err != nil {
		return f.c.noConnection(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		data, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // half a problem is still one
		return readProblem(resp, data)
	}
	return f.read(resp.Body, func() { watchdog.Reset(silence) })
}

// read takes messages apart: fields line by line, an empty line ends one.
func (f *follower) read(body io.Reader, alive func()) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	var msg message
	for lines.Scan() {
		alive()
		line := lines.Text()
		if line != "" {
			msg.add(line)
			continue
		}
		if err := f.dispatch(msg); err != nil || f.stopped {
			return err
		}
		msg = message{}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	return io.ErrUnexpectedEOF
}

// message is one server-sent event.
type message struct{ id, event, data string }

func (m *message) add(line string) {
	field, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	switch field {
	case "id":
		m.id = value
	case "event":
		m.event = value
	case "data":
		if m.data != "" {
			m.data += "\n"
		}
		m.data += value
	}
}

func (f *follower) dispatch(m message) error {
	n, err := strconv.ParseInt(m.id, 10, 64)
	if m.id != "" && err != nil {
		return fmt.Errorf("read events: bad id %q", m.id)
	}
	switch {
	case m.data == "": // a comment, or the id where the stream starts
		if n > f.last {
			f.last = n
		}
		return nil
	case m.event == TopicReset:
		f.last = n
		f.stopped = !f.yield(baadal.Event{ID: n, Topic: TopicReset}, nil)
		return nil
	case n <= f.last: // seen before
		return nil
	}
	var e baadal.Event
	if err := json.Unmarshal([]byte(m.data), &e); err != nil {
		return fmt.Errorf("read event %s: %w", m.id, err)
	}
	f.last = n
	f.stopped = !f.yield(e, nil)
	return nil
}
