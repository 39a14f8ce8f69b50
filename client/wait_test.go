package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"baadal"
	"baadal/client"
	"baadal/internal/server"
	"baadal/internal/server/servertest"
	"baadal/internal/store"
	"baadal/internal/task"
)

// work registers a body for audits with steps that wait for each a word, and
// starts the queue.
func work(t *testing.T, cloud *servertest.Cloud) (goOn chan error) {
	t.Helper()
	goOn = make(chan error)
	wait := func(ctx context.Context, _ *task.Run) error {
		select {
		case err := <-goOn:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	cloud.Queue.Register(task.Body{
		Kind:  baadal.TaskAudit,
		Steps: []task.Step{{Name: "first", Do: wait}, {Name: "second", Do: wait}},
		Done:  func(*store.Tx, *task.Run) (string, error) { return "all is well", nil },
	})
	if err := cloud.Queue.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := cloud.Queue.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return goOn
}

func TestWaitTask(t *testing.T) {
	t.Parallel()
	cloud := servertest.New(t)
	root := cloud.User("root", "ADMIN", baadal.RoleAdmin)
	c := newClient(t, cloud.URL, root.Token)
	goOn := work(t, cloud)
	ch, err := c.RunAudit(t.Context(), false, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	go func() { goOn <- nil; goOn <- nil }()
	var steps []string
	var generations []int64
	got, err := c.WaitTask(t.Context(), ch.Task.ID, func(k baadal.Task) {
		steps = append(steps, k.Step)
		generations = append(generations, k.Generation)
	})
	if err != nil || got.State != baadal.TaskSuccess || got.Message != "all is well" || len(got.Steps) != 2 || got.Progress != 100 {
		t.Errorf("task %+v, %v", got, err)
	}
	if !slices.IsSorted(generations) || len(slices.Compact(slices.Clone(generations))) != len(generations) || len(generations) == 0 {
		t.Errorf("seen generations %v, steps %v", generations, steps)
	}
}

func TestWaitTaskThatFails(t *testing.T) {
	t.Parallel()
	cloud := servertest.New(t)
	root := cloud.User("root", "ADMIN", baadal.RoleAdmin)
	c := newClient(t, cloud.URL, root.Token)
	goOn := work(t, cloud)
	ch, err := c.RunAudit(t.Context(), false, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	go func() { goOn <- baadal.Errorf(baadal.Conflict, "it cannot be").WithCode("no_way") }()
	got, err := c.WaitTask(t.Context(), ch.Task.ID, nil)
	if err != nil || got.State != baadal.TaskFailed || got.Code != "no_way" {
		t.Errorf("task %+v, %v", got, err)
	}
}

// A server that goes away while somebody waits, and comes back, does not
// matter; ending the context ends the wait.
func TestWaitTaskOverRestart(t *testing.T) {
	t.Parallel()
	cloud := servertest.New(t)
	root := cloud.User("root", "ADMIN", baadal.RoleAdmin)
	goOn := work(t, cloud)
	var calls atomic.Int32
	base := lossy(t, cloud.URL, func(r *http.Request) bool { return r.Method == http.MethodGet && calls.Add(1)%3 != 0 })
	c := newClient(t, base, root.Token)
	ch, err := c.RunAudit(t.Context(), false, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := newClient(t, cloud.URL, root.Token).WaitTask(ctx, ch.Task.ID, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ended wait: %v", err)
	}
	go func() { goOn <- nil; goOn <- nil }()
	if got, err := c.WaitTask(t.Context(), ch.Task.ID, nil); err != nil || got.State != baadal.TaskSuccess {
		t.Errorf("task %+v, %v", got, err)
	}
	if _, err := c.WaitTask(t.Context(), 4242, nil); baadal.KindOf(err) != baadal.NotFound {
		t.Errorf("no such task: %v", err)
	}
}

func emit(cloud *servertest.Cloud, n int) {
	for i := range n {
		cloud.Update(func(tx *store.Tx) error {
			_, err := tx.AddEvent(baadal.Event{Topic: "vm", Subject: baadal.Subject{Kind: "vm", ID: int64(i%3 + 1), Name: "x"}, What: "updated"})
			return err
		})
	}
}

// Over connections that break again and again every event comes once, in order.
func TestEventsOverBrokenConnections(t *testing.T) {
	t.Parallel()
	cloud := servertest.New(t, func(cfg *server.Config) { cfg.Heartbeat = 30 * time.Millisecond })
	root := cloud.User("root", "ADMIN", baadal.RoleAdmin)
	base, cut := flaky(t, cloud.URL)
	c := newClient(t, base, root.Token)
	emit(cloud, 1)
	const n = 60
	lost := 0
	next := int64(2)
	started := false
	opt := client.EventOptions{Topics: []string{"vm"}, After: 1, Lost: func(error) { lost++ }}
	emit(cloud, 1)
	done := make(chan struct{})
	for e, err := range c.Events(t.Context(), opt) {
		if err != nil {
			t.Fatal(err)
		}
		if e.ID != next {
			t.Fatalf("event %d, want %d", e.ID, next)
		}
		if !started {
			started = true
			go func() { defer close(done); emit(cloud, n-1) }()
		}
		if next%20 == 0 {
			cut()
		}
		if next++; next > n+1 {
			break
		}
	}
	<-done
	if next != n+2 || lost == 0 {
		t.Errorf("%d events came, %d connections were lost", next-2, lost)
	}
}

func TestEventsReset(t *testing.T) {
	t.Parallel()
	cloud := servertest.New(t)
	root := cloud.User("root", "ADMIN", baadal.RoleAdmin)
	emit(cloud, 5)
	cloud.Update(func(tx *store.Tx) error { _, err := tx.PruneEvents(tx.Now().Add(time.Hour)); return err })
	emit(cloud, 2)
	for e, err := range newClient(t, cloud.URL, root.Token).Events(t.Context(), client.EventOptions{After: 2}) {
		if err != nil || e.Topic != client.TopicReset || e.ID != 7 {
			t.Errorf("got %+v, %v", e, err)
		}
		break
	}
}

func TestEventsEndWithAnErrorThatStays(t *testing.T) {
	t.Parallel()
	cloud := servertest.New(t)
	var got []string
	for _, err := range newClient(t, cloud.URL, "wrong").Events(t.Context(), client.EventOptions{}) {
		got = append(got, fmt.Sprint(baadal.KindOf(err)))
	}
	if !slices.Equal(got, []string{"unauthenticated"}) {
		t.Errorf("got %v", got)
	}
}

func TestEventsEndWithContext(t *testing.T) {
	t.Parallel()
	cloud := servertest.New(t)
	root := cloud.User("root", "ADMIN", baadal.RoleAdmin)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	for e, err := range newClient(t, cloud.URL, root.Token).Events(ctx, client.EventOptions{}) {
		t.Errorf("got %+v, %v", e, err)
	}
}
