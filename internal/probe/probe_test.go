package probe_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"baadal"
	"baadal/internal/needs"
	"baadal/internal/probe"
	"baadal/internal/ssh"
)

var testHost = baadal.Host{ID: 1, Name: "host1", Address: "127.0.0.1"}

// local runs commands on this machine.
type local struct {
	env   []string      // added to ours
	delay time.Duration // before and after each command, as a slow network would
}

func (l local) Run(ctx context.Context, _ baadal.Host, c ssh.Command) (ssh.Result, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = c.Stdin, &out, &errs, append(os.Environ(), l.env...)
	time.Sleep(l.delay)
	err := cmd.Run()
	time.Sleep(l.delay)
	if ctx.Err() != nil {
		return ssh.Result{}, ctx.Err()
	}
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		return ssh.Result{}, err
	}
	return ssh.Result{Stdout: out.Bytes(), Stderr: errs.Bytes(), Code: cmd.ProcessState.ExitCode()}, nil
}

func (local) Ping(context.Context, baadal.Host) error { return nil }

// recorded answers every command with what a host once said.
type recorded struct {
	out  string
	err  error
	code int
}

func (r recorded) Run(context.Context, baadal.Host, ssh.Command) (ssh.Result, error) {
	return ssh.Result{Stdout: []byte(r.out), Stderr: []byte(r.out), Code: r.code}, r.err
}

func (r recorded) Ping(context.Context, baadal.Host) error { return r.err }

// hyper is a libvirt that runs guests of some types.
type hyper struct {
	runs map[string]bool
	err  error
}

func (h hyper) Node(context.Context, baadal.Host) (baadal.HostFacts, error) {
	return baadal.HostFacts{Hostname: "node", CPUs: 3, CPUModel: "by libvirt", RAMMiB: 999, Libvirt: "9.0.0", QEMU: "7.2.22"}, h.err
}

func (h hyper) VirtRuns(_ context.Context, _ baadal.Host, virt string) (bool, string, error) {
	return h.runs[virt], "no boot", h.err
}

// say writes the script's triples: name, code, text.
func say(parts ...[3]string) string {
	var b strings.Builder
	for _, p := range parts {
		for _, f := range p {
			b.WriteString(f + "\x00")
		}
	}
	return b.String()
}

const (
	netInfo = "Name:           ovs-net\nUUID:           x\nActive:         yes\nPersistent:     yes\nBridge:         br9\n"
	netXML  = "<network><name>ovs-net</name><forward mode='bridge'/><bridge name='br9'/><virtualport type='openvswitch'/><portgroup name='vlan10'/></network>"
)

var noon = time.Unix(1_700_000_000, 0)

// healthy is what a host says that lacks nothing, one part changed.
func healthy(change ...[3]string) string {
	parts := [][3]string{
		{"clock", "0", "1700000000.000"},
		{"hostname", "0", "h07"},
		{"cpus", "0", "16"},
		{"model", "0", "AMD EPYC 7302P"},
		{"memory", "0", "65874944"},
		{"lsblk", "0", `{"blockdevices": [{"name":"sda","type":"disk","size":1000204886016,"rm":false},{"name":"sdb","type":"disk","size":"8010194944","rm":"1"},{"name":"zram0","type":"disk","size":4294967296,"rm":false},{"name":"sr0","type":"rom","size":4294967296,"rm":true}]}`},
		{"sys_disks", "0", "sda 2147483648"},
		{"management", "0", "eno1 3c:ec:ef:00:11:22"},
		{"detect_virt", "1", "none"},
		{"in_guest", "1", ""},
		{"socket", "0", ""},
		{"bridges", "0", "br0\nbr9"},
		{"net_info", "0", netInfo},
		{"net_xml", "0", netXML},
		{"tools", "0", ""},
		{"chrony", "0", "/usr/bin/chronyc"},
		{"store /mnt/ds", "0", ""},
		{"clock_end", "0", "1700000000.500"},
	}
	for i, p := range parts {
		for _, c := range change {
			if c[0] == p[0] {
				parts[i] = c
			}
		}
	}
	return say(parts...)
}

