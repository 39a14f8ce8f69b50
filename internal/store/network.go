package store

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"

	"baadal"
)

const networkColumns = `n.id, n.name, n.generation, n.builtin, n.vlan, n.cidr, n.gateway, n.dns, n.bridge, n.portgroup, n.first, n.last, n.ranges, n.size,
	n.applied, n.visible, n.created_at, n.updated_at, n.ipv6_prefix,
	(SELECT COUNT(*) FROM addresses a WHERE a.network_id = n.id AND a.vm_id IS NOT NULL),
	(SELECT COUNT(*) FROM vms v WHERE v.network_id = n.id AND v.state <> 5), ` + taskRefColumns

var networkJoins = taskRefJoin("network", "n.id")

func scanNetwork(r row) (n baadal.Network, err error) {
	var created, updated int64
	var claimed int
	var dns, ranges string
	var ref taskRef
	err = r.Scan(append([]any{
		&n.ID, &n.Name, &n.Generation, &n.Builtin, &n.VLAN, &n.CIDR, &n.Gateway, &dns, &n.Bridge, &n.Portgroup, &n.First, &n.Last, &ranges,
		&n.Addresses, &n.Applied, &n.VisibleToAll, &created, &updated, &n.IPv6Prefix, &claimed, &n.VMs,
	}, ref.dest()...)...)
	if err != nil {
		return n, err
	}
	n.VLAN = max(n.VLAN, 0)
	if strings.HasPrefix(n.CIDR, noSubnet) {
		n.CIDR = ""
	}
	n.Free = n.Addresses - claimed
	n.CreatedAt, n.UpdatedAt, n.Task = timeOf(created), timeOf(updated), ref.get()
	if n.DNS, err = decode[string](dns); err != nil {
		return n, err
	}
	if ranges == "" {
		n.Ranges = []baadal.AddressRange{{First: n.First, Last: n.Last, Addresses: n.Addresses}}
		return n, nil
	}
	n.Ranges, err = decode[baadal.AddressRange](ranges)
	return n, err
}

// noSubnet begins what stands in the place of a subnet that is not there yet.
const noSubnet = "none:"

// vlanAndSubnet are the two as they are stored. In the place of what is not
// there yet stands a value that nobody else has.
func vlanAndSubnet(n *baadal.Network) (vlan int, cidr string) {
	vlan, cidr = n.VLAN, n.CIDR
	if vlan <= 0 {
		vlan = -1 - int(rand.Int32N(math.MaxInt32))
	}
	if cidr == "" {
		cidr = fmt.Sprint(noSubnet, rand.Uint64())
	}
	return vlan, cidr
}

// CreateNetwork stores a network with all its addresses, each with its MAC, and
// fills in id, generation, counts and times. A name, VLAN, subnet, address or
// MAC that is taken is a Conflict.
func (tx *Tx) CreateNetwork(n *baadal.Network, addresses []baadal.Address) error {
	n.Generation, n.CreatedAt, n.UpdatedAt, n.Addresses, n.Free = 1, tx.at, tx.at, len(addresses), len(addresses)
	vlan, cidr := vlanAndSubnet(n)
	var err error
	n.ID, err = tx.insert(`INSERT INTO networks (name, builtin, vlan, cidr, gateway, dns, bridge, portgroup, first, last, size, applied, visible, created_at, updated_at, ipv6_prefix)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) RETURNING id`, n.Name, n.Builtin, vlan, cidr, n.Gateway, encode(n.DNS), n.Bridge,
		n.Portgroup, n.First, n.Last, len(addresses), flag(n.Applied), flag(n.VisibleToAll), tx.now(), tx.now(), n.IPv6Prefix)
	if err != nil {
		return networkError("create network", n, err)
	}
	if err := tx.SetNetworkOrganisations(n.ID, n.OrganisationIDs); err != nil {
		return err
	}
	tx.wakeHosts()
	if err := tx.insertAddresses(n, addresses, addressFree); err != nil {
		return err
	}
	return tx.measureNetwork(n)
}

// wakeHosts has the hosts' networks, and the rules of their bridges, looked at: a
// VLAN that became ours is nobody else's, and what VMs may send follows from their
// network's prefix.
func (tx *Tx) wakeHosts() {
	tx.Wake(TopicNetwork)
	tx.Wake(TopicFlow)
}

