package store

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"baadal"
)

// CreateVM stores a new VM and fills in id, generation and times. A name that
// the owner uses already, and an identity or UUID that is taken, is a Conflict.
func (tx *Tx) CreateVM(v *baadal.VM) error {
	v.Generation, v.CreatedAt, v.UpdatedAt, v.StateSince = 1, tx.at, tx.at, tx.at
	if v.Autostart == "" {
		v.Autostart = baadal.AutostartLast
	}
	if len(v.Boot) == 0 {
		v.Boot = baadal.DefaultBoot()
	}
	var err error
	v.ID, err = tx.insert(`INSERT INTO vms (uuid, name, identity, owner_id, requester_id, organisation_id, host_id, datastore_id, template_id,
		network_id, vcpus, ram_mib, disk_gib, state, reason, state_since, placement, purpose, ssh_keys, created_at, updated_at, boot, autostart, max_ram_mib)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24) RETURNING id`,
		v.UUID, v.Name, v.Identity, v.OwnerID, v.RequesterID, v.OrganisationID, idOrNull(v.HostID), v.DatastoreID, idOrNull(v.TemplateID),
		v.NetworkID, v.VCPUs, v.RAMMiB, v.DiskGiB, int(v.State), v.Reason, tx.now(), v.Placement, v.Purpose, encode(v.SSHKeys), tx.now(), tx.now(), bootText(v.Boot), string(v.Autostart), v.MaxRAMMiB)
	return vmError("create vm", err)
}

