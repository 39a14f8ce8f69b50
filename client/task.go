package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"baadal"
)

// Waiting for a task.
const (
	waitFor   = 30 * time.Second // of one long poll
	giveUp    = 3 * time.Minute  // without any answer, before WaitTask gives up on the server
	waitPause = 500 * time.Millisecond
)

// Tasks returns one page.
func (c *Client) Tasks(ctx context.Context, q baadal.ListQuery) (baadal.List[baadal.Task], error) {
	return call[baadal.List[baadal.Task]](ctx, c, get("/tasks", listQuery(q)))
}

// Task returns one task with its steps.
func (c *Client) Task(ctx context.Context, taskID int64) (baadal.Task, error) {
	return call[baadal.Task](ctx, c, get(at("tasks", id(taskID)), nil))
}

// TaskByRef is Task for an id as people type it.
func (c *Client) TaskByRef(ctx context.Context, ref string) (baadal.Task, error) {
	taskID, err := strconv.ParseInt(ref, 10, 64)
	if err != nil || taskID <= 0 {
		return baadal.Task{}, baadal.Errorf(baadal.Invalid, "%q is not the id of a task", ref).WithNext("See the tasks", "baadal task list")
	}
	return c.Task(ctx, taskID)
}

// WaitTask waits until a task has ended and returns it, whatever its end. Seen,
// if not nil, is called with the task as it is first and after each change. A
// server that restarts meanwhile does not matter; one that stays away for three
// minutes does. Ending ctx stops the waiting, not the task.
func (c *Client) WaitTask(ctx context.Context, taskID int64, seen func(baadal.Task)) (baadal.Task, error) {
	var last baadal.Task
	answered := time.Now()
	for {
		asked, known := time.Now(), last.Generation
		t, err := c.taskNewerThan(ctx, taskID, last.Generation)
		if ctx.Err() != nil {
			return last, ctx.Err() //nolint:wrapcheck // the caller's own
		}
		switch {
		case err == nil:
			answered = time.Now()
			if seen != nil && (last.ID == 0 || t.Generation != known) {
				seen(t)
			}
			last = t
			if t.State.Ended() {
				return t, nil
			}
		case !passes(err) || time.Since(answered) > giveUp:
			return last, err
		}
		if err == nil && (t.Generation != known || time.Since(asked) > waitPause) {
			continue // the long poll paces us
		}
		select {
		case <-time.After(waitPause):
		case <-ctx.Done():
			return last, ctx.Err() //nolint:wrapcheck // the caller's own
		}
	}
}

// passes reports whether an error may be over soon.
func passes(err error) bool {
	return baadal.KindOf(err) == baadal.Unavailable || baadal.KindOf(err) == baadal.TooMany
}

func (c *Client) taskNewerThan(ctx context.Context, taskID, generation int64) (baadal.Task, error) {
	r := get(at("tasks", id(taskID)), nil)
	if generation > 0 {
		r.query = url.Values{"wait": {waitFor.String()}, "after": {id(generation)}}
	}
	return call[baadal.Task](ctx, c, r)
}

// CancelTask asks a task to stop and take back what it did.
func (c *Client) CancelTask(ctx context.Context, taskID int64) (baadal.Task, error) {
	return c.actTask(ctx, taskID, "cancel")
}

// RetryTask tries a failed task again.
func (c *Client) RetryTask(ctx context.Context, taskID int64) (baadal.Task, error) {
	return c.actTask(ctx, taskID, "retry")
}

// IgnoreTask sets a failed task aside.
func (c *Client) IgnoreTask(ctx context.Context, taskID int64) (baadal.Task, error) {
	return c.actTask(ctx, taskID, "ignore")
}

func (c *Client) actTask(ctx context.Context, taskID int64, act string) (baadal.Task, error) {
	return call[baadal.Task](ctx, c, request{method: http.MethodPost, path: at("tasks", id(taskID), act)})
}
