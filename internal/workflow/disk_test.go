package workflow_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

// extra are the extra disks in the store.
func (a *audited) extra(t *testing.T) (all []baadal.Disk) {
	t.Helper()
	a.view(t, func(tx *store.Tx) (err error) { all, err = tx.AllExtraDisks(); return err })
	return all
}

// foldersOf lists what lies in vm_extra_disks and vm_deleted.
func (a *audited) foldersOf(t *testing.T) (names []string) {
	t.Helper()
	h, err := a.world.Host(a.host)
	must(t, err)
	entries, err := a.world.Disks().Entries(t.Context(), h, baadal.Datastore{Path: mount})
	must(t, err)
	for _, e := range entries {
		if e.Area == baadal.DirExtraDisks || e.Area == baadal.DirDeleted {
			names = append(names, e.Area+"/"+e.Name)
		}
	}
	return names
}

// purge runs the task that the schedule makes for a VM, or for one disk of it.
func (a *audited) purge(t *testing.T, kind baadal.TaskKind, disk int64) {
	t.Helper()
	task := baadal.Task{
		Kind: kind, Subject: baadal.Subject{Kind: "vm", ID: a.vm.ID, Name: "ml"}, Exclusive: true,
		Params: fmt.Appendf(nil, `{"disk_id":%d}`, disk), RequesterID: a.actor.User.ID, OwnerID: a.actor.User.ID,
	}
	a.update(t, func(tx *store.Tx) error { return tx.InsertTask(&task) })
	a.finish(t, &task, nil)
}

// TestDisksGoWithTheirVM: deleted, restored and purged with it; each time the
// audit is clean.
func TestDisksGoWithTheirVM(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	clean := func(want ...string) {
		t.Helper()
		if d := cmp.Diff(want, a.foldersOf(t)); d != "" {
			t.Error(d)
		}
		if lines := a.shorts(a.audit(t, false)); len(lines) > 0 {
			t.Errorf("audit: %v", lines)
		}
	}
	const dir = "vm_extra_disks/main/IITD_asha_ml"
	addDisk(t, a.cloud)
	addDisk(t, a.cloud)
	clean(dir, dir+"/IITD_asha_ml_disk1.qcow2", dir+"/IITD_asha_ml_disk2.qcow2")
	actDisk(baadal.ActionDiskDelete)(t, a.cloud)
	clean("vm_deleted/IITD_asha_ml_disk1.1", dir, dir+"/IITD_asha_ml_disk2.qcow2")
	a.act(t, baadal.ActionVMDelete, "ml")
	gone := "vm_deleted/IITD_asha_ml." + a.vm.UUID
	clean(gone, gone+".disks", "vm_deleted/IITD_asha_ml_disk1.1")
	a.act(t, baadal.ActionVMRestore, "ml")
	clean("vm_deleted/IITD_asha_ml_disk1.1", dir, dir+"/IITD_asha_ml_disk2.qcow2")
	a.act(t, baadal.ActionVMStart, "ml")
	if d, err := a.world.Hypervisor().Targets(t.Context(), a.hostOf(t), a.vm.UUID); err != nil || d["vdc"] != mount+"/"+dir+"/IITD_asha_ml_disk2.qcow2" {
		t.Errorf("it was started with %v, %v", d, err)
	}
	a.purge(t, baadal.TaskDiskPurge, 1)
	clean(dir, dir+"/IITD_asha_ml_disk2.qcow2")
	a.act(t, baadal.ActionVMDelete, "ml")
	a.purge(t, baadal.TaskVMPurge, 0)
	clean()
	if left := a.extra(t); len(left) > 0 {
		t.Errorf("rows are left: %+v", left)
	}
}

// hostOf is where the VM is now.
func (a *audited) hostOf(t *testing.T) baadal.Host {
	t.Helper()
	h, err := a.world.Host(a.look(t).Host)
	must(t, err)
	return h
}

// TestPurgeDiskTwice: a purge whose answer was lost fails, and is asked for
// again.
func TestPurgeDiskTwice(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	addDisk(t, a.cloud)
	actDisk(baadal.ActionDiskDelete)(t, a.cloud)
	h := a.hostOf(t)
	f := baadal.DiskFile{Datastore: baadal.Datastore{Name: "main", Path: mount}, Identity: "IITD_asha_ml", UUID: a.vm.UUID, DiskID: 1, Name: "IITD_asha_ml_disk1.qcow2"}
	must(t, a.world.Disks().PurgeDisk(t.Context(), h, f))
	a.purge(t, baadal.TaskDiskPurge, 1)
	if left := a.extra(t); len(left) > 0 {
		t.Errorf("rows are left: %+v", left)
	}
}

