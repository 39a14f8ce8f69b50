package libvirt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"baadal"
	"baadal/internal/ssh"
)

// Fits checks that dst can take a domain over from src: if it is active its CPU
// is compared with what dst can give it; its networks and their bridges must be
// there, and the files of its disks be seen. What is in the way is a Conflict
// (code host_unfit) with every reason. Nothing is changed.
func (h *Hypervisor) Fits(ctx context.Context, src, dst baadal.Host, uuid string) error {
	const op = "compare hosts"
	l, dom, err := h.lookup(ctx, src, uuid, op)
	if err != nil {
		return err
	}
	var active bool
	d, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (d libvirtxml.Domain, err error) {
		state, _, err := rpc.DomainGetState(dom, 0)
		if err != nil {
			return d, err
		}
		flags := golibvirt.DomainXMLInactive
		if s := stateOf(golibvirt.DomainState(state)); s == baadal.VMRunning || s == baadal.VMPaused {
			flags, active = golibvirt.DomainXMLMigratable, true
		}
		text, err := rpc.DomainGetXMLDesc(dom, flags)
		if err != nil {
			return d, err
		}
		return d, d.Unmarshal(text)
	})
	if err != nil {
		return err
	}
	reasons, bridges, err := h.networksThere(ctx, dst, d)
	if err != nil {
		return err
	}
	if active {
		reason, err := h.compareCPU(ctx, src, dst, d)
		if err != nil {
			return err
		}
		reasons = append(reasons, reason...)
	}
	more, err := h.filesThere(ctx, dst, bridges, filesOf(d))
	if err != nil {
		return err
	}
	if reasons = append(reasons, more...); len(reasons) == 0 {
		return nil
	}
	return baadal.Errorf(baadal.Conflict, "%s cannot take it over from %s", dst.Name, src.Name).WithCode("host_unfit").
		WithDetail("%s", strings.Join(reasons, "; ")).WithNext("See what is wrong with the host", "baadal host show "+dst.Name)
}

// networksThere looks for the libvirt networks of a domain and returns the
// bridges that they stand on.
func (h *Hypervisor) networksThere(ctx context.Context, dst baadal.Host, d libvirtxml.Domain) (reasons, bridges []string, err error) {
	var names []string
	if d.Devices != nil {
		for _, i := range d.Devices.Interfaces {
			if i.Source != nil && i.Source.Network != nil && !slices.Contains(names, i.Source.Network.Network) {
				names = append(names, i.Source.Network.Network)
			}
		}
	}
	for _, name := range names {
		text, err := do(ctx, h, dst, "look at network", func(rpc *golibvirt.Libvirt) (string, error) {
			n, err := rpc.NetworkLookupByName(name)
			if isCode(err, golibvirt.ErrNoNetwork) {
				reasons = append(reasons, "it has no network "+name)
				return "", nil
			}
			if err != nil {
				return "", err
			}
			if on, err := rpc.NetworkIsActive(n); err != nil || on == 0 {
				reasons = append(reasons, "its network "+name+" is not active")
				return "", err
			}
			return rpc.NetworkGetXMLDesc(n, 0)
		})
		if err != nil {
			return nil, nil, err
		}
		var n libvirtxml.Network
		if text != "" && n.Unmarshal(text) == nil && n.Bridge != nil && n.Bridge.Name != "" {
			bridges = append(bridges, n.Bridge.Name)
		}
	}
	return reasons, bridges, nil
}

