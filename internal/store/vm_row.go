package store

import (
	"database/sql"
	"fmt"
	"maps"
	"slices"

	"baadal"
)

// A VM is shown with the names of all that it refers to. One VM is read with
// them in one query. For many, that would join the same few names to every row
// again: there the rows are read first, and the names afterwards, once each.

// vmColumns are the VM's own columns and its claims, read with vmJoins.
const vmColumns = `v.id, v.uuid, v.name, v.identity, v.generation, v.owner_id, v.requester_id, v.organisation_id,
	v.host_id, v.datastore_id, v.template_id, v.network_id, v.vcpus, v.ram_mib, v.disk_gib, v.state, v.reason, v.state_since,
	v.answered_at, v.placement, v.purpose, v.ssh_keys, v.created_at, v.updated_at, v.deleted_at, v.purge_after, v.base_id, v.disk_file,
	v.live_vcpus, v.live_ram_mib, v.hot_cpus, v.boot, v.autostart, v.cdrom_id, v.max_ram_mib, a.ip, a.mac, p.port, pa.ip`

const vmJoins = ` LEFT JOIN addresses a ON a.vm_id = v.id AND a.nic = 0 LEFT JOIN vnc_ports p ON p.vm_id = v.id LEFT JOIN public_addresses pa ON pa.vm_id = v.id`

// vmNameColumns are the names, read with vmNameJoins.
const vmNameColumns = `, u.username, o.name, h.name, h.state, d.name, m.name, n.name, n.vlan, n.ipv6_prefix, COALESCE(cd.name, ''), ` + taskRefColumns

var vmNameJoins = ` JOIN users u ON u.id = v.owner_id
	JOIN organisations o ON o.id = v.organisation_id
	LEFT JOIN hosts h ON h.id = v.host_id
	JOIN datastores d ON d.id = v.datastore_id
	LEFT JOIN templates m ON m.id = v.template_id
	LEFT JOIN templates cd ON cd.id = v.cdrom_id
	JOIN networks n ON n.id = v.network_id` + taskRefJoin("vm", "v.id")

// vmScan reads rows of VMs, one after the other, with or without names.
type vmScan struct {
	vm                                                                        baadal.VM
	host, hostState, port, answered, deleted, purgeAft, base, template, cdrom sql.NullInt64
	hostName, templateName, ip, mac, public                                   sql.NullString
	prefix                                                                    string // of its network
	since, created, updated, hot                                              int64
	keys, boot                                                                string
	task                                                                      taskRef
	named                                                                     bool
	dest                                                                      []any
	keyLists                                                                  map[string][]string // VMs of one owner have the same keys
}

func newVMScan(named bool) *vmScan {
	s := &vmScan{named: named, keyLists: map[string][]string{}}
	v := &s.vm
	s.dest = []any{
		&v.ID, &v.UUID, &v.Name, &v.Identity, &v.Generation, &v.OwnerID, &v.RequesterID, &v.OrganisationID,
		&s.host, &v.DatastoreID, &s.template, &v.NetworkID, &v.VCPUs, &v.RAMMiB, &v.DiskGiB, &v.State, &v.Reason, &s.since,
		&s.answered, &v.Placement, &v.Purpose, &s.keys, &s.created, &s.updated, &s.deleted, &s.purgeAft, &s.base, &v.DiskFile,
		&v.LiveVCPUs, &v.LiveRAMMiB, &s.hot, &s.boot, &v.Autostart, &s.cdrom, &v.MaxRAMMiB, &s.ip, &s.mac, &s.port, &s.public,
	}
	if named {
		s.dest = append(s.dest, &v.Owner, &v.Organisation, &s.hostName, &s.hostState, &v.Datastore, &s.templateName, &v.Network, &v.VLAN, &s.prefix, &v.CDROM)
		s.dest = append(s.dest, s.task.dest()...)
	}
	return s
}

func (s *vmScan) scan(r row) (baadal.VM, error) {
	if err := r.Scan(s.dest...); err != nil {
		return baadal.VM{}, err
	}
	keys, ok := s.keyLists[s.keys]
	if !ok {
		var err error
		if keys, err = decode[string](s.keys); err != nil {
			return baadal.VM{}, err
		}
		s.keyLists[s.keys] = keys
	}
	v := s.vm
	v.SSHKeys = slices.Clone(keys)
	v.BaseID, v.TemplateID = s.base.Int64, s.template.Int64
	v.HotCPUs = s.hot != 0
	v.Boot, v.CDROMID = baadal.ParseBoot(s.boot), s.cdrom.Int64
	v.HostID, v.Address, v.MAC, v.VNCPort = s.host.Int64, s.ip.String, s.mac.String, int(s.port.Int64)
	v.Public = s.public.String
	v.StateSince, v.CreatedAt, v.UpdatedAt = timeOf(s.since), timeOf(s.created), timeOf(s.updated)
	v.AnsweredAt, v.DeletedAt, v.PurgeAfter = timePtr(s.answered), timePtr(s.deleted), timePtr(s.purgeAft)
	if s.named {
		v.Template, v.IPv6 = s.templateName.String, baadal.IPv6Address(s.prefix, v.MAC)
		v.Host, v.Reachable, v.Task = s.hostName.String, reachable(s.hostState.Valid, s.hostState.Int64), s.task.get()
	}
	return v, nil
}

