package store

import (
	"fmt"
	"net/netip"
	"strings"

	"baadal"
)

// What is held of an address: only a free one is given out.
const (
	addressFree   = 0
	addressComing = 1 // the DHCP server does not know it yet
	addressGoing  = 2 // the DHCP server is to forget it
)

// SetNetworkOrganisations says which organisations may use a network that is
// not for all.
func (tx *Tx) SetNetworkOrganisations(id int64, organisations []int64) error {
	if _, err := tx.exec(`DELETE FROM network_organisations WHERE network_id = $1`, id); err != nil {
		return fmt.Errorf("forget organisations: %w", err)
	}
	for _, o := range organisations {
		_, err := tx.exec(`INSERT INTO network_organisations (network_id, organisation_id) VALUES ($1, $2)`, id, o)
		if dangling(err) {
			return missing("organisation", o)
		}
		if err != nil {
			return fmt.Errorf("store organisation: %w", err)
		}
	}
	return nil
}

// addOrganisations fills in who may use networks that are not for all.
func (tx *Tx) addOrganisations(networks []baadal.Network) error {
	some := map[int64]*baadal.Network{}
	for i := range networks {
		if n := &networks[i]; !n.VisibleToAll {
			some[n.ID] = n
		}
	}
	if len(some) == 0 {
		return nil
	}
	type pair struct {
		network, id int64
		name        string
	}
	all, err := collect(tx, func(r row) (p pair, err error) { err = r.Scan(&p.network, &p.id, &p.name); return p, err },
		`SELECT m.network_id, o.id, o.name FROM network_organisations m JOIN organisations o ON o.id = m.organisation_id ORDER BY o.name`)
	if err != nil {
		return fmt.Errorf("read organisations of networks: %w", err)
	}
	for _, p := range all {
		if n := some[p.network]; n != nil {
			n.Organisations, n.OrganisationIDs = append(n.Organisations, p.name), append(n.OrganisationIDs, p.id)
		}
	}
	return nil
}

// measureNetwork writes down, in the row and in n, which addresses a network
// has to give out.
func (tx *Tx) measureNetwork(n *baadal.Network) error {
	runs, err := collect(tx, func(r row) (a baadal.AddressRange, err error) {
		var first, last int64
		err = r.Scan(&first, &last, &a.Addresses)
		a.First, a.Last = ipOf(first), ipOf(last)
		return a, err
	}, `SELECT MIN(ip_num), MAX(ip_num), COUNT(*) FROM
		(SELECT ip_num, ip_num - ROW_NUMBER() OVER (ORDER BY ip_num) AS run FROM addresses WHERE network_id = $1 AND held = 0) AS runs
		GROUP BY run ORDER BY 1`, n.ID)
	if err != nil {
		return fmt.Errorf("read ranges: %w", err)
	}
	claimed := n.Addresses - n.Free
	n.Ranges, n.First, n.Last, n.Addresses = runs, "", "", 0
	for _, r := range runs {
		n.Addresses += r.Addresses
	}
	n.Free = n.Addresses - claimed
	if len(runs) > 0 {
		n.First, n.Last = runs[0].First, runs[len(runs)-1].Last
	}
	_, err = tx.exec(`UPDATE networks SET first = $1, last = $2, ranges = $3, size = $4 WHERE id = $5`, n.First, n.Last, encode(n.Ranges), n.Addresses, n.ID)
	if err != nil {
		return fmt.Errorf("store ranges: %w", err)
	}
	return nil
}

// NetworkWithAddress names the network that has an address for VMs; empty if none
// has.
func (tx *Tx) NetworkWithAddress(ip string) (name string, err error) {
	err = tx.queryRow(`SELECT n.name FROM addresses a JOIN networks n ON n.id = a.network_id WHERE a.ip = $1`, ip).Scan(&name)
	if err != nil && !isNoRows(err) {
		return "", fmt.Errorf("read network of address: %w", err)
	}
	return name, nil
}

func ipOf(n int64) string {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}).String()
}

func numOf(a netip.Addr) int64 {
	b := a.As4()
	return int64(b[0])<<24 | int64(b[1])<<16 | int64(b[2])<<8 | int64(b[3])
}

