package workflow_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
	"baadal/internal/task"
)

// ended runs a task to its end, whatever that is.
func (c *cloud) ended(tb testing.TB, id int64) baadal.Task {
	tb.Helper()
	ctx := context.Background()
	q := task.New(c.db, task.Options{Backoff: 1})
	q.Register(c.bodies()...)
	if err := q.Start(ctx); err != nil {
		tb.Fatal(err)
	}
	defer func() {
		if err := q.Stop(ctx); err != nil {
			tb.Error(err)
		}
	}()
	for {
		done, err := c.svc.WaitTask(ctx, baadal.System(), id, 1<<40, 5_000_000_000)
		if err != nil {
			tb.Fatal(err)
		}
		if done.State.Ended() && !done.UndoPending {
			return done
		}
	}
}

// movable makes a cloud with a second datastore and the VM "ml".
func movable(t *testing.T, prepare ...func(testing.TB, *cloud)) *cloud {
	t.Helper()
	c := open(t, t.TempDir())
	t.Cleanup(c.close)
	c.furnish(t)
	secondStore(t, c)
	c.vm(t, "ml")
	for _, p := range prepare {
		p(t, c)
	}
	return c
}

// clean fails the test unless the audit finds nothing.
func (c *cloud) clean(tb testing.TB) {
	tb.Helper()
	ch, err := c.svc.RunAudit(context.Background(), c.actor, false, none)
	c.finish(tb, ch.Task, err)
	report, err := c.svc.LastAudit(context.Background(), c.actor)
	if err != nil {
		tb.Fatal(err)
	}
	for _, d := range report.Differences {
		tb.Errorf("audit: %+v", d)
	}
}

