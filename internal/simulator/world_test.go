package simulator_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/simulator"
)

const (
	gib      = 1 << 30
	uuid1    = "00000000-0000-4000-8000-000000000001"
	uuid2    = "00000000-0000-4000-8000-000000000002"
	template = "debian.qcow2"
)

var store = baadal.Datastore{Name: "ds1", Path: "/mnt/datastore"}

// cloud is a world with some hosts and a template, and what a test asks of it.
type cloud struct {
	*simulator.World
	t testing.TB
}

func open(t testing.TB, cfg simulator.Config) *cloud {
	t.Helper()
	if cfg.Hosts == 0 {
		cfg.Hosts = 2
	}
	w, err := simulator.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &cloud{World: w, t: t}
	if _, err := w.AddTemplate(store.Path, template, 4*gib); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cloud) host(name string) baadal.Host {
	c.t.Helper()
	h, err := c.Host(name)
	c.must(err)
	return h
}

func (c *cloud) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// wants asserts the kind (and, after a slash, the code) of an error.
func (c *cloud) wants(err error, want string) {
	c.t.Helper()
	kind, code, _ := strings.Cut(want, "/")
	if string(baadal.KindOf(err)) != kind || (code != "" && baadal.CodeOf(err) != code) {
		c.t.Fatalf("got %s/%s (%v), want %s", baadal.KindOf(err), baadal.CodeOf(err), err, want)
	}
}

func image(uuid, identity string) baadal.VMImage {
	return baadal.VMImage{
		Datastore: store, Identity: identity, UUID: uuid, Template: store.TemplateFile(template), Format: "qcow2",
		Bytes: 8 * gib, Seed: []byte("seed"),
	}
}

func definition(uuid, identity string) baadal.Domain {
	return baadal.Domain{
		UUID: uuid, Name: identity, VMID: 7, Virt: "kvm", VCPUs: 2, RAMMiB: 1024,
		Disks: []baadal.DomainDisk{{Path: store.ImageFile(identity), Format: "qcow2", Target: "vda"}},
		Seed:  store.SeedFile(identity), Console: "/run/baadal/" + uuid,
		NICs: []baadal.DomainNIC{{MAC: "a2:00:00:00:00:0" + uuid[len(uuid)-1:], Network: "ovs-net", Portgroup: "vlan10", VLAN: 10}},
	}
}

// create makes a VM's disk and definition on a host.
func (c *cloud) create(host, uuid, identity string) baadal.Host {
	c.t.Helper()
	h := c.host(host)
	c.must(c.Disks().CreateImage(c.t.Context(), h, image(uuid, identity)))
	c.must(c.Hypervisor().Define(c.t.Context(), h, definition(uuid, identity)))
	return h
}

func (c *cloud) run(host, uuid, identity string) baadal.Host {
	c.t.Helper()
	h := c.create(host, uuid, identity)
	c.must(c.Hypervisor().Start(c.t.Context(), h, uuid))
	return h
}

func (c *cloud) state(h baadal.Host, uuid string) string {
	c.t.Helper()
	info, err := c.Hypervisor().Domain(c.t.Context(), h, uuid)
	if baadal.KindOf(err) == baadal.NotFound {
		return "none"
	}
	c.must(err)
	return info.State.String()
}

func (c *cloud) whole() {
	c.t.Helper()
	if bad := c.Check(); len(bad) > 0 {
		c.t.Fatalf("the world is broken:\n%s", strings.Join(bad, "\n"))
	}
}

