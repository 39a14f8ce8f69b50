package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/client"
)

// portgroup tells whether a host's libvirt network has the portgroup of a VLAN,
// now and after a boot.
func portgroup(ctx context.Context, host string, vlan int) (now, later bool) {
	has := func(flags ...string) bool {
		out, err := theLab.Command(ctx, host, append([]string{"virsh", "net-dumpxml", "ovs-net"}, flags...)...).Output()
		return err == nil && strings.Contains(string(out), fmt.Sprintf("<tag id='%d'/>", vlan))
	}
	return has(), has("--inactive")
}

func onEveryHost(ctx context.Context, vlan int, want bool) func() error {
	return func() error {
		for _, host := range []string{"host1", "host2", "host3"} {
			if now, later := portgroup(ctx, host, vlan); now != want || later != want {
				return fmt.Errorf("VLAN %d on %s: now %t, after a boot %t", vlan, host, now, later)
			}
		}
		return nil
	}
}

// changedNetwork waits for the task of a change of a network.
func changedNetwork(ctx context.Context, t *testing.T, c baadal.Change[baadal.Network], err error) baadal.Network {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if c.Task != nil {
		if _, err := cloud.Await(ctx, c.Task, nil); err != nil {
			t.Fatal(err)
		}
	}
	return *c.Resource
}

// somebody makes a user of an organisation and returns his client.
func somebody(ctx context.Context, t *testing.T, name, organisation string) *client.Client {
	t.Helper()
	const password = "a-good-password"
	_, err := cloud.Client.CreateUser(ctx, baadal.UserCreate{
		Username: name, Organisation: organisation, Roles: []baadal.Role{baadal.RoleUser, baadal.RoleOrgAdmin}, Password: password,
	}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	api, err := client.New(client.Config{BaseURL: cloud.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.SignIn(ctx, name, password); err != nil {
		t.Fatal(err)
	}
	return api
}

// TestNetworkAddedLater makes a network when hosts and VMs are there already: it
// works on every host, also on one whose libvirt has lost everything, for those
// who may use it, with addresses that are added later.
func TestNetworkAddedLater(t *testing.T) {
	ctx := begin(t)
	shortRetention(ctx, t)
	inside, outside := somebody(ctx, t, "in-physics", "PHYSICS"), somebody(ctx, t, "in-history", "HISTORY")
	for _, host := range []string{"host1", "host2", "host3"} { // the lab's own one
		node(ctx, t, host, "virsh", "-q", "net-update", "ovs-net", "delete", "portgroup", "<portgroup name='vlan20'/>", "--live", "--config")
	}
	begun := time.Now()
	n, err := cloud.Client.CreateNetwork(ctx, baadal.NetworkCreate{
		Name: "later", VLAN: 20, CIDR: "192.168.20.0/24", Gateway: "192.168.20.254", First: "192.168.20.50", Last: "192.168.20.51", Organisations: []string{"PHYSICS"},
	}, baadal.ChangeOptions{})
	changedNetwork(ctx, t, n, err)
	if err := onEveryHost(ctx, 20, true)(); err != nil {
		t.Error(err)
	}
	t.Logf("on every host %s after it was asked for", time.Since(begun).Round(time.Millisecond))

	node(ctx, t, "host3", "virsh", "-q", "net-destroy", "ovs-net")
	node(ctx, t, "host3", "virsh", "-q", "net-undefine", "ovs-net")
	eventually(t, 25*time.Second, "back on host3", onEveryHost(ctx, 20, true))

	n, err = cloud.Client.RemoveNetworkRange(ctx, "later", "192.168.20.50", "192.168.20.51", baadal.ChangeOptions{})
	changedNetwork(ctx, t, n, err)
	n, err = cloud.Client.AddNetworkRange(ctx, "later", baadal.RangeAdd{First: "192.168.20.60", Last: "192.168.20.61", MACs: []string{"A2:00:00:20:00:60"}}, baadal.ChangeOptions{})
	changedNetwork(ctx, t, n, err)

	if list, err := outside.Networks(ctx, baadal.ListQuery{Filter: "name:later"}); err != nil || list.Total != 0 {
		t.Errorf("who is outside sees %+v: %v", list, err)
	}
	wish := baadal.VMCreate{Name: "late", Template: "tiny", RAMMiB: 128, Network: "later"}
	if _, err := outside.CreateVM(ctx, wish, baadal.ChangeOptions{DryRun: true}); baadal.KindOf(err) != baadal.Invalid {
		t.Errorf("who is outside may use it: %v", err)
	}
	if list, err := inside.Networks(ctx, baadal.ListQuery{Filter: "name:later"}); err != nil || list.Total != 1 {
		t.Errorf("who is inside sees %+v: %v", list, err)
	}
	if _, err := inside.CreateVM(ctx, wish, baadal.ChangeOptions{DryRun: true}); err != nil {
		t.Errorf("who is inside may not use it: %v", err)
	}
	wish.Host, wish.Owner = "host3", "in-physics"
	vm := create(ctx, t, wish)
	if vm.Address != "192.168.20.60" || vm.MAC != "A2:00:00:20:00:60" {
		t.Errorf("%s has %s and %s", vm.Name, vm.Address, vm.MAC)
	}
	if vm, err = cloud.WaitAnswer(ctx, vm.UUID); err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Client.RemoveNetworkRange(ctx, "later", "192.168.20.60", "", baadal.ChangeOptions{}); baadal.CodeOf(err) != "address_in_use" || !strings.Contains(err.Error(), "late") {
		t.Errorf("an address in use: %v", err)
	}
	n, err = cloud.Client.EditNetwork(ctx, "later", baadal.NetworkEdit{Organisations: &[]string{"HISTORY"}}, baadal.ChangeOptions{})
	changedNetwork(ctx, t, n, err)
	if err := state(ctx, vm.UUID, baadal.VMRunning)(); err != nil {
		t.Error(err)
	}
	cleanAudit(ctx, t)
	remove(ctx, t, vm.UUID)
	purge(ctx, t, vm)
	n, err = cloud.Client.DeleteNetwork(ctx, "later", baadal.ChangeOptions{})
	changedNetwork(ctx, t, n, err)
	eventually(t, 20*time.Second, "gone from every host", onEveryHost(ctx, 20, false))
}
