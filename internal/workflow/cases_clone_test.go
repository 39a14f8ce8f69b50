package workflow_test

import (
	"context"
	"fmt"
	"testing"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task/tasktest"
)

// cloning is the case of cloning the VM "ml".
func cloning(name string, in baadal.VMClone, prepare func(testing.TB, *cloud)) tasktest.Case {
	return workflowCase(name,
		func(tb testing.TB, c *cloud) {
			c.vm(tb, "ml")
			if prepare != nil {
				prepare(tb, c)
			}
		},
		func(tb testing.TB, c *cloud) int64 { return c.clone(tb, "ml", in).ID })
}

func (c *cloud) clone(tb testing.TB, ref string, in baadal.VMClone) *baadal.Task {
	tb.Helper()
	ch, err := c.svc.CloneVM(context.Background(), c.actor, ref, in, baadal.ChangeOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	return ch.Task
}

func cloned(tb testing.TB, c *cloud) { c.finish(tb, c.clone(tb, "ml", baadal.VMClone{}), nil) }

func snapshotted(tb testing.TB, c *cloud) {
	tb.Helper()
	ch, err := c.svc.CreateSnapshot(context.Background(), c.actor, "ml", baadal.SnapshotCreate{Name: "before"}, baadal.ChangeOptions{})
	c.finish(tb, ch.Task, err)
}

func (c *cloud) bases(tb testing.TB) (all []baadal.Base) {
	tb.Helper()
	if err := c.db.View(context.Background(), func(tx *store.Tx) (err error) { all, err = tx.AllBases(); return err }); err != nil {
		tb.Fatal(err)
	}
	return all
}

func cloneCases() []tasktest.Case {
	return []tasktest.Case{
		cloning("clone running vm", baadal.VMClone{}, nil),
		cloning("clone stopped vm and start the clone", baadal.VMClone{Start: true}, off),
		cloning("clone vm that was cloned before", baadal.VMClone{}, cloned),
		cloning("clone running vm with a snapshot", baadal.VMClone{}, snapshotted),
		cloning("clone stopped vm in full", baadal.VMClone{Full: true}, off),
		cloning("clone running vm with a disk", baadal.VMClone{}, addDisk),
		cloning("clone stopped vm with a disk in full", baadal.VMClone{Full: true}, func(tb testing.TB, c *cloud) { addDisk(tb, c); off(tb, c) }),
		cloning("clone running vm with a disk and a snapshot", baadal.VMClone{}, func(tb testing.TB, c *cloud) { addDisk(tb, c); snapshotted(tb, c) }),
	}
}

func TestCloneWorkflows(t *testing.T)      { tasktest.Run(t, cloneCases()) }
func TestCloneWorkflowsChild(t *testing.T) { tasktest.Child(t, cloneCases()) }

// baseLines is what the state says of bases, and of who stands on them.
func (c *cloud) baseLines(tx *store.Tx, vms []baadal.VM) (lines []string, err error) {
	bases, err := tx.AllBases()
	if err != nil {
		return nil, err
	}
	for _, b := range bases {
		lines = append(lines, fmt.Sprintf("base %d %s of %s, %s, on %d, %d stand on it", b.ID, b.UUID, b.Origin, b.State, b.ParentID, b.Standing))
	}
	disks, err := tx.AllExtraDisks()
	if err != nil {
		return nil, err
	}
	for _, k := range disks {
		lines = append(lines, fmt.Sprintf("disk %s is %s on base %d", k.Name, k.FileName(), k.BaseID))
	}
	for _, vm := range vms {
		lines = append(lines, fmt.Sprintf("vm %s has the disk %q on base %d", vm.Identity, vm.DiskFile, vm.BaseID))
	}
	return lines, nil
}
