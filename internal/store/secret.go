package store

import (
	"fmt"

	"baadal"
)

// SetSecret keeps the console password of a VM until its owner takes it.
func (tx *Tx) SetSecret(vmID int64, password string) error {
	_, err := tx.exec(`INSERT INTO vm_secrets (vm_id, password) VALUES ($1, $2)
		ON CONFLICT (vm_id) DO UPDATE SET password = excluded.password`, vmID, password)
	if err != nil {
		return fmt.Errorf("keep console password: %w", err)
	}
	return nil
}

// Secret returns a VM's console password without taking it; NotFound if it was
// taken.
func (tx *Tx) Secret(vmID int64) (string, error) {
	return tx.secret(`SELECT password FROM vm_secrets WHERE vm_id = $1`, vmID)
}

// TakeSecret returns a VM's console password, once: it is not kept any longer.
func (tx *Tx) TakeSecret(vmID int64) (string, error) {
	return tx.secret(`DELETE FROM vm_secrets WHERE vm_id = $1 RETURNING password`, vmID)
}

func (tx *Tx) secret(query string, vmID int64) (password string, err error) {
	err = tx.queryRow(query, vmID).Scan(&password)
	if isNoRows(err) {
		return "", baadal.Errorf(baadal.NotFound, "the console password was shown already and is not kept").WithCode("secret_taken")
	}
	if err != nil {
		return "", fmt.Errorf("read console password: %w", err)
	}
	return password, nil
}
