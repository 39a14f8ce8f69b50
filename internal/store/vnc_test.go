package store_test

import (
	"testing"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

func grantOf(vm baadal.VM, end time.Time) baadal.VNCGrant {
	return baadal.VNCGrant{VMID: vm.ID, VM: vm.Name, ByID: vm.OwnerID, Password: "opensesa", Controller: "10.0.0.1", ExpiresAt: end}
}

// A VM has one grant at a time and so many in a day; what is over keeps no
// password.
func TestVNCGrants(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 2)
		vm := w.vm("web")
		w.create(t, &vm)
		all := baadal.Visibility{Scope: baadal.ScopeAny}
		add := func(tx *store.Tx, long time.Duration, perDay int) error {
			g := grantOf(vm, tx.Now().Add(long))
			return tx.AddVNCGrant(&g, tx.Now().Add(time.Minute), perDay)
		}
		update(t, db, func(tx *store.Tx) error { return add(tx, -time.Second, 3) }) // over at once
		wantError(t, db, baadal.NotFound, "no_vnc_grant", func(tx *store.Tx) error { _, err := tx.VNCGrant(vm.ID); return err })
		update(t, db, func(tx *store.Tx) error { return add(tx, time.Hour, 3) })
		wantError(t, db, baadal.Conflict, "vnc_granted", func(tx *store.Tx) error { return add(tx, time.Hour, 3) })
		view(t, db, func(tx *store.Tx) error {
			g, err := tx.VNCGrant(vm.ID)
			if err != nil || g.VM != "web" || g.Port != vm.VNCPort || g.Password != "opensesa" || g.SecondsTo < 3500 || g.Open {
				t.Errorf("%+v", g)
			}
			for vis, want := range map[baadal.Visibility]int{
				all: 1, {Scope: baadal.ScopeOwn, UserID: vm.OwnerID}: 1, {Scope: baadal.ScopeOwn, UserID: vm.OwnerID + 100}: 0, {Scope: baadal.ScopeOrg, OrganisationID: vm.OrganisationID}: 1,
			} {
				if list, err := tx.VNCGrants(vis); err != nil || len(list) != want {
					t.Errorf("%+v sees %d, %v", vis, len(list), err)
				}
			}
			return err
		})
		update(t, db, func(tx *store.Tx) error {
			g, err := tx.VNCGrant(vm.ID)
			if err != nil {
				return err
			}
			return tx.ExtendVNCGrant(g.ID, tx.Now().Add(2*time.Hour))
		})
		view(t, db, func(tx *store.Tx) error {
			g, err := tx.VNCGrant(vm.ID)
			if g.SecondsTo < 7000 {
				t.Errorf("extended: %+v", g)
			}
			return err
		})
		update(t, db, func(tx *store.Tx) error { return tx.ReleaseVNCPort(vm.ID) }) // as when it is deleted
		view(t, db, func(tx *store.Tx) error {
			list, err := tx.VNCGrants(all)
			if len(list) != 0 {
				t.Errorf("it lives without its port: %+v", list)
			}
			return err
		})
		wantError(t, db, baadal.TooMany, "vnc_limit", func(tx *store.Tx) error { return add(tx, time.Hour, 2) })
		update(t, db, func(tx *store.Tx) error { return tx.DeleteVM(vm.ID) })
	})
}

// One controller listens for a grant's clients; another takes over when that one
// is gone.
func TestVNCGrantIsHeldOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 2)
		vm := w.vm("web")
		w.create(t, &vm)
		g := grantOf(vm, time.Now().Add(time.Hour))
		update(t, db, func(tx *store.Tx) error { return tx.AddVNCGrant(&g, tx.Now().Add(time.Minute), 10) })
		hold := func(controller string, long time.Duration, want bool) {
			t.Helper()
			update(t, db, func(tx *store.Tx) error {
				ok, err := tx.HoldVNCGrant(g.ID, controller, tx.Now().Add(long))
				if ok != want {
					t.Errorf("%s holds it: %t, want %t", controller, ok, want)
				}
				return err
			})
		}
		open := func(controller, problem string) {
			t.Helper()
			update(t, db, func(tx *store.Tx) error { return tx.SetVNCOpen(g.ID, controller, problem) })
		}
		isOpen := func(want bool, problem string) {
			t.Helper()
			view(t, db, func(tx *store.Tx) error {
				got, err := tx.VNCGrantByID(g.ID)
				if got.Open != want || got.Problem != problem {
					t.Errorf("open %t %q, want %t %q", got.Open, got.Problem, want, problem)
				}
				return err
			})
		}
		hold("10.0.0.2", time.Minute, false)
		hold("10.0.0.1", time.Minute, true)
		open("10.0.0.2", "")
		isOpen(false, "")
		open("10.0.0.1", "")
		isOpen(true, "")
		open("10.0.0.1", "the port is taken")
		isOpen(false, "the port is taken")
		open("10.0.0.1", "")
		hold("10.0.0.1", -time.Second, true) // it was killed
		isOpen(false, "")
		hold("10.0.0.2", time.Minute, true)
		hold("10.0.0.1", time.Minute, false)
		update(t, db, func(tx *store.Tx) error {
			if ended, err := tx.EndVNCGrants(vm.ID); err != nil || !ended {
				t.Errorf("%t, %v", ended, err)
			}
			ended, err := tx.EndVNCGrants(vm.ID)
			if ended {
				t.Error("it ends twice")
			}
			return err
		})
		hold("10.0.0.2", time.Minute, false)
	})
}
