package workflow_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/simulator"
)

// edited submits an edit of "ml" and runs it to its end.
func (c *cloud) edited(t *testing.T, vcpus, ram int) (baadal.Task, baadal.VM) {
	t.Helper()
	ch, err := c.svc.EditVM(t.Context(), c.actor, "ml", baadal.VMEdit{VCPUs: &vcpus, RAMMiB: &ram}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c.settle(t, ch.Task, nil), c.look(t)
}

// TestEditSaysWhatHoldsWhen takes a VM of 1 vCPU and 512 MiB through edits: what
// the task says, what it has, runs with and claims.
func TestEditSaysWhatHoldsWhen(t *testing.T) {
	t.Parallel()
	c, _ := furnished(t)
	for _, step := range []struct {
		vcpus, ram int
		before     baadal.Action // is done first
		message    string
		claim      baadal.Size
		live       baadal.Size
		hot        bool
	}{
		{vcpus: 3, ram: 512, message: "Edited vCPU successfully.", claim: baadal.Size{VCPUs: 3, RAMMiB: 512}, hot: true},
		{
			vcpus: 3, ram: 256, message: "Edited RAM successfully. It takes effect at the next cold start. The guest is asked to make do with it now.",
			claim: baadal.Size{VCPUs: 3, RAMMiB: 512}, live: baadal.Size{RAMMiB: 512}, hot: true,
		},
		{
			vcpus: 2, ram: 1024, message: "Edited vCPU successfully. It takes effect at the next cold start. Edited RAM successfully. It takes effect at the next cold start.",
			claim: baadal.Size{VCPUs: 3, RAMMiB: 1024}, live: baadal.Size{VCPUs: 3, RAMMiB: 512}, hot: true,
		},
		{before: baadal.ActionVMDestroy, vcpus: 4, ram: 64, message: "Edited vCPU successfully. Edited RAM successfully.", claim: baadal.Size{VCPUs: 4, RAMMiB: 64}},
		{before: baadal.ActionVMStart, vcpus: 9, ram: 64, message: "Edited vCPU successfully. It takes effect at the next cold start.", claim: baadal.Size{VCPUs: 9, RAMMiB: 64}, live: baadal.Size{VCPUs: 4}},
	} {
		if step.before != "" {
			c.act(t, step.before, "ml")
		}
		done, vm := c.edited(t, step.vcpus, step.ram)
		if done.State != baadal.TaskSuccess || done.Message != step.message {
			t.Errorf("edit to %d and %d: %s, %q, want %q", step.vcpus, step.ram, done.State, done.Message, step.message)
		}
		got := []any{vm.Size(), vm.Claim(), baadal.Size{VCPUs: vm.LiveVCPUs, RAMMiB: vm.LiveRAMMiB}, vm.HotCPUs}
		if d := cmp.Diff([]any{baadal.Size{VCPUs: step.vcpus, RAMMiB: step.ram}, step.claim, step.live, step.hot}, got); d != "" {
			t.Errorf("after the edit to %d and %d (-want +got):\n%s", step.vcpus, step.ram, d)
		}
	}
}

// TestPluggedVCPUsStayClaimed lets an edit fail after vCPUs were plugged in: they
// cannot be unplugged, so they stay claimed until the VM is off.
func TestPluggedVCPUsStayClaimed(t *testing.T) {
	t.Parallel()
	c, _ := furnished(t)
	c.world.Fail(simulator.Rule{Op: "hypervisor.plug_vcpus", Nth: 1, Err: errors.New("ordered")})
	done, vm := c.edited(t, 3, 512)
	if done.State != baadal.TaskFailed || vm.VCPUs != 1 || vm.LiveVCPUs != 3 || !vm.HotCPUs || vm.Claim().VCPUs != 3 {
		t.Errorf("after the failure: %s, %d vCPUs, runs with %d, hot %t", done.State, vm.VCPUs, vm.LiveVCPUs, vm.HotCPUs)
	}
	c.act(t, baadal.ActionVMDestroy, "ml")
	if vm = c.look(t); vm.LiveVCPUs != 0 || vm.HotCPUs || vm.Claim().VCPUs != 1 {
		t.Errorf("off, it claims %+v, hot %t", vm.Claim(), vm.HotCPUs)
	}
}
