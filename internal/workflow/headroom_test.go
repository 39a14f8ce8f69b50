package workflow_test

import (
	"context"
	"testing"

	"baadal"
)

// TestHeadroom: what a VM is given while it runs is claimed at once, and what it
// is asked to give back until its next cold start.
func TestHeadroom(t *testing.T) {
	t.Parallel()
	a, ctx := newAudited(t), context.Background()
	roomy(t, a.cloud)
	for _, e := range []struct {
		ram, live int
		words     string
	}{
		{1024, 0, "Edited RAM successfully."},
		{4096, 2048, "Edited RAM successfully. It takes effect at the next cold start."},
		{2048, 0, "Edited RAM successfully."},
		{256, 2048, "Edited RAM successfully. It takes effect at the next cold start. The guest is asked to make do with it now."},
		{512, 0, "Edited RAM successfully."}, // the guest gave back what it had more
	} {
		ch, err := a.svc.EditVM(ctx, a.actor, "ml", baadal.VMEdit{RAMMiB: &e.ram}, none)
		must(t, err)
		done := runToEnd(t, a.cloud, ch.Task.ID)
		vm, err := a.svc.VM(ctx, a.actor, "ml")
		must(t, err)
		if done.Message != e.words || vm.RAMMiB != e.ram || vm.LiveRAMMiB != e.live || vm.Claim().RAMMiB != max(e.ram, e.live) {
			t.Errorf("%d MiB: says %q, has %d, runs with %d, claims %d", e.ram, done.Message, vm.RAMMiB, vm.LiveRAMMiB, vm.Claim().RAMMiB)
		}
	}
	grown := 1024
	ch, err := a.svc.EditVM(ctx, a.actor, "ml", baadal.VMEdit{RAMMiB: &grown}, none)
	a.finish(t, ch.Task, err)
	a.snapshot(t, "ml", "grown")
	less := 600
	ch, err = a.svc.EditVM(ctx, a.actor, "ml", baadal.VMEdit{RAMMiB: &less}, none)
	a.finish(t, ch.Task, err)
	snap, err := a.svc.RevertSnapshot(ctx, a.actor, "ml", "grown", none)
	a.finish(t, snap.Task, err)
	vm, err := a.svc.VM(ctx, a.actor, "ml")
	must(t, err)
	if vm.RAMMiB != grown || vm.LiveRAMMiB != 0 || vm.MaxRAMMiB != 2048 {
		t.Errorf("reverted, it has %d MiB, runs with %d, of %d", vm.RAMMiB, vm.LiveRAMMiB, vm.MaxRAMMiB)
	}
	if found := a.audit(t, false); !found.Clean() {
		t.Errorf("%+v", found.Differences)
	}
}
