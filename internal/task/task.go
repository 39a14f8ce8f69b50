package task

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"baadal"
	"baadal/internal/store"
)

// Step is one step of an operation. Do and Undo may run more than once, also
// after a crash in their middle; Undo runs for a step that was only started too
// and must take back whatever part of Do happened, and nothing else.
type Step struct {
	Name    string // stable: people read it, and the journal of a running task names it
	Do      func(ctx context.Context, r *Run) error
	Undo    func(ctx context.Context, r *Run) error // nil: there is nothing to take back
	Timeout time.Duration                           // of one try of Do or Undo; 5 minutes if 0
	// Ahead reports whether what the step makes may be there before it begins,
	// made by another task: it is undone then though it never was started. Nil: no.
	Ahead func(r *Run) bool
}

// Body is an operation: what tasks of one kind do.
type Body struct {
	Kind  baadal.TaskKind
	Steps []Step
	// Done runs in the transaction that ends the task well; it returns the message.
	Done func(tx *store.Tx, r *Run) (message string, err error)
	// Undone runs in the transaction that ends the undo; it gives back the claims.
	Undone func(tx *store.Tx, r *Run) error
	// Owed runs in the transaction that tells the requester of the failure while
	// the undo is still owed; it may say so on the subject. May be nil.
	Owed func(tx *store.Tx, r *Run, cause error) error
	// Tries is how often a step that fails as Unavailable is tried; 6 if 0.
	Tries int
}

// StepNames returns the names of the steps, for plans.
func (b Body) StepNames() []string {
	names := make([]string, len(b.Steps))
	for i, s := range b.Steps {
		names[i] = s.Name
	}
	return names
}

// Causes for which the context of a running step ends, beside its own timeout.
var (
	ErrShutdown  = errors.New("the controller is stopping")  // the task is resumed later
	ErrLeaseLost = errors.New("another worker has the task") // stop at once, write nothing
	ErrDeadline  = errors.New("the task's deadline has passed")
)

// Cause returns why a task failed, without what is said of its undo.
func Cause(t baadal.Task) string {
	cause, _, _ := strings.Cut(t.Message, owedWords)
	return cause
}

// later is what a do or undo returns that waits for something else.
type later struct{ by time.Duration }

func (l later) Error() string { return "waits " + l.by.String() }

// Later is returned by a Do or Undo that cannot go on now, for no fault: it is
// called again after the given time, or when HurryTask wakes the task. Until
// then the task takes no worker and no slot of its host.
func Later(by time.Duration) error { return later{by} }

func isLater(err error) bool {
	_, ok := errors.AsType[later](err)
	return ok
}

func laterBy(err error) time.Duration {
	l, _ := errors.AsType[later](err)
	return l.by
}

// cancelled is the cause when somebody asked to cancel.
type cancelled struct{ by string }

func (c cancelled) Error() string { return "cancelled by " + c.by }

// Run is a task at work, as its steps see it.
type Run struct {
	Task   baadal.Task
	DB     *store.DB
	w      *worker
	index  int // of the step at work
	cause  error
	shown  time.Time // when progress was last written
	detail string
}

// Params decodes the task's parameters.
func Params[P any](r *Run) (P, error) {
	var p P
	if err := json.Unmarshal(r.Task.Params, &p); err != nil {
		return p, fmt.Errorf("read task parameters: %w", err)
	}
	return p, nil
}

// Cause returns why the task is being undone; nil while it is not.
func (r *Run) Cause() error { return r.cause }

// Record writes v as the output of the step at work at once, before the step is
// done: what it is about to make, so that its undo knows.
func (r *Run) Record(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("record step output: %w", err)
	}
	s := &r.w.steps[r.index]
	s.Output = b
	return r.w.save(func(tx *store.Tx) error {
		_, ok, err := tx.RenewLease(r.Task.ID, r.w.lease, r.w.q.db.Now().Add(r.w.q.opt.Lease))
		if err != nil {
			return err
		}
		if !ok {
			return store.ErrLeaseLost
		}
		return tx.SaveStep(r.Task.ID, *s)
	})
}

// Output reads what a step of this task recorded; false if it recorded nothing.
func (r *Run) Output(step string, v any) (bool, error) {
	for _, s := range r.w.steps {
		if s.Name == step && len(s.Output) > 0 {
			return true, json.Unmarshal(s.Output, v)
		}
	}
	return false, nil
}

// Detail notes figures of the step at work, shown with it; what an undo notes
// is shown as given back.
func (r *Run) Detail(format string, args ...any) { r.detail = fmt.Sprintf(format, args...) }

// Progress shows how far the step at work is, 0 to 1. It writes at most four
// times a second, and never fails the step.
func (r *Run) Progress(share float64, detail string) {
	now := time.Now()
	if now.Sub(r.shown) < 250*time.Millisecond {
		return
	}
	r.shown, r.detail = now, detail
	n := float64(len(r.w.body.Steps))
	r.Task.Progress = max(r.Task.Progress, min(99, int(100*(float64(r.index)+share)/n)))
	s := &r.w.steps[r.index]
	s.Detail = detail
	err := r.w.save(func(tx *store.Tx) error {
		if err := tx.SaveStep(r.Task.ID, *s); err != nil {
			return err
		}
		return r.w.saveTask(tx)
	})
	if err != nil {
		r.w.q.log.Warn("progress not written", "task_id", r.Task.ID, "error", err)
	}
}

// cancelError is what a cancelled or late task failed with.
func cancelError(cause error) error {
	if c, ok := errors.AsType[cancelled](cause); ok {
		return baadal.Errorf(baadal.Cancelled, "cancelled by %s", c.by).WithCode("cancelled")
	}
	return baadal.Errorf(baadal.Cancelled, "it took longer than allowed").WithCode("deadline").WithDetail("the deadline passed; everything was taken back")
}
