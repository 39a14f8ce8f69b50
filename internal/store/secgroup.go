package store

import (
	"fmt"
	"strings"

	"baadal"
)

const secGroupColumns = `g.id, g.name, g.generation, g.owner_id, u.username, g.organisation_id, o.name, g.created_at, g.updated_at`

const secGroupJoins = ` JOIN users u ON u.id = g.owner_id JOIN organisations o ON o.id = g.organisation_id`

func scanSecGroup(r row) (g baadal.SecGroup, err error) {
	var created, updated int64
	err = r.Scan(&g.ID, &g.Name, &g.Generation, &g.OwnerID, &g.Owner, &g.OrganisationID, &g.Organisation, &created, &updated)
	g.CreatedAt, g.UpdatedAt, g.Rules, g.VMs = timeOf(created), timeOf(updated), []baadal.SecRule{}, []string{}
	return g, err
}

// CreateSecGroup stores a group without rules and fills in id, generation and
// times. A name that the owner uses for another group is a Conflict.
func (tx *Tx) CreateSecGroup(g *baadal.SecGroup) (err error) {
	g.Generation, g.CreatedAt, g.UpdatedAt = 1, tx.at, tx.at
	g.ID, err = tx.insert(`INSERT INTO secgroups (name, owner_id, organisation_id, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5) RETURNING id`, g.Name, g.OwnerID, g.OrganisationID, tx.now(), tx.now())
	return secGroupError("create security group", g, err)
}

