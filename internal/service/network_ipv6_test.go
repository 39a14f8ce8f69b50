package service_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
)

// TestIPv6Prefix: given with a network or later, taken away, and nobody else's.
func TestIPv6Prefix(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	edit := func(a baadal.Actor, name, prefix string, opt baadal.ChangeOptions) (baadal.Change[baadal.Network], error) {
		return c.EditNetwork(t.Context(), a, name, baadal.NetworkEdit{IPv6Prefix: &prefix}, opt)
	}
	vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml"})
	sees := func(want string) {
		t.Helper()
		one, err := c.VM(t.Context(), c.orgadmin, "ml")
		if err != nil || one.IPv6 != want || one.NICs[0].IPv6 != want {
			t.Errorf("it has %q, and its NIC %+v, want %q: %v", one.IPv6, one.NICs, want, err)
		}
		list, err := c.VMs(t.Context(), c.orgadmin, baadal.ListQuery{})
		if err != nil || len(list.Items) != 1 || list.Items[0].IPv6 != want {
			t.Errorf("the list has %+v, want %q: %v", list.Items, want, err)
		}
	}
	sees("")

	_, err := edit(c.orgadmin, "research", "fd00:10::/64", dry)
	refused(t, err, baadal.Forbidden, "forbidden")
	for _, bad := range []string{"fd00:10::/48", "fd00:10::1/64", "fe80::/64", "10.1.0.0/24"} {
		_, err := edit(c.admin, "research", bad, dry)
		refusedField(t, err, baadal.Invalid, "ipv6_prefix")
	}
	ch, err := edit(c.admin, "research", "fd00:10::/64", dry)
	if err != nil || ch.Plan == nil || len(ch.Plan.Effects) != 1 || !strings.Contains(ch.Plan.Effects[0], "1 NICs") {
		t.Errorf("%+v, %v", ch.Plan, err)
	}
	sees("")
	before, err := c.Network(t.Context(), c.admin, "research")
	if err != nil || before.IPv6Prefix != "" {
		t.Errorf("%+v, %v", before, err)
	}
	if ch, err = edit(c.admin, "research", "FD00:10:0::/64", baadal.ChangeOptions{Generation: before.Generation}); err != nil || ch.Resource.IPv6Prefix != "fd00:10::/64" {
		t.Fatalf("%+v, %v", ch.Resource, err)
	}
	_, err = edit(c.admin, "research", "fd00:11::/64", baadal.ChangeOptions{Generation: before.Generation})
	refused(t, err, baadal.Stale, "stale")
	_, err = edit(c.admin, "research", "fd00:10::/64", dry)
	refused(t, err, baadal.Invalid, "no_change")
	sees(baadal.IPv6Address("fd00:10::/64", vm.MAC))
	c.lastEdit(t, "research", `{"ipv6_prefix":{"old":"","new":"fd00:10::/64"}}`)

	wish := baadal.NetworkCreate{Name: "lab", VLAN: 20, CIDR: "10.9.0.0/24", IPv6Prefix: "fd00:10::/64"}
	_, err = c.CreateNetwork(t.Context(), c.admin, wish, dry)
	refused(t, err, baadal.Conflict, "exists")
	wish.IPv6Prefix = "2001:db8:20::/64"
	made, err := c.CreateNetwork(t.Context(), c.admin, wish, dry)
	if err != nil || !strings.Contains(made.Plan.Summary, "2001:db8:20::/64") {
		t.Errorf("%+v, %v", made.Plan, err)
	}
	if made, err = c.CreateNetwork(t.Context(), c.admin, wish, baadal.ChangeOptions{}); err != nil || made.Resource.IPv6Prefix != "2001:db8:20::/64" {
		t.Fatalf("%+v, %v", made.Resource, err)
	}
	_, err = edit(c.admin, "research", "2001:db8:20::/64", dry)
	refused(t, err, baadal.Conflict, "exists")

	if _, err = edit(c.admin, "research", "", baadal.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	sees("")
}

// lastEdit compares what the last event of a network says was changed.
func (c *cloud) lastEdit(t *testing.T, network, want string) {
	t.Helper()
	c.view(t, func(tx *store.Tx) error {
		n, err := tx.NetworkByRef(network)
		if err != nil {
			return err
		}
		l, err := tx.Events(baadal.ListQuery{Limit: 1}, baadal.Visibility{Scope: baadal.ScopeAny}, &baadal.Subject{Kind: "network", ID: n.ID})
		if err != nil || len(l.Items) != 1 {
			t.Fatalf("%+v, %v", l, err)
		}
		if d := cmp.Diff(want, string(l.Items[0].Changes)); d != "" {
			t.Error(d)
		}
		return nil
	})
}

// TestIPv6PrefixOfBuiltin: one that was given before there are addresses stays.
func TestIPv6PrefixOfBuiltin(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	if err := c.EnsureBuiltinNetworks(t.Context()); err != nil {
		t.Fatal(err)
	}
	edited(t, c, "Private", baadal.NetworkEdit{IPv6Prefix: new("fd00:30::/64")})
	c.network(t, "Private", 30, "10.30.0.0/24")
	n, err := c.Network(t.Context(), c.admin, "Private")
	if err != nil || n.IPv6Prefix != "fd00:30::/64" {
		t.Errorf("%+v, %v", n, err)
	}
}
