package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"baadal"
)

// Bounds of event streams and consoles.
const (
	maxStreams        = 2000
	maxStreamsPerUser = 32
	streamBatch       = 500
	retryAfterMillis  = 2000 // told to browsers: how long to wait before they come back
)

// streamCount bounds how many streams are open, in all and for each user.
type streamCount struct {
	mu     sync.Mutex
	all    int
	byUser map[int64]int
}

func (c *streamCount) enter(user int64) (release func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= maxStreams || c.byUser[user] >= maxStreamsPerUser {
		return nil, baadal.Errorf(baadal.TooMany, "too many event streams and consoles are open").WithCode("too_many_streams").
			WithDetail("one user may have %d, all of them %d", maxStreamsPerUser, maxStreams).WithNext("Close some", "")
	}
	c.all++
	c.byUser[user]++
	var once sync.Once
	return func() {
		once.Do(func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.all--
			if c.byUser[user]--; c.byUser[user] == 0 {
				delete(c.byUser, user)
			}
		})
	}, nil
}

// stream is one client that follows events.
type stream struct {
	s      *Server
	actor  baadal.Actor
	topics []string
	ids    []int64
	last   int64 // the newest event sent, or skipped because it is not for this client

	w  http.ResponseWriter
	rc *http.ResponseController
}

// errStreamOver ends a stream without complaint.
var errStreamOver = errors.New("stream is over")

// run sends events until the client goes, its sign-in ends or the server
// drains. It waits for the wake-up before it reads, so nothing falls between.
func (st *stream) run(hc huma.Context, reset bool) {
	r, w := humago.Unwrap(hc)
	st.w, st.rc = w, http.NewResponseController(w)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // proxies shall not collect it
	w.WriteHeader(http.StatusOK)
	wake, stop := st.s.svc.EventSignal()
	defer stop()

	// The id alone tells where the stream starts, for a client that loses it
	// before the first event.
	hello := fmt.Sprintf("retry: %d\nid: %d\n\n", retryAfterMillis, st.last)
	if reset {
		hello += fmt.Sprintf("id: %d\nevent: reset\ndata: {\"last_id\":%d}\n\n", st.last, st.last)
	}
	err := st.send(hello)
	heartbeat := time.NewTicker(st.s.cfg.Heartbeat)
	defer heartbeat.Stop()
	for err == nil {
		if err = st.catchUp(r); err != nil {
			break
		}
		select {
		case <-wake:
		case <-heartbeat.C:
			err = st.beat(r)
		case <-r.Context().Done():
			err = errStreamOver
		case <-st.s.draining:
			err = errStreamOver
		}
	}
	if !errors.Is(err, errStreamOver) && r.Context().Err() == nil {
		st.s.log.WarnContext(r.Context(), "event stream ended", "request_id", callOf(r.Context()).id, "error", err)
	}
}

// catchUp sends everything that is newer than the last event sent.
func (st *stream) catchUp(r *http.Request) error {
	for {
		events, err := st.s.svc.Events(r.Context(), st.actor, st.last, st.topics, st.ids, streamBatch)
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		for _, e := range events {
			data, err := json.Marshal(e)
			if err != nil {
				return fmt.Errorf("encode event %d: %w", e.ID, err)
			}
			if err := st.write(fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", e.ID, e.Topic, data)); err != nil {
				return err
			}
			st.last = e.ID
		}
		if len(events) == 0 {
			return nil
		}
		if err := st.flush(); err != nil {
			return err
		}
		if len(events) < streamBatch {
			return nil
		}
	}
}

// beat keeps the connection alive and looks whether the sign-in still holds:
// a stream must not outlive a revoked token or a blocked user.
func (st *stream) beat(r *http.Request) error {
	secret, _ := credential(r)
	a, err := st.s.svc.Authenticate(r.Context(), secret)
	if baadal.KindOf(err) == baadal.Unauthenticated || baadal.KindOf(err) == baadal.Forbidden {
		return errStreamOver
	}
	if err != nil {
		return fmt.Errorf("look at the sign-in again: %w", err)
	}
	st.actor = a
	return st.send(": still here\n\n")
}

func (st *stream) send(text string) error {
	if err := st.write(text); err != nil {
		return err
	}
	return st.flush()
}

// write errors mean that the client is gone or stuck: statusWriter gives every
// write a deadline.
func (st *stream) write(text string) error {
	if _, err := st.w.Write([]byte(text)); err != nil {
		return errStreamOver
	}
	return nil
}

func (st *stream) flush() error {
	if err := st.rc.Flush(); err != nil {
		return errStreamOver
	}
	return nil
}
