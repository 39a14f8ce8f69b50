package workflow_test

import (
	"context"
	"testing"

	"baadal"
	"baadal/internal/task/tasktest"
)

var none = baadal.ChangeOptions{}

// addDisk gives the VM "ml" a disk of 2 GiB.
func addDisk(tb testing.TB, c *cloud) {
	ch, err := c.svc.AddDisk(context.Background(), c.actor, "ml", baadal.DiskAdd{SizeGiB: 2}, none)
	c.finish(tb, ch.Task, err)
}

// actDisk does something to its disk vdb, or to its only extra one.
func actDisk(action baadal.Action) func(testing.TB, *cloud) {
	return func(tb testing.TB, c *cloud) {
		ch, err := c.svc.ActDisk(context.Background(), c.actor, action, "ml", "IITD_asha_ml_disk1", none)
		c.finish(tb, ch.Task, err)
	}
}

// diskCase is a case about the disks of the VM "ml".
func diskCase(name string, submit func(testing.TB, *cloud) int64, prepare ...func(testing.TB, *cloud)) tasktest.Case {
	return workflowCase(name, func(tb testing.TB, c *cloud) {
		c.vm(tb, "ml")
		for _, p := range prepare {
			p(tb, c)
		}
	}, submit)
}

func diskCases() []tasktest.Case {
	ctx := context.Background()
	act := func(action baadal.Action) func(testing.TB, *cloud) int64 {
		return func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.ActDisk(ctx, c.actor, action, "ml", "IITD_asha_ml_disk1", none)
			return submitted(tb, ch, err)
		}
	}
	add := func(tb testing.TB, c *cloud) int64 {
		ch, err := c.svc.AddDisk(ctx, c.actor, "ml", baadal.DiskAdd{SizeGiB: 2, IOPS: 100}, none)
		return submitted(tb, ch, err)
	}
	grow := func(disk string) func(testing.TB, *cloud) int64 {
		return func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.GrowDisk(ctx, c.actor, "ml", disk, baadal.DiskGrow{SizeGiB: 5}, none)
			return submitted(tb, ch, err)
		}
	}
	limit := func(disk string) func(testing.TB, *cloud) int64 {
		return func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.LimitDisk(ctx, c.actor, "ml", disk, baadal.DiskLimit{BytesPerSecond: 1 << 20, IOPS: 50}, none)
			return submitted(tb, ch, err)
		}
	}
	return []tasktest.Case{
		diskCase("add a disk to a running vm", add),
		diskCase("add a second disk to a stopped vm", add, addDisk, off),
		diskCase("detach a disk", act(baadal.ActionDiskDetach), addDisk),
		diskCase("attach a detached disk", act(baadal.ActionDiskAttach), addDisk, actDisk(baadal.ActionDiskDetach)),
		diskCase("attach a deleted disk", act(baadal.ActionDiskAttach), addDisk, actDisk(baadal.ActionDiskDelete)),
		diskCase("delete a disk", act(baadal.ActionDiskDelete), addDisk),
		diskCase("delete a detached disk of a stopped vm", act(baadal.ActionDiskDelete), addDisk, actDisk(baadal.ActionDiskDetach), off),
		either(diskCase("grow a disk of a running vm", grow("vdb"), addDisk)),
		either(diskCase("grow the first disk of a stopped vm", grow("vda"), off)),
		diskCase("limit a disk", limit("vdb"), addDisk),
		diskCase("limit the first disk of a stopped vm", limit("vda"), off),
		power("delete vm with disks", baadal.ActionVMDelete, addDisk),
		power("restore vm with disks", baadal.ActionVMRestore, func(tb testing.TB, c *cloud) { addDisk(tb, c); deleted(tb, c) }),
	}
}

func TestDisks(t *testing.T)      { tasktest.Run(t, diskCases()) }
func TestDisksChild(t *testing.T) { tasktest.Child(t, diskCases()) }
