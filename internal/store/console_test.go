package store_test

import (
	"testing"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// A ticket is good once, for its user, until it expires.
func TestConsoleTickets(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 2)
		vm := w.vm("web")
		w.create(t, &vm)
		update(t, db, func(tx *store.Tx) error {
			if err := tx.AddConsoleTicket("old", vm.ID, vm.OwnerID, baadal.ConsoleSerial, tx.Now()); err != nil {
				return err
			}
			return tx.AddConsoleTicket("good", vm.ID, vm.OwnerID, baadal.ConsoleScreen, tx.Now().Add(time.Minute))
		})
		refused := func(hash string, user int64) {
			t.Helper()
			wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error {
				_, _, err := tx.TakeConsoleTicket(hash, user)
				return err
			})
		}
		refused("old", vm.OwnerID)
		refused("none", vm.OwnerID)
		refused("good", vm.OwnerID+1)
		update(t, db, func(tx *store.Tx) error {
			id, kind, err := tx.TakeConsoleTicket("good", vm.OwnerID)
			if id != vm.ID || kind != baadal.ConsoleScreen {
				t.Errorf("got %d, %s", id, kind)
			}
			return err
		})
		refused("good", vm.OwnerID)
	})
}

// A serial line is one controller's at a time, until it is given back or not
// held any more.
func TestSerialLineIsHeldOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 2)
		vm := w.vm("web")
		w.create(t, &vm)
		hold := func(holder string, long time.Duration, want bool) {
			t.Helper()
			update(t, db, func(tx *store.Tx) error {
				ok, err := tx.HoldLine(vm.ID, holder, tx.Now().Add(long))
				if ok != want {
					t.Errorf("%s holds it: %t, want %t", holder, ok, want)
				}
				return err
			})
		}
		hold("a", time.Minute, true)
		hold("a", time.Minute, true)
		hold("b", time.Minute, false)
		update(t, db, func(tx *store.Tx) error { return tx.ReleaseLine(vm.ID, "b") }) // not b's
		hold("b", time.Minute, false)
		update(t, db, func(tx *store.Tx) error { return tx.ReleaseLine(vm.ID, "a") })
		hold("b", -time.Second, true) // b is gone since
		hold("a", time.Minute, true)
	})
}

// What is left of its consoles keeps no VM from being forgotten.
func TestVMWithConsolesIsForgotten(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 2)
		vm := w.vm("web")
		w.create(t, &vm)
		update(t, db, func(tx *store.Tx) error {
			if err := tx.AddConsoleTicket("unused", vm.ID, vm.OwnerID, baadal.ConsoleSerial, tx.Now().Add(-time.Hour)); err != nil {
				return err
			}
			_, err := tx.HoldLine(vm.ID, "killed", tx.Now().Add(-time.Hour))
			return err
		})
		update(t, db, func(tx *store.Tx) error { return tx.DeleteVM(vm.ID) })
	})
}

// A line is free for who holds it, and for all when nobody does.
func TestSerialLineIsFree(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 2)
		vm := w.vm("web")
		w.create(t, &vm)
		want := func(holder string, want bool) {
			t.Helper()
			update(t, db, func(tx *store.Tx) error {
				free, err := tx.LineIsFree(vm.ID, holder)
				if free != want {
					t.Errorf("free for %s: %t", holder, free)
				}
				return err
			})
		}
		hold := func(until time.Duration) {
			t.Helper()
			update(t, db, func(tx *store.Tx) error {
				_, err := tx.HoldLine(vm.ID, "a", tx.Now().Add(until))
				return err
			})
		}
		want("b", true)
		hold(time.Minute)
		want("a", true)
		want("b", false)
		update(t, db, func(tx *store.Tx) error { return tx.ForgetLines() })
		want("b", true)
		hold(-time.Minute)
		want("b", true)
	})
}
