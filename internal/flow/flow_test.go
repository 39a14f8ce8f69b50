package flow_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/flow"
	"baadal/internal/needs"
	"baadal/internal/ssh"
)

// machine is a real Open vSwitch in a folder, with ports that lead nowhere.
type machine struct {
	t     *testing.T
	dir   string
	look  atomic.Pointer[string] // what a look at the host tells
	vs    *exec.Cmd
	runs  atomic.Int64
	dials atomic.Int64 // to switches that are not there
}

const (
	bridge  = "br0"
	macA    = "A2:00:00:00:00:0A"
	globalA = "2001:db8::a000:ff:fe00:a" // what follows from it in the network's prefix
	macB    = "A2:00:00:00:00:0B"
	uuidA   = "11111111-1111-4111-8111-111111111111"
	uuidB   = "22222222-2222-4222-8222-222222222222"
)

func newMachine(t *testing.T) *machine {
	t.Helper()
	needs.Programs(t, "ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl")
	m := at(t, t.TempDir())
	m.must("ovsdb-tool", "create", filepath.Join(m.dir, "conf.db"), "/usr/share/openvswitch/vswitch.ovsschema")
	m.start("ovsdb-server", filepath.Join(m.dir, "conf.db"), "--remote=punix:"+filepath.Join(m.dir, "db.sock"))
	m.await("db.sock")
	m.must("ovs-vsctl", "--db=unix:"+m.dir+"/db.sock", "--retry", "--timeout=20", "--no-wait", "init") // its socket is there before it listens
	m.startSwitch()
	m.vsctl("add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=dummy")
	m.vsctl("add-port", bridge, "up0", "--", "set", "interface", "up0", "type=dummy", "ofport_request=1")
	return m
}

// at is the machine in a folder.
func at(t *testing.T, dir string) *machine {
	t.Helper()
	m := &machine{t: t, dir: dir}
	m.tells("bridge " + bridge + "\n")
	return m
}

// tells sets what a look at the host tells.
func (m *machine) tells(text string) { m.look.Store(&text) }

