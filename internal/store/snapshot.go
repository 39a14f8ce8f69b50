package store

import (
	"database/sql"
	"fmt"
	"time"

	"baadal"
)

const snapshotColumns = `s.id, s.vm_id, s.name, s.description, s.type, s.ready, s.parent, s.is_current, s.vm_state, s.vcpus, s.ram_mib, s.disk_gib, s.xml, s.created_at`

func scanSnapshot(r row) (s baadal.Snapshot, err error) {
	var created int64
	err = r.Scan(&s.ID, &s.VMID, &s.Name, &s.Description, &s.Type, &s.Ready, &s.Parent, &s.Current, &s.VMState, &s.VCPUs, &s.RAMMiB, &s.DiskGiB, &s.XML, &created)
	s.CreatedAt = timeOf(created)
	return s, err
}

// CreateSnapshot stores a new snapshot and fills in its id, and its time if it
// has none. A name that another snapshot of the VM has is a Conflict.
func (tx *Tx) CreateSnapshot(s *baadal.Snapshot) error {
	if s.CreatedAt.IsZero() {
		s.CreatedAt = tx.at
	}
	var err error
	s.ID, err = tx.insert(`INSERT INTO snapshots (vm_id, name, description, type, ready, parent, is_current, vm_state, vcpus, ram_mib, disk_gib, xml, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING id`,
		s.VMID, s.Name, s.Description, string(s.Type), flag(s.Ready), s.Parent, flag(s.Current), int(s.VMState), s.VCPUs, s.RAMMiB, s.DiskGiB, s.XML, ms(s.CreatedAt))
	switch {
	case violated(err) == "snapshots_vm_name":
		return exists("name", "the VM has a snapshot %q already", s.Name)
	case dangling(err):
		return missing("VM", s.VMID)
	case err != nil:
		return fmt.Errorf("create snapshot: %w", err)
	}
	return nil
}

// ClaimSnapshot stores a snapshot that a task is to make. When the VM has limit
// snapshots of its type, those being made included, it is Exhausted.
func (tx *Tx) ClaimSnapshot(s *baadal.Snapshot, limit int) error {
	if err := tx.Lock(fmt.Sprintf("snapshots %d", s.VMID)); err != nil {
		return err
	}
	n, err := tx.count(`SELECT COUNT(*) FROM snapshots WHERE vm_id = $1 AND type = $2`, s.VMID, string(s.Type))
	if err != nil {
		return fmt.Errorf("count snapshots: %w", err)
	}
	if n >= limit {
		return baadal.Errorf(baadal.Exhausted, "Snapshot Limit Reached").WithCode("snapshot_limit").
			WithDetail("the VM has %d of at most %d %s snapshots", n, limit, s.Type)
	}
	return tx.CreateSnapshot(s)
}

// Snapshots returns a VM's snapshots, oldest first.
func (tx *Tx) Snapshots(vmID int64) ([]baadal.Snapshot, error) {
	all, err := collect(tx, scanSnapshot, `SELECT `+snapshotColumns+` FROM snapshots s WHERE s.vm_id = $1 ORDER BY s.created_at, s.id`, vmID)
	if err != nil {
		return nil, fmt.Errorf("read snapshots: %w", err)
	}
	return all, nil
}

// AllSnapshots returns the snapshots of all VMs by the VM's id, oldest first.
func (tx *Tx) AllSnapshots() (map[int64][]baadal.Snapshot, error) {
	all, err := collect(tx, scanSnapshot, `SELECT `+snapshotColumns+` FROM snapshots s ORDER BY s.created_at, s.id`)
	if err != nil {
		return nil, fmt.Errorf("read snapshots: %w", err)
	}
	byVM := map[int64][]baadal.Snapshot{}
	for _, s := range all {
		byVM[s.VMID] = append(byVM[s.VMID], s)
	}
	return byVM, nil
}

// Snapshot returns a snapshot by its id.
func (tx *Tx) Snapshot(id int64) (baadal.Snapshot, error) {
	return tx.snapshot(id, "s.id = $1", id)
}

// SnapshotByName returns one of a VM's snapshots.
func (tx *Tx) SnapshotByName(vmID int64, name string) (baadal.Snapshot, error) {
	return tx.snapshot(name, "s.vm_id = $1 AND lower(s.name) = lower($2)", vmID, name)
}

