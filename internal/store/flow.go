package store

import (
	"fmt"
	"slices"
	"strings"

	"baadal"
)

// FlowPolicy returns what ports with these MAC addresses (in upper case) may
// send, whichever host they are on: a VM that is being migrated has one on each
// of two. An address that a NIC is leaving is its no more.
func (tx *Tx) FlowPolicy(macs []string) (p baadal.FlowPolicy, err error) {
	values, err := tx.SettingValues()
	if err != nil {
		return p, err
	}
	p.Off = !values.Bool(baadal.SettingAntiSpoofing)
	p.Networks = []string{baadal.DefaultLibvirtNetwork}
	type network struct {
		bridge string
		vlan   int
	}
	networks, err := collect(tx, func(r row) (n network, err error) { return n, r.Scan(&n.bridge, &n.vlan) }, `SELECT bridge, vlan FROM networks WHERE vlan > 0 ORDER BY vlan`)
	if err != nil {
		return p, fmt.Errorf("read networks: %w", err)
	}
	for _, n := range networks {
		p.VLANs = append(p.VLANs, n.vlan)
		if !slices.Contains(p.Networks, n.bridge) {
			p.Networks = append(p.Networks, n.bridge)
		}
	}
	if p.NICs, err = tx.flowNICs(macs); err != nil {
		return p, err
	}
	return p, tx.addFirewalls(p.NICs)
}

func (tx *Tx) flowNICs(macs []string) ([]baadal.FlowNIC, error) {
	if len(macs) == 0 {
		return nil, nil
	}
	args, marks := make([]any, len(macs)), make([]string, len(macs))
	for i, m := range macs {
		args[i], marks[i] = m, fmt.Sprintf("$%d", i+1)
	}
	all, err := collect(tx, func(r row) (n baadal.FlowNIC, err error) {
		var ip, prefix string
		err = r.Scan(&n.VM, &n.MAC, &ip, &n.VLAN, &prefix)
		n.Addresses = []string{ip}
		if six := baadal.IPv6Address(prefix, n.MAC); six != "" {
			n.Addresses = append(n.Addresses, six)
		}
		return n, err
	}, `SELECT v.uuid, a.mac, a.ip, n.vlan, n.ipv6_prefix FROM addresses a JOIN vms v ON v.id = a.vm_id JOIN networks n ON n.id = a.network_id
		WHERE a.nic >= 0 AND a.mac IN (`+strings.Join(marks, ", ")+`) ORDER BY a.mac`, args...)
	if err != nil {
		return nil, fmt.Errorf("read NICs of ports: %w", err)
	}
	return all, nil
}
