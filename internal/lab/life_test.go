package lab_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"baadal/internal/cloudinit"
	"baadal/internal/lab"
)

// TestLife leads one lab through all that can happen to it. The parts share it, and run in turn.
func TestLife(t *testing.T) {
	needLab(t)
	l := up(t, options(t, 2))
	for _, part := range []struct {
		name string
		test func(*testing.T, *lab.Lab)
	}{
		{"nodes", testNodes},
		{"dhcp server", testDHCP},
		{"power", testPower},
		{"cut", testCut},
		{"datastores", testDatastores},
		{"commands", testCommands},
		{"listener", testListener},
		{"guest", testGuest},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, l) })
	}
}

func stateOf(t *testing.T, l *lab.Lab, node string) lab.NodeStatus {
	t.Helper()
	s, err := l.Status()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(s.Nodes, func(n lab.NodeStatus) bool { return n.Name == node })
	if i < 0 {
		t.Fatalf("no node %s in %v", node, s.Nodes)
	}
	return s.Nodes[i]
}

func testNodes(t *testing.T, l *lab.Lab) {
	for _, node := range []string{lab.DHCP, lab.NAT, "host1", "host2"} {
		if got := mustOutput(t, l, lab.Controller, "ssh", node, "hostname"); got != node {
			t.Errorf("ssh to %s leads to %s", node, got)
		}
	}
	if !pings(t, l, lab.Controller, "192.168.10.254") || !pings(t, l, lab.Controller, "192.168.20.1") {
		t.Error("the VLANs cannot be reached from the controller")
	}
	if got := mustOutput(t, l, "host1", "virsh", "net-list", "--name"); got != lab.HostNetwork {
		t.Errorf("libvirt's networks are %q", got)
	}
	if got := mustOutput(t, l, "host1", "virsh", "capabilities"); strings.Contains(got, "<domain type='kvm'") {
		t.Error("libvirt offers kvm in a lab of emulated guests")
	}
	if _, err := output(t, l, "host1", "touch", "/usr/x"); err == nil {
		t.Error("a node can write to the machine's /usr")
	}
}

