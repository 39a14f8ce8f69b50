package workflow_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
	"baadal/internal/task"
)

// parts returns the clones' own tasks.
func (c *cloud) parts(tb testing.TB, id int64) (all []baadal.Task) {
	tb.Helper()
	if err := c.db.View(context.Background(), func(tx *store.Tx) (err error) { all, err = tx.ChildTasks(id); return err }); err != nil {
		tb.Error(err)
	}
	return all
}

// orphans lists what lies on the datastore for VMs that there are none of.
func (c *cloud) orphans(t *testing.T) (all []string) {
	t.Helper()
	known := map[string]bool{"": true}
	for _, vm := range c.vms(t) {
		known[vm.UUID] = true
	}
	h, err := c.world.Host("host1")
	must(t, err)
	entries, err := c.world.Disks().Entries(t.Context(), h, baadal.Datastore{Name: "main", Path: mount})
	must(t, err)
	for _, e := range entries {
		if !known[e.UUID] && e.Area != baadal.DirBases {
			all = append(all, e.Area+"/"+e.Name)
		}
	}
	return all
}

// TestCancelledCloneLeavesNoFiles cancels a clone whose own task waits for its
// turn: its files were made together with those of the others, and go all the
// same. Otherwise it could not be made under its name again.
func TestCancelledCloneLeavesNoFiles(t *testing.T) {
	t.Parallel()
	c := cloneCloud(t)
	addDisk(t, c)
	id := c.clone(t, "ml", baadal.VMClone{Count: 40}).ID
	var last int64
	var once sync.Once
	c.world.OnOp(func(op string, after bool) {
		var all []baadal.Task
		if op == "hypervisor.define" && !after {
			all = c.parts(t, id)
		}
		if len(all) == 0 {
			return
		}
		once.Do(func() {
			last = all[len(all)-1].ID
			if _, err := c.svc.CancelTask(context.Background(), c.actor, last); err != nil {
				t.Error(err)
			}
		})
	})
	done := c.run(t, id)
	c.world.OnOp(nil)
	if k, err := c.svc.Task(t.Context(), c.actor, last); err != nil || k.Code != "cancelled" || k.StartedAt != nil {
		t.Fatalf("the last clone's task: %s (%s), begun %v, %v", k.State, k.Code, k.StartedAt, err)
	}
	if done.State != baadal.TaskPartial {
		t.Errorf("%s: %s", done.State, done.Message)
	}
	if left := c.orphans(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	again, err := c.svc.RetryTask(t.Context(), c.actor, id)
	must(t, err)
	if done := c.run(t, again.ID); done.State != baadal.TaskSuccess || len(c.vms(t)) != 41 {
		t.Errorf("the retry: %s: %s", done.State, done.Message)
	}
	c.whole(t)
}

// TestBaseStaysUnderRestoredClones cancels a cloning when its clones are made,
// were deleted, and are being restored just then: they stand on the base.
func TestBaseStaysUnderRestoredClones(t *testing.T) {
	t.Parallel()
	c := cloneCloud(t)
	id := c.clone(t, "ml", baadal.VMClone{Count: 2}).ID
	var q *task.Queue
	var once sync.Once
	restore := func(name string) {
		var all []baadal.Task
		if name == string(baadal.TaskVMClone)+"/clones/do" {
			all = c.parts(t, id)
		}
		for range 400 { // the step must not see the end of the last one before we do
			if !slices.ContainsFunc(all, func(k baadal.Task) bool { return !k.State.Ended() }) {
				break
			}
			time.Sleep(20 * time.Millisecond)
			all = c.parts(t, id)
		}
		if len(all) == 0 {
			return
		}
		once.Do(func() {
			c.setStates(t, all, baadal.VMInQueue)
			q.CancelRunning(id, "somebody")
		})
	}
	q = task.New(c.db, task.Options{Backoff: time.Millisecond, Point: restore})
	q.Register(c.bodies()...)
	must(t, q.Start(t.Context()))
	done, err := c.svc.WaitTask(t.Context(), baadal.System(), id, 1<<40, 20*time.Second)
	must(t, err)
	must(t, q.Stop(t.Context()))
	if done.State != baadal.TaskFailed || done.Code != "cancelled" || done.UndoPending {
		t.Fatalf("%s (%s), owed %t: %s", done.State, done.Code, done.UndoPending, done.Message)
	}
	c.setStates(t, c.parts(t, id), baadal.VMOff)
	if b := c.bases(t); len(b) != 1 || b[0].State != baadal.BaseReady || b[0].Standing != 3 {
		t.Errorf("bases: %+v", b)
	}
	c.whole(t)

	// Nothing is missing: a retry makes no clone beside them.
	if _, err := c.svc.RetryTask(t.Context(), c.actor, id); baadal.CodeOf(err) != "not_repeatable" {
		t.Errorf("the retry: %v", err)
	}
	if n := len(c.vms(t)); n != 3 {
		t.Errorf("%d VMs", n)
	}
}

func (c *cloud) setStates(t *testing.T, of []baadal.Task, state baadal.VMState) {
	t.Helper()
	err := c.db.Update(context.Background(), func(tx *store.Tx) error {
		for _, k := range of {
			if _, _, err := tx.SetVMState(k.Subject.ID, state, ""); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// owed runs a task that fails and cannot be taken back, and sets it aside.
func (c *cloud) owed(t *testing.T, k *baadal.Task, err error) {
	t.Helper()
	if done := c.settle(t, k, err); !done.UndoPending {
		t.Fatalf("%s ends as %s without an undo that is owed: %s", done.Kind, done.State, done.Message)
	}
	_, err = c.svc.IgnoreTask(t.Context(), baadal.System(), k.ID)
	must(t, err)
}

// TestIgnoredCloneCanBeDeleted ignores a cloning that could not be undone: clones
// that were never begun must not stay "creating" for ever.
func TestIgnoredCloneCanBeDeleted(t *testing.T) {
	t.Parallel()
	c := cloneCloud(t)
	addDisk(t, c)
	c.world.Fail(simulator.Rule{Op: "bases.seal", Before: true, Err: baadal.Errorf(baadal.Conflict, "no")})
	stop := c.world.Fail(simulator.Rule{Op: "freezer.rejoin", Before: true, Times: -1})
	c.owed(t, c.clone(t, "ml", baadal.VMClone{Count: 2}), nil)
	stop()
	for _, name := range []string{"ml_clone1", "ml_clone2"} {
		if vm := c.named(t, name); vm.State != baadal.VMUnknown || vm.Reason == "" {
			t.Errorf("%s is %s: %s", name, vm.State, vm.Reason)
		}
		c.act(t, baadal.ActionVMDelete, name)
	}
	for _, b := range c.bases(t) {
		if b.State != baadal.BaseRemoving {
			t.Errorf("base %d is %s", b.ID, b.State)
		}
	}
	c.purge(t)
	if all := c.vms(t); len(all) != 1 {
		t.Errorf("%d VMs are left", len(all))
	}
	c.act(t, baadal.ActionVMDestroy, "ml") // and it is as good as before
	c.act(t, baadal.ActionVMStart, "ml")
	c.whole(t)
}

// TestIgnoredCopiesGo ignores the saving as a template and an export that could
// not be undone: neither stays in the making for ever.
func TestIgnoredCopiesGo(t *testing.T) {
	t.Parallel()
	c := cloneCloud(t)
	fail := func() (stop func()) {
		c.world.Fail(simulator.Rule{Op: "images.keep", Before: true, Err: baadal.Errorf(baadal.Conflict, "no")})
		return c.world.Fail(simulator.Rule{Op: "images.remove", Before: true, Times: -1})
	}
	stop := fail()
	saved, err := c.svc.SaveVMAsTemplate(t.Context(), c.actor, "ml", baadal.VMSaveTemplate{Name: "saved"}, none)
	c.owed(t, saved.Task, err)
	stop()
	gone, err := c.svc.DeleteTemplate(t.Context(), c.actor, "saved", none)
	c.finish(t, gone.Task, err)

	stop = fail()
	exported, err := c.svc.ExportVM(t.Context(), c.actor, "ml", none)
	c.owed(t, exported.Task, err)
	stop()
	removed, err := c.svc.RemoveExport(t.Context(), c.actor, exported.Resource.ID, none)
	c.finish(t, removed.Task, err)
	if left := c.orphans(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestNoRoomForCopies: where a whole copy has no room none is begun, so that
// VMs with thin disks there go on.
func TestNoRoomForCopies(t *testing.T) {
	t.Parallel()
	c := cloneCloud(t)
	upload := c.image(t)
	must(t, c.world.FillUp(mount, 1<<20)) // below what must stay free
	full := func(k *baadal.Task, err error) {
		t.Helper()
		if done := c.settle(t, k, err); done.State != baadal.TaskFailed || done.Code != "datastore_full" {
			t.Errorf("%s ends as %s (%s): %s", done.Kind, done.State, done.Code, done.Message)
		}
	}
	exported, err := c.svc.ExportVM(t.Context(), c.actor, "ml", none)
	full(exported.Task, err)
	saved, err := c.svc.SaveVMAsTemplate(t.Context(), c.actor, "ml", baadal.VMSaveTemplate{Name: "saved"}, none)
	full(saved.Task, err)
	full(c.clone(t, "ml", baadal.VMClone{Full: true}), nil)
	imported, err := c.svc.ImportVM(t.Context(), c.actor, baadal.VMImport{VMNew: baadal.VMNew{Name: "new", Network: "wide"}, UploadID: upload}, none)
	full(imported.Task, err)
	if n := c.world.Ops()["freezer.backup"]; n != 0 {
		t.Errorf("%d copies were begun", n)
	}
	c.whole(t)
}
