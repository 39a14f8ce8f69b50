package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

func TestVMRowIsComplete(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		vm := w.vm("web")
		vm.SSHKeys, vm.Purpose, vm.Placement, vm.Reason = []string{"ssh-ed25519 AAAA"}, "a test", "most room", "just so"
		w.create(t, &vm)
		task := baadal.Task{Kind: baadal.TaskVMStart, Subject: baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name}, Exclusive: true, RequesterID: w.user.ID}
		update(t, db, func(tx *store.Tx) error { return tx.InsertTask(&task) })

		var got baadal.VM
		view(t, db, func(tx *store.Tx) (err error) { got, err = tx.VM(vm.ID); return err })
		want := vm
		want.Owner, want.Organisation, want.Host, want.Datastore, want.Template = "asha", "IITD", "h1", "ds1", "debian"
		want.Network, want.VLAN, want.Address, want.MAC, want.VNCPort = "lab", 10, "10.10.0.10", "A2:00:00:0A:00:00", 20000
		want.Reachable, want.Task = true, &baadal.TaskRef{ID: task.ID, Kind: baadal.TaskVMStart, State: baadal.TaskPending}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		update(t, db, func(tx *store.Tx) error {
			_, err := tx.SetHostState(w.host.ID, baadal.HostDown, "no answer", false)
			return err
		})
		view(t, db, func(tx *store.Tx) (err error) { got, err = tx.VMByUUID(vm.UUID); return err })
		if got.Reachable {
			t.Error("a VM on a host that is down counts as reachable")
		}
	})
}

func TestVMNamesAreUnique(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 5)
		vm := w.vm("web")
		w.create(t, &vm)
		again := func(change func(*baadal.VM)) func(*store.Tx) error {
			return func(tx *store.Tx) error {
				other := w.vm("other")
				change(&other)
				return tx.CreateVM(&other)
			}
		}
		wantError(t, db, baadal.Conflict, "exists", again(func(v *baadal.VM) { v.Name = "WEB" }))
		wantError(t, db, baadal.Conflict, "exists", again(func(v *baadal.VM) { v.Identity = vm.Identity }))
		wantError(t, db, baadal.Conflict, "exists", again(func(v *baadal.VM) { v.UUID = vm.UUID }))
		wantError(t, db, baadal.Conflict, "removed", again(func(v *baadal.VM) { v.TemplateID = 4711 }))

		// A deleted VM gives its names back, and cannot take them again.
		update(t, db, func(tx *store.Tx) error {
			_, _, err := tx.SetVMState(vm.ID, baadal.VMDeleted, "")
			return err
		})
		second := w.vm("web")
		second.UUID = strings.Replace(second.UUID, "8000", "9000", 1)
		w.create(t, &second)
		wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error {
			_, _, err := tx.SetVMState(vm.ID, baadal.VMOff, "")
			return err
		})
	})
}

func TestVMByRef(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 5)
		other := baadal.User{Username: "ravi", OrganisationID: w.org.ID, Roles: []baadal.Role{baadal.RoleUser}}
		var org2 baadal.Organisation
		update(t, db, func(tx *store.Tx) (err error) {
			if org2, err = tx.CreateOrganisation("Lab2", ""); err != nil {
				return err
			}
			return tx.CreateUser(&other, "")
		})
		mine, gone, theirs := w.vm("web"), w.vm("gone"), w.vm("web")
		gone.State = baadal.VMDeleted
		theirs.UUID, theirs.OwnerID, theirs.RequesterID, theirs.Identity = "00000000-0000-4000-9000-00000000ffff", other.ID, other.ID, "IITD_ravi_web"
		for _, vm := range []*baadal.VM{&mine, &gone, &theirs} {
			w.create(t, vm)
		}
		own := func(id int64) baadal.Visibility { return baadal.Visibility{Scope: baadal.ScopeOwn, UserID: id} }
		inOrg := func(id int64) baadal.Visibility { return baadal.Visibility{Scope: baadal.ScopeOrg, OrganisationID: id} }
		for _, c := range []struct {
			name, ref string
			vis       baadal.Visibility
			id        int64
			code      string
		}{
			{"by name among one's own", "web", own(w.user.ID), mine.ID, ""},
			{"by name in other case", "WEB", own(other.ID), theirs.ID, ""},
			{"by UUID", theirs.UUID, anyone, theirs.ID, ""},
			{"by UUID in capitals", strings.ToUpper(theirs.UUID), anyone, theirs.ID, ""},
			{"a deleted one by name", "gone", anyone, gone.ID, ""},
			{"a name of two", "web", anyone, 0, "ambiguous"},
			{"a name of two in one's organisation", "web", inOrg(w.org.ID), 0, "ambiguous"},
			{"in another organisation", "web", inOrg(org2.ID), 0, "not_found"},
			{"somebody else's by UUID", theirs.UUID, own(w.user.ID), 0, "not_found"},
			{"without any right", "web", baadal.Visibility{UserID: w.user.ID}, 0, "not_found"},
			{"nothing", "nope", anyone, 0, "not_found"},
		} {
			err := db.View(t.Context(), func(tx *store.Tx) error {
				vm, err := tx.VMByRef(c.ref, c.vis)
				if err == nil && vm.ID != c.id {
					t.Errorf("%s: got VM %d, want %d", c.name, vm.ID, c.id)
				}
				return err
			})
			if baadal.CodeOf(err) != c.code {
				t.Errorf("%s: got %v, want code %q", c.name, err, c.code)
			}
			if c.code == "ambiguous" && !strings.Contains(err.Error(), "(of ravi)") {
				t.Errorf("%s: %v does not name the owners", c.name, err)
			}
		}
	})
}

