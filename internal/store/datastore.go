package store

import (
	"database/sql"
	"fmt"

	"baadal"
)

// A deleted VM or disk that can be restored still has its files on the datastore,
// so every row of vms and disks counts into what is claimed.
const (
	datastoreColumns = `d.id, d.name, d.generation, d.path, d.state, d.reason, d.capacity, d.used, d.free, d.measured_at, d.hosts,
	d.created_at, d.updated_at, COALESCE(c.disk_gib, 0) + COALESCE(z.gib, 0) + COALESCE(x.disk_gib, 0) + COALESCE(y.gib, 0) + COALESCE(a.gib, 0), COALESCE(f.bytes, 0) + COALESCE(a.bytes, 0), COALESCE(c.vms, 0), COALESCE(f.templates, 0)`

	datastoreJoins = ` LEFT JOIN (SELECT v.datastore_id, SUM(v.disk_gib) AS disk_gib, SUM(CASE WHEN v.state <> 5 THEN 1 ELSE 0 END) AS vms
		FROM vms v GROUP BY v.datastore_id) c ON c.datastore_id = d.id
	LEFT JOIN (SELECT b.datastore_id, SUM(b.size_gib) AS gib FROM bases b GROUP BY b.datastore_id) z ON z.datastore_id = d.id
	LEFT JOIN (SELECT k.datastore_id, SUM(k.size_gib) AS disk_gib FROM disks k GROUP BY k.datastore_id) x ON x.datastore_id = d.id
	LEFT JOIN (SELECT m.datastore_id, SUM(m.size_gib) AS gib FROM disk_moves m GROUP BY m.datastore_id) y ON y.datastore_id = d.id
	LEFT JOIN (SELECT a.datastore_id, SUM(a.claim_gib) AS gib, CAST(SUM(a.bytes) AS BIGINT) AS bytes FROM backups a GROUP BY a.datastore_id) a ON a.datastore_id = d.id
	LEFT JOIN (SELECT t.datastore_id, CAST(SUM(t.file_size) AS BIGINT) AS bytes, COUNT(*) AS templates
		FROM templates t WHERE t.state <> 'deleted' GROUP BY t.datastore_id) f ON f.datastore_id = d.id`
)

func scanDatastore(r row) (d baadal.Datastore, err error) {
	var measured sql.NullInt64
	var created, updated, diskGiB, files int64
	var hosts string
	err = r.Scan(&d.ID, &d.Name, &d.Generation, &d.Path, &d.State, &d.Reason, &d.Capacity, &d.Used, &d.Free, &measured, &hosts,
		&created, &updated, &diskGiB, &files, &d.VMs, &d.Templates)
	if err != nil {
		return d, err
	}
	d.Claimed = diskGiB<<30 + files
	d.MeasuredAt, d.CreatedAt, d.UpdatedAt = timePtr(measured), timeOf(created), timeOf(updated)
	d.Hosts, err = decode[string](hosts)
	return d, err
}

// CreateDatastore stores a new datastore, not measured yet, and fills in id,
// generation, state and times. A name or path that is taken is a Conflict.
func (tx *Tx) CreateDatastore(d *baadal.Datastore) error {
	d.Generation, d.State, d.CreatedAt, d.UpdatedAt = 1, baadal.DatastoreUnknown, tx.at, tx.at
	var err error
	d.ID, err = tx.insert(`INSERT INTO datastores (name, path, state, created_at, updated_at) VALUES ($1, $2, $3, $4, $5) RETURNING id`,
		d.Name, d.Path, d.State, tx.now(), tx.now())
	switch violated(err) {
	case "datastores_name":
		return exists("name", "there is a datastore %q already", d.Name)
	case "datastores_path":
		return exists("path", "there is a datastore at %s already", d.Path)
	}
	if err != nil {
		return fmt.Errorf("create datastore: %w", err)
	}
	return nil
}

// Datastore returns a datastore by id.
func (tx *Tx) Datastore(id int64) (baadal.Datastore, error) {
	return tx.datastore(id, "d.id = $1", id)
}

// DatastoreByRef returns a datastore by id or name.
func (tx *Tx) DatastoreByRef(ref string) (baadal.Datastore, error) {
	if id := refID(ref); id != 0 {
		if d, err := tx.Datastore(id); baadal.KindOf(err) != baadal.NotFound {
			return d, err
		}
	}
	return tx.datastore(ref, "d.name = $1", ref)
}

func (tx *Tx) datastore(ref any, where string, arg any) (baadal.Datastore, error) {
	d, err := scanDatastore(tx.queryRow(`SELECT `+datastoreColumns+` FROM datastores d`+datastoreJoins+` WHERE `+where, arg))
	if err != nil {
		return d, notFound(err, "datastore", ref)
	}
	return d, nil
}

