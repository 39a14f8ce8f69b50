package service_test

import (
	"fmt"
	"slices"
	"testing"

	"baadal"
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
