package task_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
	"baadal/internal/task"
)

func dropLeases(t *testing.T, db *store.DB) {
	t.Helper()
	if err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.DropLeases() }); err != nil {
		t.Error(err)
	}
}

// TestCancelBeforeItBegan undoes nothing: the host may not even answer.
func TestCancelBeforeItBegan(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var tr trace
		id, err := submit(t, db, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.CancelTask(id, "asha") }); err != nil {
			t.Fatal(err)
		}
		start(t, db, task.Options{}, task.Body{Steps: []task.Step{tr.step("one", nil)}})
		k := await(t, db, id, "ended", ended)
		if k.State != baadal.TaskFailed || k.Code != "cancelled" || tr.String() != "" {
			t.Errorf("ends as %s, code %q, ran %q", k.State, k.Code, tr.String())
		}
	})
}

// TestJournalIsFenced lets a step record something after its lease was lost.
func TestJournalIsFenced(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var runs atomic.Int32
		recorded := make(chan error, 1)
		start(t, db, task.Options{}, task.Body{Steps: []task.Step{{Name: "one", Do: func(_ context.Context, r *task.Run) error {
			if runs.Add(1) > 1 {
				return nil
			}
			dropLeases(t, db)
			err := r.Record("from the past")
			recorded <- err
			return err
		}}}})
		if _, err := submit(t, db, 1); err != nil {
			t.Fatal(err)
		}
		if err := <-recorded; !errors.Is(err, store.ErrLeaseLost) {
			t.Errorf("recorded without a lease: %v", err)
		}
	})
}

// TestOneWorkerPerTask takes the lease from a step that does not stop at once:
// the same process must not begin the step again beside it.
func TestOneWorkerPerTask(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var at, most, runs atomic.Int32
		start(t, db, task.Options{}, task.Body{Steps: []task.Step{{Name: "one", Do: func(context.Context, *task.Run) error {
			most.Store(max(most.Load(), at.Add(1)))
			defer at.Add(-1)
			if runs.Add(1) == 1 {
				dropLeases(t, db)
				time.Sleep(1500 * time.Millisecond) // longer than the dispatcher sleeps
			}
			return nil
		}}}})
		id, err := submit(t, db, 1)
		if err != nil {
			t.Fatal(err)
		}
		await(t, db, id, "ended", ended)
		if most.Load() != 1 || runs.Load() != 2 {
			t.Errorf("%d workers at one task at a time, %d runs", most.Load(), runs.Load())
		}
	})
}

// TestWorkerStopsBeforeItsLeaseEnds holds the database so that no lease can be
// renewed: the step must be told to stop before somebody else may begin it.
func TestWorkerStopsBeforeItsLeaseEnds(t *testing.T) {
	t.Parallel()
	const lease = 3 * time.Second
	db := storetest.Open(t)
	began, held := make(chan struct{}), make(chan time.Duration, 1)
	var runs atomic.Int32
	start(t, db, task.Options{Lease: lease}, task.Body{Steps: []task.Step{{Name: "one", Do: func(ctx context.Context, _ *task.Run) error {
		if runs.Add(1) > 1 {
			return nil
		}
		begun := time.Now()
		close(began)
		<-ctx.Done()
		held <- time.Since(begun)
		return context.Cause(ctx)
	}}}})
	if _, err := submit(t, db, 1); err != nil {
		t.Fatal(err)
	}
	<-began
	err := db.Update(t.Context(), func(*store.Tx) error {
		if d := <-held; d >= lease {
			t.Errorf("the step was stopped after %s, the lease ended after %s", d, lease)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestFullHostDoesNotHideOthers queues more for one busy host than is looked at
// in one go.
func TestFullHostDoesNotHideOthers(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		on := func(host int64, cost int) func(*baadal.Task) {
			return func(k *baadal.Task) { k.HostID, k.Cost = host, cost }
		}
		lease := func(name string) (leased []baadal.Task, next time.Time) {
			err := db.Update(t.Context(), func(tx *store.Tx) (err error) {
				if leased, err = tx.LeaseTasks(name, tx.Now().Add(time.Hour), 8, 16); err != nil {
					return err
				}
				next, err = tx.NextDue()
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return leased, next
		}
		var vm int64
		add := func(n int, change func(*baadal.Task)) {
			for range n {
				vm++
				if _, err := submit(t, db, vm, change); err != nil {
					t.Fatal(err)
				}
			}
		}
		add(7, on(1, 1))
		if got, _ := lease("a"); len(got) != 7 {
			t.Fatalf("leased %d of 7", len(got))
		}
		add(100, on(1, 2))
		add(1, on(2, 2))
		got, next := lease("b")
		if len(got) != 1 || got[0].HostID != 2 {
			t.Errorf("leased %d tasks, want the one of host 2", len(got))
		}
		if !next.IsZero() {
			t.Errorf("the dispatcher looks again at %s for tasks that wait for room", next)
		}
	})
}

// TestSecondTaskAtTheSameTime asks for many tasks about one subject at once:
// one is made, the others hear who holds it.
func TestSecondTaskAtTheSameTime(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const n = 8
		errs := make(chan error, n)
		for range n {
			go func() {
				k := baadal.Task{Kind: kind, Subject: baadal.Subject{Kind: "vm", ID: 1, Name: "vm1"}, Exclusive: true}
				errs <- db.Update(context.Background(), func(tx *store.Tx) error {
					if err := tx.InsertTask(&k); err != nil {
						return err
					}
					time.Sleep(20 * time.Millisecond) // the others do not see it yet
					return nil
				})
			}()
		}
		made := 0
		for range n {
			err := <-errs
			e, _ := errors.AsType[*baadal.Error](err)
			switch {
			case err == nil:
				made++
			case e == nil || e.Kind != baadal.Conflict || e.TaskID == 0:
				t.Errorf("refused with %v (kind %q)", err, baadal.KindOf(err))
			}
		}
		if made != 1 {
			t.Errorf("%d tasks hold one subject", made)
		}
	})
}
