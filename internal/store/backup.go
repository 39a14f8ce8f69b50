package store

import (
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"baadal"
)

const backupColumns = `b.id, b.uuid, b.generation, b.vm_id, b.vm_name, b.owner_id, u.username, b.organisation_id, b.datastore_id, d.name, b.template_id,
	b.parent_id, (SELECT COUNT(*) FROM backups o WHERE o.parent_id = b.id), b.kind, b.type, b.state, b.reason, b.claim_gib, b.bytes, b.machine, b.files,
	b.created_at, b.updated_at, b.verified_at, b.gone_at, ` + taskRefColumns

var backupJoins = ` JOIN users u ON u.id = b.owner_id JOIN datastores d ON d.id = b.datastore_id` + taskRefJoin("backup", "b.id")

func scanBackup(r row) (b baadal.Backup, err error) {
	var vm, template, parent, verified, gone sql.NullInt64
	var created, updated int64
	var machine, files string
	var ref taskRef
	err = r.Scan(append([]any{
		&b.ID, &b.UUID, &b.Generation, &vm, &b.VM, &b.OwnerID, &b.Owner, &b.OrganisationID, &b.DatastoreID, &b.Datastore, &template,
		&parent, &b.Standing, &b.Kind, &b.Type, &b.State, &b.Reason, &b.ClaimGiB, &b.Bytes, &machine, &files, &created, &updated, &verified, &gone,
	}, ref.dest()...)...)
	if err != nil {
		return b, err
	}
	b.VMID, b.TemplateID, b.ParentID, b.Task = vm.Int64, template.Int64, parent.Int64, ref.get()
	b.CreatedAt, b.UpdatedAt, b.VerifiedAt, b.GoneAt = timeOf(created), timeOf(updated), timePtr(verified), timePtr(gone)
	if err := json.Unmarshal([]byte(machine), &b.Machine); err != nil {
		return b, err
	}
	b.Files = []baadal.BackupFile{}
	return b, json.Unmarshal([]byte(files), &b.Files)
}

// CreateBackup stores a new backup, being made, and fills in everything else.
func (tx *Tx) CreateBackup(b *baadal.Backup) error {
	machine, err := json.Marshal(b.Machine)
	if err != nil {
		return fmt.Errorf("create backup: %w", err)
	}
	id, err := tx.insert(`INSERT INTO backups (uuid, vm_id, vm_name, owner_id, organisation_id, datastore_id, template_id, kind, type, state, reason,
		claim_gib, machine, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) RETURNING id`,
		b.UUID, idOrNull(b.VMID), b.VM, b.OwnerID, b.OrganisationID, b.DatastoreID, idOrNull(b.TemplateID), b.Kind, string(b.Type), baadal.BackupMaking, b.Reason,
		b.ClaimGiB, string(machine), tx.now(), tx.now())
	if dangling(err) {
		return baadal.Errorf(baadal.Conflict, "something that the backup needs was removed just now").WithCode("removed")
	}
	if err != nil {
		return fmt.Errorf("create backup: %w", err)
	}
	*b, err = tx.Backup(id)
	return err
}

// ClaimBackup stores a backup that a task is to make. When the VM has limit
// backups of people's own, those being made included, another one is Exhausted.
func (tx *Tx) ClaimBackup(b *baadal.Backup, limit int) error {
	if err := tx.Lock(fmt.Sprintf("backups %d", b.VMID)); err != nil {
		return err
	}
	n, err := tx.count(`SELECT COUNT(*) FROM backups WHERE vm_id = $1 AND type = $2`, b.VMID, string(b.Type))
	if err != nil {
		return fmt.Errorf("count backups: %w", err)
	}
	if b.Type == baadal.BackupUser && n >= limit {
		return baadal.Errorf(baadal.Exhausted, "%s has as many backups as it may have", b.VM).WithCode("backup_limit").
			WithDetail("%d of at most %d; scheduled ones do not count", n, limit).WithNext("See which one can go", "baadal backup list --vm "+b.VM)
	}
	return tx.CreateBackup(b)
}

