package simulator

import (
	"context"
	"encoding/json"
	"fmt"

	"baadal"
)

// ForeignDomain looks at a domain by its UUID or its name. Its definition is
// kept as JSON instead of XML.
func (v *Hypervisor) ForeignDomain(ctx context.Context, bh baadal.Host, ref string) (f baadal.ForeignDomain, err error) {
	err = v.w.call(ctx, "foreign.domain", bh, func(h *host) error {
		d := h.Domains[ref]
		for _, other := range h.Domains {
			if d == nil && other.Def.Name == ref {
				d = other
			}
		}
		if d == nil {
			return noDomain(h, ref)
		}
		text, err := json.Marshal(d.Def)
		if err != nil {
			return fmt.Errorf("write definition: %w", err)
		}
		f = baadal.ForeignDomain{
			UUID: d.Def.UUID, Name: d.Def.Name, VMID: d.Def.VMID, State: d.State, Saved: d.Saved != nil, Snapshots: len(d.Snaps),
			VCPUs: d.Def.VCPUs, RAMMiB: d.Def.RAMMiB, Machine: "pc", XML: string(text),
		}
		for _, k := range d.Def.Disks {
			f.Disks = append(f.Disks, baadal.ForeignDisk{Path: k.Path, Format: k.Format, Target: k.Target, Bus: "virtio"})
		}
		for _, n := range d.Def.NICs {
			f.MACs = append(f.MACs, n.MAC)
		}
		return nil
	})
	return f, err
}

// DefineForeign defines a domain as ForeignDomain gave it.
func (v *Hypervisor) DefineForeign(ctx context.Context, bh baadal.Host, text string) error {
	return v.w.call(ctx, "foreign.define", bh, func(h *host) error {
		var d baadal.Domain
		if err := json.Unmarshal([]byte(text), &d); err != nil {
			return baadal.Errorf(baadal.Invalid, "define foreign domain: %w", err).WithCode("domain_xml")
		}
		return v.w.define(h, d)
	})
}

// VirshDefine defines a domain on a host by hand, shut off, as virsh does.
func (w *World) VirshDefine(name string, d baadal.Domain) error {
	return w.act(name, func(h *host) error {
		if h.Off {
			return silent(h)
		}
		if d.Virt == "" {
			d.Virt = h.Facts.Virt
		}
		return w.define(h, d)
	})
}
