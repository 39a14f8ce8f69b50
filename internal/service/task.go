package service

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"baadal"
	"baadal/internal/store"
)

// Tasks lists the tasks that the actor may see, newest first.
func (s *Service) Tasks(ctx context.Context, a baadal.Actor, q baadal.ListQuery) (list baadal.List[baadal.Task], err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) { list, err = tx.Tasks(q, a.Sees(baadal.ActionTaskRead)); return err })
	for i := range list.Items {
		taskActions(a, &list.Items[i])
	}
	return list, err
}

// Task returns one task with its steps, those to come included.
func (s *Service) Task(ctx context.Context, a baadal.Actor, id int64) (t baadal.Task, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) { t, err = findTask(tx, a, id); return err })
	if err == nil && t.Kind == baadal.TaskVMClone {
		t.Children, err = s.children(ctx, t.ID)
	}
	if err != nil {
		return t, err
	}
	if !t.State.Ended() {
		for i, name := range s.queue.StepNames(t.Kind) {
			if i >= len(t.Steps) {
				t.Steps = append(t.Steps, baadal.TaskStep{Seq: i, Name: name, State: baadal.StepWaiting})
			}
		}
	}
	taskActions(a, &t)
	return t, nil
}

// children shows the parts of a task.
func (s *Service) children(ctx context.Context, id int64) (shown []baadal.TaskChild, err error) {
	var all []baadal.Task
	err = s.db.View(ctx, func(tx *store.Tx) (err error) { all, err = tx.ChildTasks(id); return err })
	for _, c := range all {
		shown = append(shown, baadal.TaskChild{ID: c.ID, Subject: c.Subject, State: c.State, Progress: c.Progress, Message: c.Message})
	}
	return shown, err
}

func findTask(tx *store.Tx, a baadal.Actor, id int64) (baadal.Task, error) {
	t, err := tx.Task(id)
	if err != nil {
		return t, err
	}
	if !a.Reaches(baadal.ActionTaskRead, t.OrganisationID, t.OwnerID, t.RequesterID) {
		return baadal.Task{}, baadal.Errorf(baadal.NotFound, "there is no task %d", id)
	}
	return t, nil
}

func taskActions(a baadal.Actor, t *baadal.Task) {
	t.Actions = map[string]baadal.Access{
		"cancel": access(first(reach(a, baadal.ActionTaskCancel, t.OrganisationID, t.OwnerID, t.RequesterID), cancellable(t))),
		"retry":  access(first(may(a, baadal.ActionTaskRetry), repeatable(t))),
		"ignore": access(first(may(a, baadal.ActionTaskIgnore), ignorable(t))),
	}
}

func cancellable(t *baadal.Task) error {
	if t.State.Ended() || t.Undoing {
		return baadal.Errorf(baadal.Conflict, "task %d is %s", t.ID, t.State).WithCode("task_ended")
	}
	return nil
}

func repeatable(t *baadal.Task) error {
	if t.State == baadal.TaskRetry || t.State == baadal.TaskFailed || t.State == baadal.TaskPartial {
		return nil
	}
	return baadal.Errorf(baadal.Conflict, "task %d is %s; only a failed one can be tried again", t.ID, t.State).WithCode("task_state")
}

func ignorable(t *baadal.Task) error {
	if t.State != baadal.TaskFailed && t.State != baadal.TaskPartial {
		return baadal.Errorf(baadal.Conflict, "task %d is %s; only a failed one can be ignored", t.ID, t.State).WithCode("task_state")
	}
	return nil
}

// WaitTask returns the task as soon as it is newer than the given generation,
// or has ended, or the wait is over.
func (s *Service) WaitTask(ctx context.Context, a baadal.Actor, id, newerThan int64, wait time.Duration) (baadal.Task, error) {
	wake, stop := s.db.Subscribe("event")
	defer stop()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		t, err := s.Task(ctx, a, id)
		if err != nil || t.State.Ended() || t.Generation > newerThan {
			return t, err
		}
		select {
		case <-wake:
		case <-timer.C:
			return t, nil
		case <-ctx.Done():
			return t, ctx.Err()
		}
	}
}

