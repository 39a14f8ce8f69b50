package store

import (
	"database/sql"
	"fmt"

	"baadal"
)

const addressColumns = `a.id, a.network_id, a.ip, a.mac, a.vm_id, a.nic`

func scanAddress(r row) (a baadal.Address, err error) {
	var vm sql.NullInt64
	err = r.Scan(&a.ID, &a.NetworkID, &a.IP, &a.MAC, &vm, &a.NIC)
	a.VMID = vm.Int64
	return a, err
}

// ClaimAddress gives a VM's first NIC the lowest free address of a network. A
// network with none left is Exhausted, one that is being deleted a Conflict.
func (tx *Tx) ClaimAddress(networkID, vmID int64) (baadal.Address, error) {
	return tx.ClaimNIC(networkID, vmID, 0)
}

// ClaimNIC is ClaimAddress for any of a VM's NICs. One that has an address is a
// Conflict.
func (tx *Tx) ClaimNIC(networkID, vmID int64, nic int) (baadal.Address, error) {
	name, err := tx.claimable(networkID)
	if err != nil {
		return baadal.Address{}, err
	}
	const lowest = `SELECT ` + addressColumns + ` FROM addresses a WHERE a.network_id = $1 AND a.vm_id IS NULL AND a.held = 0` + notStrange + ` ORDER BY a.ip_num LIMIT 1`
	for {
		// Addresses that others are about to claim are passed over. If only
		// such are left, they may still come back: wait for one.
		for _, lock := range []string{tx.skipLocked(), tx.forUpdate()} {
			a, err := scanAddress(tx.queryRow(lowest+lock, networkID))
			if err == nil {
				return tx.claim(a, vmID, nic)
			}
			if !isNoRows(err) {
				return a, fmt.Errorf("find free address: %w", err)
			}
		}
		free, err := tx.count(`SELECT COUNT(*) FROM addresses a WHERE a.network_id = $1 AND a.vm_id IS NULL AND a.held = 0`+notStrange, networkID)
		if err != nil {
			return baadal.Address{}, fmt.Errorf("count free addresses: %w", err)
		}
		if free == 0 {
			return baadal.Address{}, baadal.Errorf(baadal.Exhausted, "Available MACs are exhausted for security domain '%s'.", name).WithCode("no_address").
				WithNext("See who has them", "baadal vm list network:"+name)
		}
	}
}

// ClaimAddressIP gives a VM's first NIC one certain address, as it had before
// it was deleted. An address that is taken is a Conflict.
func (tx *Tx) ClaimAddressIP(networkID int64, ip string, vmID int64) (baadal.Address, error) {
	return tx.claimIP(networkID, ip, vmID, 0)
}

func (tx *Tx) claimIP(networkID int64, ip string, vmID int64, nic int) (baadal.Address, error) {
	if _, err := tx.claimable(networkID); err != nil {
		return baadal.Address{}, err
	}
	a, err := scanAddress(tx.queryRow(`SELECT `+addressColumns+` FROM addresses a WHERE a.network_id = $1 AND a.ip = $2 AND a.held = 0`+tx.forUpdate(), networkID, ip))
	if err != nil {
		return a, notFound(err, "address", ip)
	}
	if a.VMID == vmID {
		return a, nil
	}
	if a.VMID != 0 {
		return a, baadal.Errorf(baadal.Conflict, "the address %s belongs to another VM by now", ip).WithCode("address_taken")
	}
	strange, err := tx.count(`SELECT COUNT(*) FROM strangers WHERE ip = $1`, ip)
	if err != nil {
		return a, fmt.Errorf("look for strangers: %w", err)
	}
	if strange > 0 {
		return a, baadal.Errorf(baadal.Conflict, "the address %s is in use by somebody unknown", ip).WithCode("address_strange")
	}
	return tx.claim(a, vmID, nic)
}

// claimable keeps a network from being deleted until the transaction ends, and
// returns its name.
func (tx *Tx) claimable(networkID int64) (name string, err error) {
	var deleting bool
	err = tx.queryRow(`SELECT name, deleting FROM networks WHERE id = $1`+tx.forShare(), networkID).Scan(&name, &deleting)
	if err != nil {
		return "", notFound(err, "security domain", networkID)
	}
	if deleting {
		return "", baadal.Errorf(baadal.Conflict, "security domain %s is being deleted", name).WithCode("network_deleting")
	}
	return name, nil
}

func (tx *Tx) claim(a baadal.Address, vmID int64, nic int) (baadal.Address, error) {
	n, err := tx.affected(`UPDATE addresses SET vm_id = $1, nic = $2 WHERE id = $3 AND vm_id IS NULL`, vmID, nic, a.ID)
	switch {
	case violated(err) != "":
		return a, baadal.Errorf(baadal.Conflict, "the VM's NIC %d has an address already", nic).WithCode("has_address")
	case err != nil:
		return a, fmt.Errorf("claim address: %w", err)
	case n == 0:
		return a, fmt.Errorf("claim address %s: it was locked and yet claimed by another", a.IP)
	}
	a.VMID, a.NIC = vmID, nic
	return a, nil
}

