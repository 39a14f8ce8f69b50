package service

import (
	"fmt"
	"slices"
	"strings"

	"baadal"
	"baadal/internal/placement"
	"baadal/internal/store"
)

// wishedRules finds the hosts and affinity groups that a wish for a new VM
// names. Who may say where a VM runs is who may migrate it.
func wishedRules(tx *store.Tx, a baadal.Actor, owner baadal.User, hosts, groups []string) (r baadal.VMRules, err error) {
	if r.Hosts, err = wishedHosts(tx, a, hosts); err != nil {
		return r, err
	}
	for _, ref := range groups {
		f, err := tx.AffinityByRef(ref, a.Sees(baadal.ActionAffinityRead))
		if err != nil {
			return r, fieldOf(err, "affinity")
		}
		if err := mayJoin(a, f, owner.OrganisationID, owner.ID); err != nil {
			return r, err
		}
		if slices.ContainsFunc(r.Groups, func(g baadal.Affinity) bool { return g.ID == f.ID }) {
			continue
		}
		if len(f.Members) >= baadal.MaxAffinityMembers {
			return r, baadal.Errorf(baadal.Invalid, "affinity group %s has %d VMs already", f.Name, len(f.Members)).WithField("affinity").
				WithDetail("the most is %d", baadal.MaxAffinityMembers)
		}
		r.Groups = append(r.Groups, f)
	}
	return shownTo(a, r), nil
}

