package reconcile_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

// wantState checks a VM's state as it is stored.
func (c *cloud) wantState(t *testing.T, vm baadal.VM, want baadal.VMState) {
	t.Helper()
	if now := c.now(t, vm); now.State != want {
		t.Errorf("%s is stored as %s (%s), want %s", vm.Name, now.State, now.Reason, want)
	}
}

// TestEventsShowAtOnce: what somebody does behind our back is in the store
// within a second, by events alone.
func TestEventsShowAtOnce(t *testing.T) {
	bubble(t, simulator.Config{BootTime: never}, func(t *testing.T, c *cloud) {
		vm := c.vm(t, "host1", "ml")
		c.start(rarely)
		pass(time.Second)
		for _, x := range []struct {
			name string
			act  func(host, uuid string) error
			want baadal.VMState
		}{
			{"suspend", c.world.VirshSuspend, baadal.VMPaused},
			{"resume", c.world.VirshResume, baadal.VMRunning},
			{"destroy", c.world.VirshDestroy, baadal.VMOff},
			{"start", c.world.VirshStart, baadal.VMRunning},
			{"crash", c.world.GuestCrash, baadal.VMCrashed},
			{"start again", c.world.VirshStart, baadal.VMRunning},
			{"undefine while it runs", c.world.VirshUndefine, baadal.VMRunning},
			{"guest goes down", c.world.GuestShutdown, baadal.VMMissing},
		} {
			must(t, x.act("host1", vm.UUID))
			pass(time.Second)
			if now := c.now(t, vm); now.State != x.want {
				t.Errorf("%s: it is stored as %s, want %s", x.name, now.State, x.want)
			}
		}
		now := c.now(t, vm)
		if now.Reason != "host host1 does not know its domain" || now.Address != vm.Address || now.HostID != vm.HostID {
			t.Errorf("a missing VM keeps all it has: %+v", now)
		}
		want := []string{"paused", "running", "off", "running", "crashed", "running", "missing"}
		if diff := cmp.Diff(want, c.happened(t, "vm")); diff != "" {
			t.Errorf("history (-want +got):\n%s", diff)
		}
		c.domain(t, "host1", vm)
		pass(time.Second)
		if now := c.now(t, vm); now.State != baadal.VMRunning || now.Reason != "" {
			t.Errorf("back again it is %s (%s)", now.State, now.Reason)
		}
	})
}

// TestLostEventsAreMadeUpFor: when the connection was lost, everything is looked
// at once it is there again.
func TestLostEventsAreMadeUpFor(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		vm := c.vm(t, "host1", "ml")
		c.start(rarely)
		pass(time.Second)
		must(t, c.world.RestartLibvirtd("host1"))
		must(t, c.world.VirshDestroy("host1", vm.UUID)) // nobody is told
		pass(50 * time.Millisecond)
		c.wantState(t, vm, baadal.VMRunning)
		pass(2 * time.Second)
		c.wantState(t, vm, baadal.VMOff)
	})
}

// TestFullLookIsTheNet: with no events at all the full look finds every
// difference.
func TestFullLookIsTheNet(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		off, gone := c.vm(t, "host1", "off"), c.vm(t, "host1", "gone")
		c.world.Fail(simulator.Rule{Op: "hypervisor.watch", Times: -1, Before: true})
		opt := rarely
		opt.FullLook = time.Minute
		c.start(opt)
		pass(time.Second)
		must(t, c.world.VirshDestroy("host1", off.UUID))
		must(t, c.world.VirshDestroy("host1", gone.UUID))
		must(t, c.world.VirshUndefine("host1", gone.UUID))
		pass(30 * time.Second)
		c.wantState(t, off, baadal.VMRunning)
		pass(30 * time.Second)
		c.wantState(t, off, baadal.VMOff)
		c.wantState(t, gone, baadal.VMMissing)
	})
}

// TestWhatIsNotJudged: a look says nothing about VMs that a task makes or
// removes, that are deleted, or that belong to another host.
func TestWhatIsNotJudged(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		creating, unknown := c.row(t, "host1", "creating", baadal.VMInQueue), c.row(t, "host1", "unknown", baadal.VMUnknown)
		deleted, elsewhere := c.row(t, "host1", "deleted", baadal.VMDeleted), c.row(t, "host1", "elsewhere", baadal.VMOff)
		held, free := c.vm(t, "host1", "held"), c.vm(t, "host1", "free")
		c.domain(t, "host1", creating)  // its task has just started it
		c.domain(t, "host1", unknown)   // left by a creation that failed
		c.domain(t, "host1", deleted)   // the audit's business
		c.domain(t, "host2", elsewhere) // a copy on the wrong host
		k := c.hold(t, baadal.TaskVMDelete, held)
		opt := rarely
		opt.FullLook = time.Minute
		c.start(opt)
		pass(time.Second)
		for _, vm := range []baadal.VM{held, free} {
			must(t, c.world.VirshDestroy("host1", vm.UUID))
			must(t, c.world.VirshUndefine("host1", vm.UUID))
		}
		pass(5 * time.Minute)
		for _, vm := range []baadal.VM{creating, unknown, deleted} {
			c.wantState(t, vm, vm.State)
		}
		c.wantState(t, elsewhere, baadal.VMMissing) // from host1; host2 has no say
		c.wantState(t, free, baadal.VMMissing)
		if now := c.now(t, held); now.State == baadal.VMMissing {
			t.Errorf("a VM that is being deleted is stored as %s", now.State)
		}

		c.update(t, func(tx *store.Tx) error { return tx.HurryTask(k.ID) })
		c.endTask(t, k)
		pass(time.Minute)
		c.wantState(t, held, baadal.VMMissing)
	})
}

