package service

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"baadal"
	"baadal/internal/store"
)

// SecGroups lists the security groups that the actor may see.
func (s *Service) SecGroups(ctx context.Context, a baadal.Actor, q baadal.ListQuery) (list baadal.List[baadal.SecGroup], err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) {
		list, err = tx.SecGroups(q, a.Sees(baadal.ActionSecGroupRead))
		return err
	})
	for i := range list.Items {
		presentSecGroup(a, &list.Items[i])
	}
	return list, err
}

// SecGroup returns one security group by id or name.
func (s *Service) SecGroup(ctx context.Context, a baadal.Actor, ref string) (g baadal.SecGroup, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) {
		g, err = tx.SecGroupByRef(ref, a.Sees(baadal.ActionSecGroupRead))
		return err
	})
	presentSecGroup(a, &g)
	return g, err
}

func presentSecGroup(a baadal.Actor, g *baadal.SecGroup) {
	g.Actions = map[string]baadal.Access{
		"edit":   access(reach(a, baadal.ActionSecGroupUpdate, g.OrganisationID, g.OwnerID)),
		"delete": access(reach(a, baadal.ActionSecGroupDelete, g.OrganisationID, g.OwnerID)),
	}
}

// CreateSecGroup makes a security group.
func (s *Service) CreateSecGroup(ctx context.Context, a baadal.Actor, in baadal.SecGroupCreate, opt baadal.ChangeOptions) (c baadal.Change[baadal.SecGroup], err error) {
	if err := first(may(a, baadal.ActionSecGroupCreate), in.Validate()); err != nil {
		return c, err
	}
	return s.changeSecGroup(ctx, a, opt, "make", func(tx *store.Tx) (g baadal.SecGroup, changes map[string]any, err error) {
		owner := a.User
		if in.Owner != "" && in.Owner != a.User.Username {
			if owner, err = findUser(tx, a, in.Owner); err != nil {
				return g, nil, fieldOf(err, "owner")
			}
		}
		if err := reach(a, baadal.ActionSecGroupCreate, owner.OrganisationID, owner.ID); err != nil {
			return g, nil, err
		}
		g = baadal.SecGroup{Name: in.Name, OwnerID: owner.ID, OrganisationID: owner.OrganisationID}
		if err := tx.CreateSecGroup(&g); err != nil {
			return g, nil, err
		}
		return g, map[string]any{"added": baadal.RulesText(in.Rules)}, addRules(tx, g, in.Rules)
	})
}

// EditSecGroup changes a security group's name and rules. It holds at once for
// the VMs that have it.
func (s *Service) EditSecGroup(ctx context.Context, a baadal.Actor, ref string, in baadal.SecGroupEdit, opt baadal.ChangeOptions) (c baadal.Change[baadal.SecGroup], err error) {
	if err := in.Validate(); err != nil {
		return c, err
	}
	return s.changeSecGroup(ctx, a, opt, "edit", func(tx *store.Tx) (g baadal.SecGroup, changes map[string]any, err error) {
		if g, err = secGroupFor(tx, a, baadal.ActionSecGroupUpdate, ref, opt); err != nil {
			return g, nil, err
		}
		changes = map[string]any{}
		if in.Name != nil && *in.Name != g.Name {
			changes["name"] = baadal.Changed{Old: g.Name, New: *in.Name}
		}
		set(&g.Name, in.Name)
		if err := tx.UpdateSecGroup(&g); err != nil {
			return g, nil, err
		}
		var gone []baadal.SecRule
		for _, id := range in.Remove {
			i := slices.IndexFunc(g.Rules, func(r baadal.SecRule) bool { return r.ID == id })
			if i < 0 {
				return g, nil, baadal.Errorf(baadal.NotFound, "%s has no rule %d", g.Name, id).WithCode("not_found").WithField("remove")
			}
			if err := tx.RemoveSecRule(g.ID, id); err != nil {
				return g, nil, err
			}
			gone = append(gone, g.Rules[i])
		}
		if len(gone) > 0 {
			changes["removed"] = baadal.RulesText(gone)
		}
		if len(in.Add) == 0 {
			return g, changes, nil
		}
		changes["added"] = baadal.RulesText(in.Add)
		return g, changes, first(addRules(tx, g, in.Add), tx.CheckSecRules(g.ID))
	})
}

func addRules(tx *store.Tx, g baadal.SecGroup, rules []baadal.SecRule) error {
	for _, r := range rules {
		if err := tx.AddSecRule(g.ID, r); err != nil {
			return err
		}
	}
	return nil
}

