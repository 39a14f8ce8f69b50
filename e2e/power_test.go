package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"baadal"
)

// did waits for a change's task and returns its words and the VM as it is then.
func did(ctx context.Context, t *testing.T, what string, ch baadal.Change[baadal.VM], err error) (string, baadal.VM) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	done, err := cloud.Await(ctx, ch.Task, nil)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	t.Logf("%s: %s, %q", what, done.EndedAt.Sub(done.CreatedAt).Round(time.Millisecond), done.Message)
	vm, err := cloud.Client.VM(ctx, ch.Resource.UUID)
	if err != nil {
		t.Fatal(err)
	}
	return done.Message, vm
}

// memTotal is the guest's memory in MiB.
func memTotal(ctx context.Context, t *testing.T, vm baadal.VM) int {
	t.Helper()
	n, err := strconv.Atoi(ssh(ctx, t, vm, "awk '/MemTotal/ {print $2}' /proc/meminfo"))
	if err != nil {
		t.Fatal(err)
	}
	return n >> 10
}

const bootID = "cat /proc/sys/kernel/random/boot_id"

// TestSuspendSaveReset pauses, saves and resets a guest: its memory stays, or
// does not.
func TestSuspendSaveReset(t *testing.T) {
	ctx := begin(t)
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	c, none := cloud.Client, baadal.ChangeOptions{}
	vm := create(ctx, t, baadal.VMCreate{Name: "pause", SSHKeys: []string{key}})
	defer func() { remove(ctx, t, vm.UUID) }()
	if vm, err = cloud.WaitAnswer(ctx, vm.UUID); err != nil {
		t.Fatal(err)
	}
	first := ssh(ctx, t, vm, bootID)
	expect := func(got, want string, state baadal.VMState, virsh1 string) {
		t.Helper()
		if got != want || vm.State != state || virsh(ctx, t, vm.Host)[vm.UUID] != virsh1 {
			t.Errorf("it says %q (want %q), is %s (want %s), virsh says %q (want %q)", got, want, vm.State, state, virsh(ctx, t, vm.Host)[vm.UUID], virsh1)
		}
	}
	var said string
	ch, err := c.SuspendVM(ctx, vm.UUID, none)
	said, vm = did(ctx, t, "suspend", ch, err)
	expect(said, "pause is suspend successfully", baadal.VMPaused, "paused")
	if _, err := c.SuspendVM(ctx, vm.UUID, none); err == nil || !strings.Contains(err.Error(), "VM is already paused. Check vm status on host.") {
		t.Errorf("suspended twice: %v", err)
	}
	ch, err = c.ResumeVM(ctx, vm.UUID, none)
	said, vm = did(ctx, t, "resume", ch, err)
	expect(said, "pause is resumed successfully", baadal.VMRunning, "running")

	ch, err = c.SaveVM(ctx, vm.UUID, none)
	said, vm = did(ctx, t, "save", ch, err)
	expect(said, "pause is saved successfully", baadal.VMOff, "shut off")
	if !vm.Saved() {
		t.Errorf("the reason is %q", vm.Reason)
	}
	ch, err = c.StartVM(ctx, vm.UUID, none)
	said, vm = did(ctx, t, "start of a saved one", ch, err)
	expect(said, "pause is started successfully", baadal.VMRunning, "running")
	if again := ssh(ctx, t, vm, bootID); again != first {
		t.Error("the guest was booted: its memory is lost")
	}
	ch, err = c.ResetVM(ctx, vm.UUID, none)
	_, vm = did(ctx, t, "reset", ch, err)
	if vm, err = cloud.WaitAnswer(ctx, vm.UUID); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "booted anew", func() error {
		if ssh(ctx, t, vm, bootID) == first {
			return fmt.Errorf("it still runs the first boot")
		}
		return nil
	})
	ch, err = c.SaveVM(ctx, vm.UUID, none)
	_, vm = did(ctx, t, "save again", ch, err)
	ch, err = c.DestroyVM(ctx, vm.UUID, none)
	_, vm = did(ctx, t, "give it up", ch, err)
	if vm.Saved() || node(ctx, t, vm.Host, "virsh", "-q", "list", "--all", "--with-managed-save", "--uuid") != "" {
		t.Errorf("something saved is left, reason %q", vm.Reason)
	}
}

