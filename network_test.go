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
		{"small", baadal.NetworkCreate{CIDR: "10.1.0.8/29"}, "10.1.0.11", "10.1.0.14", ""},
		{"one address", baadal.NetworkCreate{CIDR: "10.1.0.0/24", First: "10.1.0.7", Last: "10.1.0.7"}, "10.1.0.7", "10.1.0.7", ""},
		{"gateway above", baadal.NetworkCreate{CIDR: "10.1.0.0/24", Last: "10.1.0.99", Gateway: "10.1.0.100"}, "10.1.0.10", "10.1.0.99", ""},
		{"across a byte", baadal.NetworkCreate{CIDR: "10.1.2.0/23", First: "10.1.2.250", Last: "10.1.3.5"}, "10.1.2.250", "10.1.3.5", ""},

		{"no subnet", baadal.NetworkCreate{}, "", "", "cidr"},
		{"no prefix", baadal.NetworkCreate{CIDR: "10.1.0.0"}, "", "", "cidr"},
		{"host bits", baadal.NetworkCreate{CIDR: "10.1.0.1/24"}, "", "", "cidr"},
		{"too large", baadal.NetworkCreate{CIDR: "10.0.0.0/15"}, "", "", "cidr"},
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
		{"gateway in the range", baadal.NetworkCreate{CIDR: "10.1.0.0/24", Gateway: "10.1.0.10"}, "", "", "gateway"},
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
	in := baadal.NetworkCreate{Name: "lab", CIDR: "10.1.0.0/24"}
	_, _, err := in.Validate()
	mustFail(t, err, baadal.Invalid, "", "vlan")
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
