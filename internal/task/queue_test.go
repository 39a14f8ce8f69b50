package task_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
	"baadal/internal/task"
)

func TestMain(m *testing.M) { storetest.Main(m) }

const kind = baadal.TaskVMStart

var unavailable = baadal.Errorf(baadal.Unavailable, "host1 does not answer")

// trace remembers what ran, in order.
type trace struct {
	mu  sync.Mutex
	ran []string
}

func (t *trace) add(s string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ran = append(t.ran, s)
}

func (t *trace) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.ran, " ")
}

// step is a step that notes its do and undo and returns what do returns.
func (t *trace) step(name string, do func(ctx context.Context, r *task.Run) error) task.Step {
	return task.Step{
		Name: name,
		Do: func(ctx context.Context, r *task.Run) error {
			t.add(name)
			if do == nil {
				return nil
			}
			return do(ctx, r)
		},
		Undo: func(context.Context, *task.Run) error { t.add("-" + name); return nil },
	}
}

func start(t *testing.T, db *store.DB, opt task.Options, body task.Body) *task.Queue {
	t.Helper()
	if opt.Backoff == 0 {
		opt.Backoff = time.Millisecond
	}
	body.Kind = kind
	q := task.New(db, opt)
	q.Register(body)
	if err := q.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, q) })
	return q
}

func stop(t *testing.T, q *task.Queue) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := q.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// submit stores a task about a VM (no row is needed for one).
func submit(t *testing.T, db *store.DB, vm int64, change ...func(*baadal.Task)) (int64, error) {
	t.Helper()
	k := baadal.Task{Kind: kind, Subject: baadal.Subject{Kind: "vm", ID: vm, Name: fmt.Sprintf("vm%d", vm)}, Requester: "asha", Exclusive: true}
	for _, c := range change {
		c(&k)
	}
	err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.InsertTask(&k) })
	return k.ID, err
}

// await waits until the task is as wanted.
func await(t *testing.T, db *store.DB, id int64, what string, wanted func(baadal.Task) bool) baadal.Task {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		var k baadal.Task
		if err := db.View(t.Context(), func(tx *store.Tx) (err error) { k, err = tx.Task(id); return err }); err != nil {
			t.Fatal(err)
		}
		if wanted(k) {
			return k
		}
		if time.Now().After(deadline) {
			t.Fatalf("task %d is not %s: %s at step %q: %s", id, what, k.State, k.Step, k.Message)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func ended(k baadal.Task) bool { return k.State.Ended() && !k.UndoPending }

func run(t *testing.T, db *store.DB, body task.Body, change ...func(*baadal.Task)) baadal.Task {
	t.Helper()
	start(t, db, task.Options{}, body)
	id, err := submit(t, db, 1, change...)
	if err != nil {
		t.Fatal(err)
	}
	return await(t, db, id, "ended", ended)
}

func TestStepsRunInOrderAndTheJournalTells(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var tr trace
		k := run(t, db, task.Body{
			Steps: []task.Step{tr.step("one", func(_ context.Context, r *task.Run) error {
				r.Detail("3 files")
				return r.Record(map[string]int{"made": 3})
			}), tr.step("two", func(_ context.Context, r *task.Run) error {
				var out map[string]int
				if ok, err := r.Output("one", &out); !ok || err != nil || out["made"] != 3 {
					return fmt.Errorf("output of one: %t %v: %w", ok, out, err)
				}
				return nil
			})},
			Done: func(*store.Tx, *task.Run) (string, error) { return "well done", nil },
		})
		if k.State != baadal.TaskSuccess || k.Message != "well done" || k.Progress != 100 || tr.String() != "one two" {
			t.Errorf("ends as %s, %q, %d %%, ran %q", k.State, k.Message, k.Progress, tr.String())
		}
		if len(k.Steps) != 2 || k.Steps[0].State != baadal.StepDone || k.Steps[1].State != baadal.StepDone || k.Steps[0].Detail != "3 files" {
			t.Errorf("journal: %+v", k.Steps)
		}
	})
}

