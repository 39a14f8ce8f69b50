package task

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"baadal"
	"baadal/internal/store"
)

// worker carries one leased task as far as it goes.
type worker struct {
	q     *Queue
	r     *Run
	lease string
	body  Body
	steps []baadal.TaskStep // the journal, one line per step once it was reached
}

// work runs the task forward, or goes on undoing it. life ends with the lease or
// the process, ctx also with a cancel or the deadline. An error means that the
// task was left as it is, to be leased again.
func (w *worker) work(life, ctx context.Context, cancel context.CancelCauseFunc) error {
	t := &w.r.Task
	if len(w.body.Steps) == 0 {
		t.Message, t.Code, t.State = fmt.Sprintf("this controller does not know tasks of kind %q", t.Kind), "unknown_kind", baadal.TaskFailed
		return w.end(false)
	}
	w.fillJournal()
	if t.Undoing {
		w.r.cause = &baadal.Error{Kind: baadal.Conflict, Code: t.Code, Title: t.Message} // the message is fit for people already
		return w.undo(life)
	}
	if t.CancelBy != "" {
		cancel(cancelled{t.CancelBy})
	}
	if t.Deadline != nil {
		timer := time.AfterFunc(t.Deadline.Sub(w.q.db.Now()), func() { cancel(ErrDeadline) })
		defer timer.Stop()
	}
	return w.forward(life, ctx)
}

// fillJournal gives every step of the body a line, in memory.
func (w *worker) fillJournal() {
	for i := len(w.steps); i < len(w.body.Steps); i++ {
		w.steps = append(w.steps, baadal.TaskStep{Seq: i, Name: w.body.Steps[i].Name, State: baadal.StepWaiting})
	}
}

// forward runs the steps that are not done.
func (w *worker) forward(life, ctx context.Context) error {
	t := &w.r.Task
	for i := range w.body.Steps {
		if w.steps[i].State == baadal.StepDone {
			continue
		}
		w.r.index = i
		if w.steps[i].State == baadal.StepWaiting && ctx.Err() != nil && life.Err() == nil {
			return w.interrupted(life, ctx) // cancelled before it began: there is nothing to undo in it
		}
		if err := w.startStep(i); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return w.interrupted(life, ctx)
		}
		w.point(i, "do")
		err := w.call(ctx, w.body.Steps[i].Do, w.body.Steps[i].Timeout)
		if err == nil && w.q.opt.Twice {
			err = w.call(ctx, w.body.Steps[i].Do, w.body.Steps[i].Timeout)
		}
		w.point(i, "done")
		switch {
		case err == nil:
			w.finishStep(i)
		case ctx.Err() != nil:
			return w.interrupted(life, ctx)
		case isLater(err):
			return w.goOnLater(err, i)
		case retryable(err) && t.Attempt < w.tries() && !w.hostLost(life):
			return w.retryLater(i, err)
		default:
			return w.fail(life, err)
		}
	}
	return w.succeed(life)
}

func (w *worker) tries() int {
	if w.body.Tries > 0 {
		return w.body.Tries
	}
	return 6
}

// startStep writes to the journal that step i begins, together with what the
// step before it left unwritten.
func (w *worker) startStep(i int) error {
	t := &w.r.Task
	now := w.q.db.Now()
	s := &w.steps[i]
	if s.State == baadal.StepWaiting {
		t.Attempt = 0
	}
	s.State, s.Error, s.EndedAt = baadal.StepStarted, "", nil
	if s.StartedAt == nil {
		s.StartedAt = &now
	}
	t.State, t.Step, t.Attempt = baadal.TaskProcessing, s.Name, t.Attempt+1
	t.Progress = max(t.Progress, 100*i/len(w.body.Steps))
	if t.StartedAt == nil {
		t.StartedAt = &now
	}
	w.r.detail = s.Detail
	return w.save(func(tx *store.Tx) error {
		if i > 0 {
			if err := tx.SaveStep(t.ID, w.steps[i-1]); err != nil {
				return err
			}
		}
		if err := tx.SaveStep(t.ID, *s); err != nil {
			return err
		}
		return w.saveTask(tx)
	})
}

// finishStep notes in memory that step i is done. The journal learns it in the
// same transaction as what comes next; if the process dies in between, the step
// is run again, which it must allow anyway.
func (w *worker) finishStep(i int) {
	now := w.q.db.Now()
	w.steps[i].State, w.steps[i].EndedAt, w.steps[i].Detail = baadal.StepDone, &now, w.r.detail
	w.r.Task.Attempt = 0
}

