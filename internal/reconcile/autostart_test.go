package reconcile_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/reconcile"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

// startWithBoot runs the loops with an eye on boots.
func (c *cloud) startWithBoot(opt reconcile.Options) {
	c.loops = reconcile.New(c.db, reconcile.Systems{
		Hypervisor: c.world.Hypervisor(), Alive: c.world.Prober().Alive, Usage: c.world.Disks().Usage, DiskSizes: c.world.Disks().DiskSizes,
		Answers: c.world.Guests().Answers, Boot: c.world.Prober().Boot,
	}, opt)
	c.loops.Start(context.Background())
}

func (c *cloud) policy(t *testing.T, vm baadal.VM, a baadal.Autostart) {
	t.Helper()
	c.update(t, func(tx *store.Tx) error {
		now, err := tx.VM(vm.ID)
		now.Autostart = a
		if err != nil {
			return err
		}
		return tx.UpdateVM(&now)
	})
}

// starts returns the tasks that start VMs and have not ended, by the VM's name.
func (c *cloud) starts(t *testing.T) (names []string, all []baadal.Task) {
	t.Helper()
	c.view(t, func(tx *store.Tx) (err error) { all, err = tx.ActiveTasks(); return err })
	all = slices.DeleteFunc(all, func(k baadal.Task) bool { return k.Kind != baadal.TaskVMStart })
	for _, k := range all {
		names = append(names, k.Subject.Name)
		if k.RequesterID != baadal.System().User.ID || k.HostID == 0 || !k.Exclusive {
			t.Errorf("the start of %s is %+v", k.Subject.Name, k)
		}
	}
	slices.Sort(names)
	return names, all
}

// end ends a task as if a worker had done it.
func (c *cloud) end(t *testing.T, k baadal.Task, state baadal.TaskState, vm baadal.VMState) {
	t.Helper()
	c.update(t, func(tx *store.Tx) error {
		now := tx.Now()
		if _, err := tx.LeaseTasks("me", now.Add(never), 1000, 1000); err != nil {
			return err
		}
		k.State, k.EndedAt = state, &now
		if err := tx.SaveTask(&k, "me", false, time.Time{}); err != nil {
			return err
		}
		_, _, err := tx.SetVMState(k.Subject.ID, vm, "")
		return err
	})
}

// autostarting is beating with a look for VMs to start.
func autostarting() reconcile.Options {
	opt := beating()
	opt.Autostart = 5 * time.Second
	return opt
}

// TestHostComesBack: VMs that ran when their host went off are started again,
// others only if they always are; nobody is that is to stay off.
func TestHostComesBack(t *testing.T) {
	bubble(t, simulator.Config{BootTime: never}, func(t *testing.T, c *cloud) {
		c.vm(t, "host1", "ran")
		off, always, never := c.vm(t, "host1", "off"), c.vm(t, "host1", "always"), c.vm(t, "host1", "never")
		elsewhere := c.vm(t, "host2", "elsewhere")
		c.policy(t, always, baadal.AutostartAlways)
		c.policy(t, never, baadal.AutostartNever)
		c.startWithBoot(autostarting())
		pass(2 * time.Second)
		for _, vm := range []baadal.VM{off, always} {
			must(t, c.world.VirshDestroy("host1", vm.UUID))
		}
		pass(2 * time.Second)
		must(t, c.world.PowerOff("host1"))
		pass(30 * time.Second)
		if names, _ := c.starts(t); len(names) != 0 {
			t.Errorf("%v are started while their host is away", names)
		}
		must(t, c.world.PowerOn("host1"))
		pass(20 * time.Second)
		names, tasks := c.starts(t)
		if d := cmp.Diff([]string{"always", "ran"}, names); d != "" {
			t.Fatal(d)
		}
		for _, k := range tasks {
			c.end(t, k, baadal.TaskSuccess, baadal.VMRunning)
		}
		pass(20 * time.Second)
		c.view(t, func(tx *store.Tx) error {
			due, err := tx.DueVMs()
			if len(due) != 0 {
				t.Errorf("still due: %+v", due)
			}
			return err
		})
		c.wantState(t, never, baadal.VMOff)
		c.wantState(t, off, baadal.VMOff)
		c.wantState(t, elsewhere, baadal.VMRunning)
		if got := c.happened(t, "host"); !slices.Contains(got, "was off") {
			t.Errorf("history: %v", got)
		}
	})
}

// TestSilentHostStartsNothing: a host that was cut off, and a libvirtd that was
// restarted, were not off.
func TestSilentHostStartsNothing(t *testing.T) {
	bubble(t, simulator.Config{BootTime: never}, func(t *testing.T, c *cloud) {
		vm := c.vm(t, "host1", "ml")
		always := c.vm(t, "host1", "always")
		c.policy(t, always, baadal.AutostartAlways)
		c.startWithBoot(autostarting())
		pass(2 * time.Second)
		must(t, c.world.VirshDestroy("host1", always.UUID))
		must(t, c.world.Cut("host1"))
		pass(30 * time.Second)
		must(t, c.world.VirshDestroy("host1", vm.UUID)) // its guest ends meanwhile
		must(t, c.world.Heal("host1"))
		pass(30 * time.Second)
		must(t, c.world.RestartLibvirtd("host1"))
		pass(30 * time.Second)
		c.wantState(t, vm, baadal.VMOff)
		if names, _ := c.starts(t); len(names) != 0 {
			t.Errorf("%v are started", names)
		}
	})
}

// TestStartsAreThrottled: few of a host at a time, those that are always started
// first; one that fails is tried again, later each time, and then given up.
func TestStartsAreThrottled(t *testing.T) {
	bubble(t, simulator.Config{BootTime: never}, func(t *testing.T, c *cloud) {
		for i := range 7 {
			vm := c.vm(t, "host1", fmt.Sprintf("vm%d", i))
			if i >= 5 {
				c.policy(t, vm, baadal.AutostartAlways)
			}
		}
		c.startWithBoot(autostarting())
		pass(2 * time.Second)
		must(t, c.world.PowerOff("host1"))
		pass(time.Second) // too short for the host to be missed
		must(t, c.world.PowerOn("host1"))
		pass(30 * time.Second)
		names, tasks := c.starts(t)
		if d := cmp.Diff([]string{"vm0", "vm1", "vm5", "vm6"}, names); d != "" {
			t.Fatal(d)
		}
		for _, k := range tasks[1:] {
			c.end(t, k, baadal.TaskSuccess, baadal.VMRunning)
		}
		failing := tasks[0].Subject.Name
		for try, wait := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
			for _, k := range func() []baadal.Task { _, all := c.starts(t); return all }() {
				if k.Subject.Name == failing {
					c.end(t, k, baadal.TaskFailed, baadal.VMOff)
					continue
				}
				c.end(t, k, baadal.TaskSuccess, baadal.VMRunning)
			}
			pass(wait - 45*time.Second)
			if names, _ := c.starts(t); slices.Contains(names, failing) {
				t.Errorf("after try %d %s is started again too soon", try+1, failing)
			}
			pass(wait)
		}
		if names, _ := c.starts(t); len(names) != 0 {
			t.Errorf("%v are started still", names)
		}
		if got := c.happened(t, "vm"); !slices.Contains(got, "given up after 3 starts") {
			t.Errorf("history: %v", got)
		}
	})
}
