package service

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"baadal"
	"baadal/internal/store"
)

func networkSubject(n baadal.Network) baadal.Subject {
	return baadal.Subject{Kind: "network", ID: n.ID, Name: n.Name}
}

// Networks lists the networks that the actor may use.
func (s *Service) Networks(ctx context.Context, a baadal.Actor, q baadal.ListQuery) (list baadal.List[baadal.Network], err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) {
		organisation := a.User.OrganisationID
		if a.ScopeOf(baadal.ActionNetworkRead) == baadal.ScopeAny {
			organisation = 0
		}
		if list, err = tx.Networks(q, organisation); err != nil {
			return err
		}
		for i := range list.Items {
			if err := presentNetwork(tx, a, &list.Items[i]); err != nil {
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
		if n, err = findNetwork(tx, a, ref); err != nil {
			return err
		}
		return presentNetwork(tx, a, &n)
	})
	return n, err
}

// findNetwork finds a network that the actor may use.
func findNetwork(tx *store.Tx, a baadal.Actor, ref string) (baadal.Network, error) {
	n, err := tx.NetworkByRef(ref)
	if err == nil && !seesNetwork(a, &n) {
		return baadal.Network{}, baadal.Errorf(baadal.NotFound, "there is no security domain %q", ref)
	}
	return n, err
}

func seesNetwork(a baadal.Actor, n *baadal.Network) bool {
	return a.ScopeOf(baadal.ActionNetworkRead) == baadal.ScopeAny || n.SeenBy(a.User.OrganisationID)
}

// networksOf are a VM's networks for another VM beside it: of its first NIC, and
// of the others.
func networksOf(tx *store.Tx, a baadal.Actor, vm baadal.VM) (network baadal.Network, more []baadal.Network, err error) {
	nics, err := tx.NICs(vm.ID)
	if err != nil {
		return network, nil, err
	}
	ids := []int64{vm.NetworkID}
	for _, n := range nics {
		if n.Index > 0 {
			ids = append(ids, n.NetworkID)
		}
	}
	all := make([]baadal.Network, len(ids))
	for i, id := range ids {
		if all[i], err = tx.Network(id); err != nil {
			return network, nil, err
		}
		if !seesNetwork(a, &all[i]) {
			return network, nil, baadal.Errorf(baadal.Forbidden, "%s is in network %s, which your organisation may not use any more", vm.Name, all[i].Name).
				WithCode("network_hidden").WithNext("Ask an administrator", "")
		}
	}
	return all[0], all[1:], nil
}

// pickNetwork is the network asked for, or the only one that the actor may use.
func pickNetwork(tx *store.Tx, a baadal.Actor, ref string) (n baadal.Network, err error) {
	if ref != "" {
		n, err = findNetwork(tx, a, ref)
	} else {
		n, err = onlyNetwork(tx, a)
	}
	switch {
	case err != nil:
	case n.VLAN == 0 && n.CIDR != "" || n.VLAN != 0 && n.CIDR == "":
		err = baadal.Errorf(baadal.Conflict, "network %s has a VLAN or a subnet, and not the other yet", n.Name).WithCode("network_not_ready").
			WithNext("Give it both", "baadal network edit "+n.Name+" --vlan N --cidr A.B.C.0/24")
	case n.VLAN == 0:
		err = baadal.Errorf(baadal.Conflict, "network %s has no VLAN and no addresses yet", n.Name).WithCode("network_not_ready").
			WithNext("Give it both", "baadal network create "+n.Name+" --vlan N --cidr A.B.C.0/24")
	case !n.Applied:
		err = baadal.Errorf(baadal.Conflict, "network %s is not ready: the DHCP server does not have its addresses yet", n.Name).WithCode("network_not_ready").
			WithNext("See the task that is at it", "baadal task list")
	}
	return n, err
}

func onlyNetwork(tx *store.Tx, a baadal.Actor) (baadal.Network, error) {
	all, err := tx.AllNetworks()
	if err != nil {
		return baadal.Network{}, err
	}
	all = slices.DeleteFunc(all, func(n baadal.Network) bool { return n.VLAN == 0 || !seesNetwork(a, &n) })
	switch len(all) {
	case 0:
		return baadal.Network{}, baadal.Errorf(baadal.Conflict, "there is no network yet").WithCode("no_network").
			WithNext("Make one", "baadal network create NAME --vlan N --cidr A.B.C.0/24")
	case 1:
		return all[0], nil
	}
	return baadal.Network{}, baadal.Errorf(baadal.Invalid, "there are %d networks: say which", len(all)).WithNext("See them", "baadal network list")
}

// presentNetwork makes a network ready for an actor: who else may use it is for
// administrators.
func presentNetwork(tx *store.Tx, a baadal.Actor, n *baadal.Network) error {
	if a.ScopeOf(baadal.ActionNetworkUpdate) == baadal.ScopeNone {
		n.Organisations = nil
	}
	edit, refusal := may(a, baadal.ActionNetworkUpdate), may(a, baadal.ActionNetworkDelete)
	if refusal == nil {
		refusal = deletableNetwork(tx, n)
		if baadal.KindOf(refusal) == baadal.Internal || baadal.KindOf(refusal) == baadal.Unavailable {
			return refusal // it could not be looked at
		}
	}
	n.Actions = map[string]baadal.Access{"edit": access(edit), "delete": access(refusal)}
	return nil
}

