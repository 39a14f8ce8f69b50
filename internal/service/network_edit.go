package service

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"baadal"
	"baadal/internal/store"
)

// EnsureBuiltinNetworks makes the specification's domains that are not there
// yet; one of the name that somebody made before counts as it.
func (s *Service) EnsureBuiltinNetworks(ctx context.Context) error {
	return s.db.Update(ctx, func(tx *store.Tx) error {
		if err := tx.Lock("network"); err != nil {
			return err
		}
		all, err := tx.AllNetworks()
		if err != nil {
			return err
		}
		for name, visible := range baadal.BuiltinNetworks() {
			if slices.ContainsFunc(all, func(n baadal.Network) bool { return n.Builtin == name }) {
				continue
			}
			if i := slices.IndexFunc(all, func(n baadal.Network) bool { return n.Name == name }); i >= 0 {
				all[i].Builtin = name
				if err := tx.UpdateNetwork(&all[i]); err != nil {
					return err
				}
				continue
			}
			n := baadal.Network{Name: name, Builtin: name, Bridge: baadal.DefaultLibvirtNetwork, VisibleToAll: visible}
			if err := tx.CreateNetwork(&n, nil); err != nil {
				return err
			}
			if err := event(tx, baadal.System(), baadal.Event{Subject: networkSubject(n), Version: n.Generation, What: "created"}, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// EditNetwork changes what a network is called, who may use it, and what else
// may change under VMs, as its IPv6 prefix. Its VLAN and libvirt network change only while no VM is
// in it, its subnet only while it has no addresses.
func (s *Service) EditNetwork(ctx context.Context, a baadal.Actor, ref string, in baadal.NetworkEdit, opt baadal.ChangeOptions) (c baadal.Change[baadal.Network], err error) {
	if err := first(may(a, baadal.ActionNetworkUpdate), in.Validate()); err != nil {
		return c, err
	}
	var n baadal.Network
	var effects []string
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if err := first(tx.Lock("placement"), tx.Lock("network")); err != nil {
			return err
		}
		if n, err = tx.NetworkByRef(ref); err != nil {
			return err
		}
		if err := checkGeneration(opt, n.Generation); err != nil {
			return err
		}
		changes, err := editNetwork(tx, &n, in)
		if err != nil {
			return err
		}
		if err := tx.UpdateNetwork(&n); err != nil {
			return err
		}
		effects = prefixEffects(&n, changes)
		if opt.DryRun {
			return errDryRun
		}
		if err := event(tx, a, baadal.Event{Subject: networkSubject(n), Version: n.Generation, What: "edited"}, changes); err != nil {
			return err
		}
		return presentNetwork(tx, a, &n)
	})
	if isDryRun(err) {
		return baadal.Change[baadal.Network]{Plan: &baadal.Plan{Summary: "edit " + n.Name, Network: n.Name, Effects: effects}}, nil
	}
	if err != nil {
		return c, err
	}
	return baadal.Change[baadal.Network]{Resource: &n}, nil
}

// editNetwork applies a wish to a network, or says why not.
func editNetwork(tx *store.Tx, n *baadal.Network, in baadal.NetworkEdit) (changes map[string]any, err error) {
	old := *n
	set(&n.Name, in.Name)
	set(&n.VLAN, in.VLAN)
	set(&n.CIDR, in.CIDR)
	set(&n.Gateway, in.Gateway)
	set(&n.DNS, in.DNS)
	set(&n.IPv6Prefix, in.IPv6Prefix)
	set(&n.Bridge, in.Bridge)
	set(&n.VisibleToAll, in.VisibleToAll)
	switch {
	case in.Organisations != nil && (in.VisibleToAll == nil || !*in.VisibleToAll):
		n.VisibleToAll = false
		err = nameOrganisations(tx, n, *in.Organisations)
	case n.VisibleToAll:
		n.Organisations, n.OrganisationIDs = nil, nil
	}
	if err != nil {
		return nil, err
	}
	if n.VLAN != old.VLAN || n.Bridge != old.Bridge {
		if err := first(idleNetwork(tx, &old), noVMs(tx, &old)); err != nil {
			return nil, err
		}
		n.Portgroup = baadal.Portgroup(n.VLAN)
	}
	if n.CIDR != old.CIDR {
		if err := first(idleNetwork(tx, &old), withoutAddresses(&old), overlaps(tx, n.CIDR, n.ID)); err != nil {
			return nil, err
		}
		n.Applied = true // with a subnet and no addresses there is nothing to reserve
	}
	if n.Gateway != old.Gateway || n.CIDR != old.CIDR {
		if err := first(n.CheckGateway(), freeForGateway(tx, n)); err != nil {
			return nil, err
		}
	}
	changes = map[string]any{}
	for name, c := range map[string]baadal.Changed{
		"name": {Old: old.Name, New: n.Name}, "vlan": {Old: old.VLAN, New: n.VLAN}, "cidr": {Old: old.CIDR, New: n.CIDR},
		"gateway": {Old: old.Gateway, New: n.Gateway}, "ipv6_prefix": {Old: old.IPv6Prefix, New: n.IPv6Prefix}, "libvirt_network": {Old: old.Bridge, New: n.Bridge},
		"dns":        {Old: strings.Join(old.DNS, " "), New: strings.Join(n.DNS, " ")},
		"visible_to": {Old: visibleTo(&old), New: visibleTo(n)},
	} {
		if c.Old != c.New {
			changes[name] = c
		}
	}
	if len(changes) == 0 {
		return nil, baadal.Errorf(baadal.Invalid, "%s is so already", n.Name).WithCode("no_change")
	}
	return changes, nil
}

func visibleTo(n *baadal.Network) string {
	switch {
	case n.VisibleToAll:
		return "all"
	case len(n.Organisations) == 0:
		return "administrators"
	}
	return strings.Join(slices.Sorted(slices.Values(n.Organisations)), " ")
}

// idleNetwork refuses while a task brings the network's reservations where they
// belong.
func idleNetwork(tx *store.Tx, n *baadal.Network) error {
	t, err := tx.ActiveTask(networkSubject(*n))
	if err != nil || t == nil {
		return err
	}
	return baadal.Errorf(baadal.Conflict, "%s is busy: %s", n.Name, t.Kind).WithCode("busy").WithNext("See the task", fmt.Sprintf("baadal task show %d", t.ID))
}

// noVMs refuses while VMs are in the network, those that can be restored too.
func noVMs(tx *store.Tx, n *baadal.Network) error {
	shown := *n
	shown.Builtin = "" // it may change as any other
	return deletableNetwork(tx, &shown)
}

func withoutAddresses(n *baadal.Network) error {
	if n.Addresses == 0 {
		return nil
	}
	return baadal.Errorf(baadal.Conflict, "%s has %d addresses of %s", n.Name, n.Addresses, n.CIDR).WithCode("network_in_use").WithField("cidr").
		WithNext("Take them away first", "baadal network range remove "+n.Name+" "+n.First+" "+n.Last)
}

// freeForGateway refuses a gateway that is an address for VMs.
func freeForGateway(tx *store.Tx, n *baadal.Network) error {
	if n.Gateway == "" {
		return nil
	}
	all, err := tx.Addresses(n.ID)
	if err != nil || !slices.ContainsFunc(all, func(a baadal.Address) bool { return a.IP == n.Gateway }) {
		return err
	}
	return baadal.Errorf(baadal.Conflict, "%s is an address for VMs", n.Gateway).WithCode("address_in_use").WithField("gateway").
		WithNext("Take it away first", "baadal network range remove "+n.Name+" "+n.Gateway)
}

// usersOf counts the VMs with a NIC in a network, and names some.
func usersOf(tx *store.Tx, n *baadal.Network) (vms int, words string, err error) {
	const most = 5
	all, err := tx.VMs(baadal.ListQuery{Limit: most, Filter: "network:" + n.Name, Sort: "name"}, baadal.Visibility{Scope: baadal.ScopeAny})
	if err != nil {
		return 0, "", err
	}
	var names []string
	for _, vm := range all.Items {
		names = append(names, vm.Name)
	}
	if more := all.Total - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return all.Total, strings.Join(names, ", "), nil
}

// AddNetworkRange gives a network more addresses, and a task that reserves them
// in the DHCP server; VMs get them when it is done. What has an address of the
// range already, as the gateway, this controller and hosts, keeps it.
func (s *Service) AddNetworkRange(ctx context.Context, a baadal.Actor, ref string, in baadal.RangeAdd, opt baadal.ChangeOptions) (c baadal.Change[baadal.Network], err error) {
	summary := ""
	return s.changeRange(ctx, a, ref, opt, baadal.TaskNetworkGrow, &summary, func(tx *store.Tx, n *baadal.Network) error {
		from, to, err := n.RangeIn(in.First, in.Last)
		if err != nil {
			return err
		}
		all, err := s.addresses(tx, n, from, to, in.MACs)
		if err != nil {
			return err
		}
		summary = fmt.Sprintf("give %s the addresses %s to %s: %d", n.Name, all[0].IP, all[len(all)-1].IP, len(all))
		return tx.AddAddresses(n, all)
	})
}

// RemoveNetworkRange takes addresses away from a network, which nobody may use,
// and their reservations.
func (s *Service) RemoveNetworkRange(ctx context.Context, a baadal.Actor, ref, addresses string, opt baadal.ChangeOptions) (c baadal.Change[baadal.Network], err error) {
	summary := ""
	from, to, _ := strings.Cut(addresses, "-")
	return s.changeRange(ctx, a, ref, opt, baadal.TaskNetworkShrink, &summary, func(tx *store.Tx, n *baadal.Network) error {
		first, last, err := n.RangeIn(from, to)
		if err != nil {
			return err
		}
		count, err := tx.RetireAddresses(n, first, last)
		summary = fmt.Sprintf("take from %s the addresses %s to %s: %d", n.Name, first, last, count)
		return err
	})
}

func (s *Service) changeRange(ctx context.Context, a baadal.Actor, ref string, opt baadal.ChangeOptions, kind baadal.TaskKind, summary *string,
	change func(*store.Tx, *baadal.Network) error,
) (c baadal.Change[baadal.Network], err error) {
	if err := may(a, baadal.ActionNetworkUpdate); err != nil {
		return c, err
	}
	var n baadal.Network
	var t baadal.Task
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if err := first(tx.Lock("placement"), tx.Lock("network")); err != nil {
			return err
		}
		if n, err = tx.NetworkByRef(ref); err != nil {
			return err
		}
		// The task is looked for first: what is held of the addresses is its.
		if err := first(checkGeneration(opt, n.Generation), idleNetwork(tx, &n), change(tx, &n)); err != nil {
			return err
		}
		return s.withTask(tx, a, kind, n, &t, opt, "edited", map[string]any{"addresses": *summary})
	})
	if isDryRun(err) {
		return baadal.Change[baadal.Network]{Plan: &baadal.Plan{Summary: *summary, Network: n.Name, Steps: s.queue.StepNames(kind)}}, nil
	}
	if err != nil {
		return c, err
	}
	return baadal.Change[baadal.Network]{Resource: &n, Task: &t}, nil
}

// addresses makes the rows of a range: with the MACs that are given, in their
// order, and for the others random ones that nobody has. The gateway's address,
// ours and those of hosts are kept out.
func (s *Service) addresses(tx *store.Tx, n *baadal.Network, from, to netip.Addr, macs []string) (all []baadal.Address, err error) {
	used, err := tx.UsedMACs()
	if err != nil {
		return nil, err
	}
	taken, err := s.takenAddresses(tx, n)
	if err != nil {
		return nil, err
	}
	given := make([]string, len(macs))
	for i, m := range macs {
		if given[i], err = baadal.CheckMAC(m); err != nil {
			return nil, err
		}
		if used[given[i]] {
			return nil, baadal.Errorf(baadal.Conflict, "the MAC address %s is another address's", given[i]).WithCode("mac_taken").WithField("macs")
		}
		used[given[i]] = true
	}
	for ip := from; ip.Compare(to) <= 0; ip = ip.Next() {
		if taken[ip] {
			continue
		}
		mac := ""
		if len(all) < len(given) {
			mac = given[len(all)]
		}
		for mac == "" {
			var b [3]byte
			_, _ = rand.Read(b[:])
			if m := baadal.RandomMAC(b); !used[m] {
				mac = m
			}
		}
		used[mac] = true
		all = append(all, baadal.Address{IP: ip.String(), MAC: mac})
	}
	switch {
	case len(all) == 0:
		return nil, baadal.Errorf(baadal.Invalid, "nothing of %s to %s is left for VMs", from, to).WithField("first").
			WithDetail("the gateway, this controller and hosts keep their addresses")
	case len(given) > len(all):
		return nil, baadal.Errorf(baadal.Invalid, "there are %d MACs for %d addresses", len(given), len(all)).WithField("macs")
	}
	return all, nil
}

// takenAddresses are those that no VM may get.
func (s *Service) takenAddresses(tx *store.Tx, n *baadal.Network) (map[netip.Addr]bool, error) {
	taken := map[netip.Addr]bool{}
	for _, a := range s.opt.Taken {
		taken[a.Unmap()] = true
	}
	hosts, err := tx.KnownHosts()
	if err != nil {
		return nil, err
	}
	words := []string{n.Gateway}
	for _, h := range hosts {
		words = append(words, h.Address)
	}
	for _, w := range append(words, n.DNS...) {
		if a, err := netip.ParseAddr(w); err == nil {
			taken[a] = true
		}
	}
	maps.DeleteFunc(taken, func(a netip.Addr, _ bool) bool { return !a.Is4() })
	return taken, nil
}