// Backup returns a backup by its id.
func (tx *Tx) Backup(id int64) (baadal.Backup, error) {
	b, err := scanBackup(tx.queryRow(`SELECT `+backupColumns+` FROM backups b`+backupJoins+` WHERE b.id = $1`, id))
	if err != nil {
		return b, notFound(err, "backup", id)
	}
	return b, nil
}

// BackupByRef finds a backup by id or UUID among those that vis lets see; the
// others do not exist.
func (tx *Tx) BackupByRef(ref string, vis baadal.Visibility) (baadal.Backup, error) {
	c := join(" AND ", []cond{is("(b.id = ? OR b.uuid = ?)", refID(ref), strings.ToLower(ref)), backupsVisible(vis)})
	found, err := collect(tx, scanBackup, number(`SELECT `+backupColumns+` FROM backups b`+backupJoins+` WHERE `+c.sql), c.args...)
	if err != nil {
		return baadal.Backup{}, fmt.Errorf("find backup: %w", err)
	}
	if len(found) == 0 {
		return baadal.Backup{}, missing("backup", ref)
	}
	return found[0], nil
}

func backupsVisible(vis baadal.Visibility) cond {
	return visible(vis, "b.organisation_id", "b.owner_id")
}

// Backups lists backups, those of VMs that are gone included.
func (tx *Tx) Backups(q baadal.ListQuery, vis baadal.Visibility) (baadal.List[baadal.Backup], error) {
	return listRows(tx, listSpec{
		noun: "backups", table: "backups b", id: "b.id", columns: backupColumns, joins: backupJoins,
		where: []cond{backupsVisible(vis)},
		keys: map[string]filterKey{
			"vm": func(v string) (cond, error) {
				return is("(lower(b.vm_name) = lower(?) OR b.vm_id = ?)", v, refID(v)), nil
			},
			"state": equals("b.state"), "kind": equals("b.kind"), "type": equals("b.type"),
			"owner": named("b.owner_id", "users", "username"), "datastore": named("b.datastore_id", "datastores", "name"),
		},
		words: is(`lower(b.vm_name) LIKE ? ESCAPE '\'`),
		sorts: map[string]sortKey{
			"id": {expr: "b.id", number: true, index: true}, "vm": {expr: "lower(b.vm_name)"}, "bytes": {expr: "b.bytes", number: true},
			"created_at": {expr: "b.created_at", number: true},
		},
		sort: "-id",
		facets: map[string]facet{
			"state": {expr: "b.state"}, "kind": {expr: "b.kind"}, "type": {expr: "b.type"}, "datastore": {expr: "b.datastore_id", table: "datastores"},
		},
	}, q, scanBackup)
}

// AllBackups returns every backup by id.
func (tx *Tx) AllBackups() ([]baadal.Backup, error) { return tx.backups("1 = 1") }

// VMBackups returns the backups of a VM, oldest first.
func (tx *Tx) VMBackups(vmID int64) ([]baadal.Backup, error) { return tx.backups("b.vm_id = $1", vmID) }

// PurgeableBackups returns the backups of VMs that were found gone before the
// given time and on which nothing stands.
func (tx *Tx) PurgeableBackups(before time.Time) ([]baadal.Backup, error) {
	return tx.backups("b.gone_at < $1 AND NOT EXISTS (SELECT 1 FROM backups o WHERE o.parent_id = b.id)", ms(before))
}

func (tx *Tx) backups(where string, args ...any) ([]baadal.Backup, error) {
	all, err := collect(tx, scanBackup, `SELECT `+backupColumns+` FROM backups b`+backupJoins+` WHERE `+where+` ORDER BY b.id`, args...)
	if err != nil {
		return nil, fmt.Errorf("read backups: %w", err)
	}
	return all, nil
}

// NoteGoneBackups notes the backups whose VM is gone for good. Idempotent.
func (tx *Tx) NoteGoneBackups() error {
	if _, err := tx.exec(`UPDATE backups SET gone_at = $1 WHERE vm_id IS NULL AND gone_at IS NULL`, tx.now()); err != nil {
		return fmt.Errorf("note backups of gone vms: %w", err)
	}
	return nil
}

