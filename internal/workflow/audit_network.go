package workflow

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"baadal"
	"baadal/internal/store"
)

// lookNetworks looks at the tags of the ports of a host's VMs, and at the libvirt
// networks that ours name.
func (w *Workflows) lookNetworks(ctx context.Context, b book, host baadal.Host) (vlans map[string]int, networks map[string]baadal.HostNetwork, err error) {
	if vlans, err = w.sys.Prober.VLANs(ctx, host); err != nil || len(b.networks) == 0 {
		return vlans, nil, err
	}
	networks, err = w.sys.Networks.HostNetworks(ctx, host, slices.Sorted(maps.Keys(b.networks)))
	return vlans, networks, err
}

// readNetworks reads what hosts are to have of networks, and since when.
func (b *book) readNetworks(tx *store.Tx) (err error) {
	if b.networks, err = tx.HostNetworks(0); err != nil {
		return err
	}
	all, err := tx.AllNetworks()
	if err != nil {
		return err
	}
	for _, n := range all {
		if n.UpdatedAt.After(b.networksAt) {
			b.networksAt = n.UpdatedAt
		}
	}
	return nil
}

// compareHostNetworks asks whether every host has a portgroup for every VLAN.
func (c *comparison) compareHostNetworks() {
	if c.now.Sub(c.b.networksAt) < c.settle {
		return
	}
	for _, t := range append(slices.Clone(c.before.tasks), c.b.tasks...) {
		if t.Subject.Kind == "network" {
			return // they are being changed
		}
	}
	for _, h := range c.b.hosts {
		seen, looked := c.seen.networks[h.ID]
		if !looked || h.State != baadal.HostUp || c.hostInMotion(h) {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(c.b.networks)) {
			if words := missingOf(c.b.networks[name], seen[name]); words != "" {
				c.add(baadal.Difference{
					Kind: baadal.DiffPortgroup, Subject: baadal.Subject{Kind: "host", ID: h.ID, Name: h.Name}, Host: h.Name,
					Stored: fmt.Sprintf("libvirt network %s with %d portgroups", name, len(c.b.networks[name].Portgroups)), Seen: words, Repair: "make what is missing",
				})
			}
		}
	}
}

// hostInMotion reports whether a task holds the host.
func (c *comparison) hostInMotion(h baadal.Host) bool {
	return slices.ContainsFunc(append(slices.Clone(c.before.tasks), c.b.tasks...), func(t baadal.Task) bool {
		return t.Subject.Kind == "host" && t.Subject.ID == h.ID
	})
}

// missingOf says what a host's network lacks.
func missingOf(want, have baadal.HostNetwork) string {
	switch {
	case have.Name == "":
		return "there is none"
	case !have.Ready:
		return "it is not active, or would not be after a boot"
	}
	for _, group := range slices.Sorted(maps.Keys(want.Portgroups)) {
		tag, there := have.Portgroups[group]
		if !there {
			return "there is no portgroup " + group
		}
		if tag != want.Portgroups[group] {
			return fmt.Sprintf("portgroup %s has the tag %d, or none for certain", group, tag)
		}
	}
	return ""
}