// TestEditRunningVM gives a guest that runs a vCPU and takes memory away, looks
// at its figures, and reads all of it in its history.
func TestEditRunningVM(t *testing.T) {
	ctx := begin(t)
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	c, none := cloud.Client, baadal.ChangeOptions{}
	vm := create(ctx, t, baadal.VMCreate{Name: "edit", RAMMiB: 256, SSHKeys: []string{key}})
	defer func() { remove(ctx, t, vm.UUID) }()
	if vm, err = cloud.WaitAnswer(ctx, vm.UUID); err != nil {
		t.Fatal(err)
	}
	whole := memTotal(ctx, t, vm)
	edit := func(e baadal.VMEdit) string {
		t.Helper()
		ch, err := c.EditVM(ctx, vm.UUID, e, none)
		var said string
		said, vm = did(ctx, t, "edit", ch, err)
		return said
	}
	two, less := 2, 160
	if said := edit(baadal.VMEdit{VCPUs: &two}); said != "Edited vCPU successfully." || !vm.HotCPUs || vm.LiveVCPUs != 0 {
		t.Errorf("it says %q, hot %t, runs with %d", said, vm.HotCPUs, vm.LiveVCPUs)
	}
	ssh(ctx, t, vm, "sleep 1; echo 1 > /sys/devices/system/cpu/cpu1/online || true") // this guest has nobody who does it
	if n := ssh(ctx, t, vm, "grep -c ^processor /proc/cpuinfo"); n != "2" {
		t.Errorf("the guest has %s CPUs", n)
	}
	if said := edit(baadal.VMEdit{RAMMiB: &less}); !strings.Contains(said, "Edited RAM successfully. It takes effect at the next cold start.") || vm.LiveRAMMiB != 256 {
		t.Errorf("it says %q, runs with %d MiB", said, vm.LiveRAMMiB)
	}
	eventually(t, 20*time.Second, "has less memory", func() error {
		if now := memTotal(ctx, t, vm); now > whole-80 {
			return fmt.Errorf("the guest has %d of %d MiB", now, whole)
		}
		return nil
	})
	ssh(ctx, t, vm, "(timeout 40 sh -c 'while :; do :; done' >/dev/null 2>&1 &) ; true")
	eventually(t, 40*time.Second, "seen busy", func() error {
		s, err := c.VMStats(ctx, vm.UUID)
		if err != nil {
			return err
		}
		if s.CPUPercent == nil || *s.CPUPercent < 15 || s.ReceiveRate == nil || s.UsedMiB == nil || *s.UsedMiB < 5 {
			raw, _ := json.Marshal(s) //nolint:errchkjson // words for the test's log
			return fmt.Errorf("it says %s", raw)
		}
		t.Logf("CPU %.0f %%, %d MiB used by the %s's word", *s.CPUPercent, *s.UsedMiB, s.UsedSource)
		return nil
	})
	ch, err := c.DestroyVM(ctx, vm.UUID, none)
	_, vm = did(ctx, t, "destroy", ch, err)
	if vm.LiveRAMMiB != 0 || vm.HotCPUs {
		t.Errorf("off, it runs with %d MiB, hot %t", vm.LiveRAMMiB, vm.HotCPUs)
	}
	ch, err = c.StartVM(ctx, vm.UUID, none)
	_, vm = did(ctx, t, "start", ch, err)
	if vm, err = cloud.WaitAnswer(ctx, vm.UUID); err != nil {
		t.Fatal(err)
	}
	if now := memTotal(ctx, t, vm); now > less {
		t.Errorf("after the cold start the guest has %d MiB, is to have %d", now, less)
	}
	wantHistory(ctx, t, vm, `"vcpus":{"old":1,"new":2}`, `"ram_mib":{"old":256,"new":160}`, `"state":{"old":"running","new":"off"}`)
}

// wantHistory looks for changes in a VM's history, each with somebody who did it.
func wantHistory(ctx context.Context, t *testing.T, vm baadal.VM, changes ...string) {
	t.Helper()
	page, err := cloud.Client.VMHistory(ctx, vm.UUID, baadal.ListQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range changes {
		if !slices.ContainsFunc(page.Items, func(e baadal.Event) bool { return e.Actor != "" && strings.Contains(string(e.Changes), want) }) {
			t.Errorf("its history has no %s", want)
		}
	}
}
