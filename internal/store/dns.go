package store

import (
	"fmt"
	"net/netip"
	"slices"

	"baadal"
)

// NameRecords returns what the name service is to know: the name of every VM
// that has addresses, once for each, in the order of the addresses, those of IPv6
// behind the others. A name that was made fit gives way to a VM that is called so
// by itself.
func (tx *Tx) NameRecords() ([]baadal.NameRecord, error) {
	type named struct {
		baadal.NameRecord
		vm    int64
		plain bool
		six   string // its IPv6 address, if it has one
	}
	all, err := collect(tx, func(r row) (n named, err error) {
		var name, owner, mac, prefix string
		err = r.Scan(&n.vm, &name, &owner, &n.IP, &mac, &prefix)
		n.six = baadal.IPv6Address(prefix, mac)
		n.Name = baadal.DNSName(name, owner)
		n.plain = n.Name == baadal.DNSPlain(name, owner)
		return n, err
	}, `SELECT v.id, v.name, u.username, a.ip, a.mac, CASE WHEN a.nic >= 0 THEN n.ipv6_prefix ELSE '' END FROM addresses a
		JOIN vms v ON v.id = a.vm_id JOIN users u ON u.id = v.owner_id JOIN networks n ON n.id = a.network_id ORDER BY a.ip_num`)
	if err != nil {
		return nil, fmt.Errorf("read names: %w", err)
	}
	whose := make(map[string]named, len(all))
	for _, n := range all {
		first, taken := whose[n.Name]
		if !taken || n.plain && !first.plain || n.plain == first.plain && n.vm < first.vm {
			whose[n.Name] = n
		}
	}
	records := make([]baadal.NameRecord, 0, len(all))
	var six []baadal.NameRecord
	for _, n := range all {
		if whose[n.Name].vm != n.vm {
			continue
		}
		records = append(records, n.NameRecord)
		if n.six != "" {
			six = append(six, baadal.NameRecord{Name: n.Name, IP: n.six})
		}
	}
	slices.SortFunc(six, func(a, b baadal.NameRecord) int {
		return netip.MustParseAddr(a.IP).Compare(netip.MustParseAddr(b.IP))
	})
	return append(records, six...), nil
}
