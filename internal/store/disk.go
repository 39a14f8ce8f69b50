package store

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"baadal"
)

const (
	diskColumns = `k.id, k.vm_id, v.name, k.name, k.generation, k.target, k.datastore_id, d.name, k.size_gib, s.used, s.measured_at, k.state,
	k.bytes_per_second, k.iops, k.created_at, k.updated_at, k.deleted_at, k.purge_after, k.base_id, k.file`

	diskJoins = ` JOIN vms v ON v.id = k.vm_id JOIN datastores d ON d.id = k.datastore_id
	LEFT JOIN disk_sizes s ON s.datastore_id = k.datastore_id AND s.file = CASE WHEN k.file <> '' THEN k.file ELSE k.name END`
)

func scanDisk(r row) (k baadal.Disk, err error) {
	var used, measured, deleted, purge, base sql.NullInt64
	var created, updated int64
	err = r.Scan(&k.ID, &k.VMID, &k.VM, &k.Name, &k.Generation, &k.Target, &k.DatastoreID, &k.Datastore, &k.SizeGiB, &used, &measured, &k.State,
		&k.BytesPerSecond, &k.IOPS, &created, &updated, &deleted, &purge, &base, &k.File)
	k.BaseID = base.Int64
	k.Serial, k.UsedBytes, k.MeasuredAt = baadal.DiskSerial(k.ID), used.Int64, timePtr(measured)
	k.CreatedAt, k.UpdatedAt, k.DeletedAt, k.PurgeAfter = timeOf(created), timeOf(updated), timePtr(deleted), timePtr(purge)
	return k, err
}

// CreateDisk stores a new extra disk of a VM, being made, with the first file
// name that is free and, if it has no target, the first of those that is free,
// and fills in everything else. A VM that has as many as it can have is
// Exhausted.
func (tx *Tx) CreateDisk(k *baadal.Disk) error {
	if err := tx.Lock("disks"); err != nil {
		return err
	}
	vm, err := tx.VM(k.VMID)
	if err != nil {
		return err
	}
	if k.Name, err = tx.freeDiskName(vm.Identity); err != nil {
		return err
	}
	if k.Target == "" {
		if k.Target, err = tx.FreeTarget(k.VMID, nil); err != nil {
			return err
		}
	}
	k.Generation, k.State, k.CreatedAt, k.UpdatedAt = 1, baadal.DiskCreating, tx.at, tx.at
	k.ID, err = tx.insert(`INSERT INTO disks (vm_id, name, target, datastore_id, size_gib, state, bytes_per_second, iops, base_id, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id`,
		k.VMID, k.Name, k.Target, k.DatastoreID, k.SizeGiB, k.State, k.BytesPerSecond, k.IOPS, idOrNull(k.BaseID), tx.now(), tx.now())
	if err != nil {
		return diskError("create disk", err)
	}
	*k, err = tx.Disk(k.ID)
	return err
}

func diskError(operation string, err error) error {
	switch {
	case err == nil:
		return nil
	case violated(err) == "disks_target" || violated(err) == "disks_vm_id_target":
		return baadal.Errorf(baadal.Conflict, "another disk of the VM has the target").WithCode("target_taken")
	case dangling(err):
		return baadal.Errorf(baadal.Conflict, "something that the disk needs was removed just now").WithCode("removed")
	}
	return fmt.Errorf("%s: %w", operation, err)
}

// freeDiskName returns <identity>_diskN.qcow2 with the lowest N that no disk
// has, those of deleted VMs with the same identity included.
func (tx *Tx) freeDiskName(identity string) (string, error) {
	escaped := strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(identity + "_disk")
	names, err := collect(tx, scanText, `SELECT name FROM disks WHERE name LIKE $1 ESCAPE '\'`, escaped+"%")
	if err != nil {
		return "", fmt.Errorf("read names of disks: %w", err)
	}
	for n := 1; ; n++ {
		if name := baadal.DiskName(identity, n); !slices.Contains(names, name) {
			return name, nil
		}
	}
}

