package store

import (
	"fmt"

	"baadal"
)

// A VM's NICs are the addresses that it has claimed, numbered. An address with a
// number below 0 belongs to a NIC that is leaving its network: it is claimed
// until the NIC has arrived in the new one, and is none of the VM's NICs.

// leaving is the number of the address that NIC n has until it has arrived in
// another network.
func leaving(n int) int { return -1 - n }

const nicColumns = `a.nic, a.network_id, n.name, n.vlan, a.ip, a.mac, n.bridge, n.portgroup, n.ipv6_prefix`

// scanNIC reads nicColumns, and what stands before them.
func scanNIC(r row, before ...any) (n baadal.NIC, err error) {
	var prefix string
	err = r.Scan(append(before, &n.Index, &n.NetworkID, &n.Network, &n.VLAN, &n.Address, &n.MAC, &n.Bridge, &n.Portgroup, &prefix)...)
	n.IPv6 = baadal.IPv6Address(prefix, n.MAC)
	return n, err
}

// NICs returns a VM's NICs, the first one first. A deleted VM has none.
func (tx *Tx) NICs(vmID int64) ([]baadal.NIC, error) {
	all, err := collect(tx, func(r row) (baadal.NIC, error) { return scanNIC(r) },
		`SELECT `+nicColumns+` FROM addresses a JOIN networks n ON n.id = a.network_id WHERE a.vm_id = $1 AND a.nic >= 0 ORDER BY a.nic`, vmID)
	if err != nil {
		return nil, fmt.Errorf("read NICs: %w", err)
	}
	return all, nil
}

// AllNICs returns the NICs of all VMs by the VM's id, the first one first.
func (tx *Tx) AllNICs() (map[int64][]baadal.NIC, error) { return tx.nicsByVM(`1 = 1`) }

// NICsOnHost returns the NICs of a host's VMs by the VM's id.
func (tx *Tx) NICsOnHost(hostID int64) (map[int64][]baadal.NIC, error) {
	return tx.nicsByVM(`a.vm_id IN (SELECT id FROM vms WHERE host_id = $1)`, hostID)
}

func (tx *Tx) nicsByVM(where string, args ...any) (map[int64][]baadal.NIC, error) {
	type owned struct {
		vm  int64
		nic baadal.NIC
	}
	rows, err := collect(tx, func(r row) (o owned, err error) { o.nic, err = scanNIC(r, &o.vm); return o, err },
		`SELECT a.vm_id, `+nicColumns+` FROM addresses a JOIN networks n ON n.id = a.network_id
			WHERE a.vm_id IS NOT NULL AND a.nic >= 0 AND `+where+` ORDER BY a.vm_id, a.nic`, args...)
	if err != nil {
		return nil, fmt.Errorf("read NICs: %w", err)
	}
	all := map[int64][]baadal.NIC{}
	for _, o := range rows {
		all[o.vm] = append(all[o.vm], o.nic)
	}
	return all, nil
}

// AddNIC gives a VM another NIC with the lowest free address of a network.
func (tx *Tx) AddNIC(vmID, networkID int64) (n baadal.NIC, err error) {
	all, err := tx.NICs(vmID)
	if err != nil {
		return n, err
	}
	index, err := baadal.FreeNIC(all)
	if err != nil {
		return n, err
	}
	if _, err := tx.ClaimNIC(networkID, vmID, index); err != nil {
		return n, err
	}
	if err := tx.touchVM(vmID, 0); err != nil {
		return n, err
	}
	return tx.nic(vmID, index)
}

// DropNIC gives the address of a NIC back. None is success.
func (tx *Tx) DropNIC(vmID int64, index int) error {
	n, err := tx.affected(`UPDATE addresses SET vm_id = NULL, nic = 0 WHERE vm_id = $1 AND nic = $2`, vmID, index)
	if err != nil {
		return fmt.Errorf("release NIC: %w", err)
	}
	if n == 0 {
		return nil
	}
	return tx.touchVM(vmID, 0)
}

// ChangeNIC gives a NIC the lowest free address of another network, together
// with the MAC that it has: the old address gets the new one's, and stays
// claimed until NICArrived or NICStayed.
func (tx *Tx) ChangeNIC(vmID int64, index int, networkID int64) (n baadal.NIC, err error) {
	old, err := tx.nic(vmID, index)
	if err != nil {
		return n, err
	}
	if _, err := tx.exec(`UPDATE addresses SET nic = $1 WHERE vm_id = $2 AND nic = $3`, leaving(index), vmID, index); err != nil {
		return n, fmt.Errorf("leave network: %w", err)
	}
	if _, err := tx.ClaimNIC(networkID, vmID, index); err != nil {
		return n, err
	}
	if err := tx.giveMAC(vmID, index, old.MAC); err != nil {
		return n, err
	}
	if index == 0 {
		err = tx.touchVM(vmID, networkID)
	} else {
		err = tx.touchVM(vmID, 0)
	}
	if err != nil {
		return n, err
	}
	return tx.nic(vmID, index)
}

