package service

import (
	"context"
	"fmt"
	"slices"

	"baadal"
	"baadal/internal/store"
)

func affinitySubject(f baadal.Affinity) baadal.Subject {
	return baadal.Subject{Kind: "affinity", ID: f.ID, Name: f.Name}
}

// Affinities lists the affinity groups that the actor may see.
func (s *Service) Affinities(ctx context.Context, a baadal.Actor, q baadal.ListQuery) (list baadal.List[baadal.Affinity], err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) {
		list, err = tx.Affinities(q, a.Sees(baadal.ActionAffinityRead))
		return err
	})
	for i := range list.Items {
		presentAffinity(a, &list.Items[i])
	}
	return list, err
}

// Affinity returns one affinity group by id or name.
func (s *Service) Affinity(ctx context.Context, a baadal.Actor, ref string) (f baadal.Affinity, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) {
		f, err = tx.AffinityByRef(ref, a.Sees(baadal.ActionAffinityRead))
		return err
	})
	presentAffinity(a, &f)
	return f, err
}

// presentAffinity makes a group ready for an actor: with what he may do with
// it, without members that are not for him, and hosts only for who sees them.
func presentAffinity(a baadal.Actor, f *baadal.Affinity) {
	f.Members = slices.DeleteFunc(f.Members, func(m baadal.AffinityMember) bool {
		return !a.Reaches(baadal.ActionVMRead, m.OrganisationID, m.OwnerID)
	})
	for i := range f.Members {
		if !seesHosts(a) {
			f.Members[i].Host = ""
		}
	}
	f.Actions = map[string]baadal.Access{
		"edit":   access(reach(a, baadal.ActionAffinityUpdate, f.OrganisationID, f.OwnerID)),
		"delete": access(reach(a, baadal.ActionAffinityDelete, f.OrganisationID, f.OwnerID)),
	}
}

// CreateAffinity makes an affinity group. Where its members are now is not
// looked at: they, and the audit, say what breaks its rule.
func (s *Service) CreateAffinity(ctx context.Context, a baadal.Actor, in baadal.AffinityCreate, opt baadal.ChangeOptions) (c baadal.Change[baadal.Affinity], err error) {
	if err := first(may(a, baadal.ActionAffinityCreate), in.Validate()); err != nil {
		return c, err
	}
	return s.changeAffinity(ctx, a, opt, "make", func(tx *store.Tx) (f baadal.Affinity, changes map[string]any, err error) {
		owner := a.User
		if in.Owner != "" && in.Owner != a.User.Username {
			if owner, err = findUser(tx, a, in.Owner); err != nil {
				return f, nil, fieldOf(err, "owner")
			}
		}
		if err := reach(a, baadal.ActionAffinityCreate, owner.OrganisationID, owner.ID); err != nil {
			return f, nil, err
		}
		f = baadal.Affinity{Name: in.Name, Rule: in.Rule, OwnerID: owner.ID, OrganisationID: owner.OrganisationID}
		if err := tx.CreateAffinity(&f); err != nil {
			return f, nil, err
		}
		names, err := addMembers(tx, a, f, in.VMs)
		return f, map[string]any{"rule": baadal.Changed{New: f.Rule}, "added": names}, err
	})
}

// EditAffinity changes an affinity group's name, rule and members.
func (s *Service) EditAffinity(ctx context.Context, a baadal.Actor, ref string, in baadal.AffinityEdit, opt baadal.ChangeOptions) (c baadal.Change[baadal.Affinity], err error) {
	if err := in.Validate(); err != nil {
		return c, err
	}
	return s.changeAffinity(ctx, a, opt, "edit", func(tx *store.Tx) (f baadal.Affinity, changes map[string]any, err error) {
		if f, err = affinityFor(tx, a, baadal.ActionAffinityUpdate, ref, opt); err != nil {
			return f, nil, err
		}
		old := f
		set(&f.Name, in.Name)
		set(&f.Rule, in.Rule)
		changes = map[string]any{}
		if f.Name != old.Name {
			changes["name"] = baadal.Changed{Old: old.Name, New: f.Name}
		}
		if f.Rule != old.Rule {
			changes["rule"] = baadal.Changed{Old: old.Rule, New: f.Rule}
		}
		if err := tx.UpdateAffinity(&f); err != nil {
			return f, nil, err
		}
		added, err := addMembers(tx, a, f, in.Add)
		if err != nil {
			return f, nil, err
		}
		if len(added) > 0 {
			changes["added"] = added
		}
		for _, name := range in.Remove {
			vm, err := tx.VMByRef(name, a.Sees(baadal.ActionVMRead))
			if err != nil {
				return f, nil, fieldOf(err, "remove")
			}
			if err := tx.LeaveAffinity(f.ID, vm.ID); err != nil {
				return f, nil, err
			}
		}
		if len(in.Remove) > 0 {
			changes["removed"] = in.Remove
		}
		return f, changes, nil
	})
}

