package service_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
)

var acts = map[string]baadal.Action{
	"start": baadal.ActionVMStart, "shutdown": baadal.ActionVMShutdown, "reboot": baadal.ActionVMReboot,
	"destroy": baadal.ActionVMDestroy, "delete": baadal.ActionVMDelete, "restore": baadal.ActionVMRestore,
	"suspend": baadal.ActionVMSuspend, "resume": baadal.ActionVMResume, "reset": baadal.ActionVMReset, "save": baadal.ActionVMSave,
}

// TestButtonsSayWhatActsAnswer compares, for every state, role and action, what
// a VM's actions say with what the act itself answers.
func TestButtonsSayWhatActsAnswer(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Owner: "asha"})
	actors := map[string]baadal.Actor{"owner": c.faculty, "orgadmin": c.orgadmin, "admin": c.admin}
	allowed, compared := map[string][]string{}, 0
	check := func(situation string) {
		t.Helper()
		allowed[situation] = nil
		for who, a := range actors {
			shown, err := c.VM(t.Context(), a, "ml")
			if err != nil {
				t.Fatal(err)
			}
			if len(shown.Actions) < len(acts) { // acts with parameters are compared by their own tests
				t.Fatalf("%s shows %d actions", situation, len(shown.Actions))
			}
			for name, action := range acts {
				access := shown.Actions[name]
				_, err := c.ActVM(t.Context(), a, action, "ml", dry)
				compared++
				got := baadal.Access{Allowed: err == nil}
				if e, ok := errors.AsType[*baadal.Error](err); ok {
					got = baadal.Access{Code: baadal.CodeOf(err), Reason: baadal.Message(err), Next: e.Next}
				}
				if diff := cmp.Diff(access, got); diff != "" {
					t.Errorf("%s, %s, %s: button and act differ (-button +act):\n%s", situation, who, name, diff)
				}
				if access.Allowed == (access.Reason != "") {
					t.Errorf("%s, %s, %s: allowed is %t, the reason %q", situation, who, name, access.Allowed, access.Reason)
				}
				if access.Allowed && who == "owner" {
					allowed[situation] = append(allowed[situation], name)
				}
			}
		}
		slices.Sort(allowed[situation])
	}
	for _, state := range baadal.VMStates() {
		if state == baadal.VMDeleted {
			continue
		}
		c.update(t, func(tx *store.Tx) error { _, _, err := tx.SetVMState(vm.ID, state, ""); return err })
		check(state.String())
	}
	c.update(t, func(tx *store.Tx) error { _, _, err := tx.SetVMState(vm.ID, baadal.VMRunning, ""); return err })
	c.setHost(t, vm.Host, baadal.HostDown, "no answer")
	check("host down")
	c.setHost(t, vm.Host, baadal.HostUp, "")
	if _, err := c.ActVM(t.Context(), c.faculty, baadal.ActionVMReboot, "ml", baadal.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	check("held")
	c.run(t, c.vmTask(t, vm.ID))
	c.act(t, baadal.ActionVMDelete, vm)
	check("deleted")
	want := map[string][]string{
		"running": {"delete", "destroy", "reboot", "reset", "save", "shutdown", "suspend"}, "off": {"delete", "start"},
		"paused": {"delete", "destroy", "resume", "save"}, "creating": nil,
		"missing": {"delete"}, "unknown": {"delete"}, "crashed": {"delete", "destroy", "start"}, "deleted": {"restore"}, "host down": nil, "held": nil,
	}
	if diff := cmp.Diff(want, allowed); diff != "" {
		t.Errorf("what the owner may (-want +got):\n%s", diff)
	}
	if compared != 10*3*len(acts) {
		t.Errorf("%d pairs were compared", compared)
	}
}

// vmTask returns the task that holds a VM.
func (c *cloud) vmTask(t *testing.T, id int64) *baadal.Task {
	t.Helper()
	vm := c.vm(t, id)
	if vm.Task == nil {
		t.Fatalf("no task holds %s", vm.Name)
	}
	return &baadal.Task{ID: vm.Task.ID}
}

func TestActVMWhoMay(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Owner: "ravi"})
	_, err := c.ActVM(t.Context(), c.student, baadal.ActionVMDelete, "ml", dry)
	refused(t, err, baadal.Forbidden, "forbidden")
	for _, a := range []baadal.Actor{c.faculty, c.stranger} {
		_, err = c.ActVM(t.Context(), a, baadal.ActionVMReboot, "ml", dry)
		refused(t, err, baadal.NotFound, "not_found")
	}
	_, err = c.ActVM(t.Context(), c.admin, baadal.ActionVMReboot, "ml", baadal.ChangeOptions{Generation: 99})
	refused(t, err, baadal.Stale, "stale")
	_, err = c.ActVM(t.Context(), c.student, baadal.ActionVMPassword, "ml", dry)
	refused(t, err, baadal.Internal, "internal")
}