// ReturnMAC gives a NIC's MAC back to the address that it is leaving; the change
// of the network is being undone. Done already, and no such change, is success.
func (tx *Tx) ReturnMAC(vmID int64, index int, mac string) error {
	n, err := tx.count(`SELECT COUNT(*) FROM addresses WHERE vm_id = $1 AND nic = $2`, vmID, leaving(index))
	if err != nil || n == 0 {
		return err
	}
	return tx.giveMAC(vmID, leaving(index), mac)
}

// NICArrived gives back the address that a NIC has left. None is success.
func (tx *Tx) NICArrived(vmID int64, index int) error { return tx.DropNIC(vmID, leaving(index)) }

// NICStayed undoes ChangeNIC: the NIC has its old address with its MAC, and the
// new one is given back. Done already is success.
func (tx *Tx) NICStayed(vmID int64, index int, mac string) error {
	old, err := tx.nic(vmID, leaving(index))
	if baadal.KindOf(err) == baadal.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	if err := tx.ReturnMAC(vmID, index, mac); err != nil {
		return err
	}
	if err := tx.DropNIC(vmID, index); err != nil {
		return err
	}
	if _, err := tx.exec(`UPDATE addresses SET nic = $1 WHERE vm_id = $2 AND nic = $3`, index, vmID, leaving(index)); err != nil {
		return fmt.Errorf("stay in network: %w", err)
	}
	if index == 0 {
		return tx.touchVM(vmID, old.NetworkID)
	}
	return tx.touchVM(vmID, 0)
}

// nic returns one NIC, or what one that is leaving its network had.
func (tx *Tx) nic(vmID int64, index int) (n baadal.NIC, err error) {
	n, err = scanNIC(tx.queryRow(`SELECT `+nicColumns+` FROM addresses a JOIN networks n ON n.id = a.network_id WHERE a.vm_id = $1 AND a.nic = $2`, vmID, index))
	if err != nil {
		return n, notFound(err, "NIC", index)
	}
	return n, nil
}

// giveMAC gives a MAC to a NIC's address; who had it gets that address's. The
// address that has it already keeps it.
func (tx *Tx) giveMAC(vmID int64, index int, mac string) error {
	to, err := scanAddress(tx.queryRow(`SELECT `+addressColumns+` FROM addresses a WHERE a.vm_id = $1 AND a.nic = $2`, vmID, index))
	if err != nil {
		return notFound(err, "NIC", index)
	}
	if to.MAC == mac {
		return nil
	}
	from, err := scanAddress(tx.queryRow(`SELECT `+addressColumns+` FROM addresses a WHERE a.mac = $1`, mac))
	if err != nil {
		return notFound(err, "MAC", mac)
	}
	// Each MAC belongs to one address at any moment.
	for _, set := range []struct {
		mac string
		id  int64
	}{{fmt.Sprintf("swap %d", to.ID), to.ID}, {to.MAC, from.ID}, {mac, to.ID}} {
		if _, err := tx.exec(`UPDATE addresses SET mac = $1 WHERE id = $2`, set.mac, set.id); err != nil {
			return fmt.Errorf("exchange MACs: %w", err)
		}
	}
	tx.Wake(TopicFlow)
	return nil
}

// touchVM raises a VM's generation, tells who keeps its NICs' rules, and notes its first network if it is given: what leads
// to it from outside follows.
func (tx *Tx) touchVM(vmID, networkID int64) error {
	tx.Wake(TopicFlow)
	if networkID != 0 {
		if _, err := tx.exec(`UPDATE vms SET network_id = $1 WHERE id = $2`, networkID, vmID); err != nil {
			return vmError("note network of vm", err)
		}
		if err := tx.leadElsewhere(vmID); err != nil {
			return err
		}
	}
	if _, err := tx.exec(`UPDATE vms SET generation = generation + 1, updated_at = $1 WHERE id = $2`, tx.now(), vmID); err != nil {
		return vmError("touch vm", err)
	}
	return nil
}

// leadElsewhere begins a new revision of the NAT box's table, in which what leads
// to a VM leads to another address: until the box has it, that is not in force.
func (tx *Tx) leadElsewhere(vmID int64) error {
	revision, err := tx.touchNAT()
	if err != nil {
		return err
	}
	for _, update := range []string{
		`UPDATE public_addresses SET revision = $1 WHERE vm_id = $2`, `UPDATE forwards SET revision = $1 WHERE vm_id = $2 AND target = ''`,
	} {
		if _, err := tx.exec(update, revision, vmID); err != nil {
			return fmt.Errorf("note new target: %w", err)
		}
	}
	return nil
}
