package service_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// affinity makes a group.
func (c *cloud) affinity(t *testing.T, a baadal.Actor, in baadal.AffinityCreate) baadal.Affinity {
	t.Helper()
	ch, err := c.CreateAffinity(t.Context(), a, in, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return *ch.Resource
}

func detailHas(t *testing.T, err error, words string) {
	t.Helper()
	e, ok := errors.AsType[*baadal.Error](err)
	if !ok || !strings.Contains(e.Detail, words) {
		t.Errorf("%v (%+v), want the words %q", err, e, words)
	}
}

func TestApartVMsShareNoHost(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	none := baadal.ChangeOptions{}
	c.affinity(t, c.admin, baadal.AffinityCreate{Name: "web", Rule: baadal.AffinityApart})
	var vms []baadal.VM
	for i := range 3 {
		vms = append(vms, c.create(t, c.admin, baadal.VMCreate{Name: fmt.Sprintf("web-%d", i+1), Affinity: []string{"web"}}))
	}
	hosts := []string{vms[0].Host, vms[1].Host, vms[2].Host}
	slices.Sort(hosts)
	if diff := cmp.Diff([]string{"host1", "host2", "host3"}, hosts); diff != "" {
		t.Errorf("the three are on %s", diff)
	}
	// Each way to another place says who is in the way.
	_, err := c.CreateVM(t.Context(), c.admin, baadal.VMCreate{Name: "web-4", Template: "tiny", Affinity: []string{"web"}}, none)
	refused(t, err, baadal.Exhausted, "no_host")
	detailHas(t, err, vms[0].Host+": it has web-1 of the apart group web")
	_, err = c.CloneVM(t.Context(), c.admin, "web-1", baadal.VMClone{Affinity: []string{"web"}}, none)
	refused(t, err, baadal.Exhausted, "no_host")
	_, err = c.MigrateVM(t.Context(), c.admin, "web-1", baadal.VMMigrate{To: vms[1].Host}, dry)
	refused(t, err, baadal.Exhausted, "no_host")
	detailHas(t, err, "it has web-2 of the apart group web")
	if _, err := c.MigrateVM(t.Context(), c.admin, "web-1", baadal.VMMigrate{To: vms[1].Host, IgnoreAffinity: true}, dry); err != nil {
		t.Errorf("though the rule forbids it: %v", err)
	}
	gone := c.act(t, baadal.ActionVMDelete, vms[0])
	in := baadal.VMCreate{Name: "web-4", Affinity: []string{"web"}}
	if vm := c.create(t, c.admin, in); vm.Host != vms[0].Host {
		t.Errorf("the fourth is on %s, where room became free is %s", vm.Host, vms[0].Host)
	}
	_, err = c.ActVM(t.Context(), c.admin, baadal.ActionVMRestore, fmt.Sprint(gone.ID), none)
	refused(t, err, baadal.Exhausted, "no_host")
	detailHas(t, err, "of the apart group web")
	// A clone that joins no group goes anywhere.
	if _, err := c.CloneVM(t.Context(), c.admin, "web-2", baadal.VMClone{Count: 3}, dry); err != nil {
		t.Error(err)
	}
}

func TestTogetherVMsShareAHost(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.affinity(t, c.admin, baadal.AffinityCreate{Name: "db", Rule: baadal.AffinityTogether})
	one := c.create(t, c.admin, baadal.VMCreate{Name: "db-1", Host: "host2", Affinity: []string{"db"}})
	two := c.create(t, c.admin, baadal.VMCreate{Name: "db-2", Affinity: []string{"db"}})
	if one.Host != "host2" || two.Host != "host2" {
		t.Errorf("they are on %s and %s", one.Host, two.Host)
	}
	_, err := c.MigrateVM(t.Context(), c.admin, "db-1", baadal.VMMigrate{}, dry)
	refused(t, err, baadal.Exhausted, "no_host")
	detailHas(t, err, "db-2 of the together group db is on host2")
	// The first is moved by force, the others follow it by themselves.
	ch, err := c.MigrateVM(t.Context(), c.admin, "db-1", baadal.VMMigrate{To: "host3", IgnoreAffinity: true}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, ch.Task)
	vm, err := c.VM(t.Context(), c.admin, "db-2")
	if err != nil || cmp.Diff([]string{"db-1 of the together group db is on another host"}, vm.Broken) != "" {
		t.Errorf("it says %q: %v", vm.Broken, err)
	}
	if ch, err = c.MigrateVM(t.Context(), c.admin, "db-2", baadal.VMMigrate{}, baadal.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	c.run(t, ch.Task)
	if vm, err = c.VM(t.Context(), c.admin, "db-2"); err != nil || vm.Host != "host3" || len(vm.Broken) != 0 {
		t.Errorf("it is on %s and says %q: %v", vm.Host, vm.Broken, err)
	}
}

func TestHostsThatAVMMayRunOn(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	none := baadal.ChangeOptions{}
	only := func(hosts ...string) baadal.VMEdit { return baadal.VMEdit{Hosts: &hosts} }
	vm := c.create(t, c.admin, baadal.VMCreate{Name: "ml", Owner: "asha", Hosts: []string{"host3", "host2", "host3"}})
	shown, err := c.VM(t.Context(), c.admin, "ml")
	if err != nil || vm.Host == "host1" || cmp.Diff([]string{"host2", "host3"}, shown.Hosts) != "" {
		t.Errorf("on %s of %v: %v", vm.Host, shown.Hosts, err)
	}
	_, err = c.MigrateVM(t.Context(), c.admin, "ml", baadal.VMMigrate{To: "host1"}, dry)
	refused(t, err, baadal.Exhausted, "no_host")
	detailHas(t, err, "the VM may run on host2, host3 only")
	_, err = c.EditVM(t.Context(), c.orgadmin, "ml", only("host1"), none)
	refused(t, err, baadal.Forbidden, "forbidden")
	_, err = c.EditVM(t.Context(), c.admin, "ml", only("nowhere"), none)
	refusedField(t, err, baadal.Invalid, "hosts")
	_, err = c.EditVM(t.Context(), c.admin, "ml", only("host2", "host3"), none)
	refused(t, err, baadal.Invalid, "no_change")

	// It runs on where it is when that is no longer allowed, and does not start there again.
	plan, err := c.EditVM(t.Context(), c.admin, "ml", only("host1"), dry)
	if err != nil || !slices.ContainsFunc(plan.Plan.Effects, func(s string) bool { return strings.Contains(s, "it stays on "+vm.Host) }) {
		t.Errorf("%+v: %v", plan.Plan, err)
	}
	ch, err := c.EditVM(t.Context(), c.admin, "ml", only("host1"), none)
	if err != nil || ch.Task != nil || cmp.Diff([]string{"host1"}, ch.Resource.Hosts) != "" || len(ch.Resource.Broken) != 1 {
		t.Fatalf("%+v: %v", ch.Resource, err)
	}
	vm = c.act(t, baadal.ActionVMDestroy, vm)
	for _, a := range []baadal.Actor{c.admin, c.faculty} {
		_, err = c.ActVM(t.Context(), a, baadal.ActionVMStart, "ml", none)
		refused(t, err, baadal.Conflict, "affinity")
		if shown, showErr := c.VM(t.Context(), a, "ml"); showErr != nil || shown.Actions["start"].Allowed || shown.Actions["start"].Reason != baadal.Message(err) {
			t.Errorf("button %+v, act %v: %v", shown.Actions["start"], err, showErr)
		}
	}
	if shown, err := c.VM(t.Context(), c.faculty, "ml"); err != nil || len(shown.Hosts)+len(shown.Broken) != 0 || strings.Contains(shown.Actions["start"].Reason, "host") {
		t.Errorf("who does not see hosts sees %+v: %v", shown, err)
	}
	_, err = c.RemoveHost(t.Context(), c.admin, "host1", none)
	refused(t, err, baadal.Conflict, "host_in_use")
	if h, showErr := c.Host(t.Context(), c.admin, "host1"); showErr != nil || h.Actions["remove"].Allowed || h.Actions["remove"].Reason != baadal.Message(err) {
		t.Errorf("button %+v, act %v: %v", h.Actions["remove"], err, showErr)
	}
	moved, err := c.MigrateVM(t.Context(), c.admin, "ml", baadal.VMMigrate{}, none)
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, moved.Task)
	if vm = c.act(t, baadal.ActionVMStart, vm); vm.Host != "host1" || vm.State != baadal.VMRunning {
		t.Errorf("it is %s on %s", vm.State, vm.Host)
	}
	if ch, err = c.EditVM(t.Context(), c.admin, "ml", only(), none); err != nil || len(ch.Resource.Hosts) != 0 {
		t.Errorf("%+v: %v", ch.Resource, err)
	}
	history, err := c.VMHistory(t.Context(), c.admin, "ml", baadal.ListQuery{})
	if err != nil || !slices.ContainsFunc(history.Items, func(e baadal.Event) bool {
		return strings.Contains(string(e.Changes), `"hosts":{"old":"host1","new":""}`)
	}) {
		t.Errorf("the history does not tell of it: %v %+v", err, history.Items)
	}
}

func TestWhoMayGroupWhat(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	none := baadal.ChangeOptions{}
	c.create(t, c.admin, baadal.VMCreate{Name: "mine", Owner: "ravi"})
	c.create(t, c.admin, baadal.VMCreate{Name: "hers", Owner: "asha"})
	web := c.affinity(t, c.student, baadal.AffinityCreate{Name: "web", Rule: baadal.AffinityApart, VMs: []string{"mine"}})
	if len(web.Members) != 1 || web.Members[0].Host != "" || web.Owner != "ravi" {
		t.Errorf("the student's: %+v", web)
	}
	_, err := c.EditAffinity(t.Context(), c.student, "web", baadal.AffinityEdit{Add: []string{"hers"}}, none)
	refusedField(t, err, baadal.Invalid, "vms") // he does not see it
	_, err = c.EditAffinity(t.Context(), c.orgadmin, "web", baadal.AffinityEdit{Add: []string{"hers"}}, none)
	refused(t, err, baadal.Forbidden, "forbidden")
	_, err = c.Affinity(t.Context(), c.faculty, "web")
	refused(t, err, baadal.NotFound, "not_found")
	_, err = c.CreateVM(t.Context(), c.stranger, baadal.VMCreate{Name: "x", Template: "tiny", Affinity: []string{"web"}}, none)
	refusedField(t, err, baadal.Invalid, "affinity")
	_, err = c.CreateAffinity(t.Context(), c.student, baadal.AffinityCreate{Name: "web", Rule: baadal.AffinityApart}, none)
	refused(t, err, baadal.Conflict, "exists")

	// An administrator may mix owners; each sees his own VMs only.
	rule := baadal.AffinityTogether
	ch, err := c.EditAffinity(t.Context(), c.admin, "web", baadal.AffinityEdit{Rule: &rule, Add: []string{"hers"}}, baadal.ChangeOptions{Generation: web.Generation})
	if err != nil || len(ch.Resource.Members) != 2 || ch.Resource.Rule != rule {
		t.Fatalf("%+v: %v", ch.Resource, err)
	}
	if web, err = c.Affinity(t.Context(), c.student, "web"); err != nil || len(web.Members) != 1 {
		t.Errorf("he sees %+v: %v", web.Members, err)
	}
	_, err = c.EditAffinity(t.Context(), c.student, "web", baadal.AffinityEdit{Remove: []string{"mine"}}, baadal.ChangeOptions{Generation: 1})
	refused(t, err, baadal.Stale, "stale")
	if ch, err = c.EditAffinity(t.Context(), c.student, "web", baadal.AffinityEdit{Remove: []string{"mine"}}, none); err != nil || len(ch.Resource.Members) != 0 {
		t.Errorf("%+v: %v", ch.Resource, err)
	}
	if plan, err := c.DeleteAffinity(t.Context(), c.student, "web", dry); err != nil || plan.Plan == nil {
		t.Errorf("%+v: %v", plan, err)
	}
	if _, err := c.DeleteAffinity(t.Context(), c.student, "web", none); err != nil {
		t.Fatal(err)
	}
	if list, err := c.Affinities(t.Context(), c.admin, baadal.ListQuery{}); err != nil || list.Total != 0 {
		t.Errorf("left: %+v, %v", list.Items, err)
	}
}

// TestClonesObey: clones of one wish are apart from each other, and run where
// their parent may.
func TestClonesObey(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.create(t, c.admin, baadal.VMCreate{Name: "web", Hosts: []string{"host1", "host3"}})
	c.affinity(t, c.admin, baadal.AffinityCreate{Name: "apart", Rule: baadal.AffinityApart})
	_, err := c.CloneVM(t.Context(), c.admin, "web", baadal.VMClone{Count: 3, Affinity: []string{"apart"}}, dry)
	refused(t, err, baadal.Exhausted, "no_host")
	detailHas(t, err, "host2: the VM may run on host1, host3 only")
	detailHas(t, err, "of the apart group apart")
	ch, err := c.CloneVM(t.Context(), c.admin, "web", baadal.VMClone{Count: 2, Affinity: []string{"apart"}}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, ch.Task)
	group, err := c.Affinity(t.Context(), c.admin, "apart")
	if err != nil || len(group.Members) != 2 {
		t.Fatalf("%+v: %v", group.Members, err)
	}
	hosts := []string{group.Members[0].Host, group.Members[1].Host}
	slices.Sort(hosts)
	if diff := cmp.Diff([]string{"host1", "host3"}, hosts); diff != "" {
		t.Error(diff)
	}
	if clone, err := c.VM(t.Context(), c.admin, group.Members[0].VM); err != nil || cmp.Diff([]string{"host1", "host3"}, clone.Hosts) != "" {
		t.Errorf("a clone may run on %v: %v", clone.Hosts, err)
	}
}

// TestApartAtTheSameTime asks for many VMs of apart groups at once: no host ever
// has two of one group, and as many are made as there are hosts.
func TestApartAtTheSameTime(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		c := newCloudOn(t, db, simulator.Config{Hosts: 3})
		c.furnish(t, baadal.HostFacts{CPUs: 64, RAMMiB: 256 << 10}, "10.0.1.0/24")
		const groups, each = 5, 8
		for g := range groups {
			c.affinity(t, c.admin, baadal.AffinityCreate{Name: fmt.Sprintf("g%d", g), Rule: baadal.AffinityApart})
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		made := map[string][]string{}
		for i := range groups * each {
			group := fmt.Sprintf("g%d", i%groups)
			wg.Go(func() {
				ch, err := c.CreateVM(t.Context(), c.admin, baadal.VMCreate{Name: fmt.Sprintf("vm%d", i), Template: "tiny", Affinity: []string{group}}, baadal.ChangeOptions{})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					made[group] = append(made[group], ch.Resource.Host)
				case baadal.CodeOf(err) != "no_host":
					t.Errorf("%s: %v", group, err)
				}
			})
		}
		wg.Wait()
		for group, hosts := range made {
			slices.Sort(hosts)
			if diff := cmp.Diff([]string{"host1", "host2", "host3"}, hosts); diff != "" {
				t.Errorf("%s (-want +got):\n%s", group, diff)
			}
		}
		if len(made) != groups {
			t.Errorf("groups with VMs: %v", made)
		}
	})
}

