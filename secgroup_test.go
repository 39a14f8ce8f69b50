package baadal_test

import (
	"testing"

	"baadal"
)

func TestSecRules(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		rule baadal.SecRule
		want string // its words; empty if it is refused
	}{
		"ssh":           {baadal.SecRule{Direction: "in", Protocol: "tcp", First: 22}, "in tcp 22"},
		"range":         {baadal.SecRule{Direction: "in", Protocol: "udp", First: 1000, Last: 2000, Peer: "10.0.0.0/8"}, "in udp 1000-2000 from 10.0.0.0/8"},
		"one address":   {baadal.SecRule{Direction: "out", Protocol: "any", Peer: "10.0.0.7/32"}, "out any to 10.0.0.7"},
		"IPv6":          {baadal.SecRule{Direction: "in", Protocol: "icmp", Peer: "2001:DB8::/32"}, "in icmp from 2001:db8::/32"},
		"every port":    {baadal.SecRule{Direction: "in", Protocol: "tcp"}, "in tcp"},
		"no direction":  {baadal.SecRule{Protocol: "tcp"}, ""},
		"no protocol":   {baadal.SecRule{Direction: "in"}, ""},
		"downwards":     {baadal.SecRule{Direction: "in", Protocol: "tcp", First: 30, Last: 20}, ""},
		"up to 100":     {baadal.SecRule{Direction: "in", Protocol: "tcp", Last: 100}, ""},
		"too high":      {baadal.SecRule{Direction: "in", Protocol: "tcp", First: 22, Last: 70000}, ""},
		"ports of icmp": {baadal.SecRule{Direction: "in", Protocol: "icmp", First: 8}, ""},
		"host bits":     {baadal.SecRule{Direction: "in", Protocol: "any", Peer: "10.0.0.1/8"}, ""},
		"no address":    {baadal.SecRule{Direction: "in", Protocol: "any", Peer: "web1"}, ""},
		"injection":     {baadal.SecRule{Direction: "in", Protocol: "any", Peer: "10.0.0.1,actions=NORMAL"}, ""},
		"a zone":        {baadal.SecRule{Direction: "in", Protocol: "any", Peer: "fe80::1%eth0"}, ""},
	}
	for name, x := range tests {
		err := x.rule.Validate()
		if (err == nil) != (x.want != "") || err == nil && x.rule.String() != x.want {
			t.Errorf("%s: %q, %v; want %q", name, x.rule.String(), err, x.want)
		}
	}
}
