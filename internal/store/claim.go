package store

import (
	"database/sql"
	"fmt"

	"baadal"
)

// ClaimVNCPort gives a VM a port of its own between first and last: the one
// above the highest in use, and only when there is none, the lowest free one.
// So a port that was just given back is not at once somebody else's. A range
// with none left is Exhausted. A VM that has a port keeps it.
func (tx *Tx) ClaimVNCPort(vmID int64, first, last int) (int, error) {
	if err := tx.Lock("vnc ports"); err != nil {
		return 0, err
	}
	var port int
	err := tx.queryRow(`SELECT port FROM vnc_ports WHERE vm_id = $1`, vmID).Scan(&port)
	if err == nil {
		return port, nil
	}
	if !isNoRows(err) {
		return 0, fmt.Errorf("read VNC port: %w", err)
	}
	if port, err = tx.freeVNCPort(first, last); err != nil {
		return 0, err
	}
	if _, err := tx.exec(`INSERT INTO vnc_ports (port, vm_id) VALUES ($1, $2)`, port, vmID); err != nil {
		return 0, fmt.Errorf("claim VNC port: %w", err)
	}
	return port, nil
}

func (tx *Tx) freeVNCPort(first, last int) (int, error) {
	none := baadal.Errorf(baadal.Exhausted, "all ports for VNC clients are in use").WithCode("no_vnc_port").
		WithDetail("%d to %d are set: that is %d VMs; nothing was made", first, last, max(last-first+1, 0)).
		WithNext("Widen the range at its end", "baadal setting set "+baadal.SettingVNCLast+" PORT").
		WithNext("Or at its beginning", "baadal setting set "+baadal.SettingVNCFirst+" PORT")
	if first > last {
		return 0, none
	}
	var highest sql.NullInt64
	err := tx.queryRow(`SELECT MAX(port) FROM vnc_ports WHERE port BETWEEN $1 AND $2`, first, last).Scan(&highest)
	switch {
	case err != nil:
		return 0, fmt.Errorf("read VNC ports: %w", err)
	case !highest.Valid:
		return first, nil
	case int(highest.Int64) < last:
		return int(highest.Int64) + 1, nil
	}
	taken, err := tx.count(`SELECT COUNT(*) FROM vnc_ports WHERE port = $1`, first)
	if err != nil {
		return 0, fmt.Errorf("read VNC ports: %w", err)
	}
	if taken == 0 {
		return first, nil
	}
	var port int
	err = tx.queryRow(`SELECT p.port + 1 FROM vnc_ports p WHERE p.port >= $1 AND p.port < $2
		AND NOT EXISTS (SELECT 1 FROM vnc_ports q WHERE q.port = p.port + 1) ORDER BY p.port LIMIT 1`, first, last).Scan(&port)
	if isNoRows(err) {
		return 0, none
	}
	if err != nil {
		return 0, fmt.Errorf("find free VNC port: %w", err)
	}
	return port, nil
}

// ReleaseVNCPort gives a VM's port back, and ends what stands on it: a grant for
// a VNC client. Idempotent.
func (tx *Tx) ReleaseVNCPort(vmID int64) error {
	if _, err := tx.EndVNCGrants(vmID); err != nil {
		return err
	}
	if _, err := tx.exec(`DELETE FROM vnc_ports WHERE vm_id = $1`, vmID); err != nil {
		return fmt.Errorf("release VNC port: %w", err)
	}
	return nil
}
