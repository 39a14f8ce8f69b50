package service_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

// nics are the networks of a VM's NICs, as the API shows them.
func (c *cloud) nics(t *testing.T, ref string) (all []string) {
	t.Helper()
	vm, err := c.VM(t.Context(), c.admin, ref)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range vm.NICs {
		all = append(all, fmt.Sprintf("%d %s", n.Index, n.Network))
		if i == 0 && (n.Address != vm.Address || n.MAC != vm.MAC || n.NetworkID != vm.NetworkID) {
			t.Errorf("%s: the first NIC is %+v, the VM has %s %s", ref, n, vm.Address, vm.MAC)
		}
	}
	if vm.State != baadal.VMDeleted {
		var h baadal.Host
		c.view(t, func(tx *store.Tx) (err error) { h, err = tx.Host(vm.HostID); return err })
		domain, err := c.world.Hypervisor().ForeignDomain(t.Context(), h, vm.UUID)
		if err != nil || len(domain.MACs) != len(vm.NICs) {
			t.Errorf("%s: the domain has %v, the store %d NICs: %v", ref, domain.MACs, len(vm.NICs), err)
		}
	}
	return all
}

// TestSeveralNICs: a VM with several NICs has them wherever it goes.
func TestSeveralNICs(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.network(t, "storage", 20, "10.0.2.0/28")
	c.network(t, "backup", 30, "10.0.3.0/28")
	for _, networks := range [][]string{{"research"}, {"storage", "storage"}, {"nowhere"}, {"a", "b", "c", "d", "e", "f", "g", "h"}} {
		_, err := c.CreateVM(t.Context(), c.orgadmin, baadal.VMCreate{Name: "ml", Template: "tiny", Network: "research", Networks: networks}, baadal.ChangeOptions{})
		if baadal.KindOf(err) != baadal.Invalid {
			t.Errorf("networks %v: %v", networks, err)
		}
	}
	vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Network: "research", Networks: []string{"storage", "backup"}})
	want := []string{"0 research", "1 storage", "2 backup"}
	check := func(ref, when string) {
		t.Helper()
		if got := c.nics(t, ref); !slices.Equal(got, want) {
			t.Errorf("%s: %s has %v", when, ref, got)
		}
	}
	check("ml", "created")
	ch, err := c.CloneVM(t.Context(), c.orgadmin, "ml", baadal.VMClone{Count: 1}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, ch.Task)
	check("ml_clone1", "cloned")
	check("ml", "cloned")
	c.act(t, baadal.ActionVMDelete, vm)
	if got := c.nics(t, fmt.Sprint(vm.ID)); len(got) != 0 {
		t.Errorf("deleted, it has %v", got)
	}
	c.act(t, baadal.ActionVMRestore, vm)
	check("ml", "restored")
	b, err := c.CreateBackup(t.Context(), c.orgadmin, "ml", baadal.BackupCreate{}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, b.Task)
	r, err := c.RestoreBackup(t.Context(), c.admin, fmt.Sprint(b.Resource.ID), baadal.BackupRestore{As: "again"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, r.Task)
	check("again", "restored from its backup")
}

