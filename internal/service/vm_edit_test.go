package service_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"baadal"
	"baadal/internal/service"
	"baadal/internal/store"
)

// edit asks for another size.
func (c *cloud) edit(t *testing.T, a baadal.Actor, vcpus, ram int, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	t.Helper()
	return c.EditVM(t.Context(), a, "ml", baadal.VMEdit{VCPUs: &vcpus, RAMMiB: &ram}, opt)
}

func TestEditVMRefusals(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Owner: "asha"})
	other := c.create(t, c.orgadmin, baadal.VMCreate{Name: "other", Owner: "asha"})
	same := baadal.ChangeOptions{}
	_, err := c.edit(t, c.faculty, 2, 512, same)
	refused(t, err, baadal.Forbidden, "forbidden")
	_, err = c.edit(t, c.orgadmin, vm.VCPUs, vm.RAMMiB, same)
	refused(t, err, baadal.Invalid, "no_change")
	_, err = c.edit(t, c.orgadmin, 2, 512, baadal.ChangeOptions{Generation: vm.Generation + 7})
	refused(t, err, baadal.Stale, "stale")
	_, err = c.edit(t, c.orgadmin, 65, 512, same)
	refusedField(t, err, baadal.Invalid, "vcpus")
	_, err = c.edit(t, c.orgadmin, 2, 8, same)
	refusedField(t, err, baadal.Invalid, "ram_mib")
	_, err = c.edit(t, c.orgadmin, 2, 1<<20, same)
	refused(t, err, baadal.Exhausted, "no_host")
	if !strings.Contains(err.Error(), "MiB are claimed") {
		t.Errorf("the refusal has no numbers: %v", err)
	}
	_, err = c.edit(t, c.orgadmin, 64, 512, same)
	refused(t, err, baadal.Exhausted, "no_host")
	_, err = c.EditVM(t.Context(), c.orgadmin, "ml", baadal.VMEdit{Name: &other.Name}, same)
	refused(t, err, baadal.Conflict, "exists")
	if _, err := c.edit(t, c.orgadmin, 2, 1024, dry); err != nil {
		t.Error(err)
	}
	if now := c.vm(t, vm.ID); now.Generation != vm.Generation || now.Claim() != vm.Claim() {
		t.Errorf("a refusal or a dry run changed it: %+v", now)
	}
	ch, err := c.edit(t, c.orgadmin, 2, 1024, same)
	if err != nil {
		t.Fatal(err)
	}
	if now := c.vm(t, vm.ID); now.Claim() != (baadal.Size{VCPUs: 2, RAMMiB: 1024}) {
		t.Errorf("while the task waits it claims %+v", now.Claim())
	}
	_, err = c.edit(t, c.orgadmin, 1, 512, same)
	refused(t, err, baadal.Conflict, "vm_busy")
	if _, err := c.EditVM(t.Context(), c.orgadmin, "ml", baadal.VMEdit{Purpose: new("words")}, same); err != nil {
		t.Errorf("words while a task holds it: %v", err)
	}
	c.run(t, ch.Task)
	c.update(t, func(tx *store.Tx) error {
		_, _, err := tx.SetVMState(vm.ID, baadal.VMOff, baadal.OffReason(true))
		return err
	})
	_, err = c.edit(t, c.orgadmin, 1, 512, same)
	refused(t, err, baadal.Conflict, "vm_saved")
}

// TestVMHistoryTellsWhoDidWhat reads a VM's history as its owner and as the one
// who runs the organisation: hosts are not the owner's business.
func TestVMHistoryTellsWhoDidWhat(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Owner: "asha"})
	c.create(t, c.orgadmin, baadal.VMCreate{Name: "other", Owner: "asha"})
	c.act(t, baadal.ActionVMDestroy, vm)
	ch, err := c.edit(t, c.orgadmin, 2, 1024, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, ch.Task)
	c.act(t, baadal.ActionVMDelete, vm)
	c.act(t, baadal.ActionVMRestore, vm)
	for who, a := range map[string]baadal.Actor{"owner": c.faculty, "orgadmin": c.orgadmin} {
		page, err := c.VMHistory(t.Context(), a, vm.UUID, baadal.ListQuery{})
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, e := range page.Items {
			if e.Actor == "" || e.At.IsZero() || e.Subject.ID != vm.ID {
				t.Errorf("%s: %+v", who, e)
			}
			var fields map[string]baadal.Changed
			if len(e.Changes) > 0 && json.Unmarshal(e.Changes, &fields) != nil {
				t.Errorf("%s: %s has no old and new values: %s", who, e.What, e.Changes)
			}
			if _, told := fields["host"]; told && who == "owner" {
				t.Errorf("the owner learns the host: %s", e.Changes)
			}
			all = append(all, string(e.Changes))
		}
		want := []string{
			`"vcpus":{"old":1,"new":2}`, `"ram_mib":{"old":512,"new":1024}`, `"state":{"old":"running","new":"off"}`,
			`"state":{"old":"off","new":"deleted"}`, `"address":{"old":"` + vm.Address + `","new":""}`, `"address":{"old":"","new":"`,
		}
		if who == "orgadmin" {
			want = append(want, `"host":{"old":"`+vm.Host+`","new":""}`)
		}
		for _, w := range want {
			if !slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, w) }) {
				t.Errorf("%s: nothing tells of %s in %q", who, w, all)
			}
		}
	}
	_, err = c.VMHistory(t.Context(), c.stranger, vm.UUID, baadal.ListQuery{})
	refused(t, err, baadal.NotFound, "not_found")
}

func TestVMStatsSayWhyThereAreNone(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Owner: "asha"})
	_, err := c.VMStats(t.Context(), c.faculty, "ml")
	refused(t, err, baadal.Unavailable, "no_stats")
	_, err = c.VMStats(t.Context(), c.stranger, vm.UUID)
	refused(t, err, baadal.NotFound, "not_found")
	asked := ""
	with := service.New(c.db, c.queue, service.Options{Stats: func(vm baadal.VM) (baadal.VMStats, bool) {
		asked = vm.UUID
		return baadal.VMStats{VCPUs: 3}, vm.HostID != 0
	}})
	if s, err := with.VMStats(t.Context(), c.faculty, "ml"); err != nil || s.VCPUs != 3 || asked != vm.UUID {
		t.Errorf("%+v of %q: %v", s, asked, err)
	}
	c.act(t, baadal.ActionVMDestroy, vm)
	_, err = with.VMStats(t.Context(), c.faculty, "ml")
	refused(t, err, baadal.Conflict, "vm_state")
}