// TestMigratingIsNotJudged: what one host says of a VM that is half on another
// one is not the truth; once the task has ended it is.
func TestMigratingIsNotJudged(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		vm := c.vm(t, "host1", "mover")
		k := c.hold(t, baadal.TaskVMMigrate, vm)
		opt := rarely
		opt.FullLook = time.Minute
		c.start(opt)
		pass(time.Second)
		must(t, c.world.VirshSuspend("host1", vm.UUID))
		pass(5 * time.Minute)
		c.wantState(t, vm, baadal.VMRunning)
		c.update(t, func(tx *store.Tx) error { return tx.HurryTask(k.ID) })
		c.endTask(t, k)
		pass(time.Minute)
		c.wantState(t, vm, baadal.VMPaused)
	})
}

// TestWhatATaskBringsAboutIsItsToTell: the history has who suspended a VM, not
// that the system saw it; anything else is noted while the task runs, and all of
// it once the task has ended without a word.
func TestWhatATaskBringsAboutIsItsToTell(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		vm, other := c.vm(t, "host1", "suspended"), c.vm(t, "host1", "surprised")
		k := c.hold(t, baadal.TaskVMSuspend, vm)
		c.hold(t, baadal.TaskVMSuspend, other)
		c.start(rarely)
		pass(time.Second)
		must(t, c.world.VirshSuspend("host1", vm.UUID))
		must(t, c.world.VirshDestroy("host1", other.UUID))
		pass(5 * time.Second)
		c.wantState(t, vm, baadal.VMRunning)
		c.wantState(t, other, baadal.VMOff)
		c.update(t, func(tx *store.Tx) error { return tx.HurryTask(k.ID) })
		c.endTask(t, k)
		pass(2 * time.Second)
		c.wantState(t, vm, baadal.VMPaused)
	})
}

// endTask ends a task that is due, as a worker would.
func (c *cloud) endTask(t *testing.T, k baadal.Task) {
	t.Helper()
	c.update(t, func(tx *store.Tx) error {
		all, err := tx.LeaseTasks("me", tx.Now().Add(time.Minute), 8, 16)
		if err != nil {
			return err
		}
		for _, mine := range all {
			if mine.ID == k.ID {
				mine.State, mine.EndedAt = baadal.TaskFailed, new(tx.Now())
				return tx.SaveTask(&mine, "me", false, time.Time{})
			}
		}
		t.Errorf("task %d was not due", k.ID)
		return nil
	})
}

// TestAnswersAreNotedOnce: the first answer after a start is written down, once,
// and forgotten when the VM stops.
func TestAnswersAreNotedOnce(t *testing.T) {
	bubble(t, simulator.Config{BootTime: 10 * time.Second}, func(t *testing.T, c *cloud) {
		vm := c.vm(t, "host1", "ml")
		opt := rarely
		opt.Guests = time.Second
		c.start(opt)
		pass(9 * time.Second)
		if now := c.now(t, vm); now.AnsweredAt != nil {
			t.Errorf("it answered at %s, while it boots", now.AnsweredAt)
		}
		pass(2 * time.Second)
		now := c.now(t, vm)
		if now.AnsweredAt == nil {
			t.Fatal("no answer was noted")
		}
		asked := c.world.Ops()["guests.answers"]
		pass(time.Minute)
		if later := c.now(t, vm); later.Generation != now.Generation || !later.AnsweredAt.Equal(*now.AnsweredAt) {
			t.Errorf("noted again: %+v", later)
		}
		if again := c.world.Ops()["guests.answers"]; again != asked {
			t.Errorf("asked %d times more", again-asked)
		}
		must(t, c.world.VirshDestroy("host1", vm.UUID))
		pass(time.Second)
		if off := c.now(t, vm); off.AnsweredAt != nil || off.State != baadal.VMOff {
			t.Errorf("it is %s and answered at %v", off.State, off.AnsweredAt)
		}
		must(t, c.world.VirshStart("host1", vm.UUID))
		pass(12 * time.Second)
		if up := c.now(t, vm); up.AnsweredAt == nil || !up.AnsweredAt.After(*now.AnsweredAt) {
			t.Errorf("after another start it answered at %v", up.AnsweredAt)
		}
		if diff := cmp.Diff([]string{"answers", "off", "running", "answers"}, c.happened(t, "vm")); diff != "" {
			t.Errorf("history (-want +got):\n%s", diff)
		}
	})
}

// TestSilentGuestsAreAskedRarely: after the wait of the settings every half
// minute is enough.
func TestSilentGuestsAreAskedRarely(t *testing.T) {
	bubble(t, simulator.Config{BootTime: never}, func(t *testing.T, c *cloud) {
		c.vm(t, "host1", "ml")
		opt := rarely
		opt.Guests = time.Second
		c.start(opt)
		pass(80 * time.Second)
		if n := c.world.Ops()["guests.answers"]; n < 75 {
			t.Errorf("asked %d times in the first 80 s", n)
		}
		pass(20 * time.Second)
		before := c.world.Ops()["guests.answers"]
		pass(5 * time.Minute)
		if n := c.world.Ops()["guests.answers"] - before; n < 9 || n > 11 {
			t.Errorf("asked %d times in 5 minutes", n)
		}
	})
}