// UpdateBackup stores what the making, or a look at it, tells of a backup: kind,
// parent, state, reason, claim, bytes, files and when it was verified. A parent
// that is gone is a Conflict.
func (tx *Tx) UpdateBackup(b *baadal.Backup) error {
	var verified any
	if b.VerifiedAt != nil {
		verified = ms(*b.VerifiedAt)
	}
	_, err := tx.exec(`UPDATE backups SET kind = $1, parent_id = $2, state = $3, reason = $4, claim_gib = $5, bytes = $6, files = $7, verified_at = $8,
		updated_at = $9, generation = generation + 1 WHERE id = $10`,
		b.Kind, idOrNull(b.ParentID), b.State, b.Reason, b.ClaimGiB, b.Bytes, encode(b.Files), verified, tx.now(), b.ID)
	if dangling(err) {
		return baadal.Errorf(baadal.Conflict, "the backup that it stands on was deleted just now").WithCode("removed")
	}
	if err != nil {
		return fmt.Errorf("update backup: %w", err)
	}
	*b, err = tx.Backup(b.ID)
	return err
}

// DeleteBackup forgets a backup. It is a Conflict while increments stand on it.
// Idempotent.
func (tx *Tx) DeleteBackup(id int64) error {
	_, err := tx.exec(`DELETE FROM backups WHERE id = $1`, id)
	if dangling(err) {
		return baadal.Errorf(baadal.Conflict, "increments stand on backup %d", id).WithCode("backup_needed")
	}
	if err != nil {
		return fmt.Errorf("delete backup: %w", err)
	}
	return nil
}

// BackupChain tells since which backup (0: none that is there) a VM's writes
// are recorded, and under which name. Without a chain the name is empty.
func (tx *Tx) BackupChain(vmID int64) (backupID int64, checkpoint string, err error) {
	var id sql.NullInt64
	err = tx.queryRow(`SELECT backup_id, checkpoint FROM backup_chains WHERE vm_id = $1`, vmID).Scan(&id, &checkpoint)
	if err != nil && !isNoRows(err) {
		return 0, "", fmt.Errorf("read backup chain: %w", err)
	}
	return id.Int64, checkpoint, nil
}

// SetBackupChain notes it. Idempotent.
func (tx *Tx) SetBackupChain(vmID, backupID int64, checkpoint string) error {
	_, err := tx.exec(`INSERT INTO backup_chains (vm_id, backup_id, checkpoint) VALUES ($1, $2, $3)
		ON CONFLICT (vm_id) DO UPDATE SET backup_id = excluded.backup_id, checkpoint = excluded.checkpoint`, vmID, idOrNull(backupID), checkpoint)
	if err != nil {
		return fmt.Errorf("set backup chain: %w", err)
	}
	return nil
}

// EndBackupChain forgets it. Idempotent.
func (tx *Tx) EndBackupChain(vmID int64) error {
	if _, err := tx.exec(`DELETE FROM backup_chains WHERE vm_id = $1`, vmID); err != nil {
		return fmt.Errorf("end backup chain: %w", err)
	}
	return nil
}

// BackupSchedule returns which backups of a VM are made by themselves.
func (tx *Tx) BackupSchedule(vmID int64) (baadal.BackupSchedule, error) {
	s := baadal.BackupSchedule{Every: baadal.BackupNever, Keep: 1}
	err := tx.queryRow(`SELECT every, incremental, keep, datastore FROM backup_schedules WHERE vm_id = $1`, vmID).Scan(&s.Every, &s.Incremental, &s.Keep, &s.Datastore)
	if err != nil && !isNoRows(err) {
		return s, fmt.Errorf("read backup schedule: %w", err)
	}
	return s, nil
}

// SetBackupSchedule stores it. Idempotent.
func (tx *Tx) SetBackupSchedule(vmID int64, s baadal.BackupSchedule) error {
	_, err := tx.exec(`INSERT INTO backup_schedules (vm_id, every, incremental, keep, datastore) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (vm_id) DO UPDATE SET every = excluded.every, incremental = excluded.incremental, keep = excluded.keep, datastore = excluded.datastore`,
		vmID, string(s.Every), flag(s.Incremental), s.Keep, s.Datastore)
	if dangling(err) {
		return missing("VM", vmID)
	}
	if err != nil {
		return fmt.Errorf("set backup schedule: %w", err)
	}
	return nil
}