// AddAddresses stores more addresses of a network. They are coming: reserved,
// but given out only after AdmitAddresses.
func (tx *Tx) AddAddresses(n *baadal.Network, addresses []baadal.Address) error {
	return tx.insertAddresses(n, addresses, addressComing)
}

// AdmitAddresses lets those that are coming be given out. Idempotent.
func (tx *Tx) AdmitAddresses(networkID int64) error {
	return tx.settleAddresses(networkID, `UPDATE addresses SET held = 0 WHERE network_id = $1 AND held = 1`)
}

// DropComing forgets the addresses that are coming. Idempotent.
func (tx *Tx) DropComing(networkID int64) error {
	return tx.settleAddresses(networkID, `DELETE FROM addresses WHERE network_id = $1 AND held = 1`)
}

// DropGoing forgets the addresses that are going. Idempotent.
func (tx *Tx) DropGoing(networkID int64) error {
	return tx.settleAddresses(networkID, `DELETE FROM addresses WHERE network_id = $1 AND held = 2`)
}

// KeepGoing lets the addresses that are going stay after all. Idempotent.
func (tx *Tx) KeepGoing(networkID int64) error {
	return tx.settleAddresses(networkID, `UPDATE addresses SET held = 0 WHERE network_id = $1 AND held = 2`)
}

func (tx *Tx) settleAddresses(networkID int64, query string) error {
	c, err := tx.affected(query, networkID)
	if err != nil {
		return fmt.Errorf("settle addresses: %w", err)
	}
	if c == 0 {
		return nil
	}
	n, err := tx.Network(networkID)
	if err != nil {
		return err
	}
	return tx.measureNetwork(&n)
}

// RetireAddresses marks a range of a network's addresses as going: from now on
// they are not given out, and not in Reservations. Those in use are a Conflict
// that names the VMs; a range without addresses is NotFound. It returns how many.
func (tx *Tx) RetireAddresses(n *baadal.Network, first, last netip.Addr) (int, error) {
	c, err := tx.affected(`UPDATE addresses SET held = 2 WHERE network_id = $1 AND ip_num BETWEEN $2 AND $3 AND held = 0`, n.ID, numOf(first), numOf(last))
	if err != nil {
		return 0, fmt.Errorf("retire addresses: %w", err)
	}
	if c == 0 {
		return 0, baadal.Errorf(baadal.NotFound, "%s has no addresses from %s to %s", n.Name, first, last).WithField("first").
			WithNext("See its ranges", "baadal network show "+n.Name)
	}
	const most = 5
	type use struct{ ip, vm string }
	users, err := collect(tx, func(r row) (u use, err error) { err = r.Scan(&u.ip, &u.vm); return u, err },
		`SELECT a.ip, v.name FROM addresses a JOIN vms v ON v.id = a.vm_id WHERE a.network_id = $1 AND a.held = 2 ORDER BY a.ip_num`, n.ID)
	if err != nil {
		return 0, fmt.Errorf("read users of addresses: %w", err)
	}
	if len(users) > 0 {
		var words []string
		for _, u := range users[:min(len(users), most)] {
			words = append(words, u.ip+" by "+u.vm)
		}
		if len(users) > most {
			words = append(words, fmt.Sprintf("%d more", len(users)-most))
		}
		return 0, baadal.Errorf(baadal.Conflict, "%d of these addresses are in use: %s", len(users), strings.Join(words, ", ")).WithCode("address_in_use").
			WithNext("See the VMs", "baadal vm list network:"+n.Name)
	}
	return c, tx.measureNetwork(n)
}

// emptyNetwork takes VLAN, subnet, prefix and addresses from a built-in network.
func (tx *Tx) emptyNetwork(n *baadal.Network) error {
	if _, err := tx.exec(`DELETE FROM addresses WHERE network_id = $1`, n.ID); err != nil {
		return fmt.Errorf("delete addresses: %w", err)
	}
	n.VLAN, n.CIDR, n.IPv6Prefix, n.Gateway, n.DNS, n.Portgroup, n.Applied = 0, "", "", "", nil, "", false
	if err := tx.UpdateNetwork(n); err != nil {
		return err
	}
	if _, err := tx.exec(`UPDATE networks SET deleting = 0 WHERE id = $1`, n.ID); err != nil {
		return fmt.Errorf("empty network: %w", err)
	}
	return tx.measureNetwork(n)
}
