package baadal_test

import (
	"net"
	"testing"

	"baadal"
)

func TestNetworkCreateValidate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		in          baadal.NetworkCreate
		first, last string
		field       string // wrong field; empty if it is fine
	}{
		{"defaults", baadal.NetworkCreate{CIDR: "192.168.10.0/24"}, "192.168.10.10", "192.168.10.254", ""},
		{"largest", baadal.NetworkCreate{CIDR: "10.1.0.0/16"}, "10.1.0.10", "10.1.255.254", ""},
		{"largest, whole", baadal.NetworkCreate{CIDR: "10.1.0.0/16", First: "10.1.0.1"}, "10.1.0.1", "10.1.255.254", ""},
		{"smallest, beside its gateway", baadal.NetworkCreate{CIDR: "10.1.0.0/30", Gateway: "10.1.0.1"}, "10.1.0.2", "10.1.0.2", ""},
		{"gateway in the range, kept out later", baadal.NetworkCreate{CIDR: "10.1.0.0/24", Gateway: "10.1.0.20"}, "10.1.0.10", "10.1.0.254", ""},
		{"wide subnet", baadal.NetworkCreate{CIDR: "10.0.0.0/8"}, "10.0.0.10", "10.1.0.9", ""},
		{"small", baadal.NetworkCreate{CIDR: "10.1.0.8/29"}, "10.1.0.11", "10.1.0.14", ""},
		{"one address", baadal.NetworkCreate{CIDR: "10.1.0.0/24", First: "10.1.0.7", Last: "10.1.0.7"}, "10.1.0.7", "10.1.0.7", ""},
		{"gateway above", baadal.NetworkCreate{CIDR: "10.1.0.0/24", Last: "10.1.0.99", Gateway: "10.1.0.100"}, "10.1.0.10", "10.1.0.99", ""},
		{"across a byte", baadal.NetworkCreate{CIDR: "10.1.2.0/23", First: "10.1.2.250", Last: "10.1.3.5"}, "10.1.2.250", "10.1.3.5", ""},

		{"no subnet", baadal.NetworkCreate{}, "", "", "cidr"},
		{"no prefix", baadal.NetworkCreate{CIDR: "10.1.0.0"}, "", "", "cidr"},
		{"host bits", baadal.NetworkCreate{CIDR: "10.1.0.1/24"}, "", "", "cidr"},
		{"too large", baadal.NetworkCreate{CIDR: "10.0.0.0/7"}, "", "", "cidr"},
		{"range too large", baadal.NetworkCreate{CIDR: "10.0.0.0/8", Last: "10.1.0.10"}, "", "", "first"},
		{"all and some", baadal.NetworkCreate{CIDR: "10.1.0.0/24", VisibleToAll: new(true), Organisations: []string{"IITD"}}, "", "", "organisations"},
		{"too small", baadal.NetworkCreate{CIDR: "10.0.0.0/31"}, "", "", "cidr"},
		{"IPv6", baadal.NetworkCreate{CIDR: "fd00::/112"}, "", "", "cidr"},
		{"IPv4 in IPv6", baadal.NetworkCreate{CIDR: "::ffff:10.0.0.0/120"}, "", "", "cidr"},
		{"words", baadal.NetworkCreate{CIDR: "10.1.0.0/24; reboot"}, "", "", "cidr"},
		{"downwards", baadal.NetworkCreate{CIDR: "10.1.0.0/24", First: "10.1.0.20", Last: "10.1.0.19"}, "", "", "first"},
		{"network address", baadal.NetworkCreate{CIDR: "10.1.0.0/24", First: "10.1.0.0"}, "", "", "first"},
		{"broadcast address", baadal.NetworkCreate{CIDR: "10.1.0.0/24", Last: "10.1.0.255"}, "", "", "first"},
		{"first elsewhere", baadal.NetworkCreate{CIDR: "10.1.0.0/24", First: "10.2.0.10"}, "", "", "first"},
		{"last elsewhere", baadal.NetworkCreate{CIDR: "10.1.0.0/24", Last: "10.1.1.10"}, "", "", "last"},
		{"last no address", baadal.NetworkCreate{CIDR: "10.1.0.0/24", Last: "ten"}, "", "", "last"},
		{"gateway elsewhere", baadal.NetworkCreate{CIDR: "10.1.0.0/24", Gateway: "10.2.0.1"}, "", "", "gateway"},
		{"gateway is the network", baadal.NetworkCreate{CIDR: "10.1.0.0/24", Gateway: "10.1.0.0"}, "", "", "gateway"},
		{"gateway is the broadcast", baadal.NetworkCreate{CIDR: "10.1.0.0/24", Gateway: "10.1.0.255"}, "", "", "gateway"},
		{"name server no address", baadal.NetworkCreate{CIDR: "10.1.0.0/24", DNS: []string{"10.0.0.53", "dns.example.org"}}, "", "", "dns"},
		{"VLAN 4095", baadal.NetworkCreate{CIDR: "10.1.0.0/24", VLAN: 4095}, "", "", "vlan"},
		{"VLAN below", baadal.NetworkCreate{CIDR: "10.1.0.0/24", VLAN: -1}, "", "", "vlan"},
		{"name", baadal.NetworkCreate{CIDR: "10.1.0.0/24", Name: "a b"}, "", "", "name"},
		{"libvirt network", baadal.NetworkCreate{CIDR: "10.1.0.0/24", Bridge: "x'/><y"}, "", "", "libvirt_network"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			in := c.in
			if in.Name == "" {
				in.Name = "lab"
			}
			if in.VLAN == 0 {
				in.VLAN = 10
			}
			first, last, err := in.Validate()
			if c.field != "" {
				mustFail(t, err, baadal.Invalid, "", c.field)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if first.String() != c.first || last.String() != c.last || in.Bridge != baadal.DefaultLibvirtNetwork {
				t.Errorf("range %s to %s on %q, want %s to %s", first, last, in.Bridge, c.first, c.last)
			}
		})
	}
	for _, c := range []struct {
		all  *bool
		orgs []string
		want bool
	}{{nil, nil, true}, {nil, []string{"IITD"}, false}, {new(false), nil, false}, {new(true), nil, true}} {
		in := baadal.NetworkCreate{Name: "lab", VLAN: 10, CIDR: "10.1.0.0/24", VisibleToAll: c.all, Organisations: c.orgs}
		if _, _, err := in.Validate(); err != nil || *in.VisibleToAll != c.want {
			t.Errorf("%v %v: visible to all %v, %v", c.all, c.orgs, *in.VisibleToAll, err)
		}
	}
	in := baadal.NetworkCreate{Name: "lab", CIDR: "10.1.0.0/24"}
	_, _, err := in.Validate()
	mustFail(t, err, baadal.Invalid, "", "vlan")
}

