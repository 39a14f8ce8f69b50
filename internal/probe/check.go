package probe

import (
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
	"time"

	"baadal"
)

// maxSkew is how far a host's clock may be off: leases, logs and timed access
// are compared across machines.
const maxSkew = 2 * time.Second

// notFound is a shell's exit code for a program that is not installed.
const notFound = 127

func libvirtCheck(node baadal.HostFacts, err error) baadal.Check {
	c := baadal.Check{Name: "libvirtd", OK: err == nil}
	if err == nil {
		c.Detail = fmt.Sprintf("libvirt %s, QEMU %s", node.Libvirt, node.QEMU)
		return c
	}
	c.Detail, c.Fix = err.Error(), "systemctl restart libvirtd"
	if errors.Is(err, errNoSocket) {
		c.Fix = "apt-get install libvirt-daemon-system && systemctl enable --now libvirtd"
	}
	return c
}

// openvswitchCheck looks whether Open vSwitch runs and has the bridge that the
// libvirt network names.
func (s *sight) openvswitchCheck() baadal.Check {
	c := baadal.Check{Name: "openvswitch"}
	p := s.parts["bridges"]
	switch {
	case p.code == notFound || strings.Contains(p.out, "failed to run command"):
		c.Detail, c.Fix = "ovs-vsctl is not installed", "apt-get install openvswitch-switch"
		return c
	case p.code != 0:
		c.Detail, c.Fix = firstLine(p.out, "ovs-vsctl does not answer"), "systemctl restart openvswitch-switch"
		return c
	}
	bridges := strings.Fields(p.out)
	if n, ok := s.network(); ok && n.Bridge.Name != "" {
		for _, b := range bridges {
			if b == n.Bridge.Name {
				c.OK, c.Detail = true, "bridge "+b
				return c
			}
		}
		c.Detail, c.Fix = "there is no bridge "+n.Bridge.Name, "ovs-vsctl add-br "+n.Bridge.Name
		return c
	}
	if len(bridges) == 0 {
		c.Detail, c.Fix = "there is no bridge", "ovs-vsctl add-br baadal-br-int"
		return c
	}
	c.OK, c.Detail = true, "bridges "+strings.Join(bridges, ", ")
	return c
}

// network is a libvirt network's XML as far as it matters here.
type network struct {
	Bridge struct {
		Name string `xml:"name,attr"`
	} `xml:"bridge"`
	Virtualport struct {
		Type string `xml:"type,attr"`
	} `xml:"virtualport"`
	Portgroups []struct {
		Name string `xml:"name,attr"`
	} `xml:"portgroup"`
}

func (s *sight) network() (n network, ok bool) {
	return n, s.ok("net_xml") && xml.Unmarshal([]byte(s.text("net_xml")), &n) == nil
}

// networkCheck looks whether the libvirt network of VMs is there, active and on
// Open vSwitch.
func (s *sight) networkCheck(name string) baadal.Check {
	c := baadal.Check{Name: "network"}
	info := s.parts["net_info"]
	switch {
	case info.code == notFound || strings.Contains(info.out, "failed to run command"):
		c.Detail, c.Fix = "virsh is not installed", "apt-get install libvirt-clients"
	case info.code != 0 && strings.Contains(info.out, "not found"):
		c.OK, c.Detail = true, "libvirt has no network "+name+" yet: it is made with the first network of the cloud"
	case info.code != 0:
		c.Detail, c.Fix = firstLine(info.out, "virsh does not answer"), "systemctl restart libvirtd"
	case field(info.out, "Active") != "yes":
		c.Detail, c.Fix = name+" is not active", fmt.Sprintf("virsh net-start %s && virsh net-autostart %s", name, name)
	default:
		n, ok := s.network()
		if !ok || n.Virtualport.Type != "openvswitch" {
			c.Detail, c.Fix = name+" is not on Open vSwitch", "virsh net-edit "+name+": add <virtualport type='openvswitch'/>"
			return c
		}
		c.OK, c.Detail = true, fmt.Sprintf("%s is active on bridge %s with %d portgroups", name, n.Bridge.Name, len(n.Portgroups))
	}
	return c
}

func (s *sight) clockCheck() baadal.Check {
	c := baadal.Check{Name: "clock", Fix: "apt-get install chrony"}
	if s.ok("chrony") {
		c.Fix = "chronyc makestep"
	}
	skew, err := s.skew()
	switch {
	case err != nil:
		c.Detail = err.Error()
	case skew.Abs() > maxSkew:
		way := "ahead"
		if skew < 0 {
			way = "behind"
		}
		c.Detail = fmt.Sprintf("%s %s of the controller", skew.Abs().Round(100*time.Millisecond), way)
	default:
		c.OK, c.Fix, c.Detail = true, "", "in step with the controller"
	}
	return c
}

func (s *sight) toolsCheck() baadal.Check {
	c := baadal.Check{Name: "tools", OK: s.ok("tools"), Detail: "all there"}
	if !c.OK {
		c.Detail = "missing: " + s.parts["tools"].out
		c.Fix = "apt-get install qemu-utils util-linux coreutils findutils"
	}
	return c
}

// storeCheck looks whether a datastore is mounted and can be written. A full one
// is no fault of the host.
func (s *sight) storeCheck(ds baadal.Datastore) baadal.Check {
	c := baadal.Check{Name: "datastore " + ds.Name}
	p := s.parts["store "+ds.Path]
	switch {
	case p.code == 0:
		c.OK, c.Detail = true, "mounted and writable"
	case p.code == 10:
		c.Detail, c.Fix = "nothing is mounted at "+ds.Path, "mount "+ds.Path
	case strings.Contains(p.out, "No space left") || strings.Contains(p.out, "quota exceeded"):
		c.OK, c.Detail = true, "mounted, and full"
	case p.code == 124 || p.code == 137:
		c.Detail, c.Fix = ds.Path+" does not answer", "umount -f -l "+ds.Path+" && mount "+ds.Path
	case strings.Contains(p.out, "Read-only"):
		c.Detail, c.Fix = ds.Path+" is read-only", "mount -o remount,rw "+ds.Path
	default:
		c.Detail, c.Fix = firstLine(p.out, "it cannot be written"), "umount "+ds.Path+" && mount "+ds.Path
	}
	return c
}

// field returns the value of a line "Name:  value".
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func firstLine(text, none string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if line == "" {
		return none
	}
	return line
}
