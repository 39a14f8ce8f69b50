package store

import (
	"fmt"

	"baadal"
)

const transferColumns = `f.id, f.uuid, f.kind, f.state, f.name, f.datastore_id, d.name, f.vm_id, f.owner_id, f.organisation_id, f.requester_id,
	f.size, f.virtual_size, f.sha256, f.created_at, f.used_at, ` + taskRefColumns

var transferJoins = ` JOIN datastores d ON d.id = f.datastore_id` + taskRefJoin("transfer", "f.id")

func scanTransfer(r row) (f baadal.Transfer, err error) {
	var created, used int64
	var ref taskRef
	err = r.Scan(append([]any{
		&f.ID, &f.UUID, &f.Kind, &f.State, &f.Name, &f.DatastoreID, &f.Datastore, &f.VMID, &f.OwnerID, &f.OrganisationID, &f.RequesterID,
		&f.Size, &f.VirtualSize, &f.SHA256, &created, &used,
	}, ref.dest()...)...)
	f.CreatedAt, f.UsedAt, f.Task = timeOf(created), timeOf(used), ref.get()
	return f, err
}

// CreateTransfer stores a new transfer, being made, and fills in its id, state
// and times.
func (tx *Tx) CreateTransfer(f *baadal.Transfer) error {
	f.State, f.CreatedAt, f.UsedAt = baadal.TransferMaking, tx.at, tx.at
	var err error
	f.ID, err = tx.insert(`INSERT INTO transfers (uuid, kind, state, name, datastore_id, vm_id, owner_id, organisation_id, requester_id, created_at, used_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id`,
		f.UUID, f.Kind, f.State, f.Name, f.DatastoreID, f.VMID, f.OwnerID, f.OrganisationID, f.RequesterID, tx.now(), tx.now())
	if dangling(err) {
		return missing("datastore", f.DatastoreID)
	}
	if err != nil {
		return fmt.Errorf("create transfer: %w", err)
	}
	return nil
}

// Transfer returns a transfer by id among those that vis lets see.
func (tx *Tx) Transfer(id int64, vis baadal.Visibility) (baadal.Transfer, error) {
	return tx.transfer(id, is("f.id = ?", id), vis)
}

// TransferByUUID is Transfer by the name of its file.
func (tx *Tx) TransferByUUID(uuid string, vis baadal.Visibility) (baadal.Transfer, error) {
	return tx.transfer(uuid, is("f.uuid = ?", uuid), vis)
}

func (tx *Tx) transfer(ref any, match cond, vis baadal.Visibility) (baadal.Transfer, error) {
	c := join(" AND ", []cond{match, visible(vis, "f.organisation_id", "f.owner_id", "f.requester_id")})
	f, err := scanTransfer(tx.queryRow(number(`SELECT `+transferColumns+` FROM transfers f`+transferJoins+` WHERE `+c.sql), c.args...))
	if err != nil {
		return f, notFound(err, "transfer", ref)
	}
	return f, nil
}

// AllTransfers returns every transfer by id.
func (tx *Tx) AllTransfers() ([]baadal.Transfer, error) {
	all, err := collect(tx, scanTransfer, `SELECT `+transferColumns+` FROM transfers f`+transferJoins+` ORDER BY f.id`)
	if err != nil {
		return nil, fmt.Errorf("read transfers: %w", err)
	}
	return all, nil
}

// IdleTransfers returns the transfers that nobody has used for as long as their
// kind is kept and that no task of their own holds. An export that is being made
// is its task's.
func (tx *Tx) IdleTransfers() ([]baadal.Transfer, error) {
	now := tx.Now()
	all, err := collect(tx, scanTransfer, `SELECT `+transferColumns+` FROM transfers f`+transferJoins+`
		WHERE k.id IS NULL AND (f.kind = 'upload' OR f.state <> 'making') AND (f.kind = 'export' AND f.used_at < $1 OR f.kind <> 'export' AND f.used_at < $2) ORDER BY f.id`,
		ms(now.Add(-baadal.KeepExport)), ms(now.Add(-baadal.KeepUpload)))
	if err != nil {
		return nil, fmt.Errorf("read idle transfers: %w", err)
	}
	return all, nil
}

// SetTransfer notes a transfer's state and what is known of its file, and that
// it was used just now. Idempotent.
func (tx *Tx) SetTransfer(id int64, state string, info baadal.ImageInfo) error {
	_, err := tx.exec(`UPDATE transfers SET state = $1, size = $2, virtual_size = $3, sha256 = $4, used_at = $5 WHERE id = $6`,
		state, info.FileSize, info.VirtualSize, info.SHA256, tx.now(), id)
	if err != nil {
		return fmt.Errorf("set transfer: %w", err)
	}
	return nil
}

// UseTransfer notes that a transfer is used now; one that is gone is none.
func (tx *Tx) UseTransfer(id int64) error {
	if _, err := tx.exec(`UPDATE transfers SET used_at = $1 WHERE id = $2`, tx.now(), id); err != nil {
		return fmt.Errorf("use transfer: %w", err)
	}
	return nil
}

// DeleteTransfer forgets a transfer. Idempotent.
func (tx *Tx) DeleteTransfer(id int64) error {
	if _, err := tx.exec(`DELETE FROM transfers WHERE id = $1`, id); err != nil {
		return fmt.Errorf("delete transfer: %w", err)
	}
	return nil
}