func wishedHosts(tx *store.Tx, a baadal.Actor, names []string) (all []baadal.HostRef, err error) {
	if len(names) > 0 {
		if err := may(a, baadal.ActionVMMigrate); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		h, err := tx.HostByRef(name)
		if err != nil {
			return nil, fieldOf(err, "hosts")
		}
		if !slices.Contains(all, baadal.HostRef{ID: h.ID, Name: h.Name}) {
			all = append(all, baadal.HostRef{ID: h.ID, Name: h.Name})
		}
	}
	slices.SortFunc(all, func(a, b baadal.HostRef) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// keepRules writes down the rules of a VM that was just stored.
func keepRules(tx *store.Tx, vm baadal.VM, r baadal.VMRules) error {
	for _, g := range r.Groups {
		if err := tx.JoinAffinity(g.ID, vm.ID); err != nil {
			return err
		}
	}
	if len(r.Hosts) == 0 {
		return nil
	}
	return setHosts(tx, vm.ID, r.Hosts)
}

func setHosts(tx *store.Tx, vmID int64, hosts []baadal.HostRef) error {
	ids := make([]int64, len(hosts))
	for i, h := range hosts {
		ids[i] = h.ID
	}
	return tx.SetVMHosts(vmID, ids)
}

// rulesFor reads the rules of a VM as they may be told to an actor.
func rulesFor(tx *store.Tx, a baadal.Actor, vm baadal.VM) (baadal.VMRules, error) {
	r, err := tx.VMRules(vm.ID)
	return shownTo(a, r), err
}

// shownTo takes the names of VMs that an actor may not see out of rules.
func shownTo(a baadal.Actor, r baadal.VMRules) baadal.VMRules {
	for i := range r.Groups {
		for j := range r.Groups[i].Members {
			if m := &r.Groups[i].Members[j]; !a.Reaches(baadal.ActionVMRead, m.OrganisationID, m.OwnerID) {
				m.VM = "a VM"
			}
		}
	}
	return r
}

// brokenBy says which rules the place of a VM breaks, to those who see hosts.
func brokenBy(a baadal.Actor, r baadal.VMRules, vm baadal.VM) []string {
	if !seesHosts(a) || vm.State == baadal.VMDeleted {
		return nil
	}
	return placement.Broken(shownTo(a, r), vm, false)
}

// startable refuses to start a VM where a rule forbids it to run: the rule was
// changed after it had been placed. The lock keeps two VMs that are to be apart
// from being started at the same time.
func startable(tx *store.Tx, a baadal.Actor, vm baadal.VM) error {
	r, err := rulesFor(tx, a, vm)
	if err != nil || len(r.Hosts)+len(r.Groups) == 0 {
		return err
	}
	if err := tx.Lock("placement"); err != nil {
		return err
	}
	if r, err = rulesFor(tx, a, vm); err != nil {
		return err
	}
	return startRule(r, vm)
}

func startRule(r baadal.VMRules, vm baadal.VM) error {
	reason := placement.StartForbidden(r, vm)
	if reason == "" {
		return nil
	}
	e := baadal.Errorf(baadal.Conflict, "%s may not start on %s", vm.Name, vm.Host).WithCode("affinity").WithDetail("%s", reason)
	return e.WithNext("Move it first", "baadal vm migrate "+vm.Name).WithNext("See its rules", "baadal vm show "+vm.Name)
}

// presentRules makes a VM ready for an actor, with the rules that its place is
// to obey and those that it breaks.
func presentRules(tx *store.Tx, a baadal.Actor, vm *baadal.VM) error {
	r, err := rulesFor(tx, a, *vm)
	if err != nil {
		return err
	}
	broken, start := brokenBy(a, r, *vm), hideHosts(a, startRule(r, *vm))
	present(a, vm)
	vm.Affinity, vm.Broken = r.GroupNames(), broken
	if vm.NICs, err = tx.NICs(vm.ID); err != nil {
		return err
	}
	if vm.SecGroups, err = tx.VMSecGroups(vm.ID); err != nil {
		return err
	}
	if seesHosts(a) {
		vm.Hosts = r.HostNames()
	}
	if vm.Actions["start"].Allowed {
		vm.Actions["start"] = access(start)
	}
	return nil
}

// cloneRules are those of a VM's clones: its hosts, and the groups of the wish.
func cloneRules(tx *store.Tx, a baadal.Actor, parent baadal.VM, owner baadal.User, wish baadal.VMClone) (r baadal.VMRules, err error) {
	if r, err = wishedRules(tx, a, owner, nil, wish.Affinity); err != nil {
		return r, err
	}
	for _, g := range r.Groups {
		if n := len(g.Members) + wish.Count; n > baadal.MaxAffinityMembers {
			return r, baadal.Errorf(baadal.Invalid, "affinity group %s would have %d VMs", g.Name, n).WithField("affinity").
				WithDetail("the most is %d", baadal.MaxAffinityMembers)
		}
	}
	of, err := rulesFor(tx, a, parent)
	r.Hosts = of.Hosts
	return r, err
}

// offerIgnoring offers to migrate a VM though rules forbid it.
func offerIgnoring(e *baadal.Error, in baadal.VMMigrate, want placement.Want, vm baadal.VM) *baadal.Error {
	if in.IgnoreAffinity || len(want.Rules.Hosts)+len(want.Rules.Groups) == 0 {
		return e
	}
	to := ""
	if in.To != "" {
		to = " --to " + in.To
	}
	return e.WithNext("Migrate it though the rules for its place forbid it", "baadal vm migrate "+vm.Name+to+" --ignore-affinity")
}

// editHosts applies the wish that a VM may run on some hosts only, and returns
// the names of those before.
func editHosts(tx *store.Tx, a baadal.Actor, vm *baadal.VM, wish *[]string, plan *baadal.Plan) (before []string, err error) {
	r, err := rulesFor(tx, a, *vm)
	if err != nil || wish == nil {
		return nil, err
	}
	before = r.HostNames()
	if err := may(a, baadal.ActionVMMigrate); err != nil {
		return nil, err
	}
	if r.Hosts, err = wishedHosts(tx, a, *wish); err != nil {
		return nil, err
	}
	if err := setHosts(tx, vm.ID, r.Hosts); err != nil {
		return nil, err
	}
	vm.Hosts = r.HostNames()
	for _, words := range placement.Broken(baadal.VMRules{Hosts: r.Hosts}, *vm, false) {
		plan.Effects = append(plan.Effects, fmt.Sprintf("it stays on %s until it is migrated, though %s", vm.Host, words))
	}
	return before, nil
}

// bound refuses to remove the only host that VMs may run on.
func bound(tx *store.Tx, h baadal.Host) error {
	names, err := tx.BoundVMs(h.ID)
	if err != nil || len(names) == 0 {
		return err
	}
	return baadal.Errorf(baadal.Conflict, "%s is the only host that %s may run on", h.Name, strings.Join(names, ", ")).WithCode("host_in_use").
		WithNext("Let them run anywhere", "baadal vm edit "+strings.Join(names, " ")+" --any-host")
}
