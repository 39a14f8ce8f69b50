package flow_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"baadal"
	"baadal/internal/flow"
	"baadal/internal/needs"
)

func TestPortMasks(t *testing.T) {
	tests := map[[2]int]string{
		{22, 22}: "22", {0x1000, 0x100f}: "0x1000/0xfff0", {1000, 1005}: "0x3e8/0xfffc 0x3ec/0xfffe", {65535, 65535}: "65535",
		{1, 65535}: "1 0x2/0xfffe 0x4/0xfffc 0x8/0xfff8 0x10/0xfff0 0x20/0xffe0 0x40/0xffc0 0x80/0xff80 0x100/0xff00 0x200/0xfe00 0x400/0xfc00 0x800/0xf800 0x1000/0xf000 0x2000/0xe000 0x4000/0xc000 0x8000/0x8000",
	}
	for r, want := range tests {
		if got := strings.Join(flow.PortMasks(r[0], r[1]), " "); got != want {
			t.Errorf("%v: %s, want %s", r, got, want)
		}
	}
}

// tracked is what the switch would do with a frame of a connection in a state.
func (m *machine) tracked(frame, state string) string {
	m.t.Helper()
	out := m.must("ovs-appctl", "-t", filepath.Join(m.dir, fmt.Sprintf("ovs-vswitchd.%d.ctl", m.vs.Process.Pid)), "ofproto/trace", bridge, frame, "--ct-next", state)
	i := strings.LastIndex(out, "Datapath actions: ")
	if i < 0 || strings.HasPrefix(out[i:], "Datapath actions: drop") {
		return "drop"
	}
	return "pass"
}

func TestFirewall(t *testing.T) {
	m := newMachine(t)
	m.plug("a0", macA, uuidA, 10)
	m.plug("b0", macB, uuidB, 10)
	rules := []baadal.SecRule{
		{Direction: "in", Protocol: "tcp", First: 22, Last: 22, Peer: "192.168.10.0/24"},
		{Direction: "in", Protocol: "udp", First: 5000, Last: 5003},
		{Direction: "in", Protocol: "icmp"},
		{Direction: "out", Protocol: "tcp", First: 443, Last: 443},
	}
	read := func(macs []string) (baadal.FlowPolicy, error) {
		p, err := read(macs)
		for i := range p.NICs {
			if p.NICs[i].MAC == macB {
				p.NICs[i].Firewalled, p.NICs[i].Rules = true, rules
			}
		}
		return p, err
	}
	k := flow.New(m, flow.Options{RunDir: m.dir})
	if err := k.Apply(t.Context(), host, read); err != nil {
		t.Fatal(err)
	}
	if words, err := k.Differences(t.Context(), host, read); err != nil || len(words) != 0 {
		t.Errorf("what was laid differs: %v, %v", words, err)
	}
	in := func(port string) string { return "in_port=" + m.vsctl("get", "interface", port, "ofport") + "," }
	toB := in("a0") + "dl_src=a2:00:00:00:00:0a,dl_dst=a2:00:00:00:00:0b,"
	fromB := in("b0") + "dl_src=a2:00:00:00:00:0b,dl_dst=a2:00:00:00:00:0a,"
	toAll := in("a0") + "dl_src=a2:00:00:00:00:0a,dl_dst=ff:ff:ff:ff:ff:ff,"
	up := in("up0")
	wire := up + "dl_src=02:00:00:00:00:01,dl_dst=a2:00:00:00:00:0b,dl_vlan=10,"
	const there, back, away = "nw_src=192.168.10.11,nw_dst=192.168.10.12,", "nw_src=192.168.10.12,nw_dst=192.168.10.11,", "nw_src=10.9.9.9,nw_dst=192.168.10.12,"
	tests := []struct{ frame, state, want string }{
		{toB + "tcp," + there + "tcp_dst=22", "trk,new", "pass"},
		{toB + "tcp," + there + "tcp_dst=22", "trk,est", "pass"},
		{toB + "tcp," + there + "tcp_dst=23", "trk,new", "drop"},
		{toB + "tcp," + there + "tcp_dst=23", "trk,est", "drop"}, // it was allowed once
		{toB + "tcp," + there + "tcp_src=443", "trk,est,rpl", "pass"},
		{toB + "udp," + there + "udp_dst=5003", "trk,new", "pass"},
		{toB + "udp," + there + "udp_dst=5004", "trk,new", "drop"},
		{toB + "icmp," + there + "icmp_type=8", "trk,new", "pass"},
		{toB + "icmp," + there + "icmp_type=3", "trk,rel", "pass"},
		{toB + "tcp," + there + "tcp_dst=22", "trk,inv", "drop"},
		{toB + "arp,arp_op=1,arp_sha=a2:00:00:00:00:0a,arp_spa=192.168.10.11,arp_tpa=192.168.10.12", "trk,new", "pass"},
		{wire + "tcp," + away + "tcp_dst=22", "trk,new", "drop"}, // from elsewhere
		{wire + "tcp," + there + "tcp_dst=22", "trk,new", "pass"},
		{wire + "udp," + away + "udp_dst=5000", "trk,new", "pass"},
		{toAll + "udp," + there + "udp_dst=5004", "trk,new", "drop"}, // to all, with a packet to it alone
		{toAll + "udp6,ipv6_src=fe80::a000:ff:fe00:a,ipv6_dst=fe80::a000:ff:fe00:b,udp_dst=5004", "trk,new", "drop"},
		{toAll + "udp,nw_src=192.168.10.11,nw_dst=192.168.10.255,udp_dst=5004", "trk,new", "pass"},
		{up + "dl_src=02:00:00:00:00:01,dl_dst=ff:ff:ff:ff:ff:ff,dl_vlan=10,udp,nw_src=192.168.10.1,nw_dst=192.168.10.12,udp_src=67,udp_dst=68", "trk,new", "pass"},
		{wire + "udp,nw_src=192.168.10.1,nw_dst=192.168.10.12,udp_src=67,udp_dst=68", "trk,new", "pass"},
		{wire + "icmp6,ipv6_src=fe80::1,ipv6_dst=fe80::2,icmpv6_type=135", "trk,new", "pass"},
		{in("b0") + "dl_src=a2:00:00:00:00:0b,dl_dst=33:33:00:00:00:16,icmp6,ipv6_src=fe80::a000:ff:fe00:b,ipv6_dst=ff02::16,icmpv6_type=143", "trk,inv", "pass"}, // listens to a group
		{wire + "tcp6,ipv6_src=fe80::1,ipv6_dst=fe80::2,tcp_dst=22", "trk,new", "drop"},                                                                           // the rule is of IPv4
		{fromB + "tcp," + back + "tcp_dst=443", "trk,new", "pass"},
		{fromB + "tcp," + back + "tcp_dst=80", "trk,new", "drop"},
		{fromB + "tcp," + back + "tcp_src=22", "trk,est,rpl", "pass"},
		{fromB + "tcp,nw_src=192.168.10.99,nw_dst=192.168.10.11,tcp_dst=443", "trk,new", "drop"},                                                // not with another's address
		{in("a0") + "dl_src=a2:00:00:00:00:0a,dl_dst=02:00:00:00:00:01,tcp,nw_src=192.168.10.11,nw_dst=10.9.9.9,tcp_dst=80", "trk,new", "pass"}, // who has no firewall
	}
	for _, x := range tests {
		if got := m.tracked(x.frame, x.state); got != x.want {
			t.Errorf("%s (%s): %s, want %s", x.frame, x.state, got, x.want)
		}
	}
}