func TestFailureUndoesNewestFirst(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var tr trace
		gaveBack := false
		k := run(t, db, task.Body{
			Steps: []task.Step{tr.step("one", nil), tr.step("two", nil), tr.step("three", func(context.Context, *task.Run) error {
				return baadal.Errorf(baadal.Exhausted, "the disk is full").WithCode("datastore_full")
			}), tr.step("four", nil)},
			Undone: func(_ *store.Tx, r *task.Run) error { gaveBack = r.Cause() != nil; return nil },
		})
		if want := "one two three -three -two -one"; tr.String() != want || k.State != baadal.TaskFailed || !gaveBack {
			t.Errorf("ran %q, want %q; ends as %s, gave back %t", tr.String(), want, k.State, gaveBack)
		}
		if k.Code != "datastore_full" || k.Message != "the disk is full" || k.Step != "three" {
			t.Errorf("says %q, code %q, step %q", k.Message, k.Code, k.Step)
		}
	})
}

func TestOnlyUnavailableIsRetried(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var tr trace
		var n atomic.Int32
		k := run(t, db, task.Body{Steps: []task.Step{tr.step("one", nil), tr.step("two", func(context.Context, *task.Run) error {
			if n.Add(1) < 4 {
				return unavailable
			}
			return nil
		})}})
		if want := "one two two two two"; tr.String() != want || k.State != baadal.TaskSuccess {
			t.Errorf("ran %q, want %q; ends as %s", tr.String(), want, k.State)
		}
	})
}

func TestRetriesEnd(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var tr trace
		k := run(t, db, task.Body{Tries: 3, Steps: []task.Step{tr.step("one", func(context.Context, *task.Run) error { return unavailable })}})
		if want := "one one one -one"; tr.String() != want || k.State != baadal.TaskFailed || k.Message != "host1 does not answer" {
			t.Errorf("ran %q, want %q; ends as %s: %s", tr.String(), want, k.State, k.Message)
		}
	})
}

func TestPanicIsAFailureWithoutWordsForUsers(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var tr trace
		k := run(t, db, task.Body{Steps: []task.Step{tr.step("one", func(context.Context, *task.Run) error { panic("secret words") })}})
		if k.State != baadal.TaskFailed || k.Message != "internal error" || tr.String() != "one -one" {
			t.Errorf("ends as %s: %q, ran %q", k.State, k.Message, tr.String())
		}
	})
}

func TestDeadlineUndoes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var tr trace
		k := run(t, db, task.Body{Steps: []task.Step{tr.step("one", nil), tr.step("two", func(ctx context.Context, _ *task.Run) error {
			<-ctx.Done()
			return context.Cause(ctx)
		})}}, func(k *baadal.Task) { d := time.Now().Add(2 * time.Second); k.Deadline = &d })
		if want := "one two -two -one"; tr.String() != want || k.Code != "deadline" {
			t.Errorf("ran %q, want %q; code %q", tr.String(), want, k.Code)
		}
	})
}

func TestCancelUndoes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var tr trace
		at := make(chan struct{}, 1)
		q := start(t, db, task.Options{}, task.Body{Steps: []task.Step{tr.step("one", func(ctx context.Context, _ *task.Run) error {
			at <- struct{}{}
			<-ctx.Done()
			return context.Cause(ctx)
		})}})
		id, err := submit(t, db, 1)
		if err != nil {
			t.Fatal(err)
		}
		<-at
		if err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.CancelTask(id, "asha") }); err != nil {
			t.Fatal(err)
		}
		q.CancelRunning(id, "asha")
		k := await(t, db, id, "ended", ended)
		if k.State != baadal.TaskFailed || k.Code != "cancelled" || k.Message != "cancelled by asha" || tr.String() != "one -one" {
			t.Errorf("ends as %s, code %q: %q, ran %q", k.State, k.Code, k.Message, tr.String())
		}
	})
}

// TestCancelReachesAnotherController cancels in the store only, as a controller
// does that does not run the task: the worker learns it at a lease renewal.
func TestCancelReachesAnotherController(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		at := make(chan struct{}, 1)
		start(t, db, task.Options{Lease: 300 * time.Millisecond}, task.Body{Steps: []task.Step{{Name: "one", Do: func(ctx context.Context, _ *task.Run) error {
			at <- struct{}{}
			<-ctx.Done()
			return context.Cause(ctx)
		}}}})
		id, err := submit(t, db, 1)
		if err != nil {
			t.Fatal(err)
		}
		<-at
		if err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.CancelTask(id, "asha") }); err != nil {
			t.Fatal(err)
		}
		if k := await(t, db, id, "ended", ended); k.Code != "cancelled" {
			t.Errorf("ends as %s, code %q", k.State, k.Code)
		}
	})
}