func scanText(r row) (s string, err error) { return s, r.Scan(&s) }

// FreeTarget returns the first target name that no disk of the VM has, nor any
// of the taken ones. None left is Exhausted.
func (tx *Tx) FreeTarget(vmID int64, taken []string) (string, error) {
	claimed, err := collect(tx, scanText, `SELECT target FROM disks WHERE vm_id = $1 AND target <> ''`, vmID)
	if err != nil {
		return "", fmt.Errorf("read targets of disks: %w", err)
	}
	for n := 1; n <= baadal.MaxExtraDisks; n++ {
		if t := baadal.DiskTarget(n); !slices.Contains(claimed, t) && !slices.Contains(taken, t) {
			return t, nil
		}
	}
	return "", baadal.Errorf(baadal.Exhausted, "the VM has as many disks as it can have").WithCode("no_target").
		WithDetail("%d beside the first one", baadal.MaxExtraDisks)
}

// Disk returns an extra disk by id.
func (tx *Tx) Disk(id int64) (baadal.Disk, error) {
	k, err := scanDisk(tx.queryRow(`SELECT `+diskColumns+` FROM disks k`+diskJoins+` WHERE k.id = $1`, id))
	if err != nil {
		return k, notFound(err, "disk", id)
	}
	return k, nil
}

// ExtraDisks returns the extra disks of a VM in the order of their making,
// deleted ones included.
func (tx *Tx) ExtraDisks(vmID int64) ([]baadal.Disk, error) { return tx.disks("k.vm_id = $1", vmID) }

// AllExtraDisks returns every extra disk.
func (tx *Tx) AllExtraDisks() ([]baadal.Disk, error) { return tx.disks("1 = 1") }

// PurgeableDisks returns the deleted disks whose retention has ended. Those of
// deleted VMs go with their VM.
func (tx *Tx) PurgeableDisks() ([]baadal.Disk, error) {
	return tx.disks("k.state = 'deleted' AND k.purge_after < $1 AND v.state <> 5", tx.now())
}

func (tx *Tx) disks(where string, args ...any) ([]baadal.Disk, error) {
	all, err := collect(tx, scanDisk, `SELECT `+diskColumns+` FROM disks k`+diskJoins+` WHERE `+where+` ORDER BY k.id`, args...)
	if err != nil {
		return nil, fmt.Errorf("read disks: %w", err)
	}
	return all, nil
}

// FirstDisk returns a VM's first disk, which has no row of its own.
func (tx *Tx) FirstDisk(vm baadal.VM) (baadal.Disk, error) {
	k := baadal.Disk{
		VMID: vm.ID, VM: vm.Name, Name: vm.Identity + ".qcow2", File: vm.DiskFile, BaseID: vm.BaseID, Generation: vm.Generation, Target: baadal.FirstTarget,
		DatastoreID: vm.DatastoreID, Datastore: vm.Datastore, SizeGiB: vm.DiskGiB, State: baadal.DiskAttached,
		CreatedAt: vm.CreatedAt, UpdatedAt: vm.UpdatedAt,
	}
	if vm.State == baadal.VMInQueue {
		k.State = baadal.DiskCreating
	}
	err := tx.queryRow(`SELECT bytes_per_second, iops FROM first_disk_limits WHERE vm_id = $1`, vm.ID).Scan(&k.BytesPerSecond, &k.IOPS)
	if err != nil && !isNoRows(err) {
		return k, fmt.Errorf("read limits of disk: %w", err)
	}
	var measured sql.NullInt64
	err = tx.queryRow(`SELECT used, measured_at FROM disk_sizes WHERE datastore_id = $1 AND file = $2`, k.DatastoreID, k.FileName()).Scan(&k.UsedBytes, &measured)
	if err != nil && !isNoRows(err) {
		return k, fmt.Errorf("read size of disk: %w", err)
	}
	k.MeasuredAt = timePtr(measured)
	return k, nil
}