// TestStartsOfApartVMsAtTheSameTime: two that are off on one host are told to be
// apart, and started at once: one runs.
func TestStartsOfApartVMsAtTheSameTime(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		c := newCloudOn(t, db, simulator.Config{Hosts: 3})
		c.furnish(t, baadal.HostFacts{CPUs: 64, RAMMiB: 256 << 10}, "10.0.1.0/24")
		names := []string{"a", "b", "c"}
		for _, name := range names {
			c.act(t, baadal.ActionVMDestroy, c.create(t, c.admin, baadal.VMCreate{Name: name, Host: "host1"}))
		}
		c.affinity(t, c.admin, baadal.AffinityCreate{Name: "web", Rule: baadal.AffinityApart, VMs: names})
		outcome := make([]error, len(names))
		var wg sync.WaitGroup
		for i, name := range names {
			wg.Go(func() {
				_, outcome[i] = c.ActVM(t.Context(), c.admin, baadal.ActionVMStart, name, baadal.ChangeOptions{})
			})
		}
		wg.Wait()
		taken := 0
		for _, err := range outcome {
			if err == nil {
				taken++
			} else {
				refused(t, err, baadal.Conflict, "affinity")
			}
		}
		if taken != 1 {
			t.Errorf("%d starts were taken: %v", taken, outcome)
		}
	})
}

