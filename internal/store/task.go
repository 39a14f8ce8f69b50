package store

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"baadal"
)

const taskColumns = `t.id, t.kind, t.state, t.generation, t.subject_kind, t.subject_id, t.subject_name, t.params,
	t.requester_id, t.requester, t.organisation_id, t.owner_id, t.host_id, t.cost, t.exclusive, t.active, t.step, t.progress,
	t.message, t.code, t.attempt, t.cancel_by, t.undoing, t.created_at, t.started_at, t.ended_at, t.run_after, t.deadline, t.parent_id`

func scanTask(row row) (baadal.Task, error) {
	var t baadal.Task
	var params string
	var active bool
	var created, runAfter int64
	var started, ended, deadline sql.NullInt64
	err := row.Scan(&t.ID, &t.Kind, &t.State, &t.Generation, &t.Subject.Kind, &t.Subject.ID, &t.Subject.Name, &params,
		&t.RequesterID, &t.Requester, &t.OrganisationID, &t.OwnerID, &t.HostID, &t.Cost, &t.Exclusive, &active, &t.Step, &t.Progress,
		&t.Message, &t.Code, &t.Attempt, &t.CancelBy, &t.Undoing, &created, &started, &ended, &runAfter, &deadline, &t.ParentID)
	if err != nil {
		return t, err
	}
	t.Params = json.RawMessage(params)
	t.CreatedAt, t.RunAfter = timeOf(created), timeOf(runAfter)
	t.StartedAt, t.EndedAt, t.Deadline = timePtr(started), timePtr(ended), timePtr(deadline)
	t.UndoPending = t.State.Ended() && active
	return t, nil
}

// InsertTask stores a new task as PENDING and wakes the workers. Kind, Subject,
// Params and the requester must be set; Cost is 1 if 0. An exclusive task whose
// subject is held by another one is a Conflict that names the holder.
func (tx *Tx) InsertTask(t *baadal.Task) error {
	if t.Cost == 0 {
		t.Cost = 1
	}
	if len(t.Params) == 0 {
		t.Params = json.RawMessage("{}")
	}
	if t.Exclusive {
		if holder, err := tx.ActiveTask(t.Subject); err != nil {
			return err
		} else if holder != nil {
			return baadal.Errorf(baadal.Conflict, "%s is held by task %d (%s)", t.Subject.Name, holder.ID, holder.Kind).
				WithCode("busy").WithTask(holder.ID).WithDetail("step %q, %d %%", holder.Step, holder.Progress).
				WithNext("Wait for it", fmt.Sprintf("baadal task wait %d", holder.ID))
		}
	}
	t.State, t.Generation = baadal.TaskPending, 1
	t.CreatedAt = timeOf(tx.now())
	if t.RunAfter.IsZero() {
		t.RunAfter = t.CreatedAt
	}
	err := tx.queryRow(`INSERT INTO tasks (kind, state, subject_kind, subject_id, subject_name, params, requester_id, requester,
		organisation_id, owner_id, host_id, cost, exclusive, created_at, run_after, deadline, parent_id)
		VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17) RETURNING id`,
		t.Kind, int(t.State), t.Subject.Kind, t.Subject.ID, t.Subject.Name, string(t.Params), t.RequesterID, t.Requester,
		t.OrganisationID, t.OwnerID, t.HostID, t.Cost, flag(t.Exclusive), ms(t.CreatedAt), ms(t.RunAfter), msPtr(t.Deadline), t.ParentID).Scan(&t.ID)
	if err != nil {
		return fmt.Errorf("insert task: %w", err)
	}
	tx.Wake("task")
	return tx.taskEvent(t)
}

// ActiveTask returns the exclusive task that holds the subject, or nil.
func (tx *Tx) ActiveTask(s baadal.Subject) (*baadal.Task, error) {
	t, err := scanTask(tx.queryRow(`SELECT `+taskColumns+` FROM tasks t
		WHERE t.subject_kind=$1 AND t.subject_id=$2 AND t.active=1 AND t.exclusive=1`, s.Kind, s.ID))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read active task: %w", err)
	}
	return &t, nil
}