func vmError(operation string, err error) error {
	switch violated(err) {
	case "vms_owner_name":
		return exists("name", "VM name should be unique for the user. Choose another name.")
	case "vms_identity":
		return exists("name", "VM name should be unique for the user. Choose another name.").
			WithDetail("another VM has the same identity, which is made of organisation, owner and name")
	case "vms_uuid":
		return exists("uuid", "the UUID belongs to another VM")
	}
	if dangling(err) {
		return baadal.Errorf(baadal.Conflict, "something that the VM needs was removed just now").WithCode("removed").
			WithDetail("its owner, host, datastore, template or security domain is gone")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	return nil
}

// VM returns a VM by id, deleted ones included.
func (tx *Tx) VM(id int64) (baadal.VM, error) { return tx.vm(id, "v.id = $1", id) }

// VMByUUID returns a VM by its domain's UUID, deleted ones included.
func (tx *Tx) VMByUUID(uuid string) (baadal.VM, error) { return tx.vm(uuid, "v.uuid = $1", uuid) }

func (tx *Tx) vm(ref any, where string, arg any) (baadal.VM, error) {
	v, err := newVMScan(true).scan(tx.queryRow(`SELECT `+vmColumns+vmNameColumns+` FROM vms v`+vmJoins+vmNameJoins+` WHERE `+where, arg))
	if err != nil {
		return v, notFound(err, "VM", ref)
	}
	return v, nil
}

// VMByRef finds a VM by id, UUID or name among those that vis lets see; the
// others do not exist. A deleted VM is found by its name only if no other has
// it. A name that several have is a Conflict that lists them.
func (tx *Tx) VMByRef(ref string, vis baadal.Visibility) (baadal.VM, error) {
	see := vmsVisible(vis)
	for _, match := range []cond{
		is("v.id = ?", refID(ref)), is("v.uuid = ?", strings.ToLower(ref)),
		is("v.state <> 5 AND lower(v.name) = lower(?)", ref), is("v.state = 5 AND lower(v.name) = lower(?)", ref),
	} {
		c := join(" AND ", []cond{match, see})
		found, err := collect(tx, newVMScan(true).scan,
			number(`SELECT `+vmColumns+vmNameColumns+` FROM vms v`+vmJoins+vmNameJoins+` WHERE `+c.sql+` ORDER BY v.id LIMIT 10`), c.args...)
		if err != nil {
			return baadal.VM{}, fmt.Errorf("find VM: %w", err)
		}
		if len(found) == 1 {
			return found[0], nil
		}
		if len(found) > 1 {
			names := make([]string, len(found))
			for i, v := range found {
				names[i] = fmt.Sprintf("%d (of %s)", v.ID, v.Owner)
			}
			return baadal.VM{}, baadal.Errorf(baadal.Conflict, "there are several VMs %q", ref).WithCode("ambiguous").
				WithDetail("say which by its id: %s", strings.Join(names, ", "))
		}
	}
	return baadal.VM{}, missing("VM", ref)
}

// VMForUpdate is VMByRef for a VM that the transaction is going to change: until
// it ends nobody else changes the VM's row, and what was read of it is the
// newest. Of two that wish to change it at the same time the second sees the
// task of the first. Who locks "placement" too does so before.
func (tx *Tx) VMForUpdate(ref string, vis baadal.Visibility) (baadal.VM, error) {
	v, err := tx.VMByRef(ref, vis)
	if err != nil || !tx.db.shared {
		return v, err
	}
	if _, err := tx.exec(`SELECT id FROM vms WHERE id = $1 FOR NO KEY UPDATE`, v.ID); err != nil {
		return v, fmt.Errorf("lock VM: %w", err)
	}
	return tx.VM(v.ID)
}

func vmsVisible(vis baadal.Visibility) cond {
	return visible(vis, "v.organisation_id", "v.owner_id", "v.requester_id")
}

// VMs lists VMs. Deleted ones are left out unless the filter says state:deleted
// or state:any.
func (tx *Tx) VMs(q baadal.ListQuery, vis baadal.Visibility) (baadal.List[baadal.VM], error) {
	list, err := listRows(tx, vmList(vis), q, newVMScan(false).scan)
	if err != nil {
		return list, err
	}
	return list, tx.nameVMs(list.Items)
}

func vmList(vis baadal.Visibility) listSpec {
	byState := stateKey("v.state", baadal.VMStates())
	return listSpec{
		noun: "vms", table: "vms v", id: "v.id", columns: vmColumns, joins: vmJoins,
		where:  []cond{vmsVisible(vis)},
		hidden: map[string]cond{"state": is("v.state <> 5")},
		keys: map[string]filterKey{
			"state": func(s string) (cond, error) {
				if s == "any" {
					return is("1 = 1"), nil
				}
				return byState(s)
			},
			"host": named("v.host_id", "hosts", "name"), "owner": named("v.owner_id", "users", "username"),
			"org": named("v.organisation_id", "organisations", "name"), "template": named("v.template_id", "templates", "name"),
			"network": vmsInNetwork, "domain": vmsInNetwork,
			"datastore": named("v.datastore_id", "datastores", "name"), "cdrom": named("v.cdrom_id", "templates", "name"), "autostart": equals("v.autostart"), "name": equalsFold("v.name"),
			"address": vmsWithAddress,
			"mac": func(s string) (cond, error) {
				return is("v.id IN (SELECT vm_id FROM addresses WHERE mac = ?)", strings.ToUpper(s)), nil
			},
		},
		find: findVMs,
		sorts: map[string]sortKey{
			"id": {expr: "v.id", number: true}, "name": {expr: "lower(v.name)", index: true},
			"state":      {expr: "v.state", number: true, index: true},
			"host":       {expr: "COALESCE(sh.name, '')", join: "LEFT JOIN hosts sh ON sh.id = v.host_id"},
			"owner":      {expr: "su.username", join: "JOIN users su ON su.id = v.owner_id"},
			"created_at": {expr: "v.created_at", number: true, index: true}, "ram_mib": {expr: "v.ram_mib", number: true}, "vcpus": {expr: "v.vcpus", number: true},
		},
		sort: "id",
		facets: map[string]facet{
			"state": stateFacet[baadal.VMState]("v.state"), "host": {expr: "v.host_id", table: "hosts"}, "network": {expr: "v.network_id", table: "networks"},
			"template": {expr: "v.template_id", table: "templates"}, "organisation": {expr: "v.organisation_id", table: "organisations"},
		},
	}
}

// vmsInNetwork finds the VMs with any NIC in a network, and deleted ones whose
// first NIC was in it.
func vmsInNetwork(name string) (cond, error) {
	return is(`(v.network_id IN (SELECT id FROM networks WHERE name = ?) OR v.id IN
		(SELECT a.vm_id FROM addresses a JOIN networks n ON n.id = a.network_id WHERE n.name = ? AND a.vm_id IS NOT NULL AND a.nic > 0))`, name, name), nil
}

// vmsWithAddress finds the VM that has an address; one of IPv6 says which MAC and
// network it belongs to.
func vmsWithAddress(address string) (cond, error) {
	if ip, err := netip.ParseAddr(address); err == nil && ip.Is6() {
		prefix, mac := baadal.SplitIPv6(ip)
		return is("v.id IN (SELECT a.vm_id FROM addresses a JOIN networks n ON n.id = a.network_id WHERE a.mac = ? AND a.nic >= 0 AND n.ipv6_prefix = ?)", mac, prefix), nil
	}
	return is("v.id IN (SELECT vm_id FROM addresses WHERE ip = ?)", address), nil
}

var addressLike = regexp.MustCompile(`^[0-9]+\.[0-9.]*$`)

// findVMs finds a word in the identity, which ends with the name, in the
// owner, and in the address or MAC if it looks like one.
func findVMs(word string) cond {
	in := `lower(v.identity) LIKE ? ESCAPE '\' OR v.owner_id IN (SELECT id FROM users WHERE lower(username) LIKE ? ESCAPE '\')`
	switch {
	case addressLike.MatchString(word):
		in += ` OR v.id IN (SELECT vm_id FROM addresses WHERE vm_id IS NOT NULL AND ip LIKE ? ESCAPE '\')`
	case wordLike.MatchString(word):
		in += ` OR v.id IN (SELECT vm_id FROM addresses WHERE vm_id IS NOT NULL AND lower(mac) LIKE ? ESCAPE '\')`
	}
	return like("("+in+")", word)
}

// AllVMs returns every VM by id, deleted ones that can be restored included.
func (tx *Tx) AllVMs() ([]baadal.VM, error) {
	n, err := tx.count(`SELECT COUNT(*) FROM vms`)
	if err != nil {
		return nil, fmt.Errorf("count vms: %w", err)
	}
	return tx.vms(n, "1 = 1")
}

// VMsOnHost returns the VMs of a host that are not deleted, by id.
func (tx *Tx) VMsOnHost(hostID int64) ([]baadal.VM, error) {
	return tx.vms(0, "v.host_id = $1 AND v.state <> 5", hostID)
}

// vms reads VMs; size is how many there will be about, 0 if nobody knows.
func (tx *Tx) vms(size int, where string, args ...any) ([]baadal.VM, error) {
	all, err := collectN(tx, newVMScan(false).scan, size, `SELECT `+vmColumns+` FROM vms v`+vmJoins+` WHERE `+where+` ORDER BY v.id`, args...)
	if err != nil {
		return nil, fmt.Errorf("read vms: %w", err)
	}
	return all, tx.nameVMs(all)
}

// UpdateVM stores what may change of a VM, if its generation is still the
// current one, and raises it in v. UUID, identity, owner and claims stay as
// they are.
func (tx *Tx) UpdateVM(v *baadal.VM) error {
	var since int64
	err := tx.queryRow(`UPDATE vms SET name = $1, host_id = $2, datastore_id = $3, vcpus = $4, ram_mib = $5, disk_gib = $6,
		live_vcpus = $20, live_ram_mib = $21, hot_cpus = $22, boot = $23, autostart = $24, max_ram_mib = $25,
		state_since = CASE WHEN state = $7 THEN state_since ELSE $8 END, state = $9, reason = $10, answered_at = $11, placement = $12,
		purpose = $13, ssh_keys = $14, deleted_at = $15, purge_after = $16, updated_at = $17, generation = generation + 1
		WHERE id = $18 AND generation = $19 RETURNING generation, state_since`,
		v.Name, idOrNull(v.HostID), v.DatastoreID, v.VCPUs, v.RAMMiB, v.DiskGiB,
		int(v.State), tx.now(), int(v.State), v.Reason, msPtr(v.AnsweredAt), v.Placement,
		v.Purpose, encode(v.SSHKeys), msPtr(v.DeletedAt), msPtr(v.PurgeAfter), tx.now(), v.ID, v.Generation,
		v.LiveVCPUs, v.LiveRAMMiB, flag(v.HotCPUs), bootText(v.Boot), string(v.Autostart), v.MaxRAMMiB).Scan(&v.Generation, &since)
	if isNoRows(err) {
		return tx.stale("vms", "VM", v.ID, v.Generation)
	}
	if err != nil {
		return vmError("update vm", err)
	}
	v.StateSince, v.UpdatedAt = timeOf(since), tx.at
	return nil
}

// SetVMState notes the state of a VM and why. One that is off, and not saved,
// runs with nothing any more: its next start is a cold one. changed tells whether either is
// another than before; only then its generation rises. It returns the VM as it
// is afterwards.
func (tx *Tx) SetVMState(id int64, state baadal.VMState, reason string) (changed bool, vm baadal.VM, err error) {
	keep := 1 // what it runs with; a VM that is off and not saved runs with nothing
	if (state == baadal.VMOff && reason != baadal.OffReason(true)) || state == baadal.VMCrashed || state == baadal.VMDeleted {
		keep = 0
	}
	n, err := tx.affected(`UPDATE vms SET state_since = CASE WHEN state = $1 THEN state_since ELSE $2 END, state = $3, reason = $4, updated_at = $5,
		live_vcpus = live_vcpus * $9, live_ram_mib = live_ram_mib * $10, hot_cpus = hot_cpus * $11,
		cdrom_id = CASE WHEN $12 = 1 THEN NULL ELSE cdrom_id END,
		generation = generation + 1 WHERE id = $6 AND (state <> $7 OR reason <> $8)`,
		int(state), tx.now(), int(state), reason, tx.now(), id, int(state), reason, keep, keep, keep, flag(state == baadal.VMDeleted))
	if err != nil {
		return false, vm, vmError("set vm state", err)
	}
	vm, err = tx.VM(id)
	return n > 0, vm, err
}

// SetVMAnswered notes when a VM's address first answered after its start; nil
// forgets it. Idempotent.
func (tx *Tx) SetVMAnswered(id int64, at *time.Time) error {
	_, err := tx.exec(`UPDATE vms SET answered_at = $1, updated_at = $2, generation = generation + 1 WHERE id = $3 AND COALESCE(answered_at, -1) <> $4`,
		msPtr(at), tx.now(), id, msOr(at, -1))
	if err != nil {
		return fmt.Errorf("set answer of vm: %w", err)
	}
	return nil
}

func msOr(t *time.Time, missing int64) int64 {
	if t == nil {
		return missing
	}
	return ms(*t)
}

// DeleteVM forgets a VM and gives back everything it had claimed. Idempotent.
func (tx *Tx) DeleteVM(id int64) error {
	if err := tx.leaveNAT(id, false); err != nil {
		return err
	}
	if err := tx.ReleaseAddress(id); err != nil {
		return err
	}
	if err := tx.ReleaseVNCPort(id); err != nil {
		return err
	}
	if err := tx.forgetConsoles(id); err != nil {
		return err
	}
	if _, err := tx.exec(`DELETE FROM vms WHERE id = $1`, id); err != nil {
		return fmt.Errorf("delete vm: %w", err)
	}
	return nil
}

// VMNames returns the names of an owner's VMs in lower case.
func (tx *Tx) VMNames(ownerID int64) (map[string]bool, error) {
	names, err := collect(tx, func(r row) (name string, err error) { return name, r.Scan(&name) },
		`SELECT lower(v.name) FROM vms v WHERE v.owner_id = $1 AND v.state <> 5`, ownerID)
	if err != nil {
		return nil, fmt.Errorf("read names of vms: %w", err)
	}
	taken := make(map[string]bool, len(names))
	for _, n := range names {
		taken[n] = true
	}
	return taken, nil
}
