package service

import (
	"fmt"

	"baadal"
)

// madeOf is what the event of a new network tells.
func madeOf(n *baadal.Network) map[string]any {
	changes := map[string]any{"cidr": n.CIDR, "vlan": n.VLAN}
	if n.IPv6Prefix != "" {
		changes["ipv6_prefix"] = n.IPv6Prefix
	}
	return changes
}

func andPrefix(n *baadal.Network) string {
	if n.IPv6Prefix == "" {
		return ""
	}
	return ", and the IPv6 prefix " + n.IPv6Prefix
}

// prefixEffects says what another IPv6 prefix means for the NICs that are in a
// network: their addresses follow from it.
func prefixEffects(n *baadal.Network, changes map[string]any) []string {
	_, changed := changes["ipv6_prefix"]
	nics := n.Addresses - n.Free
	switch {
	case !changed || nics == 0:
		return nil
	case n.IPv6Prefix == "":
		return []string{fmt.Sprintf("the %d NICs in it may use no IPv6 address beyond their links any more", nics)}
	}
	return []string{fmt.Sprintf("the %d NICs in it may use the address that each has in %s, and none in another prefix", nics, n.IPv6Prefix)}
}
