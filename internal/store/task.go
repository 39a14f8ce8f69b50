package store

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
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

// LeaseTasks gives the caller up to limit due tasks until the given time, oldest
// first, skipping those whose host has no slots left for their cost, and those
// of a host that just went down. The lease's name must be new for every call: it
// fences what a former holder still writes.
func (tx *Tx) LeaseTasks(lease string, until time.Time, slots, limit int) ([]baadal.Task, error) {
	if err := tx.Lock("task lease"); err != nil {
		return nil, err
	}
	now := tx.now()
	used, err := tx.hostCosts(now)
	if err != nil {
		return nil, err
	}
	down, err := tx.downHosts()
	if err != nil {
		return nil, err
	}
	full := map[int64]bool{}
	for host, cost := range used {
		_, isDown := down[host]
		full[host] = cost >= slots || isDown
	}
	var leased []baadal.Task
	for {
		due, err := tx.dueTasks(now, full, down, limit*4+16)
		if err != nil {
			return nil, err
		}
		for _, t := range due {
			if len(leased) == limit {
				return leased, nil
			}
			if t.HostID != 0 {
				// What comes after it on the same host waits too, or a heavy task never gets its turn.
				if n := used[t.HostID]; full[t.HostID] || n > 0 && n+t.Cost > slots {
					full[t.HostID] = true
					continue
				}
				used[t.HostID] += t.Cost
				_, full[t.HostID] = down[t.HostID] // one try at a time is enough to see that it is still away
			}
			if _, err := tx.exec(`UPDATE tasks SET lease_owner=$1, lease_until=$2 WHERE id=$3`, lease, ms(until), t.ID); err != nil {
				return nil, fmt.Errorf("lease task: %w", err)
			}
			if t.Steps, err = tx.taskSteps(t.ID); err != nil {
				return nil, err
			}
			leased = append(leased, t)
		}
		// A page full of tasks for busy hosts must not hide those of the others:
		// each round leases something or finds another host full.
		if len(due) < limit*4+16 {
			return leased, nil
		}
	}
}

// dueTasks reads tasks that nobody holds, oldest first, without those of full
// hosts and those that wait for a host's return. On PostgreSQL it holds the rows: a former holder who writes just now is
// waited for or passed over, never overwritten.
func (tx *Tx) dueTasks(now int64, full, down map[int64]bool, limit int) ([]baadal.Task, error) {
	var except, awaited strings.Builder
	for host, is := range full {
		if is {
			fmt.Fprintf(&except, ",%d", host)
		}
	}
	for host, waiting := range down {
		if waiting {
			fmt.Fprintf(&awaited, ",%d", host)
		}
	}
	// What was cancelled, or has run out of time, does not wait; nor does a look at the host itself.
	due, err := collect(tx, scanTask, `SELECT `+taskColumns+` FROM tasks t WHERE t.active=1 AND t.run_after<=$1 AND t.lease_until<=$2
		AND t.host_id NOT IN (-1`+except.String()+`)
		AND (t.host_id NOT IN (-1`+awaited.String()+`) OR t.cancel_by<>'' OR t.subject_kind='host' OR t.deadline<=$3)
		ORDER BY t.run_after, t.id LIMIT $4`+tx.skipLocked(), now, now, now, limit)
	if err != nil {
		return nil, fmt.Errorf("read due tasks: %w", err)
	}
	return due, nil
}

// downHosts returns the hosts with active tasks that are down, and whether these
// wait for it to come back: a host that restarts is away for a while, and what
// it was to do goes on afterwards.
func (tx *Tx) downHosts() (map[int64]bool, error) {
	type away struct{ host, since int64 }
	all, err := collect(tx, func(r row) (a away, err error) { return a, r.Scan(&a.host, &a.since) },
		`SELECT h.id, h.state_since FROM hosts h WHERE h.state=$1 AND h.id IN (SELECT t.host_id FROM tasks t WHERE t.active=1)`, int(baadal.HostDown))
	if err != nil {
		return nil, fmt.Errorf("read hosts that are down: %w", err)
	}
	if len(all) == 0 {
		return nil, nil
	}
	settings, err := tx.SettingValues()
	if err != nil {
		return nil, err
	}
	down := make(map[int64]bool, len(all))
	for _, a := range all {
		down[a.host] = timeOf(a.since).Add(settings.Duration(baadal.SettingHostPatience)).After(tx.at)
	}
	return down, nil
}