// A NIC that changes its network has the new one in the store before its port
// has the tag: its firewall stands where the port is.
func TestFirewallFollowsThePort(t *testing.T) {
	m := newMachine(t)
	m.plug("b0", macB, uuidB, 20)
	read := func(macs []string) (baadal.FlowPolicy, error) {
		p, err := read(macs) // in VLAN 10
		for i := range p.NICs {
			p.NICs[i].Firewalled = true
		}
		return p, err
	}
	if err := flow.New(m, flow.Options{RunDir: m.dir}).Apply(t.Context(), host, read); err != nil {
		t.Fatal(err)
	}
	frame := "in_port=1,dl_src=02:00:00:00:00:01,dl_dst=a2:00:00:00:00:0b,dl_vlan=20,tcp,nw_src=192.168.10.1,nw_dst=192.168.10.12,tcp_dst=22"
	if got := m.tracked(frame, "trk,new"); got != "drop" {
		t.Errorf("it is reached without a rule: %s", got)
	}
}

// Rules that are one to the switch are one for us: else one would be missed, and
// all be laid again, for ever.
func TestRulesThatAreOne(t *testing.T) {
	needs.Time(t)
	m := newMachine(t)
	m.plug("b0", macB, uuidB, 10)
	var rules []baadal.SecRule
	for _, peer := range []string{"", "0.0.0.0/0", "::/0", "10.0.0.0/8"} {
		for _, protocol := range []string{"any", "icmp", "tcp"} {
			rules = append(rules, baadal.SecRule{Direction: "in", Protocol: protocol, Peer: peer}, baadal.SecRule{Direction: "out", Protocol: protocol, Peer: peer})
		}
		rules = append(rules, baadal.SecRule{Direction: "in", Protocol: "udp", First: 1, Last: 65535, Peer: peer})
	}
	keep(t, m, nil, func(macs []string) (baadal.FlowPolicy, error) {
		p, err := read(macs)
		for i := range p.NICs {
			p.NICs[i].Firewalled, p.NICs[i].Rules = true, rules
		}
		return p, err
	})
	eventually(t, "rules", func() bool { return strings.Contains(m.flows(), "192.168.10.12") })
	m.quiet()
}
