package reconcile_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/reconcile"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

// TestNetworksAreKept: each host that is up is looked at from time to time, when
// a network changes, and when it comes back; one that is down is left alone.
func TestNetworksAreKept(t *testing.T) {
	bubble(t, simulator.Config{Hosts: 2}, func(t *testing.T, c *cloud) {
		var mu sync.Mutex
		seen := map[string]int{}
		c.loops = reconcile.New(c.db, reconcile.Systems{
			Hypervisor: c.world.Hypervisor(), Alive: c.world.Prober().Alive, Usage: c.world.Disks().Usage, DiskSizes: c.world.Disks().DiskSizes, Answers: c.world.Guests().Answers,
			Networks: func(_ context.Context, h baadal.Host) error {
				mu.Lock()
				defer mu.Unlock()
				seen[h.Name]++
				if h.State != baadal.HostUp {
					t.Errorf("%s is %s", h.Name, h.State)
				}
				return nil
			},
		}, reconcile.Options{Networks: time.Hour})
		looks := func(want map[string]int) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if d := cmp.Diff(want, seen); d != "" {
				t.Error(d)
			}
			clear(seen)
		}
		c.loops.Start(context.Background())
		time.Sleep(time.Minute)
		synctest.Wait()
		mu.Lock()
		clear(seen)
		mu.Unlock()
		time.Sleep(time.Hour)
		looks(map[string]int{"host1": 1, "host2": 1})
		if err := c.world.Cut("host2"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		looks(map[string]int{})
		c.update(t, func(tx *store.Tx) error {
			n, err := tx.Network(c.network)
			if err != nil {
				return err
			}
			return tx.UpdateNetwork(&n)
		})
		time.Sleep(time.Second)
		looks(map[string]int{"host1": 1})
		if err := c.world.Heal("host2"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		looks(map[string]int{"host1": 1, "host2": 1})
	})
}
