package service_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
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

// TestEditedNetworkFitsTogether: what is not named in the wish is looked at too.
func TestEditedNetworkFitsTogether(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.network(t, "lab", 20, "10.9.0.0/30")
	if n := edited(t, c, "lab", baadal.NetworkEdit{Gateway: new("10.9.0.1"), Organisations: &[]string{"TUB"}}); n.VisibleToAll {
		t.Errorf("%+v", n)
	}
	if n := edited(t, c, "lab", baadal.NetworkEdit{VisibleToAll: new(true), Organisations: &[]string{}}); !n.VisibleToAll || len(n.Organisations) > 0 {
		t.Errorf("to be visible to all, it is %+v", n)
	}
	ch, err := c.RemoveNetworkRange(t.Context(), c.admin, "lab", "10.9.0.2", baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, ch.Task)
	_, err = c.EditNetwork(t.Context(), c.admin, "lab", baadal.NetworkEdit{CIDR: new("10.8.0.0/24")}, dry)
	refusedField(t, err, baadal.Invalid, "gateway")
	for _, gateway := range []string{"", "10.8.0.1"} {
		if _, err := c.EditNetwork(t.Context(), c.admin, "lab", baadal.NetworkEdit{CIDR: new("10.8.0.0/24"), Gateway: &gateway}, dry); err != nil {
			t.Errorf("with the gateway %q: %v", gateway, err)
		}
	}
}

// TestHalfAnEmptyNetwork: what is offered for one with a VLAN or a subnet only
// leads on.
func TestHalfAnEmptyNetwork(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	if err := c.EnsureBuiltinNetworks(t.Context()); err != nil {
		t.Fatal(err)
	}
	offer := func(want string) {
		t.Helper()
		_, err := c.CreateVM(t.Context(), c.admin, baadal.VMCreate{Name: "ml", Template: "tiny", Network: "Private"}, dry)
		refused(t, err, baadal.Conflict, "network_not_ready")
		if e, ok := err.(*baadal.Error); !ok || len(e.Next) == 0 || !strings.HasPrefix(e.Next[0].Action, want) { //nolint:errorlint // as the API shows it
			t.Errorf("%+v", e)
		}
	}
	offer("baadal network create Private ")
	edited(t, c, "Private", baadal.NetworkEdit{VLAN: new(30)})
	offer("baadal network edit Private ")
	edited(t, c, "Private", baadal.NetworkEdit{CIDR: new("10.8.0.0/24")})
	_, err := c.CreateVM(t.Context(), c.admin, baadal.VMCreate{Name: "ml", Template: "tiny", Network: "Private"}, dry)
	refused(t, err, baadal.Exhausted, "no_address")
}

// TestCancelledDeleteOfNetwork: a delete that never began leaves the network in
// use.
func TestCancelledDeleteOfNetwork(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ch, err := c.DeleteNetwork(t.Context(), c.admin, "research", baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CancelTask(t.Context(), c.admin, ch.Task.ID); err != nil {
		t.Fatal(err)
	}
	if done := c.settle(t, ch.Task)[0]; done.State != baadal.TaskFailed || done.UndoPending {
		t.Fatalf("it ends as %s: %s", done.State, done.Message)
	}
	c.view(t, func(tx *store.Tx) error {
		all, err := tx.Reservations()
		if len(all) == 0 {
			t.Error("its addresses are not reserved any more")
		}
		return err
	})
	c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml"})
}

// TestNetworkOfOtherNICs: a network is in use by NICs beside the first ones, too.
func TestNetworkOfOtherNICs(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.network(t, "storage", 20, "10.0.2.0/28")
	vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Network: "research", Networks: []string{"storage"}})
	_, _, _, network := c.removals(t, baadal.VM{Network: "storage"})
	network.stays(t)
	if _, err := network.act(dry); !strings.Contains(baadal.Message(err), vm.Name) {
		t.Errorf("the error does not name who uses it: %v", err)
	}
	_, err := c.EditNetwork(t.Context(), c.admin, "storage", baadal.NetworkEdit{VLAN: new(21)}, dry)
	refused(t, err, baadal.Conflict, "network_in_use")
	ch, err := c.RemoveNIC(t.Context(), c.orgadmin, "ml", "storage", baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, ch.Task)
	network.goes(t)
}

// TestNetworkKeepsOffPublicAddresses: nobody's private address is a public one.
func TestNetworkKeepsOffPublicAddresses(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.update(t, func(tx *store.Tx) error {
		_, err := tx.AddPublics(netip.MustParseAddr("203.0.113.16"), netip.MustParseAddr("203.0.113.31"))
		return err
	})
	for cidr, code := range map[string]string{
		"203.0.113.0/24": "subnet_overlaps", "203.0.113.16/30": "subnet_overlaps", "203.0.113.28/30": "subnet_overlaps",
		"203.0.0.0/8": "subnet_overlaps", "203.0.113.0/28": "", "203.0.113.32/28": "",
	} {
		_, err := c.CreateNetwork(t.Context(), c.admin, baadal.NetworkCreate{Name: "lab", VLAN: 20, CIDR: cidr}, dry)
		if baadal.CodeOf(err) != code {
			t.Errorf("%s: %v", cidr, err)
		}
	}
}

// TestNetworkEditedAsItGetsReady: the end of its task and an edit at the same
// time are one after the other.
func TestNetworkEditedAsItGetsReady(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		c := newCloudOn(t, db, simulator.Config{Hosts: 3})
		c.furnish(t, baadal.HostFacts{CPUs: 16, RAMMiB: 65536}, "10.0.1.0/28")
		ch, err := c.CreateNetwork(t.Context(), c.admin, baadal.NetworkCreate{Name: "lab", VLAN: 20, CIDR: "10.9.0.0/29"}, baadal.ChangeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		meanwhileFor(t, db, 1500*time.Millisecond, func(tx *store.Tx) error { // as long as the task takes to its end
			if err := tx.Lock("network"); err != nil { // as EditNetwork
				return err
			}
			n, err := tx.Network(ch.Resource.ID)
			if err != nil {
				return err
			}
			n.DNS = []string{"10.9.0.6"}
			return tx.UpdateNetwork(&n)
		}, func() { c.run(t, ch.Task) })
		n, err := c.Network(t.Context(), c.admin, "lab")
		if err != nil || !n.Applied || len(n.DNS) != 1 {
			t.Errorf("%+v, %v", n, err)
		}
	})
}

// TestHostIsNoVM: a host whose address VMs could get is not taken in.
func TestHostIsNoVM(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.network(t, "lab", 20, "10.77.9.0/28")
	if err := c.world.AddHost("host9", "10.77.9.11"); err != nil {
		t.Fatal(err)
	}
	known, err := c.world.Host("host9")
	if err != nil {
		t.Fatal(err)
	}
	add := func() error {
		_, err := c.AddHost(t.Context(), c.admin, baadal.HostAdd{Address: "10.77.9.11", Fingerprint: known.Fingerprint}, dry)
		return err
	}
	refused(t, add(), baadal.Conflict, "address_in_use")
	ch, err := c.RemoveNetworkRange(t.Context(), c.admin, "lab", "10.77.9.11", baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, ch.Task)
	if err := add(); err != nil {
		t.Error(err)
	}
}