func TestSecondActIsToldOfTheFirst(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml"})
	first, err := c.ActVM(t.Context(), c.orgadmin, baadal.ActionVMReboot, "ml", baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.ActVM(t.Context(), c.admin, baadal.ActionVMDelete, "ml", baadal.ChangeOptions{})
	refused(t, err, baadal.Conflict, "vm_busy")
	if e, ok := errors.AsType[*baadal.Error](err); !ok || e.TaskID != first.Task.ID {
		t.Errorf("the error does not name task %d: %+v", first.Task.ID, e)
	}
}

// TestDeleteGivesBackAndRestoreTakesAgain: address and port are free after the
// deletion; the restore takes the old address while it is free.
func TestDeleteGivesBackAndRestoreTakesAgain(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	other := c.create(t, c.orgadmin, baadal.VMCreate{Name: "first"})
	vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml"})
	c.act(t, baadal.ActionVMDelete, other) // a lower address is free now

	gone := c.act(t, baadal.ActionVMDelete, vm)
	if gone.State != baadal.VMDeleted || gone.Address != "" || gone.VNCPort != 0 || gone.HostID != 0 || gone.PurgeAfter == nil ||
		gone.PurgeAfter.Sub(c.clock.Now()) != 720*time.Hour {
		t.Errorf("deleted: %+v", gone)
	}
	if s := stored(t, c); len(s.Claimed) != 0 {
		t.Errorf("still claimed: %v", s.Claimed)
	}

	back := c.act(t, baadal.ActionVMRestore, vm)
	if back.State != baadal.VMOff || back.Address != vm.Address || back.MAC != vm.MAC || back.VNCPort == 0 || back.HostID == 0 || back.PurgeAfter != nil || back.DeletedAt != nil {
		t.Errorf("restored: %+v, it was %+v", back, vm)
	}
	if again := c.act(t, baadal.ActionVMStart, vm); again.State != baadal.VMRunning {
		t.Errorf("it is %s after its start", again.State)
	}
}

func TestRestoreTakesAnotherAddressIfItsOwnIsTaken(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml"})
	c.act(t, baadal.ActionVMDelete, vm)
	thief := c.create(t, c.orgadmin, baadal.VMCreate{Name: "other"})
	if thief.Address != vm.Address {
		t.Fatalf("the new VM has %s, not the lowest free address %s", thief.Address, vm.Address)
	}
	plan, err := c.ActVM(t.Context(), c.orgadmin, baadal.ActionVMRestore, "ml", dry)
	if err != nil || plan.Plan.Host == "" || len(plan.Plan.Hosts) != 3 || plan.Plan.Why == "" {
		t.Errorf("plan %+v, %v", plan.Plan, err)
	}
	if now := c.vm(t, vm.ID); now.State != baadal.VMDeleted || now.Address != "" || now.Task != nil {
		t.Errorf("the dry run changed it: %+v", now)
	}
	back := c.act(t, baadal.ActionVMRestore, vm)
	if back.Address == "" || back.Address == vm.Address || back.MAC == vm.MAC {
		t.Errorf("restored with %s %s", back.Address, back.MAC)
	}
}

func TestRestoreIsRefused(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	vm := c.act(t, baadal.ActionVMDelete, c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml"}))
	again := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml"})
	_, err := c.ActVM(t.Context(), c.orgadmin, baadal.ActionVMRestore, fmt.Sprint(vm.ID), baadal.ChangeOptions{})
	refused(t, err, baadal.Conflict, "exists") // its name is another's by now
	c.act(t, baadal.ActionVMDelete, again)

	c.clock.forward(720*time.Hour + time.Second)
	for _, opt := range []baadal.ChangeOptions{dry, {}} {
		_, err = c.ActVM(t.Context(), c.orgadmin, baadal.ActionVMRestore, fmt.Sprint(vm.ID), opt)
		refused(t, err, baadal.Conflict, "retention_over")
	}
	if s := stored(t, c); len(s.Claimed) != 0 || len(s.Tasks) != 0 {
		t.Errorf("a refusal left %v, %v", s.Claimed, s.Tasks)
	}
}

// TestFailedCreationGivesEverythingBack: what was claimed is free again when the
// datastore was full.
func TestFailedCreationGivesEverythingBack(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	if err := c.world.FillUp(mount, 0); err != nil {
		t.Fatal(err)
	}
	ch, err := c.CreateVM(t.Context(), c.orgadmin, baadal.VMCreate{Name: "ml", Template: "tiny"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if done := c.settle(t, ch.Task)[0]; done.State != baadal.TaskFailed || done.UndoPending || done.Message == "" {
		t.Errorf("task %+v", done)
	}
	if s := stored(t, c); len(s.VMs)+len(s.Claimed)+len(s.Tasks) != 0 {
		t.Errorf("left: %v, %v, %v", s.VMs, s.Claimed, s.Tasks)
	}
}
