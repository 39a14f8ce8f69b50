package flow_test

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/flow"
	"baadal/internal/needs"
)

// Where the host itself is reached through a bridge its way stays open, and the
// bridge would open by itself after a crash of the switch: also if libvirt, which
// tells the bridges, does not answer.
func TestTheHostsOwnWay(t *testing.T) {
	tests := map[string]struct {
		look  string
		local string // what becomes of what the host sends through its port on the bridge
		mode  string
	}{
		"on another way":                {"bridge br0\nown eth0\n", "drop", "secure"},
		"on the bridge":                 {"own br0\nbridge br0\n", "pass", ""},
		"on the bridge, libvirt away":   {"own br0\n", "pass", ""},
		"in a VLAN on the bridge":       {"bridge br0\nown mgmt\nbelow br0\n", "pass", ""},
		"on a port of the bridge":       {"bridge br0\nown mgmt0\n", "pass", ""},
		"on a pair with a port":         {"bridge br0\nown peer\nbelow up0\n", "pass", ""},
		"on a card that is the way out": {"bridge br0\nown up0\n", "drop", "secure"},
	}
	m := newMachine(t)
	m.plug("a0", macA, uuidA, 10)
	m.vsctl("add-port", bridge, "mgmt0", "tag=10", "--", "set", "interface", "mgmt0", "type=internal")
	const frame = "in_port=LOCAL,dl_src=02:00:00:00:00:98,dl_dst=a2:00:00:00:00:0a,ip,nw_src=10.0.0.1,nw_dst=192.168.10.11"
	for name, x := range tests {
		m.tells(x.look)
		for _, before := range []string{"", "secure"} { // as it was found, and as we left it when the host's address was elsewhere
			if m.vsctl("del-fail-mode", bridge); before != "" {
				m.vsctl("set-fail-mode", bridge, before)
			}
			if err := flow.New(m, flow.Options{RunDir: m.dir}).Apply(t.Context(), host, read); err != nil {
				t.Fatal(err)
			}
			want := x.mode
			if want == "" && before != "" {
				want = "standalone"
			}
			if got := m.vsctl("get-fail-mode", bridge); got != want {
				t.Errorf("%s: the fail mode is %q, want %q; it was %q", name, got, want, before)
			}
		}
		if got := m.verdict(frame); got != x.local {
			t.Errorf("%s: %s, want %s", name, got, x.local)
		}
	}
}

