package flow

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"baadal"
)

// Marks of our rules. A NIC's has its MAC address in the lower 48 bits.
const (
	baseCookie = "0xbaada1"
	nicCookie  = uint64(0xba) << 56
)

// The tables of a bridge on which no VM has a firewall.
const (
	tableIn  = 0  // may this frame leave its port
	tableOut = 20 // it is switched as ever
)

// guestBase is what no guest may say, whoever it is.
var guestBase = []string{
	"udp,tp_src=67",       // no DHCP server
	"udp,tp_dst=68",       // nor one with another port: clients do not look at it
	"udp6,tp_src=547",     // no DHCPv6 server
	"udp6,tp_dst=546",     // nor one
	"icmp6,icmp_type=134", // no router advertisement
	"icmp6,icmp_type=137", // no redirect
}

// render returns the rules of a bridge, one a line, each with another match. own
// says that the host itself is reached through it.
func render(policy baadal.FlowPolicy, nics map[string]baadal.FlowNIC, b bridge, own bool, ports []port) []string {
	if policy.Off {
		return []string{"table=0,cookie=" + baseCookie + ",priority=0,actions=NORMAL"}
	}
	r := &rules{seen: map[string]bool{}}
	firewalls := false
	for _, p := range ports {
		nic, known := p.nic(nics)
		firewalls = firewalls || known && p.bridge == b.name && nic.Firewalled
	}
	// Who has no firewall on a host without any pays for none.
	wire, out := "actions=resubmit(,20)", func(int) string { return "actions=resubmit(,20)" }
	if firewalls {
		wire = "actions=move:NXM_OF_VLAN_TCI[0..11]->NXM_NX_REG5[0..11],resubmit(,10)"
		out = func(vlan int) string { return fmt.Sprintf("actions=load:%d->NXM_NX_REG5[],resubmit(,10)", vlan) }
	}
	base := func(priority int, match, actions string) { r.add(tableIn, baseCookie, priority, match, actions) }
	trusted := func(in string, tag int) {
		if tag > 0 {
			base(300, in, out(tag))
		} else {
			base(300, in, wire)
		}
	}
	if own {
		trusted("in_port=LOCAL", b.tag)
	}
	for _, m := range guestBase {
		base(200, m, "actions=drop")
	}
	base(0, "", "actions=drop") // a port that nobody knows is silent
	if firewalls {
		r.firewallBase()
	} else {
		r.add(tableOut, baseCookie, 0, "", "actions=NORMAL")
	}
	for _, p := range ports {
		if p.bridge != b.name || p.number <= 0 {
			continue
		}
		in := fmt.Sprintf("in_port=%d", p.number)
		if p.mac == "" { // the way out, or somebody's who is not a VM: what comes here was looked at where it began
			trusted(in, p.tag)
			continue
		}
		if nic, known := p.nic(nics); known {
			if p.tag > 0 { // while the NIC changes its network it is in the old one yet: what comes to it is known by that
				nic.VLAN = p.tag
			}
			r.nic(in, nic, out(nic.VLAN))
			if nic.Firewalled {
				r.firewall(nic)
			}
			continue
		}
		// A VM of somebody else's on the same bridge, in a VLAN that is none of ours.
		if !slices.Contains(policy.VLANs, p.tag) {
			base(250, in+","+untagged, out(p.tag))
		}
	}
	return r.lines
}

// untagged matches frames without a VLAN tag and without a priority tag.
const untagged = "vlan_tci=0x0000/0x1fff"

type rules struct {
	lines []string
	seen  map[string]bool
}

func (r *rules) add(table int, cookie string, priority int, match, actions string) {
	key := fmt.Sprintf("table=%d,priority=%d", table, priority)
	if match != "" {
		key += "," + match
	}
	if r.seen[key] {
		return
	}
	r.seen[key] = true
	r.lines = append(r.lines, "cookie="+cookie+","+key+","+actions)
}

// nic lets out what has the NIC's own addresses.
func (r *rules) nic(in string, nic baadal.FlowNIC, out string) {
	hw, err := net.ParseMAC(nic.MAC)
	if err != nil || len(hw) != 6 {
		return
	}
	mac := hw.String()
	cookie := cookieOf(hw)
	port := in + "," + untagged + ",dl_src=" + mac
	allow := func(priority int, match string) { r.add(tableIn, cookie, priority, port+","+match, out) }
	allow(100, "arp,arp_sha="+mac+",arp_spa=0.0.0.0,arp_op=1")                  // asks whether an address is free
	allow(100, "dl_type=0x8035,arp_sha="+mac)                                   // QEMU's announcement after a migration
	allow(100, "udp,nw_src=0.0.0.0,nw_dst=255.255.255.255,tp_src=68,tp_dst=67") // asks for its address
	allow(120, "icmp6,icmp_type=143,ipv6_src=::")                               // listens to groups before it has an address
	r.add(tableIn, cookie, 105, port+",icmp6,icmp_type=136", "actions=drop")    // answers for nobody else
	for _, a := range append([]string{baadal.IPv6Address("fe80::/64", mac)}, nic.Addresses...) {
		ip, err := netip.ParseAddr(a)
		switch {
		case err != nil:
		case ip.Is4():
			allow(100, "arp,arp_sha="+mac+",arp_spa="+ip.String())
			allow(100, "ip,nw_src="+ip.String())
		default:
			allow(100, "ipv6,ipv6_src="+ip.String())
			allow(100, "icmp6,icmp_type=135,ipv6_src=::,nd_target="+ip.String()) // asks whether it is free
			allow(110, "icmp6,icmp_type=136,nd_target="+ip.String())
		}
	}
}

func cookieOf(hw net.HardwareAddr) string {
	n := nicCookie
	for i, b := range hw {
		n |= uint64(b) << (8 * (5 - i))
	}
	return fmt.Sprintf("%#x", n)
}

// nicsOf finds NICs by their MAC address.
func nicsOf(policy baadal.FlowPolicy) map[string]baadal.FlowNIC {
	nics := make(map[string]baadal.FlowNIC, len(policy.NICs))
	for _, n := range policy.NICs {
		n.MAC = strings.ToUpper(n.MAC)
		nics[n.MAC] = n
	}
	return nics
}
