package store_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// clock is a time that the test moves.
type clock struct{ at time.Time }

func openAt(t *testing.T, dsn string) (*store.DB, *clock) {
	c := &clock{time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)}
	return storetest.OpenDSN(t, store.Config{DSN: dsn, Now: func() time.Time { return c.at }}), c
}

func TestUsers(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 2)
		vm := w.vm("web")
		w.create(t, &vm)
		wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error { _, err := tx.CreateOrganisation("IITD", ""); return err })
		wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error {
			return tx.CreateUser(&baadal.User{Username: "asha", OrganisationID: w.org.ID}, "")
		})
		wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error {
			return tx.CreateUser(&baadal.User{Username: "ravi", OrganisationID: 4711}, "")
		})
		update(t, db, func(tx *store.Tx) error {
			for _, ref := range []string{"asha", fmt.Sprint(w.user.ID)} {
				got, err := tx.UserByRef(ref)
				if err != nil {
					return err
				}
				want := w.user
				want.Organisation, want.VMs = "IITD", 1
				if d := cmp.Diff(want, got); d != "" {
					t.Error(d)
				}
			}
			u := w.user
			u.Roles, u.Blocked, u.SSHKeys = []baadal.Role{baadal.RoleUser, baadal.RoleAdmin}, true, []string{"ssh-ed25519 AAAA"}
			if err := tx.UpdateUser(&u); err != nil {
				return err
			}
			if n, err := tx.CountAdmins(); err != nil || n != 0 {
				t.Errorf("%d administrators that are not blocked: %v", n, err)
			}
			u.Blocked = false
			if err := tx.UpdateUser(&u); err != nil {
				return err
			}
			if n, err := tx.CountAdmins(); err != nil || n != 1 {
				t.Errorf("%d administrators: %v", n, err)
			}
			if err := tx.SetPassword(u.ID, "new", true); err != nil {
				return err
			}
			got, err := tx.User(u.ID)
			if !got.MustChange || got.Generation != 4 {
				t.Errorf("after the new password: %+v", got)
			}
			return err
		})
		view(t, db, func(tx *store.Tx) error {
			hash, err := tx.PasswordHash(w.user.ID)
			if hash != "new" {
				t.Errorf("hash %q", hash)
			}
			return err
		})
		wantError(t, db, baadal.Stale, "stale", func(tx *store.Tx) error { return tx.UpdateUser(&w.user) })
		wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error { return tx.SetPassword(4711, "x", false) })
		wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error { _, err := tx.UserByRef("4711"); return err })
	})
}

func TestSessionsAndTokensExpire(t *testing.T) {
	t.Parallel()
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		db, clock := openAt(t, dsn)
		w := newWorld(t, db, 1)
		end := clock.at.Add(time.Hour)
		token := baadal.Token{UserID: w.user.ID, Name: "ci", ExpiresAt: &end}
		update(t, db, func(tx *store.Tx) error {
			if err := tx.CreateSession("s1", w.user.ID, end); err != nil {
				return err
			}
			return tx.CreateToken(&token, "t1")
		})
		wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error {
			return tx.CreateToken(&baadal.Token{UserID: w.user.ID, Name: "ci"}, "t2")
		})
		for _, c := range []struct {
			after    time.Duration
			wantUsed time.Duration
		}{{0, 0}, {59 * time.Second, 0}, {time.Minute, time.Minute}} {
			clock.at = end.Add(-time.Hour + c.after)
			update(t, db, func(tx *store.Tx) error {
				if user, err := tx.SessionUser("s1"); err != nil || user != w.user.ID {
					t.Errorf("user %d: %v", user, err)
				}
				got, err := tx.TokenByHash("t1")
				if err != nil {
					return err
				}
				if err := tx.TouchToken(got.ID); err != nil {
					return err
				}
				all, err := tx.Tokens(w.user.ID)
				if len(all) != 1 || all[0].LastUsed == nil || !all[0].LastUsed.Equal(end.Add(-time.Hour+c.wantUsed)) {
					t.Errorf("after %v: %+v", c.after, all)
				}
				return err
			})
		}
		clock.at = end
		wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error { _, err := tx.SessionUser("s1"); return err })
		wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error { _, err := tx.TokenByHash("t1"); return err })
		wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error { return tx.DeleteToken(w.user.ID+1, token.ID) })
		update(t, db, func(tx *store.Tx) error {
			if n, err := tx.PruneSessions(); n != 1 || err != nil {
				t.Errorf("pruned %d: %v", n, err)
			}
			if err := tx.CreateSession("s2", w.user.ID, end.Add(time.Hour)); err != nil {
				return err
			}
			if err := tx.DeleteSessionsOf(w.user.ID); err != nil {
				return err
			}
			return tx.DeleteToken(0, token.ID)
		})
		wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error { _, err := tx.SessionUser("s2"); return err })
	})
}

func TestSettings(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		set := func(value string, generation int64) func(*store.Tx) error {
			return func(tx *store.Tx) error {
				_, err := tx.SetSetting(baadal.SettingCPURatio, value, generation, "asha")
				return err
			}
		}
		update(t, db, set("3.5", 0))
		update(t, db, set("4.5", 1))
		wantError(t, db, baadal.Stale, "stale", set("5.5", 1))
		wantError(t, db, baadal.Invalid, "invalid", set("many", 0))
		wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error { _, err := tx.SetSetting("colour", "red", 0, "asha"); return err })
		view(t, db, func(tx *store.Tx) error {
			values, err := tx.SettingValues()
			if got := values.Float(baadal.SettingCPURatio); got != 4.5 {
				t.Errorf("value %v", got)
			}
			if got := values.Int(baadal.SettingVNCFirst); got != 20000 {
				t.Errorf("default %v", got)
			}
			all, err2 := tx.Settings()
			for _, s := range all {
				if (s.Name == baadal.SettingCPURatio) != (s.Generation == 2 && s.UpdatedBy == "asha") {
					t.Errorf("%+v", s)
				}
			}
			if err == nil {
				err = err2
			}
			return err
		})
	})
}

