package store_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// TestRecentHosts: few hosts are read each time; of many, figures may be old, and
// the one that matters is put right.
func TestRecentHosts(t *testing.T) {
	t.Parallel()
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		var later atomic.Int64 // it is always the same moment, until a look is to be old
		begun := time.Now()
		db := storetest.OpenDSN(t, store.Config{DSN: dsn, Now: func() time.Time { return begun.Add(time.Duration(later.Load())) }})
		w := newWorld(t, db, 10)
		recent := func() (all []baadal.Host, exact bool) {
			t.Helper()
			view(t, db, func(tx *store.Tx) (err error) { all, exact, err = tx.RecentHosts(); return err })
			return all, exact
		}
		for range 2 {
			if all, exact := recent(); !exact || len(all) != 1 {
				t.Errorf("one host: %d, exact %t", len(all), exact)
			}
		}
		update(t, db, func(tx *store.Tx) error {
			for i := range 200 {
				h := w.host
				h.Name, h.Address = fmt.Sprintf("more%d", i), fmt.Sprintf("more%d", i)
				if err := tx.CreateHost(&h); err != nil {
					return err
				}
			}
			return nil
		})
		if all, exact := recent(); !exact || len(all) != 201 {
			t.Errorf("many hosts, first time: %d, exact %t", len(all), exact)
		}
		vm := w.vm("web")
		w.create(t, &vm)
		all, exact := recent()
		claimed := func(all []baadal.Host) (n int) {
			for _, h := range all {
				n += h.ClaimedRAMMiB
			}
			return n
		}
		if exact || claimed(all) != 0 {
			t.Fatalf("again at once: exact %t, %d MiB claimed", exact, claimed(all))
		}
		renew := func(id int64, want bool) {
			t.Helper()
			view(t, db, func(tx *store.Tx) error {
				right, err := tx.RenewHost(&all, id)
				if right != want {
					t.Errorf("host %d was right: %t, want %t", id, right, want)
				}
				return err
			})
		}
		renew(w.host.ID, false)
		renew(w.host.ID, true)
		if claimed(all) != vm.RAMMiB {
			t.Errorf("%d MiB claimed after a look", claimed(all))
		}
		if again, exact := recent(); exact || claimed(again) != vm.RAMMiB {
			t.Errorf("the next one finds %d MiB claimed, exact %t", claimed(again), exact)
		}
		later.Store(int64(time.Second))
		if again, exact := recent(); !exact || claimed(again) != vm.RAMMiB {
			t.Errorf("a second later: exact %t, %d MiB claimed", exact, claimed(again))
		}
		last := all[len(all)-1]
		update(t, db, func(tx *store.Tx) error { return tx.DeleteHost(last.ID) })
		renew(last.ID, false)
		if len(all) != 200 {
			t.Errorf("%d hosts after one went", len(all))
		}
		view(t, db, func(tx *store.Tx) error {
			known, err := tx.KnownHosts()
			if len(known) != 200 || claimed(known) != 0 || known[0].Name != "h1" || known[0].CPUs != 8 {
				t.Errorf("%d hosts are known, the first is %+v", len(known), known[0])
			}
			return err
		})
	})
}