// CancelTask asks a task to stop and to undo what it did.
func (s *Service) CancelTask(ctx context.Context, a baadal.Actor, id int64) (t baadal.Task, err error) {
	err = s.changeTask(ctx, a, baadal.ActionTaskCancel, id, cancellable, func(tx *store.Tx, t baadal.Task) error {
		return tx.CancelTask(t.ID, a.User.Username)
	})
	if err != nil {
		return t, err
	}
	s.queue.CancelRunning(id, a.User.Username)
	return s.Task(ctx, a, id)
}

// IgnoreTask sets a failed task aside; what it left is the audit's from then on.
func (s *Service) IgnoreTask(ctx context.Context, a baadal.Actor, id int64) (t baadal.Task, err error) {
	err = s.changeTask(ctx, a, baadal.ActionTaskIgnore, id, ignorable, func(tx *store.Tx, t baadal.Task) error {
		if err := tx.IgnoreTask(t.ID); err != nil || !t.UndoPending {
			return err
		}
		return leaveParts(tx, a, t)
	})
	if err != nil {
		return t, err
	}
	return s.Task(ctx, a, id)
}

func (s *Service) changeTask(ctx context.Context, a baadal.Actor, action baadal.Action, id int64, rule func(*baadal.Task) error, do func(*store.Tx, baadal.Task) error) error {
	return s.db.Update(ctx, func(tx *store.Tx) error {
		t, err := findTask(tx, a, id)
		if err != nil {
			return err
		}
		if err := first(reach(a, action, t.OrganisationID, t.OwnerID, t.RequesterID), rule(&t)); err != nil {
			return err
		}
		return do(tx, t)
	})
}

// RetryTask makes a waiting task, or an undo that is still owed, due at once; a
// task that failed and was undone is asked for anew, and the new task returned.
func (s *Service) RetryTask(ctx context.Context, a baadal.Actor, id int64) (t baadal.Task, err error) {
	err = s.changeTask(ctx, a, baadal.ActionTaskRetry, id, repeatable, func(tx *store.Tx, found baadal.Task) error {
		t = found
		if t.State == baadal.TaskRetry || t.UndoPending {
			return tx.HurryTask(id)
		}
		return nil
	})
	if err != nil {
		return t, err
	}
	if t.State == baadal.TaskRetry || t.UndoPending {
		return s.Task(ctx, a, id)
	}
	return s.repeat(ctx, a, t)
}