// TestNoMachineCanHaveThem: addresses that are of no use in a network.
func TestNoMachineCanHaveThem(t *testing.T) {
	t.Parallel()
	for _, cidr := range []string{"0.0.0.0/8", "127.1.0.0/24", "169.0.0.0/8", "239.0.0.0/24", "255.0.0.0/8"} {
		mustFail(t, (&baadal.NetworkEdit{CIDR: &cidr}).Validate(), baadal.Invalid, "", "cidr")
	}
	mustFail(t, (&baadal.NetworkEdit{DNS: &[]string{"fe80::1%x\ny"}}).Validate(), baadal.Invalid, "", "dns")
}

func TestNetworkEditValidate(t *testing.T) {
	t.Parallel()
	text := func(s string) *string { return &s }
	number := func(n int) *int { return &n }
	for field, in := range map[string]baadal.NetworkEdit{
		"name": {Name: text("a b")}, "vlan": {VLAN: number(4095)}, "cidr": {CIDR: text("10.1.0.1/24")}, "dns": {DNS: &[]string{"dns"}},
		"libvirt_network": {Bridge: text("<x>")}, "organisations": {VisibleToAll: new(true), Organisations: &[]string{"IITD"}}, "": {},
	} {
		mustFail(t, in.Validate(), baadal.Invalid, "", field)
	}
	in := baadal.NetworkEdit{Name: text("lab"), VLAN: number(1), CIDR: text("10.1.0.0/30"), Gateway: text(""), DNS: &[]string{}, Organisations: &[]string{}}
	if err := in.Validate(); err != nil {
		t.Error(err)
	}
	for gateway, field := range map[string]string{"": "", "10.1.0.1": "", "10.1.0.0": "gateway", "10.1.0.255": "gateway", "10.2.0.1": "gateway", "x": "gateway"} {
		n := baadal.Network{Name: "lab", CIDR: "10.1.0.0/24", Gateway: gateway}
		if err := n.CheckGateway(); field != "" {
			mustFail(t, err, baadal.Invalid, "", field)
		} else if err != nil {
			t.Errorf("%q: %v", gateway, err)
		}
	}
}