func TestEveryActTwice(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Config{})
	h, hv := c.host("host1"), c.Hypervisor()
	acts := []struct {
		name string
		do   func(ctx context.Context) error
		want string // state after it
	}{
		{"create", func(ctx context.Context) error { return c.Disks().CreateImage(ctx, h, image(uuid1, "IITD_a_web")) }, "none"},
		{"define", func(ctx context.Context) error { return hv.Define(ctx, h, definition(uuid1, "IITD_a_web")) }, "off"},
		{"start", func(ctx context.Context) error { return hv.Start(ctx, h, uuid1) }, "running"},
		{"shutdown", func(ctx context.Context) error { return hv.Shutdown(ctx, h, uuid1) }, "off"},
		{"start again", func(ctx context.Context) error { return hv.Start(ctx, h, uuid1) }, "running"},
		{"destroy", func(ctx context.Context) error { return hv.Destroy(ctx, h, uuid1) }, "off"},
		{"undefine", func(ctx context.Context) error { return hv.Undefine(ctx, h, uuid1) }, "none"},
		{"archive", func(ctx context.Context) error { return c.Disks().ArchiveImage(ctx, h, store, "IITD_a_web", uuid1) }, "none"},
		{"restore", func(ctx context.Context) error { return c.Disks().RestoreImage(ctx, h, store, "IITD_a_web", uuid1) }, "none"},
		{"archive again", func(ctx context.Context) error { return c.Disks().ArchiveImage(ctx, h, store, "IITD_a_web", uuid1) }, "none"},
		{"purge", func(ctx context.Context) error { return c.Disks().PurgeImage(ctx, h, store, "IITD_a_web", uuid1) }, "none"},
		{"remove", func(ctx context.Context) error { return c.Disks().RemoveImage(ctx, h, store, "IITD_a_web", uuid1) }, "none"},
	}
	empty := c.Snapshot()
	for _, act := range acts {
		if err := act.do(t.Context()); err != nil {
			t.Fatalf("%s: %v", act.name, err)
		}
		once := c.Snapshot()
		if err := act.do(t.Context()); err != nil {
			t.Fatalf("%s, again: %v", act.name, err)
		}
		if d := cmp.Diff(once, c.Snapshot()); d != "" {
			t.Errorf("%s is not idempotent:\n%s", act.name, d)
		}
		if got := c.state(h, uuid1); got != act.want {
			t.Errorf("after %s: %s, want %s", act.name, got, act.want)
		}
		c.whole()
	}
	if d := cmp.Diff(empty, c.Snapshot()); d != "" {
		t.Errorf("something is left:\n%s", d)
	}
}

func TestOneWriter(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Config{})
	h1, hv := c.run("host1", uuid1, "IITD_a_web"), c.Hypervisor()
	h2 := c.host("host2")
	c.must(hv.Define(t.Context(), h2, definition(uuid1, "IITD_a_web")))
	c.wants(hv.Start(t.Context(), h2, uuid1), "conflict/disk_in_use")

	c.must(c.Cut("host1")) // unreachable is not dead
	c.wants(hv.Start(t.Context(), h2, uuid1), "conflict/disk_in_use")
	c.must(c.Heal("host1"))
	if got := c.state(h1, uuid1); got != "running" {
		t.Errorf("after the cut: %s", got)
	}

	c.must(c.PowerOff("host1"))
	c.must(hv.Start(t.Context(), h2, uuid1))
	c.must(c.PowerOn("host1"))
	if got := c.state(h1, uuid1); got != "off" {
		t.Errorf("after the power came back: %s", got)
	}
	c.wants(hv.Start(t.Context(), h1, uuid1), "conflict/disk_in_use")
	c.whole()
}

// TestWriterHoldsItsDisk: what a domain writes to is not archived, whoever asks.
func TestWriterHoldsItsDisk(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Config{})
	h := c.run("host1", uuid1, "IITD_a_web")
	other := c.host("host2")
	c.wants(c.Disks().ArchiveImage(t.Context(), other, store, "IITD_a_web", uuid1), "conflict/disk_in_use")
	c.whole()
	c.must(c.Hypervisor().Destroy(t.Context(), h, uuid1))
	c.must(c.Disks().ArchiveImage(t.Context(), other, store, "IITD_a_web", uuid1))
	if bad := c.Check(); len(bad) != 1 || !strings.Contains(bad[0], "has no disk") {
		t.Errorf("Check: %q", bad)
	}
}