// bootText is a boot order as its column has it: empty for the default.
func bootText(order []baadal.BootDevice) string {
	if slices.Equal(order, baadal.DefaultBoot()) {
		return ""
	}
	return baadal.JoinBoot(order)
}

// reachable tells whether the state of a VM can be known: it has no host, or
// its host answers.
func reachable(hasHost bool, hostState int64) bool {
	return !hasHost || baadal.HostState(hostState) != baadal.HostDown
}

// label is what is shown of a row that others refer to.
type label struct {
	id     int64
	name   string
	number int64  // a host's state, a network's VLAN
	text   string // a network's IPv6 prefix
}

// nameVMs fills in what vmNameColumns holds.
func (tx *Tx) nameVMs(vms []baadal.VM) error {
	if len(vms) == 0 {
		return nil
	}
	tasks, err := tx.vmTasks(vms)
	if err != nil {
		return err
	}
	for _, ref := range []struct {
		table, columns string
		id             func(*baadal.VM) int64
		set            func(*baadal.VM, label)
	}{
		{"users", "username, 0, ''", func(v *baadal.VM) int64 { return v.OwnerID }, func(v *baadal.VM, l label) { v.Owner = l.name }},
		{"organisations", "name, 0, ''", func(v *baadal.VM) int64 { return v.OrganisationID }, func(v *baadal.VM, l label) { v.Organisation = l.name }},
		{"hosts", "name, state, ''", func(v *baadal.VM) int64 { return v.HostID }, func(v *baadal.VM, l label) { v.Host, v.Reachable = l.name, reachable(l.id != 0, l.number) }},
		{"datastores", "name, 0, ''", func(v *baadal.VM) int64 { return v.DatastoreID }, func(v *baadal.VM, l label) { v.Datastore = l.name }},
		{"templates", "name, 0, ''", func(v *baadal.VM) int64 { return v.TemplateID }, func(v *baadal.VM, l label) { v.Template = l.name }},
		{"templates", "name, 0, ''", func(v *baadal.VM) int64 { return v.CDROMID }, func(v *baadal.VM, l label) { v.CDROM = l.name }},
		{"networks", "name, vlan, ipv6_prefix", func(v *baadal.VM) int64 { return v.NetworkID }, func(v *baadal.VM, l label) {
			v.Network, v.VLAN, v.IPv6 = l.name, int(l.number), baadal.IPv6Address(l.text, v.MAC)
		}},
	} {
		ids := map[int64]struct{}{}
		for i := range vms {
			ids[ref.id(&vms[i])] = struct{}{}
		}
		labels, err := tx.labels(ref.table, ref.columns, slices.Sorted(maps.Keys(ids)))
		if err != nil {
			return fmt.Errorf("read names of %s: %w", ref.table, err)
		}
		for i := range vms {
			ref.set(&vms[i], labels[ref.id(&vms[i])])
		}
	}
	for i := range vms {
		vms[i].Task = tasks[vms[i].ID]
	}
	return nil
}

// labels reads the names of some rows, a few by their ids, many by the range
// of these. The ids are sorted; those not found have no label.
func (tx *Tx) labels(table, columns string, ids []int64) (map[int64]label, error) {
	const few = 256
	where, args := "id BETWEEN $1 AND $2", []any{ids[0], ids[len(ids)-1]}
	if len(ids) <= few {
		size := 1 // a power of two, so that there are few different queries
		for size < len(ids) {
			size *= 2
		}
		c := oneOf("id", append(ids, slices.Repeat(ids[:1], size-len(ids))...))
		where, args = number(c.sql), c.args
	}
	found, err := collectN(tx, func(r row) (l label, err error) { return l, r.Scan(&l.id, &l.name, &l.number, &l.text) }, len(ids),
		`SELECT id, `+columns+` FROM `+table+` WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	labels := make(map[int64]label, len(found))
	for _, l := range found {
		labels[l.id] = l
	}
	return labels, nil
}

// vmTasks returns the tasks that hold VMs, by the VM's id. They are few.
func (tx *Tx) vmTasks(vms []baadal.VM) (map[int64]*baadal.TaskRef, error) {
	low, high := vms[0].ID, vms[0].ID
	for i := range vms {
		low, high = min(low, vms[i].ID), max(high, vms[i].ID)
	}
	rows, err := tx.query(`SELECT k.subject_id, `+taskRefColumns+` FROM tasks k WHERE k.subject_kind = 'vm' AND k.subject_id BETWEEN $1 AND $2
		AND k.active = 1 AND k.exclusive = 1`, low, high)
	if err != nil {
		return nil, fmt.Errorf("read tasks of vms: %w", err)
	}
	defer rows.Close()
	tasks := map[int64]*baadal.TaskRef{}
	for rows.Next() {
		var vm int64
		var ref taskRef
		if err := rows.Scan(append([]any{&vm}, ref.dest()...)...); err != nil {
			return nil, fmt.Errorf("read tasks of vms: %w", err)
		}
		tasks[vm] = ref.get()
	}
	return tasks, rows.Err()
}