// FillNetwork gives a built-in network, which has neither yet, its VLAN and its
// addresses. The rules of CreateNetwork hold.
func (tx *Tx) FillNetwork(n *baadal.Network, addresses []baadal.Address) error {
	if err := tx.UpdateNetwork(n); err != nil {
		return err
	}
	if err := tx.insertAddresses(n, addresses, addressFree); err != nil {
		return err
	}
	return tx.measureNetwork(n)
}

func (tx *Tx) insertAddresses(n *baadal.Network, addresses []baadal.Address, held int) error {
	// SQLite looks a placeholder up among all before it: many small inserts are faster.
	const columns, batch = 5, 100
	for first := 0; first < len(addresses); first += batch {
		part := addresses[first:min(first+batch, len(addresses))]
		args := make([]any, 0, columns*len(part))
		for _, a := range part {
			ip, err := netip.ParseAddr(a.IP)
			if err != nil || !ip.Is4() {
				return baadal.Errorf(baadal.Invalid, "%q is not an IPv4 address", a.IP)
			}
			args = append(args, n.ID, a.IP, int64(binary.BigEndian.Uint32(ip.AsSlice())), a.MAC, held)
		}
		_, err := tx.exec(`INSERT INTO addresses (network_id, ip, ip_num, mac, held) VALUES `+tuples(len(part), columns), args...)
		if err != nil {
			return networkError("store addresses", n, err)
		}
	}
	return nil
}