// call runs one do or undo with its time limit; a panic becomes an error.
func (w *worker) call(ctx context.Context, f func(context.Context, *Run) error, timeout time.Duration) (err error) {
	if f == nil {
		return nil
	}
	if timeout == 0 {
		timeout = 5 * time.Minute
	}
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	defer func() {
		if p := recover(); p != nil {
			w.q.log.Error("step panicked", "task_id", w.r.Task.ID, "step", w.r.Task.Step, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = baadal.Errorf(baadal.Internal, "step %s panicked", w.r.Task.Step)
		}
	}()
	err = f(ctx, w.r)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) && baadal.KindOf(err) == baadal.Internal {
		return &baadal.Error{Kind: baadal.Unavailable, Code: "step_timeout", Title: fmt.Sprintf("step %s took longer than %s", w.r.Task.Step, timeout), Err: err}
	}
	return err
}

// interrupted decides what the end of ctx means for the task.
func (w *worker) interrupted(life, ctx context.Context) error {
	if life.Err() != nil {
		cause := context.Cause(life)
		if errors.Is(cause, ErrShutdown) {
			return w.giveBack()
		}
		return cause
	}
	return w.fail(life, cancelError(context.Cause(ctx)))
}

// giveBack leaves the task for the next controller, without waiting for the lease to run out.
func (w *worker) giveBack() error {
	return w.save(func(tx *store.Tx) error { return tx.SaveTask(&w.r.Task, w.lease, true, time.Time{}) })
}

// hostLost reports whether the task's host has been away for so long that more
// tries would only keep people waiting.
func (w *worker) hostLost(ctx context.Context) (lost bool) {
	if w.r.Task.HostID == 0 || w.r.Task.Subject.Kind == "host" {
		return false
	}
	err := w.q.db.View(ctx, func(tx *store.Tx) (err error) { lost, err = tx.HostLost(w.r.Task.HostID); return err })
	if err != nil {
		w.q.log.Warn("host of a task not looked up", "task_id", w.r.Task.ID, "error", err)
	}
	return lost
}

// retryLater writes that step i waits for its next try.
func (w *worker) retryLater(i int, err error) error {
	t := &w.r.Task
	t.State, t.Message = baadal.TaskRetry, baadal.Message(err)
	t.RunAfter = w.q.db.Now().Add(backoff(t.Attempt, w.q.opt.Backoff))
	w.steps[i].Error = baadal.Message(err)
	return w.saveAll(time.Time{}, i)
}

// goOnLater gives the lease back until the step said it can go on; that is no
// failed attempt.
func (w *worker) goOnLater(err error, i int) error {
	t := &w.r.Task
	t.Attempt, t.RunAfter = 0, w.q.db.Now().Add(laterBy(err))
	w.steps[i].Detail = w.r.detail
	return w.saveAll(time.Time{}, i)
}

// fail turns round: from here on the task is undone.
func (w *worker) fail(life context.Context, cause error) error {
	t := &w.r.Task
	now := w.q.db.Now()
	s := &w.steps[w.r.index]
	if s.State != baadal.StepWaiting {
		s.State, s.Error, s.EndedAt = baadal.StepFailed, baadal.Message(cause), &now
	}
	t.Undoing, t.Message, t.Code = true, baadal.Message(cause), baadal.CodeOf(cause)
	t.Attempt = 0
	w.r.cause = cause
	if baadal.KindOf(cause) == baadal.Internal {
		w.q.log.Error("task failed", "task_id", t.ID, "kind", string(t.Kind), "step", s.Name, "error", cause)
	}
	if err := w.saveAll(w.q.db.Now().Add(w.q.opt.Lease), max(w.r.index-1, 0), w.r.index); err != nil {
		return err
	}
	return w.undo(life)
}

// ahead reports whether what step i makes may be there though it never began.
func (w *worker) ahead(i int) bool {
	f := w.body.Steps[i].Ahead
	return f != nil && f(w.r)
}

// undo takes back every step that was started, newest first.
func (w *worker) undo(life context.Context) error {
	t := &w.r.Task
	t.Attempt++
	for i := len(w.steps) - 1; i >= 0; i-- {
		s := &w.steps[i]
		if i >= len(w.body.Steps) || s.State == baadal.StepUndone || s.State == baadal.StepWaiting && !w.ahead(i) {
			continue
		}
		w.r.index, w.r.detail = i, ""
		w.point(i, "undo")
		step := w.body.Steps[i]
		err := w.call(life, step.Undo, step.Timeout)
		if err == nil && w.q.opt.Twice {
			err = w.call(life, step.Undo, step.Timeout)
		}
		w.point(i, "undone")
		if isLater(err) {
			return w.goOnLater(err, i)
		}
		if err != nil {
			return w.owe(life, i, err)
		}
		s.State = baadal.StepUndone
		if w.r.detail != "" {
			s.Detail = w.r.detail
		}
		if err := w.saveAll(w.q.db.Now().Add(w.q.opt.Lease), i); err != nil {
			return err
		}
	}
	told := t.State.Ended()
	t.State = baadal.TaskFailed
	if cause, _, owed := strings.Cut(t.Message, owedWords); owed {
		t.Message = cause + "; everything is taken back by now"
	}
	before := *t
	err := w.end(true)
	if err == nil || errors.Is(err, store.ErrLeaseLost) || retryable(err) {
		return err
	}
	*t = before // the claims could not be given back: that is owed like any other undo
	if !told {
		t.State = baadal.TaskProcessing
	}
	return w.owe(life, len(w.steps)-1, err)
}

