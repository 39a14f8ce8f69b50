package store

import (
	"database/sql"
	"fmt"
	"strings"

	"baadal"
)

const affinityColumns = `f.id, f.name, f.generation, f.rule, f.owner_id, u.username, f.organisation_id, o.name, f.created_at, f.updated_at`

const affinityJoins = ` JOIN users u ON u.id = f.owner_id JOIN organisations o ON o.id = f.organisation_id`

func scanAffinity(r row) (f baadal.Affinity, err error) {
	var created, updated int64
	err = r.Scan(&f.ID, &f.Name, &f.Generation, &f.Rule, &f.OwnerID, &f.Owner, &f.OrganisationID, &f.Organisation, &created, &updated)
	f.CreatedAt, f.UpdatedAt, f.Members = timeOf(created), timeOf(updated), []baadal.AffinityMember{}
	return f, err
}

// CreateAffinity stores a group without members and fills in id, generation and
// times. A name that the owner uses for another group is a Conflict.
func (tx *Tx) CreateAffinity(f *baadal.Affinity) (err error) {
	f.Generation, f.CreatedAt, f.UpdatedAt = 1, tx.at, tx.at
	f.ID, err = tx.insert(`INSERT INTO affinities (name, rule, owner_id, organisation_id, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6) RETURNING id`, f.Name, string(f.Rule), f.OwnerID, f.OrganisationID, tx.now(), tx.now())
	return affinityError("create affinity group", f, err)
}