// TestChangeNIC: who may change the NICs of what, and what is refused with
// nothing claimed.
func TestChangeNIC(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.network(t, "storage", 20, "10.0.2.0/28")
	c.network(t, "tiny", 30, "10.0.3.0/30")
	c.create(t, c.orgadmin, baadal.VMCreate{Name: "full", Network: "tiny"})
	vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Network: "research", Networks: []string{"storage"}, Owner: c.student.User.Username})
	before := stored(t, c)
	add := func(network string) func(baadal.Actor, baadal.ChangeOptions) error {
		return func(a baadal.Actor, opt baadal.ChangeOptions) error {
			_, err := c.AddNIC(t.Context(), a, "ml", baadal.NICAdd{Network: network}, opt)
			return err
		}
	}
	change := func(nic, network string) func(baadal.Actor, baadal.ChangeOptions) error {
		return func(a baadal.Actor, opt baadal.ChangeOptions) error {
			_, err := c.ChangeNIC(t.Context(), a, "ml", nic, baadal.NICChange{Network: network}, opt)
			return err
		}
	}
	remove := func(nic string) func(baadal.Actor, baadal.ChangeOptions) error {
		return func(a baadal.Actor, opt baadal.ChangeOptions) error {
			_, err := c.RemoveNIC(t.Context(), a, "ml", nic, opt)
			return err
		}
	}
	for _, test := range []struct {
		actor baadal.Actor
		do    func(baadal.Actor, baadal.ChangeOptions) error
		kind  baadal.Kind
		code  string
	}{
		{c.student, add("tiny"), baadal.Forbidden, "forbidden"},
		{c.student, change("0", "tiny"), baadal.Forbidden, "forbidden"},
		{c.student, remove("1"), baadal.Forbidden, "forbidden"},
		{c.stranger, change("0", "tiny"), baadal.NotFound, "not_found"},
		{c.orgadmin, add("storage"), baadal.Conflict, "nic_network"},
		{c.orgadmin, add("tiny"), baadal.Exhausted, "no_address"},
		{c.orgadmin, change("0", "tiny"), baadal.Exhausted, "no_address"},
		{c.orgadmin, change("0", "research"), baadal.Conflict, "nic_network"},
		{c.orgadmin, change("2", "tiny"), baadal.NotFound, "nic_unknown"},
		{c.orgadmin, remove("research"), baadal.Conflict, "first_nic"},
		{c.orgadmin, remove(vm.MAC), baadal.Conflict, "first_nic"},
	} {
		for _, opt := range []baadal.ChangeOptions{{}, dry} {
			refused(t, test.do(test.actor, opt), test.kind, test.code)
		}
	}
	c.network(t, "other", 40, "10.0.4.0/28")
	for _, do := range []func(baadal.Actor, baadal.ChangeOptions) error{add("other"), change("0", "other"), change("storage", "other"), remove("1")} {
		if err := do(c.orgadmin, dry); err != nil {
			t.Errorf("dry: %v", err)
		}
	}
	if diff := cmp.Diff(before.Claimed, stored(t, c).Claimed); diff != "" {
		t.Errorf("refusals and plans left something (-before +after):\n%s", diff)
	}

	ch, err := c.ChangeNIC(t.Context(), c.orgadmin, "ml", vm.Address, baadal.NICChange{Network: "other"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if ch.Resource.Address != "10.0.4.10" && ch.Resource.Network != "other" || ch.Resource.MAC != vm.MAC {
		t.Errorf("it is to be %+v", ch.Resource)
	}
	_, err = c.DeleteNetwork(t.Context(), c.admin, "research", baadal.ChangeOptions{})
	refused(t, err, baadal.Conflict, "network_in_use") // it may have to go back
	c.run(t, ch.Task)
	if got := c.nics(t, "ml"); !slices.Equal(got, []string{"0 other", "1 storage"}) {
		t.Errorf("it has %v", got)
	}
	n, err := c.DeleteNetwork(t.Context(), c.admin, "research", baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, n.Task)
}

// TestChangeNICIsUndone: the DHCP server does not take the exchange of the MACs.
func TestChangeNICIsUndone(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.network(t, "storage", 20, "10.0.2.0/28")
	vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Network: "research"})
	before := stored(t, c)
	c.world.Fail(simulator.Rule{Op: "dhcp.apply", Nth: 1, Before: true, Err: errors.New("it does not parse")})
	ch, err := c.ChangeNIC(t.Context(), c.orgadmin, "ml", "0", baadal.NICChange{Network: "storage"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if done := c.settle(t, ch.Task)[0]; done.State != baadal.TaskFailed {
		t.Fatalf("it ends as %s: %s", done.State, done.Message)
	}
	if diff := cmp.Diff(before.Claimed, stored(t, c).Claimed); diff != "" {
		t.Errorf("it is not undone (-before +after):\n%s", diff)
	}
	if now := c.vm(t, vm.ID); now.Network != "research" || now.Address != vm.Address || now.MAC != vm.MAC {
		t.Errorf("it is %+v", now)
	}
	again, err := c.RetryTask(t.Context(), c.admin, ch.Task.ID)
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, &again)
	if got := c.nics(t, "ml"); !slices.Equal(got, []string{"0 storage"}) {
		t.Errorf("retried, it has %v", got)
	}
}

// TestRetriedNICIsTheSame: by the time it is tried again another NIC has its
// number.
func TestRetriedNICIsTheSame(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.network(t, "storage", 20, "10.0.2.0/28")
	c.network(t, "backup", 30, "10.0.3.0/28")
	c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Network: "research", Networks: []string{"storage"}})
	remove := func() (*baadal.Task, error) {
		ch, err := c.RemoveNIC(t.Context(), c.orgadmin, "ml", "1", baadal.ChangeOptions{})
		return ch.Task, err
	}
	failed := c.failTask(t, "hypervisor.drop_nic", remove)
	gone, err := remove()
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, gone)
	ch, err := c.AddNIC(t.Context(), c.orgadmin, "ml", baadal.NICAdd{Network: "backup"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, ch.Task)
	_, err = c.RetryTask(t.Context(), c.admin, failed.ID)
	refused(t, err, baadal.NotFound, "nic_unknown")
	if got := c.nics(t, "ml"); !slices.Equal(got, []string{"0 research", "1 backup"}) {
		t.Errorf("it has %v", got)
	}
}