// BackedUpVMs returns the VMs that have a schedule of backups and are not
// deleted.
func (tx *Tx) BackedUpVMs() ([]baadal.VM, error) {
	return tx.vms(0, `v.state <> 5 AND v.id IN (SELECT vm_id FROM backup_schedules)`)
}

// BackupOf describes a backup of a VM with the disks that it has now, and tells
// what those were seen to occupy.
func (tx *Tx) BackupOf(vm baadal.VM) (b baadal.Backup, occupied int64, err error) {
	first, err := tx.FirstDisk(vm)
	if err != nil {
		return b, 0, err
	}
	extra, err := tx.ExtraDisks(vm.ID)
	if err != nil {
		return b, 0, err
	}
	b = baadal.Backup{
		UUID: newUUID(), VMID: vm.ID, VM: vm.Name, OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID, TemplateID: vm.TemplateID, Kind: baadal.BackupFull,
		Machine: baadal.BackupMachine{
			UUID: vm.UUID, Identity: vm.Identity, State: vm.State, VCPUs: vm.VCPUs, RAMMiB: vm.RAMMiB, Template: vm.Template, Network: vm.Network,
			Purpose: vm.Purpose, SSHKeys: vm.SSHKeys,
		},
	}
	groups, err := tx.VMSecGroupIDs(vm.ID)
	if err != nil {
		return b, 0, err
	}
	if len(groups) > 0 {
		b.Machine.SecGroupIDs = groups
	}
	nics, err := tx.NICs(vm.ID)
	if err != nil {
		return b, 0, err
	}
	for _, n := range nics {
		if n.Index > 0 {
			b.Machine.Networks = append(b.Machine.Networks, n.Network)
		}
	}
	for _, k := range append([]baadal.Disk{first}, extra...) {
		if !k.First() && k.State != baadal.DiskAttached {
			continue
		}
		occupied += k.UsedBytes
		b.Machine.Disks = append(b.Machine.Disks, baadal.BackupDisk{
			ID: k.ID, Target: k.Target, SizeGiB: k.SizeGiB, File: baadal.BackupDiskFile(k.ID), BytesPerSecond: k.BytesPerSecond, IOPS: k.IOPS,
		})
	}
	b.ClaimGiB = b.Machine.GiB()
	return b, occupied, nil
}

// newUUID returns a random (version 4) UUID.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// BackupBytes is the length of the files of a backup and of all that it stands
// on.
func (tx *Tx) BackupBytes(b baadal.Backup) (n int64, err error) {
	for n = b.Bytes; b.ParentID != 0; n += b.Bytes {
		if b, err = tx.Backup(b.ParentID); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// LockBackups makes others that change which backups of the same VM stand on
// each other wait.
func (tx *Tx) LockBackups(b baadal.Backup) error { return tx.Lock(fmt.Sprintf("backups %d", b.VMID)) }

// BackupUnused refuses, as Conflict, a backup from which a task restores.
func (tx *Tx) BackupUnused(b baadal.Backup) error {
	all, err := tx.ActiveTasks()
	if err != nil {
		return err
	}
	for _, t := range all {
		if t.Kind != baadal.TaskBackupRestore && t.Kind != baadal.TaskBackupReplace {
			continue
		}
		var p struct {
			BackupID int64 `json:"backup_id"`
		}
		if err := json.Unmarshal(t.Params, &p); err != nil {
			return fmt.Errorf("read task parameters: %w", err)
		}
		if p.BackupID == b.ID {
			return baadal.Errorf(baadal.Conflict, "task %d (%s) reads backup %d", t.ID, t.Kind, b.ID).WithCode("busy").WithTask(t.ID).
				WithNext("Wait for it", fmt.Sprintf("baadal task wait %d", t.ID))
		}
	}
	return nil
}
