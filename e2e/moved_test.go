package e2e_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"baadal"
)

// TestVMMovedByHand moves a domain to another host with virsh alone. A deletion
// must not pull its disk away from under the guest; the audit tells where the VM
// is and writes it down, and then it can be deleted.
func TestVMMovedByHand(t *testing.T) {
	ctx := begin(t)
	vm := create(ctx, t, baadal.VMCreate{Name: "wanderer", Host: "host1"})
	xml := node(ctx, t, "host1", "virsh", "dumpxml", "--inactive", "--security-info", vm.UUID)
	node(ctx, t, "host1", "virsh", "destroy", vm.UUID)
	node(ctx, t, "host1", "virsh", "undefine", vm.UUID)
	node(ctx, t, "host2", "mkdir", "-p", "/run/baadal/"+vm.UUID)
	define := theLab.Command(ctx, "host2", "virsh", "define", "/dev/stdin")
	define.Stdin = strings.NewReader(xml)
	if out, err := define.CombinedOutput(); err != nil {
		t.Fatalf("define: %v\n%s", err, out)
	}
	node(ctx, t, "host2", "virsh", "start", vm.UUID)
	eventually(t, 30*time.Second, "shown as missing", state(ctx, vm.UUID, baadal.VMMissing))

	c, err := cloud.Client.DeleteVM(ctx, vm.UUID, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done, err := cloud.Client.WaitTask(ctx, c.Task.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the deletion says: %s", done.Message)
	if done.State != baadal.TaskFailed || done.Code != "moved_by_hand" || !strings.Contains(done.Message, "host2") {
		t.Errorf("%s %s: %s", done.State, done.Code, done.Message)
	}
	node(ctx, t, "host1", "test", "-f", "/mnt/datastore/vm_images/"+vm.Identity+"/"+vm.Identity+".qcow2")
	report := audit(ctx, t, true)
	if len(report.Differences) != 1 || report.Differences[0].Kind != baadal.DiffMovedDomain || !report.Differences[0].Repaired {
		t.Errorf("the audit found %+v", report.Differences)
	}
	eventually(t, 30*time.Second, "shown where it is", func() error {
		now, err := cloud.Client.VM(ctx, vm.UUID)
		if err == nil && (now.Host != "host2" || now.State != baadal.VMRunning) {
			err = errors.New("it is " + now.State.String() + " on " + now.Host)
		}
		return err
	})
	remove(ctx, t, vm.UUID)
}
