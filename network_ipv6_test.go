package baadal_test

import (
	"net/netip"
	"testing"

	"baadal"
)

func TestIPv6Prefix(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"2001:db8:10::/64": "2001:db8:10::/64", "2001:DB8:10:0::/64": "2001:db8:10::/64", "fd00:ba:ada1:10::/64": "fd00:ba:ada1:10::/64", "": "",

		"2001:db8::/63": "refused", "2001:db8::/65": "refused", "2001:db8::/128": "refused", "2001:db8:10::": "refused",
		"2001:db8:10::1/64": "refused", "2001:db8:10::%eth0/64": "refused", "2001:db8:10::/64; reboot": "refused", " ": "refused",
		"fe80::/64": "refused", "fec0::/64": "refused", "ff02::/64": "refused", "::/64": "refused", "64:ff9b::/64": "refused", "4000::/64": "refused",
		"10.1.0.0/24": "refused", "::ffff:10.0.0.0/64": "refused",
	} {
		create := baadal.NetworkCreate{Name: "lab", VLAN: 10, CIDR: "10.1.0.0/24", IPv6Prefix: in}
		_, _, err := create.Validate()
		given := in
		edit := baadal.NetworkEdit{IPv6Prefix: &given}
		again := edit.Validate()
		if want == "refused" {
			mustFail(t, err, baadal.Invalid, "", "ipv6_prefix")
			mustFail(t, again, baadal.Invalid, "", "ipv6_prefix")
			continue
		}
		if err != nil || again != nil {
			t.Errorf("%q: %v, %v", in, err, again)
		}
		if create.IPv6Prefix != want || *edit.IPv6Prefix != want {
			t.Errorf("%q is written %q and %q", in, create.IPv6Prefix, *edit.IPv6Prefix)
		}
		if given != in {
			t.Errorf("the caller's %q became %q", in, given)
		}
	}
}

func TestIPv6Address(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ prefix, mac, want string }{
		{"fe80::/64", "34-56-78-9A-BC-DE", "fe80::3656:78ff:fe9a:bcde"}, // the example of RFC 2464, section 4
		{"2001:db8:10::/64", "A2:00:00:12:34:56", "2001:db8:10:0:a000:ff:fe12:3456"},
		{"2001:db8:10:20::/64", "52:54:00:00:10:01", "2001:db8:10:20:5054:ff:fe00:1001"},
		{"fd00::/64", "FE:FF:FF:FF:FF:FF", "fd00::fcff:ffff:feff:ffff"},
		{"", "A2:00:00:12:34:56", ""},
		{"2001:db8:10::/64", "", ""},
		{"2001:db8:10::/64", "A2:00:00:12:34", ""},
		{"2001:db8:10::/64", "02:00:5E:10:00:00:00:01", ""},
		{"words", "A2:00:00:12:34:56", ""},
	} {
		if got := baadal.IPv6Address(c.prefix, c.mac); got != c.want {
			t.Errorf("%s in %s has %q, want %q", c.mac, c.prefix, got, c.want)
		}
	}
	for in, want := range map[string][2]string{
		"2001:db8:10:0:a000:ff:fe12:3456": {"2001:db8:10::/64", "A2:00:00:12:34:56"},
		"2001:db8:10::1":                  {"2001:db8:10::/64", ""},
	} {
		if prefix, mac := baadal.SplitIPv6(netip.MustParseAddr(in)); [2]string{prefix, mac} != want {
			t.Errorf("%s is %q in %s, want %q", in, mac, prefix, want)
		}
	}
}

func TestFindNICByIPv6(t *testing.T) {
	t.Parallel()
	all := []baadal.NIC{{Index: 0, Network: "lab", Address: "10.1.0.10", MAC: "A2:00:00:00:00:01"}, {Index: 1, Network: "dmz", Address: "10.2.0.10", MAC: "A2:00:00:00:00:02", IPv6: "2001:db8::1"}}
	if n, err := baadal.FindNIC(all, "2001:db8::1"); err != nil || n.Index != 1 {
		t.Errorf("%+v, %v", n, err)
	}
	if _, err := baadal.FindNIC(all, ""); baadal.KindOf(err) != baadal.NotFound {
		t.Errorf("a NIC without IPv6 is found by nothing: %v", err)
	}
}