func TestStartNeedsEveryFile(t *testing.T) {
	t.Parallel()
	breaks := map[string]struct {
		act  func(c *cloud) error
		want string
	}{
		"template removed": {func(c *cloud) error { return c.RemoveTemplate(store.Path, template) }, "conflict/template_missing"},
		"folder removed":   {func(c *cloud) error { return c.RemoveFolder(store.Path, "vm_images/IITD_a_web") }, "conflict/disk_missing"},
		"not mounted":      {func(c *cloud) error { return c.Mount("host1", store.Path, false) }, "conflict/disk_missing"},
	}
	for name, tt := range breaks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := open(t, simulator.Config{})
			h := c.create("host1", uuid1, "IITD_a_web")
			c.must(tt.act(c))
			c.wants(c.Hypervisor().Start(t.Context(), h, uuid1), tt.want)
			if got := c.state(h, uuid1); got != "off" {
				t.Errorf("state %s", got)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Config{})
	h, hv := c.run("host1", uuid1, "IITD_a_web"), c.Hypervisor()
	c.wants(hv.Undefine(t.Context(), h, uuid1), "conflict")
	c.wants(hv.Start(t.Context(), h, uuid2), "not_found")
	c.wants(hv.Shutdown(t.Context(), h, uuid2), "not_found")
	c.wants(hv.Define(t.Context(), h, definition(uuid2, "IITD_a_web")), "conflict/domain_exists")
	c.must(hv.Destroy(t.Context(), h, uuid2))
	c.must(hv.Undefine(t.Context(), h, uuid2))

	other := h
	other.HostKey = "ssh-ed25519 AAAA"
	c.wants(c.Prober().Alive(t.Context(), other), "conflict/host_key_changed")
	c.must(c.ChangeHostKey("host1"))
	c.wants(hv.Start(t.Context(), h, uuid1), "conflict/host_key_changed")
	key, seen, err := c.Prober().Fingerprint(t.Context(), h.SSHAddr())
	c.must(err)
	if again := c.host("host1"); key != again.HostKey || seen != again.Fingerprint || key == h.HostKey {
		t.Errorf("fingerprint %s of %s, want %s of %s", seen, key, again.Fingerprint, again.HostKey)
	}
}

func TestRunningDomainKeepsItsDefinition(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Config{})
	h, hv := c.run("host1", uuid1, "IITD_a_web"), c.Hypervisor()
	larger := definition(uuid1, "IITD_a_web")
	larger.RAMMiB = 4096
	c.must(hv.Define(t.Context(), h, larger))
	ram := func() int {
		info, err := hv.Domain(t.Context(), h, uuid1)
		c.must(err)
		return info.RAMMiB
	}
	if got := ram(); got != 1024 {
		t.Errorf("running: %d MiB", got)
	}
	c.must(hv.Destroy(t.Context(), h, uuid1))
	if got := ram(); got != 4096 {
		t.Errorf("off: %d MiB", got)
	}
}

func TestBehindOurBack(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Config{})
	h := c.run("host1", uuid1, "IITD_a_web")
	steps := []struct {
		name string
		do   func() error
		want string
	}{
		{"suspend", func() error { return c.VirshSuspend("host1", uuid1) }, "paused"},
		{"resume", func() error { return c.VirshResume("host1", uuid1) }, "running"},
		{"crash", func() error { return c.GuestCrash("host1", uuid1) }, "crashed"},
		{"start", func() error { return c.VirshStart("host1", uuid1) }, "running"},
		{"deafen", func() error { return c.Deafen("host1", uuid1, true) }, "running"},
		{"shutdown of a deaf guest", func() error { return c.Hypervisor().Shutdown(t.Context(), h, uuid1) }, "running"},
		{"undefine", func() error { return c.VirshUndefine("host1", uuid1) }, "running"},
		{"destroy", func() error { return c.VirshDestroy("host1", uuid1) }, "none"},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if got := c.state(h, uuid1); got != s.want {
			t.Errorf("after %s: %s, want %s", s.name, got, s.want)
		}
	}
	rogue, err := c.RogueDomain("host1", "pet")
	c.must(err)
	all, err := c.Hypervisor().Domains(t.Context(), h)
	c.must(err)
	want := []baadal.DomainInfo{{UUID: rogue, Name: "pet", State: baadal.VMRunning, Persistent: true, VCPUs: 1, RAMMiB: 256}}
	if d := cmp.Diff(want, all); d != "" {
		t.Error(d)
	}
	if err := c.PowerOff("host99"); baadal.KindOf(err) != baadal.NotFound {
		t.Errorf("an unknown host: %v", err)
	}
}