// Datastores lists datastores.
func (tx *Tx) Datastores(q baadal.ListQuery) (baadal.List[baadal.Datastore], error) {
	return listRows(tx, listSpec{
		noun: "datastores", table: "datastores d", id: "d.id", columns: datastoreColumns, joins: datastoreJoins,
		keys:  map[string]filterKey{"state": equals("d.state"), "name": equalsFold("d.name"), "path": equals("d.path")},
		words: is(`(lower(d.name) LIKE ? ESCAPE '\' OR lower(d.path) LIKE ? ESCAPE '\')`),
		sorts: map[string]sortKey{
			"id": {expr: "d.id", number: true}, "name": {expr: "d.name"}, "path": {expr: "d.path"}, "state": {expr: "d.state"},
			"capacity_bytes": {expr: "d.capacity", number: true}, "free_bytes": {expr: "d.free", number: true},
			"created_at": {expr: "d.created_at", number: true},
		},
		sort:   "name",
		facets: map[string]facet{"state": {expr: "d.state"}},
	}, q, scanDatastore)
}

// AllDatastores returns every datastore by name.
func (tx *Tx) AllDatastores() ([]baadal.Datastore, error) {
	all, err := collect(tx, scanDatastore, `SELECT `+datastoreColumns+` FROM datastores d`+datastoreJoins+` ORDER BY d.name`)
	if err != nil {
		return nil, fmt.Errorf("read datastores: %w", err)
	}
	return all, nil
}

// SetDatastoreUsage notes what a look at a datastore told and which hosts have
// it mounted. Its generation rises only when its state, the reason or the
// hosts are others than before; changed tells so.
func (tx *Tx) SetDatastoreUsage(id int64, state, reason string, u baadal.DatastoreUsage, hosts []string) (changed bool, err error) {
	var oldState, oldReason, oldHosts string
	err = tx.queryRow(`SELECT state, reason, hosts FROM datastores WHERE id = $1`+tx.forUpdate(), id).Scan(&oldState, &oldReason, &oldHosts)
	if err != nil {
		return false, notFound(err, "datastore", id)
	}
	changed = state != oldState || reason != oldReason || encode(hosts) != oldHosts
	_, err = tx.exec(`UPDATE datastores SET state = $1, reason = $2, capacity = $3, used = $4, free = $5, hosts = $6, measured_at = $7,
		updated_at = $8, generation = generation + $9 WHERE id = $10`,
		state, reason, u.Capacity, u.Used, u.Free, encode(hosts), tx.now(), tx.now(), flag(changed), id)
	if err != nil {
		return false, fmt.Errorf("set datastore usage: %w", err)
	}
	return changed, nil
}

// DeleteDatastore forgets a datastore. It is a Conflict while VMs, those that
// can be restored included, or templates are on it.
func (tx *Tx) DeleteDatastore(id int64) error {
	d, err := tx.Datastore(id)
	if err != nil {
		return err
	}
	all, err := tx.count(`SELECT COUNT(*) FROM vms v WHERE v.datastore_id = $1`, id)
	if err != nil {
		return fmt.Errorf("count vms: %w", err)
	}
	disks, err := tx.count(`SELECT COUNT(*) FROM disks k WHERE k.datastore_id = $1`, id)
	if err != nil {
		return fmt.Errorf("count disks: %w", err)
	}
	moving, err := tx.count(`SELECT COUNT(*) FROM disk_moves m WHERE m.datastore_id = $1`, id)
	if err != nil {
		return fmt.Errorf("count disks on their way: %w", err)
	}
	backups, err := tx.count(`SELECT COUNT(*) FROM backups a WHERE a.datastore_id = $1`, id)
	if err != nil {
		return fmt.Errorf("count backups: %w", err)
	}
	inUse := baadal.Errorf(baadal.Conflict, "datastore %s is in use", d.Name).WithCode("datastore_in_use").
		WithDetail("%d VMs, %d deleted VMs that can be restored, %d extra disks, %d backups and %d templates are on it", d.VMs, all-d.VMs, disks, backups, d.Templates)
	if all+disks+moving+backups > 0 || d.Templates > 0 {
		return inUse
	}
	if _, err := tx.exec(`DELETE FROM templates WHERE datastore_id = $1 AND state = 'deleted'`, id); err != nil {
		return fmt.Errorf("forget templates: %w", err)
	}
	_, err = tx.exec(`DELETE FROM datastores WHERE id = $1`, id)
	if dangling(err) { // something came between
		return inUse.WithDetail("something was put on it just now")
	}
	if err != nil {
		return fmt.Errorf("delete datastore: %w", err)
	}
	return nil
}