// TestMoveTakesEverything: seed, mark, snapshots and extra disks go along, no
// room stays claimed, and the VM can be started, reverted and deleted afterwards.
func TestMoveTakesEverything(t *testing.T) {
	t.Parallel()
	c := movable(t, addDisk, snapshotted, off)
	done := c.ended(t, c.move(t, baadal.VMMove{}).ID)
	if done.State != baadal.TaskSuccess || !strings.Contains(done.Message, "ml is migrated to datastore second successfully; with its snapshots") {
		t.Fatalf("%s: %s", done.State, done.Message)
	}
	if world := c.world.Snapshot(); strings.Contains(world, "datastore /mnt/datastore vm_images/") || strings.Contains(world, "datastore /mnt/datastore vm_extra_disks/") {
		t.Errorf("left behind:\n%s", world)
	}
	c.clean(t)
	ch, err := c.svc.RevertSnapshot(context.Background(), c.actor, "ml", "before", none)
	c.finish(t, ch.Task, err)
	c.clean(t)
	for _, act := range []baadal.Action{baadal.ActionVMDestroy, baadal.ActionVMStart, baadal.ActionVMDelete, baadal.ActionVMRestore, baadal.ActionVMStart} {
		c.act(t, act, "ml")
	}
	c.clean(t)
	err = c.db.View(context.Background(), func(tx *store.Tx) error {
		for name, want := range map[string]int64{"main": 0, "second": 3} {
			ds, err := tx.DatastoreByRef(name)
			if err != nil {
				return err
			}
			if got := ds.Claimed >> 30; got != want {
				t.Errorf("%d GiB are claimed on %s, want %d", got, name, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestMoveLeavesWhatItMay: what the old datastore does not let go does not spoil
// the move; the audit shows it.
func TestMoveLeavesWhatItMay(t *testing.T) {
	t.Parallel()
	c := movable(t)
	id := c.move(t, baadal.VMMove{}).ID
	c.world.OnOp(func(op string, after bool) {
		if op == "hypervisor.pivot_disk" && after {
			if err := c.world.SetReadOnly("/mnt/datastore", true); err != nil {
				t.Error(err)
			}
		}
	})
	done := c.ended(t, id)
	if done.State != baadal.TaskSuccess || !strings.Contains(done.Message, "its old files could not be removed") {
		t.Fatalf("%s: %s", done.State, done.Message)
	}
	c.world.OnOp(nil)
	ch, err := c.svc.RunAudit(context.Background(), c.actor, false, none)
	c.finish(t, ch.Task, err)
	report, err := c.svc.LastAudit(context.Background(), c.actor)
	if err != nil || len(report.Differences) != 1 || report.Differences[0].Kind != baadal.DiffOrphanDisk {
		t.Errorf("the audit: %+v, %v", report.Differences, err)
	}
}

// TestMoveLeavesItsBase: a clone that moved is flat; the base that it stood on
// loses it, and goes with the last one.
func TestMoveLeavesItsBase(t *testing.T) {
	t.Parallel()
	c := movable(t, cloned)
	if bases := c.bases(t); len(bases) != 1 || bases[0].Standing != 2 {
		t.Fatalf("bases: %+v", bases)
	}
	done := c.ended(t, c.move(t, baadal.VMMove{}).ID)
	if done.State != baadal.TaskSuccess || !strings.Contains(done.Message, "it is flat now") {
		t.Fatalf("%s: %s", done.State, done.Message)
	}
	if bases := c.bases(t); bases[0].Standing != 1 {
		t.Errorf("bases: %+v", bases)
	}
	c.clean(t)
}

// TestMoveToAFullDatastore: the copying is broken off in its middle, the guest
// runs on where it was, and nothing is left or claimed.
func TestMoveToAFullDatastore(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare []func(testing.TB, *cloud)
		spoil   func(c *cloud) error
		code    string
	}{
		"running, full":      {nil, func(c *cloud) error { return c.world.FillUp("/mnt/second", 1<<20) }, "datastore_full"},
		"stopped, full":      {[]func(testing.TB, *cloud){off}, func(c *cloud) error { return c.world.FillUp("/mnt/second", 1<<20) }, "datastore_full"},
		"running, read-only": {nil, func(c *cloud) error { return c.world.SetReadOnly("/mnt/second", true) }, "datastore_read_only"},
		"not mounted":        {nil, func(c *cloud) error { return c.mountSecond(false) }, "datastore_not_mounted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := movable(t, c.prepare...)
			before := cl.state()
			id := cl.move(t, baadal.VMMove{}).ID
			if err := c.spoil(cl); err != nil {
				t.Fatal(err)
			}
			done := cl.ended(t, id)
			if done.State != baadal.TaskFailed || done.Code != c.code {
				t.Errorf("%s (%s): %s", done.State, done.Code, done.Message)
			}
			for _, heal := range []error{cl.world.FillUp("/mnt/second", -1), cl.world.SetReadOnly("/mnt/second", false), cl.mountSecond(true)} {
				if heal != nil {
					t.Fatal(heal)
				}
			}
			if after := cl.state(); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			cl.clean(t)
		})
	}
}

// mountSecond mounts the second datastore on all hosts, or none.
func (c *cloud) mountSecond(mounted bool) error {
	var errs []error
	for _, host := range []string{"host1", "host2", "host3"} {
		errs = append(errs, c.world.Mount(host, "/mnt/second", mounted))
	}
	return errors.Join(errs...)
}

// TestGuestStopsDuringMove: the guest goes off, or on, after its disk was
// copied: the copy is made again, and no write is lost.
func TestGuestStopsDuringMove(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare []func(testing.TB, *cloud)
		op      string
		after   bool // act after the operation, or before it
		act     func(w *simulator.World, host, uuid string) error
	}{
		"off while it is copied":  {nil, "hypervisor.copy_disk", true, (*simulator.World).VirshDestroy},
		"off before it goes over": {nil, "hypervisor.copy_ready", true, (*simulator.World).VirshDestroy},
		"on after it was copied":  {[]func(testing.TB, *cloud){off}, "disks.copy_move", true, (*simulator.World).VirshStart},
		"on before it is copied":  {[]func(testing.TB, *cloud){off}, "disks.prepare_move", true, (*simulator.World).VirshStart},
		"on before it is defined": {[]func(testing.TB, *cloud){off}, "hypervisor.define", false, (*simulator.World).VirshStart},
		"off after it went over":  {nil, "hypervisor.pivot_disk", true, (*simulator.World).VirshDestroy},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := movable(t, c.prepare...)
			vm, err := cl.svc.VM(context.Background(), cl.actor, "ml")
			if err != nil {
				t.Fatal(err)
			}
			id := cl.move(t, baadal.VMMove{}).ID
			acted := false
			cl.world.OnOp(func(op string, after bool) {
				if op == c.op && after == c.after && !acted {
					acted = true
					if err := c.act(cl.world, vm.Host, vm.UUID); err != nil {
						t.Error(err)
					}
				}
			})
			done := cl.ended(t, id)
			if done.State != baadal.TaskSuccess || !acted {
				t.Errorf("acted %t; %s: %s", acted, done.State, done.Message)
			}
			if world := cl.world.Snapshot(); strings.Contains(world, "datastore /mnt/datastore vm_images/") || !strings.Contains(world, "vda=qcow2:/mnt/second/vm_images/") {
				t.Errorf("the world:\n%s", world)
			}
			for _, bad := range cl.world.Check() {
				t.Error(bad)
			}
		})
	}
}

// TestHostDiesDuringMove: the host loses power before, or after, the VM went over
// to its new disk. Once it is back the VM is whole in one place, and nothing is
// left in the other.
func TestHostDiesDuringMove(t *testing.T) {
	t.Parallel()
	for op, place := range map[string]string{"hypervisor.copy_ready": "/mnt/datastore", "hypervisor.pivot_disk": "/mnt/second"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			c := movable(t)
			vm, err := c.svc.VM(context.Background(), c.actor, "ml")
			if err != nil {
				t.Fatal(err)
			}
			id := c.move(t, baadal.VMMove{}).ID
			died := false
			c.world.OnOp(func(now string, after bool) {
				if now != op || !after || died {
					return
				}
				died = true
				if err := c.world.PowerOff(vm.Host); err != nil {
					t.Error(err)
				}
				time.AfterFunc(200*time.Millisecond, func() {
					if err := errors.Join(c.world.PowerOn(vm.Host), c.world.LayFlows(vm.Host)); err != nil {
						t.Error(err)
					}
				})
			})
			done := c.ended(t, id)
			t.Logf("%s: %s", done.State, done.Message)
			if done.State == baadal.TaskSuccess {
				place = "/mnt/second"
			}
			c.world.OnOp(nil)
			for line := range strings.SplitSeq(c.world.Snapshot(), "\n") {
				if strings.Contains(line, vm.Identity) && strings.Contains(line, " vda=") && !strings.Contains(line, "vda=qcow2:"+place+"/") {
					t.Errorf("it should be at %s: %s", place, line)
				}
				if strings.HasPrefix(line, "datastore ") && strings.Contains(line, vm.Identity) && !strings.HasPrefix(line, "datastore "+place+" ") {
					t.Errorf("left behind: %s", line)
				}
			}
			c.act(t, baadal.ActionVMDestroy, "ml")
			c.act(t, baadal.ActionVMStart, "ml")
			c.clean(t)
			for _, bad := range c.world.Check() {
				t.Error(bad)
			}
		})
	}
}
