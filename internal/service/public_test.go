package service_test

import (
	"net/netip"
	"testing"

	"baadal"
	"baadal/internal/service"
)

// What machines of the cloud have, or VMs' networks, cannot be put into the pool of
// public addresses, and no network is made of what is in it.
func TestPublicAddressesAreNobodys(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ctx, none := t.Context(), baadal.ChangeOptions{}
	c.Service = service.New(c.db, c.queue, service.Options{
		NAT: service.NAT{Public: "203.0.113.1"}, Taken: []netip.Addr{netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr("203.0.113.1")},
	})
	hosts, err := c.Hosts(ctx, c.admin, baadal.ListQuery{Limit: 10})
	if err != nil || len(hosts.Items) == 0 {
		t.Fatalf("%+v, %v", hosts, err)
	}
	for what, addresses := range map[string]string{
		"the NAT box's":         "203.0.113.0/28",
		"a server's":            "198.51.100.0/28",
		"a host's":              hosts.Items[0].Address,
		"of a network":          "10.0.1.8-10.0.1.9",
		"around a network":      "10.0.0.250-10.0.2.5",
		"the end of a network":  "10.0.1.15-10.0.1.20",
		"no machine's, for all": "240.0.0.1",
	} {
		_, err := c.AddPublics(ctx, c.admin, baadal.PublicRange{Range: addresses}, none)
		if baadal.CodeOf(err) != "bad_range" {
			t.Errorf("%s: %s: %v", what, addresses, err)
		}
	}
	if _, err := c.AddPublics(ctx, c.admin, baadal.PublicRange{Range: "203.0.113.16/28"}, none); err != nil {
		t.Fatal(err)
	}
	_, err = c.CreateNetwork(ctx, c.admin, baadal.NetworkCreate{Name: "inside", VLAN: 99, CIDR: "203.0.113.24/29"}, none)
	refused(t, err, baadal.Conflict, "subnet_overlaps")
	if _, err = c.CreateNetwork(ctx, c.admin, baadal.NetworkCreate{Name: "beside", VLAN: 99, CIDR: "203.0.113.32/29"}, none); err != nil {
		t.Error(err)
	}
}
