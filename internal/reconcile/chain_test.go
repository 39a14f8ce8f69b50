package reconcile_test

import (
	"testing"
	"time"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

// chained puts a VM on so many bases.
func chained(t *testing.T, c *cloud, host, name string, n int) baadal.VM {
	t.Helper()
	vm := c.vm(t, host, name)
	ds := c.datastore(t)
	c.update(t, func(tx *store.Tx) error {
		parent := int64(0)
		for i := range n {
			b := baadal.Base{UUID: name + string(rune('a'+i)), DatastoreID: ds.ID, ParentID: parent, Origin: name, SizeGiB: 1, State: baadal.BaseReady}
			if err := tx.CreateBase(&b); err != nil {
				return err
			}
			parent = b.ID
		}
		return tx.SetVMDisk(vm.ID, "", parent)
	})
	return vm
}

// TestLongChainsAreFlattened asks for one VM of each host that is up, the
// deepest first; not for those with snapshots, and not again soon for one that
// could not be flattened.
func TestLongChainsAreFlattened(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		chained(t, c, "host1", "short", 4)
		deep := chained(t, c, "host1", "deep", 6)
		deeper := chained(t, c, "host1", "deeper", 7)
		other := chained(t, c, "host2", "other", 5)
		kept := chained(t, c, "host2", "kept", 9)
		c.update(t, func(tx *store.Tx) error {
			hosts, err := tx.AllHosts()
			if err != nil {
				return err
			}
			for _, h := range hosts {
				if _, err := tx.SetHostState(h.ID, baadal.HostUp, "", true); err != nil {
					return err
				}
			}
			return tx.CreateSnapshot(&baadal.Snapshot{VMID: kept.ID, Name: "kept", VMState: baadal.VMOff})
		})
		opt := rarely
		opt.Chains = time.Second
		c.start(opt)
		want := func(when string, vms ...baadal.VM) {
			t.Helper()
			got := c.tasks(t, baadal.TaskDiskFlatten)
			if len(got) != len(vms) {
				t.Fatalf("%s: %+v", when, got)
			}
			for i, vm := range vms {
				k := got[i]
				if k.Subject.ID != vm.ID || !k.Exclusive || k.HostID != vm.HostID || string(k.Params) != `{"bytes_per_second":52428800}` {
					t.Errorf("%s: %+v, want one for %s", when, k, vm.Name)
				}
			}
		}
		c.skip(5 * time.Minute)
		want("at first", deeper, other)
		c.update(t, func(tx *store.Tx) error { // the first one fails, the second one is done
			leased, err := tx.LeaseTasks("test", tx.Now().Add(time.Minute), 8, 2)
			if err != nil {
				return err
			}
			for i := range leased {
				k, now := &leased[i], tx.Now()
				k.State, k.EndedAt = baadal.TaskFailed, &now
				if k.Subject.ID == other.ID {
					k.State = baadal.TaskSuccess
					if err := tx.SetVMDisk(other.ID, "", 0); err != nil {
						return err
					}
				}
				if err := tx.SaveTask(k, "test", false, time.Time{}); err != nil {
					return err
				}
			}
			return nil
		})
		c.skip(5 * time.Minute)
		want("after a failure", deeper, other, deep)
	})
}
