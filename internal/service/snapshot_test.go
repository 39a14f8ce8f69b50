package service_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

func (c *cloud) snapshot(t *testing.T, a baadal.Actor, vm, name string) baadal.Snapshot {
	t.Helper()
	ch, err := c.CreateSnapshot(t.Context(), a, vm, baadal.SnapshotCreate{Name: name}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, ch.Task)
	return *ch.Resource
}

// TestSnapshotLimit: people have three of their own; what the cloud makes does
// not count, a deleted one gives its place back, a failed one too.
func TestSnapshotLimit(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Owner: "asha"})
	c.update(t, func(tx *store.Tx) error {
		return tx.CreateSnapshot(&baadal.Snapshot{VMID: vm.ID, Name: "daily-1", Type: baadal.SnapshotDaily, Ready: true, VMState: baadal.VMOff})
	})
	create := func(name string, opt baadal.ChangeOptions) error {
		ch, err := c.CreateSnapshot(t.Context(), c.faculty, "ml", baadal.SnapshotCreate{Name: name}, opt)
		if err == nil && ch.Task != nil {
			c.run(t, ch.Task)
		}
		return err
	}
	for i := range 3 {
		if err := create(fmt.Sprintf("s%d", i), dry); err != nil {
			t.Fatal(err)
		}
		if err := create(fmt.Sprintf("s%d", i), baadal.ChangeOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, opt := range []baadal.ChangeOptions{dry, {}} {
		err := create("s3", opt)
		refused(t, err, baadal.Exhausted, "snapshot_limit")
		if got := baadal.Message(err); len(got) < 22 || got[:22] != "Snapshot Limit Reached" {
			t.Errorf("it says %q", got)
		}
	}
	ch, err := c.DeleteSnapshot(t.Context(), c.faculty, "ml", "s1", baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, ch.Task)
	if err := create("s0", baadal.ChangeOptions{}); baadal.CodeOf(err) != "exists" {
		t.Errorf("a name twice: %v", err)
	}
	if err := create("s3", baadal.ChangeOptions{}); err != nil {
		t.Error(err)
	}
	c.update(t, func(tx *store.Tx) error {
		_, err := tx.SetSetting(baadal.SettingSnapshotLimit, "4", 0, "asha")
		return err
	})
	if err := create("s4", baadal.ChangeOptions{}); err != nil {
		t.Errorf("with another limit: %v", err)
	}
}

// TestSnapshotWhoMay: the owner, who runs his organisation, administrators; the
// cloud's own only the latter two.
func TestSnapshotWhoMay(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Owner: "asha"})
	c.snapshot(t, c.faculty, "ml", "mine")
	c.update(t, func(tx *store.Tx) error {
		return tx.CreateSnapshot(&baadal.Snapshot{VMID: vm.ID, Name: "found", Type: baadal.SnapshotSystem, Ready: true, VMState: baadal.VMOff})
	})
	ctx := t.Context()
	for _, a := range []baadal.Actor{c.student, c.stranger} {
		_, err := c.Snapshots(ctx, a, "ml")
		refused(t, err, baadal.NotFound, "not_found")
		_, err = c.CreateSnapshot(ctx, a, "ml", baadal.SnapshotCreate{}, dry)
		refused(t, err, baadal.NotFound, "not_found")
		_, err = c.RevertSnapshot(ctx, a, "ml", "mine", dry)
		refused(t, err, baadal.NotFound, "not_found")
		_, err = c.DeleteSnapshot(ctx, a, "ml", "mine", dry)
		refused(t, err, baadal.NotFound, "not_found")
		_, err = c.SetSnapshotSchedule(ctx, a, "ml", baadal.SnapshotSchedule{Daily: true})
		refused(t, err, baadal.NotFound, "not_found")
	}
	_, err := c.DeleteSnapshot(ctx, c.faculty, "ml", "found", dry)
	refused(t, err, baadal.Forbidden, "forbidden")
	if _, err = c.DeleteSnapshot(ctx, c.admin, "ml", "found", dry); err != nil {
		t.Error(err)
	}
	_, err = c.RevertSnapshot(ctx, c.faculty, "ml", "nope", dry)
	refused(t, err, baadal.NotFound, "not_found")

	// Another VM's snapshot is not this one's.
	c.create(t, c.orgadmin, baadal.VMCreate{Name: "other", Owner: "asha"})
	_, err = c.RevertSnapshot(ctx, c.faculty, "other", "mine", dry)
	refused(t, err, baadal.NotFound, "not_found")

	// The buttons say the same as the acts.
	all, err := c.Snapshots(ctx, c.faculty, "ml")
	if err != nil || len(all) != 2 {
		t.Fatalf("%d, %v", len(all), err)
	}
	for _, s := range all {
		if got := s.Actions["delete"].Allowed; got != (s.Name == "mine") {
			t.Errorf("delete of %s is allowed: %t", s.Name, got)
		}
		if !s.Actions["revert"].Allowed {
			t.Errorf("revert to %s: %+v", s.Name, s.Actions["revert"])
		}
	}
}

