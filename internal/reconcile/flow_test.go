package reconcile_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/reconcile"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

// TestFlowsAreKept: the rules on a host's ports are laid when it is known, and
// are back when they are lost, when the host comes back, and when what they
// follow from changes.
func TestFlowsAreKept(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		vm := c.vm(t, "host1", "ml")
		var asked []string
		flows := c.world.Flows()
		read := func(macs []string) (p baadal.FlowPolicy, err error) {
			c.view(t, func(tx *store.Tx) (err error) { p, err = tx.FlowPolicy(macs); return err })
			return p, err
		}
		opt := beating()
		c.loops = reconcile.New(c.db, reconcile.Systems{
			Hypervisor: c.world.Hypervisor(), Alive: c.world.Prober().Alive, Usage: c.world.Disks().Usage, DiskSizes: c.world.Disks().DiskSizes, Answers: c.world.Guests().Answers,
			KeepFlows: func(ctx context.Context, h baadal.Host, wake <-chan struct{}, read baadal.FlowRead) error {
				return flows.Keep(ctx, h, wake, func(macs []string) (baadal.FlowPolicy, error) {
					if h.Name == "host1" {
						asked = macs
					}
					return read(macs)
				})
			},
		}, opt)
		laid := func(want bool) {
			t.Helper()
			for _, name := range []string{"host1", "host2"} {
				words, err := flows.Differences(t.Context(), c.host(t, name), read)
				if err != nil || (len(words) == 0) != want {
					t.Errorf("%s: %v, %v; want it laid: %t", name, words, err, want)
				}
			}
		}
		laid(false)
		c.loops.Start(context.Background())
		pass(2 * time.Second)
		laid(true)
		if len(asked) != 1 || asked[0] != vm.MAC {
			t.Errorf("the policy was read for %v, want %s", asked, vm.MAC)
		}
		for _, name := range []string{"host1", "host2"} {
			must(t, c.world.DropFlows(name))
		}
		laid(false)
		pass(time.Second)
		laid(true)

		c.update(t, func(tx *store.Tx) error {
			_, err := tx.SetSetting(baadal.SettingAntiSpoofing, "false", 0, "asha")
			return err
		})
		pass(0)
		laid(true) // that is: they are gone, as the store says from now on

		for _, name := range []string{"host1", "host2"} {
			must(t, c.world.PowerOff(name))
		}
		pass(5 * time.Second)
		for _, name := range []string{"host1", "host2"} {
			must(t, c.world.PowerOn(name))
		}
		pass(6 * time.Second)
		laid(true)
	})
}

// TestRemovedHostIsOpened: a host that is removed keeps no rules; of one that
// does not answer then it is said that it has them yet.
func TestRemovedHostIsOpened(t *testing.T) {
	bubble(t, simulator.Config{Hosts: 3}, func(t *testing.T, c *cloud) {
		flows := c.world.Flows()
		opt := beating()
		opt.Hosts = time.Second
		c.loops = reconcile.New(c.db, reconcile.Systems{
			Hypervisor: c.world.Hypervisor(), Alive: c.world.Prober().Alive, Usage: c.world.Disks().Usage, DiskSizes: c.world.Disks().DiskSizes, Answers: c.world.Guests().Answers,
			KeepFlows: flows.Keep, ClearFlows: flows.Clear,
		}, opt)
		hosts := map[string]baadal.Host{}
		for _, name := range []string{"host1", "host2", "host3"} {
			hosts[name] = c.host(t, name)
		}
		rules := func(name string) bool {
			t.Helper()
			words, err := flows.Differences(t.Context(), hosts[name], func([]string) (baadal.FlowPolicy, error) { return baadal.FlowPolicy{}, nil })
			must(t, err)
			return len(words) == 0
		}
		c.loops.Start(context.Background())
		pass(5 * time.Second)
		for name := range hosts {
			if !rules(name) {
				t.Fatal(name + " has no rules")
			}
		}
		must(t, c.world.PowerOff("host3"))
		c.update(t, func(tx *store.Tx) error {
			if err := tx.DeleteHost(hosts["host2"].ID); err != nil {
				return err
			}
			return tx.DeleteHost(hosts["host3"].ID)
		})
		pass(time.Minute)
		if !rules("host1") || rules("host2") {
			t.Errorf("host1, which stays, has rules: %t; host2, which went: %t", rules("host1"), rules("host2"))
		}
		var said []baadal.Event
		c.view(t, func(tx *store.Tx) error {
			all, err := tx.EventsAfter(0, []string{"host"}, nil, baadal.Visibility{Scope: baadal.ScopeAny}, 1000)
			for _, e := range all {
				if e.What == "rules left" {
					said = append(said, e)
				}
			}
			return err
		})
		if len(said) != 1 || said[0].Subject.Name != "host3" || !strings.Contains(string(said[0].Changes), "ovs-vsctl") {
			t.Errorf("of the host that was off it is said: %+v", said)
		}
	})
}
