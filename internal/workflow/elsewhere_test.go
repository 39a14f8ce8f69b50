package workflow_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
)

// moveByHand moves the VM's domain to another host as somebody with virsh would:
// it runs there, on its disk, and its own host does not know it any more.
func (a *audited) moveByHand(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	must(t, a.world.VirshDestroy(a.host, a.vm.UUID))
	must(t, a.world.VirshUndefine(a.host, a.vm.UUID))
	h, err := a.world.Host(a.elsewhere())
	must(t, err)
	must(t, a.world.Hypervisor().Define(ctx, h, baadal.Domain{
		UUID: a.vm.UUID, Name: a.vm.Identity, VMID: a.vm.ID, Virt: "kvm", VCPUs: 1, RAMMiB: 512, Console: "/run/baadal/" + a.vm.UUID,
		Disks: []baadal.DomainDisk{{Path: (&baadal.Datastore{Path: mount}).ImageFile(a.vm.Identity), Format: "qcow2", Target: "vda"}},
		NICs:  []baadal.DomainNIC{{MAC: a.vm.MAC, Network: "ovs-net", Portgroup: "vlan10", VLAN: 10}},
	}))
	must(t, a.world.VirshStart(a.elsewhere(), a.vm.UUID))
	a.setVMState(t, baadal.VMMissing)
}

// delete asks for the VM's deletion and returns how that ends.
func (a *audited) delete(t *testing.T) baadal.Task {
	t.Helper()
	ch, err := a.svc.ActVM(context.Background(), a.actor, baadal.ActionVMDelete, "ml", baadal.ChangeOptions{})
	must(t, err)
	return runToEnd(t, a.cloud, ch.Task.ID)
}

// TestVMMovedByHand is not deleted under its running guest; the audit tells where
// it is and writes it down, and then it can be deleted.
func TestVMMovedByHand(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	a.moveByHand(t)
	disks := a.disks(t)
	done := a.delete(t)
	if done.State != baadal.TaskFailed || done.Code != "moved_by_hand" || !strings.Contains(done.Message, a.elsewhere()) {
		t.Errorf("the deletion: %s %s: %s", done.State, done.Code, done.Message)
	}
	if diff := cmp.Diff(disks, a.disks(t)); diff != "" {
		t.Errorf("its disk was moved: %s", diff)
	}
	report := a.audit(t, false)
	if diff := cmp.Diff([]string{"moved_domain of vm ml: on HOST, ELSEWHERE: running"}, a.shorts(report)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	a.audit(t, true)
	if vm := a.look(t); vm.Host != a.elsewhere() || vm.State != baadal.VMRunning {
		t.Errorf("after the repair it is %s on %s", vm.State, vm.Host)
	}
	if left := a.audit(t, false); !left.Clean() {
		t.Errorf("left: %v", a.shorts(left))
	}
	if done := a.delete(t); done.State != baadal.TaskSuccess {
		t.Errorf("the deletion of the VM where it is: %s: %s", done.State, done.Message)
	}
	if wrong := a.world.Check(); len(wrong) != 0 {
		t.Error(wrong)
	}
}

// TestOpenDiskIsKept although nobody can tell where it is open: the host that has
// it is away.
func TestOpenDiskIsKept(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	a.moveByHand(t)
	must(t, a.world.Cut(a.elsewhere()))
	disks := a.disks(t)
	done := a.delete(t)
	if done.State != baadal.TaskFailed || done.Code != "disk_in_use" {
		t.Errorf("the deletion: %s %s: %s", done.State, done.Code, done.Message)
	}
	if diff := cmp.Diff(disks, a.disks(t)); diff != "" {
		t.Errorf("its disk was moved: %s", diff)
	}
	if vm := a.look(t); vm.Task != nil || vm.State == baadal.VMDeleted {
		t.Errorf("afterwards it is %s, held by %+v", vm.State, vm.Task)
	}
}
