package store_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

func TestNameRecords(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 8)
		want := func(want ...string) {
			t.Helper()
			var got []string
			view(t, db, func(tx *store.Tx) error {
				records, err := tx.NameRecords()
				for _, r := range records {
					got = append(got, r.Name+" "+r.IP)
				}
				return err
			})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		}
		want()
		fit := baadal.DNSLabel("web_1")
		under, plain := w.vm("web_1"), w.vm("Web")
		w.create(t, &under)
		w.create(t, &plain)
		want(fit+".asha "+ipOf(10, 10), "web.asha "+ipOf(10, 11))

		// Another owner's VM of the same name has a name of its own.
		other := w.vm("web-2")
		other.Name = "web"
		update(t, db, func(tx *store.Tx) error {
			u := baadal.User{Username: "a.k", OrganisationID: w.org.ID, Roles: []baadal.Role{baadal.RoleUser}}
			err := tx.CreateUser(&u, "hash")
			other.OwnerID = u.ID
			return err
		})
		w.create(t, &other)
		want(fit+".asha "+ipOf(10, 10), "web.asha "+ipOf(10, 11), "web."+baadal.DNSLabel("a.k")+" "+ipOf(10, 12))

		// Who is called by itself as another was made fit, has the name.
		squatter := w.vm(fit)
		w.create(t, &squatter)
		want("web.asha "+ipOf(10, 11), "web."+baadal.DNSLabel("a.k")+" "+ipOf(10, 12), fit+".asha "+ipOf(10, 13))
		update(t, db, func(tx *store.Tx) error { return tx.ReleaseAddress(squatter.ID) })
		want(fit+".asha "+ipOf(10, 10), "web.asha "+ipOf(10, 11), "web."+baadal.DNSLabel("a.k")+" "+ipOf(10, 12))
	})
}
