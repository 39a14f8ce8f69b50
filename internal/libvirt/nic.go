package libvirt

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"baadal"
)

// nicsOf is which NICs a domain has: in its definition, and as it runs.
type nicsOf struct {
	active       bool
	like         baadal.Domain // what a NIC of it depends on
	config, live []libvirtxml.DomainInterface
}

func lookNICs(rpc *golibvirt.Libvirt, dom golibvirt.Domain) (n nicsOf, err error) {
	active, err := rpc.DomainIsActive(dom)
	if err != nil {
		return n, err
	}
	n.active = active != 0
	if n.config, n.like, err = interfacesOf(rpc, dom, golibvirt.DomainXMLInactive); err == nil && n.active {
		n.live, n.like, err = interfacesOf(rpc, dom, 0)
	}
	return n, err
}

func interfacesOf(rpc *golibvirt.Libvirt, dom golibvirt.Domain, flags golibvirt.DomainXMLFlags) (all []libvirtxml.DomainInterface, like baadal.Domain, err error) {
	text, err := rpc.DomainGetXMLDesc(dom, flags)
	if err != nil {
		return nil, like, err
	}
	var d libvirtxml.Domain
	if err := d.Unmarshal(text); err != nil {
		return nil, like, fmt.Errorf("read domain XML: %w", err)
	}
	if d.Devices != nil {
		all = d.Devices.Interfaces
	}
	return all, baadal.Domain{UUID: d.UUID, Virt: d.Type}, nil
}

// withMAC returns the NIC with a MAC; nil if there is none.
func withMAC(all []libvirtxml.DomainInterface, mac string) *libvirtxml.DomainInterface {
	i := slices.IndexFunc(all, func(i libvirtxml.DomainInterface) bool { return i.MAC != nil && strings.EqualFold(i.MAC.Address, mac) })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// nicOf is what a domain's XML says of a NIC. While the domain runs it does not
// say which portgroup the NIC is in, but the tag.
func nicOf(i *libvirtxml.DomainInterface) (n baadal.DomainNIC) {
	if i.MAC != nil {
		n.MAC = strings.ToUpper(i.MAC.Address)
	}
	if i.Source != nil && i.Source.Network != nil {
		n.Network, n.Portgroup = i.Source.Network.Network, i.Source.Network.PortGroup
	}
	if i.VLan != nil && len(i.VLan.Tags) == 1 {
		n.VLAN = int(i.VLan.Tags[0].ID) //nolint:gosec // at most 4095
	}
	n.Down = i.Link != nil && i.Link.State == "down"
	return n
}

// NICs tells which NICs a domain has: as it runs, or in its definition if it is
// off. Their libvirt networks are always those of the definition.
func (h *Hypervisor) NICs(ctx context.Context, host baadal.Host, uuid string) ([]baadal.DomainNIC, error) {
	const op = "look at NICs of domain"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return nil, err
	}
	return call(ctx, l, op, func(rpc *golibvirt.Libvirt) ([]baadal.DomainNIC, error) {
		n, err := lookNICs(rpc, dom)
		if err != nil {
			return nil, err
		}
		side := n.config
		if n.active {
			side = n.live
		}
		all := make([]baadal.DomainNIC, len(side))
		for i := range side {
			all[i] = nicOf(&side[i])
			if config := withMAC(n.config, all[i].MAC); config != nil {
				is := nicOf(config)
				all[i].Network, all[i].Portgroup = is.Network, is.Portgroup
			}
		}
		return all, nil
	})
}

// SetNIC gives a domain a NIC, or puts the one with its MAC where it belongs: at
// once if the domain is active, and in its definition. The guest keeps its
// device; only its link is set to what n says. As it is already is success.
func (h *Hypervisor) SetNIC(ctx context.Context, host baadal.Host, uuid string, n baadal.DomainNIC) error {
	const op = "set NIC"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return err
	}
	_, err = call(ctx, l, op, func(rpc *golibvirt.Libvirt) (struct{}, error) {
		has, err := lookNICs(rpc, dom)
		if err != nil {
			return struct{}{}, err
		}
		if has.active {
			if live := withMAC(has.live, n.MAC); live == nil {
				err = attachNIC(rpc, dom, has.like, n, n.Down, golibvirt.DomainDeviceModifyLive)
			} else if now := nicOf(live); now.VLAN != n.VLAN || now.Down != n.Down {
				err = moveNIC(rpc, dom, *live, n, n.Down, golibvirt.DomainDeviceModifyLive)
			}
			if err != nil {
				return struct{}{}, err
			}
		}
		// The definition never has a link that is down: a start brings it up.
		if config := withMAC(has.config, n.MAC); config == nil {
			err = attachNIC(rpc, dom, has.like, n, false, golibvirt.DomainDeviceModifyConfig)
		} else if now := nicOf(config); now.VLAN != n.VLAN || now.Network != n.Network || now.Portgroup != n.Portgroup || now.Down {
			err = moveNIC(rpc, dom, *config, n, false, golibvirt.DomainDeviceModifyConfig)
		}
		return struct{}{}, err
	})
	return err
}