// TestMigrateLooksAtCPUs: a VM that runs goes only where the CPU has what its
// own has, and QEMU is not older.
func TestMigrateLooksAtCPUs(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	vm := c.create(t, c.admin, baadal.VMCreate{Name: "ml", Host: "host1"})
	facts := func(host, cpu, qemu string) {
		t.Helper()
		c.update(t, func(tx *store.Tx) error {
			h, err := tx.HostByRef(host)
			if err != nil {
				return err
			}
			h.CPU, h.QEMU, h.CPUModel = cpu, qemu, "EPYC"
			return tx.SetHostFacts(h.ID, h.HostFacts)
		})
	}
	facts("host1", "AMD avx avx2 sse2", "7.2.22")
	facts("host2", "AMD avx sse2", "7.2.1")
	facts("host3", "AMD avx avx2 avx512f sse2", "7.1.5")
	_, err := c.MigrateVM(t.Context(), c.admin, "ml", baadal.VMMigrate{}, dry)
	refused(t, err, baadal.Exhausted, "no_host")
	detailHas(t, err, "its CPU (EPYC) lacks what the VM's has: avx2")
	detailHas(t, err, "it has QEMU 7.1.5, older than 7.2.22 here")
	facts("host3", "Intel avx avx2 avx512f sse2", "8.0.0")
	_, err = c.MigrateVM(t.Context(), c.admin, "ml", baadal.VMMigrate{To: "host3"}, dry)
	detailHas(t, err, "the maker is Intel, not AMD")
	facts("host3", "AMD avx avx2 avx512f sse2", "8.0.0")
	if plan, err := c.MigrateVM(t.Context(), c.admin, "ml", baadal.VMMigrate{}, dry); err != nil || plan.Plan.Host != "host3" {
		t.Errorf("%+v: %v", plan.Plan, err)
	}
	c.act(t, baadal.ActionVMDestroy, vm)
	if _, err := c.MigrateVM(t.Context(), c.admin, "ml", baadal.VMMigrate{To: "host2"}, dry); err != nil {
		t.Errorf("off: %v", err)
	}
}
