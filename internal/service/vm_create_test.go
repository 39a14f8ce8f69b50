package service_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
)

func TestCreateVMDefaults(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ch, err := c.CreateVM(t.Context(), c.orgadmin, baadal.VMCreate{Name: "ml", Template: "tiny"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	vm := ch.Resource
	if vm.Owner != "dean" || vm.RequesterID != c.orgadmin.User.ID || vm.VCPUs != 1 || vm.RAMMiB != 512 || vm.DiskGiB != 1 || vm.Network != "research" ||
		vm.VLAN != 10 || vm.Datastore != "main" || vm.State != baadal.VMInQueue || vm.Identity != "IITD_dean_ml" || vm.VNCPort != 20000 {
		t.Errorf("got %+v", vm)
	}
	if diff := cmp.Diff([]string{keyOf("dean")}, vm.SSHKeys); diff != "" {
		t.Errorf("keys are not the owner's (-want +got):\n%s", diff)
	}
	if vm.Address == "" || vm.MAC == "" || !strings.Contains(vm.Placement, vm.Host) {
		t.Errorf("address %q, MAC %q, placement %q", vm.Address, vm.MAC, vm.Placement)
	}
	if vm.Task == nil || vm.Task.ID != ch.Task.ID || ch.Task.Kind != baadal.TaskVMCreate || ch.Task.Deadline == nil || ch.Task.Deadline.Sub(c.clock.Now()) != 10*time.Minute {
		t.Errorf("task %+v of the VM, %+v of the answer", vm.Task, ch.Task)
	}
	if access := vm.Actions["start"]; access.Allowed || access.Code != "vm_busy" {
		t.Errorf("start of a VM that is being made: %+v", access)
	}

	c.run(t, ch.Task)
	if vm := c.vm(t, vm.ID); vm.State != baadal.VMRunning || vm.Task != nil {
		t.Errorf("afterwards it is %s, held by %v", vm.State, vm.Task)
	}
}

func TestCreateVMWishesCount(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ch, err := c.CreateVM(t.Context(), c.orgadmin, baadal.VMCreate{
		Name: "ml", Template: "tiny", Owner: "ravi", Host: "host2", Datastore: "main", Network: "research",
		VCPUs: 2, RAMMiB: 1024, DiskGiB: 5, SSHKeys: []string{keyOf("other")}, Purpose: "thesis",
	}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	vm := ch.Resource
	if vm.Owner != "ravi" || vm.RequesterID != c.orgadmin.User.ID || vm.Host != "host2" || vm.VCPUs != 2 || vm.RAMMiB != 1024 || vm.DiskGiB != 5 ||
		vm.Purpose != "thesis" || vm.Identity != "IITD_ravi_ml" || !slices.Equal(vm.SSHKeys, []string{keyOf("other")}) {
		t.Errorf("got %+v", vm)
	}
	if ch.Task.OwnerID != c.student.User.ID || ch.Task.RequesterID != c.orgadmin.User.ID || ch.Task.HostID != vm.HostID {
		t.Errorf("task %+v", ch.Task)
	}
	if _, err := c.VM(t.Context(), c.student, "ml"); err != nil {
		t.Errorf("its owner does not see it: %v", err)
	}
	if _, err := c.Task(t.Context(), c.student, ch.Task.ID); err != nil {
		t.Errorf("its owner does not see the task: %v", err)
	}
	_, err = c.VM(t.Context(), c.stranger, "ml")
	refused(t, err, baadal.NotFound, "not_found")
}

// stored is everything that a dry run could leave behind.
func stored(t *testing.T, c *cloud) (all struct {
	VMs     []baadal.VM
	Claimed []baadal.Address
	Tasks   []baadal.Task
	Event   int64
	Users   int
},
) {
	t.Helper()
	c.view(t, func(tx *store.Tx) (err error) {
		if all.VMs, err = tx.AllVMs(); err != nil {
			return err
		}
		if all.Claimed, err = tx.ClaimedAddresses(); err != nil {
			return err
		}
		if all.Tasks, err = tx.ActiveTasks(); err != nil {
			return err
		}
		users, err := tx.Users(baadal.ListQuery{}, baadal.Visibility{Scope: baadal.ScopeAny})
		if err != nil {
			return err
		}
		all.Users = users.Total
		all.Event, err = tx.LastEventID()
		return err
	})
	return all
}

func TestCreateVMDryRun(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.setHost(t, "host3", baadal.HostDown, "no answer")
	before := stored(t, c)
	ch, err := c.CreateVM(t.Context(), c.orgadmin, baadal.VMCreate{Name: "ml", Template: "tiny"}, dry)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, stored(t, c)); diff != "" {
		t.Errorf("a dry run left something (-before +after):\n%s", diff)
	}
	if ch.Resource != nil || ch.Task != nil || ch.Plan == nil {
		t.Fatalf("got %+v, want a plan alone", ch)
	}
	p := ch.Plan
	if p.Datastore != "main" || p.Network != "research" || len(p.Claims) != 3 || !slices.Equal(p.Steps, []string{"image", "define", "start"}) {
		t.Errorf("plan %+v", p)
	}
	reasons := map[string]string{}
	for _, h := range p.Hosts {
		reasons[h.Host] = h.Reason
	}
	want := map[string]string{
		"host1": "130560 MiB of memory and 31 vCPUs stay free", "host2": "130560 MiB of memory and 31 vCPUs stay free", "host3": "it is down (no answer)",
	}
	if diff := cmp.Diff(want, reasons); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	if p.Host == "host3" || !strings.Contains(p.Why, "the most room of 2 hosts that fit") {
		t.Errorf("host %s: %s", p.Host, p.Why)
	}
}

func TestCreateVMRefusals(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.create(t, c.orgadmin, baadal.VMCreate{Name: "taken"})
	c.setHost(t, "host3", baadal.HostDown, "no answer")
	c.update(t, func(tx *store.Tx) error {
		if err := tx.CreateDatastore(&baadal.Datastore{Name: "other", Path: "/mnt/other", State: baadal.DatastoreOK}); err != nil {
			return err
		}
		main, err := tx.DatastoreByRef("main")
		if err != nil {
			return err
		}
		return tx.CreateTemplate(&baadal.Template{Name: "half", DatastoreID: main.ID, File: "half.img", State: baadal.TemplateImporting})
	})
	with := func(change func(*baadal.VMCreate)) baadal.VMCreate {
		in := baadal.VMCreate{Name: "ml", Template: "tiny"}
		change(&in)
		return in
	}
	for _, x := range []struct {
		name  string
		actor baadal.Actor
		in    baadal.VMCreate
		kind  baadal.Kind
		code  string
		field string
		words string
	}{
		{"bad name", c.orgadmin, with(func(in *baadal.VMCreate) { in.Name = "a b" }), baadal.Invalid, "bad_name", "name", ""},
		{
			"taken name", c.orgadmin, with(func(in *baadal.VMCreate) { in.Name = "taken" }), baadal.Conflict, "exists", "name",
			"VM name should be unique for the user. Choose another name.",
		},
		{
			"taken name in other case", c.orgadmin, with(func(in *baadal.VMCreate) { in.Name = "TAKEN" }), baadal.Conflict, "exists", "name",
			"VM name should be unique for the user. Choose another name.",
		},
		{"unknown template", c.orgadmin, with(func(in *baadal.VMCreate) { in.Template = "nix" }), baadal.Invalid, "invalid", "template", `there is no template "nix"`},
		{"unfinished template", c.orgadmin, with(func(in *baadal.VMCreate) { in.Template = "half" }), baadal.Conflict, "template_not_ready", "", "template half is not ready: it is importing"},
		{"unknown network", c.orgadmin, with(func(in *baadal.VMCreate) { in.Network = "nix" }), baadal.Invalid, "invalid", "network", ""},
		{"unknown host", c.orgadmin, with(func(in *baadal.VMCreate) { in.Host = "nix" }), baadal.Invalid, "invalid", "host", ""},
		{"unknown datastore", c.orgadmin, with(func(in *baadal.VMCreate) { in.Datastore = "nix" }), baadal.Invalid, "invalid", "datastore", ""},
		{"unknown owner", c.admin, with(func(in *baadal.VMCreate) { in.Owner = "nix" }), baadal.Invalid, "invalid", "owner", ""},
		{
			"datastore without the template", c.orgadmin, with(func(in *baadal.VMCreate) { in.Datastore = "other" }), baadal.Invalid, "invalid", "datastore",
			"template tiny is on datastore main, not on other",
		},
		{
			"host that is down", c.orgadmin, with(func(in *baadal.VMCreate) { in.Host = "host3" }), baadal.Exhausted, "no_host", "",
			"No active host is available for a new vm.: wanted 1 vCPUs and 512 MiB; host3: it is down (no answer)",
		},
		{"too large for any host", c.orgadmin, with(func(in *baadal.VMCreate) { in.VCPUs = 17 }), baadal.Exhausted, "no_host", "", ""},
		{"too large for the datastore", c.orgadmin, with(func(in *baadal.VMCreate) { in.DiskGiB = 5000 }), baadal.Exhausted, "datastore_full", "", ""},
		{"owner of another organisation", c.stranger, with(func(in *baadal.VMCreate) { in.Owner = "ravi" }), baadal.Invalid, "invalid", "owner", `there is no user "ravi"`},
		{"a student", c.student, with(func(*baadal.VMCreate) {}), baadal.Forbidden, "forbidden", "", ""},
		{"a teacher", c.faculty, with(func(*baadal.VMCreate) {}), baadal.Forbidden, "forbidden", "", ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			before := stored(t, c)
			for _, opt := range []baadal.ChangeOptions{dry, {}} {
				_, err := c.CreateVM(t.Context(), x.actor, x.in, opt)
				refused(t, err, x.kind, x.code)
				refusedField(t, err, x.kind, x.field)
				if x.words != "" && baadal.Message(err) != x.words {
					t.Errorf("message %q, want %q", baadal.Message(err), x.words)
				}
			}
			if diff := cmp.Diff(before, stored(t, c)); diff != "" {
				t.Errorf("a refusal left something (-before +after):\n%s", diff)
			}
		})
	}
}

func TestCreateVMDiskSmallerThanTemplate(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.update(t, func(tx *store.Tx) error {
		main, err := tx.DatastoreByRef("main")
		if err != nil {
			return err
		}
		return tx.CreateTemplate(&baadal.Template{Name: "big", DatastoreID: main.ID, File: "big.img", VirtualSize: 10<<30 + 1, State: baadal.TemplateReady})
	})
	_, err := c.CreateVM(t.Context(), c.orgadmin, baadal.VMCreate{Name: "ml", Template: "big", DiskGiB: 10}, dry)
	refusedField(t, err, baadal.Invalid, "disk_gib")
	if !strings.Contains(baadal.Message(err), "template big needs 11 GiB") {
		t.Errorf("message %q", baadal.Message(err))
	}
	ch, err := c.CreateVM(t.Context(), c.orgadmin, baadal.VMCreate{Name: "ml", Template: "big"}, baadal.ChangeOptions{})
	if err != nil || ch.Resource.DiskGiB != 11 {
		t.Errorf("the template's size, rounded up: %+v, %v", ch.Resource, err)
	}
}

func TestCreateVMNetworkChoice(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ch, err := c.CreateNetwork(t.Context(), c.admin, baadal.NetworkCreate{Name: "teaching", VLAN: 20, CIDR: "10.0.2.0/28"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CreateVM(t.Context(), c.orgadmin, baadal.VMCreate{Name: "ml", Template: "tiny"}, dry)
	refusedField(t, err, baadal.Invalid, "network")
	_, err = c.CreateVM(t.Context(), c.orgadmin, baadal.VMCreate{Name: "ml", Template: "tiny", Network: "teaching"}, dry)
	refused(t, err, baadal.Conflict, "network_not_ready")
	c.run(t, ch.Task)
	if vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Network: "teaching"}); vm.VLAN != 20 || !strings.HasPrefix(vm.Address, "10.0.2.") {
		t.Errorf("got VLAN %d, address %s", vm.VLAN, vm.Address)
	}
}

func TestCreateVMForBlockedOwner(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	blocked := true
	if _, err := c.UpdateUser(t.Context(), c.admin, "ravi", baadal.UserUpdate{Blocked: &blocked}, baadal.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := c.CreateVM(t.Context(), c.orgadmin, baadal.VMCreate{Name: "ml", Template: "tiny", Owner: "ravi"}, dry)
	refusedField(t, err, baadal.Conflict, "owner")
}

func TestConsolePasswordIsShownOnceToTheOwner(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ch, err := c.CreateVM(t.Context(), c.orgadmin, baadal.VMCreate{Name: "ml", Template: "tiny", Owner: "ravi"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.VMPassword(t.Context(), c.student, "ml")
	refused(t, err, baadal.Conflict, "vm_busy")
	c.run(t, ch.Task)
	for _, a := range []baadal.Actor{c.orgadmin, c.admin} {
		_, err = c.VMPassword(t.Context(), a, "ml")
		refused(t, err, baadal.Forbidden, "forbidden")
	}
	if password, err := c.VMPassword(t.Context(), c.student, "ml"); err != nil || len(password) < baadal.MinPassword {
		t.Errorf("password of %d characters, %v", len(password), err)
	}
	_, err = c.VMPassword(t.Context(), c.student, "ml")
	refused(t, err, baadal.NotFound, "password_taken")
}
