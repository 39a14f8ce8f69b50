package service_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store/storetest"
)

func emptyCloud(t *testing.T) *cloud {
	t.Helper()
	return newCloudOn(t, storetest.Open(t), simulator.Config{})
}

func TestCreateUserRefusals(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	before := stored(t, c)
	for _, x := range []struct {
		actor baadal.Actor
		in    baadal.UserCreate
		kind  baadal.Kind
		field string
	}{
		{c.orgadmin, baadal.UserCreate{Username: "mira"}, baadal.Forbidden, ""},
		{c.admin, baadal.UserCreate{Username: "Mira"}, baadal.Invalid, "username"},
		{c.admin, baadal.UserCreate{Username: ""}, baadal.Invalid, "username"},
		{c.admin, baadal.UserCreate{Username: "mira", Roles: []baadal.Role{"root"}}, baadal.Invalid, "roles"},
		{c.admin, baadal.UserCreate{Username: "mira", SSHKeys: []string{"x"}}, baadal.Invalid, "ssh_keys"},
		{c.admin, baadal.UserCreate{Username: "mira", Password: "123456789"}, baadal.Invalid, "password"},
		{c.admin, baadal.UserCreate{Username: "asha"}, baadal.Conflict, "username"},
		{c.admin, baadal.UserCreate{Username: "mira", Organisation: "a b"}, baadal.Invalid, "organisation"},
	} {
		_, _, err := c.CreateUser(t.Context(), x.actor, x.in, baadal.ChangeOptions{})
		refusedField(t, err, x.kind, x.field)
	}
	if u, oneTime, err := c.CreateUser(t.Context(), c.admin, baadal.UserCreate{Username: "mira", Organisation: "NEW"}, dry); err != nil || u.ID != 0 || oneTime != "" {
		t.Errorf("dry run: %+v %q, %v", u, oneTime, err)
	}
	if diff := cmp.Diff(before, stored(t, c)); diff != "" {
		t.Errorf("something was left (-before +after):\n%s", diff)
	}
	u, _, err := c.CreateUser(t.Context(), c.admin, baadal.UserCreate{Username: "mira", Organisation: "NEW"}, baadal.ChangeOptions{})
	if err != nil || u.Organisation != "NEW" || !slices.Equal(u.Roles, []baadal.Role{baadal.RoleUser}) {
		t.Errorf("%+v, %v", u, err)
	}
}

// TestUpdateUserChangesWhatWasAskedFor: roles are changed by administrators
// alone, and by nothing but a wish.
func TestUpdateUserChangesWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	name, email, keys, roles, blocked := "Asha Rao", "asha@example.org", []string{keyOf("new")}, []baadal.Role{baadal.RoleOrgAdmin}, true
	before, err := c.User(t.Context(), c.faculty, "asha")
	if err != nil {
		t.Fatal(err)
	}
	after, err := c.UpdateUser(t.Context(), c.faculty, "asha", baadal.UserUpdate{Name: &name, Email: &email, SSHKeys: &keys}, baadal.ChangeOptions{Generation: before.Generation})
	if err != nil {
		t.Fatal(err)
	}
	before.Name, before.Email, before.SSHKeys, before.Generation, before.UpdatedAt = name, email, keys, before.Generation+1, after.UpdatedAt
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("more than that was changed (-want +got):\n%s", diff)
	}
	for _, x := range []struct {
		actor baadal.Actor
		who   string
		in    baadal.UserUpdate
		kind  baadal.Kind
	}{
		{c.faculty, "asha", baadal.UserUpdate{Roles: &roles}, baadal.Forbidden},
		{c.faculty, "asha", baadal.UserUpdate{Blocked: &blocked}, baadal.Forbidden},
		{c.faculty, "asha", baadal.UserUpdate{Password: &email}, baadal.Forbidden},
		{c.orgadmin, "asha", baadal.UserUpdate{Name: &name}, baadal.Forbidden},
		{c.orgadmin, "dean", baadal.UserUpdate{Roles: &roles}, baadal.Forbidden},
		{c.student, "asha", baadal.UserUpdate{Name: &name}, baadal.NotFound},
		{c.stranger, "asha", baadal.UserUpdate{Name: &name}, baadal.NotFound},
		{c.admin, "asha", baadal.UserUpdate{SSHKeys: &[]string{"x"}}, baadal.Invalid},
		{c.admin, "asha", baadal.UserUpdate{Roles: &[]baadal.Role{"root"}}, baadal.Invalid},
	} {
		if _, err := c.UpdateUser(t.Context(), x.actor, x.who, x.in, baadal.ChangeOptions{}); baadal.KindOf(err) != x.kind {
			t.Errorf("%s changes %s: %v, want %s", x.actor.User.Username, x.who, err, x.kind)
		}
	}
	_, err = c.UpdateUser(t.Context(), c.admin, "asha", baadal.UserUpdate{Name: &name}, baadal.ChangeOptions{Generation: 1})
	refused(t, err, baadal.Stale, "stale")

	dried, err := c.UpdateUser(t.Context(), c.admin, "asha", baadal.UserUpdate{Roles: &roles}, dry)
	if err != nil || !slices.Contains(dried.Roles, baadal.RoleOrgAdmin) {
		t.Errorf("dry run shows %v, %v", dried.Roles, err)
	}
	if now, err := c.User(t.Context(), c.admin, "asha"); err != nil || !slices.Equal(now.Roles, before.Roles) {
		t.Errorf("a dry run, or a refusal, changed the roles to %v, %v", now.Roles, err)
	}
	now, err := c.UpdateUser(t.Context(), c.admin, "asha", baadal.UserUpdate{Roles: &roles}, baadal.ChangeOptions{})
	if want := []baadal.Role{baadal.RoleUser, baadal.RoleOrgAdmin}; err != nil || !slices.Equal(now.Roles, want) || now.Name != name {
		t.Errorf("got %+v, %v", now, err)
	}
}

func TestLastAdministratorStays(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	blocked, none := true, []baadal.Role{}
	for _, in := range []baadal.UserUpdate{{Blocked: &blocked}, {Roles: &none}} {
		for _, opt := range []baadal.ChangeOptions{dry, {}} {
			_, err := c.UpdateUser(t.Context(), c.admin, "root", in, opt)
			refused(t, err, baadal.Conflict, "last_admin")
		}
	}
	c.person(t, "second", baadal.RoleAdmin)
	if _, err := c.UpdateUser(t.Context(), c.admin, "root", baadal.UserUpdate{Roles: &none}, baadal.ChangeOptions{}); err != nil {
		t.Errorf("one of two: %v", err)
	}
	_, err := c.UpdateUser(t.Context(), c.admin, "second", baadal.UserUpdate{Blocked: &blocked}, baadal.ChangeOptions{})
	refused(t, err, baadal.Conflict, "last_admin")
}

func TestUsersAreSeenByWhoMay(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	for _, x := range []struct {
		actor baadal.Actor
		want  []string
	}{
		{c.student, []string{"ravi"}},
		{c.faculty, []string{"asha"}},
		{c.orgadmin, []string{"asha", "dean", "ravi", "root"}},
		{c.stranger, []string{"otto"}},
		{c.admin, []string{"asha", "dean", "otto", "ravi", "root"}},
	} {
		list, err := c.Users(t.Context(), x.actor, baadal.ListQuery{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, u := range list.Items {
			got = append(got, u.Username)
		}
		if diff := cmp.Diff(x.want, got); diff != "" {
			t.Errorf("%s sees (-want +got):\n%s", x.actor.User.Username, diff)
		}
	}
}
