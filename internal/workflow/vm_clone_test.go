package workflow_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
	"baadal/internal/task"
)

// run runs tasks until one of them has ended and nothing of it is owed.
func (c *cloud) run(tb testing.TB, id int64) baadal.Task {
	tb.Helper()
	ctx := context.Background()
	q := task.New(c.db, task.Options{Backoff: time.Millisecond})
	q.Register(c.bodies()...)
	if err := q.Start(ctx); err != nil {
		tb.Fatal(err)
	}
	defer func() {
		if err := q.Stop(ctx); err != nil {
			tb.Error(err)
		}
	}()
	for range 600 {
		t, err := c.svc.Task(ctx, baadal.System(), id)
		if err != nil {
			tb.Fatal(err)
		}
		if t.State.Ended() && !t.UndoPending {
			return t
		}
		time.Sleep(50 * time.Millisecond)
	}
	tb.Fatalf("task %d does not end", id)
	return baadal.Task{}
}

// cloneCloud is a cloud with the VM "ml", and more addresses than three.
func cloneCloud(t *testing.T) *cloud {
	t.Helper()
	c := open(t, t.TempDir())
	t.Cleanup(c.close)
	c.furnish(t)
	n, err := c.svc.CreateNetwork(t.Context(), c.actor, baadal.NetworkCreate{Name: "wide", VLAN: 30, CIDR: "10.0.3.0/24"}, baadal.ChangeOptions{})
	c.finish(t, n.Task, err)
	ch, err := c.svc.CreateVM(t.Context(), c.actor, baadal.VMCreate{Name: "ml", Template: "tiny", Network: "wide"}, baadal.ChangeOptions{})
	c.finish(t, ch.Task, err)
	return c
}

func (c *cloud) vms(t *testing.T) (all []baadal.VM) {
	t.Helper()
	if err := c.db.View(t.Context(), func(tx *store.Tx) (err error) { all, err = tx.AllVMs(); return err }); err != nil {
		t.Fatal(err)
	}
	return all
}

func (c *cloud) whole(t *testing.T) {
	t.Helper()
	for _, problem := range c.world.Check() {
		t.Error(problem)
	}
}

// TestSixtyClones makes sixty: on all hosts, each with an identity of its own,
// all on one base.
func TestSixtyClones(t *testing.T) {
	t.Parallel()
	c := cloneCloud(t)
	done := c.run(t, c.clone(t, "ml", baadal.VMClone{Count: 60}).ID)
	if done.State != baadal.TaskSuccess || done.Message != "Cloned successfully. 60 of 60" || len(done.Children) != 60 {
		t.Errorf("%s: %s, %d children", done.State, done.Message, len(done.Children))
	}
	hosts, unique := map[string]int{}, map[string]bool{}
	for _, vm := range c.vms(t) {
		for _, id := range []string{vm.UUID, vm.Name, vm.MAC, vm.Address, fmt.Sprint("port ", vm.VNCPort)} {
			if unique[id] || id == "" {
				t.Errorf("%s: %q is not unique", vm.Name, id)
			}
			unique[id] = true
		}
		if vm.Name == "ml" {
			continue
		}
		hosts[vm.Host]++
		if vm.State != baadal.VMOff || vm.BaseID == 0 {
			t.Errorf("%s is %s on base %d", vm.Name, vm.State, vm.BaseID)
		}
	}
	if len(hosts) != 3 || hosts["host1"] < 15 {
		t.Errorf("hosts: %v", hosts)
	}
	if b := c.bases(t); len(b) != 1 || b[0].Standing != 61 || b[0].State != baadal.BaseReady {
		t.Errorf("bases: %+v", b)
	}
	c.whole(t)
}

