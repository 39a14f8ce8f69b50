package service_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
)

var none = baadal.ChangeOptions{}

// group makes a security group with so many rules.
func (c *cloud) group(t *testing.T, a baadal.Actor, name string, rules int) baadal.SecGroup {
	t.Helper()
	in := baadal.SecGroupCreate{Name: name}
	for i := range rules {
		in.Rules = append(in.Rules, baadal.SecRule{Direction: "in", Protocol: "tcp", First: 1 + i})
	}
	ch, err := c.CreateSecGroup(t.Context(), a, in, none)
	if err != nil {
		t.Fatal(err)
	}
	return *ch.Resource
}

// TestSecGroupsBelongToTheirOwner: who may see, use and change a group.
func TestSecGroupsBelongToTheirOwner(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Network: "research"})
	web := c.group(t, c.orgadmin, "web", 2)
	foreign := c.group(t, c.stranger, "secret", 1)
	for name, a := range map[string]baadal.Actor{"a student": c.student, "another organisation": c.stranger} {
		_, err := c.SecGroup(t.Context(), a, fmt.Sprint(web.ID))
		if baadal.KindOf(err) != baadal.NotFound {
			t.Errorf("%s sees it: %v", name, err)
		}
		_, err = c.EditSecGroup(t.Context(), a, "web", baadal.SecGroupEdit{Remove: []int64{web.Rules[0].ID}}, none)
		if baadal.KindOf(err) != baadal.NotFound {
			t.Errorf("%s changes it: %v", name, err)
		}
		_, err = c.DeleteSecGroup(t.Context(), a, "web", none)
		if baadal.KindOf(err) != baadal.NotFound {
			t.Errorf("%s deletes it: %v", name, err)
		}
	}
	_, err := c.EditVM(t.Context(), c.orgadmin, "ml", baadal.VMEdit{SecGroups: &[]string{fmt.Sprint(foreign.ID)}}, none)
	refusedField(t, err, baadal.Invalid, "secgroups") // it is not there for him
	before := stored(t, c)
	ch, err := c.EditVM(t.Context(), c.orgadmin, "ml", baadal.VMEdit{SecGroups: &[]string{"web"}}, dry)
	if err != nil || len(ch.Plan.Effects) != 1 {
		t.Errorf("%+v, %v", ch.Plan, err)
	}
	if diff := cmp.Diff(before, stored(t, c)); diff != "" {
		t.Error(diff)
	}
	if _, err = c.EditVM(t.Context(), c.orgadmin, "ml", baadal.VMEdit{SecGroups: &[]string{"web"}}, none); err != nil {
		t.Fatal(err)
	}
	_, err = c.DeleteSecGroup(t.Context(), c.orgadmin, "web", none)
	refused(t, err, baadal.Conflict, "secgroup_in_use")
	edited, err := c.EditSecGroup(t.Context(), c.orgadmin, "web", baadal.SecGroupEdit{Remove: []int64{web.Rules[0].ID}}, dry)
	if err != nil || len(edited.Plan.Effects) != 1 || !strings.Contains(edited.Plan.Effects[0], vm.Name) {
		t.Errorf("%+v, %v", edited.Plan, err)
	}
}

// TestSecGroupsOfOneName: a group of another owner with the same name is another
// group.
func TestSecGroupsOfOneName(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Network: "research"})
	first, second := c.group(t, c.orgadmin, "web", 1), c.group(t, c.student, "web", 2)
	give := func(g baadal.SecGroup) error {
		_, err := c.EditVM(t.Context(), c.admin, "ml", baadal.VMEdit{SecGroups: &[]string{fmt.Sprint(g.ID)}}, none)
		return err
	}
	for _, g := range []baadal.SecGroup{first, second} {
		if err := give(g); err != nil {
			t.Fatal(err)
		}
		now, err := c.SecGroup(t.Context(), c.admin, fmt.Sprint(g.ID))
		if diff := cmp.Diff([]string{"ml"}, now.VMs); err != nil || diff != "" {
			t.Errorf("after it was given group %d: %v %s", g.ID, err, diff)
		}
		refused(t, give(g), baadal.Invalid, "no_change")
	}
}

// TestSecRulesAreNotTooMany: however they come to be a VM's.
func TestSecRulesAreNotTooMany(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Network: "research"})
	c.group(t, c.orgadmin, "a", baadal.MaxSecRules)
	c.group(t, c.orgadmin, "b", baadal.MaxSecRules)
	last := c.group(t, c.orgadmin, "c", 0)
	give := func(names ...string) error {
		_, err := c.EditVM(t.Context(), c.orgadmin, "ml", baadal.VMEdit{SecGroups: &names}, none)
		return err
	}
	add := func() error {
		_, err := c.EditSecGroup(t.Context(), c.orgadmin, "c", baadal.SecGroupEdit{Add: []baadal.SecRule{{Direction: "in", Protocol: "icmp"}}}, none)
		return err
	}
	if err := give("a", "b", "c"); err != nil {
		t.Fatal(err)
	}
	refused(t, add(), baadal.Invalid, "invalid")
	if g, err := c.SecGroup(t.Context(), c.orgadmin, fmt.Sprint(last.ID)); err != nil || len(g.Rules) != 0 {
		t.Errorf("%+v, %v", g, err)
	}
	if err := give("a", "b"); err != nil {
		t.Fatal(err)
	}
	if err := add(); err != nil {
		t.Fatal(err)
	}
	refused(t, give("a", "b", "c"), baadal.Invalid, "invalid")
}