func networkError(operation string, n *baadal.Network, err error) error {
	switch violated(err) {
	case "networks_name":
		return exists("name", "there is a security domain %q already", n.Name)
	case "networks_vlan":
		return exists("vlan", "VLAN %d belongs to another security domain", n.VLAN)
	case "networks_cidr":
		return exists("cidr", "the subnet %s belongs to another security domain", n.CIDR)
	case "networks_ipv6_prefix":
		return exists("ipv6_prefix", "the IPv6 prefix %s belongs to another security domain", n.IPv6Prefix)
	case "networks_builtin":
		return exists("name", "the built-in security domain %s is there already", n.Builtin)
	case "addresses_ip":
		return exists("cidr", "addresses of %s belong to another security domain, or to this one already", n.CIDR)
	case "addresses_mac":
		return baadal.Errorf(baadal.Conflict, "a MAC address is taken").WithCode("mac_taken")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	return nil
}

// Network returns a network by id.
func (tx *Tx) Network(id int64) (baadal.Network, error) { return tx.network(id, "n.id = $1", id) }

// NetworkByRef returns a network by id or name.
func (tx *Tx) NetworkByRef(ref string) (baadal.Network, error) {
	if id := refID(ref); id != 0 {
		if n, err := tx.Network(id); baadal.KindOf(err) != baadal.NotFound {
			return n, err
		}
	}
	return tx.network(ref, "n.name = $1", ref)
}

func (tx *Tx) network(ref any, where string, arg any) (baadal.Network, error) {
	n, err := scanNetwork(tx.queryRow(`SELECT `+networkColumns+` FROM networks n`+networkJoins+` WHERE `+where, arg))
	if err != nil {
		return n, notFound(err, "security domain", ref)
	}
	one := []baadal.Network{n}
	err = tx.addOrganisations(one)
	return one[0], err
}

// Networks lists the networks that an organisation may use, or all for 0.
func (tx *Tx) Networks(q baadal.ListQuery, organisation int64) (baadal.List[baadal.Network], error) {
	var where []cond
	if organisation != 0 {
		where = []cond{is("(n.visible = 1 OR n.id IN (SELECT network_id FROM network_organisations WHERE organisation_id = ?))", organisation)}
	}
	list, err := listRows(tx, listSpec{
		noun: "networks", table: "networks n", id: "n.id", columns: networkColumns, joins: networkJoins, where: where,
		keys: map[string]filterKey{
			"name": equalsFold("n.name"), "cidr": equals("n.cidr"), "applied": truth("n.applied"),
			"vlan": func(v string) (cond, error) { return is("n.vlan = ?", refID(v)), nil },
		},
		words: is(`(lower(n.name) LIKE ? ESCAPE '\' OR n.cidr LIKE ? ESCAPE '\')`),
		sorts: map[string]sortKey{
			"id": {expr: "n.id", number: true}, "name": {expr: "n.name"}, "vlan": {expr: "n.vlan", number: true},
			"addresses": {expr: "n.size", number: true}, "created_at": {expr: "n.created_at", number: true},
		},
		sort: "name",
	}, q, scanNetwork)
	if err != nil {
		return list, err
	}
	return list, tx.addOrganisations(list.Items)
}

// AllNetworks returns every network by name.
func (tx *Tx) AllNetworks() ([]baadal.Network, error) {
	all, err := collect(tx, scanNetwork, `SELECT `+networkColumns+` FROM networks n`+networkJoins+` ORDER BY n.name`)
	if err != nil {
		return nil, fmt.Errorf("read networks: %w", err)
	}
	return all, tx.addOrganisations(all)
}

// UpdateNetwork stores what may change of a network, if its generation is
// still the current one, and raises it in n. Its addresses and what it counts
// of them stay.
func (tx *Tx) UpdateNetwork(n *baadal.Network) error {
	vlan, cidr := vlanAndSubnet(n)
	c, err := tx.affected(`UPDATE networks SET name = $1, builtin = $2, vlan = $3, cidr = $4, gateway = $5, dns = $6, bridge = $7, portgroup = $8, applied = $9,
		visible = $10, updated_at = $11, ipv6_prefix = $14, generation = generation + 1 WHERE id = $12 AND generation = $13`,
		n.Name, n.Builtin, vlan, cidr, n.Gateway, encode(n.DNS), n.Bridge, n.Portgroup, flag(n.Applied), flag(n.VisibleToAll), tx.now(), n.ID, n.Generation, n.IPv6Prefix)
	if err != nil {
		return networkError("update network", n, err)
	}
	if c == 0 {
		return tx.stale("networks", "security domain", n.ID, n.Generation)
	}
	n.Generation, n.UpdatedAt = n.Generation+1, tx.at
	tx.wakeHosts()
	return tx.SetNetworkOrganisations(n.ID, n.OrganisationIDs)
}

// SetNetworkDeleting takes a network's reservations out of Reservations, or
// puts them back. A network that is being deleted gives out no addresses;
// while any is claimed it is a Conflict. Idempotent.
func (tx *Tx) SetNetworkDeleting(id int64, on bool) error {
	c, err := tx.affected(`UPDATE networks SET deleting = $1, updated_at = $2, generation = generation + 1 WHERE id = $3 AND deleting <> $4`,
		flag(on), tx.now(), id, flag(on))
	if err != nil {
		return fmt.Errorf("mark security domain: %w", err)
	}
	n, err := tx.Network(id)
	if err != nil || c == 0 || !on {
		return err
	}
	return tx.networkInUse(&n)
}

// networkInUse refuses to delete a network that somebody needs.
func (tx *Tx) networkInUse(n *baadal.Network) error {
	all, err := tx.count(`SELECT COUNT(*) FROM vms v WHERE v.network_id = $1`, n.ID)
	if err != nil {
		return fmt.Errorf("count vms: %w", err)
	}
	if claimed := n.Addresses - n.Free; all > 0 || claimed > 0 {
		return baadal.Errorf(baadal.Conflict, "security domain %s is in use", n.Name).WithCode("network_in_use").
			WithDetail("%d VMs and %d deleted VMs that can be restored are in it, %d of its addresses are claimed", n.VMs, all-n.VMs, claimed)
	}
	return nil
}

// DeleteNetwork forgets a network and its addresses; a built-in one only loses
// these and its VLAN. It is a Conflict while an address is claimed or a VM, one
// that can be restored included, is in it.
func (tx *Tx) DeleteNetwork(id int64) error {
	// No address can be claimed from here on: ClaimAddress needs the row.
	if _, err := tx.exec(`UPDATE networks SET deleting = 1 WHERE id = $1`, id); err != nil {
		return fmt.Errorf("mark security domain: %w", err)
	}
	n, err := tx.Network(id)
	if err != nil {
		return err
	}
	if err := tx.networkInUse(&n); err != nil {
		return err
	}
	if n.Builtin != "" {
		return tx.emptyNetwork(&n)
	}
	tx.wakeHosts()
	_, err = tx.exec(`DELETE FROM networks WHERE id = $1`, id)
	if dangling(err) { // a VM came between
		return baadal.Errorf(baadal.Conflict, "security domain %s is in use", n.Name).WithCode("network_in_use")
	}
	if err != nil {
		return fmt.Errorf("delete security domain: %w", err)
	}
	return nil
}