func (tx *Tx) snapshot(ref any, where string, args ...any) (baadal.Snapshot, error) {
	s, err := scanSnapshot(tx.queryRow(`SELECT `+snapshotColumns+` FROM snapshots s WHERE `+where, args...))
	if err != nil {
		return s, notFound(err, "snapshot", ref)
	}
	return s, nil
}

// FinishSnapshot marks a snapshot as made, with the machine that it holds.
// Idempotent.
func (tx *Tx) FinishSnapshot(id int64, vcpus, ramMiB int) error {
	if _, err := tx.exec(`UPDATE snapshots SET ready = 1, vcpus = $1, ram_mib = $2 WHERE id = $3`, vcpus, ramMiB, id); err != nil {
		return fmt.Errorf("finish snapshot: %w", err)
	}
	return nil
}

// SeeSnapshots writes down what the host says of the VM's snapshots that the
// store knows by their names; it adds and removes none. Idempotent.
func (tx *Tx) SeeSnapshots(vmID int64, seen []baadal.DomainSnapshot) error {
	if _, err := tx.exec(`UPDATE snapshots SET is_current = 0 WHERE vm_id = $1`, vmID); err != nil {
		return fmt.Errorf("update snapshots: %w", err)
	}
	for _, s := range seen {
		_, err := tx.exec(`UPDATE snapshots SET parent = $1, is_current = $2, vm_state = $3, xml = $4 WHERE vm_id = $5 AND name = $6`,
			s.Parent, flag(s.Current), int(s.State), s.XML, vmID, s.Name)
		if err != nil {
			return fmt.Errorf("update snapshots: %w", err)
		}
	}
	return nil
}

// DeleteSnapshot forgets a snapshot. Idempotent.
func (tx *Tx) DeleteSnapshot(id int64) error {
	if _, err := tx.exec(`DELETE FROM snapshots WHERE id = $1`, id); err != nil {
		return fmt.Errorf("delete snapshot: %w", err)
	}
	return nil
}

// SnapshotSchedule returns which snapshots of a VM are made by themselves.
func (tx *Tx) SnapshotSchedule(vmID int64) (s baadal.SnapshotSchedule, err error) {
	err = tx.queryRow(`SELECT daily, weekly, monthly, yearly FROM snapshot_schedules WHERE vm_id = $1`, vmID).Scan(&s.Daily, &s.Weekly, &s.Monthly, &s.Yearly)
	if err != nil && !isNoRows(err) {
		return s, fmt.Errorf("read snapshot schedule: %w", err)
	}
	return s, nil
}

// SetSnapshotSchedule stores it. Idempotent.
func (tx *Tx) SetSnapshotSchedule(vmID int64, s baadal.SnapshotSchedule) error {
	_, err := tx.exec(`INSERT INTO snapshot_schedules (vm_id, daily, weekly, monthly, yearly) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (vm_id) DO UPDATE SET daily = excluded.daily, weekly = excluded.weekly, monthly = excluded.monthly, yearly = excluded.yearly`,
		vmID, flag(s.Daily), flag(s.Weekly), flag(s.Monthly), flag(s.Yearly))
	if dangling(err) {
		return missing("VM", vmID)
	}
	if err != nil {
		return fmt.Errorf("set snapshot schedule: %w", err)
	}
	return nil
}

// ScheduledVMs returns the VMs that have a schedule, or snapshots made by one,
// and are not deleted.
func (tx *Tx) ScheduledVMs() ([]baadal.VM, error) {
	return tx.vms(0, `v.state <> 5 AND (v.id IN (SELECT vm_id FROM snapshot_schedules WHERE daily + weekly + monthly + yearly > 0)
		OR v.id IN (SELECT vm_id FROM snapshots WHERE type IN ('daily', 'weekly', 'monthly', 'yearly')))`)
}

// LastTask returns when a subject's newest task of a kind was made; the zero
// time if there was none.
func (tx *Tx) LastTask(s baadal.Subject, kind baadal.TaskKind) (time.Time, error) {
	var at sql.NullInt64
	err := tx.queryRow(`SELECT MAX(created_at) FROM tasks WHERE subject_kind = $1 AND subject_id = $2 AND kind = $3`, s.Kind, s.ID, string(kind)).Scan(&at)
	if err != nil || !at.Valid {
		return time.Time{}, err
	}
	return timeOf(at.Int64), nil
}