// attachNIC plugs a NIC into a domain that runs, or adds it to a definition.
func attachNIC(rpc *golibvirt.Libvirt, dom golibvirt.Domain, like baadal.Domain, n baadal.DomainNIC, down bool, flag golibvirt.DomainDeviceModifyFlags) error {
	device := netInterface(like, n)
	if down {
		device.Link = &libvirtxml.DomainInterfaceLink{State: "down"}
	}
	text, err := device.Marshal()
	if err != nil {
		return fmt.Errorf("write NIC XML: %w", err)
	}
	return rpc.DomainAttachDeviceFlags(dom, text, uint32(flag))
}

// moveNIC tells libvirt of a NIC as it is, with another network. As the domain
// runs it is on a bridge; what is told is the libvirt network. Portgroup and tag
// are both said: the portgroup alone would leave a trunk port.
func moveNIC(rpc *golibvirt.Libvirt, dom golibvirt.Domain, i libvirtxml.DomainInterface, n baadal.DomainNIC, down bool, flag golibvirt.DomainDeviceModifyFlags) error {
	i.Source = &libvirtxml.DomainInterfaceSource{Network: &libvirtxml.DomainInterfaceSourceNetwork{Network: n.Network, PortGroup: n.Portgroup}}
	i.VLan, i.Link = nil, nil
	if n.VLAN != 0 {
		i.VLan = &libvirtxml.DomainInterfaceVLan{Tags: []libvirtxml.DomainInterfaceVLanTag{{ID: uint(n.VLAN)}}} //nolint:gosec // above 0
	}
	if down {
		i.Link = &libvirtxml.DomainInterfaceLink{State: "down"}
	}
	text, err := i.Marshal()
	if err != nil {
		return fmt.Errorf("write NIC XML: %w", err)
	}
	return rpc.DomainUpdateDeviceFlags(dom, text, flag)
}

// DropNIC takes a NIC away: from the running domain, once its guest has let go
// of it, then from the definition. A domain without it is success. A guest that
// does not let go is Conflict (code nic_held): the definition keeps the NIC then.
func (h *Hypervisor) DropNIC(ctx context.Context, host baadal.Host, uuid, mac string) error {
	const op = "drop NIC"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return err
	}
	drop := func(i *libvirtxml.DomainInterface, flag golibvirt.DomainDeviceModifyFlags) error {
		if i == nil {
			return nil
		}
		_, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (struct{}, error) {
			text, err := i.Marshal() // with its address: there may be others
			if err != nil {
				return struct{}{}, fmt.Errorf("write NIC XML: %w", err)
			}
			return struct{}{}, rpc.DomainDetachDeviceFlags(dom, text, uint32(flag))
		})
		return err
	}
	var asked time.Time
	for begun := h.opts.Now(); ; {
		has, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (nicsOf, error) { return lookNICs(rpc, dom) })
		if err != nil {
			return err
		}
		now := h.opts.Now()
		live := withMAC(has.live, mac)
		switch {
		case live == nil:
			return drop(withMAC(has.config, mac), golibvirt.DomainDeviceModifyConfig)
		case now.Sub(begun) > detachWithin:
			return baadal.Errorf(baadal.Conflict, "the guest does not let go of the NIC %s", strings.ToUpper(mac)).WithCode("nic_held").
				WithDetail("it was asked %s long; nothing was changed", detachWithin).
				WithNext("Shut the VM down, and remove the NIC again", "")
		case now.Sub(asked) > detachAgain:
			asked = now
			if err := drop(live, golibvirt.DomainDeviceModifyLive); err != nil && baadal.KindOf(err) != baadal.Unavailable && !asksAlready(err) {
				return err
			}
		}
		if err := wait(ctx, detachLook); err != nil {
			return interrupted(ctx, host.Name, op)
		}
	}
}