// owedWords divides the cause of a failure from what is still owed.
const owedWords = "; what it left is taken back as soon as that is possible"

// owe ends the task as FAILED for its requester while its undo is still tried.
func (w *worker) owe(life context.Context, i int, err error) error {
	if life.Err() != nil {
		if errors.Is(context.Cause(life), ErrShutdown) {
			return w.giveBack()
		}
		return context.Cause(life)
	}
	t := &w.r.Task
	first := !t.State.Ended()
	if first {
		now := w.q.db.Now()
		t.State, t.EndedAt = baadal.TaskFailed, &now
		t.Message += owedWords
		if words := baadal.Message(err); !strings.HasPrefix(t.Message, words) {
			t.Message += ": " + words
		}
	}
	w.q.log.Warn("undo failed, will be tried again", "task_id", t.ID, "step", w.steps[i].Name, "attempt", t.Attempt, "error", err)
	w.steps[i].Error = "not taken back yet: " + baadal.Message(err)
	t.RunAfter = w.q.db.Now().Add(owedBackoff(t.Attempt, w.q.opt.Backoff))
	return w.save(func(tx *store.Tx) error {
		if err := tx.SaveStep(t.ID, w.steps[i]); err != nil {
			return err
		}
		if first && w.body.Owed != nil {
			if err := w.body.Owed(tx, w.r, w.r.cause); err != nil {
				return err
			}
		}
		return tx.SaveTask(t, w.lease, true, time.Time{})
	})
}

// succeed ends the task well.
func (w *worker) succeed(life context.Context) error {
	t := &w.r.Task
	last := len(w.steps) - 1
	before := *t
	err := w.save(func(tx *store.Tx) error {
		*t = before
		if err := tx.SaveStep(t.ID, w.steps[last]); err != nil {
			return err
		}
		t.State, t.Progress, t.Step, t.Code, t.Message = baadal.TaskSuccess, 100, "", "", ""
		now := w.q.db.Now()
		t.EndedAt = &now
		if w.body.Done != nil {
			message, err := w.body.Done(tx, w.r)
			if err != nil {
				return err
			}
			t.Message = message
		}
		return tx.SaveTask(t, w.lease, false, time.Time{})
	})
	w.point(last, "ended")
	if err == nil || errors.Is(err, store.ErrLeaseLost) || retryable(err) {
		return err
	}
	*t = before
	return w.fail(life, err) // the end itself was refused: as a failure of the last step
}

// end writes the last word about an undone or unknown task.
func (w *worker) end(undone bool) error {
	t := &w.r.Task
	now := w.q.db.Now()
	if t.EndedAt == nil {
		t.EndedAt = &now
	}
	return w.save(func(tx *store.Tx) error {
		if undone && w.body.Undone != nil {
			if err := w.body.Undone(tx, w.r); err != nil {
				return err
			}
		}
		return tx.SaveTask(t, w.lease, false, time.Time{})
	})
}

func (w *worker) saveAll(until time.Time, steps ...int) error {
	return w.save(func(tx *store.Tx) error {
		for _, i := range steps {
			if err := tx.SaveStep(w.r.Task.ID, w.steps[i]); err != nil {
				return err
			}
		}
		return tx.SaveTask(&w.r.Task, w.lease, true, until)
	})
}

// saveTask writes the task and renews its lease.
func (w *worker) saveTask(tx *store.Tx) error {
	return tx.SaveTask(&w.r.Task, w.lease, true, w.q.db.Now().Add(w.q.opt.Lease))
}

// save writes to the store whatever became of the task's context: the journal
// must learn what happened.
func (w *worker) save(fn func(tx *store.Tx) error) error {
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	return w.q.db.Update(ctx, fn)
}

func (w *worker) point(i int, what string) {
	if w.q.opt.Point != nil {
		w.q.opt.Point(fmt.Sprintf("%s/%s/%s", w.r.Task.Kind, w.body.Steps[i].Name, what))
	}
}

// MarshalParams encodes a task's parameters.
func MarshalParams(v any) (json.RawMessage, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write task parameters: %w", err)
	}
	return b, nil
}
