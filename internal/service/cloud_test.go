package service_test

import (
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
)

func TestAddHostPinsItsKey(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	if err := c.world.AddHost("host9", "10.77.9.9"); err != nil {
		t.Fatal(err)
	}
	known, err := c.world.Host("host9")
	if err != nil {
		t.Fatal(err)
	}
	before := stored(t, c)
	for _, x := range []struct {
		fingerprint, code, words string
	}{
		{"", "fingerprint_unconfirmed", "the host key of 10.77.9.9:22 must be confirmed: " + known.Fingerprint},
		{"SHA256:somethingelse", "fingerprint_differs", "the host key of 10.77.9.9:22 is not the one given: " + known.Fingerprint},
	} {
		_, err := c.AddHost(t.Context(), c.admin, baadal.HostAdd{Address: "10.77.9.9", Fingerprint: x.fingerprint}, baadal.ChangeOptions{})
		refused(t, err, baadal.Conflict, x.code)
		if baadal.Message(err) != x.words {
			t.Errorf("%q, want %q", baadal.Message(err), x.words)
		}
	}
	in := baadal.HostAdd{Address: "10.77.9.9", Fingerprint: known.Fingerprint}
	if plan, err := c.AddHost(t.Context(), c.admin, in, dry); err != nil || plan.Plan == nil || len(plan.Plan.Steps) != 3 {
		t.Errorf("plan %+v, %v", plan, err)
	}
	for _, bad := range []baadal.HostAdd{{Address: ""}, {Address: "-oProxyCommand=x"}, {Address: "a b"}, {Address: "h:0"}, {Address: "h:65536"}, {Address: "h;x"}} {
		_, err := c.AddHost(t.Context(), c.admin, bad, dry)
		refusedField(t, err, baadal.Invalid, "address")
	}
	_, err = c.AddHost(t.Context(), c.admin, baadal.HostAdd{Address: "10.77.9.9", SSHUser: "a b"}, dry)
	refusedField(t, err, baadal.Invalid, "ssh_user")
	_, err = c.AddHost(t.Context(), c.admin, baadal.HostAdd{Address: "10.77.99.99"}, dry)
	refused(t, err, baadal.Unavailable, "host_unreachable")
	_, err = c.AddHost(t.Context(), c.orgadmin, in, baadal.ChangeOptions{})
	refused(t, err, baadal.Forbidden, "forbidden")
	if diff := cmp.Diff(before, stored(t, c)); diff != "" {
		t.Errorf("something was left (-before +after):\n%s", diff)
	}

	ch, err := c.AddHost(t.Context(), c.admin, in, baadal.ChangeOptions{})
	if err != nil || ch.Resource.HostKey != known.HostKey || ch.Resource.State != baadal.HostDown {
		t.Fatalf("%+v, %v", ch.Resource, err)
	}
	_, err = c.RemoveHost(t.Context(), c.admin, "10.77.9.9", baadal.ChangeOptions{})
	refused(t, err, baadal.Conflict, "busy") // it is being looked at
	c.run(t, ch.Task)
	h, err := c.Host(t.Context(), c.admin, "host9")
	if err != nil || h.State != baadal.HostUp || h.CPUs == 0 || h.Address != "10.77.9.9" {
		t.Errorf("it is called by its own name and up: %+v, %v", h, err)
	}
	_, err = c.AddHost(t.Context(), c.admin, in, baadal.ChangeOptions{})
	refused(t, err, baadal.Conflict, "exists")
}

// removal is how one thing that others stand on is removed.
type removal struct {
	c    *cloud
	code string // of the refusal while it is in use
	act  func(baadal.ChangeOptions) (*baadal.Task, error)
	show func() (map[string]baadal.Access, error)
	name string // of the button
}