// TestPartialClones fails a few of ten: the others are good, the message says
// which and why, and a retry makes only those that are missing, on the base of
// the first time.
func TestPartialClones(t *testing.T) {
	t.Parallel()
	c := cloneCloud(t)
	refused := baadal.Errorf(baadal.Conflict, "refused by the test")
	// Nothing is made at once, so that each clone makes its own.
	c.world.Fail(simulator.Rule{Op: "disks.fork", Times: 3, Before: true, Err: refused})
	stop := c.world.Fail(simulator.Rule{Op: "disks.create_image", Nth: 4, Times: 3, Before: true, Err: refused})
	done := c.run(t, c.clone(t, "ml", baadal.VMClone{Count: 10, Name: "web"}).ID)
	stop()
	if done.State != baadal.TaskPartial || !strings.HasPrefix(done.Message, "7 of 10 cloned successfully; web") || !strings.Contains(done.Message, "refused by the test") {
		t.Errorf("%s: %s", done.State, done.Message)
	}
	if n := len(c.vms(t)); n != 8 {
		t.Errorf("%d VMs", n)
	}
	again, err := c.svc.RetryTask(t.Context(), c.actor, done.ID)
	if err != nil {
		t.Fatal(err)
	}
	if done := c.run(t, again.ID); done.State != baadal.TaskSuccess || len(done.Children) != 3 {
		t.Errorf("retry: %s: %s, %d children", done.State, done.Message, len(done.Children))
	}
	var names []string
	for _, vm := range c.vms(t) {
		names = append(names, vm.Name)
	}
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "ml web1 web10 web2 web3 web4 web5 web6 web7 web8 web9" {
		t.Errorf("VMs: %s", got)
	}
	if b := c.bases(t); len(b) != 1 || b[0].Standing != 11 {
		t.Errorf("bases: %+v", b)
	}
	c.whole(t)
}

// TestCancelClones cancels while clones are being made: those that are done
// stay, everything else is as before.
func TestCancelClones(t *testing.T) {
	t.Parallel()
	c := cloneCloud(t)
	var defines atomic.Int32
	id := c.clone(t, "ml", baadal.VMClone{Count: 40}).ID
	c.world.OnOp(func(op string, after bool) {
		if op != "hypervisor.define" || after {
			return
		}
		if defines.Add(1) == 3 { // the VM's own, and those of two clones
			if _, err := c.svc.CancelTask(context.Background(), c.actor, id); err != nil {
				t.Error(err)
			}
		}
	})
	done := c.run(t, id)
	c.world.OnOp(nil)
	if done.State != baadal.TaskFailed || done.Code != "cancelled" {
		t.Errorf("%s: %s", done.State, done.Message)
	}
	good := 0
	for _, child := range done.Children {
		if child.State == baadal.TaskSuccess {
			good++
		}
	}
	if vms := c.vms(t); len(vms) != good+1 {
		t.Errorf("%d VMs after %d good clones", len(vms), good)
	}
	if b := c.bases(t); good == 0 && len(b) != 0 || good > 0 && (len(b) != 1 || b[0].Standing != good+1) {
		t.Errorf("%d good clones, bases: %+v", good, b)
	}
	c.whole(t)
}

// TestAnyOrderOfDeletion deletes parent and clones in all orders: nobody else
// breaks, and nothing is left in the end.
func TestAnyOrderOfDeletion(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"ml ml_clone1 ml_clone2", "ml_clone1 ml ml_clone2", "ml_clone2 ml_clone1 ml"} {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			c := cloneCloud(t)
			c.finish(t, c.clone(t, "ml", baadal.VMClone{}), nil)
			c.finish(t, c.clone(t, "ml", baadal.VMClone{}), nil) // a base on a base
			for name := range strings.FieldsSeq(order) {
				c.act(t, baadal.ActionVMDelete, name)
				c.purge(t)
				c.whole(t)
				for _, vm := range c.vms(t) { // those that are left can be started
					if vm.State == baadal.VMOff {
						c.act(t, baadal.ActionVMStart, vm.Name)
						c.whole(t)
					}
				}
			}
			c.idle(t)
			if b := c.bases(t); len(b) > 0 {
				t.Errorf("bases left: %+v", b)
			}
			if s := c.world.Snapshot(); strings.Contains(s, "vm_bases/") || strings.Contains(s, "vm_images/") {
				t.Errorf("left:\n%s", s)
			}
		})
	}
}

// purge removes the deleted VMs for good.
func (c *cloud) purge(t *testing.T) {
	t.Helper()
	for _, vm := range c.vms(t) {
		if vm.State != baadal.VMDeleted {
			continue
		}
		k := baadal.Task{Kind: baadal.TaskVMPurge, Subject: baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name}, Exclusive: true}
		err := c.db.Update(t.Context(), func(tx *store.Tx) error { return tx.InsertTask(&k) })
		c.finish(t, &k, err)
	}
}

