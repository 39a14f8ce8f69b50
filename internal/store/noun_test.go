package store_test

import (
	"encoding/json"
	"fmt"
	"strings"
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

func TestHosts(t *testing.T) {
	t.Parallel()
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		db, clock := openAt(t, dsn)
		w := newWorld(t, db, 3)
		began := clock.at
		vm, gone := w.vm("web"), w.vm("gone")
		gone.State = baadal.VMDeleted
		w.create(t, &vm)
		w.create(t, &gone)
		set := func(after time.Duration, state baadal.HostState, reason string, seen, wantChanged bool, wantSeen, wantSince time.Duration) {
			t.Helper()
			clock.at = began.Add(after)
			update(t, db, func(tx *store.Tx) error {
				changed, err := tx.SetHostState(w.host.ID, state, reason, seen)
				if err != nil {
					return err
				}
				h, err := tx.Host(w.host.ID)
				if changed != wantChanged || h.LastSeen == nil || !h.LastSeen.Equal(began.Add(wantSeen)) || !h.StateSince.Equal(began.Add(wantSince)) {
					t.Errorf("after %v: changed %v, seen %v, since %v", after, changed, h.LastSeen, h.StateSince)
				}
				return err
			})
		}
		const s = time.Second
		set(0, baadal.HostUp, "", true, false, 0, 0)
		set(9*s, baadal.HostUp, "", true, false, 0, 0) // not worth a write
		set(10*s, baadal.HostUp, "", true, false, 10*s, 0)
		set(12*s, baadal.HostDown, "no answer", false, true, 10*s, 12*s)
		set(13*s, baadal.HostDown, "refused", false, true, 10*s, 12*s)
		set(14*s, baadal.HostUp, "", true, true, 14*s, 14*s)

		facts := baadal.HostFacts{Hostname: "h1.lab", CPUs: 16, RAMMiB: 32768, Virt: "kvm", Checks: []baadal.Check{{Name: "sshd", OK: true}}}
		update(t, db, func(tx *store.Tx) error { return tx.SetHostFacts(w.host.ID, facts) })
		view(t, db, func(tx *store.Tx) error {
			h, err := tx.HostByRef("h1")
			if err != nil {
				return err
			}
			all, err := tx.AllHosts()
			if d := cmp.Diff([]baadal.Host{h}, all); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(facts, h.HostFacts); d != "" || h.VMs != 1 || h.ClaimedVCPUs != 1 || h.ClaimedRAMMiB != 512 {
				t.Errorf("%+v %s", h, d)
			}
			return err
		})
		wantError(t, db, baadal.Stale, "stale", func(tx *store.Tx) error { return tx.UpdateHost(&w.host) })
		twin := w.host
		wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error { return tx.CreateHost(&twin) })
		twin.Name = "h2"
		wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error { return tx.CreateHost(&twin) })
		err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.DeleteHost(w.host.ID) })
		if baadal.CodeOf(err) != "host_in_use" || !strings.Contains(err.Error(), "web") || strings.Contains(err.Error(), "gone") {
			t.Errorf("deleting a host with VMs: %v", err)
		}
		update(t, db, func(tx *store.Tx) error {
			if err := tx.DeleteVM(vm.ID); err != nil {
				return err
			}
			if err := tx.DeleteHost(w.host.ID); err != nil {
				return err
			}
			left, err := tx.VM(gone.ID)
			if left.HostID != 0 || !left.Reachable {
				t.Errorf("the deleted VM remembers host %d", left.HostID)
			}
			return err
		})
	})
}

