package store

import (
	"fmt"

	"baadal"
)

// A disk on its way between two datastores has room on both: its row names one
// of them, disk_moves the other. While it is copied the row names the one that
// it leaves; from the moment on when it is used at its new place, the other.

// ClaimMove gives a VM's disk (0 is the first one) room on the datastore that it
// is to move to. One that moves already is a Conflict. Call it under
// Lock("placement").
func (tx *Tx) ClaimMove(vmID, diskID, datastoreID int64, sizeGiB int) error {
	_, err := tx.exec(`INSERT INTO disk_moves (vm_id, disk_id, datastore_id, size_gib) VALUES ($1, $2, $3, $4)`, vmID, diskID, datastoreID, sizeGiB)
	switch {
	case err == nil:
		return nil
	case violated(err) == "disk_moves_vm_disk" || violated(err) == "disk_moves_vm_id_disk_id":
		return baadal.Errorf(baadal.Conflict, "the disk is on its way to another datastore already").WithCode("vm_busy")
	case dangling(err):
		return baadal.Errorf(baadal.Conflict, "the datastore was removed just now").WithCode("removed")
	}
	return fmt.Errorf("claim room for move: %w", err)
}

// ArriveDisk notes that a VM's disk is used on the datastore that it moves to.
// The room on the one that it came from stays claimed until ReleaseMoves: its
// old file is still there. changed tells whether it was elsewhere before.
func (tx *Tx) ArriveDisk(vmID, diskID, datastoreID int64) (changed bool, err error) {
	var from int64
	where, args := `SELECT datastore_id FROM vms WHERE id = $1`, []any{vmID}
	if diskID != 0 {
		where, args = `SELECT datastore_id FROM disks WHERE vm_id = $1 AND id = $2`, append(args, diskID)
	}
	if err := tx.queryRow(where+tx.forUpdate(), args...).Scan(&from); err != nil {
		return false, notFound(err, "disk", diskID)
	}
	if from == datastoreID {
		return false, nil
	}
	_, err = tx.exec(`UPDATE disk_moves SET datastore_id = $1 WHERE vm_id = $2 AND disk_id = $3`, from, vmID, diskID)
	if err == nil && diskID == 0 {
		_, err = tx.exec(`UPDATE vms SET datastore_id = $1, updated_at = $2, generation = generation + 1 WHERE id = $3`, datastoreID, tx.now(), vmID)
	} else if err == nil {
		_, err = tx.exec(`UPDATE disks SET datastore_id = $1, updated_at = $2, generation = generation + 1 WHERE id = $3`, datastoreID, tx.now(), diskID)
	}
	if err != nil {
		return false, fmt.Errorf("note where disk is: %w", err)
	}
	return true, nil
}

// ReleaseMoves gives back the room that a VM's disks have where they are not
// used. Idempotent.
func (tx *Tx) ReleaseMoves(vmID int64) error {
	if _, err := tx.exec(`DELETE FROM disk_moves WHERE vm_id = $1`, vmID); err != nil {
		return fmt.Errorf("release room of moves: %w", err)
	}
	return nil
}