// repeat asks for a failed task again, in the name of who retries it.
func (s *Service) repeat(ctx context.Context, a baadal.Actor, t baadal.Task) (baadal.Task, error) {
	done := s.instead(ctx, a, t)
	ref := fmt.Sprint(t.Subject.ID)
	switch t.Kind {
	case baadal.TaskVMCreate:
		var p struct {
			Wish baadal.VMCreate `json:"wish"`
		}
		if err := json.Unmarshal(t.Params, &p); err != nil {
			return t, fmt.Errorf("read task parameters: %w", err)
		}
		owner, err := s.ownerOf(ctx, t)
		if err != nil {
			return t, err
		}
		p.Wish.Owner = owner
		c, err := s.CreateVM(ctx, a, p.Wish, baadal.ChangeOptions{})
		return done(c.Task, err)
	case baadal.TaskVMMigrate:
		var p struct {
			Wish baadal.VMMigrate `json:"wish"`
		}
		if err := json.Unmarshal(t.Params, &p); err != nil {
			return t, fmt.Errorf("read task parameters: %w", err)
		}
		c, err := s.MigrateVM(ctx, a, ref, p.Wish, baadal.ChangeOptions{})
		return done(c.Task, err)
	case baadal.TaskVMMove:
		var p struct {
			Wish baadal.VMMove `json:"wish"`
		}
		if err := json.Unmarshal(t.Params, &p); err != nil {
			return t, fmt.Errorf("read task parameters: %w", err)
		}
		c, err := s.MoveVM(ctx, a, ref, p.Wish, baadal.ChangeOptions{})
		return done(c.Task, err)
	case baadal.TaskSnapshotCreate, baadal.TaskSnapshotRevert, baadal.TaskSnapshotDelete:
		c, err := s.repeatSnapshot(ctx, a, t)
		return done(c.Task, err)
	case baadal.TaskBackupCreate, baadal.TaskBackupVerify, baadal.TaskBackupRestore, baadal.TaskBackupReplace, baadal.TaskBackupDelete:
		return done(s.repeatBackup(ctx, a, t))
	case baadal.TaskDiskFlatten:
		c, err := s.flattenAgain(ctx, a, t)
		return done(c.Task, err)
	case baadal.TaskVMClone:
		c, err := s.cloneAgain(ctx, a, t)
		return done(c.Task, err)
	case baadal.TaskDiskAdd, baadal.TaskDiskAttach, baadal.TaskDiskDetach, baadal.TaskDiskDelete, baadal.TaskDiskGrow, baadal.TaskDiskLimit:
		c, err := s.repeatDisk(ctx, a, t)
		return done(c.Task, err)
	case baadal.TaskCDROMInsert, baadal.TaskCDROMEject:
		c, err := s.repeatCDROM(ctx, a, t)
		return done(c.Task, err)
	case baadal.TaskNICAdd, baadal.TaskNICChange, baadal.TaskNICRemove:
		c, err := s.repeatNIC(ctx, a, t)
		return done(c.Task, err)
	case baadal.TaskVMExport, baadal.TaskVMSaveTemplate, baadal.TaskVMImport, baadal.TaskVMLaunch, baadal.TaskVMAdopt:
		return done(s.repeatImage(ctx, a, t))
	}
	return s.repeatByRef(ctx, a, t)
}

// instead returns how a new task takes the place of a failed one in an answer.
func (s *Service) instead(ctx context.Context, a baadal.Actor, t baadal.Task) func(*baadal.Task, error) (baadal.Task, error) {
	return func(again *baadal.Task, err error) (baadal.Task, error) {
		if err != nil {
			return t, err
		}
		return s.Task(ctx, a, again.ID)
	}
}

// repeatByRef asks again for what needs to know nothing but its subject.
func (s *Service) repeatByRef(ctx context.Context, a baadal.Actor, t baadal.Task) (baadal.Task, error) {
	done := s.instead(ctx, a, t)
	ref := fmt.Sprint(t.Subject.ID)
	switch t.Kind {
	case baadal.TaskHostCheck:
		c, err := s.CheckHost(ctx, a, ref, baadal.ChangeOptions{})
		return done(c.Task, err)
	case baadal.TaskTemplateDelete:
		c, err := s.DeleteTemplate(ctx, a, ref, baadal.ChangeOptions{})
		return done(c.Task, err)
	case baadal.TaskNetworkDelete:
		c, err := s.DeleteNetwork(ctx, a, ref, baadal.ChangeOptions{})
		return done(c.Task, err)
	case baadal.TaskAudit:
		c, err := s.RunAudit(ctx, a, false, baadal.ChangeOptions{})
		return done(c.Task, err)
	}
	for _, p := range powerActions {
		if p.kind == t.Kind {
			c, err := s.ActVM(ctx, a, p.action, ref, baadal.ChangeOptions{})
			return done(c.Task, err)
		}
	}
	return t, baadal.Errorf(baadal.Conflict, "a task of kind %q cannot be tried again as it was", t.Kind).WithCode("not_repeatable").
		WithDetail("everything it did was taken back").WithNext("Ask for it anew", "")
}

func (s *Service) ownerOf(ctx context.Context, t baadal.Task) (name string, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		u, err := tx.User(t.OwnerID)
		name = u.Username
		return err
	})
	return name, err
}
