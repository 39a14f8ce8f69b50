package service_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

// other is a host that the VM is not on.
func other(vm baadal.VM) string {
	if vm.Host == "host1" {
		return "host2"
	}
	return "host1"
}

// claims returns the vCPUs that are claimed on each host.
func (c *cloud) claims(t *testing.T) map[string]int {
	t.Helper()
	got := map[string]int{}
	c.view(t, func(tx *store.Tx) error {
		hosts, err := tx.AllHosts()
		for _, h := range hosts {
			if h.ClaimedVCPUs > 0 {
				got[h.Name] = h.ClaimedVCPUs
			}
		}
		return err
	})
	return got
}

func TestMigrateVM(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	vm := c.create(t, c.admin, baadal.VMCreate{Name: "ml", VCPUs: 2, Host: "host1"})
	plan, err := c.MigrateVM(t.Context(), c.admin, "ml", baadal.VMMigrate{}, dry)
	if err != nil {
		t.Fatal(err)
	}
	if p := plan.Plan; p == nil || p.Host != "host2" || len(p.Hosts) != 3 || len(p.Steps) == 0 || p.Why == "" || plan.Task != nil {
		t.Errorf("the plan: %+v", plan.Plan)
	}
	if diff := cmp.Diff(map[string]int{"host1": 2}, c.claims(t)); diff != "" {
		t.Errorf("a dry run claims (-want +got):\n%s", diff)
	}
	ch, err := c.MigrateVM(t.Context(), c.admin, "ml", baadal.VMMigrate{To: "host3"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"host1": 2, "host3": 2}, c.claims(t)); diff != "" {
		t.Errorf("on its way it has (-want +got):\n%s", diff)
	}
	_, err = c.MigrateVM(t.Context(), c.admin, "ml", baadal.VMMigrate{To: "host2"}, baadal.ChangeOptions{})
	refused(t, err, baadal.Conflict, "vm_busy")
	c.run(t, ch.Task)
	if now := c.vm(t, vm.ID); now.Host != "host3" || now.State != baadal.VMRunning || !strings.HasPrefix(now.Placement, "host3: ") {
		t.Errorf("it is %s on %s (%s)", now.State, now.Host, now.Placement)
	}
	if diff := cmp.Diff(map[string]int{"host3": 2}, c.claims(t)); diff != "" {
		t.Errorf("afterwards it has (-want +got):\n%s", diff)
	}
}