func testDHCP(t *testing.T, l *lab.Lab) {
	conf := l.NodePath(lab.DHCP, "/etc/dhcp/baadal.conf")
	before := mustOutput(t, l, lab.DHCP, "cat", "/run/dhcpd.pid")
	if err := os.WriteFile(conf, []byte("garbage {\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := output(t, l, lab.DHCP, "/etc/dhcp/restart-dhcpd"); err == nil || !strings.Contains(out, "semicolon expected") {
		t.Errorf("a bad configuration: %v: %s", err, out)
	}
	if got := mustOutput(t, l, lab.DHCP, "cat", "/run/dhcpd.pid"); got != before {
		t.Error("a bad configuration stopped the server")
	}
	good := "host g { hardware ethernet 52:54:00:00:10:01; fixed-address 192.168.10.11; }\n"
	if err := os.WriteFile(conf, []byte(good), 0o644); err != nil {
		t.Fatal(err)
	}
	mustOutput(t, l, lab.DHCP, "/etc/dhcp/restart-dhcpd")
	if got := mustOutput(t, l, lab.DHCP, "pgrep", "-x", "dhcpd"); got == before || strings.Contains(got, "\n") {
		t.Errorf("dhcpd was %s and is %s after a restart", before, got)
	}
}

func testPower(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	const definition = `<domain type='qemu'><name>keep</name><memory>1024</memory><os><type>hvm</type></os></domain>`
	path := filepath.Join(l.DatastorePath(lab.Datastore), "keep.xml")
	if err := os.WriteFile(path, []byte(definition), 0o644); err != nil {
		t.Fatal(err)
	}
	mustOutput(t, l, "host2", "virsh", "define", "/mnt/datastore/keep.xml")
	mustOutput(t, l, "host2", "ovs-vsctl", "add-port", lab.HostBridge, "vnet7")
	key := mustOutput(t, l, "host2", "cat", "/etc/ssh/ssh_host_ed25519_key.pub")

	for range 2 { // the second finds it off
		if err := l.Kill(ctx, "host2"); err != nil {
			t.Fatal(err)
		}
	}
	if n := stateOf(t, l, "host2"); n.State != lab.StateOff || n.PID != 0 {
		t.Errorf("host2 after the kill: %+v", n)
	}
	if pings(t, l, lab.Controller, "host2") {
		t.Error("a host without power answers")
	}
	if _, err := output(t, l, "host2", "true"); err == nil || !strings.Contains(err.Error(), "off") {
		t.Errorf("a command on a host without power: %v", err)
	}
	for range 2 {
		if err := l.Boot(ctx, "host2"); err != nil {
			t.Fatal(err)
		}
	}
	if got := mustOutput(t, l, lab.Controller, "ssh", "host2", "virsh", "list", "--all", "--name"); got != "keep" {
		t.Errorf("after the boot host2 has the domains %q", got)
	}
	if got := mustOutput(t, l, "host2", "cat", "/etc/ssh/ssh_host_ed25519_key.pub"); got != key {
		t.Error("host2 came back with another key")
	}
	if got := mustOutput(t, l, "host2", "ovs-vsctl", "list-ports", lab.HostBridge); got != "trunk0" {
		t.Errorf("host2 came back with the ports %q", got)
	}
	for _, node := range []string{lab.Switch, "host3", "host02", ""} {
		if err := l.Kill(ctx, node); err == nil {
			t.Errorf("%q was killed as a host", node)
		}
	}
}

func testCut(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	pid := stateOf(t, l, "host1").PID
	for range 2 {
		if err := l.Cut(ctx, "host1"); err != nil {
			t.Fatal(err)
		}
	}
	if n := stateOf(t, l, "host1"); n.State != lab.StateCut || n.PID != pid {
		t.Errorf("host1 when cut: %+v, was process %d", n, pid)
	}
	if got := mustOutput(t, l, "host1", "cat", "/sys/class/net/eth0/carrier", "/sys/class/net/trunk0/carrier"); got != "1\n1" {
		t.Errorf("a host that is cut sees carrier %q", got)
	}
	// Silence, no refusal: with the neighbour known, a connection must run into its time limit.
	mustOutput(t, l, lab.Controller, "ip", "neigh", "replace", l.HostAddress(1), "lladdr", lab.MACOf(0, 11), "dev", "eth0")
	out, err := output(t, l, lab.Controller, "nc", "-vnz", "-w", "2", l.HostAddress(1), "22")
	if err == nil || !strings.Contains(out, "timed out") {
		t.Errorf("a connection to a host that is cut: %v: %s", err, out)
	}
	if got := mustOutput(t, l, lab.Switch, "ovs-vsctl", "list-ports", "br-phys"); strings.Contains(got, "t-host1") {
		t.Error("the trunk of a host that is cut is still plugged in")
	}
	// A host that is cut stays cut over a power cut.
	if err := l.Kill(ctx, "host1"); err != nil {
		t.Fatal(err)
	}
	if err := l.Boot(ctx, "host1"); err != nil {
		t.Fatal(err)
	}
	if pings(t, l, lab.Controller, "host1") {
		t.Error("a boot has healed the cut")
	}
	for range 2 {
		if err := l.Heal(ctx, "host1"); err != nil {
			t.Fatal(err)
		}
	}
	banner := mustOutput(t, l, lab.Controller, "sh", "-c", `nc -w 5 "$0" 22 </dev/null | head -c 8`, l.HostAddress(1))
	if banner != "SSH-2.0-" {
		t.Errorf("sshd of a healed host says %q", banner)
	}
	if got := mustOutput(t, l, lab.Switch, "ovs-vsctl", "list-ports", "br-phys"); !strings.Contains(got, "t-host1") {
		t.Error("the trunk of a healed host is not plugged in")
	}
}

func testDatastores(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	mustOutput(t, l, "host1", "sh", "-c", "echo seen > /mnt/datastore/file")
	if got := mustOutput(t, l, "host2", "cat", "/mnt/datastore/file"); got != "seen" {
		t.Errorf("host2 reads %q", got)
	}
	if got := mustOutput(t, l, "host1", "stat", "-f", "-c", "%T", "/mnt/datastore"); got != "fuseblk" {
		t.Errorf("the datastore is of type %s", got)
	}
	out, err := output(t, l, "host1", "dd", "if=/dev/zero", "of=/mnt/small/big", "bs=1M", "count=100")
	if err == nil || !strings.Contains(out, "No space left") {
		t.Errorf("100 MiB on the small datastore: %v: %s", err, out)
	}
	for range 2 {
		if err := l.SetDatastoreReadOnly(ctx, lab.Datastore, true); err != nil {
			t.Fatal(err)
		}
	}
	for _, host := range []string{"host1", "host2"} {
		if out, err := output(t, l, host, "touch", "/mnt/datastore/x"); err == nil || !strings.Contains(out, "Read-only") {
			t.Errorf("%s writes to a read-only datastore: %v: %s", host, err, out)
		}
	}
	if s, err := l.Status(); err != nil || !s.Datastores[0].ReadOnly || s.Datastores[1].ReadOnly {
		t.Errorf("status: %+v, %v", s.Datastores, err)
	}
	if err := l.SetDatastoreReadOnly(ctx, lab.Datastore, false); err != nil {
		t.Fatal(err)
	}
	mustOutput(t, l, "host2", "touch", "/mnt/datastore/x")
	f, err := os.Create(filepath.Join(l.DatastorePath(lab.Datastore), "open"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := l.SetDatastoreReadOnly(ctx, lab.Datastore, true); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("read-only with a file open for writing: %v", err)
	}
}

func testCommands(t *testing.T, l *lab.Lab) {
	if got := mustOutput(t, l, "host1", "sh", "-c", "echo $HOME $BAADAL_LAB_NODE $0", "a b"); got != "/root host1 a b" {
		t.Errorf("got %q", got)
	}
	if _, err := output(t, l, "nowhere", "true"); err == nil || !strings.Contains(err.Error(), "no such node") {
		t.Errorf("a command nowhere: %v", err)
	}
	// A command whose context ends is gone from the node.
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := l.Exec(ctx, "host1", lab.ExecOptions{}, "sleep", "4711"); err == nil {
		t.Error("the command outlived its context")
	}
	gone := func() bool { _, err := output(t, l, "host1", "pgrep", "-f", "^sleep 4711"); return err != nil }
	for range 50 {
		if gone() {
			break
		}
	}
	if !gone() {
		t.Error("the command lives on in the node")
	}
	// With the network only, files are the machine's.
	path := filepath.Join(t.TempDir(), "here")
	o := lab.ExecOptions{NetOnly: true}
	if err := l.Exec(t.Context(), lab.Controller, o, "sh", "-c", `ip -br addr show eth0 > "$0"`, path); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || !strings.Contains(string(b), "10.77.0.2/24") {
		t.Errorf("the controller's address: %q, %v", b, err)
	}
}

func testListener(t *testing.T, l *lab.Lab) {
	for name, netOnly := range map[string]bool{"all namespaces": false, "network only": true} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			f, err := ln.(*net.TCPListener).File()
			if err != nil {
				t.Fatal(err)
			}
			_ = ln.Close()
			defer func() { _ = f.Close() }()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			// sshd's inetd mode would do, but what is to be shown is smaller: the socket and the two variables.
			const script = `[ "$LISTEN_PID" = $$ ] && [ "$LISTEN_FDS" = 1 ] && readlink /proc/self/fd/3; ip -br addr show eth0`
			var out strings.Builder
			cmd := l.CommandWith(ctx, lab.Controller, lab.ExecOptions{NetOnly: netOnly, Listener: f}, "sh", "-c", script)
			cmd.Stdout = &out
			if err := cmd.Run(); err != nil {
				t.Fatal(err)
			}
			if got := out.String(); !strings.HasPrefix(got, "socket:[") || !strings.Contains(got, "10.77.0.2/24") {
				t.Errorf("the command saw %q", got)
			}
			conn, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatalf("the machine cannot reach the socket: %v", err)
			}
			_ = conn.Close()
		})
	}
}

