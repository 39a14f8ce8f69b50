package service_test

import (
	"testing"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// TestFlattenIsAskedFor: who may not, what stands on no base and what has
// snapshots is refused, dry too; the plan says what will be done; and while it
// is done nobody else does anything to the VM.
func TestFlattenIsAskedFor(t *testing.T) {
	t.Parallel()
	c := newCloudOn(t, storetest.Open(t), simulator.Config{Hosts: 3})
	c.furnish(t, baadal.HostFacts{CPUs: 16, RAMMiB: 65536}, "10.0.1.0/28")
	c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Owner: "asha"})
	ask := func(a baadal.Actor, in baadal.VMFlatten, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
		return c.FlattenVM(t.Context(), a, "ml", in, opt)
	}
	_, err := ask(c.orgadmin, baadal.VMFlatten{}, dry)
	refused(t, err, baadal.Conflict, "flat")
	ch, err := c.CloneVM(t.Context(), c.orgadmin, "ml", baadal.VMClone{}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, ch.Task)
	_, err = ask(c.student, baadal.VMFlatten{}, dry)
	refused(t, err, baadal.NotFound, "not_found")
	_, err = ask(c.faculty, baadal.VMFlatten{}, dry)
	refused(t, err, baadal.Forbidden, "forbidden")
	_, err = ask(c.orgadmin, baadal.VMFlatten{BandwidthMiBs: -1}, dry)
	refused(t, err, baadal.Invalid, "invalid")
	s, err := c.CreateSnapshot(t.Context(), c.faculty, "ml", baadal.SnapshotCreate{Name: "one"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, s.Task)
	_, err = ask(c.orgadmin, baadal.VMFlatten{}, baadal.ChangeOptions{})
	refused(t, err, baadal.Conflict, "has_snapshots")
	if s, err = c.DeleteSnapshot(t.Context(), c.faculty, "ml", "one", baadal.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	c.run(t, s.Task)

	ch, err = ask(c.orgadmin, baadal.VMFlatten{}, dry)
	if err != nil || ch.Task != nil || ch.Plan.Summary != "flatten the disks of ml" || ch.Plan.Effects[0] != "what its disks have of bases is copied into them, at no more than 50 MiB/s" {
		t.Errorf("dry: %+v, %v", ch.Plan, err)
	}
	if ch, err = ask(c.orgadmin, baadal.VMFlatten{BandwidthMiBs: 5}, baadal.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = c.ActVM(t.Context(), c.admin, baadal.ActionVMDelete, "ml", baadal.ChangeOptions{})
	refused(t, err, baadal.Conflict, "vm_busy")
	c.run(t, ch.Task)
	c.view(t, func(tx *store.Tx) error {
		vm, err := tx.VMByRef("ml", baadal.Visibility{Scope: baadal.ScopeAny})
		if vm.BaseID != 0 {
			t.Errorf("it stands on base %d", vm.BaseID)
		}
		return err
	})
}