// removals are those of the host of a VM and of all it stands on.
func (c *cloud) removals(t *testing.T, vm baadal.VM) (host, datastore, template, network removal) {
	ctx := t.Context()
	host = removal{c, "host_in_use", func(o baadal.ChangeOptions) (*baadal.Task, error) {
		ch, err := c.RemoveHost(ctx, c.admin, vm.Host, o)
		return ch.Task, err
	}, func() (map[string]baadal.Access, error) {
		h, err := c.Host(ctx, c.admin, vm.Host)
		return h.Actions, err
	}, "remove"}
	datastore = removal{c, "datastore_in_use", func(o baadal.ChangeOptions) (*baadal.Task, error) {
		ch, err := c.RemoveDatastore(ctx, c.admin, vm.Datastore, o)
		return ch.Task, err
	}, func() (map[string]baadal.Access, error) {
		d, err := c.Datastore(ctx, c.admin, vm.Datastore)
		return d.Actions, err
	}, "remove"}
	template = removal{c, "template_in_use", func(o baadal.ChangeOptions) (*baadal.Task, error) {
		ch, err := c.DeleteTemplate(ctx, c.admin, vm.Template, o)
		return ch.Task, err
	}, func() (map[string]baadal.Access, error) {
		d, err := c.Template(ctx, c.admin, vm.Template)
		return d.Actions, err
	}, "delete"}
	network = removal{c, "network_in_use", func(o baadal.ChangeOptions) (*baadal.Task, error) {
		ch, err := c.DeleteNetwork(ctx, c.admin, vm.Network, o)
		return ch.Task, err
	}, func() (map[string]baadal.Access, error) {
		n, err := c.Network(ctx, c.admin, vm.Network)
		return n.Actions, err
	}, "delete"}
	return host, datastore, template, network
}

// stays checks that it is refused, by the button and by the act, in the same words.
func (r removal) stays(t *testing.T) {
	t.Helper()
	actions, err := r.show()
	if err != nil {
		t.Fatal(err)
	}
	for _, opt := range []baadal.ChangeOptions{dry, {}} {
		_, err := r.act(opt)
		refused(t, err, baadal.Conflict, r.code)
		if button := actions[r.name]; button.Allowed || button.Code != r.code || button.Reason != baadal.Message(err) {
			t.Errorf("button %+v, act %q", button, baadal.Message(err))
		}
	}
}