// HostLost reports whether a host has been down for longer than its tasks wait
// for its return.
func (tx *Tx) HostLost(id int64) (bool, error) {
	var since int64
	err := tx.queryRow(`SELECT state_since FROM hosts WHERE id=$1 AND state=$2`, id, int(baadal.HostDown)).Scan(&since)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read host: %w", err)
	}
	settings, err := tx.SettingValues()
	return err == nil && !timeOf(since).Add(settings.Duration(baadal.SettingHostPatience)).After(tx.at), err
}

func (tx *Tx) hostCosts(now int64) (map[int64]int, error) {
	rows, err := tx.query(`SELECT host_id, SUM(cost) FROM tasks WHERE active=1 AND lease_until>$1 AND host_id<>0 GROUP BY host_id`, now)
	if err != nil {
		return nil, fmt.Errorf("read host costs: %w", err)
	}
	defer rows.Close()
	used := map[int64]int{}
	for rows.Next() {
		var host int64
		var cost int
		if err := rows.Scan(&host, &cost); err != nil {
			return nil, fmt.Errorf("read host costs: %w", err)
		}
		used[host] = cost
	}
	return used, rows.Err()
}

// NextDue returns when the next waiting task becomes due; zero if none waits.
// What is due already waits for room on its host, not for the clock: the task
// that makes room wakes the workers.
func (tx *Tx) NextDue() (time.Time, error) {
	var next sql.NullInt64
	err := tx.queryRow(`SELECT MIN(run_after) FROM tasks WHERE active=1 AND run_after>$1 AND lease_until<=$2`, tx.now(), tx.now()).Scan(&next)
	if err != nil || !next.Valid {
		return time.Time{}, err
	}
	return timeOf(next.Int64), nil
}

// RenewLease prolongs a lease and tells who asked to cancel the task, if anyone
// did. ok is false when somebody else holds it by now.
func (tx *Tx) RenewLease(id int64, lease string, until time.Time) (cancelBy string, ok bool, err error) {
	err = tx.queryRow(`UPDATE tasks SET lease_until=$1 WHERE id=$2 AND lease_owner=$3 RETURNING cancel_by`, ms(until), id, lease).Scan(&cancelBy)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	return cancelBy, err == nil, err
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
	if err := tx.settle(t.Subject); err != nil {
		return err
	}
	t.State, t.Generation = baadal.TaskIgnore, t.Generation+1
	return tx.taskEvent(&t)
}

// NudgeTasks makes waiting tasks of a host due now, and wakes those that waited
// for it alone: it answers again.
func (tx *Tx) NudgeTasks(hostID int64) error {
	if _, err := tx.exec(`UPDATE tasks SET run_after=$1 WHERE active=1 AND host_id=$2 AND run_after>$3`, tx.now(), hostID, tx.now()); err != nil {
		return fmt.Errorf("nudge tasks: %w", err)
	}
	tx.Wake("task")
	return nil
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

// UsedMACs returns the MACs of all addresses: a new range must not take one again.
func (tx *Tx) UsedMACs() (map[string]bool, error) {
	rows, err := tx.query(`SELECT mac FROM addresses`)
	if err != nil {
		return nil, fmt.Errorf("read MACs: %w", err)
	}
	defer rows.Close()
	used := map[string]bool{}
	for rows.Next() {
		var mac string
		if err := rows.Scan(&mac); err != nil {
			return nil, fmt.Errorf("read MACs: %w", err)
		}
		used[mac] = true
	}
	return used, rows.Err()
}

// DropLeases frees every lease. Only a controller that knows itself to be alone
// (SQLite, at its start) may call it.
func (tx *Tx) DropLeases() error {
	_, err := tx.exec(`UPDATE tasks SET lease_until=0, lease_owner='' WHERE active=1`)
	return err
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
