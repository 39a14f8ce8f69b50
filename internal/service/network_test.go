package service_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
)

func edited(t *testing.T, c *cloud, name string, in baadal.NetworkEdit) baadal.Network {
	t.Helper()
	ch, err := c.EditNetwork(t.Context(), c.admin, name, in, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return *ch.Resource
}

// TestNetworkVisibility: who is outside neither sees a network nor can use it,
// and a VM that is in it goes on.
func TestNetworkVisibility(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ml := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml"})
	if n := edited(t, c, "research", baadal.NetworkEdit{Organisations: &[]string{"TUB"}}); n.VisibleToAll || !cmp.Equal(n.Organisations, []string{"TUB"}) {
		t.Errorf("%+v", n)
	}
	sees := func(a baadal.Actor, want bool) {
		t.Helper()
		l, err := c.Networks(t.Context(), a, baadal.ListQuery{})
		if err != nil || (l.Total == 1) != want || (len(l.Items) == 1) != want {
			t.Errorf("%s lists %d, %v", a.User.Username, l.Total, err)
		}
		n, err := c.Network(t.Context(), a, "research")
		if want && (err != nil || len(n.Organisations) > 0 && !a.Has(baadal.RoleAdmin)) {
			t.Errorf("%s sees %+v, %v", a.User.Username, n, err)
		}
		if !want {
			refused(t, err, baadal.NotFound, "not_found")
		}
	}
	sees(c.admin, true)
	sees(c.stranger, true)
	for _, a := range []baadal.Actor{c.orgadmin, c.faculty, c.student} {
		sees(a, false)
	}
	_, err := c.CreateVM(t.Context(), c.orgadmin, baadal.VMCreate{Name: "more", Template: "tiny", Network: "research"}, baadal.ChangeOptions{})
	refusedField(t, err, baadal.Invalid, "network")
	_, err = c.CreateVM(t.Context(), c.orgadmin, baadal.VMCreate{Name: "more", Template: "tiny"}, baadal.ChangeOptions{})
	refused(t, err, baadal.Conflict, "no_network")
	_, err = c.CloneVM(t.Context(), c.orgadmin, "ml", baadal.VMClone{Count: 1}, dry)
	refused(t, err, baadal.Forbidden, "network_hidden")
	c.create(t, c.admin, baadal.VMCreate{Name: "admins"})
	c.create(t, c.stranger, baadal.VMCreate{Name: "theirs"})

	c.act(t, baadal.ActionVMReboot, ml) // it is in it, and goes on
	vm, err := c.VM(t.Context(), c.orgadmin, "ml")
	if err != nil || vm.Network != "research" || vm.State != baadal.VMRunning {
		t.Errorf("%+v, %v", vm, err)
	}
	if n := edited(t, c, "research", baadal.NetworkEdit{Organisations: &[]string{}}); n.VisibleToAll || len(n.Organisations) > 0 {
		t.Errorf("%+v", n)
	}
	sees(c.stranger, false)
	sees(c.admin, true)
	if n := edited(t, c, "research", baadal.NetworkEdit{VisibleToAll: new(true)}); !n.VisibleToAll {
		t.Errorf("%+v", n)
	}
	sees(c.student, true)
}

func TestEditNetwork(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml"})
	edit := func(a baadal.Actor, in baadal.NetworkEdit) error {
		_, err := c.EditNetwork(t.Context(), a, "research", in, dry)
		return err
	}
	refused(t, edit(c.orgadmin, baadal.NetworkEdit{Name: new("x")}), baadal.Forbidden, "forbidden")
	refused(t, edit(c.admin, baadal.NetworkEdit{}), baadal.Invalid, "no_change")
	refused(t, edit(c.admin, baadal.NetworkEdit{Name: new("research")}), baadal.Invalid, "no_change")
	refused(t, edit(c.admin, baadal.NetworkEdit{VLAN: new(11)}), baadal.Conflict, "network_in_use")
	if err := edit(c.admin, baadal.NetworkEdit{VLAN: new(11)}); !strings.Contains(baadal.Message(err), "ml") {
		t.Errorf("the error does not name who uses it: %v", err)
	}
	refused(t, edit(c.admin, baadal.NetworkEdit{Bridge: new("other")}), baadal.Conflict, "network_in_use")
	refused(t, edit(c.admin, baadal.NetworkEdit{CIDR: new("10.9.0.0/24")}), baadal.Conflict, "network_in_use")
	refusedField(t, edit(c.admin, baadal.NetworkEdit{Organisations: &[]string{"NOBODY"}}), baadal.Invalid, "organisations")

	c.network(t, "lab", 20, "10.9.0.0/24")
	_, err := c.EditNetwork(t.Context(), c.admin, "lab", baadal.NetworkEdit{Name: new("research")}, dry)
	refused(t, err, baadal.Conflict, "exists")
	_, err = c.EditNetwork(t.Context(), c.admin, "lab", baadal.NetworkEdit{VLAN: new(10)}, dry)
	refused(t, err, baadal.Conflict, "exists")
	n := edited(t, c, "lab", baadal.NetworkEdit{Name: new("bench"), VLAN: new(21), DNS: &[]string{"10.9.0.1"}})
	if n.Name != "bench" || n.VLAN != 21 || n.Portgroup != "vlan21" || n.Generation != 3 || len(n.DNS) != 1 {
		t.Errorf("%+v", n)
	}
	ch, err := c.RemoveNetworkRange(t.Context(), c.admin, "bench", "10.9.0.1-10.9.0.254", baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.EditNetwork(t.Context(), c.admin, "bench", baadal.NetworkEdit{CIDR: new("10.8.0.0/16")}, dry)
	refused(t, err, baadal.Conflict, "busy")
	c.run(t, ch.Task)
	refused(t, func() error {
		_, err := c.EditNetwork(t.Context(), c.admin, "bench", baadal.NetworkEdit{CIDR: new("10.0.0.0/16")}, dry)
		return err
	}(), baadal.Conflict, "subnet_overlaps")
	if n = edited(t, c, "bench", baadal.NetworkEdit{CIDR: new("10.8.0.0/16"), Gateway: new("10.8.0.1")}); n.CIDR != "10.8.0.0/16" || n.Addresses != 0 {
		t.Errorf("%+v", n)
	}
	_, err = c.CreateVM(t.Context(), c.admin, baadal.VMCreate{Name: "more", Template: "tiny", Network: "bench"}, dry)
	refused(t, err, baadal.Exhausted, "no_address")
}

// TestAddressesKeptOut: gateway, name servers, hosts and the controller itself
// keep their addresses.
func TestAddressesKeptOut(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ch, err := c.CreateNetwork(t.Context(), c.admin, baadal.NetworkCreate{
		Name: "hosts", VLAN: 20, CIDR: "10.77.0.0/24", First: "10.77.0.8", Last: "10.77.0.22", Gateway: "10.77.0.9", DNS: []string{"10.77.0.22"},
	}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := []baadal.AddressRange{
		{First: "10.77.0.8", Last: "10.77.0.8", Addresses: 1}, {First: "10.77.0.10", Last: "10.77.0.10", Addresses: 1}, {First: "10.77.0.14", Last: "10.77.0.21", Addresses: 8},
	}
	if d := cmp.Diff(want, ch.Resource.Ranges); d != "" {
		t.Error(d)
	}
	c.run(t, ch.Task)
	for in, code := range map[*baadal.RangeAdd]string{
		{First: "10.77.0.11", Last: "10.77.0.13"}: "invalid", {First: "10.77.0.9"}: "invalid", {First: "10.77.0.14"}: "exists",
		{First: "10.77.0.1", MACs: []string{"A2:00:00:00:00:01", "A2:00:00:00:00:02"}}: "invalid", {First: "10.77.0.1", MACs: []string{"x"}}: "invalid",
	} {
		_, err := c.AddNetworkRange(t.Context(), c.admin, "hosts", *in, dry)
		if baadal.CodeOf(err) != code {
			t.Errorf("%+v: %v", in, err)
		}
	}
	_, err = c.AddNetworkRange(t.Context(), c.orgadmin, "hosts", baadal.RangeAdd{First: "10.77.0.1"}, dry)
	refused(t, err, baadal.Forbidden, "forbidden")
}

// TestBuiltinsAreMadeOnce: at each start they are looked for; one that somebody
// made before counts.
func TestBuiltinsAreMadeOnce(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.network(t, "Research", 20, "10.9.0.0/24")
	for range 2 {
		if err := c.EnsureBuiltinNetworks(t.Context()); err != nil {
			t.Fatal(err)
		}
		edited(t, c, "Private", baadal.NetworkEdit{Name: new("Secret"), VisibleToAll: new(true)})
		edited(t, c, "Secret", baadal.NetworkEdit{Name: new("Private"), VisibleToAll: new(false)})
	}
	got := map[string]string{}
	l, err := c.Networks(t.Context(), c.admin, baadal.ListQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range l.Items {
		got[n.Name] = n.Builtin
		_, err := c.DeleteNetwork(t.Context(), c.admin, n.Name, dry)
		if n.Builtin != "" {
			refused(t, err, baadal.Conflict, "network_builtin")
		}
	}
	if d := cmp.Diff(map[string]string{"research": "", "Research": "Research", "Private": "Private", "Infrastructure": "Infrastructure"}, got); d != "" {
		t.Error(d)
	}
	l, err = c.Networks(t.Context(), c.student, baadal.ListQuery{})
	if err != nil || l.Total != 2 {
		t.Errorf("a student sees %d networks: %v", l.Total, err)
	}
}
