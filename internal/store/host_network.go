package store

import (
	"fmt"

	"baadal"
)

// MadePortgroups returns the portgroups that we made on a host, by libvirt
// network.
func (tx *Tx) MadePortgroups(hostID int64) (map[string][]string, error) {
	type made struct{ network, portgroup string }
	rows, err := collect(tx, func(r row) (m made, err error) { err = r.Scan(&m.network, &m.portgroup); return m, err },
		`SELECT network, portgroup FROM host_portgroups WHERE host_id = $1 ORDER BY network, portgroup`, hostID)
	if err != nil {
		return nil, fmt.Errorf("read portgroups: %w", err)
	}
	all := map[string][]string{}
	for _, m := range rows {
		all[m.network] = append(all[m.network], m.portgroup)
	}
	return all, nil
}

// AddMadePortgroup notes a portgroup that is about to be made on a host.
// Idempotent. A host that is gone is NotFound.
func (tx *Tx) AddMadePortgroup(hostID int64, network, portgroup string) error {
	_, err := tx.exec(`INSERT INTO host_portgroups (host_id, network, portgroup) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, hostID, network, portgroup)
	if dangling(err) {
		return missing("host", hostID)
	}
	if err != nil {
		return fmt.Errorf("note portgroup: %w", err)
	}
	return nil
}

// DropMadePortgroup forgets a portgroup that a host does not have any more.
// Idempotent.
func (tx *Tx) DropMadePortgroup(hostID int64, network, portgroup string) error {
	_, err := tx.exec(`DELETE FROM host_portgroups WHERE host_id = $1 AND network = $2 AND portgroup = $3`, hostID, network, portgroup)
	if err != nil {
		return fmt.Errorf("forget portgroup: %w", err)
	}
	return nil
}

// HostNetworks returns what every host is to have for the VLANs of the cloud:
// libvirt networks by name with their portgroups, those of one network left
// out.
func (tx *Tx) HostNetworks(without int64) (map[string]baadal.HostNetwork, error) {
	networks, err := tx.AllNetworks()
	if err != nil {
		return nil, err
	}
	all := map[string]baadal.HostNetwork{}
	for _, n := range networks {
		if n.VLAN == 0 || n.ID == without {
			continue
		}
		h, there := all[n.Bridge]
		if !there {
			h = baadal.HostNetwork{Name: n.Bridge, Portgroups: map[string]int{}}
		}
		h.Portgroups[n.Portgroup] = n.VLAN
		all[n.Bridge] = h
	}
	return all, nil
}