func TestShutdownIsNotCancel(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var tr trace
		at := make(chan error, 1)
		var first atomic.Bool
		body := task.Body{Steps: []task.Step{tr.step("one", nil), tr.step("two", func(ctx context.Context, _ *task.Run) error {
			if !first.CompareAndSwap(false, true) {
				return nil
			}
			at <- nil
			<-ctx.Done()
			at <- context.Cause(ctx)
			return ctx.Err()
		})}}
		q := start(t, db, task.Options{}, body)
		id, err := submit(t, db, 1)
		if err != nil {
			t.Fatal(err)
		}
		<-at
		stop(t, q)
		if cause := <-at; !errors.Is(cause, task.ErrShutdown) {
			t.Errorf("the step was told %v", cause)
		}
		start(t, db, task.Options{}, body)
		k := await(t, db, id, "ended", ended)
		if want := "one two two"; tr.String() != want || k.State != baadal.TaskSuccess {
			t.Errorf("ran %q, want %q; ends as %s", tr.String(), want, k.State)
		}
	})
}

func TestUndoIsNeverDropped(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var tr trace
		var n atomic.Int32
		gate := make(chan struct{})
		one := tr.step("one", nil)
		one.Undo = func(context.Context, *task.Run) error {
			select {
			case <-gate:
				return nil
			default:
				n.Add(1)
				return unavailable
			}
		}
		owed := false
		start(t, db, task.Options{}, task.Body{
			Steps: []task.Step{one, tr.step("two", func(context.Context, *task.Run) error { return errors.New("no") })},
			Owed:  func(*store.Tx, *task.Run, error) error { owed = true; return nil },
		})
		id, err := submit(t, db, 1)
		if err != nil {
			t.Fatal(err)
		}
		k := await(t, db, id, "failed with its undo owed", func(k baadal.Task) bool { return k.UndoPending })
		if k.State != baadal.TaskFailed || k.EndedAt == nil || !strings.Contains(k.Message, "host1 does not answer") || !owed {
			t.Errorf("while owed: %s, %q, owed told %t", k.State, k.Message, owed)
		}
		await(t, db, id, "tried again", func(baadal.Task) bool { return n.Load() >= 3 })
		if _, err := submit(t, db, 1); baadal.KindOf(err) != baadal.Conflict {
			t.Errorf("the subject is free while its undo is owed: %v", err)
		}
		close(gate)
		k = await(t, db, id, "undone", ended)
		if k.State != baadal.TaskFailed || !strings.Contains(k.Message, "taken back by now") {
			t.Errorf("afterwards: %s, %q", k.State, k.Message)
		}
		if _, err := submit(t, db, 1); err != nil {
			t.Errorf("the subject is not free afterwards: %v", err)
		}
	})
}

func TestOneChangingTaskPerSubject(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		first, err := submit(t, db, 7)
		if err != nil {
			t.Fatal(err)
		}
		_, err = submit(t, db, 7)
		e, ok := errors.AsType[*baadal.Error](err)
		if !ok || e.Kind != baadal.Conflict || e.TaskID != first {
			t.Errorf("second task: %v", err)
		}
		if _, err := submit(t, db, 8); err != nil {
			t.Errorf("another subject: %v", err)
		}
	})
}

// TestHostSlots gives one host more work than it may carry, with a host that
// hangs beside it: the cost is never exceeded, and nobody waits for the other.
func TestHostSlots(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const slots = 4
		var cost, most, doneWell atomic.Int32
		hang := make(chan struct{})
		start(t, db, task.Options{Slots: func() int { return slots }}, task.Body{Steps: []task.Step{{Name: "work", Do: func(_ context.Context, r *task.Run) error {
			if r.Task.HostID == 2 {
				<-hang
				return nil
			}
			if now := cost.Add(2); now > most.Load() {
				most.Store(now)
			}
			time.Sleep(5 * time.Millisecond)
			cost.Add(-2)
			doneWell.Add(1)
			return nil
		}}}})
		var ids []int64
		for i := range int64(30) {
			id, err := submit(t, db, i+1, func(k *baadal.Task) { k.HostID, k.Cost = 1+i%2, 2 })
			if err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				ids = append(ids, id)
			}
		}
		for _, id := range ids {
			await(t, db, id, "ended beside a hanging host", ended)
		}
		close(hang)
		if most.Load() > slots || most.Load() < 2 {
			t.Errorf("cost on a host reached %d, allowed are %d", most.Load(), slots)
		}
		if doneWell.Load() != 15 {
			t.Errorf("%d of 15 tasks ran once", doneWell.Load())
		}
	})
}