func affinityError(operation string, f *baadal.Affinity, err error) error {
	if violated(err) == "affinities_owner_name" {
		return exists("name", "there is an affinity group %q already", f.Name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	return nil
}

// UpdateAffinity stores name and rule, if the generation is still the current
// one, and raises it in f.
func (tx *Tx) UpdateAffinity(f *baadal.Affinity) error {
	n, err := tx.affected(`UPDATE affinities SET name = $1, rule = $2, updated_at = $3, generation = generation + 1 WHERE id = $4 AND generation = $5`,
		f.Name, string(f.Rule), tx.now(), f.ID, f.Generation)
	if err != nil {
		return affinityError("update affinity group", f, err)
	}
	if n == 0 {
		return tx.stale("affinities", "affinity group", f.ID, f.Generation)
	}
	f.Generation, f.UpdatedAt = f.Generation+1, tx.at
	return nil
}

// DeleteAffinity forgets a group; its members stay as they are.
func (tx *Tx) DeleteAffinity(id int64) error {
	n, err := tx.affected(`DELETE FROM affinities WHERE id = $1`, id)
	if err != nil {
		return fmt.Errorf("delete affinity group: %w", err)
	}
	if n == 0 {
		return missing("affinity group", id)
	}
	return nil
}

// JoinAffinity makes a VM a member of a group. One that is one stays one.
func (tx *Tx) JoinAffinity(id, vmID int64) error {
	_, err := tx.exec(`INSERT INTO affinity_members (affinity_id, vm_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`, id, vmID)
	if dangling(err) {
		return baadal.Errorf(baadal.Conflict, "the affinity group or the VM was removed just now").WithCode("removed")
	}
	if err != nil {
		return fmt.Errorf("join affinity group: %w", err)
	}
	return nil
}

// LeaveAffinity ends the membership of a VM. None is no error.
func (tx *Tx) LeaveAffinity(id, vmID int64) error {
	if _, err := tx.exec(`DELETE FROM affinity_members WHERE affinity_id = $1 AND vm_id = $2`, id, vmID); err != nil {
		return fmt.Errorf("leave affinity group: %w", err)
	}
	return nil
}

// Affinity returns a group with its members by id.
func (tx *Tx) Affinity(id int64) (baadal.Affinity, error) {
	f, err := scanAffinity(tx.queryRow(`SELECT `+affinityColumns+` FROM affinities f`+affinityJoins+` WHERE f.id = $1`, id))
	if err != nil {
		return f, notFound(err, "affinity group", id)
	}
	all := []baadal.Affinity{f}
	err = tx.addMembers(all)
	return all[0], err
}

// AffinityByRef finds a group by id or name among those that vis lets see. A
// name that several owners use is a Conflict that lists them.
func (tx *Tx) AffinityByRef(ref string, vis baadal.Visibility) (baadal.Affinity, error) {
	see := affinitiesVisible(vis)
	for _, match := range []cond{is("f.id = ?", refID(ref)), is("lower(f.name) = lower(?)", ref)} {
		c := join(" AND ", []cond{match, see})
		found, err := collect(tx, scanAffinity, number(`SELECT `+affinityColumns+` FROM affinities f`+affinityJoins+` WHERE `+c.sql+` ORDER BY f.id LIMIT 10`), c.args...)
		if err != nil {
			return baadal.Affinity{}, fmt.Errorf("find affinity group: %w", err)
		}
		if len(found) == 1 {
			return found[0], tx.addMembers(found)
		}
		if len(found) > 1 {
			names := make([]string, len(found))
			for i, f := range found {
				names[i] = fmt.Sprintf("%d (of %s)", f.ID, f.Owner)
			}
			return baadal.Affinity{}, baadal.Errorf(baadal.Conflict, "there are several affinity groups %q", ref).WithCode("ambiguous").
				WithDetail("say which by its id: %s", strings.Join(names, ", "))
		}
	}
	return baadal.Affinity{}, missing("affinity group", ref)
}

func affinitiesVisible(vis baadal.Visibility) cond {
	return visible(vis, "f.organisation_id", "f.owner_id")
}

// Affinities lists groups with their members.
func (tx *Tx) Affinities(q baadal.ListQuery, vis baadal.Visibility) (baadal.List[baadal.Affinity], error) {
	list, err := listRows(tx, listSpec{
		noun: "affinities", table: "affinities f", id: "f.id", columns: affinityColumns, joins: affinityJoins,
		where: []cond{affinitiesVisible(vis)},
		keys: map[string]filterKey{
			"name": equalsFold("f.name"), "rule": equals("f.rule"), "owner": named("f.owner_id", "users", "username"),
			"org": named("f.organisation_id", "organisations", "name"),
			"vm": func(v string) (cond, error) {
				return is("f.id IN (SELECT m.affinity_id FROM affinity_members m JOIN vms v ON v.id = m.vm_id WHERE lower(v.name) = lower(?))", v), nil
			},
		},
		words:  is(`lower(f.name) LIKE ? ESCAPE '\'`),
		sorts:  map[string]sortKey{"id": {expr: "f.id", number: true}, "name": {expr: "lower(f.name)"}, "created_at": {expr: "f.created_at", number: true}},
		sort:   "name",
		facets: map[string]facet{"rule": {expr: "f.rule"}},
	}, q, scanAffinity)
	if err != nil {
		return list, err
	}
	return list, tx.addMembers(list.Items)
}

// memberOf is a member of a group, with the group.
type memberOf struct {
	baadal.AffinityMember
	group int64
}

func scanMember(r row) (m memberOf, err error) {
	var host, target sql.NullInt64
	var busy int
	err = r.Scan(&m.group, &m.VMID, &m.VM, &m.Owner, &m.State, &m.Host, &host, &target, &m.OwnerID, &m.OrganisationID, &busy)
	m.HostID, m.TargetID, m.Busy = host.Int64, target.Int64, busy != 0
	return m, err
}

// addMembers reads the members of groups.
func (tx *Tx) addMembers(all []baadal.Affinity) error {
	if len(all) == 0 {
		return nil
	}
	index := make(map[int64]int, len(all))
	ids := make([]int64, len(all))
	for i, f := range all {
		index[f.ID], ids[i] = i, f.ID
	}
	const most = 500
	for first := 0; first < len(ids); first += most {
		c := oneOf("m.affinity_id", ids[first:min(first+most, len(ids))])
		members, err := collect(tx, scanMember, number(`SELECT m.affinity_id, v.id, v.name, u.username, v.state, COALESCE(h.name, ''), v.host_id, v.target_host_id, v.owner_id, v.organisation_id,
			CASE WHEN EXISTS (SELECT 1 FROM tasks k WHERE k.subject_kind = 'vm' AND k.subject_id = v.id AND k.active = 1 AND k.exclusive = 1) THEN 1 ELSE 0 END
			FROM affinity_members m JOIN vms v ON v.id = m.vm_id JOIN users u ON u.id = v.owner_id LEFT JOIN hosts h ON h.id = v.host_id
			WHERE `+c.sql+` ORDER BY lower(v.name), v.id`), c.args...)
		if err != nil {
			return fmt.Errorf("read members of affinity groups: %w", err)
		}
		for _, m := range members {
			f := &all[index[m.group]]
			f.Members = append(f.Members, m.AffinityMember)
		}
	}
	return nil
}

// VMRules returns the rules that the place of a VM is to obey.
func (tx *Tx) VMRules(vmID int64) (r baadal.VMRules, err error) {
	r.Hosts, err = collect(tx, func(row row) (h baadal.HostRef, err error) { return h, row.Scan(&h.ID, &h.Name) },
		`SELECT h.id, h.name FROM vm_hosts x JOIN hosts h ON h.id = x.host_id WHERE x.vm_id = $1 ORDER BY h.name`, vmID)
	if err != nil {
		return r, fmt.Errorf("read hosts of vm: %w", err)
	}
	r.Groups, err = collect(tx, scanAffinity, `SELECT `+affinityColumns+` FROM affinities f`+affinityJoins+
		` WHERE f.id IN (SELECT affinity_id FROM affinity_members WHERE vm_id = $1) ORDER BY f.id`, vmID)
	if err != nil {
		return r, fmt.Errorf("read affinity groups of vm: %w", err)
	}
	return r, tx.addMembers(r.Groups)
}

// AllVMRules returns the rules of all VMs that have any, by the VM's id.
func (tx *Tx) AllVMRules() (map[int64]baadal.VMRules, error) {
	type pair struct {
		vm   int64
		host baadal.HostRef
	}
	pairs, err := collect(tx, func(r row) (p pair, err error) { return p, r.Scan(&p.vm, &p.host.ID, &p.host.Name) },
		`SELECT x.vm_id, h.id, h.name FROM vm_hosts x JOIN hosts h ON h.id = x.host_id ORDER BY h.name`)
	if err != nil {
		return nil, fmt.Errorf("read hosts of vms: %w", err)
	}
	groups, err := collect(tx, scanAffinity, `SELECT `+affinityColumns+` FROM affinities f`+affinityJoins+` ORDER BY f.id`)
	if err != nil {
		return nil, fmt.Errorf("read affinity groups: %w", err)
	}
	if err := tx.addMembers(groups); err != nil {
		return nil, err
	}
	all := map[int64]baadal.VMRules{}
	for _, p := range pairs {
		r := all[p.vm]
		r.Hosts = append(r.Hosts, p.host)
		all[p.vm] = r
	}
	for _, g := range groups {
		for _, m := range g.Members {
			r := all[m.VMID]
			r.Groups = append(r.Groups, g)
			all[m.VMID] = r
		}
	}
	return all, nil
}

// SetVMHosts stores the hosts that a VM may run on; none are any.
func (tx *Tx) SetVMHosts(vmID int64, hosts []int64) error {
	if _, err := tx.exec(`DELETE FROM vm_hosts WHERE vm_id = $1`, vmID); err != nil {
		return fmt.Errorf("set hosts of vm: %w", err)
	}
	for _, h := range hosts {
		_, err := tx.exec(`INSERT INTO vm_hosts (vm_id, host_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`, vmID, h)
		if err != nil {
			return vmError("set hosts of vm", err)
		}
	}
	return nil
}

// BoundVMs names the first VMs that may run on a host and on no other; deleted
// ones do not count.
func (tx *Tx) BoundVMs(hostID int64) ([]string, error) {
	return tx.vmNames(`v.state <> 5 AND v.id IN (SELECT x.vm_id FROM vm_hosts x WHERE x.host_id = $1
		AND NOT EXISTS (SELECT 1 FROM vm_hosts y WHERE y.vm_id = x.vm_id AND y.host_id <> x.host_id))`, hostID)
}

// HostCPUs returns what is known of the CPUs of all hosts, by id.
func (tx *Tx) HostCPUs() (map[int64]string, error) {
	type one struct {
		id  int64
		cpu string
	}
	found, err := collect(tx, func(r row) (o one, err error) { return o, r.Scan(&o.id, &o.cpu) }, `SELECT id, cpu FROM hosts WHERE cpu <> ''`)
	if err != nil {
		return nil, fmt.Errorf("read CPUs of hosts: %w", err)
	}
	all := make(map[int64]string, len(found))
	for _, o := range found {
		all[o.id] = o.cpu
	}
	return all, nil
}