func secGroupError(operation string, g *baadal.SecGroup, err error) error {
	if violated(err) == "secgroups_owner_name" {
		return exists("name", "there is a security group %q already", g.Name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	return nil
}

// UpdateSecGroup stores the name, if the generation is still the current one,
// and raises it in g. It comes before a change of the rules.
func (tx *Tx) UpdateSecGroup(g *baadal.SecGroup) error {
	n, err := tx.affected(`UPDATE secgroups SET name = $1, updated_at = $2, generation = generation + 1 WHERE id = $3 AND generation = $4`,
		g.Name, tx.now(), g.ID, g.Generation)
	if err != nil {
		return secGroupError("update security group", g, err)
	}
	if n == 0 {
		return tx.stale("secgroups", "security group", g.ID, g.Generation)
	}
	g.Generation, g.UpdatedAt = g.Generation+1, tx.at
	return nil
}

// DeleteSecGroup forgets a group with its rules. One that a VM has, deleted ones
// included, is a Conflict that names it.
func (tx *Tx) DeleteSecGroup(id int64) error {
	names, err := tx.vmNames(`v.id IN (SELECT vm_id FROM vm_secgroups WHERE secgroup_id = $1)`, id)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return baadal.Errorf(baadal.Conflict, "VMs have this security group").WithCode("secgroup_in_use").WithDetail("%s", strings.Join(names, ", ")).
			WithNext("Take it from them", "baadal vm edit NAME --no-secgroup")
	}
	n, err := tx.affected(`DELETE FROM secgroups WHERE id = $1`, id)
	if dangling(err) {
		return baadal.Errorf(baadal.Conflict, "a VM was given this security group just now").WithCode("secgroup_in_use")
	}
	if err != nil {
		return fmt.Errorf("delete security group: %w", err)
	}
	if n == 0 {
		return missing("security group", id)
	}
	return nil
}

// AddSecRule adds a rule to a group. One that is there already stays as it is.
func (tx *Tx) AddSecRule(id int64, r baadal.SecRule) error {
	tx.Wake(TopicFlow)
	_, err := tx.exec(`INSERT INTO secgroup_rules (secgroup_id, direction, protocol, first_port, last_port, peer) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT DO NOTHING`, id, r.Direction, r.Protocol, r.First, r.Last, r.Peer)
	if err != nil {
		return fmt.Errorf("add rule: %w", err)
	}
	return nil
}

// RemoveSecRule removes a rule of a group; none of that number is NotFound.
func (tx *Tx) RemoveSecRule(id, rule int64) error {
	tx.Wake(TopicFlow)
	n, err := tx.affected(`DELETE FROM secgroup_rules WHERE secgroup_id = $1 AND id = $2`, id, rule)
	if err != nil {
		return fmt.Errorf("remove rule: %w", err)
	}
	if n == 0 {
		return missing("rule", rule)
	}
	return nil
}

// SecGroup returns a group with its rules and VMs by id.
func (tx *Tx) SecGroup(id int64) (baadal.SecGroup, error) {
	g, err := scanSecGroup(tx.queryRow(`SELECT `+secGroupColumns+` FROM secgroups g`+secGroupJoins+` WHERE g.id = $1`, id))
	if err != nil {
		return g, notFound(err, "security group", id)
	}
	all := []baadal.SecGroup{g}
	err = tx.fillSecGroups(all)
	return all[0], err
}

// SecGroupByRef finds a group by id or name among those that vis lets see. A
// name that several owners use is a Conflict that lists them.
func (tx *Tx) SecGroupByRef(ref string, vis baadal.Visibility) (baadal.SecGroup, error) {
	for _, match := range []cond{is("g.id = ?", refID(ref)), is("lower(g.name) = lower(?)", ref)} {
		c := join(" AND ", []cond{match, visible(vis, "g.organisation_id", "g.owner_id")})
		found, err := collect(tx, scanSecGroup, number(`SELECT `+secGroupColumns+` FROM secgroups g`+secGroupJoins+` WHERE `+c.sql+` ORDER BY g.id LIMIT 10`), c.args...)
		if err != nil {
			return baadal.SecGroup{}, fmt.Errorf("find security group: %w", err)
		}
		if len(found) == 1 {
			return found[0], tx.fillSecGroups(found)
		}
		if len(found) > 1 {
			names := make([]string, len(found))
			for i := range found {
				names[i] = fmt.Sprintf("%d (of %s)", found[i].ID, found[i].Owner)
			}
			return baadal.SecGroup{}, baadal.Errorf(baadal.Conflict, "there are several security groups %q", ref).WithCode("ambiguous").
				WithDetail("say which by its id: %s", strings.Join(names, ", "))
		}
	}
	return baadal.SecGroup{}, missing("security group", ref)
}

// SecGroups lists groups with their rules and VMs.
func (tx *Tx) SecGroups(q baadal.ListQuery, vis baadal.Visibility) (baadal.List[baadal.SecGroup], error) {
	list, err := listRows(tx, listSpec{
		noun: "security groups", table: "secgroups g", id: "g.id", columns: secGroupColumns, joins: secGroupJoins,
		where: []cond{visible(vis, "g.organisation_id", "g.owner_id")},
		keys: map[string]filterKey{
			"name": equalsFold("g.name"), "owner": named("g.owner_id", "users", "username"), "org": named("g.organisation_id", "organisations", "name"),
			"vm": func(v string) (cond, error) {
				return is("g.id IN (SELECT m.secgroup_id FROM vm_secgroups m JOIN vms v ON v.id = m.vm_id WHERE lower(v.name) = lower(?))", v), nil
			},
		},
		words: is(`lower(g.name) LIKE ? ESCAPE '\'`),
		sorts: map[string]sortKey{"id": {expr: "g.id", number: true}, "name": {expr: "lower(g.name)"}, "created_at": {expr: "g.created_at", number: true}},
		sort:  "name",
	}, q, scanSecGroup)
	if err != nil {
		return list, err
	}
	return list, tx.fillSecGroups(list.Items)
}

// fillSecGroups reads rules and VMs of groups.
func (tx *Tx) fillSecGroups(all []baadal.SecGroup) (err error) {
	for i := range all {
		g := &all[i]
		rules, err := collect(tx, scanSecRule, `SELECT r.id, r.direction, r.protocol, r.first_port, r.last_port, r.peer FROM secgroup_rules r WHERE r.secgroup_id = $1 ORDER BY r.id`, g.ID)
		if err != nil {
			return fmt.Errorf("read rules: %w", err)
		}
		vms, err := collect(tx, func(r row) (name string, err error) { return name, r.Scan(&name) },
			`SELECT v.name FROM vm_secgroups m JOIN vms v ON v.id = m.vm_id WHERE m.secgroup_id = $1 ORDER BY lower(v.name), v.id`, g.ID)
		if err != nil {
			return fmt.Errorf("read VMs of security group: %w", err)
		}
		g.Rules, g.VMs = append(g.Rules, rules...), append(g.VMs, vms...)
	}
	return nil
}

func scanSecRule(r row) (s baadal.SecRule, err error) {
	return s, r.Scan(&s.ID, &s.Direction, &s.Protocol, &s.First, &s.Last, &s.Peer)
}

// VMSecGroups returns the names of the groups that a VM has.
func (tx *Tx) VMSecGroups(vmID int64) ([]string, error) {
	names, err := collect(tx, func(r row) (name string, err error) { return name, r.Scan(&name) },
		`SELECT g.name FROM vm_secgroups m JOIN secgroups g ON g.id = m.secgroup_id WHERE m.vm_id = $1 ORDER BY lower(g.name), g.id`, vmID)
	if err != nil {
		return nil, fmt.Errorf("read security groups of vm: %w", err)
	}
	return names, nil
}

// SetVMSecGroups gives a VM these groups and no others.
func (tx *Tx) SetVMSecGroups(vmID int64, groups []int64) error {
	tx.Wake(TopicFlow)
	if _, err := tx.exec(`DELETE FROM vm_secgroups WHERE vm_id = $1`, vmID); err != nil {
		return fmt.Errorf("set security groups of vm: %w", err)
	}
	for _, g := range groups {
		_, err := tx.exec(`INSERT INTO vm_secgroups (vm_id, secgroup_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`, vmID, g)
		if dangling(err) {
			return baadal.Errorf(baadal.Conflict, "the security group was removed just now").WithCode("removed")
		}
		if err != nil {
			return fmt.Errorf("set security groups of vm: %w", err)
		}
	}
	return tx.checkSecRules(`m.vm_id = $1`, vmID)
}

// CheckSecRules refuses a group that gives a VM more rules than it can have.
func (tx *Tx) CheckSecRules(id int64) error {
	const shared = `SELECT a.vm_id FROM vm_secgroups a JOIN vm_secgroups b ON b.vm_id = a.vm_id AND b.secgroup_id <> a.secgroup_id WHERE a.secgroup_id = $1`
	return tx.checkSecRules(`m.vm_id IN (`+shared+`)`, id) // one group alone has fewer
}

func (tx *Tx) checkSecRules(where string, id int64) error {
	var name string
	var n int
	err := tx.queryRow(`SELECT v.name, COUNT(*) FROM vm_secgroups m JOIN vms v ON v.id = m.vm_id JOIN secgroup_rules r ON r.secgroup_id = m.secgroup_id
		WHERE `+where+` GROUP BY v.id, v.name HAVING COUNT(*) > $2 ORDER BY 2 DESC LIMIT 1`, id, baadal.MaxVMSecRules).Scan(&name, &n)
	if isNoRows(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("count rules of vms: %w", err)
	}
	return baadal.Errorf(baadal.Invalid, "%s would have %d firewall rules", name, n).WithDetail("all groups of a VM have %d together at most", baadal.MaxVMSecRules)
}

// VMSecGroupIDs returns the ids of the groups that a VM has, for another that is
// to be like it. No such VM has none.
func (tx *Tx) VMSecGroupIDs(vmID int64) ([]int64, error) {
	ids, err := collect(tx, func(r row) (id int64, err error) { return id, r.Scan(&id) }, `SELECT secgroup_id FROM vm_secgroups WHERE vm_id = $1 ORDER BY secgroup_id`, vmID)
	if err != nil {
		return nil, fmt.Errorf("read security groups of vm: %w", err)
	}
	return ids, nil
}

// addFirewalls reads the rules that the NICs' VMs have by their groups.
func (tx *Tx) addFirewalls(nics []baadal.FlowNIC) error {
	byVM := map[string][]int{}
	var uuids []string
	for i := range nics {
		if byVM[nics[i].VM] == nil {
			uuids = append(uuids, nics[i].VM)
		}
		byVM[nics[i].VM] = append(byVM[nics[i].VM], i)
	}
	type rule struct {
		vm   string
		rule *baadal.SecRule
	}
	const most = 500
	for first := 0; first < len(uuids); first += most {
		c := oneOf("v.uuid", uuids[first:min(first+most, len(uuids))])
		rules, err := collect(tx, func(r row) (x rule, err error) {
			s := baadal.SecRule{}
			err = r.Scan(&x.vm, &s.Direction, &s.Protocol, &s.First, &s.Last, &s.Peer)
			if s.Direction != "" { // else a group without rules
				x.rule = &s
			}
			return x, err
		}, number(`SELECT DISTINCT v.uuid, COALESCE(r.direction, ''), COALESCE(r.protocol, ''), COALESCE(r.first_port, 0), COALESCE(r.last_port, 0), COALESCE(r.peer, '')
			FROM vm_secgroups m JOIN vms v ON v.id = m.vm_id LEFT JOIN secgroup_rules r ON r.secgroup_id = m.secgroup_id
			WHERE `+c.sql+` ORDER BY 1, 2, 3, 4, 5, 6`), c.args...)
		if err != nil {
			return fmt.Errorf("read rules of VMs: %w", err)
		}
		for _, x := range rules {
			for _, i := range byVM[x.vm] {
				nics[i].Firewalled = true
				if x.rule != nil {
					nics[i].Rules = append(nics[i].Rules, *x.rule)
				}
			}
		}
	}
	return nil
}
