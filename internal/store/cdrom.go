package store

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"baadal"
)

// SetVMCDROM notes which CD image is in a VM's drive, 0 for none. As long as it
// is, the template cannot be deleted. Idempotent.
func (tx *Tx) SetVMCDROM(vmID, templateID int64) error {
	_, err := tx.exec(`UPDATE vms SET cdrom_id = $1, updated_at = $2, generation = generation + 1 WHERE id = $3 AND COALESCE(cdrom_id, 0) <> $4`,
		idOrNull(templateID), tx.now(), vmID, templateID)
	if dangling(err) {
		return missing("template", templateID)
	}
	if err != nil {
		return fmt.Errorf("set CD of vm: %w", err)
	}
	return nil
}

// CDROMAt returns the id of the CD image at an absolute path on a host; 0 if the
// store knows none there.
func (tx *Tx) CDROMAt(path string) (id int64, err error) {
	err = tx.queryRow(`SELECT m.id FROM templates m JOIN datastores d ON d.id = m.datastore_id
		WHERE m.kind = 'iso' AND d.path || '/`+baadal.DirTemplates+`/' || m.file = $1`, path).Scan(&id)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("find CD image: %w", err)
	}
	return id, nil
}

// VMsWithCDROM returns the names of the VMs that have a CD image in their drive.
func (tx *Tx) VMsWithCDROM(templateID int64) ([]string, error) {
	return tx.vmNames("v.cdrom_id = $1", templateID)
}

// SnapshotsWithFile returns the snapshots, as "NAME of VM", whose description
// names a file below vm_templates: a revert would want it back.
func (tx *Tx) SnapshotsWithFile(file string) ([]string, error) {
	c := like(`lower(s.xml) LIKE ? ESCAPE '\'`, strings.ToLower("/"+baadal.DirTemplates+"/"+file))
	all, err := collect(tx, func(r row) (name string, err error) { return name, r.Scan(&name) },
		number(`SELECT s.name || ' of ' || v.name FROM snapshots s JOIN vms v ON v.id = s.vm_id WHERE `+c.sql+` ORDER BY s.id LIMIT 10`), c.args...)
	if err != nil {
		return nil, fmt.Errorf("find snapshots: %w", err)
	}
	return all, nil
}
