package reconcile_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"baadal"
	"baadal/internal/reconcile"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

// TestNewGuestsAreAskedFirst: among hundreds of guests that have been silent for
// long, one that starts now is asked within seconds, and the others get their
// turn all the same.
func TestNewGuestsAreAskedFirst(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		const silent = 300
		c.update(t, func(tx *store.Tx) error {
			n := baadal.Network{Name: "large", VLAN: 11, CIDR: "10.0.2.0/23", Bridge: "ovs-net", Portgroup: "vlan11", First: "10.0.2.1", Last: "10.0.3.200"}
			var all []baadal.Address
			for i := range silent + 1 {
				all = append(all, baadal.Address{IP: fmt.Sprintf("10.0.%d.%d", 2+i/200, 1+i%200), MAC: baadal.RandomMAC([3]byte{1, byte(i >> 8), byte(i)})})
			}
			err := tx.CreateNetwork(&n, all)
			c.network = n.ID
			return err
		})
		for i := range silent {
			c.row(t, "host1", fmt.Sprintf("silent%d", i), baadal.VMRunning)
		}
		must(t, c.world.Cut("host1")) // nobody looks whether they are there
		c.ahead.Add(int64(time.Hour)) // they have been silent for that long
		var mu sync.Mutex
		asked := map[string]time.Time{} // first time, by address
		c.loops = reconcile.New(c.db, reconcile.Systems{
			Hypervisor: c.world.Hypervisor(), Alive: c.world.Prober().Alive, Usage: c.world.Disks().Usage, DiskSizes: c.world.Disks().DiskSizes,
			Answers: func(_ context.Context, address string) bool {
				mu.Lock()
				if _, known := asked[address]; !known {
					asked[address] = time.Now()
				}
				mu.Unlock()
				time.Sleep(time.Second) // nobody is there
				return false
			},
		}, reconcile.Options{Hosts: never, HostCheck: never, FullLook: never, Datastores: never, Disks: never, Schedule: never})
		c.loops.Start(context.Background())
		pass(500 * time.Millisecond)
		begun := time.Now()
		fresh := c.row(t, "host1", "fresh", baadal.VMRunning)
		pass(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		at, known := asked[fresh.Address]
		if took := at.Sub(begun); !known || took > 2*time.Second {
			t.Errorf("the new one was asked after %s", took)
		}
		if len(asked) != silent+1 {
			t.Errorf("%d guests were asked in a minute, want all %d", len(asked), silent+1)
		}
	})
}
