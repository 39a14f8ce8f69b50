package flow

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"baadal"
)

// The tables of a bridge on which a VM has a firewall. The connections of each
// VLAN are tracked in a zone of their own, whose number is in register 5.
const (
	tableTrack = 10 // what goes to or comes from such a VM is looked up among the connections
	tableFrom  = 20 // may the VM that sends it do so
	tableTo    = 30 // may the VM that it goes to be reached
)

const (
	zone    = "zone=NXM_NX_REG5[0..15]"
	forward = "actions=NORMAL"
	commit  = "actions=ct(commit," + zone + "),NORMAL"
	track   = "actions=ct(table=20," + zone + ")"
	next    = "actions=resubmit(,30)"
)

var families = []string{"ip", "ipv6"}

// firewallBase is what a bridge needs once.
func (r *rules) firewallBase() {
	base := func(table, priority int, match, actions string) { r.add(table, baseCookie, priority, match, actions) }
	base(tableTrack, 0, "", forward)
	base(tableFrom, 0, "", next)
	base(tableTo, 0, "", forward)
	base(tableTrack, 125, "udp,tp_src=67,tp_dst=68", forward) // some DHCP servers answer the one by a frame to all
	for _, f := range families {
		base(tableFrom, 200, "ct_state=+trk+inv,"+f, "actions=drop")
		base(tableTo, 100, "ct_state=+trk+new,"+f, commit) // to somebody without a firewall
	}
}

// firewall is what a VM with security groups needs. A rule holds for what goes
// the way of the connection's first packet, each time: taking it away cuts
// connections that exist. What goes the other way, and what belongs to it (an
// error message), passes.
func (r *rules) firewall(nic baadal.FlowNIC) {
	hw, err := net.ParseMAC(nic.MAC)
	if err != nil {
		return
	}
	cookie, mac := cookieOf(hw), hw.String()
	from, to := fmt.Sprintf("dl_src=%s,reg5=%d", mac, nic.VLAN), fmt.Sprintf("dl_dst=%s,reg5=%d", mac, nic.VLAN)
	add := func(table, priority int, match, actions string) { r.add(table, cookie, priority, match, actions) }

	add(tableTrack, 110, from+",udp,tp_src=68,tp_dst=67", forward)
	add(tableTrack, 110, to+",udp,tp_src=67,tp_dst=68", forward)
	for kind := 133; kind <= 136; kind++ { // neighbours and routers of IPv6
		add(tableTrack, 110, fmt.Sprintf("%s,icmp6,icmp_type=%d", from, kind), forward)
		add(tableTrack, 110, fmt.Sprintf("%s,icmp6,icmp_type=%d", to, kind), forward)
	}
	for _, kind := range []int{131, 132, 143} { // listens to a group: what follows connections takes it for broken
		add(tableTrack, 110, fmt.Sprintf("%s,icmp6,icmp_type=%d", from, kind), forward)
	}
	// A frame to all with a packet to this VM alone: its guest would take it.
	for _, a := range append([]string{baadal.IPv6Address("fe80::/64", mac)}, nic.Addresses...) {
		match := fmt.Sprintf("dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,reg5=%d", nic.VLAN)
		switch ip, err := netip.ParseAddr(a); {
		case err != nil:
		case ip.Is4():
			add(tableTrack, 120, match+",ip,nw_dst="+ip.String(), "actions=drop")
		default:
			add(tableTrack, 120, match+",ipv6,ipv6_dst="+ip.String(), "actions=drop")
		}
	}
	closed := slices.ContainsFunc(nic.Rules, func(s baadal.SecRule) bool { return s.Direction == baadal.RuleOut })
	for _, f := range families {
		add(tableTrack, 100, from+","+f, track)
		add(tableTrack, 100, to+","+f, track)
		for _, state := range []string{"+trk+rpl", "+trk+rel"} {
			add(tableTo, 150, to+",ct_state="+state+","+f, forward)
			if closed {
				add(tableFrom, 150, from+",ct_state="+state+","+f, next)
			}
		}
		add(tableTo, 130, to+","+f, "actions=drop")
		if closed {
			add(tableFrom, 50, from+","+f, "actions=drop")
		}
	}
	for _, s := range nic.Rules {
		for _, m := range matches(s) {
			if s.Direction == baadal.RuleOut {
				add(tableFrom, 100, from+",ct_state=+trk-rpl-rel,"+m, next)
			} else {
				add(tableTo, 140, to+",ct_state=+trk-rpl-rel,"+m, commit)
			}
		}
	}
}

// matches is a rule without its VM: one for each family and part of its range of
// ports.
func matches(s baadal.SecRule) (all []string) {
	peer, v4, v6 := s.Peer, true, true
	if peer != "" {
		p, err := netip.ParsePrefix(peer)
		if a, aerr := netip.ParseAddr(peer); aerr == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			return nil
		}
		v4 = p.Addr().Is4()
		v6 = !v4
		if p.Bits() == 0 { // to the switch this is no match at all: two rules would be one there, and one be missed for ever
			peer = ""
		}
	}
	names := map[string][2]string{
		baadal.ProtocolAny: {"ip", "ipv6"}, baadal.ProtocolTCP: {"tcp", "tcp6"}, baadal.ProtocolUDP: {"udp", "udp6"}, baadal.ProtocolICMP: {"icmp", "icmp6"},
	}[s.Protocol]
	side := map[string]string{baadal.RuleIn: "src", baadal.RuleOut: "dst"}[s.Direction]
	one := func(name, address string) {
		m := name
		if peer != "" {
			m += "," + address + "_" + side + "=" + peer
		}
		if s.First == 0 {
			all = append(all, m)
			return
		}
		for _, p := range portMasks(s.First, s.Last) {
			all = append(all, m+",tp_dst="+p)
		}
	}
	if v4 {
		one(names[0], "nw")
	}
	if v6 {
		one(names[1], "ipv6")
	}
	return all
}

// portMasks splits a range of ports into the fewest values with masks.
func portMasks(first, last int) (all []string) {
	for first <= last {
		size := 1
		for first%(2*size) == 0 && first+2*size-1 <= last && 2*size <= 1<<16 {
			size *= 2
		}
		if size == 1 {
			all = append(all, fmt.Sprint(first))
		} else {
			all = append(all, fmt.Sprintf("%#x/%#x", first, 0xffff&^(size-1)))
		}
		first += size
	}
	return all
}