func TestVMStateAndGeneration(t *testing.T) {
	t.Parallel()
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
		db := storetest.OpenDSN(t, store.Config{DSN: dsn, Now: func() time.Time { return now }})
		w := newWorld(t, db, 2)
		vm := w.vm("web")
		w.create(t, &vm)
		began := now
		now = now.Add(time.Minute)
		set := func(state baadal.VMState, reason string, wantChanged bool, wantGeneration int64, wantSince time.Time) {
			t.Helper()
			update(t, db, func(tx *store.Tx) error {
				changed, got, err := tx.SetVMState(vm.ID, state, reason)
				if changed != wantChanged || got.Generation != wantGeneration || !got.StateSince.Equal(wantSince) {
					t.Errorf("changed %v, generation %d, since %v; want %v, %d, %v", changed, got.Generation, got.StateSince, wantChanged, wantGeneration, wantSince)
				}
				return err
			})
		}
		set(baadal.VMRunning, "", false, 1, began)
		set(baadal.VMRunning, "seen", true, 2, began)
		set(baadal.VMOff, "seen", true, 3, now)

		answered := now.Add(time.Second)
		update(t, db, func(tx *store.Tx) error {
			vm, err := tx.VM(vm.ID)
			if err != nil {
				return err
			}
			vm.RAMMiB, vm.AnsweredAt, vm.HostID = 1024, &answered, 0
			if err := tx.UpdateVM(&vm); err != nil {
				return err
			}
			got, err := tx.VM(vm.ID)
			vm.Host = ""
			if d := cmp.Diff(vm, got); d != "" {
				t.Error(d)
			}
			return err
		})
		wantError(t, db, baadal.Stale, "stale", func(tx *store.Tx) error { return tx.UpdateVM(&vm) })
		wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error { return tx.UpdateVM(&baadal.VM{ID: 4711, DatastoreID: vm.DatastoreID}) })
		update(t, db, func(tx *store.Tx) error { return tx.SetVMAnswered(vm.ID, nil) })
		view(t, db, func(tx *store.Tx) error {
			got, err := tx.VM(vm.ID)
			if got.AnsweredAt != nil || got.Generation != 5 {
				t.Errorf("answered at %v, generation %d", got.AnsweredAt, got.Generation)
			}
			return err
		})
	})
}

func TestSecretIsTakenOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 2)
		vm := w.vm("web")
		w.create(t, &vm)
		for _, pw := range []string{"first", "second"} {
			update(t, db, func(tx *store.Tx) error { return tx.SetSecret(vm.ID, pw) })
		}
		for _, take := range []func(*store.Tx) (string, error){
			func(tx *store.Tx) (string, error) { return tx.Secret(vm.ID) },
			func(tx *store.Tx) (string, error) { return tx.TakeSecret(vm.ID) },
		} {
			update(t, db, func(tx *store.Tx) error {
				pw, err := take(tx)
				if pw != "second" {
					t.Errorf("got %q", pw)
				}
				return err
			})
		}
		wantError(t, db, baadal.NotFound, "secret_taken", func(tx *store.Tx) error { _, err := tx.TakeSecret(vm.ID); return err })
	})
}

func TestDeleteVMGivesEverythingBack(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 1)
		for range 3 {
			vm := w.vm("web")
			w.create(t, &vm)
			update(t, db, func(tx *store.Tx) error { return tx.SetSecret(vm.ID, "pw") })
			for range 2 {
				update(t, db, func(tx *store.Tx) error { return tx.DeleteVM(vm.ID) })
			}
			wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error { _, err := tx.VM(vm.ID); return err })
			if vm.VNCPort != 20000 || vm.Address != "10.10.0.10" {
				t.Errorf("port %d, address %s: the one before was not given back", vm.VNCPort, vm.Address)
			}
		}
	})
}