// compareCPU asks libvirt whether dst can give an active domain the CPU that it
// has. A CPU that was passed through is the source's own; one of a named model,
// which is also what host-model becomes at a start, is compared with what dst's
// QEMU offers. One that is emulated without a model is the same everywhere.
func (h *Hypervisor) compareCPU(ctx context.Context, src, dst baadal.Host, d libvirtxml.Domain) ([]string, error) {
	const op = "compare CPUs"
	if d.CPU == nil {
		return nil, nil
	}
	var result int32
	var err error
	switch d.CPU.Mode {
	case "host-passthrough", "maximum":
		if d.Type != "kvm" {
			return nil, nil
		}
		var text string
		if text, err = do(ctx, h, src, op, func(rpc *golibvirt.Libvirt) (string, error) {
			caps, err := capabilities(rpc)
			if err != nil {
				return "", err
			}
			return cpuXML(caps)
		}); err != nil {
			return nil, err
		}
		result, err = do(ctx, h, dst, op, func(rpc *golibvirt.Libvirt) (int32, error) {
			return rpc.ConnectCompareCPU(text, golibvirt.ConnectCompareCPUFailIncompatible)
		})
	default:
		text, xmlErr := xml.Marshal(named(*d.CPU))
		if xmlErr != nil {
			return nil, fmt.Errorf("write CPU: %w", xmlErr)
		}
		result, err = do(ctx, h, dst, op, func(rpc *golibvirt.Libvirt) (int32, error) {
			return rpc.ConnectCompareHypervisorCPU(optional(emulator(d)), optional(arch(d)), nil, optional(d.Type), string(text),
				uint32(golibvirt.ConnectCompareCPUFailIncompatible))
		})
	}
	return judgeCPU(result, err)
}

// judgeCPU turns the answer of a comparison into reasons. A libvirt that cannot
// compare has nothing against it: QEMU itself refuses what does not fit.
func judgeCPU(result int32, err error) ([]string, error) {
	switch le, known := errors.AsType[golibvirt.Error](err); {
	case err == nil && golibvirt.CPUCompareResult(result) == golibvirt.CPUCompareIncompatible:
		return []string{"its CPU is not one that the VM can go on with"}, nil
	case err == nil:
		return nil, nil
	case known && le.Code == uint32(golibvirt.ErrCPUIncompatible):
		return []string{"its CPU is not one that the VM can go on with: " + shorten(le.Message)}, nil
	case known && (le.Code == uint32(golibvirt.ErrNoSupport) || le.Code == uint32(golibvirt.ErrOperationUnsupported) || le.Code == uint32(golibvirt.ErrConfigUnsupported)):
		return nil, nil
	}
	return nil, err
}

// named is the CPU of a domain as a comparison takes it.
func named(c libvirtxml.DomainCPU) libvirtxml.DomainCPU {
	return libvirtxml.DomainCPU{Mode: c.Mode, Match: c.Match, Model: c.Model, Vendor: c.Vendor, Features: c.Features}
}

func emulator(d libvirtxml.Domain) string {
	if d.Devices == nil {
		return ""
	}
	return d.Devices.Emulator
}

func arch(d libvirtxml.Domain) string {
	if d.OS == nil || d.OS.Type == nil {
		return ""
	}
	return d.OS.Type.Arch
}

// optional is a string that may be missing, as libvirt's protocol has it.
func optional(s string) golibvirt.OptString {
	if s == "" {
		return nil
	}
	return golibvirt.OptString{s}
}

// filesOf are the files of a domain's disks.
func filesOf(d libvirtxml.Domain) (files []string) {
	if d.Devices == nil {
		return nil
	}
	for _, k := range d.Devices.Disks {
		if k.Source != nil && k.Source.File != nil && k.Source.File.File != "" {
			files = append(files, k.Source.File.File)
		}
	}
	return files
}

// filesThere looks for bridges and files on a host. A mount that does not answer
// counts as one that is not there.
func (h *Hypervisor) filesThere(ctx context.Context, dst baadal.Host, bridges, files []string) (reasons []string, err error) {
	if h.pool == nil || len(bridges)+len(files) == 0 {
		return nil, nil
	}
	const script = `n=$1
shift
while [ "$n" -gt 0 ]; do
	[ -d "/sys/class/net/$1/bridge" ] || ovs-vsctl --timeout=5 br-exists "$1" || printf 'there is no bridge %s\n' "$1"
	shift
	n=$((n-1))
done
for file; do
	timeout -k 1 5 test -e "$file" || printf 'it does not see %s\n' "$file"
done`
	argv := slices.Concat([]string{"sh", "-c", script, "baadal", strconv.Itoa(len(bridges))}, bridges, files)
	res, err := h.pool.RunOK(ctx, dst, ssh.Command{Argv: argv, Timeout: time.Minute})
	if err != nil {
		return nil, fmt.Errorf("look at bridges and disks: %w", err)
	}
	for line := range strings.Lines(string(res.Stdout)) {
		reasons = append(reasons, strings.TrimSpace(line))
	}
	return reasons, nil
}
