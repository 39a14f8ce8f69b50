package lab

import (
	"bufio"
	"context"
	"crypto/rand"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

//go:embed files
var files embed.FS

// The nodes that every lab has beside its hosts.
const (
	Switch     = "lan"  // management bridge br-mgmt, and br-phys, an Open vSwitch as "the physical switch"
	Controller = "ctl"  // where the product's server has its network
	DHCP       = "dhcp" // ISC dhcpd or Kea on VLANs 10 and 20
	NAT        = "nat"  // router of the VLANs, at .254 of each, with the outside behind it
	Outside    = "out"  // somebody's machine on the outside of the NAT box; without an sshd
)

func hostName(i int) string { return "host" + strconv.Itoa(i) }

// hostNumber is 0 for a node that is no host.
func hostNumber(node string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(node, "host"))
	if err != nil || hostName(n) != node {
		return 0
	}
	return n
}

func nodeNames(hosts int) []string {
	names := []string{Switch, Controller, DHCP, NAT, Outside}
	for i := range hosts {
		names = append(names, hostName(i+1))
	}
	return names
}

func (l *Lab) nodesDir() string           { return filepath.Join(l.dir, "nodes") }
func (l *Lab) nodeDir(node string) string { return filepath.Join(l.nodesDir(), node) }

// etcKept is what a node takes of the machine's /etc: what programs look up, nothing of its own configuration, and
// nothing that only root may read.
var etcKept = []string{
	"alternatives", "bash.bashrc", "debian_version", "environment", "ethertypes", "gai.conf", "group", "host.conf",
	"inputrc", "iproute2", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "login.defs", "magic",
	"nsswitch.conf", "os-release", "passwd", "profile", "protocols", "qemu", "rpc", "services", "shells", "ssl/openssl.cnf",
	"terminfo", "timezone",
}

// prepare makes the files of all nodes, the keys and the datastores.
func (l *Lab) prepare(ctx context.Context, s *state) error {
	if err := os.MkdirAll(l.nodesDir(), 0o755); err != nil {
		return fmt.Errorf("make the lab's folder: %w", err)
	}
	if err := l.mountDatastores(ctx); err != nil {
		return err
	}
	if err := keygen(ctx, l.SSHKeyPath(), "baadal-lab"); err != nil {
		return err
	}
	jobs := make([]func(context.Context) error, 0, len(s.Nodes))
	for name := range s.Nodes {
		jobs = append(jobs, func(ctx context.Context) error {
			if err := l.makeRoot(ctx, name, s.Hosts); err != nil {
				return fmt.Errorf("make node %s: %w", name, err)
			}
			return nil
		})
	}
	if err := together(ctx, jobs...); err != nil {
		return err
	}
	return l.writeKnownHosts(s.Hosts)
}

// makeRoot makes the part of a node's file system that is on disk; files/init.sh mounts the rest over it. What is
// made here stays when the node loses its power.
func (l *Lab) makeRoot(ctx context.Context, node string, hosts int) error {
	root := filepath.Join(l.nodeDir(node), "root")
	for _, dir := range []string{
		"etc/ssh", "etc/openvswitch", "etc/nftables.d", "home", "mnt", "opt", "srv", "var/log/openvswitch", "var/log/libvirt/qemu",
		"var/lib/openvswitch", "var/lib/libvirt/images", "var/lib/libvirt/qemu", "var/lib/misc", "var/cache/libvirt",
		"var/lib/dhcp", "var/spool", "var/tmp", "var/empty",
	} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "root/.ssh"), 0o700); err != nil {
		return err
	}
	links := map[string]string{"var/run": "/run", "var/lock": "/run/lock", "etc/mtab": "/proc/self/mounts"}
	if hostNumber(node) > 0 {
		links["etc/libvirt/qemu/networks/autostart/ovs-net.xml"] = "/etc/libvirt/qemu/networks/ovs-net.xml"
	}
	for link, target := range links {
		link = filepath.Join(root, link)
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(target, link); err != nil {
			return err
		}
	}
	for _, name := range etcKept {
		if err := copyTree(filepath.Join("/etc", name), filepath.Join(root, "etc", name)); err != nil {
			return err
		}
	}
	if err := l.writeConfig(root, node, hosts); err != nil {
		return err
	}
	if node == Switch {
		return nil
	}
	return keygen(ctx, filepath.Join(root, "etc/ssh/ssh_host_ed25519_key"), "root@"+node)
}

