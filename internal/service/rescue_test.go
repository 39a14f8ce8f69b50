package service_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
)

// TestRescue lets an administrator in again who lost the one-time password, and
// one who was blocked; nobody else's access changes.
func TestRescue(t *testing.T) {
	t.Parallel()
	c := emptyCloud(t)
	name, lost, err := c.Bootstrap(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again, password, err := c.Bootstrap(t.Context()); again != name || password != "" || err != nil {
		t.Errorf("a second start, nobody has signed in: %q %q, %v", again, password, err)
	}
	old, _, err := c.SignIn(t.Context(), name, lost, "")
	if err != nil {
		t.Fatal(err)
	}
	c.update(t, func(tx *store.Tx) error {
		u, err := tx.UserByName(name)
		u.Blocked = true
		if err == nil {
			err = tx.UpdateUser(&u)
		}
		return err
	})
	password, err := c.Rescue(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = c.SignIn(t.Context(), name, lost, "")
	refused(t, err, baadal.Unauthenticated, "sign_in_failed")
	_, err = c.Authenticate(t.Context(), old)
	refused(t, err, baadal.Unauthenticated, "not_signed_in")
	_, user, err := c.SignIn(t.Context(), name, password, "")
	if err != nil || !user.MustChange || user.Blocked || !slices.Contains(user.Roles, baadal.RoleAdmin) {
		t.Errorf("%+v, %v", user, err)
	}
	if err := c.ChangePassword(t.Context(), baadal.Actor{User: user}, password, "a-good-password"); err != nil {
		t.Fatal(err)
	}
	if name, password, err := c.Bootstrap(t.Context()); name != "" || password != "" || err != nil {
		t.Errorf("a start after the password was set: %q %q, %v", name, password, err)
	}
	_, err = c.Rescue(t.Context(), "nobody")
	refused(t, err, baadal.NotFound, "not_found")
}

// TestPortsForVNCRunOut: a VM too many is refused with words that say what to
// do, and leaves nothing.
func TestPortsForVNCRunOut(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	for name, value := range map[string]string{baadal.SettingVNCFirst: "20000", baadal.SettingVNCLast: "20001"} {
		if _, err := c.UpdateSetting(t.Context(), c.admin, name, value, baadal.ChangeOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"one", "two"} {
		c.create(t, c.admin, baadal.VMCreate{Name: name})
	}
	before := stored(t, c)
	_, err := c.CreateVM(t.Context(), c.admin, baadal.VMCreate{Name: "three", Template: "tiny"}, baadal.ChangeOptions{})
	refused(t, err, baadal.Exhausted, "no_vnc_port")
	if e, ok := err.(*baadal.Error); !ok || len(e.Next) != 2 || e.Detail != "20000 to 20001 are set: that is 2 VMs; nothing was made" { //nolint:errorlint // as the API shows it
		t.Errorf("it says %+v", err)
	}
	if diff := cmp.Diff(before, stored(t, c)); diff != "" {
		t.Errorf("something was left (-before +after):\n%s", diff)
	}
	if _, err := c.UpdateSetting(t.Context(), c.admin, baadal.SettingVNCLast, "20002", baadal.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	c.create(t, c.admin, baadal.VMCreate{Name: "three"})
}

// TestFailedTemplateCanBeDeleted, although it cannot be used.
func TestFailedTemplateCanBeDeleted(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.update(t, func(tx *store.Tx) error {
		ds, err := tx.DatastoreByRef("main")
		if err != nil {
			return err
		}
		return tx.CreateTemplate(&baadal.Template{Name: "half", DatastoreID: ds.ID, File: "half.img", State: baadal.TemplateFailed})
	})
	_, err := c.CreateVM(t.Context(), c.admin, baadal.VMCreate{Name: "web", Template: "half"}, baadal.ChangeOptions{})
	refused(t, err, baadal.Conflict, "template_not_ready")
	ch, err := c.DeleteTemplate(t.Context(), c.admin, "half", baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, ch.Task)
	_, err = c.Template(t.Context(), c.admin, "half")
	refused(t, err, baadal.NotFound, "not_found")
}
