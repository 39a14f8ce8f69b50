package reconcile_test

import (
	"testing"
	"time"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

// TestUnusedBasesGo: the removal of a base is asked for once nothing stands on
// it, one task at a time; one that is being made is left alone.
func TestUnusedBasesGo(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		vm := c.row(t, "host1", "clone", baadal.VMOff)
		ds := c.datastore(t)
		used := baadal.Base{UUID: "used", DatastoreID: ds.ID, Origin: "parent", SizeGiB: 1, State: baadal.BaseReady}
		making := baadal.Base{UUID: "making", DatastoreID: ds.ID, Origin: "parent", SizeGiB: 1, State: baadal.BaseMaking}
		c.update(t, func(tx *store.Tx) error {
			if err := tx.CreateBase(&used); err != nil {
				return err
			}
			if err := tx.CreateBase(&making); err != nil {
				return err
			}
			return tx.SetVMDisk(vm.ID, "", used.ID)
		})
		opt := rarely
		opt.Schedule = time.Second
		c.start(opt)
		c.skip(time.Minute)
		if got := c.tasks(t, baadal.TaskBaseRemove); len(got) != 0 {
			t.Errorf("in use: %+v", got)
		}
		c.update(t, func(tx *store.Tx) error { return tx.SetVMDisk(vm.ID, "", 0) })
		c.skip(time.Minute)
		if got := c.tasks(t, baadal.TaskBaseRemove); len(got) != 1 || got[0].Subject.ID != used.ID || !got[0].Exclusive {
			t.Errorf("unused: %+v", got)
		}
	})
}
