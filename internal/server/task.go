package server

import (
	"context"
	"time"

	"baadal"
)

func (s *Server) taskRoutes() []route {
	return []route{
		on("GET", "/tasks", "list-tasks", "List tasks", baadal.ActionTaskRead, s.listTasks),
		on("GET", "/tasks/{id}", "get-task", "Show a task with its steps, or wait for it to change", baadal.ActionTaskRead, s.getTask),
		on("POST", "/tasks/{id}/cancel", "cancel-task", "Cancel a task; what it did is taken back", baadal.ActionTaskCancel,
			s.cancelTask, codes("task_ended", "task_undoing")),
		on("POST", "/tasks/{id}/retry", "retry-task", "Try a failed task again", baadal.ActionTaskRetry, s.retryTask,
			codes("conflict", "task_state", "not_repeatable", "busy", "exhausted")),
		on("POST", "/tasks/{id}/ignore", "ignore-task", "Set a failed task aside", baadal.ActionTaskIgnore, s.ignoreTask,
			codes("task_state")),
	}
}

func (s *Server) listTasks(ctx context.Context, in *struct{ Page }) (*listOut[baadal.Task], error) {
	return listed(s.svc.Tasks(ctx, actor(ctx), in.query()))
}

type taskIn struct {
	ID
	Wait  string `query:"wait" maxLength:"16" doc:"Wait up to this long (30s, at most 60s) for a generation newer than after."`
	After int64  `query:"after" minimum:"0" doc:"The generation that the caller has."`
}

func (s *Server) getTask(ctx context.Context, in *taskIn) (*oneOut[baadal.Task], error) {
	wait, err := parseDuration("wait", in.Wait)
	if err != nil {
		return nil, err
	}
	if wait == 0 {
		return one(s.svc.Task(ctx, actor(ctx), in.ID.ID))
	}
	waiting, stop := s.untilDrained(ctx)
	defer stop()
	t, err := s.svc.WaitTask(waiting, actor(ctx), in.ID.ID, in.After, min(wait, maxWait))
	if waiting.Err() != nil && ctx.Err() == nil {
		err = draining()
	}
	return one(t, err)
}

func (s *Server) cancelTask(ctx context.Context, in *struct{ ID }) (*oneOut[baadal.Task], error) {
	return one(s.svc.CancelTask(ctx, actor(ctx), in.ID.ID))
}

func (s *Server) retryTask(ctx context.Context, in *struct{ ID }) (*oneOut[baadal.Task], error) {
	return one(s.svc.RetryTask(ctx, actor(ctx), in.ID.ID))
}

func (s *Server) ignoreTask(ctx context.Context, in *struct{ ID }) (*oneOut[baadal.Task], error) {
	return one(s.svc.IgnoreTask(ctx, actor(ctx), in.ID.ID))
}

// untilDrained is ctx that also ends when the server shuts down.
func (s *Server) untilDrained(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		select {
		case <-s.draining:
			cancel()
		case <-stopped:
		}
	}()
	return ctx, func() { close(stopped); cancel() }
}

// parseDuration reads a duration such as 30s; an empty string is 0.
func parseDuration(field, v string) (time.Duration, error) {
	if v == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return 0, baadal.Errorf(baadal.Invalid, "%q is not a duration", v).WithField(field).WithDetail("as 30s, 15m or 720h")
	}
	return d, nil
}