// Task returns a task with its journal.
func (tx *Tx) Task(id int64) (baadal.Task, error) {
	t, err := scanTask(tx.queryRow(`SELECT `+taskColumns+` FROM tasks t WHERE t.id=$1`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return t, baadal.Errorf(baadal.NotFound, "there is no task %d", id)
	}
	if err != nil {
		return t, fmt.Errorf("read task: %w", err)
	}
	t.Steps, err = tx.taskSteps(id)
	return t, err
}

// Tasks lists tasks, newest first.
func (tx *Tx) Tasks(q baadal.ListQuery, vis baadal.Visibility) (baadal.List[baadal.Task], error) {
	return listRows(tx, listSpec{
		noun: "tasks", table: "tasks t", id: "t.id", columns: taskColumns,
		where: []cond{visible(vis, "t.organisation_id", "t.owner_id", "t.requester_id")},
		keys: map[string]filterKey{
			"state": stateKey("t.state", baadal.TaskStates()), "kind": equalsFold("t.kind"), "requester": equals("t.requester"),
			"subject": equalsFold("t.subject_name"), "noun": equals("t.subject_kind"), "active": truth("t.active"),
			"host": named("t.host_id", "hosts", "name"),
		},
		words:  is(`(lower(t.subject_name) LIKE ? ESCAPE '\' OR lower(t.kind) LIKE ? ESCAPE '\' OR lower(t.requester) LIKE ? ESCAPE '\')`),
		sorts:  map[string]sortKey{"id": {expr: "t.id", number: true}, "kind": {expr: "t.kind"}},
		sort:   "-id",
		facets: map[string]facet{"state": stateFacet[baadal.TaskState]("t.state"), "kind": {expr: "t.kind"}},
	}, q, scanTask)
}

// HurryTask makes a waiting task, or an owed undo, due now.
func (tx *Tx) HurryTask(id int64) error {
	if _, err := tx.exec(`UPDATE tasks SET run_after=$1 WHERE id=$2 AND active=1`, tx.now(), id); err != nil {
		return fmt.Errorf("hurry task: %w", err)
	}
	tx.Wake("task")
	return nil
}

func (tx *Tx) taskSteps(id int64) ([]baadal.TaskStep, error) {
	steps, err := collect(tx, scanStep, `SELECT seq, name, state, output, detail, error, started_at, ended_at FROM task_steps WHERE task_id=$1 ORDER BY seq`, id)
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	return steps, nil
}

func scanStep(row row) (baadal.TaskStep, error) {
	var s baadal.TaskStep
	var output string
	var started, ended sql.NullInt64
	err := row.Scan(&s.Seq, &s.Name, &s.State, &output, &s.Detail, &s.Error, &started, &ended)
	s.Output, s.StartedAt, s.EndedAt = json.RawMessage(output), timePtr(started), timePtr(ended)
	return s, err
}

// SaveStep writes one line of the journal.
func (tx *Tx) SaveStep(taskID int64, s baadal.TaskStep) error {
	_, err := tx.exec(`INSERT INTO task_steps (task_id, seq, name, state, output, detail, error, started_at, ended_at)
		VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9)
		ON CONFLICT (task_id, seq) DO UPDATE SET state=excluded.state, output=excluded.output, detail=excluded.detail,
			error=excluded.error, started_at=excluded.started_at, ended_at=excluded.ended_at`,
		taskID, s.Seq, s.Name, string(s.State), string(s.Output), s.Detail, s.Error, msPtr(s.StartedAt), msPtr(s.EndedAt))
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return nil
}

// ErrLeaseLost is returned by SaveTask when another worker holds the task.
var ErrLeaseLost = errors.New("the lease of the task was lost")

// SaveTask writes what the worker knows of its task, raises its generation and
// tells the event stream. active false ends it; a zero leaseUntil gives the
// lease back. It refuses with ErrLeaseLost when the lease is another's.
func (tx *Tx) SaveTask(t *baadal.Task, lease string, active bool, leaseUntil time.Time) error {
	until := int64(0)
	if !leaseUntil.IsZero() {
		until = ms(leaseUntil)
	}
	err := tx.queryRow(`UPDATE tasks SET state=$1, step=$2, progress=$3, message=$4, code=$5, attempt=$6, undoing=$7, started_at=$8,
		ended_at=$9, run_after=$10, active=$11, lease_until=$12, generation=generation+1 WHERE id=$13 AND lease_owner=$14 RETURNING generation`,
		int(t.State), t.Step, t.Progress, t.Message, t.Code, t.Attempt, flag(t.Undoing), msPtr(t.StartedAt),
		msPtr(t.EndedAt), ms(t.RunAfter), flag(active), until, t.ID, lease).Scan(&t.Generation)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrLeaseLost
	}
	if err != nil {
		return fmt.Errorf("save task: %w", err)
	}
	t.UndoPending = t.State.Ended() && active
	if until == 0 {
		tx.Wake("task")
	}
	return tx.taskEvent(t)
}