func TestVLANs(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Config{})
	h := c.run("host1", uuid1, "IITD_a_web")
	for _, want := range []int{10, 0} {
		tags, err := c.Prober().VLANs(t.Context(), h)
		c.must(err)
		if d := cmp.Diff(map[string]int{"A2:00:00:00:00:01": want}, tags); d != "" {
			t.Error(d)
		}
		c.must(c.SetVLAN("host1", "A2:00:00:00:00:01", 0))
	}
	if snap := c.Snapshot(); !strings.Contains(snap, "live:") {
		t.Errorf("the snapshot hides the changed port:\n%s", snap)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Config{})
	failed := func() string {
		facts, err := c.Prober().Probe(t.Context(), c.host("host1"), []baadal.Datastore{store})
		c.must(err)
		var names []string
		for _, f := range facts.Failed() {
			if f.Fix == "" || f.Detail == "" {
				t.Errorf("%s says neither what nor how to mend it", f.Name)
			}
			names = append(names, f.Name)
		}
		return strings.Join(names, " ")
	}
	if got := failed(); got != "" {
		t.Errorf("a healthy host fails %q", got)
	}
	c.must(c.SetSkew("host1", -time.Minute))
	c.must(c.Hang("host1", true))
	c.must(c.SetReadOnly(store.Path, true))
	if got := failed(); got != "libvirtd clock virt datastore ds1" {
		t.Errorf("failed: %q", got)
	}
	c.must(c.Mount("host1", store.Path, false))
	if got := failed(); got != "libvirtd clock virt datastore ds1" {
		t.Errorf("failed: %q", got)
	}
}

func TestDHCP(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Config{})
	rs := []baadal.Reservation{{Name: "ip-b", MAC: "A2:00:00:00:00:02", IP: "192.168.10.12"}, {Name: "ip-a", MAC: "A2:00:00:00:00:01", IP: "192.168.10.11"}}
	c.must(c.DHCP().Apply(t.Context(), rs))
	c.must(c.DHCP().Apply(t.Context(), []baadal.Reservation{rs[1], rs[0]}))
	if n := c.DHCPRestarts(); n != 1 {
		t.Errorf("%d restarts", n)
	}
	c.wants(c.DHCP().Apply(t.Context(), append(rs, baadal.Reservation{Name: "ip-c", MAC: "a2:00:00:00:00:01", IP: "192.168.10.13"})), "invalid")
	c.must(c.BreakDHCP(true))
	c.wants(c.DHCP().Apply(t.Context(), nil), "unavailable")
	c.must(c.BreakDHCP(false))
	got, err := c.DHCP().Reservations(t.Context())
	c.must(err)
	if d := cmp.Diff([]baadal.Reservation{rs[1], rs[0]}, got); d != "" {
		t.Error(d)
	}
	c.must(c.SetReservations(nil))
	if strings.Contains(c.Snapshot(), "reservation") {
		t.Error("reservations are left")
	}
}

func TestSnapshotIsDeterministic(t *testing.T) {
	t.Parallel()
	build := func(names ...int) *cloud {
		c := open(t, simulator.Config{})
		for _, i := range names {
			c.run(fmt.Sprintf("host%d", i%2+1), fmt.Sprintf("00000000-0000-4000-8000-%012d", i), fmt.Sprintf("IITD_a_vm%d", i))
		}
		return c
	}
	a, b := build(1, 2, 3, 4), build(4, 3, 2, 1)
	if d := cmp.Diff(a.Snapshot(), b.Snapshot()); d != "" {
		t.Error(d)
	}
	if a.Snapshot(simulator.WithTimes()) == b.Snapshot(simulator.WithTimes()) {
		t.Error("WithTimes adds no times")
	}
}

func TestCheckFindsBaselessOverlays(t *testing.T) {
	t.Parallel()
	c := open(t, simulator.Config{})
	c.create("host1", uuid1, "IITD_a_web")
	c.whole()
	c.must(c.RemoveTemplate(store.Path, template))
	if bad := c.Check(); len(bad) != 1 || !strings.Contains(bad[0], "which is gone") {
		t.Errorf("Check: %q", bad)
	}
}
