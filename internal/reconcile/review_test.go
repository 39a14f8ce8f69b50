package reconcile_test

import (
	"testing"
	"time"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

// TestDiesWhileItsTaskEnds lets a VM crash after its creation started it and
// before the creation wrote down that it runs.
func TestDiesWhileItsTaskEnds(t *testing.T) {
	for _, before := range []baadal.VMState{baadal.VMInQueue, baadal.VMCrashed} {
		t.Run(before.String(), func(t *testing.T) {
			bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
				vm := c.row(t, "host1", "ml", before)
				k := c.hold(t, baadal.TaskVMCreate, vm)
				c.domain(t, "host1", vm)
				c.start(rarely)
				pass(time.Second)
				must(t, c.world.GuestCrash("host1", vm.UUID))
				pass(100 * time.Millisecond)
				c.update(t, func(tx *store.Tx) error {
					_, _, err := tx.SetVMState(vm.ID, baadal.VMRunning, "")
					return err
				})
				c.update(t, func(tx *store.Tx) error { return tx.HurryTask(k.ID) })
				c.endTask(t, k)
				pass(2 * time.Second)
				c.wantState(t, vm, baadal.VMCrashed)
			})
		})
	}
}
