package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/lab"
)

// ssh runs a command in a guest from the controller's network, with the lab's
// key, as soon as the guest's sshd is there.
func ssh(ctx context.Context, t *testing.T, vm baadal.VM, argv ...string) string {
	t.Helper()
	args := append([]string{
		"ssh", "-n", "-i", theLab.SSHKeyPath(), "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "root@" + vm.Address, "--",
	}, argv...)
	var out []byte
	var err error
	for range 20 {
		if out, err = theLab.CommandWith(ctx, lab.Controller, lab.ExecOptions{NetOnly: true}, args...).Output(); err == nil {
			return strings.TrimSpace(string(out))
		}
		time.Sleep(500 * time.Millisecond)
	}
	t.Fatalf("ssh to %s: %v", vm.Name, err)
	return ""
}

func state(ctx context.Context, ref string, want baadal.VMState) func() error {
	return func() error {
		vm, err := cloud.Client.VM(ctx, ref)
		if err != nil {
			return err
		}
		if vm.State != want {
			return fmt.Errorf("%s is %s", vm.Name, vm.State)
		}
		return nil
	}
}

// TestVMIsWhatTheAPISays makes a VM and looks at it from outside: virsh, Open
// vSwitch, ping, SSH with the key that the API was given, the host name, the
// console password.
func TestVMIsWhatTheAPISays(t *testing.T) {
	ctx := begin(t)
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	vm := create(ctx, t, baadal.VMCreate{Name: "ml-lab", SSHKeys: []string{key}})
	defer remove(ctx, t, vm.UUID)
	if vm.State != baadal.VMRunning || vm.Placement == "" || vm.Address == "" {
		t.Errorf("%+v", vm)
	}
	if got := virsh(ctx, t, vm.Host)[vm.UUID]; got != "running" {
		t.Errorf("virsh says %q", got)
	}
	port := node(ctx, t, vm.Host, "ovs-vsctl", "--bare", "--columns=name", "find", "interface", `external_ids:attached-mac="`+strings.ToLower(vm.MAC)+`"`)
	if tag := node(ctx, t, vm.Host, "ovs-vsctl", "get", "port", port, "tag"); tag != "10" {
		t.Errorf("its port %s has the tag %s", port, tag)
	}
	vm, err = cloud.WaitAnswer(ctx, vm.UUID)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("answered %s after its start", vm.AnsweredAt.Sub(vm.StateSince).Round(time.Millisecond))
	if name := ssh(ctx, t, vm, "hostname"); name != "ml-lab" {
		t.Errorf("the guest calls itself %q", name)
	}
	if keys := ssh(ctx, t, vm, "cat", "/root/.ssh/authorized_keys"); keys != strings.TrimSpace(key) {
		t.Errorf("the guest's keys: %q", keys)
	}
	if ip := ssh(ctx, t, vm, "ip", "-4", "-o", "addr", "show", "eth0"); !strings.Contains(ip, vm.Address+"/24") {
		t.Errorf("the guest's address: %q, the API says %s", ip, vm.Address)
	}
	password, err := cloud.Client.VMPassword(ctx, vm.UUID)
	if err != nil || len(password) < 12 {
		t.Errorf("console password of %d characters: %v", len(password), err)
	}
	if _, err := cloud.Client.VMPassword(ctx, vm.UUID); baadal.CodeOf(err) != "password_taken" {
		t.Errorf("the password a second time: %v", err)
	}
}

