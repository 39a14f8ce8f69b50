package workflow_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
)

// sizesOf tells the VM's disks and their sizes, GiB.
func (a *audited) sizesOf(t *testing.T) map[string]int {
	t.Helper()
	all, err := a.svc.Disks(context.Background(), a.actor, "ml")
	must(t, err)
	got := map[string]int{}
	for _, k := range all {
		got[fmt.Sprint(k.Target, " ", k.State)] = k.SizeGiB
	}
	return got
}

// TestRevertShrinksGrownDisks: disks have the sizes that the snapshot has, and
// the store says so.
func TestRevertShrinksGrownDisks(t *testing.T) {
	t.Parallel()
	a, ctx, none := newAudited(t), context.Background(), baadal.ChangeOptions{}
	add, err := a.svc.AddDisk(ctx, a.actor, "ml", baadal.DiskAdd{SizeGiB: 2}, none)
	a.finish(t, add.Task, err)
	a.snapshot(t, "ml", "small")
	before := a.sizesOf(t)
	for disk, size := range map[string]int{"vda": 3, "vdb": 5} {
		ch, err := a.svc.GrowDisk(ctx, a.actor, "ml", disk, baadal.DiskGrow{SizeGiB: size}, none)
		a.finish(t, ch.Task, err)
	}
	if d := cmp.Diff(map[string]int{"vda attached": 3, "vdb attached": 5}, a.sizesOf(t)); d != "" {
		t.Fatal(d)
	}
	a.snapshot(t, "ml", "large")
	for _, to := range []struct {
		name string
		want map[string]int
	}{{"small", before}, {"large", map[string]int{"vda attached": 3, "vdb attached": 5}}} {
		ch, err := a.svc.RevertSnapshot(ctx, a.actor, "ml", to.name, none)
		a.finish(t, ch.Task, err)
		if d := cmp.Diff(to.want, a.sizesOf(t)); d != "" {
			t.Errorf("%s: %s", to.name, d)
		}
		if vm := a.look(t); vm.DiskGiB != to.want["vda attached"] || vm.Claim() != vm.Size() {
			t.Errorf("%s: it has %d GiB, claims %+v of %+v", to.name, vm.DiskGiB, vm.Claim(), vm.Size())
		}
	}
	if left := a.audit(t, false); !left.Clean() {
		t.Errorf("left: %+v", left.Differences)
	}
}

// TestRevertLosesNoDisk: a disk that came or went since the snapshot keeps it
// from being reverted to, before anything is touched.
func TestRevertLosesNoDisk(t *testing.T) {
	t.Parallel()
	a, ctx, none := newAudited(t), context.Background(), baadal.ChangeOptions{}
	a.snapshot(t, "ml", "one")
	add, err := a.svc.AddDisk(ctx, a.actor, "ml", baadal.DiskAdd{SizeGiB: 2}, none)
	a.finish(t, add.Task, err)
	a.snapshot(t, "ml", "two")
	revert := func(name, code string) {
		t.Helper()
		before := a.sizesOf(t)
		ch, err := a.svc.RevertSnapshot(ctx, a.actor, "ml", name, none)
		if done := a.settle(t, ch.Task, err); done.Code != code {
			t.Errorf("%s: %s: %s (%s)", name, done.State, done.Message, done.Code)
		}
		if d := cmp.Diff(before, a.sizesOf(t)); d != "" {
			t.Error(d)
		}
		if vm := a.look(t); vm.State != baadal.VMRunning {
			t.Errorf("%s: it is %s", name, vm.State)
		}
	}
	revert("one", "snapshot_unusable")
	revert("two", "")
	off, err := a.svc.ActDisk(ctx, a.actor, baadal.ActionDiskDetach, "ml", "vdb", none)
	a.finish(t, off.Task, err)
	revert("two", "snapshot_unusable")
	revert("one", "")
}