func (l *Lab) writeConfig(root, node string, hosts int) error {
	machineID := make([]byte, 16)
	_, _ = rand.Read(machineID)
	public, err := os.ReadFile(l.SSHKeyPath() + ".pub")
	if err != nil {
		return err
	}
	type file struct {
		text string
		mode fs.FileMode
	}
	contents := map[string]file{
		"etc/hostname":              {node + "\n", 0o644},
		"etc/hosts":                 {hostsFile(hosts), 0o644},
		"etc/machine-id":            {hex.EncodeToString(machineID) + "\n", 0o444},
		"etc/resolv.conf":           {"", 0o644},
		"etc/shadow":                {"root:*:19000:0:99999:7:::\n", 0o640},
		"etc/ssh/sshd_config":       {readFile("sshd_config"), 0o644},
		"root/.ssh/authorized_keys": {string(public), 0o600},
	}
	switch {
	case hostNumber(node) > 0:
		contents["etc/libvirt/libvirt.conf"] = file{"", 0o644}
		contents["etc/libvirt/libvirtd.conf"] = file{readFile("libvirtd.conf") + fmt.Sprintf("host_uuid = %q\n", newUUID()), 0o644}
		contents["etc/libvirt/qemu.conf"] = file{readFile("qemu.conf"), 0o600}
		contents["etc/libvirt/qemu/networks/ovs-net.xml"] = file{readFile("ovs-net.xml"), 0o600}
	case node == DHCP:
		contents["etc/dhcp/dhcpd.conf"] = file{readFile("dhcpd.conf"), 0o644}
		contents["etc/dhcp/baadal.conf"] = file{"", 0o644}
		contents["etc/dhcp/restart-dhcpd"] = file{readFile("restart-dhcpd"), 0o755}
		contents["var/lib/dhcp/dhcpd.leases"] = file{"", 0o644}
		contents["etc/kea/kea-dhcp4.conf"] = file{readFile("kea-dhcp4.conf"), 0o644}
		contents["etc/kea/baadal.json"] = file{"[]\n", 0o644}
		contents["etc/kea/restart-kea"] = file{readFile("restart-kea"), 0o755}
		contents["var/lib/kea/kea-leases4.csv"] = file{"", 0o644}
		contents["etc/dnsmasq.conf"] = file{readFile("dnsmasq.conf"), 0o644}
		contents["etc/restart-dnsmasq"] = file{readFile("restart-dnsmasq"), 0o755}
	case node == Controller:
		private, err := os.ReadFile(l.SSHKeyPath())
		if err != nil {
			return err
		}
		contents["root/.ssh/id_ed25519"] = file{string(private), 0o600}
	}
	for path, f := range contents {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(f.text), f.mode); err != nil {
			return err
		}
	}
	return nil
}

func readFile(name string) string {
	b, err := files.ReadFile("files/" + name)
	if err != nil {
		panic(err) // embedded: cannot be missing
	}
	return string(b)
}

func hostsFile(hosts int) string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n")
	for _, n := range nodeNames(hosts) {
		if address := managementAddress(n); address != "" {
			fmt.Fprintf(&b, "%s %s\n", address, n)
		}
	}
	return b.String()
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// keygen makes an SSH key pair in path and path.pub, if there is none.
func keygen(ctx context.Context, path, comment string) error {
	if exists(path) {
		return nil
	}
	out, err := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("make ssh key: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (l *Lab) writeKnownHosts(hosts int) error {
	var b strings.Builder
	for _, n := range nodeNames(hosts)[1:] {
		if managementAddress(n) == "" {
			continue
		}
		key, err := os.ReadFile(l.NodePath(n, "/etc/ssh/ssh_host_ed25519_key.pub"))
		if err != nil {
			return fmt.Errorf("write known_hosts: %w", err)
		}
		fields := strings.Fields(string(key))
		fmt.Fprintf(&b, "%s,%s %s %s\n", n, managementAddress(n), fields[0], fields[1])
	}
	for _, path := range []string{l.KnownHostsPath(), l.NodePath(Controller, "/root/.ssh/known_hosts")} {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			return fmt.Errorf("write known_hosts: %w", err)
		}
	}
	return nil
}

