package store

import (
	"database/sql"
	"fmt"
	"strings"

	"baadal"
)

const templateColumns = `m.id, m.name, m.generation, m.os, m.datastore_id, d.name, m.file, m.format, m.virtual_size, m.file_size, m.sha256, m.state,
	m.source, m.owner_id, u.username, m.organisation_id, m.created_at, m.updated_at, (SELECT COUNT(*) FROM vms v WHERE v.template_id = m.id)
	+ (SELECT COUNT(*) FROM vms c WHERE c.cdrom_id = m.id), m.kind, ` + taskRefColumns

var templateJoins = ` LEFT JOIN datastores d ON d.id = m.datastore_id LEFT JOIN users u ON u.id = m.owner_id` + taskRefJoin("template", "m.id")

func scanTemplate(r row) (m baadal.Template, err error) {
	var created, updated int64
	var owner sql.NullInt64
	var ownerName sql.NullString
	var ref taskRef
	err = r.Scan(append([]any{
		&m.ID, &m.Name, &m.Generation, &m.OS, &m.DatastoreID, &m.Datastore, &m.File, &m.Format, &m.VirtualSize, &m.FileSize,
		&m.SHA256, &m.State, &m.Source, &owner, &ownerName, &m.OrganisationID, &created, &updated, &m.VMs, &m.Kind,
	}, ref.dest()...)...)
	m.OwnerID, m.Owner = owner.Int64, ownerName.String
	m.CreatedAt, m.UpdatedAt, m.Task = timeOf(created), timeOf(updated), ref.get()
	return m, err
}

// taskRef reads the task that holds a row, with taskRefColumns and taskRefJoin.
type taskRef struct {
	id, state, progress sql.NullInt64
	kind, step          sql.NullString
}

const taskRefColumns = `k.id, k.kind, k.state, k.step, k.progress`

// taskRefJoin joins the one exclusive task that is active for a subject.
func taskRefJoin(subject, id string) string {
	return ` LEFT JOIN tasks k ON k.subject_kind = '` + subject + `' AND k.subject_id = ` + id + ` AND k.active = 1 AND k.exclusive = 1`
}

func (t *taskRef) dest() []any { return []any{&t.id, &t.kind, &t.state, &t.step, &t.progress} }

func (t *taskRef) get() *baadal.TaskRef {
	if !t.id.Valid {
		return nil
	}
	return &baadal.TaskRef{
		ID: t.id.Int64, Kind: baadal.TaskKind(t.kind.String), State: baadal.TaskState(t.state.Int64),
		Step: t.step.String, Progress: int(t.progress.Int64),
	}
}

// CreateTemplate stores a new template and fills in id, generation and times.
// A name or file that is taken is a Conflict.
func (tx *Tx) CreateTemplate(m *baadal.Template) error {
	m.Generation, m.CreatedAt, m.UpdatedAt = 1, tx.at, tx.at
	if m.Kind == "" {
		m.Kind = baadal.TemplateDisk
	}
	var err error
	m.ID, err = tx.insert(`INSERT INTO templates (kind, name, os, datastore_id, file, format, virtual_size, file_size, sha256, state, source,
		created_at, updated_at, owner_id, organisation_id) VALUES ($15, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) RETURNING id`,
		m.Name, m.OS, m.DatastoreID, m.File, m.Format, m.VirtualSize, m.FileSize, m.SHA256, m.State, m.Source, tx.now(), tx.now(),
		idOrNull(m.OwnerID), m.OrganisationID, m.Kind)
	if dangling(err) {
		return missing("datastore", m.DatastoreID)
	}
	return templateError("create template", m, err)
}

