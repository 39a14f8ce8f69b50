package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Packages are the Debian packages that a lab needs.
var Packages = []string{
	"bindfs", "conntrack", "cpio", "dnsmasq-base", "dosfstools", "e2fsprogs", "ethtool", "fdisk", "genisoimage", "iproute2", "iptables", "iputils-ping",
	"isc-dhcp-server", "kea-dhcp4-server", "kmod", "libvirt-clients", "libvirt-daemon-driver-qemu", "libvirt-daemon-system", "mtools",
	"netcat-openbsd", "nftables", "openssh-client", "openssh-server", "openvswitch-switch", "qemu-system-x86", "qemu-utils",
	"util-linux",
}

// programs are what the lab runs, with the package of each.
var programs = [][2]string{
	{"bindfs", "bindfs"},
	{"cpio", "cpio"},
	{"dnsmasq", "dnsmasq-base"},
	{"mkfs.vfat", "dosfstools"},
	{"mke2fs", "e2fsprogs"},
	{"ethtool", "ethtool"},
	{"sfdisk", "fdisk"},
	{"ip", "iproute2"},
	{"ping", "iputils-ping"},
	{"dhcpd", "isc-dhcp-server"},
	{"kea-dhcp4", "kea-dhcp4-server"},
	{"depmod", "kmod"},
	{"modprobe", "kmod"},
	{"virsh", "libvirt-clients"},
	{"libvirtd", "libvirt-daemon-system"},
	{"mcopy", "mtools"},
	{"nc", "netcat-openbsd"},
	{"nft", "nftables"},
	{"conntrack", "conntrack"},
	{"ssh", "openssh-client"},
	{"ssh-keygen", "openssh-client"},
	{"sshd", "openssh-server"},
	{"ovs-vswitchd", "openvswitch-switch"},
	{"ovsdb-server", "openvswitch-switch"},
	{"ovs-vsctl", "openvswitch-switch"},
	{"qemu-system-x86_64", "qemu-system-x86"},
	{"qemu-img", "qemu-utils"},
	{"nsenter", "util-linux"},
	{"unshare", "util-linux"},
	{"setpriv", "util-linux"},
	{"pivot_root", "util-linux"},
	{"apt-get", "apt"},
	{"dpkg", "dpkg"},
	{"bash", "bash"},
	{"sleep", "coreutils"},
}

// Problem is something that the machine lacks, and what mends it (may be empty).
type Problem struct {
	What string `json:"what"`
	Fix  string `json:"fix,omitempty"`
}

// CheckError tells all that keeps a lab from being built here.
type CheckError struct{ Problems []Problem }

func (e *CheckError) Error() string {
	var b strings.Builder
	b.WriteString("this machine cannot have a lab yet:")
	for _, p := range e.Problems {
		b.WriteString("\n  - " + p.What)
		if p.Fix != "" {
			b.WriteString("\n      " + p.Fix)
		}
	}
	return b.String()
}

// Check looks for all that a lab needs and gives what is missing, all at once: programs by name with the apt-get line
// that brings them, root, device files, namespaces, cgroups.
func Check(ctx context.Context) []Problem {
	var problems []Problem
	root := os.Geteuid() == 0
	if !root {
		problems = append(problems, Problem{
			"a lab makes namespaces, mounts and cgroups: that takes root", "run it again with sudo",
		})
	}
	problems = append(problems, missingPrograms(findProgram)...)
	for _, dev := range []struct{ path, module string }{{"/dev/net/tun", "tun"}, {"/dev/fuse", "fuse"}} {
		if _, err := os.Stat(dev.path); err != nil {
			problems = append(problems, Problem{dev.path + " is missing (in a container, it must be passed in)", "modprobe " + dev.module})
		}
	}
	if c, err := findCgroups("", false); err != nil {
		problems = append(problems, Problem{"cgroups are not mounted", "mount -t cgroup2 cgroup2 /sys/fs/cgroup"})
	} else if root && !writable(c.hierarchies[0].dir) {
		problems = append(problems, Problem{"cgroups are read-only here (in a container, it must be privileged)", ""})
	}
	if _, err := exec.LookPath("unshare"); root && err == nil {
		cmd := exec.CommandContext(ctx, "unshare", "-m", "-u", "-i", "-n", "-p", "-C", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt")
		if out, err := cmd.CombinedOutput(); err != nil && ctx.Err() == nil {
			problems = append(problems, Problem{
				fmt.Sprintf("namespaces and mounts are not allowed here (in a container, it must be privileged): %s",
					strings.TrimSpace(string(out))), "",
			})
		}
	}
	return problems
}

func missingPrograms(find func(string) bool) []Problem {
	var problems []Problem
	var packages []string
	for _, p := range programs {
		if find(p[0]) {
			continue
		}
		problems = append(problems, Problem{What: fmt.Sprintf("%s is missing (Debian package %s)", p[0], p[1])})
		if !strings.Contains(" "+strings.Join(packages, " ")+" ", " "+p[1]+" ") {
			packages = append(packages, p[1])
		}
	}
	if len(problems) > 0 {
		problems[len(problems)-1].Fix = "apt-get install -y --no-install-recommends " + strings.Join(packages, " ")
	}
	return problems
}

func findProgram(name string) bool {
	if _, err := exec.LookPath(name); err == nil {
		return true
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} { // often not in a user's PATH
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}

func writable(dir string) bool {
	probe, err := os.MkdirTemp(dir, "baadal-probe-")
	if err != nil {
		return false
	}
	return os.Remove(probe) == nil
}