func TestSnapshotIsRefused(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Owner: "asha"})
	c.snapshot(t, c.faculty, "ml", "first")
	set := func(change func(*baadal.VM)) {
		t.Helper()
		vm = c.vm(t, vm.ID)
		change(&vm)
		c.update(t, func(tx *store.Tx) error { return tx.UpdateVM(&vm) })
	}
	create := func() error {
		t.Helper()
		_, err := c.CreateSnapshot(t.Context(), c.faculty, "ml", baadal.SnapshotCreate{Name: "second"}, dry)
		shown, lookErr := c.VM(t.Context(), c.faculty, "ml")
		if button := shown.Actions["snapshot"]; lookErr != nil || button.Code != baadal.CodeOf(err) && baadal.CodeOf(err) != "datastore_full" {
			t.Errorf("the button says %+v (%v), the act %v", button, lookErr, err)
		}
		return err
	}
	revert := func() error {
		_, err := c.RevertSnapshot(t.Context(), c.faculty, "ml", "first", dry)
		return err
	}
	set(func(vm *baadal.VM) { vm.HotCPUs = true })
	refused(t, create(), baadal.Conflict, "hot_cpus")
	if err := revert(); err != nil {
		t.Errorf("revert of a VM with plugged-in vCPUs: %v", err)
	}
	set(func(vm *baadal.VM) { vm.HotCPUs, vm.State, vm.Reason = false, baadal.VMOff, baadal.OffReason(true) })
	refused(t, create(), baadal.Conflict, "vm_saved")
	refused(t, revert(), baadal.Conflict, "vm_saved")
	set(func(vm *baadal.VM) { vm.State, vm.Reason = baadal.VMMissing, "" })
	refused(t, create(), baadal.Conflict, "vm_missing")
	set(func(vm *baadal.VM) { vm.State = baadal.VMRunning })
	c.setHost(t, vm.Host, baadal.HostDown, "no answer")
	refused(t, create(), baadal.Unavailable, "host_unreachable")
	refused(t, revert(), baadal.Unavailable, "host_unreachable")
	c.setHost(t, vm.Host, baadal.HostUp, "")
	c.update(t, func(tx *store.Tx) error {
		_, err := tx.SetDatastoreUsage(vm.DatastoreID, baadal.DatastoreOK, "", baadal.DatastoreUsage{Mounted: true, Writable: true, Capacity: 1 << 40, Free: 100 << 20}, nil)
		return err
	})
	refused(t, create(), baadal.Exhausted, "datastore_full")
	for name, code := range map[string]string{"1": "bad_name", "a b": "bad_name"} {
		_, err := c.CreateSnapshot(t.Context(), c.faculty, "ml", baadal.SnapshotCreate{Name: name}, dry)
		refused(t, err, baadal.Invalid, code)
	}
}