func TestEvents(t *testing.T) {
	t.Parallel()
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		db, clock := openAt(t, dsn)
		add := func(topic string, id, owner int64) {
			update(t, db, func(tx *store.Tx) error {
				_, err := tx.AddEvent(baadal.Event{
					Topic: topic, Subject: baadal.Subject{Kind: topic, ID: id, Name: "x"}, What: "state", OwnerID: owner, OrganisationID: 7,
					Changes: json.RawMessage(`{"state":{"old":"off","new":"running"}}`),
				})
				return err
			})
		}
		add("vm", 1, 5)
		add("vm", 2, 6)
		clock.at = clock.at.Add(time.Hour)
		add("host", 1, 0)
		wantError(t, db, baadal.Internal, "internal", func(tx *store.Tx) error {
			_, err := tx.AddEvent(baadal.Event{Topic: "vm", Changes: json.RawMessage(`{`)})
			return err
		})
		view(t, db, func(tx *store.Tx) error {
			for _, c := range []struct {
				after  int64
				topics []string
				ids    []int64
				vis    baadal.Visibility
				want   []int64
			}{
				{0, nil, nil, anyone, []int64{1, 2, 3}},
				{2, nil, nil, anyone, []int64{3}},
				{0, []string{"vm", "task"}, nil, anyone, []int64{1, 2}},
				{0, []string{"vm", "host"}, []int64{1}, anyone, []int64{1, 3}},
				{0, nil, nil, baadal.Visibility{Scope: baadal.ScopeOwn, UserID: 5, OrganisationID: 7}, []int64{1}},
				{0, nil, nil, baadal.Visibility{Scope: baadal.ScopeOrg, UserID: 9, OrganisationID: 7}, []int64{1, 2, 3}},
				{0, nil, nil, baadal.Visibility{Scope: baadal.ScopeOrg, UserID: 9, OrganisationID: 8}, nil},
			} {
				events, err := tx.EventsAfter(c.after, c.topics, c.ids, c.vis, 100)
				if err != nil {
					return err
				}
				var got []int64
				for _, e := range events {
					got = append(got, e.ID)
				}
				if d := cmp.Diff(c.want, got); d != "" {
					t.Errorf("%+v: %s", c, d)
				}
			}
			list, err := tx.Events(baadal.ListQuery{}, anyone, &baadal.Subject{Kind: "vm", ID: 2})
			if err != nil || len(list.Items) != 1 || string(list.Items[0].Changes) != `{"state":{"old":"off","new":"running"}}` {
				t.Errorf("%+v, %v", list, err)
			}
			last, err := tx.LastEventID()
			if last != 3 {
				t.Errorf("last is %d", last)
			}
			return err
		})
		update(t, db, func(tx *store.Tx) error {
			n, err := tx.PruneEvents(clock.at)
			if n != 2 {
				t.Errorf("pruned %d", n)
			}
			return err
		})
	})
}

func TestIdempotencyKeys(t *testing.T) {
	t.Parallel()
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		db, clock := openAt(t, dsn)
		begin := func(user int64, request string, want *store.Response) {
			t.Helper()
			update(t, db, func(tx *store.Tx) error {
				prior, err := tx.BeginIdempotent(user, "key", request)
				if d := cmp.Diff(want, prior); d != "" {
					t.Error(d)
				}
				return err
			})
		}
		again := func(request string) func(*store.Tx) error {
			return func(tx *store.Tx) error { _, err := tx.BeginIdempotent(1, "key", request); return err }
		}
		begin(1, "r1", nil)
		begin(2, "r2", nil) // another caller's key
		wantError(t, db, baadal.Conflict, "in_progress", again("r1"))
		wantError(t, db, baadal.Conflict, "idempotency_key_reused", again("r2"))
		update(t, db, func(tx *store.Tx) error { return tx.FinishIdempotent(1, "key", 202, []byte(`{"id":1}`)) })
		begin(1, "r1", &store.Response{Status: 202, Body: []byte(`{"id":1}`)})
		wantError(t, db, baadal.Conflict, "idempotency_key_reused", again("r2"))
		update(t, db, func(tx *store.Tx) error { return tx.DropIdempotent(2, "key") })
		begin(2, "r3", nil)
		update(t, db, func(tx *store.Tx) error {
			n, err := tx.PruneIdempotent(clock.at.Add(time.Second))
			if n != 2 {
				t.Errorf("pruned %d", n)
			}
			return err
		})
		begin(1, "r2", nil)
	})
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error { _, err := tx.Document("audit"); return err })
		for _, body := range []string{"one", "two"} {
			update(t, db, func(tx *store.Tx) error { return tx.PutDocument("audit", []byte(body)) })
		}
		view(t, db, func(tx *store.Tx) error {
			body, err := tx.Document("audit")
			if string(body) != "two" {
				t.Errorf("got %q", body)
			}
			return err
		})
	})
}
