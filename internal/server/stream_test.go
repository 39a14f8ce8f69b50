package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/server"
	"baadal/internal/server/servertest"
	"baadal/internal/store"
)

// message is one server-sent event as it came.
type message struct {
	id, event, data, comment string
}

// reader reads messages of one connection.
type reader struct {
	t      *testing.T
	lines  chan string
	cancel context.CancelFunc
	status int
}

// follow opens a stream; it ends with the test or when cancel is called.
func follow(t *testing.T, c *servertest.Cloud, token, query string, headers ...string) *reader {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+"/api/v1/events"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.HTTP.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{t: t, lines: make(chan string, 10000), cancel: cancel, status: resp.StatusCode}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer resp.Body.Close()
		defer close(r.lines)
		s := bufio.NewScanner(resp.Body)
		for s.Scan() {
			r.lines <- s.Text()
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

// next returns the next message; ok is false when the stream has ended.
func (r *reader) next() (m message, ok bool) {
	r.t.Helper()
	for {
		select {
		case line, open := <-r.lines:
			if !open {
				return m, false
			}
			if line == "" {
				return m, true
			}
			field, value, _ := strings.Cut(line, ": ")
			switch field {
			case "id":
				m.id = value
			case "event":
				m.event = value
			case "data":
				m.data = value
			case "":
				m.comment = value
			}
		case <-time.After(10 * time.Second):
			r.t.Fatal("no message came")
		}
	}
}

// events reads n events, passing over hellos and heartbeats.
func (r *reader) events(n int) []baadal.Event {
	r.t.Helper()
	var all []baadal.Event
	for len(all) < n {
		m, ok := r.next()
		if !ok {
			r.t.Fatalf("the stream ended after %d of %d events", len(all), n)
		}
		if m.data == "" {
			continue
		}
		var e baadal.Event
		if err := json.Unmarshal([]byte(m.data), &e); err != nil {
			r.t.Fatal(err)
		}
		if fmt.Sprint(e.ID) != m.id || e.Topic != m.event {
			r.t.Errorf("message %+v holds event %d of topic %s", m, e.ID, e.Topic)
		}
		all = append(all, e)
	}
	return all
}

// emit stores n events about VMs of an owner and returns the last id.
func emit(c *servertest.Cloud, owner servertest.Person, topic string, n int) {
	for i := range n {
		c.Update(func(tx *store.Tx) error {
			_, err := tx.AddEvent(baadal.Event{
				Topic: topic, Subject: baadal.Subject{Kind: topic, ID: int64(i + 1), Name: "x"}, What: "updated",
				OwnerID: owner.ID, OrganisationID: owner.OrganisationID,
			})
			return err
		})
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	c := servertest.New(t, func(cfg *server.Config) { cfg.Heartbeat = 50 * time.Millisecond })
	rita, asha := c.User("rita", "CSE"), c.User("asha", "EE")
	emit(c, rita, "vm", 3) // before anyone listens
	r := follow(t, c, rita.Token, "")
	hello, ok := r.next()
	if !ok || hello.id != "3" || hello.data != "" {
		t.Fatalf("hello is %+v", hello)
	}
	emit(c, asha, "vm", 2) // not hers
	emit(c, rita, "task", 1)
	if got := r.events(1); got[0].Topic != "task" || got[0].ID != 6 {
		t.Errorf("got %+v", got)
	}
	for {
		m, ok := r.next()
		if !ok {
			t.Fatal("the stream ended")
		}
		if m.comment != "" {
			break // a heartbeat
		}
		if m.data != "" {
			t.Fatalf("unexpected message %+v", m)
		}
	}
}

func TestStreamFilters(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	root := c.User("root", "ADMIN", baadal.RoleAdmin)
	r := follow(t, c, root.Token, "?topics=vm,task&ids=2,3")
	r.next()
	emit(c, root, "host", 3)
	emit(c, root, "vm", 3)
	emit(c, root, "task", 2)
	var got []string
	for _, e := range r.events(3) {
		got = append(got, fmt.Sprint(e.Topic, e.Subject.ID))
	}
	if want := []string{"vm2", "vm3", "task2"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Whoever comes back with the last id sees each event once, in order, however
// often the connection breaks while events are stored.
func TestStreamResumesWithoutGapOrDouble(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	root := c.User("root", "ADMIN", baadal.RoleAdmin)
	emit(c, root, "vm", 1)
	const n = 120
	done := make(chan struct{})
	go func() {
		defer close(done)
		emit(c, root, "vm", n)
	}()
	last := int64(1)
	for connection := 0; last < n+1; connection++ {
		var r *reader
		if connection%2 == 0 {
			r = follow(t, c, root.Token, "", "Last-Event-ID", fmt.Sprint(last))
		} else {
			r = follow(t, c, root.Token, fmt.Sprintf("?last_event_id=%d", last))
		}
		for range min(int64(7), n+1-last) {
			e := r.events(1)[0]
			if e.ID != last+1 {
				t.Fatalf("after event %d came %d", last, e.ID)
			}
			last = e.ID
		}
		r.cancel()
	}
	<-done
}

func TestStreamReset(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	root := c.User("root", "ADMIN", baadal.RoleAdmin)
	emit(c, root, "vm", 5)
	c.Update(func(tx *store.Tx) error { _, err := tx.PruneEvents(tx.Now().Add(time.Hour)); return err })
	emit(c, root, "vm", 2) // 6 and 7 are kept
	tests := map[string]struct {
		after int64
		reset bool
	}{
		"long forgotten":      {2, true},
		"just not forgotten":  {5, false},
		"kept":                {6, false},
		"of another database": {900, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := follow(t, c, root.Token, "", "Last-Event-ID", fmt.Sprint(tc.after))
			r.next() // hello
			if tc.reset {
				if m, _ := r.next(); m.event != "reset" || m.id != "7" || m.data != `{"last_id":7}` {
					t.Errorf("got %+v, want a reset to 7", m)
				}
				return
			}
			if e := r.events(1); e[0].ID != tc.after+1 {
				t.Errorf("got event %d, want %d", e[0].ID, tc.after+1)
			}
		})
	}
}

// A stream does not outlive its sign-in, nor the server.
func TestStreamEnds(t *testing.T) {
	t.Parallel()
	c := servertest.New(t, func(cfg *server.Config) { cfg.Heartbeat = 20 * time.Millisecond })
	rita, root := c.User("rita", "CSE"), c.User("root", "ADMIN", baadal.RoleAdmin)
	drain := func(r *reader) {
		for {
			if _, ok := r.next(); !ok {
				return
			}
		}
	}
	blocked, drained := follow(t, c, rita.Token, ""), follow(t, c, root.Token, "")
	rita.Blocked = true
	c.Update(func(tx *store.Tx) error { return tx.UpdateUser(&rita.User) })
	drain(blocked)
	c.Server.Drain()
	drain(drained)
}

func TestStreamsAreCounted(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	rita := c.User("rita", "CSE")
	var open []*reader
	for range 32 {
		r := follow(t, c, rita.Token, "")
		if r.status != http.StatusOK {
			t.Fatalf("stream %d: %d", len(open), r.status)
		}
		r.next()
		open = append(open, r)
	}
	if a := ask(t, c, rita.Token, "GET", "/api/v1/events", ""); a.status != http.StatusTooManyRequests || a.problem(t).Code != "too_many_streams" {
		t.Errorf("one more: %d %s", a.status, a.body)
	}
	open[0].cancel()
	for range 100 { // the server notices a moment later
		r := follow(t, c, rita.Token, "")
		r.cancel()
		if r.status == http.StatusOK {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("a closed stream is still counted")
}

// A long poll returns with the change, and ends with the server.
func TestTaskWait(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	rita := c.User("rita", "CSE")
	task := c.Task(rita)
	path := fmt.Sprintf("/api/v1/tasks/%d?wait=20s&after=%d", task.ID, task.Generation)
	start := time.Now()
	cancelled := make(chan struct{})
	go func() {
		defer close(cancelled)
		time.Sleep(50 * time.Millisecond) // the call below shall wait first; earlier is no failure
		ask(t, c, rita.Token, "POST", fmt.Sprintf("/api/v1/tasks/%d/cancel", task.ID), "")
		emit(c, rita, "task", 1) // as the worker does that takes the task up
	}()
	got := into[baadal.Task](t, ask(t, c, rita.Token, "GET", path, ""))
	if got.CancelBy != "rita" || got.Generation <= task.Generation || time.Since(start) > 10*time.Second {
		t.Errorf("after %s: %+v", time.Since(start), got)
	}
	<-cancelled
	short := ask(t, c, rita.Token, "GET", fmt.Sprintf("/api/v1/tasks/%d?wait=50ms&after=%d", task.ID, got.Generation), "")
	if same := into[baadal.Task](t, short); same.Generation != got.Generation {
		t.Errorf("generation %d, want %d", same.Generation, got.Generation)
	}
	time.AfterFunc(100*time.Millisecond, c.Server.Drain)
	a := ask(t, c, rita.Token, "GET", fmt.Sprintf("/api/v1/tasks/%d?wait=20s&after=%d", task.ID, got.Generation), "")
	if a.status != http.StatusServiceUnavailable || a.problem(t).Code != "draining" || time.Since(start) > 15*time.Second {
		t.Errorf("drained: %d %s", a.status, a.body)
	}
}