func templateError(operation string, m *baadal.Template, err error) error {
	switch violated(err) {
	case "templates_name":
		return exists("name", "there is a template %q already", m.Name)
	case "templates_datastore_id_file":
		return exists("file", "the file %s belongs to another template", m.File)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	return nil
}

// Template returns a template by id, deleted ones included.
func (tx *Tx) Template(id int64) (baadal.Template, error) { return tx.template(id, "m.id = $1", id) }

// TemplateByRef finds a template that everybody may use, by id or name; deleted
// ones only by id.
func (tx *Tx) TemplateByRef(ref string) (baadal.Template, error) {
	return tx.TemplateFor(ref, baadal.Visibility{})
}

// TemplateFor is TemplateByRef among the templates that everybody may use and
// those that vis lets see; the others do not exist. One's own comes before
// everybody's; a name that several others have is a Conflict that lists them.
func (tx *Tx) TemplateFor(ref string, vis baadal.Visibility) (baadal.Template, error) {
	see := templatesVisible(vis)
	for _, match := range []cond{is("m.id = ?", refID(ref)), is("m.name = ? AND m.state <> 'deleted'", ref)} {
		c := join(" AND ", []cond{match, see})
		found, err := collect(tx, scanTemplate, number(`SELECT `+templateColumns+` FROM templates m`+templateJoins+` WHERE `+c.sql+
			` ORDER BY CASE WHEN m.owner_id = ? THEN 0 WHEN m.owner_id IS NULL THEN 1 ELSE 2 END, m.id LIMIT 10`), append(c.args, vis.UserID)...)
		if err != nil {
			return baadal.Template{}, fmt.Errorf("find template: %w", err)
		}
		if len(found) == 0 {
			continue
		}
		if len(found) == 1 || found[0].OwnerID == 0 || found[0].OwnerID == vis.UserID {
			return found[0], nil
		}
		names := make([]string, len(found))
		for i, m := range found {
			names[i] = fmt.Sprintf("%d (of %s)", m.ID, m.Owner)
		}
		return baadal.Template{}, baadal.Errorf(baadal.Conflict, "there are several templates %q", ref).WithCode("ambiguous").
			WithDetail("say which by its id: %s", strings.Join(names, ", "))
	}
	return baadal.Template{}, missing("template", ref)
}

// templatesVisible is the condition for templates that somebody may see.
func templatesVisible(vis baadal.Visibility) cond {
	own := visible(vis, "m.organisation_id", "m.owner_id")
	return cond{"(m.owner_id IS NULL OR " + own.sql + ")", own.args}
}

func (tx *Tx) template(ref any, where string, arg any) (baadal.Template, error) {
	m, err := scanTemplate(tx.queryRow(`SELECT `+templateColumns+` FROM templates m`+templateJoins+` WHERE `+where, arg))
	if err != nil {
		return m, notFound(err, "template", ref)
	}
	return m, nil
}

// Templates lists the templates that everybody may use and those that vis lets
// see; deleted ones only if the filter asks for a state.
func (tx *Tx) Templates(q baadal.ListQuery, vis baadal.Visibility) (baadal.List[baadal.Template], error) {
	return listRows(tx, listSpec{
		noun: "templates", table: "templates m", id: "m.id", columns: templateColumns, joins: templateJoins,
		where:  []cond{templatesVisible(vis)},
		hidden: map[string]cond{"state": is("m.state <> 'deleted'")},
		keys: map[string]filterKey{
			"state": equals("m.state"), "name": equalsFold("m.name"), "datastore": named("m.datastore_id", "datastores", "name"),
			"format": equals("m.format"), "kind": equals("m.kind"), "owner": named("m.owner_id", "users", "username"),
		},
		words: is(`(lower(m.name) LIKE ? ESCAPE '\' OR lower(m.os) LIKE ? ESCAPE '\')`),
		sorts: map[string]sortKey{
			"id": {expr: "m.id", number: true}, "name": {expr: "m.name"}, "os": {expr: "m.os"}, "state": {expr: "m.state"},
			"virtual_size_bytes": {expr: "m.virtual_size", number: true}, "created_at": {expr: "m.created_at", number: true},
		},
		sort:   "name",
		facets: map[string]facet{"state": {expr: "m.state"}, "datastore": {expr: "m.datastore_id", table: "datastores"}},
	}, q, scanTemplate)
}

// AllTemplates returns every template that is not deleted, by name.
func (tx *Tx) AllTemplates() ([]baadal.Template, error) {
	all, err := collect(tx, scanTemplate, `SELECT `+templateColumns+` FROM templates m`+templateJoins+` WHERE m.state <> 'deleted' ORDER BY m.name`)
	if err != nil {
		return nil, fmt.Errorf("read templates: %w", err)
	}
	return all, nil
}

// UpdateTemplate stores a template, if its generation is still the current
// one, and raises it in m.
func (tx *Tx) UpdateTemplate(m *baadal.Template) error {
	n, err := tx.affected(`UPDATE templates SET name = $1, os = $2, file = $3, format = $4, virtual_size = $5, file_size = $6, sha256 = $7, state = $8,
		source = $9, updated_at = $10, generation = generation + 1 WHERE id = $11 AND generation = $12`,
		m.Name, m.OS, m.File, m.Format, m.VirtualSize, m.FileSize, m.SHA256, m.State, m.Source, tx.now(), m.ID, m.Generation)
	if err != nil {
		return templateError("update template", m, err)
	}
	if n == 0 {
		return tx.stale("templates", "template", m.ID, m.Generation)
	}
	m.Generation, m.UpdatedAt = m.Generation+1, tx.at
	return nil
}

// DeleteTemplate forgets a template. It is a Conflict while VMs stand on it,
// those that can be restored included.
func (tx *Tx) DeleteTemplate(id int64) error {
	m, err := tx.Template(id)
	if err != nil {
		return err
	}
	inUse := baadal.Errorf(baadal.Conflict, "template %s has %d VMs on it", m.Name, m.VMs).WithCode("template_in_use")
	if m.VMs > 0 {
		names, err := tx.vmNames("$1 IN (v.template_id, v.cdrom_id)", id)
		if err != nil {
			return err
		}
		return inUse.WithDetail("they are: %s", inWords(names, m.VMs))
	}
	_, err = tx.exec(`DELETE FROM templates WHERE id = $1`, id)
	if dangling(err) { // a VM came between
		return inUse.WithDetail("one was made just now")
	}
	if err != nil {
		return fmt.Errorf("delete template: %w", err)
	}
	return nil
}