// TestLeaseThatRanOutIsTakenOver stops the renewing of a lease by making it
// lost in the store, as when a controller slept too long.
func TestLeaseThatRanOutIsTakenOver(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var runs atomic.Int32
		told := make(chan error, 2)
		body := task.Body{Kind: kind, Steps: []task.Step{{Name: "one", Do: func(ctx context.Context, _ *task.Run) error {
			if runs.Add(1) > 1 {
				return nil
			}
			<-ctx.Done()
			told <- context.Cause(ctx)
			return ctx.Err()
		}}}}
		start(t, db, task.Options{Lease: 300 * time.Millisecond}, body)
		id, err := submit(t, db, 1)
		if err != nil {
			t.Fatal(err)
		}
		await(t, db, id, "at work", func(k baadal.Task) bool { return runs.Load() == 1 })
		if err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.DropLeases() }); err != nil {
			t.Fatal(err)
		}
		k := await(t, db, id, "ended", ended)
		if cause := <-told; !errors.Is(cause, task.ErrLeaseLost) {
			t.Errorf("the first worker was told %v", cause)
		}
		if k.State != baadal.TaskSuccess || runs.Load() != 2 {
			t.Errorf("ends as %s after %d runs", k.State, runs.Load())
		}
	})
}

func TestProgressIsSeen(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		seen := make(chan struct{})
		start(t, db, task.Options{}, task.Body{Steps: []task.Step{{Name: "copy", Do: func(_ context.Context, r *task.Run) error {
			r.Progress(0.5, "1 of 2 MiB")
			<-seen
			return nil
		}}, {Name: "rest", Do: func(context.Context, *task.Run) error { return nil }}}})
		id, err := submit(t, db, 1)
		if err != nil {
			t.Fatal(err)
		}
		k := await(t, db, id, "at 25 %", func(k baadal.Task) bool { return k.Progress == 25 })
		close(seen)
		if !slices.ContainsFunc(k.Steps, func(s baadal.TaskStep) bool { return s.Detail == "1 of 2 MiB" }) {
			t.Errorf("steps: %+v", k.Steps)
		}
		await(t, db, id, "ended", ended)
	})
}

func TestUnknownKindFails(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		start(t, db, task.Options{}, task.Body{Steps: []task.Step{{Name: "x", Do: func(context.Context, *task.Run) error { return nil }}}})
		id, err := submit(t, db, 1, func(k *baadal.Task) { k.Kind = "Paint VM" })
		if err != nil {
			t.Fatal(err)
		}
		if k := await(t, db, id, "ended", ended); k.State != baadal.TaskFailed || k.Code != "unknown_kind" {
			t.Errorf("ends as %s, code %q", k.State, k.Code)
		}
	})
}

// TestClaimsThatCannotBeGivenBackAreOwed lets the transaction that ends an undo
// fail: the requester is told, and it is tried until it goes through.
func TestClaimsThatCannotBeGivenBackAreOwed(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var tr trace
		var n atomic.Int32
		start(t, db, task.Options{}, task.Body{
			Steps: []task.Step{tr.step("one", func(context.Context, *task.Run) error { return errors.New("no") })},
			Undone: func(*store.Tx, *task.Run) error {
				if n.Add(1) < 3 {
					return errors.New("the row is held")
				}
				return nil
			},
		})
		id, err := submit(t, db, 1)
		if err != nil {
			t.Fatal(err)
		}
		await(t, db, id, "owed", func(k baadal.Task) bool { return k.UndoPending || ended(k) })
		k := await(t, db, id, "ended", ended)
		if k.State != baadal.TaskFailed || n.Load() != 3 || tr.String() != "one -one" {
			t.Errorf("ends as %s after %d tries, ran %q", k.State, n.Load(), tr.String())
		}
	})
}
