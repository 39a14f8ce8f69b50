package service

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"slices"

	"baadal"
	"baadal/internal/store"
)

func networkSubject(n baadal.Network) baadal.Subject {
	return baadal.Subject{Kind: "network", ID: n.ID, Name: n.Name}
}

// Networks lists the networks.
func (s *Service) Networks(ctx context.Context, a baadal.Actor, q baadal.ListQuery) (list baadal.List[baadal.Network], err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) {
		if list, err = tx.Networks(q); err != nil {
			return err
		}
		for i := range list.Items {
			if err := networkActions(tx, a, &list.Items[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return list, err
}

// Network returns one network by id or name.
func (s *Service) Network(ctx context.Context, a baadal.Actor, ref string) (n baadal.Network, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) {
		if n, err = tx.NetworkByRef(ref); err != nil {
			return err
		}
		return networkActions(tx, a, &n)
	})
	return n, err
}

func networkActions(tx *store.Tx, a baadal.Actor, n *baadal.Network) error {
	refusal := may(a, baadal.ActionNetworkDelete)
	if refusal == nil {
		refusal = deletableNetwork(tx, n)
		if baadal.KindOf(refusal) == baadal.Internal || baadal.KindOf(refusal) == baadal.Unavailable {
			return refusal // it could not be looked at
		}
	}
	n.Actions = map[string]baadal.Access{"delete": access(refusal)}
	return nil
}

// deletableNetwork refuses while VMs are in the network; deleted ones that can
// be restored need it too.
func deletableNetwork(tx *store.Tx, n *baadal.Network) error {
	if n.VMs > 0 {
		return baadal.Errorf(baadal.Conflict, "%d VMs are in network %s", n.VMs, n.Name).WithCode("network_in_use").
			WithNext("See them", "baadal vm list network:"+n.Name)
	}
	deleted, err := tx.VMs(baadal.ListQuery{Limit: 1, Filter: "state:deleted network:" + n.Name}, baadal.Visibility{Scope: baadal.ScopeAny})
	if err != nil {
		return err
	}
	if deleted.Total > 0 {
		return baadal.Errorf(baadal.Conflict, "%d deleted VMs that can be restored are in network %s", deleted.Total, n.Name).WithCode("network_in_use").
			WithNext("See them", "baadal vm list state:deleted network:"+n.Name)
	}
	return nil
}

// NetworkAddresses lists every address of a network with its owner.
func (s *Service) NetworkAddresses(ctx context.Context, a baadal.Actor, ref string) (all []baadal.Address, err error) {
	if err := may(a, baadal.ActionNetworkAddresses); err != nil {
		return nil, err
	}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		n, err := tx.NetworkByRef(ref)
		if err != nil {
			return err
		}
		all, err = tx.Addresses(n.ID)
		return err
	})
	return all, err
}

// CreateNetwork makes a network with all its addresses, each with its MAC, and
// a task that reserves them in the DHCP server.
func (s *Service) CreateNetwork(ctx context.Context, a baadal.Actor, in baadal.NetworkCreate, opt baadal.ChangeOptions) (c baadal.Change[baadal.Network], err error) {
	if err := may(a, baadal.ActionNetworkCreate); err != nil {
		return c, err
	}
	from, to, err := in.Validate()
	if err != nil {
		return c, err
	}
	var n baadal.Network
	var t baadal.Task
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		n = baadal.Network{
			Name: in.Name, VLAN: in.VLAN, CIDR: in.CIDR, Gateway: in.Gateway, DNS: slices.Clone(in.DNS), Bridge: in.Bridge,
			Portgroup: fmt.Sprintf("vlan%d", in.VLAN), First: from.String(), Last: to.String(),
		}
		if err := tx.Lock("network"); err != nil {
			return err
		}
		if err := overlaps(tx, in.CIDR); err != nil {
			return err
		}
		used, err := tx.UsedMACs()
		if err != nil {
			return err
		}
		if err := tx.CreateNetwork(&n, addresses(from, to, used)); err != nil {
			return err
		}
		if t, err = newTask(a, baadal.TaskNetworkApply, networkSubject(n), struct{}{}); err != nil {
			return err
		}
		if err := tx.InsertTask(&t); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		return event(tx, a, baadal.Event{Subject: networkSubject(n), Version: n.Generation, What: "created"}, map[string]any{"cidr": n.CIDR, "vlan": n.VLAN})
	})
	if isDryRun(err) {
		return baadal.Change[baadal.Network]{Plan: &baadal.Plan{
			Summary: fmt.Sprintf("make %s with VLAN %d and the addresses %s to %s", n.Name, n.VLAN, n.First, n.Last), Network: n.Name,
			Steps: s.queue.StepNames(baadal.TaskNetworkApply),
		}}, nil
	}
	if err != nil {
		return c, err
	}
	return baadal.Change[baadal.Network]{Resource: &n, Task: &t}, nil
}

// overlaps refuses a subnet that shares addresses with a known one.
func overlaps(tx *store.Tx, cidr string) error {
	all, err := tx.AllNetworks()
	if err != nil {
		return err
	}
	p := netip.MustParsePrefix(cidr)
	for _, n := range all {
		if q, err := netip.ParsePrefix(n.CIDR); err == nil && q.Overlaps(p) {
			return baadal.Errorf(baadal.Conflict, "%s overlaps with %s of network %s", cidr, n.CIDR, n.Name).WithCode("subnet_overlaps").WithField("cidr")
		}
	}
	return nil
}

// addresses makes the rows of a range, with random MACs that are not in use.
func addresses(from, to netip.Addr, used map[string]bool) []baadal.Address {
	var all []baadal.Address
	for ip := from; ip.Compare(to) <= 0; ip = ip.Next() {
		var b [3]byte
		mac := ""
		for mac == "" || used[mac] {
			_, _ = rand.Read(b[:])
			mac = baadal.RandomMAC(b)
		}
		used[mac] = true
		all = append(all, baadal.Address{IP: ip.String(), MAC: mac})
	}
	return all
}

// DeleteNetwork removes a network without VMs and its reservations.
func (s *Service) DeleteNetwork(ctx context.Context, a baadal.Actor, ref string, opt baadal.ChangeOptions) (c baadal.Change[baadal.Network], err error) {
	if err := may(a, baadal.ActionNetworkDelete); err != nil {
		return c, err
	}
	var n baadal.Network
	var t baadal.Task
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if err := tx.Lock("placement"); err != nil {
			return err
		}
		if n, err = tx.NetworkByRef(ref); err != nil {
			return err
		}
		if err := first(checkGeneration(opt, n.Generation), deletableNetwork(tx, &n)); err != nil {
			return err
		}
		if err := tx.SetNetworkDeleting(n.ID, true); err != nil {
			return err
		}
		if t, err = newTask(a, baadal.TaskNetworkDelete, networkSubject(n), struct{}{}); err != nil {
			return err
		}
		if err := tx.InsertTask(&t); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		return event(tx, a, baadal.Event{Subject: networkSubject(n), Version: n.Generation + 1, What: "deleted"}, nil)
	})
	if isDryRun(err) {
		return baadal.Change[baadal.Network]{Plan: &baadal.Plan{Summary: "remove " + n.Name + " and its reservations", Steps: s.queue.StepNames(baadal.TaskNetworkDelete)}}, nil
	}
	if err != nil {
		return c, err
	}
	return baadal.Change[baadal.Network]{Resource: &n, Task: &t}, nil
}