func TestMigrateVMIsRefused(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	vm := c.create(t, c.admin, baadal.VMCreate{Name: "ml", Owner: "asha"})
	to := func(in baadal.VMMigrate) error {
		_, err := c.MigrateVM(t.Context(), c.admin, "ml", in, dry)
		return err
	}
	_, err := c.MigrateVM(t.Context(), c.faculty, "ml", baadal.VMMigrate{}, dry)
	refused(t, err, baadal.Forbidden, "forbidden")
	_, err = c.MigrateVM(t.Context(), c.admin, "ml", baadal.VMMigrate{}, baadal.ChangeOptions{DryRun: true, Generation: vm.Generation + 1})
	refused(t, err, baadal.Stale, "stale")
	refused(t, to(baadal.VMMigrate{To: vm.Host}), baadal.Conflict, "same_host")
	refusedField(t, to(baadal.VMMigrate{To: "nowhere"}), baadal.Invalid, "to")
	refused(t, to(baadal.VMMigrate{Offline: true}), baadal.Conflict, "vm_state")
	refusedField(t, to(baadal.VMMigrate{BandwidthMiBs: -1}), baadal.Invalid, "bandwidth_mibs")
	refusedField(t, to(baadal.VMMigrate{DeadlineSeconds: 86401}), baadal.Invalid, "deadline_seconds")

	// Every host says why it cannot be the one.
	for _, h := range []struct {
		name string
		ruin func(h *baadal.Host)
		says string
	}{
		{"down", func(h *baadal.Host) { h.State, h.Reason = baadal.HostDown, "no answer" }, "it is down (no answer)"},
		{"maintenance", func(h *baadal.Host) { h.State = baadal.HostMaintenance }, "it is maintenance"},
		{"full", func(h *baadal.Host) { h.RAMMiB = 128 }, "memory: 0 of 256 MiB are claimed, 512 more are needed"},
		{"another virtualisation", func(h *baadal.Host) { h.Virt = "qemu" }, "it runs guests by qemu"},
		{"no network", func(h *baadal.Host) { h.Checks = []baadal.Check{{Name: "network", Detail: "ovs-net is not there"}} }, "network: ovs-net is not there"},
	} {
		name := other(vm)
		var before, now baadal.Host
		c.view(t, func(tx *store.Tx) (err error) { before, err = tx.HostByRef(name); return err })
		now = before
		h.ruin(&now)
		c.update(t, func(tx *store.Tx) error { return tx.UpdateHost(&now) })
		err := to(baadal.VMMigrate{To: name})
		refused(t, err, baadal.Exhausted, "no_host")
		if e, ok := errors.AsType[*baadal.Error](err); !ok || !strings.Contains(e.Detail, h.says) || e.Title != "ml cannot be migrated to "+name || e.Field != "to" {
			t.Errorf("%s: %v (%+v), want the words %q", h.name, err, e, h.says)
		}
		before.Generation = now.Generation
		c.update(t, func(tx *store.Tx) error { return tx.UpdateHost(&before) })
	}
	if err := to(baadal.VMMigrate{To: other(vm)}); err != nil {
		t.Errorf("with the host whole again: %v", err)
	}

	// The button and the act agree.
	for _, state := range baadal.VMStates() {
		if state == baadal.VMDeleted {
			continue
		}
		c.update(t, func(tx *store.Tx) error { _, _, err := tx.SetVMState(vm.ID, state, ""); return err })
		shown, err := c.VM(t.Context(), c.admin, "ml")
		if err != nil {
			t.Fatal(err)
		}
		err = to(baadal.VMMigrate{})
		if access := shown.Actions["migrate"]; access.Allowed != (err == nil) || access.Code != baadal.CodeOf(err) {
			t.Errorf("%s: the button says %+v, the act %v", state, access, err)
		}
	}
}

// TestFailedMigration lets a migration fail: the VM stays and runs, its room on
// the other host comes back, and a retry asks for the same again.
func TestFailedMigration(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	vm := c.create(t, c.admin, baadal.VMCreate{Name: "ml"})
	to := other(vm)
	c.world.Fail(simulator.Rule{Op: "hypervisor.migrate_perform", Err: baadal.Errorf(baadal.Conflict, "the guest cannot be moved")})
	ch, err := c.MigrateVM(t.Context(), c.admin, "ml", baadal.VMMigrate{To: to, BandwidthMiBs: 7}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done := c.settle(t, ch.Task)[0]
	if done.State != baadal.TaskFailed || done.UndoPending || done.Message != "the guest cannot be moved" {
		t.Errorf("%s, undo pending %t: %s", done.State, done.UndoPending, done.Message)
	}
	now := c.vm(t, vm.ID)
	if now.Host != vm.Host || now.State != baadal.VMRunning {
		t.Errorf("it is %s on %s", now.State, now.Host)
	}
	if diff := cmp.Diff(map[string]int{vm.Host: 1}, c.claims(t)); diff != "" {
		t.Errorf("it has (-want +got):\n%s", diff)
	}
	again, err := c.RetryTask(t.Context(), c.admin, done.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(again.Params), `"bandwidth_mibs":7`) {
		t.Errorf("the retry wants %s", again.Params)
	}
	c.run(t, &again)
	if now := c.vm(t, vm.ID); now.Host != to {
		t.Errorf("after the retry it is on %s", now.Host)
	}
}
