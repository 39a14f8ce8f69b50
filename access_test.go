package baadal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"

	"baadal"
)

// actionConstants reads every constant of type Action from the source.
func actionConstants(t *testing.T) []baadal.Action {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "access.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var all []baadal.Action
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); ok && id.Name == "Action" {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, baadal.Action(text))
		}
		return true
	})
	return all
}

func TestPermissionTableIsWhole(t *testing.T) {
	t.Parallel()
	constants := actionConstants(t)
	if len(constants) < 40 {
		t.Fatalf("only %d actions were found in access.go", len(constants))
	}
	table := baadal.Actions()
	for _, a := range constants {
		if slices.Contains(table, a) == (a == baadal.ActionPublic) {
			t.Errorf("%s: every action has one row, but that which needs no sign-in", a)
		}
	}
	for _, a := range table {
		if !slices.Contains(constants, a) {
			t.Errorf("%s has a row and no constant", a)
		}
	}
}

func actor(id, org int64, roles ...baadal.Role) baadal.Actor {
	return baadal.Actor{User: baadal.User{ID: id, OrganisationID: org, Roles: append([]baadal.Role{baadal.RoleUser}, roles...)}}
}

// TestStrongerRolesMayMore: nobody loses by another role, an administrator
// may everything that anybody may, and nobody without a role may anything.
func TestStrongerRolesMayMore(t *testing.T) {
	t.Parallel()
	for _, a := range baadal.Actions() {
		user, faculty := actor(1, 1).ScopeOf(a), actor(1, 1, baadal.RoleFaculty).ScopeOf(a)
		orgadmin, admin := actor(1, 1, baadal.RoleOrgAdmin).ScopeOf(a), actor(1, 1, baadal.RoleAdmin).ScopeOf(a)
		if user > faculty || faculty > orgadmin || orgadmin > admin {
			t.Errorf("%s: user %d, faculty %d, orgadmin %d, admin %d", a, user, faculty, orgadmin, admin)
		}
		if admin == baadal.ScopeNone {
			t.Errorf("%s: nobody may do it", a)
		}
		if got := (baadal.Actor{}).ScopeOf(a); got != baadal.ScopeNone {
			t.Errorf("%s: an actor without roles may do it (%d)", a, got)
		}
		if got := baadal.System().ScopeOf(a); got != admin {
			t.Errorf("%s: the system reaches %d, an administrator %d", a, got, admin)
		}
	}
	if got := actor(1, 1, baadal.RoleAdmin).ScopeOf("vm.explode"); got != baadal.ScopeNone {
		t.Errorf("an action that is not in the table: %d", got)
	}
}

func TestReaches(t *testing.T) {
	t.Parallel()
	const me, other, myOrg, otherOrg = 1, 2, 10, 20
	for _, c := range []struct {
		name   string
		actor  baadal.Actor
		action baadal.Action
		org    int64
		owners []int64
		want   bool
	}{
		{"user, own VM", actor(me, myOrg), baadal.ActionVMStart, myOrg, []int64{me}, true},
		{"user, VM asked for", actor(me, myOrg), baadal.ActionVMStart, myOrg, []int64{other, me}, true},
		{"user, own VM in another organisation", actor(me, myOrg), baadal.ActionVMStart, otherOrg, []int64{me}, true},
		{"user, colleague's VM", actor(me, myOrg), baadal.ActionVMStart, myOrg, []int64{other}, false},
		{"user deletes his own", actor(me, myOrg), baadal.ActionVMDelete, myOrg, []int64{me}, false},
		{"faculty deletes his own", actor(me, myOrg, baadal.RoleFaculty), baadal.ActionVMDelete, myOrg, []int64{me}, true},
		{"faculty, colleague's VM", actor(me, myOrg, baadal.RoleFaculty), baadal.ActionVMDelete, myOrg, []int64{other}, false},
		{"orgadmin, his organisation's", actor(me, myOrg, baadal.RoleOrgAdmin), baadal.ActionVMDelete, myOrg, []int64{other}, true},
		{"orgadmin, another organisation's", actor(me, myOrg, baadal.RoleOrgAdmin), baadal.ActionVMDelete, otherOrg, []int64{other}, false},
		{"orgadmin, own VM of another organisation", actor(me, myOrg, baadal.RoleOrgAdmin), baadal.ActionVMDelete, otherOrg, []int64{me}, true},
		{"admin, anybody's", actor(me, myOrg, baadal.RoleAdmin), baadal.ActionVMDelete, otherOrg, []int64{other}, true},
		{"admin, another's console password", actor(me, myOrg, baadal.RoleAdmin), baadal.ActionVMPassword, myOrg, []int64{other}, false},
		{"admin, own console password", actor(me, myOrg, baadal.RoleAdmin), baadal.ActionVMPassword, myOrg, []int64{me}, true},
		{"orgadmin, hosts", actor(me, myOrg, baadal.RoleOrgAdmin), baadal.ActionHostRead, myOrg, []int64{me}, false},
		{"user, nobody's thing", actor(me, myOrg), baadal.ActionVMStart, myOrg, nil, false},
		{"user changes himself", actor(me, myOrg), baadal.ActionUserUpdate, myOrg, []int64{me}, true},
		{"orgadmin changes a colleague", actor(me, myOrg, baadal.RoleOrgAdmin), baadal.ActionUserUpdate, myOrg, []int64{other}, false},
		{"an action without row", actor(me, myOrg, baadal.RoleAdmin), baadal.ActionPublic, myOrg, []int64{me}, false},
	} {
		if got := c.actor.Reaches(c.action, c.org, c.owners...); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}

func TestSees(t *testing.T) {
	t.Parallel()
	want := baadal.Visibility{Scope: baadal.ScopeOrg, UserID: 1, OrganisationID: 10}
	if got := actor(1, 10, baadal.RoleOrgAdmin).Sees(baadal.ActionVMRead); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestNormaliseRoles(t *testing.T) {
	t.Parallel()
	got, err := baadal.NormaliseRoles([]baadal.Role{baadal.RoleAdmin, baadal.RoleFaculty, baadal.RoleAdmin})
	if want := []baadal.Role{baadal.RoleUser, baadal.RoleFaculty, baadal.RoleAdmin}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	_, err = baadal.NormaliseRoles([]baadal.Role{"root"})
	mustFail(t, err, baadal.Invalid, "", "roles")
}
