package store

import (
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
