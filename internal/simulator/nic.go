package simulator

import (
	"context"
	"slices"
	"strings"

	"baadal"
)

// nicAt returns the NIC with a MAC; nil if there is none.
func nicAt(def *baadal.Domain, mac string) *baadal.DomainNIC {
	i := slices.IndexFunc(def.NICs, func(n baadal.DomainNIC) bool { return strings.EqualFold(n.MAC, mac) })
	if i < 0 {
		return nil
	}
	return &def.NICs[i]
}

// NICs tells which NICs a domain has.
func (v *Hypervisor) NICs(ctx context.Context, bh baadal.Host, uuid string) (all []baadal.DomainNIC, err error) {
	err = v.onDomain(ctx, "hypervisor.nics", bh, uuid, func(d *domain) error {
		all = slices.Clone(d.definition().NICs)
		return nil
	})
	return all, err
}

// SetNIC gives a domain a NIC, or puts the one with its MAC where it belongs.
func (v *Hypervisor) SetNIC(ctx context.Context, bh baadal.Host, uuid string, n baadal.DomainNIC) error {
	return v.onDomain(ctx, "hypervisor.set_nic", bh, uuid, func(d *domain) error {
		if d.active() {
			v.w.unregister(d)
			defer v.w.register(d)
		}
		for _, def := range d.sides() {
			n := n
			n.Down = n.Down && def == d.Live
			def.NICs = slices.Clone(def.NICs)
			if has := nicAt(def, n.MAC); has != nil {
				*has = n
			} else {
				def.NICs = append(def.NICs, n)
			}
		}
		v.w.dirty = true
		return nil
	})
}

// DropNIC takes a NIC away; a deaf guest does not let go of it.
func (v *Hypervisor) DropNIC(ctx context.Context, bh baadal.Host, uuid, mac string) error {
	return v.onDomain(ctx, "hypervisor.drop_nic", bh, uuid, func(d *domain) error {
		if d.active() {
			if nicAt(d.Live, mac) != nil && (d.Deaf || d.State != baadal.VMRunning) {
				return baadal.Errorf(baadal.Conflict, "the guest does not let go of the NIC %s", strings.ToUpper(mac)).WithCode("nic_held")
			}
			v.w.unregister(d)
			defer v.w.register(d)
		}
		for _, def := range d.sides() {
			def.NICs = slices.DeleteFunc(slices.Clone(def.NICs), func(n baadal.DomainNIC) bool { return strings.EqualFold(n.MAC, mac) })
		}
		v.w.dirty = true
		return nil
	})
}

// SetVLAN gives the port with a VM's NIC a tag.
func (p *Prober) SetVLAN(ctx context.Context, bh baadal.Host, mac string, tag int) error {
	return p.w.call(ctx, "prober.set_vlan", bh, func(h *host) error { return p.w.setVLAN(h, mac, tag) })
}
