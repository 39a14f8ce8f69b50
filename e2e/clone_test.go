package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"baadal"
)

// clone clones a VM and returns the clones.
func clone(ctx context.Context, t *testing.T, ref string, in baadal.VMClone) []baadal.VM {
	t.Helper()
	ch, err := cloud.Client.CloneVM(ctx, ref, in, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done, err := cloud.Await(ctx, ch.Task, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %s in %s (%s)", ref, done.Message, done.EndedAt.Sub(done.CreatedAt).Round(time.Millisecond), done.Steps[0].Detail)
	var vms []baadal.VM
	for _, child := range done.Children {
		vm, err := cloud.Client.VM(ctx, fmt.Sprint(child.Subject.ID))
		if err != nil {
			t.Fatal(err)
		}
		vms = append(vms, vm)
	}
	return vms
}

// answered waits until a VM answers.
func answered(ctx context.Context, t *testing.T, ref string) baadal.VM {
	t.Helper()
	vm, err := cloud.WaitAnswer(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

func startVM(ctx context.Context, t *testing.T, ref string) {
	t.Helper()
	c, err := cloud.Client.StartVM(ctx, ref, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Await(ctx, c.Task, nil); err != nil {
		t.Fatal(err)
	}
}

// TestClones clones a running VM: what it wrote before is in the clones, what it
// writes later is not; each clone is a machine of its own; and nobody needs the
// parent any more.
func TestClones(t *testing.T) {
	ctx := begin(t)
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	shortRetention(ctx, t)
	before := strings.Fields(filesOfVMs(ctx, t))
	parent := create(ctx, t, baadal.VMCreate{Name: "parent", SSHKeys: []string{key}})
	parent = answered(ctx, t, parent.UUID)
	ssh(ctx, t, parent, "echo early > /root/early; sync")
	clones := clone(ctx, t, parent.UUID, baadal.VMClone{Count: 3, Name: "clone", Start: true})
	ssh(ctx, t, parent, "echo late > /root/late; sync")
	seen := map[string]bool{parent.Host: false}
	for _, vm := range clones {
		seen[vm.Host] = true
		vm = answered(ctx, t, vm.UUID)
		if got := ssh(ctx, t, vm, "hostname; cat /root/early; ls /root/late 2>/dev/null | wc -l"); got != vm.Name+"\nearly\n0" {
			t.Errorf("%s says %q", vm.Name, got)
		}
		if ip := ssh(ctx, t, vm, "ip", "-4", "-o", "addr", "show", "eth0"); !strings.Contains(ip, vm.Address+"/24") {
			t.Errorf("%s has the address %q, the API says %s", vm.Name, ip, vm.Address)
		}
		ssh(ctx, t, vm, "echo mine > /root/mine; sync")
	}
	if len(seen) != 3 || !seen["host1"] || !seen["host2"] || !seen["host3"] {
		t.Errorf("hosts of the clones: %v", seen)
	}
	hostKeys(ctx, t, append(clones, parent))
	if got := ssh(ctx, t, parent, "cat /root/early /root/late; ls /root/mine 2>/dev/null | wc -l"); got != "early\nlate\n0" {
		t.Errorf("the parent says %q", got)
	}
	thin(ctx, t, clones[0])

	// Frozen while it ran, the parent can still be moved while it runs.
	m, err := cloud.Client.MigrateVM(ctx, parent.UUID, baadal.VMMigrate{}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Await(ctx, m.Task, nil); err != nil {
		t.Fatal(err)
	}
	if got := ssh(ctx, t, parent, "cat /root/early /root/late"); got != "early\nlate" {
		t.Errorf("moved, the parent says %q", got)
	}

	// The parent goes first; the clones boot again all the same.
	remove(ctx, t, parent.UUID)
	purge(ctx, t, parent)
	cold(ctx, t, clones[0].UUID)
	if got := ssh(ctx, t, answered(ctx, t, clones[0].UUID), "cat /root/early /root/mine"); got != "early\nmine" {
		t.Errorf("after the parent's deletion %s says %q", clones[0].Name, got)
	}
	// A clone of a clone, off, and then everything goes.
	destroyVM(ctx, t, clones[1].UUID)
	again := clone(ctx, t, clones[1].UUID, baadal.VMClone{})
	startVM(ctx, t, again[0].UUID)
	startVM(ctx, t, clones[1].UUID)
	for _, vm := range []baadal.VM{again[0], clones[1]} {
		if got := ssh(ctx, t, answered(ctx, t, vm.UUID), "hostname; cat /root/mine"); got != strings.ReplaceAll(vm.Name, "_", "-")+"\nmine" {
			t.Errorf("%s says %q", vm.Name, got)
		}
	}
	cleanAudit(ctx, t)
	clones = append(clones, again...)
	for _, vm := range clones {
		remove(ctx, t, vm.UUID)
	}
	purge(ctx, t, clones...)
	eventually(t, 30*time.Second, "nothing left on the datastore", func() error {
		for name := range strings.FieldsSeq(filesOfVMs(ctx, t)) {
			if !slices.Contains(before, name) {
				return fmt.Errorf("left: %s", name)
			}
		}
		return nil
	})
}

// TestCloneWithSnapshots clones a running VM that has a snapshot: the snapshot
// is not lost, and the VM can still be reverted to it.
func TestCloneWithSnapshots(t *testing.T) {
	ctx := begin(t)
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	parent := create(ctx, t, baadal.VMCreate{Name: "snapped", SSHKeys: []string{key}})
	parent = answered(ctx, t, parent.UUID)
	ssh(ctx, t, parent, "echo early > /root/early; sync")
	s, err := cloud.Client.CreateSnapshot(ctx, parent.UUID, baadal.SnapshotCreate{Name: "early"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Await(ctx, s.Task, nil); err != nil {
		t.Fatal(err)
	}
	ssh(ctx, t, parent, "echo late > /root/late; sync")
	copied := clone(ctx, t, parent.UUID, baadal.VMClone{Name: "copied", Start: true})
	if got := ssh(ctx, t, answered(ctx, t, copied[0].UUID), "hostname; cat /root/early /root/late"); got != "copied1\nearly\nlate" {
		t.Errorf("the clone says %q", got)
	}
	if s, err = cloud.Client.RevertSnapshot(ctx, parent.UUID, "early", baadal.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Await(ctx, s.Task, nil); err != nil {
		t.Fatal(err)
	}
	if got := ssh(ctx, t, answered(ctx, t, parent.UUID), "cat /root/early; ls /root/late 2>/dev/null | wc -l"); got != "early\n0" {
		t.Errorf("reverted, the parent says %q", got)
	}
	remove(ctx, t, parent.UUID)
	remove(ctx, t, copied[0].UUID)
}

// hostKeys wants an SSH host key of its own in each guest.
func hostKeys(ctx context.Context, t *testing.T, vms []baadal.VM) {
	t.Helper()
	keys := map[string]string{}
	for _, vm := range vms {
		line := ssh(ctx, t, vm, "cat /etc/dropbear/dropbear_*_host_key | md5sum")
		if other := keys[line]; other != "" {
			t.Errorf("%s and %s have the same host key %q", vm.Name, other, line)
		}
		keys[line] = vm.Name
	}
}

// thin wants a disk that holds only what is its own.
func thin(ctx context.Context, t *testing.T, vm baadal.VM) {
	t.Helper()
	var info struct {
		Actual  int64  `json:"actual-size"`
		Backing string `json:"full-backing-filename"`
	}
	file := "/mnt/datastore/vm_images/" + vm.Identity + "/" + vm.Identity + ".qcow2"
	if err := json.Unmarshal([]byte(node(ctx, t, vm.Host, "qemu-img", "info", "-U", "--output=json", file)), &info); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %d KiB of its own", vm.Name, info.Actual>>10)
	if info.Actual > 24<<20 || !strings.Contains(info.Backing, "/vm_bases/") {
		t.Errorf("%s holds %d MiB and stands on %q", vm.Name, info.Actual>>20, info.Backing)
	}
}

func destroyVM(ctx context.Context, t *testing.T, ref string) {
	t.Helper()
	c, err := cloud.Client.DestroyVM(ctx, ref, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Await(ctx, c.Task, nil); err != nil {
		t.Fatal(err)
	}
}

// cold stops and starts a VM.
func cold(ctx context.Context, t *testing.T, ref string) {
	t.Helper()
	destroyVM(ctx, t, ref)
	startVM(ctx, t, ref)
}

// shortRetention lets deleted VMs be purged at once, until the test ends.
func shortRetention(ctx context.Context, t *testing.T) {
	t.Helper()
	set := func(value string) {
		if _, err := cloud.Client.UpdateSetting(ctx, baadal.SettingRetention, value, baadal.ChangeOptions{}); err != nil {
			t.Error(err)
		}
	}
	set("1s")
	t.Cleanup(func() { set("720h") })
}

// filesOfVMs lists what lies in the folders of VMs and bases.
func filesOfVMs(ctx context.Context, t *testing.T) string {
	t.Helper()
	return node(ctx, t, "host1", "sh", "-c", "cd /mnt/datastore && ls -A vm_bases vm_images vm_deleted")
}

// TestCloneFails puts something in the way of the only clone: the VM, which
// runs, has its own disk again as if nothing had been asked for, with what it
// wrote meanwhile.
func TestCloneFails(t *testing.T) {
	ctx := begin(t)
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	parent := create(ctx, t, baadal.VMCreate{Name: "rejoin", SSHKeys: []string{key}})
	defer remove(ctx, t, parent.UUID)
	parent = answered(ctx, t, parent.UUID)
	basesBefore := node(ctx, t, parent.Host, "ls", "-A", "/mnt/datastore/vm_bases")
	inTheWay := "/mnt/datastore/vm_images/" + baadal.Identity(parent.Organisation, parent.Owner, "blocked1")
	node(ctx, t, "host1", "mkdir", inTheWay)
	wrote := make(chan string, 1)
	go func() {
		wrote <- ssh(ctx, t, parent, "for i in $(seq 1 40); do echo $i >> /root/log; sync; sleep 0.1; done; md5sum < /root/log")
	}()
	time.Sleep(time.Second)
	ch, err := cloud.Client.CloneVM(ctx, parent.UUID, baadal.VMClone{Name: "blocked"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done, err := cloud.Await(ctx, ch.Task, nil)
	if err == nil || done.State != baadal.TaskFailed || done.Code != "folder_exists" {
		t.Errorf("%s: %s (%v)", done.State, done.Message, err)
	}
	node(ctx, t, "host1", "rmdir", inTheWay) // what is in the way is in the way of the undo too
	eventually(t, 2*time.Minute, "taken back", func() error {
		if done, err = cloud.Client.Task(ctx, done.ID); err == nil && done.UndoPending {
			err = errors.New(done.Message)
		}
		return err
	})
	sum := <-wrote
	if got := node(ctx, t, parent.Host, "virsh", "-q", "domblklist", parent.UUID, "--inactive"); !strings.Contains(got, parent.Identity+".qcow2\n") {
		t.Errorf("defined with the disks\n%s", got)
	}
	// A base that nobody stands on goes in a task of its own. Others may be there:
	// deleted VMs of other tests, which can be restored, stand on them.
	eventually(t, time.Minute, "without a base of ours", func() error {
		if got := node(ctx, t, parent.Host, "ls", "-A", "/mnt/datastore/vm_bases"); got != basesBefore {
			return fmt.Errorf("in vm_bases: %s, before: %s", got, basesBefore)
		}
		return nil
	})
	cold(ctx, t, parent.UUID)
	if got := ssh(ctx, t, answered(ctx, t, parent.UUID), "md5sum < /root/log"); got != sum {
		t.Errorf("the log has the sum %s, it was written with %s", got, sum)
	}
}
