package workflow_test

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/simulator"
)

// snapshotNames lists the VM's snapshots with their types.
func (a *audited) snapshotNames(t *testing.T) (names []string) {
	t.Helper()
	all, err := a.svc.Snapshots(context.Background(), a.actor, "ml")
	must(t, err)
	for _, s := range all {
		names = append(names, s.Name+" "+string(s.Type))
	}
	slices.Sort(names)
	return names
}

// TestAuditOfSnapshots: what vanished or appeared on the host shows, and is
// mended without losing anything.
func TestAuditOfSnapshots(t *testing.T) {
	t.Parallel()
	a, ctx := newAudited(t), context.Background()
	for _, name := range []string{"first", "second"} {
		a.snapshot(t, "ml", name)
	}
	h, err := a.world.Host(a.host)
	must(t, err)
	hyper := a.world.Hypervisor()
	must(t, hyper.ForgetSnapshots(ctx, h, a.vm.UUID))
	must(t, hyper.CreateSnapshot(ctx, h, a.vm.UUID, "theirs", ""))
	found := a.audit(t, false)
	want := []string{
		"foreign_snapshot of ml: 2 snapshots, also theirs", "missing_snapshot of ml: snapshots first, second, the host does not know them",
	}
	var got []string
	for _, d := range found.Differences {
		got = append(got, d.Kind+" of "+d.Subject.Name+": "+d.Stored+", "+d.Seen)
	}
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	a.audit(t, true)
	if left := a.audit(t, false); !left.Clean() {
		t.Errorf("left: %+v", left.Differences)
	}
	if d := cmp.Diff([]string{"first user", "second user", "theirs system"}, a.snapshotNames(t)); d != "" {
		t.Error(d)
	}
	for _, name := range []string{"first", "theirs"} {
		ch, err := a.svc.RevertSnapshot(ctx, a.actor, "ml", name, baadal.ChangeOptions{})
		a.finish(t, ch.Task, err)
	}
}

// TestSnapshotsComeBackWithAMissingDomain that the audit defines anew.
func TestSnapshotsComeBackWithAMissingDomain(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	for _, name := range []string{"first", "second"} {
		a.snapshot(t, "ml", name)
	}
	must(t, a.world.VirshDestroy(a.host, a.vm.UUID))
	must(t, a.world.VirshUndefine(a.host, a.vm.UUID))
	a.audit(t, true)
	if left := a.audit(t, false); !left.Clean() {
		t.Errorf("left: %+v", left.Differences)
	}
	ch, err := a.svc.RevertSnapshot(context.Background(), a.actor, "ml", "first", baadal.ChangeOptions{})
	a.finish(t, ch.Task, err)
	if vm := a.look(t); vm.State != baadal.VMRunning {
		t.Errorf("after the revert it is %s", vm.State)
	}
}

// TestRevertIsCheckedBefore: what would fail half-way is refused, and the VM
// runs on as if nobody had asked.
func TestRevertIsCheckedBefore(t *testing.T) {
	t.Parallel()
	a, ctx := newAudited(t), context.Background()
	a.snapshot(t, "ml", "first")
	h, err := a.world.Host(a.host)
	must(t, err)
	// Its data goes, its description stays.
	snaps, err := a.world.Hypervisor().Snapshots(ctx, h, a.vm.UUID)
	must(t, err)
	must(t, a.world.Hypervisor().DeleteSnapshot(ctx, h, a.vm.UUID, "first"))
	must(t, a.world.Hypervisor().RedefineSnapshots(ctx, h, a.vm.UUID, snaps))
	before := a.state()
	ch, err := a.svc.RevertSnapshot(ctx, a.actor, "ml", "first", baadal.ChangeOptions{})
	done := a.settle(t, ch.Task, err)
	if done.State != baadal.TaskFailed || done.Code != "snapshot_unusable" {
		t.Errorf("%s: %s", done.State, done.Message)
	}
	if d := cmp.Diff(before, a.state()); d != "" {
		t.Error(d)
	}
}

// TestFailedRevertRunsAgain: libvirt left the VM off; it ran, so it runs again.
func TestFailedRevertRunsAgain(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	a.snapshot(t, "ml", "first")
	a.act(t, baadal.ActionVMDestroy, "ml")
	a.snapshot(t, "ml", "off")
	a.act(t, baadal.ActionVMStart, "ml")
	a.world.Fail(simulator.Rule{Op: "snapshots.revert", Err: baadal.Errorf(baadal.Internal, "QEMU did not start")})
	ch, err := a.svc.RevertSnapshot(context.Background(), a.actor, "ml", "off", baadal.ChangeOptions{})
	if done := a.settle(t, ch.Task, err); done.State != baadal.TaskFailed {
		t.Fatalf("%s: %s", done.State, done.Message)
	}
	h, err := a.world.Host(a.host)
	must(t, err)
	info, err := a.world.Hypervisor().Domain(context.Background(), h, a.vm.UUID)
	must(t, err)
	if info.State != baadal.VMRunning {
		t.Errorf("it is %s", info.State)
	}
}

// TestFullDatastoreDuringSnapshot: a clear error, and nothing half done.
func TestFullDatastoreDuringSnapshot(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	before := a.state()
	must(t, a.world.FillUp(mount, 100<<20))
	ch, err := a.svc.CreateSnapshot(context.Background(), a.actor, "ml", baadal.SnapshotCreate{Name: "first"}, baadal.ChangeOptions{})
	if done := a.settle(t, ch.Task, err); done.State != baadal.TaskFailed || done.Code != "datastore_full" {
		t.Errorf("%s: %s (%s)", done.State, done.Message, done.Code)
	}
	must(t, a.world.FillUp(mount, -1))
	if d := cmp.Diff(before, a.state()); d != "" {
		t.Error(d)
	}
	if left := a.audit(t, false); !left.Clean() {
		t.Errorf("left: %+v", left.Differences)
	}
}
