package reconcile_test

import (
	"context"
	"math"
	"testing"
	"time"

	"baadal"
	"baadal/internal/reconcile"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

// TestStatsOfVMs follows a VM's figures through a start, a migration's end and
// the loss of its host: there are rates only between two looks at the same run.
func TestStatsOfVMs(t *testing.T) {
	bubble(t, simulator.Config{BootTime: never}, func(t *testing.T, c *cloud) {
		vm := c.vm(t, "host1", "ml")
		hyper := c.world.Hypervisor()
		c.loops = reconcile.New(c.db, reconcile.Systems{
			Hypervisor: hyper, Alive: c.world.Prober().Alive, Usage: c.world.Disks().Usage, DiskSizes: c.world.Disks().DiskSizes,
			Answers: c.world.Guests().Answers, Stats: hyper.Stats,
		}, rarely)
		if _, known := c.loops.VMStats(vm); known {
			t.Error("figures before the first look")
		}
		c.loops.Start(context.Background())
		want := func(when string, known, rates bool) {
			t.Helper()
			s, got := c.loops.VMStats(vm)
			if got != known || (s.CPUPercent != nil) != rates || (s.ReadRate != nil) != rates {
				t.Errorf("%s: known %t, %+v", when, got, s)
			}
			if rates && (math.Abs(*s.CPUPercent-5) > 0.5 || *s.ReadRate < 1 || s.UsedMiB == nil || s.Interval < 1) {
				t.Errorf("%s: CPU %g %%, read %g, over %g s", when, *s.CPUPercent, *s.ReadRate, s.Interval)
			}
		}
		pass(time.Second)
		want("after one look", true, false)
		pass(5 * time.Second)
		want("after two", true, true)
		must(t, c.world.VirshDestroy("host1", vm.UUID))
		must(t, c.world.VirshStart("host1", vm.UUID))
		pass(5 * time.Second)
		want("started anew", true, false)
		pass(5 * time.Second)
		want("and looked at again", true, true)
		must(t, c.world.Cut("host1"))
		pass(20 * time.Second)
		want("its host is silent", false, false)
		must(t, c.world.Heal("host1"))
		pass(30 * time.Second)
		want("back again", true, true)
		elsewhere := vm
		elsewhere.HostID++
		if _, known := c.loops.VMStats(elsewhere); known {
			t.Error("figures of another host count for the VM")
		}
	})
}

// TestStatsFollowAMove: a VM that moved has no rates between two looks on two
// hosts, whose counters have nothing to do with each other, and right ones after
// two looks on the new one.
func TestStatsFollowAMove(t *testing.T) {
	bubble(t, simulator.Config{BootTime: never}, func(t *testing.T, c *cloud) {
		vm := c.vm(t, "host1", "ml")
		hyper := c.world.Hypervisor()
		c.loops = reconcile.New(c.db, reconcile.Systems{
			Hypervisor: hyper, Alive: c.world.Prober().Alive, Usage: c.world.Disks().Usage, DiskSizes: c.world.Disks().DiskSizes,
			Answers: c.world.Guests().Answers, Stats: hyper.Stats,
		}, rarely)
		c.loops.Start(context.Background())
		pass(time.Hour + 7*time.Second) // its counters are high
		move := func(from, to string) {
			t.Helper()
			must(t, c.world.VirshDestroy(from, vm.UUID))
			must(t, c.world.VirshUndefine(from, vm.UUID))
			c.domain(t, to, vm)
			h := c.host(t, to)
			c.update(t, func(tx *store.Tx) error { return tx.MoveVM(vm.ID, h.ID, "moved") })
		}
		for _, way := range [][2]string{{"host1", "host2"}, {"host2", "host1"}, {"host1", "host2"}} {
			move(way[0], way[1])
			looks := 0
			for range 12 {
				pass(time.Second)
				s, known := c.loops.VMStats(c.now(t, vm))
				if !known || s.CPUPercent == nil {
					continue
				}
				looks++
				if math.Abs(*s.CPUPercent-5) > 0.5 || *s.ReadRate < 30<<10 || *s.ReadRate > 50<<10 || s.Interval > 6 {
					t.Errorf("on %s: CPU %g %%, read %g, over %g s", way[1], *s.CPUPercent, *s.ReadRate, s.Interval)
				}
			}
			if looks == 0 {
				t.Errorf("no rates on %s", way[1])
			}
		}
	})
}

// TestSavedShows: that a VM was saved to disk behind our back, and that what was
// saved is gone, shows like a state.
func TestSavedShows(t *testing.T) {
	bubble(t, simulator.Config{BootTime: never}, func(t *testing.T, c *cloud) {
		vm := c.vm(t, "host1", "ml")
		c.start(rarely)
		pass(time.Second)
		h := c.host(t, "host1")
		hyper := c.world.Hypervisor()
		must(t, hyper.Save(t.Context(), h, vm.UUID))
		pass(time.Second)
		if now := c.now(t, vm); !now.Saved() || now.State != baadal.VMOff {
			t.Errorf("saved, it is stored as %s (%s)", now.State, now.Reason)
		}
		must(t, hyper.Discard(t.Context(), h, vm.UUID))
		must(t, c.world.RestartLibvirtd("host1")) // no event tells of it: the next full look does
		pass(15 * time.Second)
		if now := c.now(t, vm); now.Saved() || now.State != baadal.VMOff {
			t.Errorf("discarded, it is stored as %s (%s)", now.State, now.Reason)
		}
	})
}