// The script that looks at the host understands what ip and virsh say.
func TestLook(t *testing.T) {
	dir := t.TempDir()
	for name, script := range map[string]string{
		"ip": `case $* in
"-o address show scope global")
	echo "1: eth0    inet 10.0.0.5/24 brd 10.0.0.255 scope global dynamic eth0\       valid_lft 3000sec"
	echo "7: mgmt    inet6 2001:db8::5/64 scope global"
	;;
"-o link show dev mgmt") echo "7: mgmt@br0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500" ;;
"-o link show dev eth0") echo "1: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500" ;;
*) exit 1 ;;
esac`,
		"virsh": `for network; do :; done
case $network in
uri) ;;
ovs-net) printf "<network>\n  <bridge name='br0'/>\n</network>\n" ;;
*) echo "Network not found" >&2; exit 1 ;;
esac`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil { //nolint:gosec // to be run
			t.Fatal(err)
		}
	}
	cmd := exec.Command("sh", "-c", flow.LookScript, "baadal", "other-net", "ovs-net") //nolint:gosec // ours
	cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var got []string // without what the machine of the test has below a device of that name
	for l := range strings.Lines(string(out)) {
		if l = strings.TrimSpace(l); !strings.HasPrefix(l, "below") || l == "below br0" {
			got = append(got, l)
		}
	}
	if diff := cmp.Diff([]string{"own eth0", "own mgmt", "below br0", "bridge br0"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestClear: a host that is ours no more lets everything pass, as after a crash
// of its switch. One without a bridge has nothing to be cleared.
func TestClear(t *testing.T) {
	m := newMachine(t)
	m.plug("a0", macA, uuidA, 10)
	k := flow.New(m, flow.Options{RunDir: m.dir})
	if err := k.Apply(t.Context(), host, read); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it may be done again
		if err := k.Clear(t.Context(), host, read); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.flows(); strings.Contains(got, "drop") || !strings.Contains(got, "NORMAL") {
		t.Error(got)
	}
	if mode, frags := m.vsctl("get-fail-mode", bridge), m.must("ovs-ofctl", "get-frags", bridge); mode != "standalone" || frags != "normal" {
		t.Errorf("fail mode %q, fragments %q", mode, frags)
	}
	m.vsctl("del-br", bridge)
	m.tells("")
	if err := k.Apply(t.Context(), host, read); baadal.CodeOf(err) != "no_bridge" {
		t.Errorf("without a bridge: %v", err)
	}
	if err := k.Clear(t.Context(), host, read); err != nil {
		t.Errorf("without a bridge: %v", err)
	}
}

// What is laid once from what was read before somebody else laid newer rules is
// laid again.
func TestApplyDoesNotLeaveOldRules(t *testing.T) {
	m := newMachine(t)
	m.plug("a0", macA, uuidA, 10)
	reads := 0
	err := flow.New(m, flow.Options{RunDir: m.dir}).Apply(t.Context(), host, func(macs []string) (baadal.FlowPolicy, error) {
		p, err := read(macs)
		if reads++; reads > 1 {
			p.NICs[0].Addresses = []string{"192.168.10.99"}
		}
		return p, err
	})
	if got := m.flows(); err != nil || !strings.Contains(got, "192.168.10.99") || strings.Contains(got, "192.168.10.11") {
		t.Errorf("%v:\n%s", err, got)
	}
}

// How the switch handles fragments is part of what is compared.
func TestFragmentsDiffer(t *testing.T) {
	m := newMachine(t)
	k := flow.New(m, flow.Options{RunDir: m.dir})
	if err := k.Apply(t.Context(), host, read); err != nil {
		t.Fatal(err)
	}
	m.must("ovs-ofctl", "set-frags", bridge, "normal")
	words, err := k.Differences(t.Context(), host, read)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"br0: fragments are handled as normal, not nx-match"}, words); diff != "" {
		t.Error(diff)
	}
}

// Nobody calls the switch of a bridge that is gone, and one that is made again
// has its rules.
func TestABridgeGoes(t *testing.T) {
	m := newMachine(t)
	keep(t, m, nil, read)
	rules := func() bool {
		out, err := exec.Command("ovs-ofctl", "-OOpenFlow14", "dump-flows", "unix:"+m.dir+"/"+bridge+".mgmt").Output() //nolint:gosec // the test's own
		return err == nil && strings.Contains(string(out), "0xbaada1")
	}
	eventually(t, "rules", rules)
	m.vsctl("del-br", bridge)
	time.Sleep(time.Second)
	before := m.dials.Load()
	time.Sleep(time.Second)
	if n := m.dials.Load() - before; n != 0 {
		t.Errorf("the switch of a bridge that is gone was called %d times in a second", n)
	}
	m.vsctl("add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=dummy")
	eventually(t, "rules of the new bridge", rules)
}

// A network that the host gets only later is looked for again, also while the
// bridge of another one is known.
func TestABridgeComes(t *testing.T) {
	needs.Time(t)
	m := newMachine(t)
	m.tells("bridge br9\n")
	keep(t, m, nil, func(macs []string) (baadal.FlowPolicy, error) {
		p, err := read(macs)
		p.Networks = []string{"ovs-net", "second"}
		return p, err
	})
	time.Sleep(500 * time.Millisecond) // it has looked
	m.tells("bridge br9\nbridge br0\n")
	eventually(t, "rules of the second network's bridge", func() bool { return strings.Contains(m.flows(), "0xbaada1") })
}

// mute is a host whose database takes everything and says nothing.
type mute struct{ *machine }

func (mute) DialUnix(context.Context, baadal.Host, string) (net.Conn, error) {
	here, there := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, there) }()
	return here, nil
}

// A database that hangs is no reason to wait for ever, or to say nothing.
func TestMuteDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := flow.New(mute{}, flow.Options{})
		for name, err := range map[string]error{"Keep": k.Keep(t.Context(), host, nil, read), "Apply": k.Apply(t.Context(), host, read)} {
			if baadal.KindOf(err) != baadal.Unavailable || baadal.CodeOf(err) != "openvswitch_failing" {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
