package libvirt

import (
	"context"
	"fmt"
	"maps"
	"slices"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"baadal"
)

// HostNetworks looks at libvirt networks by name; those that the host does not
// have are left out. A portgroup that the active network and its definition do
// not agree about counts as having no tag.
func (h *Hypervisor) HostNetworks(ctx context.Context, host baadal.Host, names []string) (map[string]baadal.HostNetwork, error) {
	const op = "look at networks"
	l, err := h.peer(host).connect(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return call(ctx, l, op, func(rpc *golibvirt.Libvirt) (map[string]baadal.HostNetwork, error) {
		all := map[string]baadal.HostNetwork{}
		for _, name := range names {
			s, err := lookNetwork(rpc, name)
			if isCode(err, golibvirt.ErrNoNetwork) {
				continue
			}
			if err != nil {
				return nil, err
			}
			all[name] = s.whole()
		}
		return all, nil
	})
}

// KeepHostNetwork makes a network with its portgroups if the host has none of
// that name, and brings an existing one in line without disturbing the NICs in
// it. Its bridge and other people's portgroups stay.
func (h *Hypervisor) KeepHostNetwork(ctx context.Context, host baadal.Host, n baadal.HostNetwork, drop []string) error {
	const op = "keep network"
	l, err := h.peer(host).connect(ctx, host)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	_, err = call(ctx, l, op, func(rpc *golibvirt.Libvirt) (struct{}, error) {
		// Another controller may be at the same work: what it did meanwhile is
		// seen at the second look.
		err := keepNetwork(rpc, n, drop)
		if err != nil {
			err = keepNetwork(rpc, n, drop)
		}
		return struct{}{}, err
	})
	return err
}

// networkSight is a network as libvirtd has it.
type networkSight struct {
	net                        golibvirt.Network
	bridge                     string
	active, persistent, starts bool
	live, config               map[string]int // tags of portgroups; nil if it is not active, or not persistent
}

func lookNetwork(rpc *golibvirt.Libvirt, name string) (s networkSight, err error) {
	if s.net, err = rpc.NetworkLookupByName(name); err != nil {
		return s, err
	}
	active, err := rpc.NetworkIsActive(s.net)
	if err != nil {
		return s, err
	}
	persistent, err := rpc.NetworkIsPersistent(s.net)
	if err != nil {
		return s, err
	}
	s.active, s.persistent = active != 0, persistent != 0
	if s.active {
		if s.live, s.bridge, err = portgroups(rpc, s.net, 0); err != nil {
			return s, err
		}
	}
	if s.persistent {
		starts, err := rpc.NetworkGetAutostart(s.net)
		if err != nil {
			return s, err
		}
		s.starts = starts != 0
		s.config, s.bridge, err = portgroups(rpc, s.net, golibvirt.NetworkXMLInactive)
		return s, err
	}
	return s, nil
}

func portgroups(rpc *golibvirt.Libvirt, net golibvirt.Network, flags golibvirt.NetworkXMLFlags) (tags map[string]int, bridge string, err error) {
	text, err := rpc.NetworkGetXMLDesc(net, uint32(flags))
	if err != nil {
		return nil, "", err
	}
	var n libvirtxml.Network
	if err := n.Unmarshal(text); err != nil {
		return nil, "", fmt.Errorf("read network: %w", err)
	}
	if n.Bridge != nil {
		bridge = n.Bridge.Name
	}
	tags = map[string]int{}
	for _, p := range n.PortGroups {
		tags[p.Name] = 0
		if p.VLAN != nil && len(p.VLAN.Tags) == 1 && p.VLAN.Trunk != "yes" {
			tags[p.Name] = int(p.VLAN.Tags[0].ID) //nolint:gosec // 12 bits
		}
	}
	return tags, bridge, nil
}

// whole is what there is now and will be after a boot.
func (s *networkSight) whole() baadal.HostNetwork {
	n := baadal.HostNetwork{Name: s.net.Name, Bridge: s.bridge, Ready: s.active && s.persistent && s.starts, Portgroups: map[string]int{}}
	for _, tags := range []map[string]int{s.live, s.config} {
		for name := range tags {
			n.Portgroups[name] = 0
			if s.live[name] == s.config[name] || !s.active || !s.persistent {
				n.Portgroups[name] = tags[name]
			}
		}
	}
	return n
}

func keepNetwork(rpc *golibvirt.Libvirt, n baadal.HostNetwork, drop []string) error {
	s, err := lookNetwork(rpc, n.Name)
	if isCode(err, golibvirt.ErrNoNetwork) {
		if err := defineNetwork(rpc, n); err != nil {
			return err
		}
		s, err = lookNetwork(rpc, n.Name)
	}
	if err != nil {
		return err
	}
	if !s.persistent { // started by hand, without a definition: it gets one
		text, err := rpc.NetworkGetXMLDesc(s.net, 0)
		if err != nil {
			return err
		}
		if _, err := rpc.NetworkDefineXML(text); err != nil {
			return err
		}
		s.config = maps.Clone(s.live)
	}
	if err := updatePortgroups(rpc, s.net, s.config, golibvirt.NetworkUpdateAffectConfig, n.Portgroups, drop); err != nil {
		return err
	}
	if s.active {
		if err := updatePortgroups(rpc, s.net, s.live, golibvirt.NetworkUpdateAffectLive, n.Portgroups, drop); err != nil {
			return err
		}
	} else if err := rpc.NetworkCreate(s.net); err != nil {
		return err
	}
	if s.starts {
		return nil
	}
	return rpc.NetworkSetAutostart(s.net, 1)
}

func defineNetwork(rpc *golibvirt.Libvirt, n baadal.HostNetwork) error {
	def := libvirtxml.Network{
		Name: n.Name, Forward: &libvirtxml.NetworkForward{Mode: "bridge"}, Bridge: &libvirtxml.NetworkBridge{Name: n.Bridge},
		VirtualPort: &libvirtxml.NetworkVirtualPort{Params: &libvirtxml.NetworkVirtualPortParams{OpenVSwitch: &libvirtxml.NetworkVirtualPortParamsOpenVSwitch{}}},
	}
	for _, name := range slices.Sorted(maps.Keys(n.Portgroups)) {
		def.PortGroups = append(def.PortGroups, portgroup(name, n.Portgroups[name]))
	}
	text, err := def.Marshal()
	if err != nil {
		return err
	}
	_, err = rpc.NetworkDefineXML(text)
	return err
}

func portgroup(name string, tag int) libvirtxml.NetworkPortGroup {
	return libvirtxml.NetworkPortGroup{
		Name: name, VLAN: &libvirtxml.NetworkVLAN{Tags: []libvirtxml.NetworkVLANTag{{ID: uint(tag)}}}, //nolint:gosec // 1 to 4094
	}
}

// updatePortgroups changes what differs, in the definition or in the active
// network.
func updatePortgroups(rpc *golibvirt.Libvirt, net golibvirt.Network, have map[string]int, where golibvirt.NetworkUpdateFlags, want map[string]int, drop []string) error {
	update := func(what golibvirt.NetworkUpdateCommand, name string, tag int) error {
		p := portgroup(name, tag)
		text, err := p.Marshal()
		if err != nil {
			return err
		}
		return rpc.NetworkUpdate(net, uint32(what), uint32(golibvirt.NetworkSectionPortgroup), -1, text, where) //nolint:gosec // small constants
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		tag, there := have[name]
		what := golibvirt.NetworkUpdateCommandAddLast
		if there {
			what = golibvirt.NetworkUpdateCommandModify
		}
		if there && tag == want[name] {
			continue
		}
		if err := update(what, name, want[name]); err != nil {
			return err
		}
	}
	for _, name := range drop {
		if tag, there := have[name]; there {
			if err := update(golibvirt.NetworkUpdateCommandDelete, name, tag); err != nil {
				return err
			}
		}
	}
	return nil
}