// TestRevertClaimsHardware: what the snapshot's machine has more is claimed when
// the revert is asked for, and what it has less comes back when it is done.
func TestRevertClaimsHardware(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Owner: "asha", VCPUs: 2, RAMMiB: 1024})
	vm = c.act(t, baadal.ActionVMDestroy, vm)
	c.snapshot(t, c.faculty, "ml", "big")
	vm = c.vm(t, vm.ID)
	vm.VCPUs, vm.RAMMiB = 1, 256
	c.update(t, func(tx *store.Tx) error { return tx.UpdateVM(&vm) })
	vm = c.act(t, baadal.ActionVMStart, vm)
	claimed := func() (host baadal.Host) {
		c.view(t, func(tx *store.Tx) (err error) { host, err = tx.Host(vm.HostID); return err })
		return host
	}
	before := claimed()
	plan, err := c.RevertSnapshot(t.Context(), c.faculty, "ml", "big", dry)
	if err != nil {
		t.Fatal(err)
	}
	if want := "it gets back 2 vCPUs instead of 1, 1024 MiB of memory instead of 256"; !slices.Contains(plan.Plan.Effects, want) {
		t.Errorf("the plan says %q", plan.Plan.Effects)
	}
	if d := cmp.Diff(before.ClaimedRAMMiB, claimed().ClaimedRAMMiB); d != "" {
		t.Errorf("claimed by a dry run: %s", d)
	}
	ch, err := c.RevertSnapshot(t.Context(), c.faculty, "ml", "big", baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := claimed(); got.ClaimedVCPUs != before.ClaimedVCPUs+1 || got.ClaimedRAMMiB != before.ClaimedRAMMiB+768 {
		t.Errorf("%d vCPUs and %d MiB are claimed at once", got.ClaimedVCPUs, got.ClaimedRAMMiB)
	}
	c.run(t, ch.Task)
	if vm = c.vm(t, vm.ID); vm.VCPUs != 2 || vm.RAMMiB != 1024 || vm.Claim() != vm.Size() || vm.State != baadal.VMOff {
		t.Errorf("after the revert it is %s with %+v, claims %+v", vm.State, vm.Size(), vm.Claim())
	}

	// A machine that its host cannot hold is refused.
	c.update(t, func(tx *store.Tx) error {
		return tx.CreateSnapshot(&baadal.Snapshot{VMID: vm.ID, Name: "huge", Type: baadal.SnapshotUser, Ready: true, VMState: baadal.VMOff, VCPUs: 2, RAMMiB: 1 << 30, DiskGiB: vm.DiskGiB})
	})
	_, err = c.RevertSnapshot(t.Context(), c.faculty, "ml", "huge", dry)
	refused(t, err, baadal.Exhausted, "no_host")
}

func TestSnapshotSchedule(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Owner: "asha"})
	want := baadal.SnapshotSchedule{Daily: true, Monthly: true}
	if _, err := c.SetSnapshotSchedule(t.Context(), c.faculty, "ml", want); err != nil {
		t.Fatal(err)
	}
	if got, err := c.SnapshotSchedule(t.Context(), c.faculty, "ml"); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestFailedSnapshotIsRetried: its place was given back, and is claimed anew.
func TestFailedSnapshotIsRetried(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Owner: "asha"})
	c.world.Fail(simulator.Rule{Op: "snapshots.create", Before: true, Err: baadal.Errorf(baadal.Conflict, "ordered by the test")})
	ch, err := c.CreateSnapshot(t.Context(), c.faculty, "ml", baadal.SnapshotCreate{Name: "first", Description: "words"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if done := c.settle(t, ch.Task); done[0].State != baadal.TaskFailed {
		t.Fatalf("%s: %s", done[0].State, done[0].Message)
	}
	if all, err := c.Snapshots(t.Context(), c.faculty, "ml"); err != nil || len(all) != 0 {
		t.Errorf("left: %+v, %v", all, err)
	}
	again, err := c.RetryTask(t.Context(), c.admin, ch.Task.ID)
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, &again)
	all, err := c.Snapshots(t.Context(), c.faculty, "ml")
	if err != nil || len(all) != 1 || all[0].Name != "first" || all[0].Description != "words" || !all[0].Ready {
		t.Errorf("after the retry: %+v, %v", all, err)
	}
}