// TestDisksInTheAudit: what was moved, removed or put there behind our back.
func TestDisksInTheAudit(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	addDisk(t, a.cloud)
	const dir = "vm_extra_disks/main/IITD_asha_ml"
	must(t, a.world.RogueFolder(mount, "vm_extra_disks/main/pet", ""))
	must(t, a.world.RogueFolder(mount, "vm_extra_disks/main/IITD_asha_old", a.vm.UUID))
	want := []string{
		"orphan_disk of datastore main: no VM owns it, vm_extra_disks/main/IITD_asha_old on main, 0 MiB",
		"orphan_disk of datastore main: no VM owns it, vm_extra_disks/main/pet on main, 0 MiB, without a mark",
	}
	if d := cmp.Diff(want, a.shorts(a.audit(t, true))); d != "" {
		t.Error(d)
	}
	must(t, a.world.RemoveFolder(mount, dir))
	missing := "missing_disk of vm ml: " + dir + "/IITD_asha_ml_disk1.qcow2 on main, it is not there"
	if d := cmp.Diff(append([]string{missing}, want...), a.shorts(a.audit(t, false))); d != "" {
		t.Error(d)
	}
}

// TestDiskMessages: the specification's words, with the true reason.
func TestDiskMessages(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	ctx := context.Background()
	end := func(ch baadal.Change[baadal.Disk], err error) baadal.Task {
		t.Helper()
		must(t, err)
		a.run(t, ch.Task.ID)
		done, err := a.svc.Task(ctx, a.actor, ch.Task.ID)
		must(t, err)
		return done
	}
	if got := end(a.svc.AddDisk(ctx, a.actor, "ml", baadal.DiskAdd{SizeGiB: 1}, none)); got.Message != "Attached extra disk successfully" {
		t.Errorf("it says %q", got.Message)
	}
	must(t, a.world.FillUp(mount, 1000))
	got := end(a.svc.AddDisk(ctx, a.actor, "ml", baadal.DiskAdd{SizeGiB: 1}, none))
	if !strings.HasPrefix(got.Message, "Your request for additional HDD could not be completed at this moment. Check logs.") ||
		!strings.Contains(got.Message, "is full") || got.Code != "datastore_full" {
		t.Errorf("it says %q (%s)", got.Message, got.Code)
	}
	if all := a.extra(t); len(all) != 1 {
		t.Errorf("the failed one is still claimed: %+v", all)
	}
}

// TestTargetTakenBehindOurBack: the domain has something at the target that the
// store thinks is free, so the disk goes to the next one.
func TestTargetTakenBehindOurBack(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	h := a.hostOf(t)
	must(t, a.world.Disks().CreateImage(t.Context(), h, baadal.VMImage{
		Datastore: baadal.Datastore{Name: "main", Path: mount}, Identity: "pet", UUID: "00000000-0000-4000-8000-000000000077",
		Template: mount + "/vm_templates/tiny.img", Format: "qcow2", Bytes: 1 << 30,
	}))
	must(t, a.world.Hypervisor().AttachDisk(t.Context(), h, a.vm.UUID, baadal.DomainDisk{Path: mount + "/vm_images/pet/pet.qcow2", Format: "qcow2", Target: "vdb"}))
	addDisk(t, a.cloud)
	if all := a.extra(t); len(all) != 1 || all[0].Target != "vdc" || all[0].State != baadal.DiskAttached {
		t.Errorf("%+v", all)
	}
}

// TestGuestHoldsDisk: a guest that does not let go keeps its disk.
func TestGuestHoldsDisk(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	addDisk(t, a.cloud)
	must(t, a.world.Deafen(a.host, a.vm.UUID, true))
	before := a.world.Snapshot()
	ch, err := a.svc.ActDisk(context.Background(), a.actor, baadal.ActionDiskDelete, "ml", "vdb", none)
	must(t, err)
	a.run(t, ch.Task.ID)
	if all := a.extra(t); all[0].State != baadal.DiskAttached || all[0].Target != "vdb" {
		t.Errorf("%+v", all)
	}
	if d := cmp.Diff(before, a.world.Snapshot()); d != "" {
		t.Error(d)
	}
}

// TestGrowthThatHappenedStays: when the answer was lost, the store says what
// the disk has.
func TestGrowthThatHappenedStays(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	addDisk(t, a.cloud)
	for _, step := range []struct {
		before bool // the failure comes before the deed
		want   int
	}{{true, 2}, {false, 7}} {
		a.world.Fail(simulator.Rule{Op: "hypervisor.resize_disk", Before: step.before, Err: baadal.Errorf(baadal.Conflict, "ordered")})
		ch, err := a.svc.GrowDisk(context.Background(), a.actor, "ml", "vdb", baadal.DiskGrow{SizeGiB: 7}, none)
		must(t, err)
		a.run(t, ch.Task.ID)
		if all := a.extra(t); all[0].SizeGiB != step.want {
			t.Errorf("it has %d GiB in the store, want %d", all[0].SizeGiB, step.want)
		}
	}
}
