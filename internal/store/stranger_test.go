package store_test

import (
	"testing"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// TestStrangers: an address that somebody unknown uses is given to nobody while
// he is seen.
func TestStrangers(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 2)
		first, second := ipOf(10, 10), ipOf(10, 11)
		set := func(looked []string, seen ...baadal.Stranger) {
			t.Helper()
			update(t, db, func(tx *store.Tx) error { return tx.SetStrangers(looked, seen) })
		}
		are := func(want ...string) {
			t.Helper()
			view(t, db, func(tx *store.Tx) error {
				all, err := tx.Strangers()
				if len(all) != len(want) {
					t.Errorf("strangers %+v, want %v", all, want)
					return err
				}
				for i, s := range all {
					if s.IP != want[i] || s.MAC == "" || s.SeenAt.IsZero() {
						t.Errorf("strangers %+v, want %v", all, want)
					}
				}
				return err
			})
		}
		set([]string{first}, baadal.Stranger{IP: first, MAC: "02:00:00:00:00:01"}, baadal.Stranger{IP: "172.16.0.1", MAC: "02:00:00:00:00:01"})
		are(first) // nothing of ours is 172.16.0.1
		set(nil, baadal.Stranger{IP: first, MAC: "02:00:00:00:00:02"})
		are(first)
		vm := w.vm("web")
		w.create(t, &vm)
		view(t, db, func(tx *store.Tx) error {
			got, err := tx.VM(vm.ID)
			if got.Address != second {
				t.Errorf("it was given %s, want %s", got.Address, second)
			}
			free, ferr := tx.FreeAddresses(w.network.ID, 10, 0)
			if ferr != nil || len(free) != 1 || free[0] != first {
				t.Errorf("free: %v, %v", free, ferr)
			}
			return err
		})
		other := w.vm("db")
		wantError(t, db, baadal.Exhausted, "no_address", func(tx *store.Tx) error { return create(tx, &other) })
		update(t, db, func(tx *store.Tx) error { return tx.ReleaseAddress(vm.ID) })
		wantError(t, db, baadal.Conflict, "address_strange", func(tx *store.Tx) error {
			_, err := tx.ClaimAddressIP(w.network.ID, first, vm.ID)
			return err
		})
		set([]string{first})
		are()
		update(t, db, func(tx *store.Tx) error {
			_, err := tx.ClaimAddressIP(w.network.ID, first, vm.ID)
			return err
		})
	})
}
