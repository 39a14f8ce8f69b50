package service_test

import (
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/store"
)

const good, better = "correct horse", "battery staple"

// person makes a user with the password good.
func (c *cloud) person(t *testing.T, name string, roles ...baadal.Role) baadal.Actor {
	t.Helper()
	u, oneTime, err := c.CreateUser(t.Context(), c.admin, baadal.UserCreate{Username: name, Password: good, Roles: roles}, baadal.ChangeOptions{})
	if err != nil || oneTime != "" || u.MustChange {
		t.Fatalf("%+v, one-time password %q, %v", u, oneTime, err)
	}
	return baadal.Actor{User: u}
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.person(t, "mira")
	c.person(t, "bert")
	blocked := true
	if _, err := c.UpdateUser(t.Context(), c.admin, "bert", baadal.UserUpdate{Blocked: &blocked}, baadal.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ name, password string }{{"mira", "wrong"}, {"mira", ""}, {"nobody", good}, {"bert", good}, {"root", "x"}, {"", ""}} {
		secret, user, err := c.SignIn(t.Context(), x.name, x.password, "192.0.2.1:1000")
		refused(t, err, baadal.Unauthenticated, "sign_in_failed")
		if secret != "" || user.ID != 0 || baadal.Message(err) != "user name or password is wrong" {
			t.Errorf("%q: secret %q, user %+v, %q", x.name, secret, user, baadal.Message(err))
		}
	}
	secret, user, err := c.SignIn(t.Context(), "mira", good, "192.0.2.1:1000")
	if err != nil || user.Username != "mira" {
		t.Fatalf("%+v, %v", user, err)
	}
	a, err := c.Authenticate(t.Context(), secret)
	if err != nil || a.User.Username != "mira" || a.Token != 0 {
		t.Errorf("%+v, %v", a, err)
	}
	for _, wrong := range []string{"", "x", secret + "x", secret[:len(secret)-1] + "-"} {
		_, err = c.Authenticate(t.Context(), wrong)
		refused(t, err, baadal.Unauthenticated, "not_signed_in")
	}
	for range 2 { // the second time it is over already
		if err := c.SignOut(t.Context(), secret); err != nil {
			t.Error(err)
		}
	}
	_, err = c.Authenticate(t.Context(), secret)
	refused(t, err, baadal.Unauthenticated, "not_signed_in")
}

func TestSessionsExpire(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.person(t, "mira")
	secret, _, err := c.SignIn(t.Context(), "mira", good, "")
	if err != nil {
		t.Fatal(err)
	}
	c.clock.forward(12*time.Hour - time.Second)
	if _, err := c.Authenticate(t.Context(), secret); err != nil {
		t.Errorf("just before its end: %v", err)
	}
	c.clock.forward(time.Second)
	_, err = c.Authenticate(t.Context(), secret)
	refused(t, err, baadal.Unauthenticated, "not_signed_in")
}

func TestGuessingIsSlowedDown(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.person(t, "mira")
	var err error
	for range 6 {
		if _, _, err = c.SignIn(t.Context(), "mira", "guess", "192.0.2.1:1000"); baadal.KindOf(err) != baadal.Unauthenticated {
			break
		}
	}
	for _, x := range []struct{ name, from string }{{"mira", "192.0.2.1:1000"}, {"mira", "198.51.100.7:9"}} {
		_, _, err = c.SignIn(t.Context(), x.name, good, x.from)
		refused(t, err, baadal.TooMany, "sign_in_limited")
	}
	if err := c.ChangePassword(t.Context(), baadal.Actor{User: baadal.User{Username: "mira"}}, good, better); baadal.KindOf(err) != baadal.TooMany {
		t.Errorf("the change of a password is a way around: %v", err)
	}
	_, _, err = c.SignIn(t.Context(), "nobody", good, "192.0.2.1:1000")
	refused(t, err, baadal.Unauthenticated, "sign_in_failed") // a classroom shares an address
}