// deletableNetwork refuses while VMs are in the network; deleted ones that can
// be restored need it too.
func deletableNetwork(tx *store.Tx, n *baadal.Network) error {
	if n.Builtin != "" {
		return baadal.Errorf(baadal.Conflict, "%s is built in and stays", n.Name).WithCode("network_builtin").
			WithNext("Take its addresses away", "baadal network range remove "+n.Name+" FIRST LAST")
	}
	if n.VMs > 0 || n.Free < n.Addresses { // the others have NICs in it beside their first ones
		vms, names, err := usersOf(tx, n)
		if err != nil {
			return err
		}
		if vms == 0 {
			names = "a NIC is being taken out of it"
		}
		return baadal.Errorf(baadal.Conflict, "%d VMs are in network %s", vms, n.Name).WithCode("network_in_use").
			WithDetail("%s", names).WithNext("See them", "baadal vm list network:"+n.Name)
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
// a task that reserves them in the DHCP server. A built-in network that has no
// VLAN yet gets what the wish says.
func (s *Service) CreateNetwork(ctx context.Context, a baadal.Actor, in baadal.NetworkCreate, opt baadal.ChangeOptions) (c baadal.Change[baadal.Network], err error) {
	if err := may(a, baadal.ActionNetworkCreate); err != nil {
		return c, err
	}
	said := in.VisibleToAll != nil || len(in.Organisations) > 0
	from, to, err := in.Validate()
	if err != nil {
		return c, err
	}
	var n baadal.Network
	var t baadal.Task
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if err := first(tx.Lock("network"), overlaps(tx, in.CIDR, 0)); err != nil {
			return err
		}
		n = baadal.Network{}
		builtin, err := tx.NetworkByRef(in.Name)
		fill := err == nil && builtin.Builtin != "" && builtin.Name == in.Name && builtin.VLAN == 0 && builtin.CIDR == "" && builtin.Task == nil
		if fill {
			n = builtin
		}
		if !fill || said {
			n.VisibleToAll = *in.VisibleToAll
			if err := nameOrganisations(tx, &n, in.Organisations); err != nil {
				return err
			}
		}
		n.Name, n.VLAN, n.CIDR, n.Gateway, n.DNS, n.Bridge, n.Portgroup = in.Name, in.VLAN, in.CIDR, in.Gateway, slices.Clone(in.DNS), in.Bridge, baadal.Portgroup(in.VLAN)
		n.IPv6Prefix = cmp.Or(in.IPv6Prefix, n.IPv6Prefix)
		all, err := s.addresses(tx, &n, from, to, nil)
		if err != nil {
			return err
		}
		store := tx.CreateNetwork
		if fill {
			store = tx.FillNetwork
		}
		if err := store(&n, all); err != nil {
			return err
		}
		return s.withTask(tx, a, baadal.TaskNetworkApply, n, &t, opt, "created", madeOf(&n))
	})
	if isDryRun(err) {
		return baadal.Change[baadal.Network]{Plan: &baadal.Plan{
			Summary: fmt.Sprintf("make %s with VLAN %d and the addresses %s to %s%s", n.Name, n.VLAN, n.First, n.Last, andPrefix(&n)), Network: n.Name,
			Steps: s.queue.StepNames(baadal.TaskNetworkApply),
		}}, nil
	}
	if err != nil {
		return c, err
	}
	return baadal.Change[baadal.Network]{Resource: &n, Task: &t}, nil
}

// withTask stores a task about a network and the event that says so.
func (s *Service) withTask(tx *store.Tx, a baadal.Actor, kind baadal.TaskKind, n baadal.Network, t *baadal.Task, opt baadal.ChangeOptions, what string, changes map[string]any) (err error) {
	if *t, err = newTask(a, kind, networkSubject(n), struct{}{}); err != nil {
		return err
	}
	if err := tx.InsertTask(t); err != nil {
		return err
	}
	if opt.DryRun {
		return errDryRun
	}
	return event(tx, a, baadal.Event{Subject: networkSubject(n), Version: n.Generation, What: what}, changes)
}

// nameOrganisations finds the organisations that may use a network.
func nameOrganisations(tx *store.Tx, n *baadal.Network, refs []string) error {
	n.Organisations, n.OrganisationIDs = nil, nil
	for _, ref := range refs {
		o, err := tx.Organisation(ref)
		if err != nil {
			return fieldOf(err, "organisations")
		}
		if !slices.Contains(n.OrganisationIDs, o.ID) {
			n.Organisations, n.OrganisationIDs = append(n.Organisations, o.Name), append(n.OrganisationIDs, o.ID)
		}
	}
	return nil
}

// overlaps refuses a subnet that shares addresses with another network's or with
// the public ones.
func overlaps(tx *store.Tx, cidr string, except int64) error {
	all, err := tx.AllNetworks()
	if err != nil {
		return err
	}
	p := netip.MustParsePrefix(cidr)
	for _, n := range all {
		if q, err := netip.ParsePrefix(n.CIDR); err == nil && n.ID != except && q.Overlaps(p) {
			return baadal.Errorf(baadal.Conflict, "%s overlaps with %s of network %s", cidr, n.CIDR, n.Name).WithCode("subnet_overlaps").WithField("cidr")
		}
	}
	public, err := tx.PublicsIn(p)
	if err == nil && public > 0 {
		err = baadal.Errorf(baadal.Conflict, "%d public addresses are of %s", public, cidr).WithCode("subnet_overlaps").WithField("cidr").
			WithNext("See them", "baadal public list")
	}
	return err
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
