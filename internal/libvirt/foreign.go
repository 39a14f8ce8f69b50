package libvirt

import (
	"context"
	"fmt"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"baadal"
)

// ForeignDomain looks at a domain, known by its UUID or its name, as it is
// defined. NotFound if the host answers and does not know it.
func (h *Hypervisor) ForeignDomain(ctx context.Context, host baadal.Host, ref string) (baadal.ForeignDomain, error) {
	const op = "look at foreign domain"
	none := baadal.ForeignDomain{}
	l, err := h.peer(host).connect(ctx, host)
	if err != nil {
		return none, fmt.Errorf("%s: %w", op, err)
	}
	return call(ctx, l, op, func(rpc *golibvirt.Libvirt) (baadal.ForeignDomain, error) {
		dom, err := lookupForeign(rpc, ref)
		if err != nil {
			return none, err
		}
		state, _, err := rpc.DomainGetState(dom, 0)
		if err != nil {
			return none, err
		}
		text, err := rpc.DomainGetXMLDesc(dom, golibvirt.DomainXMLInactive|golibvirt.DomainXMLSecure)
		if err != nil {
			return none, err
		}
		d, err := parseForeign(text)
		if err != nil {
			return none, err
		}
		d.UUID, d.Name, d.State = formatUUID(dom.UUID), dom.Name, stateOf(golibvirt.DomainState(state))
		known, err := l.factsOf(rpc, dom)
		if err != nil {
			return none, err
		}
		saved, err := rpc.DomainHasManagedSaveImage(dom, 0)
		if err != nil && !isCode(err, golibvirt.ErrNoSupport) {
			return none, err
		}
		snapshots, err := rpc.DomainSnapshotNum(dom, 0)
		if err != nil && !isCode(err, golibvirt.ErrNoSupport) {
			return none, err
		}
		d.VMID, d.Saved, d.Snapshots = known.vmID, saved != 0, int(snapshots)
		return d, nil
	})
}

// lookupForeign finds a domain by its UUID, or by its name, which may look like one.
func lookupForeign(rpc *golibvirt.Libvirt, ref string) (golibvirt.Domain, error) {
	if id, err := parseUUID(ref); err == nil {
		dom, err := rpc.DomainLookupByUUID(id)
		if !isCode(err, golibvirt.ErrNoDomain) {
			return dom, err
		}
	}
	return rpc.DomainLookupByName(ref)
}

// parseForeign reads what matters of a definition that somebody else made.
func parseForeign(text string) (baadal.ForeignDomain, error) {
	f := baadal.ForeignDomain{XML: text}
	var d libvirtxml.Domain
	if err := d.Unmarshal(text); err != nil {
		return f, fmt.Errorf("read domain XML: %w", err)
	}
	f.VCPUs, f.RAMMiB = 1, int(memoryMiB(d.Memory))
	if d.VCPU != nil {
		f.VCPUs = int(d.VCPU.Value) //nolint:gosec // a number of CPUs
		if d.VCPU.Current != 0 {
			f.VCPUs = int(d.VCPU.Current) //nolint:gosec // likewise
		}
	}
	if o := d.OS; o != nil {
		if o.Type != nil {
			f.Machine = o.Type.Machine
		}
		switch {
		case o.Firmware != "" && o.Firmware != "bios":
			f.Firmware = o.Firmware
		case o.Loader != nil && o.Loader.Type == "pflash":
			f.Firmware = o.Loader.Path
		case o.Kernel != "":
			f.Firmware = "the kernel " + o.Kernel
		}
	}
	if d.Devices == nil {
		return f, nil
	}
	for _, k := range d.Devices.Disks {
		if k.Device != "" && k.Device != "disk" {
			continue // drives are empty in ours
		}
		f.Disks = append(f.Disks, foreignDisk(k))
	}
	for _, i := range d.Devices.Interfaces {
		mac := ""
		if i.MAC != nil {
			mac = i.MAC.Address
		}
		f.MACs = append(f.MACs, mac)
	}
	for _, p := range d.Devices.Hostdevs {
		name := "a device"
		switch {
		case p.SubsysPCI != nil:
			name = "a PCI device"
		case p.SubsysUSB != nil:
			name = "a USB device"
		}
		f.Passed = append(f.Passed, name)
	}
	for _, fs := range d.Devices.Filesystems {
		if fs.Target != nil {
			f.Passed = append(f.Passed, "the folder "+fs.Target.Dir)
		}
	}
	return f, nil
}

func foreignDisk(k libvirtxml.DomainDisk) baadal.ForeignDisk {
	out := baadal.ForeignDisk{Path: sourceOf(k), Target: targetOf(k), Format: "raw"}
	if k.Driver != nil && k.Driver.Type != "" {
		out.Format = k.Driver.Type
	}
	if k.Target != nil {
		out.Bus = k.Target.Bus
	}
	return out
}

// DefineForeign defines a domain from a definition that ForeignDomain gave.
// Idempotent.
func (h *Hypervisor) DefineForeign(ctx context.Context, host baadal.Host, text string) error {
	const op = "define foreign domain"
	dom, err := do(ctx, h, host, op, func(rpc *golibvirt.Libvirt) (golibvirt.Domain, error) { return rpc.DomainDefineXMLFlags(text, 0) })
	if err != nil {
		return err
	}
	l, err := h.peer(host).connect(ctx, host)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	l.forget(dom.UUID)
	return nil
}

// memoryMiB reads a size in whatever unit it has.
func memoryMiB(m *libvirtxml.DomainMemory) uint64 {
	if m == nil {
		return 0
	}
	units := map[string]uint64{
		"b": 1, "bytes": 1, "KB": 1e3, "k": 1 << 10, "KiB": 1 << 10, "": 1 << 10, "MB": 1e6, "M": 1 << 20, "MiB": 1 << 20,
		"GB": 1e9, "G": 1 << 30, "GiB": 1 << 30, "TB": 1e12, "T": 1 << 40, "TiB": 1 << 40,
	}
	return uint64(m.Value) * units[m.Unit] >> 20
}
