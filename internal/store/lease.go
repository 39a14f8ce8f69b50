package store

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"baadal"
)

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

// NudgeTasks makes waiting tasks of a host due now, and wakes those that waited
// for it alone: it answers again.
func (tx *Tx) NudgeTasks(hostID int64) error {
	if _, err := tx.exec(`UPDATE tasks SET run_after=$1 WHERE active=1 AND host_id=$2 AND run_after>$3`, tx.now(), hostID, tx.now()); err != nil {
		return fmt.Errorf("nudge tasks: %w", err)
	}
	tx.Wake("task")
	return nil
}

// DropLeases frees every lease. Only a controller that knows itself to be alone
// (SQLite, at its start) may call it.
func (tx *Tx) DropLeases() error {
	_, err := tx.exec(`UPDATE tasks SET lease_until=0, lease_owner='' WHERE active=1`)
	return err
}