func TestOneTimePasswordMustBeChanged(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	_, oneTime, err := c.CreateUser(t.Context(), c.admin, baadal.UserCreate{Username: "mira"}, baadal.ChangeOptions{})
	if err != nil || len(oneTime) < baadal.MinPassword {
		t.Fatalf("%q, %v", oneTime, err)
	}
	first, user, err := c.SignIn(t.Context(), "mira", oneTime, "")
	if err != nil || !user.MustChange {
		t.Fatalf("%+v, %v", user, err)
	}
	second, _, err := c.SignIn(t.Context(), "mira", oneTime, "")
	if err != nil {
		t.Fatal(err)
	}
	me := baadal.Actor{User: user}
	_, token, err := c.CreateToken(t.Context(), me, "script", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ old, new, field string }{{oneTime, "short", "password"}, {"wrong", better, "old"}, {oneTime, oneTime, "new"}} {
		refusedField(t, c.ChangePassword(t.Context(), me, x.old, x.new), baadal.Invalid, x.field)
	}
	if err := c.ChangePassword(t.Context(), me, oneTime, better); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{first, second} {
		_, err = c.Authenticate(t.Context(), secret)
		refused(t, err, baadal.Unauthenticated, "not_signed_in")
	}
	if a, err := c.Authenticate(t.Context(), token); err != nil || a.Token == 0 {
		t.Errorf("tokens are revoked one by one: %+v, %v", a, err)
	}
	_, _, err = c.SignIn(t.Context(), "mira", oneTime, "")
	refused(t, err, baadal.Unauthenticated, "sign_in_failed")
	if _, user, err = c.SignIn(t.Context(), "mira", better, ""); err != nil || user.MustChange {
		t.Errorf("must change is %t, %v", user.MustChange, err)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	refusedOne := func(name string, ttl time.Duration, kind baadal.Kind, field string) {
		t.Helper()
		_, _, err := c.CreateToken(t.Context(), c.faculty, name, ttl)
		refusedField(t, err, kind, field)
	}
	refusedOne("", 0, baadal.Invalid, "name")
	refusedOne(strings.Repeat("x", 101), 0, baadal.Invalid, "name")
	refusedOne("past", -time.Second, baadal.Invalid, "ttl")

	short, shortSecret, err := c.CreateToken(t.Context(), c.faculty, "short", time.Hour)
	if err != nil || short.ExpiresAt == nil || !short.ExpiresAt.Equal(c.clock.Now().Add(time.Hour)) {
		t.Fatalf("%+v, %v", short, err)
	}
	refusedOne("short", 0, baadal.Conflict, "name")
	long, longSecret, err := c.CreateToken(t.Context(), c.faculty, "long", 0)
	if err != nil || long.ExpiresAt != nil {
		t.Fatalf("%+v, %v", long, err)
	}
	if a, err := c.Authenticate(t.Context(), shortSecret); err != nil || a.Token != short.ID || a.User.Username != "asha" {
		t.Errorf("%+v, %v", a, err)
	}
	if all, err := c.Tokens(t.Context(), c.faculty); err != nil || len(all) != 2 || all[0].LastUsed == nil || all[1].LastUsed != nil {
		t.Errorf("%+v, %v", all, err)
	}
	if all, err := c.Tokens(t.Context(), c.admin); err != nil || len(all) != 0 {
		t.Errorf("an administrator sees another's tokens: %+v, %v", all, err)
	}
	c.clock.forward(time.Hour)
	_, err = c.Authenticate(t.Context(), shortSecret)
	refused(t, err, baadal.Unauthenticated, "not_signed_in")

	refused(t, c.RevokeToken(t.Context(), c.orgadmin, long.ID), baadal.NotFound, "not_found")
	if _, err := c.Authenticate(t.Context(), longSecret); err != nil {
		t.Errorf("it works still: %v", err)
	}
	if err := c.RevokeToken(t.Context(), c.admin, long.ID); err != nil {
		t.Fatal(err)
	}
	_, err = c.Authenticate(t.Context(), longSecret)
	refused(t, err, baadal.Unauthenticated, "not_signed_in")
	refused(t, c.RevokeToken(t.Context(), c.faculty, long.ID), baadal.NotFound, "not_found")
}

func TestBlockingEndsSessionsAndTokens(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	me := c.person(t, "mira")
	session, _, err := c.SignIn(t.Context(), "mira", good, "")
	if err != nil {
		t.Fatal(err)
	}
	_, token, err := c.CreateToken(t.Context(), me, "script", 0)
	if err != nil {
		t.Fatal(err)
	}
	set := func(blocked bool) {
		t.Helper()
		if _, err := c.UpdateUser(t.Context(), c.admin, "mira", baadal.UserUpdate{Blocked: &blocked}, baadal.ChangeOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	set(true)
	for _, secret := range []string{session, token} {
		_, err = c.Authenticate(t.Context(), secret)
		refused(t, err, baadal.Unauthenticated, "not_signed_in")
	}
	set(false)
	_, err = c.Authenticate(t.Context(), session)
	refused(t, err, baadal.Unauthenticated, "not_signed_in") // a session does not come back
}

func TestBootstrapOnce(t *testing.T) {
	t.Parallel()
	c := emptyCloud(t)
	name, password, err := c.Bootstrap(t.Context())
	if err != nil || name != "admin" || len(password) < baadal.MinPassword {
		t.Fatalf("%q %q, %v", name, password, err)
	}
	if _, user, err := c.SignIn(t.Context(), name, password, ""); err != nil || !user.MustChange || user.Organisation != "ADMIN" {
		t.Errorf("%+v, %v", user, err)
	}
	if _, password, err := c.Bootstrap(t.Context()); err != nil || password != "" {
		t.Errorf("a second time: %q, %v", password, err)
	}
	c.view(t, func(tx *store.Tx) error {
		users, err := tx.Users(baadal.ListQuery{}, baadal.Visibility{Scope: baadal.ScopeAny})
		if err == nil && users.Total != 1 {
			t.Errorf("%d users", users.Total)
		}
		return err
	})
}
