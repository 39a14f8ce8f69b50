package service_test

import (
	"strings"
	"testing"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// TestCloneClaims asks for clones in all the ways that are refused, and dry:
// nothing is claimed by any of it. All clones are claimed or none.
func TestCloneClaims(t *testing.T) {
	t.Parallel()
	c := newCloudOn(t, storetest.Open(t), simulator.Config{Hosts: 3})
	c.furnish(t, baadal.HostFacts{CPUs: 16, RAMMiB: 65536}, "10.0.1.0/28") // twelve addresses
	vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Owner: "asha"})
	nothing := func() {
		t.Helper()
		c.view(t, func(tx *store.Tx) error {
			bases, err := tx.AllBases()
			if err != nil {
				return err
			}
			vms, err := tx.AllVMs()
			if len(bases) > 0 || len(vms) != 1 {
				t.Errorf("%d bases and %d VMs", len(bases), len(vms))
			}
			return err
		})
	}
	for _, test := range []struct {
		actor baadal.Actor
		in    baadal.VMClone
		kind  baadal.Kind
		code  string
	}{
		{c.student, baadal.VMClone{}, baadal.Forbidden, "forbidden"},
		{c.faculty, baadal.VMClone{}, baadal.Forbidden, "forbidden"},
		{c.stranger, baadal.VMClone{}, baadal.NotFound, "not_found"},
		{c.orgadmin, baadal.VMClone{Count: 101}, baadal.Invalid, "invalid"},
		{c.orgadmin, baadal.VMClone{Name: "no spaces"}, baadal.Invalid, "bad_name"},
		{c.orgadmin, baadal.VMClone{Name: strings.Repeat("x", 30)}, baadal.Invalid, "bad_name"}, // no room for a number
		{c.orgadmin, baadal.VMClone{Count: 20}, baadal.Exhausted, "no_address"},
	} {
		for _, opt := range []baadal.ChangeOptions{{}, dry} {
			_, err := c.CloneVM(t.Context(), test.actor, "ml", test.in, opt)
			refused(t, err, test.kind, test.code)
			nothing()
		}
	}
	ch, err := c.CloneVM(t.Context(), c.orgadmin, "ml", baadal.VMClone{Count: 3}, dry)
	if err != nil || ch.Task != nil || ch.Plan == nil || ch.Plan.Summary != "clone ml 3 times: ml_clone1 to ml_clone3" {
		t.Errorf("dry: %+v, %v", ch, err)
	}
	nothing()

	ch, err = c.CloneVM(t.Context(), c.orgadmin, "ml", baadal.VMClone{Count: 3}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.ActVM(t.Context(), c.admin, baadal.ActionVMDelete, "ml", baadal.ChangeOptions{})
	refused(t, err, baadal.Conflict, "vm_busy") // it is held while it is cloned
	c.run(t, ch.Task)
	c.view(t, func(tx *store.Tx) error {
		for _, name := range []string{"ml_clone1", "ml_clone2", "ml_clone3"} {
			clone, err := tx.VMByRef(name, baadal.Visibility{Scope: baadal.ScopeAny})
			if err != nil {
				return err
			}
			if clone.OwnerID != vm.OwnerID || clone.RAMMiB != vm.RAMMiB || clone.DiskGiB != vm.DiskGiB || clone.NetworkID != vm.NetworkID || clone.RequesterID != c.orgadmin.User.ID {
				t.Errorf("%+v is not like %+v", clone, vm)
			}
			if clone.UUID == vm.UUID || clone.MAC == vm.MAC || clone.Address == vm.Address {
				t.Errorf("%s shares its identity with its parent", name)
			}
			password, err := tx.Secret(clone.ID)
			if err != nil || password == "" {
				t.Errorf("%s has no console password: %v", name, err)
			}
		}
		return nil
	})
}