// TestPowerAndRestore takes one VM through everything that can be done to it.
func TestPowerAndRestore(t *testing.T) {
	ctx := begin(t)
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	vm := create(ctx, t, baadal.VMCreate{Name: "power", SSHKeys: []string{key}})
	if vm, err = cloud.WaitAnswer(ctx, vm.UUID); err != nil {
		t.Fatal(err)
	}
	ssh(ctx, t, vm, "echo kept > /root/kept; sync")
	c := cloud.Client
	none := baadal.ChangeOptions{}
	for _, act := range []struct {
		name    string
		do      func(context.Context, string, baadal.ChangeOptions) (baadal.Change[baadal.VM], error)
		message string
		state   baadal.VMState
	}{
		{"reboot", c.RebootVM, "power is rebooted successfully", baadal.VMRunning},
		{"destroy", c.DestroyVM, "power is destroyed successfully", baadal.VMOff},
		{"start", c.StartVM, "power is started successfully", baadal.VMRunning},
		{"shutdown", c.ShutdownVM, "power is shut down successfully", baadal.VMOff},
		{"delete", c.DeleteVM, "power is deleted successfully", baadal.VMDeleted},
		{"restore", c.RestoreVM, "power is restored successfully", baadal.VMOff},
		{"start again", c.StartVM, "power is started successfully", baadal.VMRunning},
	} {
		ch, err := act.do(ctx, vm.UUID, none)
		if err != nil {
			t.Fatalf("%s: %v", act.name, err)
		}
		done, err := cloud.Await(ctx, ch.Task, nil)
		if err != nil {
			t.Fatalf("%s: %v", act.name, err)
		}
		t.Logf("%s: %s", act.name, done.EndedAt.Sub(done.CreatedAt).Round(time.Millisecond))
		if done.Message != act.message {
			t.Errorf("%s says %q, want %q", act.name, done.Message, act.message)
		}
		if err := state(ctx, vm.UUID, act.state)(); err != nil {
			t.Errorf("after %s: %v", act.name, err)
		}
		if act.name == "start" {
			if vm, err = cloud.WaitAnswer(ctx, vm.UUID); err != nil {
				t.Fatal(err)
			}
		}
	}
	again, err := cloud.WaitAnswer(ctx, vm.UUID)
	if err != nil {
		t.Fatal(err)
	}
	if again.Address != vm.Address {
		t.Errorf("restored with the address %s, had %s", again.Address, vm.Address)
	}
	if got := ssh(ctx, t, again, "cat", "/root/kept"); got != "kept" {
		t.Errorf("the file in the guest: %q", got)
	}
	remove(ctx, t, vm.UUID)
}

// TestRealityWins does things behind the cloud's back: they show within a
// second, and nothing is believed to be deleted.
func TestRealityWins(t *testing.T) {
	ctx := begin(t)
	vm := create(ctx, t, baadal.VMCreate{Name: "reality"})
	node(ctx, t, vm.Host, "virsh", "-q", "destroy", vm.UUID)
	eventually(t, time.Second, "shown as off", state(ctx, vm.UUID, baadal.VMOff))
	node(ctx, t, vm.Host, "virsh", "-q", "start", vm.UUID)
	eventually(t, time.Second, "shown as running", state(ctx, vm.UUID, baadal.VMRunning))
	node(ctx, t, vm.Host, "virsh", "-q", "suspend", vm.UUID)
	eventually(t, time.Second, "shown as paused", state(ctx, vm.UUID, baadal.VMPaused))
	node(ctx, t, vm.Host, "virsh", "-q", "destroy", vm.UUID)
	node(ctx, t, vm.Host, "virsh", "-q", "undefine", vm.UUID)
	eventually(t, time.Second, "shown as missing", state(ctx, vm.UUID, baadal.VMMissing))
	if _, err := cloud.Client.StartVM(ctx, vm.UUID, baadal.ChangeOptions{}); baadal.CodeOf(err) != "vm_missing" {
		t.Errorf("start of a missing VM: %v", err)
	}
	found := audit(ctx, t, true)
	if len(found.Differences) != 1 || found.Differences[0].Kind != baadal.DiffMissingDomain || !found.Differences[0].Repaired {
		t.Errorf("the audit found %+v", found.Differences)
	}
	eventually(t, 5*time.Second, "repaired", state(ctx, vm.UUID, baadal.VMOff))
	c, err := cloud.Client.StartVM(ctx, vm.UUID, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Await(ctx, c.Task, nil); err != nil {
		t.Fatal(err)
	}
	remove(ctx, t, vm.UUID)
}
