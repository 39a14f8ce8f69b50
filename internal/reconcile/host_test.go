package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"baadal"
	"baadal/internal/reconcile"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

// beating is rarely with a look at each host every second.
func beating() reconcile.Options {
	opt := rarely
	opt.HostCheck = time.Second
	return opt
}

// TestUnreachableIsNotDead: a host that does not answer three times is down, and
// nothing is concluded about its VMs; when it answers again, all is looked at.
func TestUnreachableIsNotDead(t *testing.T) {
	bubble(t, simulator.Config{BootTime: never}, func(t *testing.T, c *cloud) {
		vm, other := c.vm(t, "host1", "ml"), c.vm(t, "host2", "other")
		waiting := c.hold(t, baadal.TaskVMReboot, vm)
		c.start(beating())
		pass(1500 * time.Millisecond)
		must(t, c.world.Cut("host1"))
		pass(2 * time.Second) // two misses
		if h := c.host(t, "host1"); h.State != baadal.HostUp {
			t.Errorf("after two misses it is %s", h.State)
		}
		pass(time.Second)
		if h := c.host(t, "host1"); h.State != baadal.HostDown || !strings.Contains(h.Reason, "host1 does not answer") {
			t.Errorf("after three misses it is %s (%s)", h.State, h.Reason)
		}
		if now := c.now(t, vm); now.State != baadal.VMRunning || now.Reachable {
			t.Errorf("its VM is %s, reachable %t", now.State, now.Reachable)
		}
		must(t, c.world.VirshDestroy("host1", vm.UUID))
		pass(time.Minute)
		c.wantState(t, vm, baadal.VMRunning) // the last that was seen
		if h := c.host(t, "host2"); h.State != baadal.HostUp {
			t.Errorf("host2 is %s", h.State)
		}
		if now := c.now(t, other); !now.Reachable || now.State != baadal.VMRunning {
			t.Errorf("its VM is %s, reachable %t", now.State, now.Reachable)
		}

		must(t, c.world.Heal("host1"))
		pass(time.Second)
		if h := c.host(t, "host1"); h.State != baadal.HostUp || h.Reason != "" || h.LastSeen == nil || time.Since(*h.LastSeen) > time.Second {
			t.Errorf("healed it is %s (%s), last seen %v", h.State, h.Reason, h.LastSeen)
		}
		if now := c.now(t, vm); now.State != baadal.VMOff || !now.Reachable {
			t.Errorf("its VM is %s, reachable %t", now.State, now.Reachable)
		}
		c.view(t, func(tx *store.Tx) error {
			k, err := tx.Task(waiting.ID)
			if err == nil && k.RunAfter.After(time.Now()) {
				t.Errorf("the waiting task is due only at %s", k.RunAfter)
			}
			return err
		})
		if diff := cmp.Diff([]string{"down", "up"}, c.happened(t, "host")); diff != "" {
			t.Errorf("history (-want +got):\n%s", diff)
		}
	})
}

// TestLostPacketIsNoLostHost: two misses and an answer start the count anew.
func TestLostPacketIsNoLostHost(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		for _, nth := range []int{3, 6, 9} {
			c.world.Fail(simulator.Rule{Op: "prober.alive", Host: "host1", Nth: nth, Times: 2, Before: true})
		}
		c.start(beating())
		pass(20 * time.Second)
		if got := c.happened(t, "host"); len(got) != 0 {
			t.Errorf("history: %v", got)
		}
	})
}

func TestPowerCutAndReturn(t *testing.T) {
	bubble(t, simulator.Config{BootTime: never}, func(t *testing.T, c *cloud) {
		vm := c.vm(t, "host1", "ml")
		c.start(beating())
		pass(time.Second)
		must(t, c.world.PowerOff("host1"))
		pass(10 * time.Second)
		c.wantState(t, vm, baadal.VMRunning)
		if h := c.host(t, "host1"); h.State != baadal.HostDown {
			t.Errorf("the host is %s", h.State)
		}
		must(t, c.world.PowerOn("host1"))
		pass(2 * time.Second)
		c.wantState(t, vm, baadal.VMOff)
	})
}

// TestChangedKeyStopsAtOnce: another host key is no lost packet.
func TestChangedKeyStopsAtOnce(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		c.start(beating())
		pass(1500 * time.Millisecond)
		must(t, c.world.ChangeHostKey("host1"))
		pass(time.Second)
		if h := c.host(t, "host1"); h.State != baadal.HostDown || !strings.Contains(h.Reason, "the host key of host1 has changed") {
			t.Errorf("it is %s (%s)", h.State, h.Reason)
		}
	})
}