// testGuest boots the tiny guest with a seed, on VLAN 10, and gets in from the controller.
func testGuest(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	image, err := l.GuestImage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	store := l.DatastorePath(lab.Datastore)
	copyFile(t, image, filepath.Join(store, "guest.qcow2"))
	key, err := l.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := cloudinit.Seed(cloudinit.Config{
		InstanceID: "i-1", Hostname: "tiny-one", SSHKeys: []string{key}, Password: "console-secret",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(store, "seed.iso"), seed, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(store, "guest.xml"), []byte(guestXML), 0o644); err != nil {
		t.Fatal(err)
	}
	mustOutput(t, l, "host1", "virsh", "-q", "create", "/mnt/datastore/guest.xml")
	started := time.Now()
	const ssh = "-oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null -oLogLevel=ERROR -oConnectTimeout=2 -oBatchMode=yes"
	login := append(append([]string{"ssh"}, strings.Fields(ssh)...), "root@192.168.10.11")
	for {
		out, err := output(t, l, lab.Controller, append(login, "hostname; cut -d: -f2 /etc/shadow; wc -l < /root/.ssh/authorized_keys")...)
		if err == nil {
			if f := strings.Fields(out); len(f) != 3 || f[0] != "tiny-one" || !strings.HasPrefix(f[1], "$6$") || f[2] != "1" {
				t.Errorf("the guest says %q", out)
			}
			break
		}
		if time.Since(started) > 2*time.Minute {
			log, _ := os.ReadFile(filepath.Join(store, "guest.log"))
			t.Fatalf("no way into the guest: %v: %s\n%s", err, out, log)
		}
	}
	t.Logf("in the guest %.1f s after its start", time.Since(started).Seconds())
	// Power cut: the guest dies with its host.
	if err := l.Kill(ctx, "host1"); err != nil {
		t.Fatal(err)
	}
	if pings(t, l, lab.Controller, "192.168.10.11") {
		t.Error("the guest outlived its host")
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

const guestXML = `<domain type='qemu'>
<name>guest</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os><features><acpi/><apic/></features>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/>
<source file='/mnt/datastore/guest.qcow2'/><target dev='vda' bus='virtio'/></disk>
<disk type='file' device='cdrom'><driver name='qemu' type='raw'/>
<source file='/mnt/datastore/seed.iso'/><target dev='hda' bus='ide'/><readonly/></disk>
<interface type='network'><mac address='52:54:00:00:10:01'/><source network='ovs-net' portgroup='vlan10'/><model type='virtio'/></interface>
<serial type='file'><source path='/mnt/datastore/guest.log'/><target port='0'/></serial>
</devices></domain>
`
