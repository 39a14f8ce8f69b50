package store

import (
	"database/sql"
	"fmt"
	"time"

	"baadal"
)

// UnansweredVMs returns the running VMs whose address has not answered since
// their last start.
func (tx *Tx) UnansweredVMs() ([]baadal.VM, error) {
	return tx.vms(0, "v.state = 2 AND v.answered_at IS NULL") // as the index vms_silent has it
}

// PurgeableVMs returns the deleted VMs whose retention has ended.
func (tx *Tx) PurgeableVMs() ([]baadal.VM, error) {
	return tx.vms(0, "v.state = $1 AND v.purge_after < $2", int(baadal.VMDeleted), tx.now())
}

// Failures counts the tasks of a kind about a subject that failed since the last
// one that went well, and tells when the newest of them ended.
func (tx *Tx) Failures(kind baadal.TaskKind, s baadal.Subject) (n int, last time.Time, err error) {
	var ended sql.NullInt64
	err = tx.queryRow(`SELECT COUNT(*), MAX(t.ended_at) FROM tasks t WHERE t.subject_kind = $1 AND t.subject_id = $2 AND t.kind = $3
		AND t.state IN (4, 6) AND t.id > COALESCE((SELECT MAX(g.id) FROM tasks g WHERE g.subject_kind = $4 AND g.subject_id = $5 AND g.kind = $6 AND g.state = 3), 0)`,
		s.Kind, s.ID, string(kind), s.Kind, s.ID, string(kind)).Scan(&n, &ended)
	if err != nil {
		return 0, last, fmt.Errorf("count failed tasks: %w", err)
	}
	if ended.Valid {
		last = timeOf(ended.Int64)
	}
	return n, last, nil
}

// AuditDue reports whether no audit was asked for since the given time. The
// first is due a while after the first host came.
func (tx *Tx) AuditDue(since time.Time) (bool, error) {
	n, err := tx.count(`SELECT COUNT(*) FROM tasks WHERE kind = $1 AND created_at > $2`, string(baadal.TaskAudit), ms(since))
	if err != nil || n > 0 {
		return false, err
	}
	n, err = tx.count(`SELECT COUNT(*) FROM hosts WHERE created_at < $1`, ms(since))
	return n > 0, err
}
