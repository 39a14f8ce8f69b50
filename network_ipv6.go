package baadal

import (
	"net"
	"net/netip"
	"strings"
)

// checkIPv6Prefix refuses what is no IPv6 prefix for a network, and writes it as
// it is stored. It is a /64, since the other half of an address is made of a
// NIC's MAC. Empty is none.
func checkIPv6Prefix(prefix *string) error {
	if *prefix == "" {
		return nil
	}
	p, err := netip.ParsePrefix(*prefix)
	if err != nil || !p.Addr().Is6() || p.Bits() != 64 || p.Masked() != p {
		return Errorf(Invalid, "%q is not a usable IPv6 prefix", *prefix).WithField("ipv6_prefix").
			WithDetail("give its first address and /64, as 2001:db8:10::/64")
	}
	global, local := p.Addr().As16()[0]>>5 == 0x20>>5, p.Addr().As16()[0]>>1 == 0xfc>>1
	if !global && !local {
		return Errorf(Invalid, "the IPv6 prefix %s is neither global nor unique local", p).WithField("ipv6_prefix").
			WithDetail("take one of those that are routed to you (2000::/3), or one of your own (fd00::/8)")
	}
	*prefix = p.String()
	return nil
}

// IPv6Address is the address that a NIC has in a network's prefix: the one that
// its guest makes for itself of the prefix that a router announces and of its
// MAC (SLAAC with a modified EUI-64, RFC 4291, appendix A). Without prefix or MAC
// there is none.
func IPv6Address(prefix, mac string) string {
	if prefix == "" || mac == "" {
		return ""
	}
	p, err := netip.ParsePrefix(prefix)
	hw, bad := net.ParseMAC(mac)
	if err != nil || bad != nil || len(hw) != 6 {
		return ""
	}
	b := p.Addr().As16()
	copy(b[8:], []byte{hw[0] ^ 2, hw[1], hw[2], 0xff, 0xfe, hw[3], hw[4], hw[5]})
	return netip.AddrFrom16(b).String()
}

// SplitIPv6 takes an address of IPv6Address apart. One that follows from no MAC
// has none.
func SplitIPv6(ip netip.Addr) (prefix, mac string) {
	p, err := ip.Prefix(64)
	if b := ip.As16(); err == nil && b[11] == 0xff && b[12] == 0xfe {
		mac = strings.ToUpper(net.HardwareAddr{b[8] ^ 2, b[9], b[10], b[13], b[14], b[15]}.String())
	}
	return p.String(), mac
}