// copyTree copies files, folders and symbolic links that everybody may read. A source that is not there is no error.
func copyTree(from, to string) error {
	info, err := os.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case info.Mode().Perm()&0o004 == 0:
		return nil
	case info.IsDir():
		entries, err := os.ReadDir(from)
		if err != nil {
			return err
		}
		if err := os.Mkdir(to, 0o755); err != nil {
			return err
		}
		for _, e := range entries {
			if err := copyTree(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
				return err
			}
		}
	case info.Mode().IsRegular():
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, info.Mode().Perm())
	}
	return nil
}

// powerOn starts process 1 of nodes, each in namespaces of its own, and returns when all have their file systems.
func (l *Lab) powerOn(ctx context.Context, s *state, nodes ...string) error {
	script := filepath.Join(l.nodesDir(), "init.sh")
	if err := replaceFile(script, []byte(readFile("init.sh"))); err != nil {
		return fmt.Errorf("start nodes: %w", err)
	}
	var waits []func(context.Context) error
	defer func() {
		for _, wait := range waits { // closes the pipes of those that were started before a failure
			_ = wait(canceled())
		}
	}()
	for _, n := range nodes {
		wait, err := l.spawn(s, n, script)
		if err != nil {
			return fmt.Errorf("start node %s: %w", n, err)
		}
		waits = append(waits, wait)
	}
	ready := slices.Clone(waits)
	waits = nil
	return together(ctx, ready...)
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// spawn starts process 1 of a node, writes it down, puts it into its cgroups, and only then lets it go on. The
// function that it returns waits until the node is ready.
func (l *Lab) spawn(s *state, node, script string) (wait func(context.Context) error, err error) {
	if err := l.cgroups.create(node); err != nil {
		return nil, err
	}
	logPath := filepath.Join(l.nodeDir(node), "init.log")
	logFile, err := os.OpenFile(logPath, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { _ = logFile.Close() }()
	goRead, goWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _, _ = goRead.Close(), goWrite.Close() }()
	readyRead, readyWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = readyWrite.Close() }()

	// no context: the node lives on when this program ends
	cmd := exec.CommandContext(context.Background(), "bash", script)
	cmd.Dir = "/"
	cmd.Env = []string{
		"PATH=" + nodePath, "HOME=/root", "LAB=" + l.dir, "NODE=" + node, "CGROUPS=" + l.cgroups.describe(),
		"KVM=" + map[bool]string{true: "1", false: "0"}[s.Virt == VirtKVM && hostNumber(node) > 0],
		"DATASTORES=", "SHOW=",
	}
	if hostNumber(node) > 0 {
		cmd.Env = append(cmd.Env, "DATASTORES="+strings.Join(datastores, " "))
	}
	if node == Controller {
		cmd.Env = append(cmd.Env, "SHOW="+strings.Join(shownFolders(), " "))
	}
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.ExtraFiles = []*os.File{goRead, readyWrite}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET |
			syscall.CLONE_NEWPID,
	}
	if err := cmd.Start(); err != nil {
		_ = readyRead.Close()
		return nil, err
	}
	go func() { _ = cmd.Wait() }() // no zombie, when we outlive the node
	p, err := findProcess(cmd.Process.Pid)
	if err == nil {
		s.Nodes[node].Process = p
		err = errors.Join(l.saveState(s), l.cgroups.add(node, p.PID))
	}
	if err == nil {
		_, err = io.WriteString(goWrite, "go\n")
	}
	if err != nil {
		_ = readyRead.Close()
		return nil, err
	}
	return func(ctx context.Context) error {
		defer context.AfterFunc(ctx, func() { _ = readyRead.Close() })()
		line, _ := bufio.NewReader(readyRead).ReadString('\n')
		_ = readyRead.Close()
		if line != "ready\n" {
			b, _ := os.ReadFile(logPath)
			return errors.Join(fmt.Errorf("start node %s: its process 1 failed: %s", node, strings.TrimSpace(string(b))), ctx.Err())
		}
		return l.cgroups.settle(node)
	}, nil
}

// shownFolders are the machine's own folders that the controller's node shows, read-only, so that programs that lie
// there can be run in it.
func shownFolders() []string {
	entries, _ := os.ReadDir("/")
	var shown []string
	for _, e := range entries {
		switch e.Name() {
		case "bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "lost+found", "media", "mnt", "oldroot", "proc",
			"root", "run", "sbin", "srv", "sys", "tmp", "usr", "var":
		default:
			if e.IsDir() && !strings.ContainsAny(e.Name(), " \t\n*?[") {
				shown = append(shown, e.Name())
			}
		}
	}
	return shown
}
