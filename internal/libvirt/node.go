package libvirt

import (
	"context"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"baadal"
)

// Node tells what libvirt knows of a host: host name, CPUs and their model,
// memory, and the versions of libvirt and QEMU. The rest of the facts is empty.
func (h *Hypervisor) Node(ctx context.Context, host baadal.Host) (baadal.HostFacts, error) {
	return do(ctx, h, host, "look at node", func(rpc *golibvirt.Libvirt) (baadal.HostFacts, error) {
		var f baadal.HostFacts
		_, memKiB, cpus, _, _, _, _, _, err := rpc.NodeGetInfo()
		if err != nil {
			return f, err
		}
		f.CPUs, f.RAMMiB = int(cpus), int(memKiB>>10) //nolint:gosec // KiB of memory fit
		if total := nodeMemory(rpc); total > 0 {      // NodeGetInfo can mean one NUMA node alone
			f.RAMMiB = int(total >> 10) //nolint:gosec // as above
		}
		if f.Hostname, err = rpc.ConnectGetHostname(); err != nil {
			return f, err
		}
		v, err := rpc.ConnectGetLibVersion()
		if err != nil {
			return f, err
		}
		f.Libvirt = version(v)
		if v, err = rpc.ConnectGetVersion(); err != nil {
			return f, err
		}
		f.QEMU = version(v)
		caps, err := capabilities(rpc)
		if err != nil {
			return f, err
		}
		if caps.Host.CPU != nil {
			f.CPUModel, f.CPU = caps.Host.CPU.Model, features(rpc, caps)
		}
		return f, nil
	})
}

// features is the host's CPU as libvirt compares it: its maker and all features,
// those of its model included; empty if libvirt cannot tell.
func features(rpc *golibvirt.Libvirt, caps *libvirtxml.Caps) string {
	text, err := cpuXML(caps)
	if err != nil {
		return ""
	}
	if text, err = rpc.ConnectBaselineCPU([]string{text}, golibvirt.ConnectBaselineCPUExpandFeatures); err != nil {
		return ""
	}
	var cpu libvirtxml.DomainCPU
	if cpu.Unmarshal(text) != nil || len(cpu.Features) == 0 {
		return ""
	}
	names := make([]string, 0, len(cpu.Features))
	for _, x := range cpu.Features {
		names = append(names, x.Name)
	}
	slices.Sort(names)
	vendor := cpu.Vendor
	if vendor == "" {
		vendor = "unknown"
	}
	return vendor + " " + strings.Join(names, " ")
}

// cpuXML is a host's CPU as libvirt takes it for comparisons.
func cpuXML(caps *libvirtxml.Caps) (string, error) {
	if caps.Host.CPU == nil {
		return "", baadal.Errorf(baadal.NotFound, "libvirt does not tell its CPU")
	}
	text, err := xml.Marshal(caps.Host.CPU)
	if err != nil {
		return "", fmt.Errorf("write CPU: %w", err)
	}
	return string(text), nil
}

// nodeMemory returns the KiB of memory over all NUMA nodes; 0 if the driver
// does not tell.
func nodeMemory(rpc *golibvirt.Libvirt) uint64 {
	const allCells = -1
	_, n, err := rpc.NodeGetMemoryStats(0, allCells, 0)
	if err != nil || n <= 0 {
		return 0
	}
	stats, _, err := rpc.NodeGetMemoryStats(n, allCells, 0)
	if err != nil {
		return 0
	}
	for _, s := range stats {
		if s.Field == "total" {
			return s.Value
		}
	}
	return 0
}

// version writes 9000002 as 9.0.2.
func version(v uint64) string {
	return fmt.Sprintf("%d.%d.%d", v/1000000, v/1000%1000, v%1000)
}

func capabilities(rpc *golibvirt.Libvirt) (*libvirtxml.Caps, error) {
	text, err := rpc.ConnectGetCapabilities()
	if err != nil {
		return nil, err
	}
	var caps libvirtxml.Caps
	if err := caps.Unmarshal(text); err != nil {
		return nil, fmt.Errorf("read capabilities: %w", err)
	}
	return &caps, nil
}

// offers reports whether the host says that it can run x86-64 machines of this
// virtualisation type. It may be wrong.
func offers(caps *libvirtxml.Caps, virt string) bool {
	for _, g := range caps.Guests {
		if g.OSType != "hvm" || g.Arch.Name != "x86_64" {
			continue
		}
		for _, d := range g.Arch.Domains {
			if d.Type == virt {
				return true
			}
		}
	}
	return false
}