func newRecorded(out string, h hyper) *probe.Prober {
	now := noon
	return probe.New(recorded{out: out}, h, probe.Options{Now: func() time.Time { n := now; now = now.Add(time.Second); return n }})
}

var stores = []baadal.Datastore{{Name: "ds1", Path: "/mnt/ds"}}

func TestProbeHealthy(t *testing.T) {
	t.Parallel()
	got, err := newRecorded(healthy(), hyper{runs: map[string]bool{"qemu": true}}).Probe(t.Context(), testHost, stores)
	if err != nil {
		t.Fatal(err)
	}
	want := baadal.HostFacts{
		Hostname: "h07", CPUs: 16, CPUModel: "AMD EPYC 7302P", RAMMiB: 64331, DiskGiB: 931, MAC: "3C:EC:EF:00:11:22", NIC: "eno1",
		Type: "Physical", Virt: "qemu", Libvirt: "9.0.0", QEMU: "7.2.22",
		Checks: []baadal.Check{
			{Name: "sshd", OK: true, Detail: "answers"},
			{Name: "libvirtd", OK: true, Detail: "libvirt 9.0.0, QEMU 7.2.22"},
			{Name: "virt", OK: true, Detail: "qemu runs a guest; kvm does not: no boot"},
			{Name: "openvswitch", OK: true, Detail: "bridge br9"},
			{Name: "network", OK: true, Detail: "ovs-net is active on bridge br9 with 1 portgroups"},
			{Name: "clock", OK: true, Detail: "in step with the controller"},
			{Name: "tools", OK: true, Detail: "all there"},
			{Name: "datastore ds1", OK: true, Detail: "mounted and writable"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestProbeChecks(t *testing.T) {
	t.Parallel()
	all := hyper{runs: map[string]bool{"kvm": true, "qemu": true}}
	for _, tc := range []struct {
		part              [3]string
		name, detail, fix string // fix empty: the check is ok
	}{
		{[3]string{"socket", "1", ""}, "libvirtd", "/run/libvirt/libvirt-sock: its socket is not there", "apt-get install libvirt-daemon-system && systemctl enable --now libvirtd"},
		{[3]string{"socket", "1", ""}, "virt", "cannot be tried without libvirtd", "systemctl enable --now libvirtd"},
		{[3]string{"bridges", "127", "timeout: failed to run command 'ovs-vsctl': No such file"}, "openvswitch", "ovs-vsctl is not installed", "apt-get install openvswitch-switch"},
		{[3]string{"bridges", "1", "ovs-vsctl: database connection failed\nmore"}, "openvswitch", "ovs-vsctl: database connection failed", "systemctl restart openvswitch-switch"},
		{[3]string{"bridges", "0", "br0"}, "openvswitch", "there is no bridge br9", "ovs-vsctl add-br br9"},
		{[3]string{"net_info", "1", "error: Network not found: no network with matching name 'ovs-net'"}, "network", "libvirt has no network ovs-net yet: it is made", ""},
		{[3]string{"net_info", "0", strings.Replace(netInfo, "yes", "no", 1)}, "network", "ovs-net is not active", "virsh net-start ovs-net && virsh net-autostart ovs-net"},
		{[3]string{"net_xml", "0", "<network><bridge name='br9'/></network>"}, "network", "ovs-net is not on Open vSwitch", "virsh net-edit ovs-net"},
		{[3]string{"clock", "0", "1699999990.000"}, "clock", "10s behind of the controller", "chronyc makestep"},
		{[3]string{"clock", "0", "1700000004.000"}, "clock", "3s ahead of the controller", "chronyc makestep"},
		{[3]string{"clock", "0", "1699999998.900"}, "clock", "in step with the controller", ""},
		{[3]string{"clock", "127", "sh: date: not found"}, "clock", "read the host's clock", "chronyc makestep"},
		{[3]string{"tools", "1", "qemu-img flock"}, "tools", "missing: qemu-img flock", "apt-get install qemu-utils"},
		{[3]string{"store /mnt/ds", "10", ""}, "datastore ds1", "nothing is mounted at /mnt/ds", "mount /mnt/ds"},
		{[3]string{"store /mnt/ds", "11", "touch: cannot touch '/mnt/ds/x': Read-only file system"}, "datastore ds1", "/mnt/ds is read-only", "mount -o remount,rw /mnt/ds"},
		{[3]string{"store /mnt/ds", "11", "touch: cannot touch '/mnt/ds/x': No space left on device"}, "datastore ds1", "mounted, and full", ""},
		{[3]string{"store /mnt/ds", "137", ""}, "datastore ds1", "/mnt/ds does not answer", "umount -f -l /mnt/ds && mount /mnt/ds"},
	} {
		facts, err := newRecorded(healthy(tc.part), all).Probe(t.Context(), testHost, stores)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, c := range facts.Checks {
			if c.Name != tc.name {
				continue
			}
			found = true
			if c.OK != (tc.fix == "") || !strings.HasPrefix(c.Detail, tc.detail) || !strings.HasPrefix(c.Fix, tc.fix) || c.OK && c.Fix != "" {
				t.Errorf("%v: %+v", tc.part, c)
			}
		}
		if !found {
			t.Errorf("%v: no check %s", tc.part, tc.name)
		}
	}
}

func TestProbeVirt(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		set  string
		h    hyper
		want string
		ok   bool
	}{
		{"", hyper{runs: map[string]bool{"kvm": true, "qemu": true}}, "kvm", true},
		{"qemu", hyper{runs: map[string]bool{"kvm": true, "qemu": true}}, "qemu", true},
		{"kvm", hyper{runs: map[string]bool{"qemu": true}}, "kvm", false},
		{"", hyper{}, "", false},
	} {
		h := testHost
		h.Virt = tc.set
		facts, err := newRecorded(healthy(), tc.h).Probe(t.Context(), h, nil)
		if err != nil || facts.Virt != tc.want || (len(facts.Failed()) == 0) != tc.ok {
			t.Errorf("%+v: %q, %v, %v", tc, facts.Virt, facts.Failed(), err)
		}
	}
	facts, err := newRecorded(healthy(), hyper{err: errors.New("no answer")}).Probe(t.Context(), testHost, nil)
	if err != nil || len(facts.Failed()) != 2 || facts.CPUs != 16 {
		t.Errorf("without libvirt: %+v, %v", facts, err)
	}
}

func TestProbeMachines(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, want string
		parts      [][3]string
	}{
		{"vm", "Virtual", [][3]string{{"detect_virt", "0", "kvm"}}},
		{"metal", "Physical", [][3]string{{"detect_virt", "1", "none"}, {"in_guest", "0", ""}}},
		{"vm without systemd", "Virtual", [][3]string{{"detect_virt", "127", "not found"}, {"in_guest", "0", ""}}},
		{"metal without systemd", "Physical", [][3]string{{"detect_virt", "127", "not found"}}},
	} {
		facts, err := newRecorded(healthy(tc.parts...), hyper{}).Probe(t.Context(), testHost, nil)
		if err != nil || facts.Type != tc.want {
			t.Errorf("%s: %s, %v", tc.name, facts.Type, err)
		}
	}
	facts, err := newRecorded(healthy([3]string{"lsblk", "127", "not found"}, [3]string{"hostname", "1", ""}, [3]string{"cpus", "1", ""}), hyper{}).Probe(t.Context(), testHost, nil)
	if err != nil || facts.DiskGiB != 2 || facts.Hostname != "node" || facts.CPUs != 3 {
		t.Errorf("fall-backs: %+v, %v", facts, err)
	}
}

func TestProbeErrors(t *testing.T) {
	t.Parallel()
	gone := baadal.Errorf(baadal.Unavailable, "host1 does not answer")
	p := probe.New(recorded{err: gone}, hyper{}, probe.Options{})
	if _, err := p.Probe(t.Context(), testHost, nil); baadal.KindOf(err) != baadal.Unavailable {
		t.Errorf("got %v", err)
	}
	if err := p.Alive(t.Context(), testHost); baadal.KindOf(err) != baadal.Unavailable {
		t.Errorf("got %v", err)
	}
	whole := healthy()
	if _, err := newRecorded(whole[:len(whole)-30], hyper{}).Probe(t.Context(), testHost, nil); err == nil {
		t.Error("a cut-off look is taken for a whole one")
	}
	bad := []baadal.Datastore{{Name: "x", Path: "relative"}}
	if _, err := newRecorded(whole, hyper{}).Probe(t.Context(), testHost, bad); baadal.KindOf(err) != baadal.Invalid {
		t.Errorf("got %v", err)
	}
}

// The script on this machine: facts that can be known otherwise, and a mounted,
// a read-only, a full, an unmounted and an oddly named datastore.
func TestProbeHere(t *testing.T) {
	t.Parallel()
	mount := func(flags uintptr, name string) baadal.Datastore {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", flags, "size=64k"); err != nil {
			needs.Skip(t, "cannot mount a tmpfs: "+err.Error())
		}
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
		return baadal.Datastore{Name: name, Path: dir}
	}
	odd := mount(0, "o'd d$(x)")
	filled := mount(0, "full")
	if err := os.WriteFile(filepath.Join(filled.Path, "x"), make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	all := []baadal.Datastore{odd, mount(unix.MS_RDONLY, "ro"), filled, {Name: "none", Path: t.TempDir()}}
	env := []string{"SSH_CONNECTION=127.0.0.1 5 127.0.0.1 22"}
	p := probe.New(local{env: env}, hyper{}, probe.Options{Socket: "/nowhere"})
	facts, err := p.Probe(t.Context(), testHost, all)
	if err != nil {
		t.Fatal(err)
	}
	name, _ := os.Hostname()
	var info unix.Sysinfo_t
	_ = unix.Sysinfo(&info)
	mib := int(info.Totalram * uint64(info.Unit) >> 20)
	if facts.Hostname != name || facts.CPUs < 1 || facts.NIC != "lo" || facts.RAMMiB < mib-1 || facts.RAMMiB > mib+1 {
		t.Errorf("facts are %+v", facts)
	}
	got := map[string]bool{}
	for _, c := range facts.Checks {
		got[c.Name] = c.OK
		if !c.OK && c.Fix == "" {
			t.Errorf("%s: no way to mend it", c.Name)
		}
	}
	for name, want := range map[string]bool{
		"datastore o'd d$(x)": true, "datastore ro": false, "datastore full": true, "datastore none": false, "clock": true, "libvirtd": false,
	} {
		if got[name] != want {
			t.Errorf("%s: %v", name, got[name])
		}
	}
	for _, ds := range all {
		if left, _ := filepath.Glob(filepath.Join(ds.Path, ".*")); len(left) > 0 {
			t.Errorf("left %v", left)
		}
	}
}

// A slow network is not a wrong clock, and does not hide one.
func TestProbeClock(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		off time.Duration
		ok  bool
	}{{0, true}, {10 * time.Second, false}, {-10 * time.Second, false}} {
		p := probe.New(local{delay: 300 * time.Millisecond}, hyper{}, probe.Options{Now: func() time.Time { return time.Now().Add(tc.off) }})
		facts, err := p.Probe(t.Context(), testHost, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range facts.Checks {
			if c.Name == "clock" && (c.OK != tc.ok || !tc.ok && !strings.Contains(c.Detail, "9.") && !strings.Contains(c.Detail, "10")) {
				t.Errorf("controller off by %s: %+v", tc.off, c)
			}
		}
	}
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	p := probe.New(recorded{}, hyper{}, probe.Options{FetchHostKey: func(_ context.Context, addr string) (string, string, error) {
		if addr != "a:22" {
			return "", "", baadal.Errorf(baadal.Unavailable, "nobody there")
		}
		return "ssh-ed25519 AAAA", "SHA256:x", nil
	}})
	key, fp, err := p.Fingerprint(t.Context(), "a:22")
	if err != nil || key != "ssh-ed25519 AAAA" || fp != "SHA256:x" {
		t.Errorf("%q %q %v", key, fp, err)
	}
	if _, _, err := p.Fingerprint(t.Context(), "b:22"); baadal.KindOf(err) != baadal.Unavailable {
		t.Errorf("got %v", err)
	}
}

// VLANs from a real ovsdb-server.
func TestVLANs(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	needs.Programs(t, "ovsdb-server", "ovsdb-tool", "ovs-vsctl")
	dir := t.TempDir()
	env := []string{"OVS_RUNDIR=" + dir}
	run := func(argv ...string) {
		t.Helper()
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", argv, err, out)
		}
	}
	p := probe.New(local{env: env}, hyper{}, probe.Options{})
	if _, err := p.VLANs(t.Context(), testHost); baadal.KindOf(err) != baadal.Unavailable {
		t.Errorf("without a server: %v", err)
	}
	run("ovsdb-tool", "create", dir+"/conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
	server := exec.Command("ovsdb-server", dir+"/conf.db", "--remote=punix:"+dir+"/db.sock", "--unixctl="+dir+"/ctl")
	server.Env = append(os.Environ(), env...)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	for range 200 {
		if _, err := os.Stat(dir + "/db.sock"); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got, err := p.VLANs(t.Context(), testHost); err == nil && len(got) != 0 {
		t.Errorf("a fresh switch has %v", got)
	}
	run("ovs-vsctl", "--no-wait", "init")
	run("ovs-vsctl", "--no-wait", "add-br", "br0")
	port := func(name, mac string, more ...string) {
		args := []string{"ovs-vsctl", "--no-wait", "add-port", "br0", name}
		args = append(args, more...)
		if mac != "" {
			args = append(args, "--", "set", "interface", name, fmt.Sprintf("external_ids:attached-mac=%q", mac), "external_ids:iface-id=x")
		}
		run(args...)
	}
	port("vnet0", "a2:00:00:00:00:01", "tag=10")
	port("vnet1", "a2:00:00:00:00:02", "tag=20", "trunks=[]")
	port("vnet2", "a2:00:00:00:00:03")
	port("trunk0", "")
	port("vnet3", "a2:00:00:00:00:04", "tag=30")
	run("ovs-vsctl", "--no-wait", "set", "interface", "vnet3", "ofport=-1")
	port("vnet4", "a2:00:00:00:00:05", "tag=4094")
	run("ovs-vsctl", "--no-wait", "set", "interface", "vnet4", "ofport=7")

	got, err := p.VLANs(t.Context(), testHost)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"A2:00:00:00:00:01": 10, "A2:00:00:00:00:02": 20, "A2:00:00:00:00:03": 0, "A2:00:00:00:00:05": 4094}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := probe.New(recorded{out: "no json"}, hyper{}, probe.Options{}).VLANs(t.Context(), testHost); err == nil {
		t.Error("nonsense is taken for tables")
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	g := probe.NewGuests()
	start := time.Now()
	if !g.Answers(t.Context(), "127.0.0.1") {
		t.Error("this machine does not answer")
	}
	for _, nobody := range []string{"192.0.2.77", "", "localhost", "-f", "127.0.0.1; true", "fe80::1%lo"} {
		if g.Answers(t.Context(), nobody) {
			t.Errorf("%q answers", nobody)
		}
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("took %s", took)
	}
	// A refused connection is an answer, even without ping.
	if l, err := net.Listen("tcp", "127.0.0.99:22"); err == nil {
		_ = l.Close()
		if !g.Answers(t.Context(), "127.0.0.99") {
			t.Error("a refused connection is not taken for an answer")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if g.Answers(ctx, "127.0.0.1") {
		t.Error("an answer after the end")
	}
}