// DeleteAffinity forgets an affinity group; its members stay where they are.
func (s *Service) DeleteAffinity(ctx context.Context, a baadal.Actor, ref string, opt baadal.ChangeOptions) (c baadal.Change[baadal.Affinity], err error) {
	var f baadal.Affinity
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if f, err = affinityFor(tx, a, baadal.ActionAffinityDelete, ref, opt); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		if err := tx.DeleteAffinity(f.ID); err != nil {
			return err
		}
		return event(tx, a, affinityEvent(f, f.Generation+1, "deleted"), nil)
	})
	if isDryRun(err) {
		return baadal.Change[baadal.Affinity]{Plan: &baadal.Plan{Summary: fmt.Sprintf("forget %s; its %d VMs stay where they are", f.Name, len(f.Members))}}, nil
	}
	if err != nil {
		return c, err
	}
	presentAffinity(a, &f)
	return baadal.Change[baadal.Affinity]{Resource: &f}, nil
}

// changeAffinity makes or changes a group. It holds the lock of placement: who
// is placed at the same time sees the group either as it was or as it becomes.
func (s *Service) changeAffinity(ctx context.Context, a baadal.Actor, opt baadal.ChangeOptions, verb string, change func(*store.Tx) (baadal.Affinity, map[string]any, error)) (c baadal.Change[baadal.Affinity], err error) {
	var f baadal.Affinity
	var effects []string
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if err := tx.Lock("placement"); err != nil {
			return err
		}
		var changes map[string]any
		if f, changes, err = change(tx); err != nil {
			return err
		}
		if f, err = tx.Affinity(f.ID); err != nil {
			return err
		}
		if len(f.Members) > baadal.MaxAffinityMembers {
			return baadal.Errorf(baadal.Invalid, "%s would have %d VMs", f.Name, len(f.Members)).WithDetail("the most is %d", baadal.MaxAffinityMembers)
		}
		if effects, err = affinityEffects(tx, a, f); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		what := "edited"
		if f.Generation == 1 {
			what = "created"
		}
		return event(tx, a, affinityEvent(f, f.Generation, what), changes)
	})
	if isDryRun(err) {
		return baadal.Change[baadal.Affinity]{Plan: &baadal.Plan{Summary: fmt.Sprintf("%s %s: %d VMs %s", verb, f.Name, len(f.Members), f.Rule), Effects: effects}}, nil
	}
	if err != nil {
		return c, err
	}
	presentAffinity(a, &f)
	return baadal.Change[baadal.Affinity]{Resource: &f}, nil
}

func affinityEvent(f baadal.Affinity, version int64, what string) baadal.Event {
	return baadal.Event{Subject: affinitySubject(f), Version: version, What: what, OwnerID: f.OwnerID, OrganisationID: f.OrganisationID}
}

// affinityFor finds the group that an actor wants to change.
func affinityFor(tx *store.Tx, a baadal.Actor, action baadal.Action, ref string, opt baadal.ChangeOptions) (baadal.Affinity, error) {
	f, err := tx.AffinityByRef(ref, a.Sees(baadal.ActionAffinityRead))
	if err != nil {
		return f, err
	}
	return f, first(reach(a, action, f.OrganisationID, f.OwnerID), checkGeneration(opt, f.Generation))
}

// addMembers makes VMs members of a group and returns their names. They are all
// the group's owner's, unless an administrator asks.
func addMembers(tx *store.Tx, a baadal.Actor, f baadal.Affinity, refs []string) (names []string, err error) {
	for _, ref := range refs {
		vm, err := tx.VMByRef(ref, a.Sees(baadal.ActionVMRead))
		if err != nil {
			return nil, fieldOf(err, "vms")
		}
		if vm.State == baadal.VMDeleted {
			return nil, baadal.Errorf(baadal.Conflict, "%s is deleted", vm.Name).WithCode("vm_deleted").WithField("vms")
		}
		if err := mayJoin(a, f, vm.OrganisationID, vm.OwnerID); err != nil {
			return nil, err
		}
		if err := tx.JoinAffinity(f.ID, vm.ID); err != nil {
			return nil, err
		}
		names = append(names, vm.Name)
	}
	return names, nil
}

// mayJoin is the rule for who puts whose VMs into a group.
func mayJoin(a baadal.Actor, f baadal.Affinity, organisation, owner int64) error {
	if err := reach(a, baadal.ActionAffinityUpdate, organisation, owner); err != nil {
		return err
	}
	if owner != f.OwnerID && a.ScopeOf(baadal.ActionAffinityUpdate) != baadal.ScopeAny {
		return baadal.Errorf(baadal.Forbidden, "affinity group %s has VMs of %s only", f.Name, f.Owner).WithCode("forbidden").
			WithNext("Ask an administrator", "")
	}
	return nil
}

// affinityEffects says what breaks the group's rule as it becomes.
func affinityEffects(tx *store.Tx, a baadal.Actor, f baadal.Affinity) (all []string, err error) {
	for _, m := range f.Members {
		vm, err := tx.VM(m.VMID)
		if err != nil {
			return nil, err
		}
		for _, words := range brokenBy(a, baadal.VMRules{Groups: []baadal.Affinity{f}}, vm) {
			all = append(all, vm.Name+": "+words)
		}
	}
	return all, nil
}
