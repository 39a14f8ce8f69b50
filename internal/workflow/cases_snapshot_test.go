package workflow_test

import (
	"context"
	"testing"

	"baadal"
	"baadal/internal/task/tasktest"
)

func (c *cloud) snapshot(tb testing.TB, vm, name string) {
	tb.Helper()
	ch, err := c.svc.CreateSnapshot(context.Background(), c.actor, vm, baadal.SnapshotCreate{Name: name, Description: "of the test"}, baadal.ChangeOptions{})
	c.finish(tb, ch.Task, err)
}

// snapshotCase is the case of an act on the snapshots of the VM "ml", which has
// the given ones already, each made on the one before.
func snapshotCase(name string, before []string, prepare func(testing.TB, *cloud), act func(*cloud) (baadal.Change[baadal.Snapshot], error)) tasktest.Case {
	return workflowCase(name,
		func(tb testing.TB, c *cloud) {
			c.vm(tb, "ml")
			for _, s := range before {
				c.snapshot(tb, "ml", s)
			}
			if prepare != nil {
				prepare(tb, c)
			}
		},
		func(tb testing.TB, c *cloud) int64 {
			ch, err := act(c)
			return submitted(tb, ch, err)
		})
}

func snapshotCases() []tasktest.Case {
	ctx, none := context.Background(), baadal.ChangeOptions{}
	create := func(c *cloud) (baadal.Change[baadal.Snapshot], error) {
		return c.svc.CreateSnapshot(ctx, c.actor, "ml", baadal.SnapshotCreate{Name: "new"}, none)
	}
	revert := func(c *cloud) (baadal.Change[baadal.Snapshot], error) {
		return c.svc.RevertSnapshot(ctx, c.actor, "ml", "first", none)
	}
	remove := func(c *cloud) (baadal.Change[baadal.Snapshot], error) {
		return c.svc.DeleteSnapshot(ctx, c.actor, "ml", "first", none)
	}
	two := []string{"first", "second"}
	return []tasktest.Case{
		snapshotCase("snapshot running vm", nil, nil, create),
		snapshotCase("snapshot stopped vm on another snapshot", two, off, create),
		either(snapshotCase("revert running vm", two, nil, revert)),
		either(snapshotCase("revert stopped vm", two, off, revert)),
		either(snapshotCase("delete a parent snapshot", two, nil, remove)),
		power("delete vm with snapshots", baadal.ActionVMDelete, func(tb testing.TB, c *cloud) { c.snapshot(tb, "ml", "first"); c.snapshot(tb, "ml", "second") }),
		power("restore vm with snapshots", baadal.ActionVMRestore, func(tb testing.TB, c *cloud) {
			c.snapshot(tb, "ml", "first")
			c.snapshot(tb, "ml", "second")
			deleted(tb, c)
		}),
	}
}

func TestSnapshots(t *testing.T)      { tasktest.Run(t, snapshotCases()) }
func TestSnapshotsChild(t *testing.T) { tasktest.Child(t, snapshotCases()) }
