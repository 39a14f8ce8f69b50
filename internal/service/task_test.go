package service_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

// failTask runs a task that the world makes fail once, in the named operation.
func (c *cloud) failTask(t *testing.T, op string, submit func() (*baadal.Task, error)) baadal.Task {
	t.Helper()
	stop := c.world.Fail(simulator.Rule{Op: op, Times: -1, Before: true, Err: baadal.Errorf(baadal.Conflict, "made to fail")})
	defer stop()
	k, err := submit()
	if err != nil {
		t.Fatal(err)
	}
	done := c.settle(t, k)[0]
	if done.State != baadal.TaskFailed || done.UndoPending {
		t.Fatalf("%s: %s (%s), undo pending %t", done.Kind, done.State, done.Message, done.UndoPending)
	}
	return done
}

func TestRetryTaskPerKind(t *testing.T) {
	t.Parallel()
	power := func(action baadal.Action) func(*testing.T, *cloud) (*baadal.Task, error) {
		return func(t *testing.T, c *cloud) (*baadal.Task, error) {
			ch, err := c.ActVM(t.Context(), c.orgadmin, action, "ml", baadal.ChangeOptions{})
			return ch.Task, err
		}
	}
	running := func(t *testing.T, c *cloud) baadal.VM {
		return c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml"})
	}
	for _, x := range []struct {
		kind    baadal.TaskKind
		prepare func(*testing.T, *cloud)
		op      string // that fails the first time
		submit  func(*testing.T, *cloud) (*baadal.Task, error)
	}{
		{baadal.TaskVMCreate, func(*testing.T, *cloud) {}, "hypervisor.start", func(t *testing.T, c *cloud) (*baadal.Task, error) {
			ch, err := c.CreateVM(t.Context(), c.orgadmin, baadal.VMCreate{Name: "ml", Template: "tiny", Owner: "ravi", RAMMiB: 640}, baadal.ChangeOptions{})
			return ch.Task, err
		}},
		{baadal.TaskVMStart, func(t *testing.T, c *cloud) { c.act(t, baadal.ActionVMDestroy, running(t, c)) }, "hypervisor.start", power(baadal.ActionVMStart)},
		{baadal.TaskVMDestroy, func(t *testing.T, c *cloud) { running(t, c) }, "hypervisor.destroy", power(baadal.ActionVMDestroy)},
		{baadal.TaskVMReboot, func(t *testing.T, c *cloud) { running(t, c) }, "hypervisor.reboot", power(baadal.ActionVMReboot)},
		{baadal.TaskVMShutdown, func(t *testing.T, c *cloud) { running(t, c) }, "hypervisor.shutdown", power(baadal.ActionVMShutdown)},
		{baadal.TaskVMDelete, func(t *testing.T, c *cloud) { running(t, c) }, "disks.archive*", power(baadal.ActionVMDelete)},
		{baadal.TaskVMRestore, func(t *testing.T, c *cloud) { c.act(t, baadal.ActionVMDelete, running(t, c)) }, "disks.restore*", power(baadal.ActionVMRestore)},
		{baadal.TaskHostCheck, func(*testing.T, *cloud) {}, "prober.probe", func(t *testing.T, c *cloud) (*baadal.Task, error) {
			ch, err := c.CheckHost(t.Context(), c.admin, "host1", baadal.ChangeOptions{})
			return ch.Task, err
		}},
		{baadal.TaskTemplateDelete, func(*testing.T, *cloud) {}, "disks.remove*", func(t *testing.T, c *cloud) (*baadal.Task, error) {
			ch, err := c.DeleteTemplate(t.Context(), c.admin, "tiny", baadal.ChangeOptions{})
			return ch.Task, err
		}},
	} {
		t.Run(string(x.kind), func(t *testing.T) {
			t.Parallel()
			c := newCloud(t)
			x.prepare(t, c)
			failed := c.failTask(t, x.op, func() (*baadal.Task, error) { return x.submit(t, c) })
			if failed.Kind != x.kind || !strings.Contains(failed.Message, "made to fail") {
				t.Errorf("failed: %+v", failed)
			}
			_, err := c.RetryTask(t.Context(), c.orgadmin, failed.ID)
			if x.kind == baadal.TaskHostCheck || x.kind == baadal.TaskTemplateDelete {
				refused(t, err, baadal.NotFound, "not_found")
			} else {
				refused(t, err, baadal.Forbidden, "forbidden")
			}
			again, err := c.RetryTask(t.Context(), c.admin, failed.ID)
			if err != nil {
				t.Fatal(err)
			}
			if again.ID == failed.ID || again.Kind != x.kind || again.Subject.Name != failed.Subject.Name || again.Requester != "root" {
				t.Errorf("again: %+v", again)
			}
			c.run(t, &again)
			if x.kind == baadal.TaskVMCreate {
				vm, err := c.VM(t.Context(), c.student, "ml")
				if err != nil || vm.RAMMiB != 640 || vm.State != baadal.VMRunning || vm.Owner != "ravi" {
					t.Errorf("the wish was not kept: %+v, %v", vm, err)
				}
			}
			_, err = c.RetryTask(t.Context(), c.admin, again.ID)
			refused(t, err, baadal.Conflict, "task_state")
		})
	}
}