// ReclaimAddress gives a VM that is restored its old addresses where they are
// free, and the lowest free ones where they are not: its first NIC one of the
// network, the others of those that they were in. One whose network is gone is
// left out.
func (tx *Tx) ReclaimAddress(networkID, vmID int64) error {
	var last, others string
	if err := tx.queryRow(`SELECT last_ip, last_nics FROM vms WHERE id = $1`, vmID).Scan(&last, &others); err != nil {
		return notFound(err, "vm", vmID)
	}
	nics, err := decode[lastNIC](others)
	if err != nil {
		return err
	}
	if err := tx.reclaim(vmID, lastNIC{Network: networkID, IP: last}); err != nil {
		return err
	}
	for _, n := range nics {
		there, err := tx.count(`SELECT COUNT(*) FROM networks WHERE id = $1 AND deleting = 0`, n.Network)
		if err != nil {
			return fmt.Errorf("look for network: %w", err)
		}
		if there == 0 {
			continue
		}
		if err := tx.reclaim(vmID, n); err != nil {
			return err
		}
	}
	return nil
}

// lastNIC is what is remembered of a NIC whose address was given back.
type lastNIC struct {
	NIC     int    `json:"nic"`
	Network int64  `json:"network"`
	IP      string `json:"ip"`
}

func (tx *Tx) reclaim(vmID int64, n lastNIC) error {
	if n.IP != "" {
		_, err := tx.claimIP(n.Network, n.IP, vmID, n.NIC)
		if kind := baadal.KindOf(err); kind != baadal.Conflict && kind != baadal.NotFound {
			return err
		}
	}
	_, err := tx.ClaimNIC(n.Network, vmID, n.NIC)
	return err
}

// ReleaseAddress gives the addresses of all of a VM's NICs back, and remembers
// which they were. Idempotent.
func (tx *Tx) ReleaseAddress(vmID int64) error {
	nics, err := tx.NICs(vmID)
	if err != nil {
		return err
	}
	first, others := "", []lastNIC{}
	for _, n := range nics {
		if n.Index == 0 {
			first = n.Address
			continue
		}
		others = append(others, lastNIC{NIC: n.Index, Network: n.NetworkID, IP: n.Address})
	}
	if len(nics) > 0 {
		if _, err := tx.exec(`UPDATE vms SET last_ip = $1, last_nics = $2 WHERE id = $3`, first, encode(others), vmID); err != nil {
			return fmt.Errorf("remember addresses: %w", err)
		}
	}
	if _, err := tx.exec(`UPDATE addresses SET vm_id = NULL, nic = 0 WHERE vm_id = $1`, vmID); err != nil {
		return fmt.Errorf("release addresses: %w", err)
	}
	return nil
}

// Addresses returns every address of a network, lowest first.
func (tx *Tx) Addresses(networkID int64) ([]baadal.Address, error) {
	return tx.addresses(`a.network_id = $1`, networkID)
}

// ClaimedAddresses returns the addresses of all networks that belong to a VM.
func (tx *Tx) ClaimedAddresses() ([]baadal.Address, error) {
	return tx.addresses(`a.vm_id IS NOT NULL`)
}

func (tx *Tx) addresses(where string, args ...any) ([]baadal.Address, error) {
	all, err := collect(tx, scanAddress, `SELECT `+addressColumns+` FROM addresses a WHERE `+where+` ORDER BY a.network_id, a.ip_num`, args...)
	if err != nil {
		return nil, fmt.Errorf("read addresses: %w", err)
	}
	return all, nil
}

// Reservations returns what the DHCP server is to know: every address of every
// network that is not being deleted, without those that are going, in a fixed
// order.
func (tx *Tx) Reservations() ([]baadal.Reservation, error) {
	all, err := collect(tx, func(r row) (res baadal.Reservation, err error) {
		err = r.Scan(&res.IP, &res.MAC)
		res.Name = baadal.ReservationName(res.IP)
		return res, err
	}, `SELECT a.ip, a.mac FROM addresses a JOIN networks n ON n.id = a.network_id WHERE n.deleting = 0 AND a.held <> 2 ORDER BY a.ip_num`)
	if err != nil {
		return nil, fmt.Errorf("read reservations: %w", err)
	}
	return all, nil
}

// UsedMACs returns the MACs of all addresses: a new range must not take one again.
func (tx *Tx) UsedMACs() (map[string]bool, error) {
	rows, err := tx.query(`SELECT mac FROM addresses`)
	if err != nil {
		return nil, fmt.Errorf("read MACs: %w", err)
	}
	defer rows.Close()
	used := map[string]bool{}
	for rows.Next() {
		var mac string
		if err := rows.Scan(&mac); err != nil {
			return nil, fmt.Errorf("read MACs: %w", err)
		}
		used[mac] = true
	}
	return used, rows.Err()
}
