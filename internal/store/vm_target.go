package store

import "fmt"

// ClaimVMTarget gives a VM room on the host that it is to move to, beside what
// it has where it is: while it moves it needs both. Call it under
// Lock("placement").
func (tx *Tx) ClaimVMTarget(vmID, hostID int64) error {
	if _, err := tx.exec(`UPDATE vms SET target_host_id = $1 WHERE id = $2`, hostID, vmID); err != nil {
		return vmError("claim target of vm", err)
	}
	return nil
}

// ReleaseVMTarget gives that room back. Idempotent.
func (tx *Tx) ReleaseVMTarget(vmID int64) error {
	if _, err := tx.exec(`UPDATE vms SET target_host_id = NULL WHERE id = $1 AND target_host_id IS NOT NULL`, vmID); err != nil {
		return fmt.Errorf("release target of vm: %w", err)
	}
	return nil
}

// MoveVM notes that a VM is on a host now, and why, and gives back the room on
// the one that it left. Idempotent.
func (tx *Tx) MoveVM(vmID, hostID int64, placement string) error {
	_, err := tx.exec(`UPDATE vms SET host_id = $1, target_host_id = NULL, placement = $2, updated_at = $3, generation = generation + 1
		WHERE id = $4 AND (COALESCE(host_id, 0) <> $5 OR target_host_id IS NOT NULL)`, hostID, placement, tx.now(), vmID, hostID)
	if err != nil {
		return vmError("move vm", err)
	}
	return nil
}