func TestRetryOfNetworkAndAudit(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	_, err := c.RetryTask(t.Context(), c.admin, 12345)
	refused(t, err, baadal.NotFound, "not_found")

	apply := c.failTask(t, "dhcp.reservations", func() (*baadal.Task, error) {
		// The apply fails once; taking it back may not.
		c.world.Fail(simulator.Rule{Op: "dhcp.apply", Before: true, Err: baadal.Errorf(baadal.Conflict, "made to fail")})
		ch, err := c.CreateNetwork(t.Context(), c.admin, baadal.NetworkCreate{Name: "teaching", VLAN: 20, CIDR: "10.0.2.0/28"}, baadal.ChangeOptions{})
		return ch.Task, err
	})
	_, err = c.RetryTask(t.Context(), c.admin, apply.ID)
	refused(t, err, baadal.Conflict, "not_repeatable")

	remove := c.failTask(t, "dhcp.reservations", func() (*baadal.Task, error) {
		c.world.Fail(simulator.Rule{Op: "dhcp.apply", Before: true, Err: baadal.Errorf(baadal.Conflict, "made to fail")})
		ch, err := c.DeleteNetwork(t.Context(), c.admin, "research", baadal.ChangeOptions{})
		return ch.Task, err
	})
	again, err := c.RetryTask(t.Context(), c.admin, remove.ID)
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, &again)
	_, err = c.Network(t.Context(), c.admin, "research")
	refused(t, err, baadal.NotFound, "not_found")
}

