package reconcile_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"baadal"
	"baadal/internal/reconcile"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

// TestBoxes: a box is looked at now and then; one that wants to know soon has
// many changes as one, and failures are tried again.
func TestBoxes(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		var slow, soon, fails atomic.Int64
		opt := rarely
		opt.Boxes, opt.BoxCalm = time.Minute, 200*time.Millisecond
		c.loops = reconcile.New(c.db, reconcile.Systems{
			Hypervisor: c.world.Hypervisor(), Alive: c.world.Prober().Alive, Usage: c.world.Disks().Usage, DiskSizes: c.world.Disks().DiskSizes, Answers: c.world.Guests().Answers,
			Boxes: []reconcile.Box{
				{Name: "slow", Sync: func(context.Context) error { slow.Add(1); return nil }},
				{Name: "soon", Soon: true, Sync: func(context.Context) error { soon.Add(1); return nil }},
				{Name: "away", Sync: func(context.Context) error { fails.Add(1); return errors.New("away") }},
			},
		}, opt)
		c.loops.Start(context.Background())
		counts := func(wantSlow, wantSoon int64) {
			t.Helper()
			if slow.Load() != wantSlow || soon.Load() != wantSoon || fails.Load() != wantSlow {
				t.Errorf("%d slow, %d soon, %d failed; want %d, %d", slow.Load(), soon.Load(), fails.Load(), wantSlow, wantSoon)
			}
		}
		pass(time.Second)
		soon.Store(1) // the other loops saw hosts and the datastore for the first time
		vm := c.row(t, "host1", "a", baadal.VMRunning)
		for range 10 {
			c.happen(t, vm)
		}
		pass(time.Second)
		counts(1, 2)
		c.happen(t, vm)
		pass(time.Second)
		counts(1, 3)
		pass(time.Minute)
		counts(2, 4)
	})
}

// TestBoxRests: a box for which each change is much work is not kept at it all
// the time by changes that never end.
func TestBoxRests(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		var runs atomic.Int64
		opt := rarely
		opt.Boxes, opt.BoxCalm = 10*time.Second, 200*time.Millisecond
		c.loops = reconcile.New(c.db, reconcile.Systems{
			Hypervisor: c.world.Hypervisor(), Alive: c.world.Prober().Alive, Usage: c.world.Disks().Usage, DiskSizes: c.world.Disks().DiskSizes, Answers: c.world.Guests().Answers,
			Boxes: []reconcile.Box{{Name: "slow", Soon: true, Sync: func(ctx context.Context) error {
				runs.Add(1)
				select {
				case <-ctx.Done():
				case <-time.After(500 * time.Millisecond):
				}
				return nil
			}}},
		}, opt)
		c.loops.Start(context.Background())
		vm := c.row(t, "host1", "a", baadal.VMRunning)
		for range 200 {
			c.happen(t, vm)
			pass(100 * time.Millisecond)
		}
		if n := runs.Load(); n < 8 || n > 16 { // one begins two seconds after the one before
			t.Errorf("%d runs in 20 s", n)
		}
	})
}

// happen stores an event of a VM.
func (c *cloud) happen(t *testing.T, vm baadal.VM) {
	t.Helper()
	c.update(t, func(tx *store.Tx) error {
		_, err := tx.AddEvent(baadal.Event{Topic: "vm", Subject: baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name}, What: "edited", OwnerID: vm.OwnerID})
		return err
	})
}