// changeSecGroup makes or changes a group.
func (s *Service) changeSecGroup(ctx context.Context, a baadal.Actor, opt baadal.ChangeOptions, verb string, change func(*store.Tx) (baadal.SecGroup, map[string]any, error)) (c baadal.Change[baadal.SecGroup], err error) {
	var g baadal.SecGroup
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		var changes map[string]any
		if g, changes, err = change(tx); err != nil {
			return err
		}
		if g, err = tx.SecGroup(g.ID); err != nil {
			return err
		}
		if len(g.Rules) > baadal.MaxSecRules {
			return baadal.Errorf(baadal.Invalid, "%s would have %d rules", g.Name, len(g.Rules)).WithDetail("the most is %d", baadal.MaxSecRules)
		}
		if opt.DryRun {
			return errDryRun
		}
		what := "edited"
		if g.Generation == 1 {
			what = "created"
		}
		return event(tx, a, secGroupEvent(g, g.Generation, what), changes)
	})
	if isDryRun(err) {
		plan := baadal.Plan{Summary: fmt.Sprintf("%s %s: %d rules", verb, g.Name, len(g.Rules))}
		if len(g.VMs) > 0 {
			plan.Effects = []string{"it holds at once for " + strings.Join(g.VMs, ", ")}
		}
		return baadal.Change[baadal.SecGroup]{Plan: &plan}, nil
	}
	if err != nil {
		return c, err
	}
	presentSecGroup(a, &g)
	return baadal.Change[baadal.SecGroup]{Resource: &g}, nil
}

// DeleteSecGroup forgets a security group that no VM has.
func (s *Service) DeleteSecGroup(ctx context.Context, a baadal.Actor, ref string, opt baadal.ChangeOptions) (c baadal.Change[baadal.SecGroup], err error) {
	var g baadal.SecGroup
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if g, err = secGroupFor(tx, a, baadal.ActionSecGroupDelete, ref, opt); err != nil {
			return err
		}
		if err := tx.DeleteSecGroup(g.ID); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		return event(tx, a, secGroupEvent(g, g.Generation+1, "deleted"), nil)
	})
	if isDryRun(err) {
		return baadal.Change[baadal.SecGroup]{Plan: &baadal.Plan{Summary: "forget " + g.Name}}, nil
	}
	if err != nil {
		return c, err
	}
	presentSecGroup(a, &g)
	return baadal.Change[baadal.SecGroup]{Resource: &g}, nil
}

func secGroupEvent(g baadal.SecGroup, version int64, what string) baadal.Event {
	return baadal.Event{
		Subject: baadal.Subject{Kind: "secgroup", ID: g.ID, Name: g.Name}, Version: version, What: what, OwnerID: g.OwnerID, OrganisationID: g.OrganisationID,
	}
}

// secGroupFor finds the group that an actor wants to change.
func secGroupFor(tx *store.Tx, a baadal.Actor, action baadal.Action, ref string, opt baadal.ChangeOptions) (baadal.SecGroup, error) {
	g, err := tx.SecGroupByRef(ref, a.Sees(baadal.ActionSecGroupRead))
	if err != nil {
		return g, err
	}
	return g, first(reach(a, action, g.OrganisationID, g.OwnerID), checkGeneration(opt, g.Generation))
}

// wishedSecGroups finds the groups that a wish for a VM names: those that the
// actor may use are those that he may see.
func wishedSecGroups(tx *store.Tx, a baadal.Actor, refs []string) (ids []int64, names []string, err error) {
	for _, ref := range refs {
		g, err := tx.SecGroupByRef(ref, a.Sees(baadal.ActionSecGroupRead))
		if err != nil {
			return nil, nil, fieldOf(err, "secgroups")
		}
		if !slices.Contains(ids, g.ID) {
			ids, names = append(ids, g.ID), append(names, g.Name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	return ids, names, nil
}

// editSecGroups applies the wish for other security groups of a VM, and returns
// those that it had.
func editSecGroups(tx *store.Tx, a baadal.Actor, vm *baadal.VM, wish *[]string, plan *baadal.Plan) (before []string, err error) {
	if before, err = tx.VMSecGroups(vm.ID); err != nil {
		return nil, err
	}
	vm.SecGroups = before
	if wish == nil {
		return before, nil
	}
	had, err := tx.VMSecGroupIDs(vm.ID)
	if err != nil {
		return before, err
	}
	ids, names, err := wishedSecGroups(tx, a, *wish)
	if err != nil {
		return before, err
	}
	if slices.Sort(ids); slices.Equal(ids, had) {
		return before, nil
	}
	if slices.Equal(names, before) { // groups of several owners can have one name
		before, names = numbers(had), numbers(ids)
	}
	vm.SecGroups = names
	plan.Effects = append(plan.Effects, "its firewall holds at once, for connections that exist too")
	return before, tx.SetVMSecGroups(vm.ID, ids)
}

func numbers(ids []int64) []string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = fmt.Sprint(id)
	}
	return words
}