func TestDatastoresAndTemplatesCountWhatLiesOnThem(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		vm, gone := w.vm("web"), w.vm("gone")
		vm.DiskGiB, gone.DiskGiB, gone.State = 10, 5, baadal.VMDeleted
		w.create(t, &vm)
		w.create(t, &gone)
		usage := baadal.DatastoreUsage{Mounted: true, Writable: true, Capacity: 100 << 30, Used: 1 << 30, Free: 99 << 30}
		for _, want := range []bool{true, false} {
			update(t, db, func(tx *store.Tx) error {
				changed, err := tx.SetDatastoreUsage(w.datastore.ID, baadal.DatastoreOK, "", usage, []string{"h1", "h2"})
				if changed != want {
					t.Errorf("changed %v, want %v", changed, want)
				}
				return err
			})
		}
		view(t, db, func(tx *store.Tx) error {
			d, err := tx.DatastoreByRef("ds1")
			if d.Claimed != 15<<30+1<<20 || d.VMs != 1 || d.Templates != 1 || d.Free != 99<<30 || len(d.Hosts) != 2 || d.Generation != 2 {
				t.Errorf("%+v", d)
			}
			m, err2 := tx.TemplateByRef("debian")
			if m.VMs != 2 || m.Datastore != "ds1" {
				t.Errorf("%+v", m)
			}
			if err == nil {
				err = err2
			}
			return err
		})
		wantError(t, db, baadal.Conflict, "datastore_in_use", func(tx *store.Tx) error { return tx.DeleteDatastore(w.datastore.ID) })
		wantError(t, db, baadal.Conflict, "template_in_use", func(tx *store.Tx) error { return tx.DeleteTemplate(w.template.ID) })
		wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error {
			return tx.CreateDatastore(&baadal.Datastore{Name: "ds2", Path: w.datastore.Path})
		})
		wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error { m := w.template; return tx.CreateTemplate(&m) })
		update(t, db, func(tx *store.Tx) error { return tx.DeleteVM(vm.ID) })
		wantError(t, db, baadal.Conflict, "template_in_use", func(tx *store.Tx) error { return tx.DeleteTemplate(w.template.ID) })
		update(t, db, func(tx *store.Tx) error {
			if err := tx.DeleteVM(gone.ID); err != nil {
				return err
			}
			m := w.template
			m.State, m.SHA256 = baadal.TemplateDeleted, "abc"
			if err := tx.UpdateTemplate(&m); err != nil {
				return err
			}
			if _, err := tx.TemplateByRef("debian"); baadal.KindOf(err) != baadal.NotFound {
				t.Errorf("a deleted template is found by its name: %v", err)
			}
			if all, err := tx.AllTemplates(); err != nil || len(all) != 0 {
				t.Errorf("%v %v", all, err)
			}
			return tx.DeleteDatastore(w.datastore.ID)
		})
	})
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 2)
		vm := w.vm("web")
		w.create(t, &vm)
		for i, change := range []func(n *baadal.Network){
			func(n *baadal.Network) { n.Name = "lab" }, func(n *baadal.Network) { n.VLAN = 10 }, func(n *baadal.Network) { n.CIDR = "10.10.0.0/16" },
		} {
			wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error {
				n := baadal.Network{Name: fmt.Sprintf("n%d", i), VLAN: 20 + i, CIDR: fmt.Sprintf("10.2%d.0.0/16", i)}
				change(&n)
				return tx.CreateNetwork(&n, nil)
			})
		}
		wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error {
			n := baadal.Network{Name: "inside", VLAN: 30, CIDR: "10.10.0.0/24"}
			return tx.CreateNetwork(&n, []baadal.Address{{IP: "10.10.0.11", MAC: "A2:00:00:FF:FF:FF"}})
		})
		view(t, db, func(tx *store.Tx) error {
			n, err := tx.NetworkByRef("lab")
			if n.Addresses != 2 || n.Free != 1 || n.VMs != 1 || len(n.DNS) != 1 {
				t.Errorf("%+v", n)
			}
			return err
		})
		wantError(t, db, baadal.Conflict, "network_in_use", func(tx *store.Tx) error { return tx.SetNetworkDeleting(w.network.ID, true) })
		wantError(t, db, baadal.Conflict, "network_in_use", func(tx *store.Tx) error { return tx.DeleteNetwork(w.network.ID) })
		reservations := func(want ...string) {
			t.Helper()
			view(t, db, func(tx *store.Tx) error {
				all, err := tx.Reservations()
				got := []string{}
				for _, r := range all {
					got = append(got, r.Name+" "+r.MAC+" "+r.IP)
				}
				if d := cmp.Diff(append([]string{}, want...), got); d != "" {
					t.Error(d)
				}
				return err
			})
		}
		both := []string{"ip-10-10-0-10 A2:00:00:0A:00:00 10.10.0.10", "ip-10-10-0-11 A2:00:00:0A:00:01 10.10.0.11"}
		reservations(both...)
		update(t, db, func(tx *store.Tx) error {
			if err := tx.DeleteVM(vm.ID); err != nil {
				return err
			}
			return tx.SetNetworkDeleting(w.network.ID, true)
		})
		reservations()
		wantError(t, db, baadal.Conflict, "network_deleting", func(tx *store.Tx) error { return create(tx, &vm) })
		update(t, db, func(tx *store.Tx) error { return tx.SetNetworkDeleting(w.network.ID, false) })
		reservations(both...)
		update(t, db, func(tx *store.Tx) error {
			n, err := tx.Network(w.network.ID)
			if err != nil {
				return err
			}
			n.Applied = true
			if err := tx.UpdateNetwork(&n); err != nil {
				return err
			}
			return tx.DeleteNetwork(n.ID)
		})
		wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error { return tx.DeleteNetwork(w.network.ID) })
		view(t, db, func(tx *store.Tx) error {
			left, err := tx.Addresses(w.network.ID)
			if len(left) != 0 {
				t.Errorf("left: %v", left)
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