func TestRangeIn(t *testing.T) {
	t.Parallel()
	n := baadal.Network{Name: "lab", CIDR: "10.0.0.0/8"}
	for _, c := range []struct{ from, to, field string }{
		{"10.0.0.1", "", ""},
		{"10.0.0.250", "10.0.1.5", ""},
		{"10.0.0.1", "10.1.0.0", ""},
		{"10.0.0.1", "10.1.0.1", "first"},
		{"10.0.0.0", "", "first"},
		{"10.255.255.255", "", "first"},
		{"10.0.0.2", "10.0.0.1", "first"},
		{"11.0.0.1", "", "first"},
		{"10.0.0.1", "ten", "last"},
		{"10.0.0.1/32", "", "first"},
	} {
		first, last, err := n.RangeIn(c.from, c.to)
		if c.field != "" {
			mustFail(t, err, baadal.Invalid, "", c.field)
		} else if err != nil || first.String() != c.from || c.to != "" && last.String() != c.to {
			t.Errorf("%s to %s is %s to %s: %v", c.from, c.to, first, last, err)
		}
	}
	n.CIDR = ""
	_, _, err := n.RangeIn("10.0.0.1", "")
	mustFail(t, err, baadal.Conflict, "network_not_ready", "")
}

func TestCheckMAC(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"A2:00:00:12:34:56": "A2:00:00:12:34:56", "a2-00-00-ab-cd-ef": "A2:00:00:AB:CD:EF", "52:54:00:00:00:01": "52:54:00:00:00:01",
		"a200.0012.3456": "", "A2:00:00:12:34": "", "A2:00:00:12:34:5G": "", "": "", "01:00:5E:00:00:01": "", "FF:FF:FF:FF:FF:FF": "",
		"00:00:00:00:00:00": "", "02:00:5E:10:00:00:00:01": "", "A2:00:00:12:34:56\n": "", "A2000012:3456": "",
	} {
		got, err := baadal.CheckMAC(in)
		if want == "" {
			mustFail(t, err, baadal.Invalid, "", "macs")
		} else if err != nil || got != want {
			t.Errorf("%q is %q: %v", in, got, err)
		}
	}
}

func TestRandomMAC(t *testing.T) {
	t.Parallel()
	for _, b := range [][3]byte{{}, {1, 2, 3}, {255, 255, 255}} {
		text := baadal.RandomMAC(b)
		mac, err := net.ParseMAC(text)
		if err != nil || len(mac) != 6 {
			t.Fatalf("%q: %v", text, err)
		}
		if mac[0]&1 != 0 {
			t.Errorf("%s is a multicast address", text)
		}
		if mac[0]&2 == 0 {
			t.Errorf("%s is not locally administered", text)
		}
		if [3]byte(mac[3:]) != b {
			t.Errorf("%s does not end with % X", text, b)
		}
	}
}

func TestReservationName(t *testing.T) {
	t.Parallel()
	if got := baadal.ReservationName("192.168.10.11"); got != "ip-192-168-10-11" {
		t.Errorf("got %q", got)
	}
}