// CancelTask notes who wants the task to end; the worker that holds it undoes
// it. A task that has ended is a Conflict.
func (tx *Tx) CancelTask(id int64, by string) error {
	t, err := tx.Task(id)
	if err != nil {
		return err
	}
	if t.State.Ended() {
		return baadal.Errorf(baadal.Conflict, "task %d has ended already: %s", id, t.State).WithCode("task_ended")
	}
	if t.Undoing {
		return baadal.Errorf(baadal.Conflict, "task %d is being undone already", id).WithCode("task_undoing")
	}
	if _, err := tx.exec(`UPDATE tasks SET cancel_by=$1, run_after=$2, generation=generation+1 WHERE id=$3`, by, tx.now(), id); err != nil {
		return fmt.Errorf("cancel task: %w", err)
	}
	t.CancelBy, t.Generation = by, t.Generation+1
	tx.Wake("task")
	return tx.taskEvent(&t)
}

// IgnoreTask sets a failed task aside: nobody tries to undo it any more, and
// its subject is free. What it left behind is the audit's from then on.
func (tx *Tx) IgnoreTask(id int64) error {
	t, err := tx.Task(id)
	if err != nil {
		return err
	}
	if t.State != baadal.TaskFailed && t.State != baadal.TaskPartial {
		return baadal.Errorf(baadal.Conflict, "task %d is %s; only a failed one can be ignored", id, t.State).WithCode("task_state")
	}
	if _, err := tx.exec(`UPDATE tasks SET state=$1, active=0, lease_owner='', generation=generation+1 WHERE id=$2`, int(baadal.TaskIgnore), id); err != nil {
		return fmt.Errorf("ignore task: %w", err)
	}
	if err := tx.settle(&t); err != nil {
		return err
	}
	t.State, t.Generation = baadal.TaskIgnore, t.Generation+1
	return tx.taskEvent(&t)
}

// PruneTasks forgets tasks, with their journals, that ended before a time and
// left nothing to undo, and returns how many: among the oldest PruneBatch that
// ended.
func (tx *Tx) PruneTasks(before time.Time) (int, error) {
	n, err := tx.affected(`DELETE FROM tasks WHERE id IN (SELECT t.id FROM tasks t WHERE t.active=0 ORDER BY t.id LIMIT $1) AND ended_at<$2`,
		PruneBatch, ms(before))
	if err != nil {
		return 0, fmt.Errorf("prune tasks: %w", err)
	}
	return n, nil
}

// ChildTasks returns the tasks that are parts of another one, oldest first,
// without their journals.
func (tx *Tx) ChildTasks(parentID int64) ([]baadal.Task, error) {
	all, err := collect(tx, scanTask, `SELECT `+taskColumns+` FROM tasks t WHERE t.parent_id = $1 ORDER BY t.id`, parentID)
	if err != nil {
		return nil, fmt.Errorf("read child tasks: %w", err)
	}
	return all, nil
}

// ActiveTasks returns every task with something left to do or to undo.
func (tx *Tx) ActiveTasks() ([]baadal.Task, error) {
	tasks, err := collect(tx, scanTask, `SELECT `+taskColumns+` FROM tasks t WHERE t.active=1 ORDER BY t.id`)
	if err != nil {
		return nil, fmt.Errorf("read active tasks: %w", err)
	}
	return tasks, nil
}

// taskEvent tells the event stream how a task stands now.
func (tx *Tx) taskEvent(t *baadal.Task) error {
	changes, err := json.Marshal(map[string]any{
		"kind": t.Kind, "state": t.State, "step": t.Step, "progress": t.Progress, "message": t.Message,
		"undoing": t.Undoing, "undo_pending": t.UndoPending, "subject": t.Subject,
	})
	if err != nil {
		return err
	}
	_, err = tx.AddEvent(baadal.Event{
		Topic: "task", Subject: baadal.Subject{Kind: "task", ID: t.ID, Name: string(t.Kind)}, Version: t.Generation,
		What: t.State.String(), ActorID: t.RequesterID, Actor: t.Requester, OwnerID: t.OwnerID,
		OrganisationID: t.OrganisationID, Changes: changes,
	})
	return err
}

// TaskCounts returns how many tasks are in each state, and when the oldest
// pending one was made.
func (tx *Tx) TaskCounts() (counts map[string]int, oldestPending time.Time, err error) {
	rows, err := tx.query(`SELECT state, COUNT(*), MIN(created_at) FROM tasks GROUP BY state`)
	if err != nil {
		return nil, oldestPending, fmt.Errorf("count tasks: %w", err)
	}
	defer rows.Close()
	counts = map[string]int{}
	for rows.Next() {
		var state baadal.TaskState
		var n int
		var oldest int64
		if err := rows.Scan(&state, &n, &oldest); err != nil {
			return nil, oldestPending, fmt.Errorf("count tasks: %w", err)
		}
		counts[state.String()] = n
		if state == baadal.TaskPending {
			oldestPending = timeOf(oldest)
		}
	}
	return counts, oldestPending, rows.Err()
}
