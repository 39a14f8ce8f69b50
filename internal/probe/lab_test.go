package probe_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cryptossh "golang.org/x/crypto/ssh"

	"baadal"
	"baadal/internal/cloudinit"
	"baadal/internal/dhcp"
	"baadal/internal/disk"
	"baadal/internal/libvirt"
	"baadal/internal/probe"
	"baadal/internal/ssh"
)

// rig is a running lab, reached by real SSH. The tests must run inside the
// network of its controller:
//
//	BAADAL_TEST_LAB_DIR    the lab's folder, with id_ed25519
//	BAADAL_TEST_LAB_GUEST  image of its tiny guest
type rig struct {
	pool      *ssh.Pool
	hyper     *libvirt.Hypervisor
	prober    *probe.Prober
	host, box baadal.Host
	store     baadal.Datastore
	signer    cryptossh.Signer
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := os.Getenv("BAADAL_TEST_LAB_DIR")
	if dir == "" {
		t.Skip("a test on a real lab: BAADAL_TEST_LAB_DIR is not set")
	}
	key, err := os.ReadFile(filepath.Join(dir, "id_ed25519"))
	must(t, err)
	r := &rig{store: baadal.Datastore{Name: "datastore", Path: "/mnt/datastore"}}
	r.signer, err = cryptossh.ParsePrivateKey(key)
	must(t, err)
	r.pool = ssh.New(ssh.Options{Signer: r.signer})
	r.hyper = libvirt.New(r.pool, libvirt.Options{})
	r.prober = probe.New(r.pool, r.hyper, probe.Options{})
	t.Cleanup(func() { r.hyper.Close(); r.pool.Close() })
	r.host = baadal.Host{ID: 1, Name: "host1", Address: "10.77.0.11"}
	r.box = baadal.Host{ID: -1, Name: "the DHCP server", Address: "10.77.0.4"}
	for _, h := range []*baadal.Host{&r.host, &r.box} {
		h.HostKey, h.Fingerprint, err = r.prober.Fingerprint(t.Context(), h.SSHAddr())
		must(t, err)
	}
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLabProbe(t *testing.T) {
	r := newRig(t)
	start := time.Now()
	facts, err := r.prober.Probe(t.Context(), r.host, []baadal.Datastore{r.store, {Name: "small", Path: "/mnt/small"}, {Name: "none", Path: "/mnt/none"}})
	must(t, err)
	t.Logf("%s: %+v", time.Since(start), facts)
	if facts.Hostname != "host1" || facts.CPUs < 1 || facts.RAMMiB < 100 || facts.NIC == "" || len(facts.MAC) != 17 || facts.Libvirt == "" {
		t.Errorf("facts are %+v", facts)
	}
	for _, c := range facts.Checks {
		if c.OK == (c.Name == "datastore none") {
			t.Errorf("%+v", c)
		}
	}
	must(t, r.prober.Alive(t.Context(), r.host))
}

// A VM from nothing: its template, its folder with its seed, its reservation, its
// domain; and then it answers at its address, on its VLAN, to its owner's key.
func TestLabVM(t *testing.T) {
	r := newRig(t)
	guest := os.Getenv("BAADAL_TEST_LAB_GUEST")
	if guest == "" {
		t.Skip("BAADAL_TEST_LAB_GUEST is not set")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	clean := context.WithoutCancel(ctx)
	const (
		identity, uuid = "LAB_anna_web", "0b6e4d3a-1111-4222-8333-cccccccccccc"
		mac, ip        = "A2:00:00:77:00:01", "192.168.10.177"
	)
	disks := disk.New(r.pool, disk.Options{})
	image, err := os.Open(guest)
	must(t, err)
	defer image.Close()
	st, err := image.Stat()
	must(t, err)
	info, err := disks.ImportTemplate(ctx, r.host, r.store, "probe-test.qcow2", image, st.Size(), nil)
	must(t, err)
	t.Cleanup(func() { must(t, disks.RemoveTemplate(clean, r.host, r.store, "probe-test.qcow2")) })

	seed, err := cloudinit.Seed(cloudinit.Config{
		InstanceID: uuid, Hostname: "Web_1", Password: "Kq7mWz3hTn8rPx2d",
		SSHKeys: []string{strings.TrimSpace(string(cryptossh.MarshalAuthorizedKey(r.signer.PublicKey()))) + " anna@desk"},
	})
	must(t, err)
	must(t, disks.CreateImage(ctx, r.host, baadal.VMImage{
		Datastore: r.store, Identity: identity, UUID: uuid, Template: r.store.TemplateFile("probe-test.qcow2"), Format: info.Format,
		Bytes: max(info.VirtualSize, 1<<30), Seed: seed,
	}))
	t.Cleanup(func() { must(t, disks.RemoveImage(clean, r.host, r.store, identity, uuid)) })

	server := dhcp.NewISC(r.pool, r.box, dhcp.Options{Restart: []string{"/etc/dhcp/restart-dhcpd"}})
	old, err := server.Reservations(ctx)
	must(t, err)
	start := time.Now()
	must(t, server.Apply(ctx, append(old, baadal.Reservation{Name: baadal.ReservationName(ip), MAC: mac, IP: ip})))
	t.Logf("reservation applied in %s", time.Since(start))
	t.Cleanup(func() { must(t, server.Apply(clean, old)) })

	must(t, r.hyper.Define(ctx, r.host, baadal.Domain{
		UUID: uuid, Name: identity, VMID: 1, Virt: "qemu", VCPUs: 1, RAMMiB: 128, Seed: r.store.SeedFile(identity),
		Disks:   []baadal.DomainDisk{{Path: r.store.ImageFile(identity), Format: "qcow2", Target: "vda"}},
		NICs:    []baadal.DomainNIC{{MAC: mac, Network: "ovs-net", Portgroup: "vlan10", VLAN: 10}},
		Console: "/run/baadal/" + uuid,
	}))
	t.Cleanup(func() {
		must(t, r.hyper.Destroy(clean, r.host, uuid))
		must(t, r.hyper.Undefine(clean, r.host, uuid))
	})
	start = time.Now()
	must(t, r.hyper.Start(ctx, r.host, uuid))
	tags, err := r.prober.VLANs(ctx, r.host)
	must(t, err)
	if tag, ok := tags[mac]; !ok || tag != 10 {
		t.Errorf("VLANs are %v", tags)
	}
	guests := probe.NewGuests()
	for !guests.Answers(ctx, ip) {
		if ctx.Err() != nil {
			t.Fatal("the guest does not answer")
		}
	}
	t.Logf("the guest answers after %s", time.Since(start))
	t.Logf("in it: %q", r.inGuest(ctx, t, ip))
}

// inGuest signs in with the key from the seed and returns the host name.
func (r *rig) inGuest(ctx context.Context, t *testing.T, ip string) string {
	t.Helper()
	h := baadal.Host{ID: 99, Name: "guest", Address: ip}
	var err error
	for h.HostKey == "" {
		if h.HostKey, _, err = ssh.FetchHostKey(ctx, h.SSHAddr()); ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	res, err := r.pool.RunOK(ctx, h, ssh.Command{Argv: []string{"hostname"}})
	must(t, err)
	name := strings.TrimSpace(string(res.Stdout))
	if name != "web-1" {
		t.Errorf("the guest's name is %q", name)
	}
	return name
}
