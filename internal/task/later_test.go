package task_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
	"baadal/internal/task"
)

// TestLater waits in a step without a failed attempt, forward and while it is
// taken back, and goes on early when it is woken.
func TestLater(t *testing.T) {
	t.Parallel()
	db := storetest.Open(t)
	var ready, undoReady atomic.Bool
	var tr trace
	step := tr.step("wait", func(context.Context, *task.Run) error {
		if !ready.Load() {
			return task.Later(time.Hour)
		}
		return nil
	})
	undo := step.Undo
	step.Undo = func(ctx context.Context, r *task.Run) error {
		if !undoReady.Load() {
			return task.Later(time.Hour)
		}
		return undo(ctx, r)
	}
	start(t, db, task.Options{}, task.Body{Steps: []task.Step{step, {
		Name: "refuse", Do: func(context.Context, *task.Run) error { return baadal.Errorf(baadal.Conflict, "no") },
	}}})
	id, err := submit(t, db, 1)
	if err != nil {
		t.Fatal(err)
	}
	wake := func() {
		if err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.HurryTask(id) }); err != nil {
			t.Fatal(err)
		}
	}
	k := await(t, db, id, "waiting", func(k baadal.Task) bool { return k.RunAfter.After(db.Now().Add(time.Minute)) })
	if k.State != baadal.TaskProcessing || k.Attempt != 0 {
		t.Errorf("it waits as %s, attempt %d", k.State, k.Attempt)
	}
	ready.Store(true)
	wake()
	await(t, db, id, "waiting in its undo", func(k baadal.Task) bool { return k.Undoing && k.RunAfter.After(db.Now().Add(time.Minute)) })
	undoReady.Store(true)
	wake()
	k = await(t, db, id, "failed", func(k baadal.Task) bool { return k.State == baadal.TaskFailed })
	if k.Message != "no" || k.UndoPending || tr.String() != "wait wait -wait" {
		t.Errorf("%q, owed %t, ran %s", k.Message, k.UndoPending, tr.String())
	}
}