// idle runs all tasks that there are to their ends.
func (c *cloud) idle(t *testing.T) {
	t.Helper()
	for range 10 {
		var active []baadal.Task
		if err := c.db.View(t.Context(), func(tx *store.Tx) (err error) { active, err = tx.ActiveTasks(); return err }); err != nil {
			t.Fatal(err)
		}
		for _, k := range active {
			c.run(t, k.ID)
		}
	}
}

// TestRemoveBase refuses while somebody stands on it, whatever the store says,
// and goes on where a failure left it.
func TestRemoveBase(t *testing.T) {
	t.Parallel()
	c := cloneCloud(t)
	c.finish(t, c.clone(t, "ml", baadal.VMClone{}), nil)
	b := c.bases(t)[0]
	remove := func() baadal.Task {
		k := baadal.Task{Kind: baadal.TaskBaseRemove, Subject: baadal.Subject{Kind: "base", ID: b.ID, Name: b.Origin}, Exclusive: true}
		if err := c.db.Update(t.Context(), func(tx *store.Tx) error { return tx.InsertTask(&k) }); err != nil {
			t.Fatal(err)
		}
		return c.run(t, k.ID)
	}
	if done := remove(); done.State != baadal.TaskFailed || done.Code != "base_in_use" {
		t.Errorf("%s: %s", done.State, done.Message)
	}
	vms := c.vms(t)
	setBase := func(base int64) {
		err := c.db.Update(t.Context(), func(tx *store.Tx) error {
			var errs []error
			for _, vm := range vms {
				errs = append(errs, tx.SetVMDisk(vm.ID, vm.DiskFile, base))
			}
			return errors.Join(errs...)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	setBase(0) // the store forgot
	if done := remove(); done.State != baadal.TaskFailed || done.Code != "base_in_use" {
		t.Errorf("the datastore says it is in use: %s: %s", done.State, done.Message)
	}
	c.whole(t)
	setBase(b.ID)
	for _, name := range []string{"ml", "ml_clone1"} {
		c.act(t, baadal.ActionVMDelete, name)
	}
	c.world.Fail(simulator.Rule{Op: "bases.remove", Err: baadal.Errorf(baadal.Conflict, "the answer was lost")})
	c.purge(t) // asks for it by itself
	c.idle(t)
	if n := len(c.bases(t)); n != 1 {
		t.Fatalf("%d bases", n)
	}
	if done := remove(); done.State != baadal.TaskSuccess || len(c.bases(t)) > 0 {
		t.Errorf("%s: %s", done.State, done.Message)
	}
}

// TestDeepChains clones one VM over and over: its chain stays short.
func TestDeepChains(t *testing.T) {
	t.Parallel()
	c := cloneCloud(t)
	for range 12 {
		c.finish(t, c.clone(t, "ml", baadal.VMClone{}), nil)
	}
	deepest := 0
	for _, vm := range c.vms(t) {
		ds := baadal.Datastore{Path: "/mnt/datastore"}
		h, err := c.world.Host("host1")
		if err != nil {
			t.Fatal(err)
		}
		file := ds.DiskPath(&vm)
		chain, err := c.sys.Bases.DiskChain(t.Context(), h, baadal.DiskFreeze{DiskFile: baadal.DiskFile{Datastore: ds, Identity: vm.Identity, UUID: vm.UUID, Name: file[strings.LastIndexByte(file, '/')+1:]}})
		if err != nil {
			t.Fatal(err)
		}
		deepest = max(deepest, chain.Depth)
	}
	if deepest != 8 {
		t.Errorf("the deepest disk stands on %d files", deepest)
	}
	c.whole(t)
}

// TestSavedIsNotCloned refuses a VM whose memory was saved behind our back.
func TestSavedIsNotCloned(t *testing.T) {
	t.Parallel()
	c := cloneCloud(t)
	vm, err := c.svc.VM(t.Context(), c.actor, "ml")
	if err != nil {
		t.Fatal(err)
	}
	h, err := c.world.Host(vm.Host)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.sys.Power.Save(t.Context(), h, vm.UUID); err != nil {
		t.Fatal(err)
	}
	if done := c.run(t, c.clone(t, "ml", baadal.VMClone{}).ID); done.State != baadal.TaskFailed || done.Code != "vm_saved" {
		t.Errorf("%s: %s", done.State, done.Message)
	}
	if len(c.vms(t)) != 1 || len(c.bases(t)) != 0 {
		t.Error("something is left")
	}
}
