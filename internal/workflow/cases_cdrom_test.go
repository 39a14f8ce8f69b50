package workflow_test

import (
	"context"
	"testing"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task/tasktest"
)

// importISO makes the CD image "install".
func importISO(tb testing.TB, c *cloud) {
	tb.Helper()
	if _, err := c.world.AddTemplate("/mnt/datastore", "install-1.iso", 1<<20); err != nil {
		tb.Fatal(err)
	}
	err := c.db.Update(context.Background(), func(tx *store.Tx) error {
		ds, err := tx.DatastoreByRef("main")
		if err != nil {
			return err
		}
		t := baadal.Template{Name: "install", Kind: baadal.TemplateISO, DatastoreID: ds.ID, File: "install-1.iso", Format: "raw", VirtualSize: 1 << 20, State: baadal.TemplateReady}
		return tx.CreateTemplate(&t)
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// inserted puts it into the drive of the VM "ml".
func inserted(tb testing.TB, c *cloud) {
	tb.Helper()
	importISO(tb, c)
	ch, err := c.svc.InsertCDROM(context.Background(), c.actor, "ml", baadal.CDROMInsert{ISO: "install"}, none)
	c.finish(tb, ch.Task, err)
}

func ejected(tb testing.TB, c *cloud) {
	tb.Helper()
	ch, err := c.svc.EjectCDROM(context.Background(), c.actor, "ml", baadal.CDROMEject{}, none)
	c.finish(tb, ch.Task, err)
}

func cdromCases() []tasktest.Case {
	ctx := context.Background()
	insert := func(tb testing.TB, c *cloud) int64 {
		ch, err := c.svc.InsertCDROM(ctx, c.actor, "ml", baadal.CDROMInsert{ISO: "install"}, none)
		return submitted(tb, ch, err)
	}
	eject := func(tb testing.TB, c *cloud) int64 {
		ch, err := c.svc.EjectCDROM(ctx, c.actor, "ml", baadal.CDROMEject{}, none)
		return submitted(tb, ch, err)
	}
	reverted := func(tb testing.TB, c *cloud) int64 {
		ch, err := c.svc.RevertSnapshot(ctx, c.actor, "ml", "first", none)
		return submitted(tb, ch, err)
	}
	return []tasktest.Case{
		diskCase("insert a CD in a running vm", insert, importISO),
		diskCase("insert a CD in a stopped vm", insert, importISO, off),
		diskCase("eject a CD from a running vm", eject, inserted),
		diskCase("eject a CD from a stopped vm", eject, inserted, off),
		power("delete vm with a CD", baadal.ActionVMDelete, inserted),
		either(diskCase("revert to a snapshot with a CD", reverted, inserted, func(tb testing.TB, c *cloud) { c.snapshot(tb, "ml", "first") }, ejected)),
	}
}

func TestCDROMs(t *testing.T)      { tasktest.Run(t, cdromCases()) }
func TestCDROMsChild(t *testing.T) { tasktest.Child(t, cdromCases()) }
