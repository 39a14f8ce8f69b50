package store

import (
	"database/sql"
	"fmt"

	"baadal"
)

const baseColumns = `b.id, b.uuid, b.datastore_id, b.parent_id, b.origin, b.size_gib, b.state, b.created_at,
	(SELECT COUNT(*) FROM vms v WHERE v.base_id = b.id) + (SELECT COUNT(*) FROM disks k WHERE k.base_id = b.id) +
	(SELECT COUNT(*) FROM bases o WHERE o.parent_id = b.id)`

func scanBase(r row) (b baadal.Base, err error) {
	var parent sql.NullInt64
	var created int64
	err = r.Scan(&b.ID, &b.UUID, &b.DatastoreID, &parent, &b.Origin, &b.SizeGiB, &b.State, &created, &b.Standing)
	b.ParentID, b.CreatedAt = parent.Int64, timeOf(created)
	return b, err
}

// CreateBase stores a new base and fills in its id and time.
func (tx *Tx) CreateBase(b *baadal.Base) error {
	b.CreatedAt = tx.at
	var err error
	b.ID, err = tx.insert(`INSERT INTO bases (uuid, datastore_id, parent_id, origin, size_gib, state, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id`,
		b.UUID, b.DatastoreID, idOrNull(b.ParentID), b.Origin, b.SizeGiB, b.State, tx.now())
	if err != nil {
		return fmt.Errorf("create base: %w", err)
	}
	return nil
}

// Base returns a base by id.
func (tx *Tx) Base(id int64) (baadal.Base, error) {
	b, err := scanBase(tx.queryRow(`SELECT `+baseColumns+` FROM bases b WHERE b.id = $1`, id))
	if err != nil {
		return b, notFound(err, "base", id)
	}
	return b, nil
}

// AllBases returns every base by id.
func (tx *Tx) AllBases() ([]baadal.Base, error) {
	all, err := collect(tx, scanBase, `SELECT `+baseColumns+` FROM bases b ORDER BY b.id`)
	if err != nil {
		return nil, fmt.Errorf("read bases: %w", err)
	}
	return all, nil
}

// UnusedBases returns the bases that nothing stands on and that no task makes.
func (tx *Tx) UnusedBases() ([]baadal.Base, error) {
	all, err := collect(tx, scanBase, `SELECT `+baseColumns+` FROM bases b WHERE b.state <> 'making'
		AND NOT EXISTS (SELECT 1 FROM vms v WHERE v.base_id = b.id) AND NOT EXISTS (SELECT 1 FROM disks k WHERE k.base_id = b.id)
		AND NOT EXISTS (SELECT 1 FROM bases o WHERE o.parent_id = b.id) ORDER BY b.id`)
	if err != nil {
		return nil, fmt.Errorf("read unused bases: %w", err)
	}
	return all, nil
}

// SetBase notes a base's state and which base it stands on. Idempotent.
func (tx *Tx) SetBase(id int64, state string, parentID int64) error {
	if _, err := tx.exec(`UPDATE bases SET state = $1, parent_id = $2 WHERE id = $3`, state, idOrNull(parentID), id); err != nil {
		return fmt.Errorf("set base: %w", err)
	}
	return nil
}

// DeleteBase forgets a base that nothing stands on. Idempotent.
func (tx *Tx) DeleteBase(id int64) error {
	_, err := tx.exec(`DELETE FROM bases WHERE id = $1`, id)
	if dangling(err) {
		return baadal.Errorf(baadal.Conflict, "something stands on base %d", id).WithCode("base_in_use")
	}
	if err != nil {
		return fmt.Errorf("delete base: %w", err)
	}
	return nil
}

// SetVMDisk notes which file a VM's first disk is (empty: the one named after
// its identity) and the base that it stands on, 0 for none. Idempotent.
func (tx *Tx) SetVMDisk(vmID int64, file string, baseID int64) error {
	if _, err := tx.exec(`UPDATE vms SET disk_file = $1, base_id = $2, updated_at = $3, generation = generation + 1 WHERE id = $4
		AND (disk_file <> $5 OR COALESCE(base_id, 0) <> $6)`, file, idOrNull(baseID), tx.now(), vmID, file, baseID); err != nil {
		return fmt.Errorf("set vm disk: %w", err)
	}
	return nil
}

// VMsOnBase returns the VMs that stand on a base, deleted ones that can be
// restored included.
func (tx *Tx) VMsOnBase(id int64) ([]baadal.VM, error) { return tx.vms(0, "v.base_id = $1", id) }
