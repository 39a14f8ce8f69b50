package workflow

import (
	"fmt"
	"strings"

	"baadal"
)

// compareNICs asks whether every NIC of a VM that runs is on its host's bridge,
// in its network's VLAN.
func (c *comparison) compareNICs(vm baadal.VM) {
	for _, n := range c.b.nics[vm.ID] {
		tag, plugged := c.seen.vlans[vm.HostID][strings.ToUpper(n.MAC)]
		if plugged && tag == n.VLAN {
			continue
		}
		seen := fmt.Sprintf("tag %d", tag)
		if !plugged {
			seen = "no port with its MAC"
		} else if tag == 0 {
			seen = "no tag: it sees every VLAN"
		}
		stored := fmt.Sprintf("tag %d", n.VLAN)
		if n.Index > 0 {
			stored = fmt.Sprintf("NIC %d: %s", n.Index, stored)
		}
		c.add(baadal.Difference{Kind: baadal.DiffWrongVLAN, Subject: vmSubject(vm), Host: vm.Host, Stored: stored, Seen: seen})
	}
}