// goes removes it.
func (r removal) goes(t *testing.T) {
	t.Helper()
	if actions, err := r.show(); err != nil || !actions[r.name].Allowed {
		t.Errorf("button %+v, %v", actions[r.name], err)
	}
	if _, err := r.act(dry); err != nil {
		t.Error(err)
	}
	k, err := r.act(baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if k != nil {
		r.c.run(t, k)
	}
	if _, err := r.show(); baadal.KindOf(err) != baadal.NotFound {
		t.Errorf("it is still there: %v", err)
	}
}

// TestNothingInUseIsRemoved: what VMs stand on stays, and button and act say why
// in the same words.
func TestNothingInUseIsRemoved(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml"})
	host, datastore, template, network := c.removals(t, vm)
	for _, r := range []removal{host, datastore, template, network} {
		r.stays(t)
	}
	c.act(t, baadal.ActionVMDelete, vm)
	host.goes(t)
	for _, r := range []removal{datastore, template, network} {
		r.stays(t) // the deleted VM can be restored
	}
	c.update(t, func(tx *store.Tx) error { return tx.DeleteVM(vm.ID) }) // as its purge does
	network.goes(t)
	template.goes(t)
	datastore.goes(t)
}

func TestDatastorePaths(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	for _, p := range []string{"", "/", "mnt", "/mnt/../etc", "/mnt/", "/mnt/a\nb"} {
		_, err := c.AddDatastore(t.Context(), c.admin, baadal.DatastoreAdd{Name: "ds", Path: p}, dry)
		refusedField(t, err, baadal.Invalid, "path")
	}
	ch, err := c.AddDatastore(t.Context(), c.admin, baadal.DatastoreAdd{Name: "ds", Path: "/mnt/ds"}, baadal.ChangeOptions{})
	if err != nil || ch.Resource.State != baadal.DatastoreUnknown {
		t.Errorf("%+v, %v", ch.Resource, err)
	}
	_, err = c.AddDatastore(t.Context(), c.admin, baadal.DatastoreAdd{Name: "ds2", Path: "/mnt/ds"}, baadal.ChangeOptions{})
	refused(t, err, baadal.Conflict, "exists")
}

func TestNetworksDoNotOverlap(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	_, err := c.CreateNetwork(t.Context(), c.admin, baadal.NetworkCreate{Name: "all", VLAN: 20, CIDR: "10.0.0.0/16"}, dry)
	refused(t, err, baadal.Conflict, "subnet_overlaps")
	_, err = c.CreateNetwork(t.Context(), c.admin, baadal.NetworkCreate{Name: "other", VLAN: 10, CIDR: "10.9.0.0/24"}, dry)
	refusedField(t, err, baadal.Conflict, "vlan")
	_, err = c.CreateNetwork(t.Context(), c.admin, baadal.NetworkCreate{Name: "research", VLAN: 20, CIDR: "10.9.0.0/24"}, dry)
	refusedField(t, err, baadal.Conflict, "name")
	_, err = c.NetworkAddresses(t.Context(), c.orgadmin, "research")
	refused(t, err, baadal.Forbidden, "forbidden")
}

// TestMACsOfLargeNetworksAreDistinct: with 131,000 random MACs of 24 bits,
// chance alone would give hundreds twice.
func TestMACsOfLargeNetworksAreDistinct(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	macs := map[string]bool{}
	total := 0
	for i, cidr := range []string{"10.1.0.0/18", "10.2.0.0/18"} {
		name := "big" + string(rune('a'+i))
		if _, err := c.CreateNetwork(t.Context(), c.admin, baadal.NetworkCreate{Name: name, VLAN: 100 + i, CIDR: cidr, First: strings.Replace(cidr, ".0/18", ".1", 1)}, baadal.ChangeOptions{}); err != nil {
			t.Fatal(err)
		}
		all, err := c.NetworkAddresses(t.Context(), c.admin, name)
		if err != nil {
			t.Fatal(err)
		}
		total += len(all)
		for _, a := range all {
			hw, err := net.ParseMAC(a.MAC)
			if err != nil || hw[0]&3 != 2 {
				t.Fatalf("%s has the MAC %q", a.IP, a.MAC)
			}
			macs[a.MAC] = true
		}
	}
	if total != 2*16382 || len(macs) != total {
		t.Errorf("%d addresses have %d MACs", total, len(macs))
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	_, err := c.Settings(t.Context(), c.orgadmin)
	refused(t, err, baadal.Forbidden, "forbidden")
	_, err = c.UpdateSetting(t.Context(), c.orgadmin, baadal.SettingRAMRatio, "1", baadal.ChangeOptions{})
	refused(t, err, baadal.Forbidden, "forbidden")
	_, err = c.UpdateSetting(t.Context(), c.admin, baadal.SettingRAMRatio, "none", baadal.ChangeOptions{})
	refusedField(t, err, baadal.Invalid, "value")
	_, err = c.UpdateSetting(t.Context(), c.admin, "nix", "1", baadal.ChangeOptions{})
	refused(t, err, baadal.NotFound, "not_found")

	if s, err := c.UpdateSetting(t.Context(), c.admin, baadal.SettingRAMRatio, "0.01", dry); err != nil || s.Value != "0.01" {
		t.Errorf("dry run: %+v, %v", s, err)
	}
	if _, err := c.CreateVM(t.Context(), c.orgadmin, baadal.VMCreate{Name: "ml", Template: "tiny", RAMMiB: 1024}, dry); err != nil {
		t.Errorf("the dry run is in force: %v", err)
	}
	first, err := c.UpdateSetting(t.Context(), c.admin, baadal.SettingRAMRatio, "0.01", baadal.ChangeOptions{})
	if err != nil || first.Generation == 0 || first.UpdatedBy != "root" || first.Default != "2.0" {
		t.Fatalf("%+v, %v", first, err)
	}
	_, err = c.CreateVM(t.Context(), c.orgadmin, baadal.VMCreate{Name: "ml", Template: "tiny", RAMMiB: 1024}, dry)
	refused(t, err, baadal.Exhausted, "no_host") // 655 MiB of 65536
	second, err := c.UpdateSetting(t.Context(), c.admin, baadal.SettingRAMRatio, "1", baadal.ChangeOptions{Generation: first.Generation})
	if err != nil || second.Generation <= first.Generation {
		t.Errorf("%+v, %v", second, err)
	}
	_, err = c.UpdateSetting(t.Context(), c.admin, baadal.SettingRAMRatio, "3", baadal.ChangeOptions{Generation: first.Generation})
	refused(t, err, baadal.Stale, "stale")
}

func TestImportTemplateSources(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	up, err := c.Upload(t.Context(), c.admin, "", strings.NewReader("not an image"))
	if err != nil || up.Size != 12 {
		t.Fatalf("%+v, %v", up, err)
	}
	_, err = c.Upload(t.Context(), c.student, "", strings.NewReader("x"))
	refused(t, err, baadal.Forbidden, "forbidden")
	for _, x := range []struct {
		in    baadal.TemplateImport
		kind  baadal.Kind
		field string
	}{
		{baadal.TemplateImport{Name: "a/b", UploadID: up.ID}, baadal.Invalid, "name"},
		{baadal.TemplateImport{Name: "new"}, baadal.Invalid, "url"},
		{baadal.TemplateImport{Name: "new", URL: "http://h/x", UploadID: up.ID}, baadal.Invalid, "url"},
		{baadal.TemplateImport{Name: "new", URL: "file:///etc/shadow"}, baadal.Invalid, "url"},
		{baadal.TemplateImport{Name: "new", URL: "http://user:secret@h/x"}, baadal.Invalid, "url"},
		{baadal.TemplateImport{Name: "new", UploadID: "../" + up.ID}, baadal.NotFound, "upload_id"},
		{baadal.TemplateImport{Name: "new", UploadID: "nix"}, baadal.NotFound, "upload_id"},
		{baadal.TemplateImport{Name: "new", UploadID: "."}, baadal.NotFound, "upload_id"},
		{baadal.TemplateImport{Name: "tiny", UploadID: up.ID}, baadal.Conflict, "name"},
	} {
		_, err := c.ImportTemplate(t.Context(), c.admin, x.in, baadal.ChangeOptions{})
		refusedField(t, err, x.kind, x.field)
		if strings.Contains(baadal.Message(err), "secret") {
			t.Errorf("a password is in the error: %v", err)
		}
	}
	ch, err := c.ImportTemplate(t.Context(), c.admin, baadal.TemplateImport{Name: "new", UploadID: up.ID}, baadal.ChangeOptions{})
	if err != nil || ch.Resource.State != baadal.TemplateImporting || ch.Resource.Datastore != "main" {
		t.Fatalf("%+v, %v", ch.Resource, err)
	}
	if done := c.settle(t, ch.Task)[0]; done.State != baadal.TaskFailed || done.UndoPending {
		t.Errorf("%s: %s", done.State, done.Message)
	}
	_, err = c.Template(t.Context(), c.admin, "new")
	refused(t, err, baadal.NotFound, "not_found")
	c.view(t, func(tx *store.Tx) error {
		left, err := tx.AllTransfers()
		for _, f := range left {
			if f.Task == nil || f.Task.Kind != baadal.TaskTransferRemove {
				t.Errorf("the upload stays: %+v", f)
			}
		}
		return err
	})
}

// TestRemoveHostThatDoesNotAnswer: who removes it is told what it keeps of ours.
func TestRemoveHostThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	for _, x := range []struct {
		state baadal.HostState
		told  bool
	}{{baadal.HostUp, false}, {baadal.HostDown, true}} {
		h, err := c.Host(t.Context(), c.admin, "host3")
		if err != nil {
			t.Fatal(err)
		}
		c.update(t, func(tx *store.Tx) error { _, err := tx.SetHostState(h.ID, x.state, "", false); return err })
		plan, err := c.RemoveHost(t.Context(), c.admin, "host3", dry)
		if told := len(plan.Plan.Effects) == 1 && strings.Contains(plan.Plan.Effects[0], baadal.OpenBridge); err != nil || told != x.told {
			t.Errorf("%s: %+v, %v", x.state, plan.Plan, err)
		}
	}
	ch, err := c.RemoveHost(t.Context(), c.admin, "host3", baadal.ChangeOptions{})
	if err != nil || !strings.Contains(ch.Resource.LeftBehind(), "host3 does not answer") {
		t.Errorf("%+v, %v", ch.Resource, err)
	}
}