func TestRetryHurriesWhatWaits(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml"})
	ch, err := c.ActVM(t.Context(), c.orgadmin, baadal.ActionVMReboot, "ml", baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// As a worker leaves it whose host does not answer.
	c.update(t, func(tx *store.Tx) error {
		all, err := tx.LeaseTasks("me", tx.Now().Add(time.Minute), 8, 16)
		if err != nil {
			return err
		}
		if len(all) != 1 {
			return fmt.Errorf("%d tasks were leased", len(all))
		}
		all[0].State, all[0].RunAfter = baadal.TaskRetry, tx.Now().Add(time.Hour)
		return tx.SaveTask(&all[0], "me", true, time.Time{})
	})
	k, err := c.RetryTask(t.Context(), c.admin, ch.Task.ID)
	if err != nil || k.ID != ch.Task.ID || k.RunAfter.After(c.clock.Now()) {
		t.Fatalf("got %+v, %v", k, err)
	}
	c.run(t, ch.Task)
	if now := c.vm(t, vm.ID); now.Task != nil {
		t.Errorf("still held by %+v", now.Task)
	}
}

func TestCancelTask(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ch, err := c.CreateVM(t.Context(), c.orgadmin, baadal.VMCreate{Name: "ml", Template: "tiny", Owner: "ravi"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if access := c.task(t, c.student, ch.Task.ID).Actions["cancel"]; !access.Allowed {
		t.Errorf("its owner may not cancel it: %+v", access)
	}
	_, err = c.CancelTask(t.Context(), c.stranger, ch.Task.ID)
	refused(t, err, baadal.NotFound, "not_found")
	k, err := c.CancelTask(t.Context(), c.student, ch.Task.ID)
	if err != nil || k.CancelBy != "ravi" {
		t.Fatalf("got %+v, %v", k, err)
	}
	done := c.settle(t, ch.Task)[0]
	if done.State != baadal.TaskFailed || done.Code != "cancelled" || !strings.Contains(done.Message, "cancelled by ravi") {
		t.Errorf("ended as %s (%s): %s", done.State, done.Code, done.Message)
	}
	if s := stored(t, c); len(s.VMs)+len(s.Claimed)+len(s.Tasks) != 0 {
		t.Errorf("left: %v, %v, %v", s.VMs, s.Claimed, s.Tasks)
	}
	_, err = c.CancelTask(t.Context(), c.student, ch.Task.ID)
	refused(t, err, baadal.Conflict, "task_ended")
	if access := c.task(t, c.student, ch.Task.ID).Actions["cancel"]; access.Allowed || access.Code != "task_ended" {
		t.Errorf("the button says %+v", access)
	}
}

func (c *cloud) task(t *testing.T, a baadal.Actor, id int64) baadal.Task {
	t.Helper()
	k, err := c.Task(t.Context(), a, id)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestIgnoreTask(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml"})
	failed := c.failTask(t, "hypervisor.reboot", func() (*baadal.Task, error) {
		ch, err := c.ActVM(t.Context(), c.orgadmin, baadal.ActionVMReboot, "ml", baadal.ChangeOptions{})
		return ch.Task, err
	})
	_, err := c.IgnoreTask(t.Context(), c.orgadmin, failed.ID)
	refused(t, err, baadal.Forbidden, "forbidden")
	k, err := c.IgnoreTask(t.Context(), c.admin, failed.ID)
	if err != nil || k.State != baadal.TaskIgnore {
		t.Errorf("got %s, %v", k.State, err)
	}
	_, err = c.IgnoreTask(t.Context(), c.admin, failed.ID)
	refused(t, err, baadal.Conflict, "task_state")
	for _, name := range []string{"cancel", "retry", "ignore"} {
		if access := k.Actions[name]; access.Allowed || access.Reason == "" {
			t.Errorf("%s of an ignored task: %+v", name, access)
		}
	}
}

func TestTaskShowsStepsToCome(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ch, err := c.CreateVM(t.Context(), c.orgadmin, baadal.VMCreate{Name: "ml", Template: "tiny"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	k := c.task(t, c.orgadmin, ch.Task.ID)
	if len(k.Steps) != 3 || k.Steps[0].Name != "image" || k.Steps[2].State != baadal.StepWaiting {
		t.Errorf("steps %+v", k.Steps)
	}
	begun := time.Now()
	if k, err = c.WaitTask(t.Context(), c.orgadmin, k.ID, k.Generation, 30*time.Millisecond); err != nil || k.State != baadal.TaskPending || time.Since(begun) < 30*time.Millisecond {
		t.Errorf("a wait that nothing ends: %s after %s, %v", k.State, time.Since(begun), err)
	}
	c.run(t, ch.Task)
	if k = c.task(t, c.orgadmin, ch.Task.ID); len(k.Steps) != 3 || k.Steps[2].State != baadal.StepDone || k.Message != "VM is installed successfully" {
		t.Errorf("in the end %q, steps %+v", k.Message, k.Steps)
	}
}

func TestRunAudit(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	_, err := c.LastAudit(t.Context(), c.admin)
	refused(t, err, baadal.NotFound, "not_found")
	for _, a := range []baadal.Actor{c.orgadmin, c.student} {
		for _, repair := range []bool{false, true} {
			_, err = c.RunAudit(t.Context(), a, repair, dry)
			refused(t, err, baadal.Forbidden, "forbidden")
		}
	}
	plan, err := c.RunAudit(t.Context(), c.admin, true, dry)
	if err != nil || plan.Task != nil || len(plan.Plan.Steps) != 2 {
		t.Errorf("plan %+v, %v", plan, err)
	}
	ch, err := c.RunAudit(t.Context(), c.admin, false, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.RunAudit(t.Context(), c.admin, true, baadal.ChangeOptions{})
	refused(t, err, baadal.Conflict, "busy")
	c.run(t, ch.Task)
	report, err := c.LastAudit(t.Context(), c.admin)
	if err != nil || !report.Clean() || report.Hosts != 3 {
		t.Errorf("report %+v, %v", report, err)
	}
}