func (m *machine) env() []string {
	return append(os.Environ(), "OVS_RUNDIR="+m.dir, "OVS_LOGDIR="+m.dir, "OVS_DBDIR="+m.dir, "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
}

func (m *machine) start(argv ...string) *exec.Cmd {
	m.t.Helper()
	cmd := exec.Command(argv[0], append(argv[1:], "-vconsole:off")...) //nolint:gosec // the test's own
	cmd.Env, cmd.Dir = m.env(), m.dir
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

func (m *machine) startSwitch() {
	m.vs = m.start("ovs-vswitchd", "unix:"+m.dir+"/db.sock", "--enable-dummy=override", "--disable-system", "--pidfile", "--no-chdir")
}

func (m *machine) await(name string) {
	m.t.Helper()
	for range 500 {
		if _, err := os.Stat(filepath.Join(m.dir, name)); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	m.t.Fatal(name + " does not come")
}

func (m *machine) must(argv ...string) string {
	m.t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:gosec // the test's own
	cmd.Env = m.env()
	out, err := cmd.CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (m *machine) vsctl(argv ...string) string {
	m.t.Helper()
	return m.must(append([]string{"ovs-vsctl", "--db=unix:" + m.dir + "/db.sock", "--timeout=20"}, argv...)...)
}

// plug adds a port as libvirt does.
func (m *machine) plug(name, mac, uuid string, tag int) {
	m.t.Helper()
	m.vsctl("add-port", bridge, name, fmt.Sprintf("tag=%d", tag), "--", "set", "interface", name, "type=dummy",
		fmt.Sprintf("external_ids:attached-mac=%q", strings.ToLower(mac)), "external_ids:vm-id="+uuid, "external_ids:iface-status=active")
}

func (m *machine) flows() string {
	m.t.Helper()
	return sorted(m.must("ovs-ofctl", "-OOpenFlow14", "--no-stats", "dump-flows", bridge))
}

// sorted puts lines in order: the switch has none among rules of one priority.
func sorted(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// Run and DialUnix make the machine a host.
func (m *machine) Run(ctx context.Context, _ baadal.Host, c ssh.Command) (ssh.Result, error) {
	if strings.Contains(strings.Join(c.Argv, " "), "net-dumpxml") {
		return ssh.Result{Stdout: []byte(*m.look.Load())}, nil
	}
	m.runs.Add(1)
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...) //nolint:gosec // as given
	cmd.Env = m.env()
	var out, bad strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, &out, &bad
	err := cmd.Run()
	code := cmd.ProcessState.ExitCode()
	if code >= 0 {
		err = nil
	}
	return ssh.Result{Stdout: []byte(out.String()), Stderr: []byte(bad.String()), Code: code}, err
}

func (m *machine) DialUnix(ctx context.Context, _ baadal.Host, path string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil && strings.HasSuffix(path, ".mgmt") {
		m.dials.Add(1)
	}
	return conn, err
}

// read is the policy of a cloud with two VMs in VLAN 10.
func read(macs []string) (p baadal.FlowPolicy, err error) {
	p = baadal.FlowPolicy{Networks: []string{"ovs-net"}, VLANs: []int{10}}
	for _, m := range macs {
		switch m {
		case macA:
			p.NICs = append(p.NICs, baadal.FlowNIC{VM: uuidA, MAC: m, VLAN: 10, Addresses: []string{"192.168.10.11", globalA}})
		case macB:
			p.NICs = append(p.NICs, baadal.FlowNIC{VM: uuidB, MAC: m, VLAN: 10, Addresses: []string{"192.168.10.12"}})
		}
	}
	return p, nil
}

var host = baadal.Host{ID: 1, Name: "h"}

func eventually(t *testing.T, what string, ok func() bool) time.Duration {
	t.Helper()
	begun := time.Now()
	for !ok() {
		if time.Since(begun) > 20*time.Second {
			t.Fatal("not within 20 s: " + what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(begun)
}

// verdict is what the switch would do with a frame.
func (m *machine) verdict(frame string) string {
	m.t.Helper()
	out := m.must("ovs-appctl", "-t", filepath.Join(m.dir, fmt.Sprintf("ovs-vswitchd.%d.ctl", m.vs.Process.Pid)), "ofproto/trace", bridge, frame)
	_, action, _ := strings.Cut(out, "Datapath actions: ")
	if action == "drop" {
		return "drop"
	}
	return "pass"
}

func TestWhatPasses(t *testing.T) {
	m := newMachine(t)
	m.plug("a0", macA, uuidA, 10)
	m.plug("b0", macB, uuidB, 10)
	m.plug("other20", "02:00:00:00:00:20", "33333333-3333-4333-8333-333333333333", 20)
	m.plug("other10", "02:00:00:00:00:10", "44444444-4444-4444-8444-444444444444", 10)
	m.plug("liar", "A2:00:00:00:00:0c", uuidA, 10)
	if err := flow.New(m, flow.Options{RunDir: m.dir}).Apply(t.Context(), host, read); err != nil {
		t.Fatal(err)
	}
	in := func(port string) string { return "in_port=" + m.vsctl("get", "interface", port, "ofport") + "," }
	a, own := in("a0"), "dl_src=a2:00:00:00:00:0a,dl_dst=a2:00:00:00:00:0b,"
	const ll, foreign = "fe80::a000:ff:fe00:a", "fe80::a000:ff:fe00:b"
	tests := map[string]string{
		a + own + "ip,nw_src=192.168.10.11,nw_dst=192.168.10.12":                                                  "pass",
		a + own + "ip,nw_src=192.168.10.12,nw_dst=192.168.10.13":                                                  "drop", // the neighbour's address
		a + "dl_src=a2:00:00:00:00:0b,dl_dst=ff:ff:ff:ff:ff:ff,ip,nw_src=192.168.10.11,nw_dst=192.168.10.12":      "drop", // the neighbour's MAC
		a + own + "arp,arp_op=1,arp_sha=a2:00:00:00:00:0a,arp_spa=192.168.10.11,arp_tpa=192.168.10.12":            "pass",
		a + own + "arp,arp_op=2,arp_sha=a2:00:00:00:00:0a,arp_spa=192.168.10.12,arp_tpa=192.168.10.13":            "drop",
		a + own + "arp,arp_op=2,arp_sha=a2:00:00:00:00:0b,arp_spa=192.168.10.11,arp_tpa=192.168.10.13":            "drop",
		a + own + "arp,arp_op=1,arp_sha=a2:00:00:00:00:0a,arp_tpa=192.168.10.11":                                  "pass",
		a + own + "arp,arp_op=2,arp_sha=a2:00:00:00:00:0a,arp_tpa=192.168.10.11":                                  "drop",
		a + "dl_src=a2:00:00:00:00:0a,dl_dst=ff:ff:ff:ff:ff:ff,dl_type=0x8035,arp_op=3,arp_sha=a2:00:00:00:00:0a": "pass",
		a + "dl_src=a2:00:00:00:00:0a,dl_dst=ff:ff:ff:ff:ff:ff,udp,nw_dst=255.255.255.255,udp_src=68,udp_dst=67":  "pass",
		a + own + "udp,nw_src=192.168.10.11,nw_dst=192.168.10.12,udp_src=67,udp_dst=68":                           "drop", // a DHCP server
		a + own + "udp,nw_src=192.168.10.11,nw_dst=255.255.255.255,udp_src=1067,udp_dst=68":                       "drop", // one with another port
		a + own + "udp6,ipv6_src=" + ll + ",ipv6_dst=ff02::1,udp_src=547,udp_dst=546":                             "drop",
		a + own + "udp6,ipv6_src=" + ll + ",ipv6_dst=ff02::1,udp_src=1547,udp_dst=546":                            "drop",
		a + own + "icmp6,ipv6_src=" + ll + ",ipv6_dst=ff02::1,icmpv6_type=134":                                    "drop", // a router
		a + own + "icmp6,ipv6_src=" + ll + ",ipv6_dst=ff02::1,icmpv6_type=137":                                    "drop",
		a + own + "icmp6,ipv6_src=" + ll + ",ipv6_dst=ff02::1,icmpv6_type=136,nd_target=" + ll:                    "pass",
		a + own + "icmp6,ipv6_src=" + ll + ",ipv6_dst=ff02::1,icmpv6_type=136,nd_target=" + foreign:               "drop",
		a + own + "icmp6,ipv6_src=" + ll + ",ipv6_dst=ff02::2,icmpv6_type=133":                                    "pass", // asks for a router
		a + own + "tcp6,ipv6_src=" + globalA + ",ipv6_dst=2001:db8::12,tp_dst=22":                                 "pass",
		a + own + "tcp6,ipv6_src=2001:db8::12,ipv6_dst=2001:db8::13,tp_dst=22":                                    "drop",
		a + own + "tcp6,ipv6_src=2001:db8:0:1:a000:ff:fe00:a,ipv6_dst=2001:db8::13,tp_dst=22":                     "drop", // in another prefix
		a + own + "icmp6,ipv6_src=" + ll + ",ipv6_dst=ff02::1,icmpv6_type=136,nd_target=" + globalA:               "pass",
		a + own + "icmp6,ipv6_src=" + globalA + ",ipv6_dst=ff02::1,icmpv6_type=136,nd_target=2001:db8::12":        "drop",
		a + own + "icmp6,ipv6_dst=ff02::1,icmpv6_type=135,nd_target=" + globalA:                                   "pass",
		a + own + "icmp6,ipv6_dst=ff02::1,icmpv6_type=135,nd_target=2001:db8::12":                                 "drop",
		a + own + "icmp6,ipv6_dst=ff02::1,icmpv6_type=135,nd_target=" + ll:                                        "pass",
		a + own + "icmp6,ipv6_dst=ff02::1,icmpv6_type=135,nd_target=" + foreign:                                   "drop",
		a + own + "dl_vlan=20,ip,nw_src=192.168.10.11,nw_dst=192.168.10.12":                                       "drop", // out of its VLAN
		a + own + "dl_type=0x88cc":                                      "drop",
		in("b0") + own + "ip,nw_src=192.168.10.11,nw_dst=192.168.10.12": "drop", // as A, from B's port
		in("b0") + "dl_src=a2:00:00:00:00:0b,dl_dst=a2:00:00:00:00:0a,tcp6,ipv6_src=2001:db8::a000:ff:fe00:b,ipv6_dst=2001:db8::1":         "drop", // its network has no prefix
		in("up0") + "dl_src=02:00:00:00:00:99,dl_dst=33:33:00:00:00:01,dl_vlan=10,icmp6,ipv6_src=fe80::1,ipv6_dst=ff02::1,icmpv6_type=134": "pass", // the network's router
		in("up0") + own + "dl_vlan=10,udp,nw_src=192.168.10.1,nw_dst=192.168.10.12,udp_src=67,udp_dst=68":                                  "pass", // the way out
		in("up0") + "dl_src=02:00:00:00:00:99,dl_dst=ff:ff:ff:ff:ff:ff,dl_vlan=20,ip,nw_src=10.0.0.1,nw_dst=10.0.0.2":                      "pass", // others' VLANs
		in("other20") + "dl_src=02:00:00:00:00:20,dl_dst=ff:ff:ff:ff:ff:ff,ip,nw_src=10.0.0.1,nw_dst=10.0.0.2":                             "pass", // others' VMs there
		in("other10") + "dl_src=02:00:00:00:00:10,dl_dst=ff:ff:ff:ff:ff:ff,ip,nw_src=10.0.0.1,nw_dst=10.0.0.2":                             "drop", // others' VMs in our VLAN
		in("liar") + "dl_src=a2:00:00:00:00:0c,dl_dst=ff:ff:ff:ff:ff:ff,ip,nw_src=192.168.10.11,nw_dst=10.0.0.2":                           "drop", // one of ours, with a NIC that nobody knows
		"in_port=LOCAL,dl_src=02:00:00:00:00:98,dl_dst=ff:ff:ff:ff:ff:ff,ip,nw_src=10.0.0.1,nw_dst=10.0.0.2":                               "drop",
		"in_port=99,dl_src=a2:00:00:00:00:0a,dl_dst=ff:ff:ff:ff:ff:ff,ip,nw_src=192.168.10.11,nw_dst=192.168.10.12":                        "drop", // a port that nobody knows
	}
	for frame, want := range tests {
		if got := m.verdict(frame); got != want {
			t.Errorf("%s: %s, want %s", frame, got, want)
		}
	}
	if got := m.must("ovs-ofctl", "get-frags", bridge); !strings.Contains(got, "nx-match") {
		t.Error(got) // else the ports of fragments are not seen
	}
	if got := m.vsctl("get-fail-mode", bridge); got != "secure" {
		t.Errorf("fail mode %q", got)
	}
}

// keep runs Keep in the background.
func keep(t *testing.T, m *machine, wake <-chan struct{}, read baadal.FlowRead) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	k := flow.New(m, flow.Options{RunDir: m.dir})
	go func() { done <- k.Keep(ctx, host, wake, read) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != context.Canceled { //nolint:errorlint // the cause itself
			t.Errorf("Keep: %v", err)
		}
	})
}

func TestKeep(t *testing.T) {
	m := newMachine(t)
	var off atomic.Bool
	wake := make(chan struct{}, 1)
	keep(t, m, wake, func(macs []string) (baadal.FlowPolicy, error) {
		p, err := read(macs)
		p.Off = off.Load()
		return p, err
	})
	has := func(text string) func() bool { return func() bool { return strings.Contains(m.flows(), text) } }
	hasNot := func(text string) func() bool { return func() bool { return !strings.Contains(m.flows(), text) } }
	eventually(t, "base rules", has("0xbaada1"))
	begun := time.Now()
	m.plug("a0", macA, uuidA, 10)
	eventually(t, "rules of a VM that started", has("192.168.10.11"))
	t.Logf("a VM's rules are there %s after its port was asked for", time.Since(begun).Round(time.Millisecond))
	whole := m.flows()

	m.must("ovs-ofctl", "-OOpenFlow14", "del-flows", bridge, "arp")
	t.Logf("rules that were removed by hand are back after %s", eventually(t, "removed rules", func() bool { return m.flows() == whole }))
	m.must("ovs-ofctl", "-OOpenFlow14", "add-flow", bridge, "priority=900,actions=NORMAL")
	eventually(t, "a rule too many is gone", hasNot("priority=900"))

	_ = m.vs.Process.Kill()
	_ = m.vs.Wait()
	m.startSwitch()
	begun = time.Now()
	eventually(t, "the switch is back", func() bool {
		out, err := m.Run(t.Context(), host, ssh.Command{Argv: []string{"ovs-ofctl", "-OOpenFlow14", "--no-stats", "dump-flows", bridge}})
		return err == nil && sorted(string(out.Stdout)) == whole
	})
	t.Logf("after a crash of the switch the rules are back within %s of its start", time.Since(begun).Round(time.Millisecond))
	if got := m.must("ovs-ofctl", "get-frags", bridge); !strings.Contains(got, "nx-match") {
		t.Error(got)
	}

	m.vsctl("del-port", "a0")
	eventually(t, "rules of a VM that stopped", hasNot("192.168.10.11"))

	off.Store(true)
	wake <- struct{}{}
	eventually(t, "switched off", func() bool {
		return m.vsctl("get-fail-mode", bridge) == "standalone" && !strings.Contains(m.flows(), "drop") && strings.Contains(m.flows(), "NORMAL")
	})
	off.Store(false)
	wake <- struct{}{}
	eventually(t, "switched on", func() bool {
		return m.vsctl("get-fail-mode", bridge) == "secure" && strings.Contains(m.flows(), "drop")
	})
}

func TestQuietWhenNothingChanges(t *testing.T) {
	needs.Time(t)
	m := newMachine(t)
	m.plug("a0", macA, uuidA, 10)
	keep(t, m, nil, read)
	eventually(t, "rules", func() bool { return strings.Contains(m.flows(), "192.168.10.11") })
	m.quiet()
}

// quiet fails if anything is done while nothing changes.
func (m *machine) quiet() {
	m.t.Helper()
	time.Sleep(200 * time.Millisecond)
	before := m.runs.Load()
	time.Sleep(3 * time.Second) // three counts
	if n := m.runs.Load() - before; n != 0 {
		m.t.Errorf("%d commands were run though nothing changed", n)
	}
}

func TestDifferences(t *testing.T) {
	m := newMachine(t)
	m.plug("a0", macA, uuidA, 10)
	k := flow.New(m, flow.Options{RunDir: m.dir})
	look := func() string {
		d, err := k.Differences(t.Context(), host, read)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(d, "; ")
	}
	if got := look(); !strings.Contains(got, "fail mode") || !strings.Contains(got, "rules are missing") {
		t.Errorf("before: %q", got)
	}
	if err := k.Apply(t.Context(), host, read); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("", look()); diff != "" {
		t.Error(diff)
	}
	m.must("ovs-ofctl", "-OOpenFlow14", "add-flow", bridge, "priority=900,actions=NORMAL")
	if diff := cmp.Diff("br0: 0 rules are missing, 1 are there that should not be", look()); diff != "" {
		t.Error(diff)
	}
}

// Half of the rules must not be taken for all.
func TestBrokenInputChangesNothing(t *testing.T) {
	m := newMachine(t)
	m.plug("a0", macA, uuidA, 10)
	if err := flow.New(m, flow.Options{RunDir: m.dir}).Apply(t.Context(), host, read); err != nil {
		t.Fatal(err)
	}
	whole := m.flows()
	if err := flow.New(&torn{m}, flow.Options{RunDir: m.dir}).Apply(t.Context(), host, read); baadal.KindOf(err) != baadal.Unavailable {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff(whole, m.flows()); diff != "" {
		t.Error(diff)
	}
}

// torn loses the end of what is sent.
type torn struct{ *machine }

func (h *torn) Run(ctx context.Context, host baadal.Host, c ssh.Command) (ssh.Result, error) {
	if c.Stdin != nil {
		c.Stdin = io.LimitReader(c.Stdin, 400)
	}
	return h.machine.Run(ctx, host, c)
}