// TestHostsThatKeepTheirState: maintenance is a person's word, and a host that is
// being added is its task's business.
func TestHostsThatKeepTheirState(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		c.update(t, func(tx *store.Tx) error {
			if _, err := tx.SetHostState(c.host(t, "host1").ID, baadal.HostMaintenance, "new fans", false); err != nil {
				return err
			}
			h2, err := tx.HostByRef("host2")
			if err != nil {
				return err
			}
			if _, err := tx.SetHostState(h2.ID, baadal.HostDown, "it is being looked at", false); err != nil {
				return err
			}
			return tx.InsertTask(&baadal.Task{Kind: baadal.TaskHostAdd, Subject: baadal.Subject{Kind: "host", ID: h2.ID, Name: "host2"}, Exclusive: true})
		})
		c.start(beating())
		pass(10 * time.Second)
		must(t, c.world.Cut("host1"))
		pass(10 * time.Second)
		if h := c.host(t, "host1"); h.State != baadal.HostMaintenance || h.Reason != "new fans" {
			t.Errorf("host1 is %s (%s)", h.State, h.Reason)
		}
		if h := c.host(t, "host2"); h.State != baadal.HostDown || h.Reason != "it is being looked at" {
			t.Errorf("host2 is %s (%s)", h.State, h.Reason)
		}
	})
}

// TestHostsComeAndGo: a new host is watched soon, a removed one no more.
func TestHostsComeAndGo(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		opt := beating()
		opt.Hosts = 2 * time.Second
		c.start(opt)
		pass(time.Second)
		must(t, c.world.AddHost("host9", "10.77.9.9"))
		h, err := c.world.Host("host9")
		must(t, err)
		h.State = baadal.HostDown
		c.update(t, func(tx *store.Tx) error { return tx.CreateHost(&h) })
		pass(2 * time.Second)
		if now := c.host(t, "host9"); now.State != baadal.HostUp {
			t.Errorf("the new host is %s", now.State)
		}
		c.update(t, func(tx *store.Tx) error {
			return errors.Join(tx.DeleteHost(h.ID), tx.DeleteHost(c.host(t, "host2").ID))
		})
		pass(5 * time.Second)
		before := c.world.Ops()["prober.alive"]
		pass(10 * time.Second)
		if n := c.world.Ops()["prober.alive"] - before; n != 10 {
			t.Errorf("%d looks at the one host that is left, in 10 s", n)
		}
	})
}

// TestHungHostDelaysNobody: whatever hangs on one host, the others are seen
// within a second.
func TestHungHostDelaysNobody(t *testing.T) {
	bubble(t, simulator.Config{Hosts: 5, BootTime: never}, func(t *testing.T, c *cloud) {
		var vms []baadal.VM
		for i := range 5 {
			vms = append(vms, c.vm(t, fmt.Sprintf("host%d", i+1), fmt.Sprintf("vm%d", i+1)))
		}
		for _, op := range []string{"prober.alive", "disks.usage"} {
			c.world.Fail(simulator.Rule{Op: op, Host: "host1", Times: -1, Before: true, Hang: true})
		}
		opt := beating()
		opt.FullLook, opt.Datastores = time.Minute, time.Minute
		c.start(opt)
		pass(time.Second)
		must(t, c.world.Hang("host1", true))
		pass(10 * time.Second)
		for i, vm := range vms[1:] {
			must(t, c.world.VirshDestroy(fmt.Sprintf("host%d", i+2), vm.UUID))
			begun := time.Now()
			for c.now(t, vm).State != baadal.VMOff && time.Since(begun) < time.Minute {
				pass(10 * time.Millisecond)
			}
			if took := time.Since(begun); took > time.Second {
				t.Errorf("%s was seen after %s", vm.Name, took)
			}
		}
		pass(10 * time.Second)
		for i := range 5 {
			want := baadal.HostUp
			if i == 0 {
				want = baadal.HostDown
			}
			if h := c.host(t, fmt.Sprintf("host%d", i+1)); h.State != want {
				t.Errorf("%s is %s (%s)", h.Name, h.State, h.Reason)
			}
		}
		if d := c.datastore(t); d.State != baadal.DatastoreOK || len(d.Hosts) != 4 {
			t.Errorf("the datastore is %s, seen on %v", d.State, d.Hosts)
		}
	})
}

// TestStopEndsEverything is no bubble: here it is real goroutines that must go,
// those that wait for a hung host too.
func TestStopEndsEverything(t *testing.T) {
	c := newCloud(t, simulator.Config{})
	defer c.close(t)
	before := goleak.IgnoreCurrent()
	c.vm(t, "host1", "ml")
	must(t, c.world.Hang("host2", true))
	c.world.Fail(simulator.Rule{Op: "prober.alive", Host: "host2", Times: -1, Before: true, Hang: true})
	ms := time.Millisecond
	c.start(reconcile.Options{HostCheck: ms, FullLook: ms, Datastores: ms, Guests: ms, Schedule: ms})
	for c.world.Ops()["hypervisor.domains"] < 5 || c.world.Ops()["prober.alive"] < 5 || c.world.Ops()["disks.usage"] < 2 {
		if err := context.Cause(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(ms)
	}
	begun := time.Now()
	c.loops.Stop()
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the stop took %s", took)
	}
	c.loops.Stop() // again is harmless
	goleak.VerifyNone(t, before)
	reconcile.New(c.db, reconcile.Systems{}, reconcile.Options{}).Stop() // as is one that never ran
}
