package workflow_test

import (
	"context"
	"testing"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task/tasktest"
)

// secondStore adds a datastore that all hosts mount.
func secondStore(tb testing.TB, c *cloud) {
	tb.Helper()
	if err := c.world.AddDatastore("/mnt/second", 1<<40); err != nil {
		tb.Fatal(err)
	}
	err := c.db.Update(context.Background(), func(tx *store.Tx) error {
		ds := baadal.Datastore{Name: "second", Path: "/mnt/second"}
		if err := tx.CreateDatastore(&ds); err != nil {
			return err
		}
		_, err := tx.SetDatastoreUsage(ds.ID, baadal.DatastoreOK, "", baadal.DatastoreUsage{Mounted: true, Writable: true, Capacity: 1 << 40, Free: 1 << 40}, nil)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// move moves the VM "ml" to the second datastore.
func (c *cloud) move(tb testing.TB, in baadal.VMMove) *baadal.Task {
	tb.Helper()
	in.Datastore = "second"
	ch, err := c.svc.MoveVM(context.Background(), c.actor, "ml", in, none)
	if err != nil {
		tb.Fatal(err)
	}
	return ch.Task
}

// moveCases are the moves to another datastore. What is used at its new place
// when the task fails is not sent back, so the world may be as before or as
// after; never anything else.
func moveCases() []tasktest.Case {
	move := func(name string, in baadal.VMMove, prepare ...func(testing.TB, *cloud)) tasktest.Case {
		return either(workflowCase(name, func(tb testing.TB, c *cloud) {
			secondStore(tb, c)
			c.vm(tb, "ml")
			for _, p := range prepare {
				p(tb, c)
			}
		}, func(tb testing.TB, c *cloud) int64 { return c.move(tb, in).ID }))
	}
	return []tasktest.Case{
		move("move running vm with two disks", baadal.VMMove{}, addDisk),
		move("move stopped vm with snapshots", baadal.VMMove{}, snapshotted, off),
		move("move one disk of a running vm", baadal.VMMove{Disk: "vdb"}, addDisk),
		move("move stopped vm with a detached disk", baadal.VMMove{}, addDisk, actDisk(baadal.ActionDiskDetach), off),
	}
}

func TestMoves(t *testing.T)      { tasktest.Run(t, moveCases()) }
func TestMovesChild(t *testing.T) { tasktest.Child(t, moveCases()) }