// DiskByRef finds a disk of a VM by target, file name (with or without
// .qcow2), serial or id.
func (tx *Tx) DiskByRef(vm baadal.VM, ref string) (baadal.Disk, error) {
	first, err := tx.FirstDisk(vm)
	if err != nil {
		return first, err
	}
	extra, err := tx.ExtraDisks(vm.ID)
	if err != nil {
		return first, err
	}
	for _, k := range append([]baadal.Disk{first}, extra...) {
		if ref != "" && (ref == k.Target || ref == k.Name || ref+".qcow2" == k.Name || ref == k.Serial || !k.First() && refID(ref) == k.ID) {
			return k, nil
		}
	}
	return first, missing("disk", ref).WithNext("See the disks of "+vm.Name, "baadal vm disk list "+vm.Name)
}

// UpdateDisk stores what may change of a disk, if its generation is still the
// current one, and raises it in k. Of a first disk that is its limits; its size
// is the VM's.
func (tx *Tx) UpdateDisk(k *baadal.Disk) error {
	if k.First() {
		_, err := tx.exec(`INSERT INTO first_disk_limits (vm_id, bytes_per_second, iops) VALUES ($1, $2, $3)
			ON CONFLICT (vm_id) DO UPDATE SET bytes_per_second = excluded.bytes_per_second, iops = excluded.iops`, k.VMID, k.BytesPerSecond, k.IOPS)
		return diskError("update limits of disk", err)
	}
	err := tx.queryRow(`UPDATE disks SET target = $1, size_gib = $2, state = $3, bytes_per_second = $4, iops = $5, deleted_at = $6, purge_after = $7,
		updated_at = $8, generation = generation + 1 WHERE id = $9 AND generation = $10 RETURNING generation`,
		k.Target, k.SizeGiB, k.State, k.BytesPerSecond, k.IOPS, msPtr(k.DeletedAt), msPtr(k.PurgeAfter), tx.now(), k.ID, k.Generation).Scan(&k.Generation)
	if isNoRows(err) {
		return tx.stale("disks", "disk", k.ID, k.Generation)
	}
	k.UpdatedAt = tx.at
	return diskError("update disk", err)
}

// DeleteDisk forgets an extra disk and gives its claims back. Idempotent.
func (tx *Tx) DeleteDisk(id int64) error {
	if _, err := tx.exec(`DELETE FROM disks WHERE id = $1`, id); err != nil {
		return fmt.Errorf("delete disk: %w", err)
	}
	return nil
}

// SetDiskSizes notes what the files of disks on a datastore were seen to occupy;
// what was not seen is forgotten. Sizes that did not change are not written.
func (tx *Tx) SetDiskSizes(datastoreID int64, sizes []baadal.DiskSize) error {
	old := map[string]int64{}
	rows, err := collect(tx, func(r row) (s baadal.DiskSize, err error) { return s, r.Scan(&s.File, &s.Bytes) },
		`SELECT file, used FROM disk_sizes WHERE datastore_id = $1`, datastoreID)
	if err != nil {
		return fmt.Errorf("read sizes of disks: %w", err)
	}
	for _, s := range rows {
		old[s.File] = s.Bytes
	}
	for _, s := range sizes {
		was, known := old[s.File]
		delete(old, s.File)
		if known && was == s.Bytes {
			continue
		}
		_, err := tx.exec(`INSERT INTO disk_sizes (datastore_id, file, used, measured_at) VALUES ($1, $2, $3, $4)
			ON CONFLICT (datastore_id, file) DO UPDATE SET used = excluded.used, measured_at = excluded.measured_at`, datastoreID, s.File, s.Bytes, tx.now())
		if err != nil {
			return fmt.Errorf("note size of disk: %w", err)
		}
	}
	for file := range old {
		if _, err := tx.exec(`DELETE FROM disk_sizes WHERE datastore_id = $1 AND file = $2`, datastoreID, file); err != nil {
			return fmt.Errorf("forget size of disk: %w", err)
		}
	}
	return nil
}
