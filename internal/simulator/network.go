package simulator

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"baadal"
)

// theBridge is the Open vSwitch bridge of the world's hosts.
const theBridge = "ovs0"

// HostNetworks looks at libvirt networks by name.
func (v *Hypervisor) HostNetworks(ctx context.Context, bh baadal.Host, names []string) (all map[string]baadal.HostNetwork, err error) {
	err = v.w.call(ctx, "hypervisor.networks", bh, func(h *host) error {
		all = map[string]baadal.HostNetwork{}
		for _, name := range names {
			if n, there := h.Networks[name]; there {
				n.Portgroups = maps.Clone(n.Portgroups)
				all[name] = n
			}
		}
		return nil
	})
	return all, err
}

// KeepHostNetwork makes a network, or brings one in line.
func (v *Hypervisor) KeepHostNetwork(ctx context.Context, bh baadal.Host, want baadal.HostNetwork, drop []string) error {
	return v.w.call(ctx, "hypervisor.keep_network", bh, func(h *host) error {
		n, there := h.Networks[want.Name]
		if !there {
			n = baadal.HostNetwork{Name: want.Name, Bridge: want.Bridge}
		}
		n.Ready = true
		groups := maps.Clone(n.Portgroups)
		if groups == nil {
			groups = map[string]int{}
		}
		maps.Copy(groups, want.Portgroups)
		for _, name := range drop {
			delete(groups, name)
		}
		n.Portgroups = groups
		h.Networks[want.Name] = n
		v.w.dirty = true
		return nil
	})
}

// VirshNetwork is somebody's `virsh net-…` on a host: fn changes its networks.
func (w *World) VirshNetwork(name string, fn func(map[string]baadal.HostNetwork)) error {
	return w.act(name, func(h *host) error {
		fn(h.Networks)
		return nil
	})
}

// networkWords are a host's networks in a line of the world's state.
func (h *host) networkWords() string {
	var words []string
	for _, name := range sortedKeys(h.Networks) {
		n := h.Networks[name]
		var groups []string
		for _, g := range sortedKeys(n.Portgroups) {
			groups = append(groups, fmt.Sprintf("%s=%d", g, n.Portgroups[g]))
		}
		if len(groups) > 0 || !n.Ready || name != baadal.DefaultLibvirtNetwork {
			words = append(words, fmt.Sprintf(" network=%s@%s[%s]%s", name, n.Bridge, strings.Join(groups, ","), flags("inactive", !n.Ready)))
		}
	}
	return strings.Join(words, "")
}
