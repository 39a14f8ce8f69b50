package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// names returns the names of a page of VMs.
func names(page baadal.List[baadal.VM]) []string {
	all := []string{}
	for _, vm := range page.Items {
		all = append(all, vm.Name)
	}
	return all
}

// library is a world with VMs that differ: asha's a1 to a3 on h1 in lab, ravi's
// b_1 on h2 in office, and a deleted one.
func library(t testing.TB, db *store.DB) (w *world, ravi baadal.User) {
	w = newWorld(t, db, 10)
	var host baadal.Host
	var office baadal.Network
	update(t, db, func(tx *store.Tx) error {
		other, err := tx.CreateOrganisation("Office", "")
		if err != nil {
			return err
		}
		ravi = baadal.User{Username: "ravi", OrganisationID: other.ID, Roles: []baadal.Role{baadal.RoleUser}}
		if err := tx.CreateUser(&ravi, ""); err != nil {
			return err
		}
		host = baadal.Host{Name: "h2", Address: "10.0.0.2", SSHPort: 22, State: baadal.HostUp}
		if err := tx.CreateHost(&host); err != nil {
			return err
		}
		office, err = w.addNetwork(tx, "office", 11, 5)
		return err
	})
	for i, state := range []baadal.VMState{baadal.VMRunning, baadal.VMOff, baadal.VMOff, baadal.VMDeleted} {
		vm := w.vm(fmt.Sprintf("a%d", i+1))
		vm.State, vm.RAMMiB = state, 4096-i*1024
		w.create(t, &vm)
	}
	vm := w.vm("b_1")
	vm.OwnerID, vm.RequesterID, vm.OrganisationID, vm.HostID, vm.NetworkID, vm.Identity = ravi.ID, ravi.ID, ravi.OrganisationID, host.ID, office.ID, "Office_ravi_b_1"
	w.create(t, &vm)
	return w, ravi
}

func TestListFilters(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w, ravi := library(t, db)
		for _, c := range []struct {
			filter, sort string
			want         []string
		}{
			{"", "", []string{"a1", "a2", "a3", "b_1"}},
			{"", "-name", []string{"b_1", "a3", "a2", "a1"}},
			{"", "ram_mib", []string{"b_1", "a3", "a2", "a1"}},
			{"", "-host", []string{"b_1", "a3", "a2", "a1"}},
			{"", "-owner", []string{"b_1", "a3", "a2", "a1"}},
			{"state:off", "", []string{"a2", "a3"}},
			{"state:off,running host:h1", "", []string{"a1", "a2", "a3"}},
			{"state:off state:running host:h2", "", []string{"b_1"}},
			{"state:deleted", "", []string{"a4"}},
			{"state:any", "", []string{"a1", "a2", "a3", "a4", "b_1"}},
			{"owner:ravi", "", []string{"b_1"}},
			{"org:Office", "", []string{"b_1"}},
			{"network:office", "", []string{"b_1"}},
			{"domain:lab state:running", "", []string{"a1"}},
			{"template:debian datastore:ds1 name:A2", "", []string{"a2"}},
			{"address:10.10.0.11", "", []string{"a2"}},
			{"mac:a2:00:00:0a:00:01", "", []string{"a2"}},
			{"a2:00:00:0a:00:01", "", []string{"a2"}},
			{"10.11.0.", "", []string{"b_1"}},
			{"RAVI", "", []string{"b_1"}},
			{"A2", "", []string{"a2"}},
			{"a asha", "", []string{"a1", "a2", "a3"}},
			{"b_1", "", []string{"b_1"}},
			{"a_1", "", []string{}}, // _ is not a wildcard
			{"%", "", []string{}},
			{`\`, "", []string{}},
			{"host:nowhere", "", []string{}},
		} {
			var page baadal.List[baadal.VM]
			view(t, db, func(tx *store.Tx) (err error) {
				page, err = tx.VMs(baadal.ListQuery{Filter: c.filter, Sort: c.sort}, anyone)
				return err
			})
			if d := cmp.Diff(c.want, names(page)); d != "" {
				t.Errorf("%q by %q: %s", c.filter, c.sort, d)
			}
			if page.Total != len(c.want) {
				t.Errorf("%q: total %d, want %d", c.filter, page.Total, len(c.want))
			}
		}
		for _, c := range []struct {
			vis  baadal.Visibility
			want []string
		}{
			{baadal.Visibility{Scope: baadal.ScopeOwn, UserID: ravi.ID}, []string{"b_1"}},
			{baadal.Visibility{Scope: baadal.ScopeOrg, UserID: ravi.ID, OrganisationID: w.org.ID}, []string{"a1", "a2", "a3", "b_1"}},
			{baadal.Visibility{Scope: baadal.ScopeOrg, UserID: 99, OrganisationID: w.org.ID}, []string{"a1", "a2", "a3"}},
			{baadal.Visibility{Scope: baadal.ScopeNone, UserID: ravi.ID, OrganisationID: w.org.ID}, []string{}},
		} {
			var page baadal.List[baadal.VM]
			view(t, db, func(tx *store.Tx) (err error) { page, err = tx.VMs(baadal.ListQuery{}, c.vis); return err })
			if d := cmp.Diff(c.want, names(page)); d != "" || page.Total != len(c.want) {
				t.Errorf("%+v: total %d %s", c.vis, page.Total, d)
			}
		}
	})
}

func TestListFacets(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w, _ := library(t, db)
		update(t, db, func(tx *store.Tx) error { // a VM without a host counts too
			vm, err := tx.VMByRef("a3", anyone)
			if err != nil {
				return err
			}
			vm.HostID = 0
			return tx.UpdateVM(&vm)
		})
		all := map[string]map[string]int{
			"state": {"running": 2, "off": 2}, "host": {"h1": 2, "h2": 1}, "network": {"lab": 3, "office": 1}, "template": {"debian": 4},
			"organisation": {"IITD": 3, "Office": 1},
		}
		off := map[string]map[string]int{
			"state": {"off": 2}, "host": {"h1": 1}, "network": {"lab": 2}, "template": {"debian": 2}, "organisation": {"IITD": 2},
		}
		for _, c := range []struct {
			filter string
			vis    baadal.Visibility
			want   map[string]map[string]int
			total  int
		}{
			{"", anyone, all, 4},
			{"state:off", anyone, off, 2},
			{"state:off", baadal.Visibility{Scope: baadal.ScopeOwn, UserID: w.user.ID}, off, 2},
			{"nothing", anyone, map[string]map[string]int{}, 0},
		} {
			view(t, db, func(tx *store.Tx) error {
				page, err := tx.VMs(baadal.ListQuery{Filter: c.filter, Limit: 1}, c.vis)
				if d := cmp.Diff(c.want, page.Facets); d != "" || page.Total != c.total {
					t.Errorf("%q: total %d, want %d: %s", c.filter, page.Total, c.total, d)
				}
				return err
			})
		}
	})
}

func TestListPages(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 40)
		for i := range 23 {
			vm := w.vm(fmt.Sprintf("vm%02d", i))
			vm.VCPUs, vm.State = i%3+1, baadal.VMOff
			w.create(t, &vm)
		}
		for _, sort := range []string{"id", "-id", "name", "-name", "vcpus", "-vcpus", "state", "host", "-created_at", "owner"} {
			var got []string
			q := baadal.ListQuery{Limit: 5, Sort: sort}
			for pages := 0; ; pages++ {
				var page baadal.List[baadal.VM]
				view(t, db, func(tx *store.Tx) (err error) { page, err = tx.VMs(q, anyone); return err })
				got = append(got, names(page)...)
				if page.Total < 23 {
					t.Errorf("%s: total %d", sort, page.Total)
				}
				if pages == 1 { // rows that come and go between pages move nothing
					update(t, db, func(tx *store.Tx) error {
						first, err := tx.VMByRef(got[0], anyone)
						if err != nil {
							return err
						}
						if err := tx.DeleteVM(first.ID); err != nil {
							return err
						}
						return create(tx, &first)
					})
				}
				if q.After = page.Next; q.After == "" {
					break
				}
				if pages > 10 {
					t.Fatalf("%s: the list does not end", sort)
				}
			}
			seen := slices.Compact(slices.Sorted(slices.Values(got)))
			if len(seen) != 23 {
				t.Errorf("%s: saw %d of 23 VMs: %v", sort, len(seen), got)
			}
			if len(got) > 24 { // the one that came again may be seen again
				t.Errorf("%s: saw VMs twice: %v", sort, got)
			}
		}
	})
}

func TestListRefusals(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 5)
		for _, name := range []string{"a", "b"} {
			vm := w.vm(name)
			w.create(t, &vm)
		}
		var next string
		view(t, db, func(tx *store.Tx) error {
			page, err := tx.VMs(baadal.ListQuery{Limit: 1, Sort: "name"}, anyone)
			next = page.Next
			return err
		})
		for _, c := range []struct {
			q     baadal.ListQuery
			field string
			tells string
		}{
			{baadal.ListQuery{Limit: 1001}, "limit", "1 to 1000"},
			{baadal.ListQuery{Limit: -1}, "limit", "1 to 1000"},
			{baadal.ListQuery{Sort: "colour"}, "sort", "created_at, host, id, name"},
			{baadal.ListQuery{Filter: "colour:red"}, "filter", "address, autostart, cdrom, datastore, domain"},
			{baadal.ListQuery{Filter: "state:red"}, "filter", "running, off"},
			{baadal.ListQuery{After: "red"}, "after", "next of the page before"},
			{baadal.ListQuery{After: next, Sort: "id"}, "after", "another sort"},
			{baadal.ListQuery{After: next, Sort: "-name"}, "after", "another sort"},
		} {
			err := db.View(t.Context(), func(tx *store.Tx) error { _, err := tx.VMs(c.q, anyone); return err })
			var e *baadal.Error
			if baadal.KindOf(err) != baadal.Invalid || !asError(err, &e) || e.Field != c.field || !strings.Contains(e.Title+e.Detail, c.tells) {
				t.Errorf("%+v: %v", c.q, err)
			}
		}
	})
}

// TestListsOfAllNouns reads each list with every sort, filter key and word that
// it offers: that every piece of SQL in a spec is right on both engines.
func TestListsOfAllNouns(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w, ravi := library(t, db)
		update(t, db, func(tx *store.Tx) error {
			ravi.Blocked, w.network.Applied = true, true
			h2, err := tx.HostByRef("h2")
			if err != nil {
				return err
			}
			if _, err := tx.SetHostState(h2.ID, baadal.HostDown, "", false); err != nil {
				return err
			}
			if err := errors.Join(tx.UpdateUser(&ravi), tx.UpdateNetwork(&w.network)); err != nil {
				return err
			}
			_, err = tx.AddEvent(baadal.Event{Topic: "host", Subject: baadal.Subject{Kind: "host", ID: 1, Name: "h1"}, What: "created", Actor: "asha"})
			return err
		})
		for _, c := range []struct {
			noun  string
			sorts string
			keys  string
			word  string
			list  func(tx *store.Tx, q baadal.ListQuery) (n, total int, err error)
		}{
			{"users", "id username name created_at", "username:asha org:IITD blocked:no role:faculty", "rao", func(tx *store.Tx, q baadal.ListQuery) (int, int, error) {
				l, err := tx.Users(q, anyone)
				return len(l.Items), l.Total, err
			}},
			{"hosts", "id name state address cpus ram_mib created_at", "state:up name:H1 address:10.0.0.1", "h1", func(tx *store.Tx, q baadal.ListQuery) (int, int, error) {
				l, err := tx.Hosts(q)
				return len(l.Items), l.Total, err
			}},
			{"datastores", "id name path state capacity_bytes free_bytes created_at", "state:unknown name:ds1 path:/mnt/datastore", "mnt", func(tx *store.Tx, q baadal.ListQuery) (int, int, error) {
				l, err := tx.Datastores(q)
				return len(l.Items), l.Total, err
			}},
			{"templates", "id name os state virtual_size_bytes created_at", "state:ready name:Debian datastore:ds1 format:qcow2", "DEBIAN", func(tx *store.Tx, q baadal.ListQuery) (int, int, error) {
				l, err := tx.Templates(q, baadal.Visibility{})
				return len(l.Items), l.Total, err
			}},
			{"networks", "id name vlan addresses created_at", "name:lab cidr:10.10.0.0/16 applied:yes vlan:10", "10.10", func(tx *store.Tx, q baadal.ListQuery) (int, int, error) {
				l, err := tx.Networks(q, 0)
				return len(l.Items), l.Total, err
			}},
			{"events", "id", "topic:host what:created actor:asha subject:H1 kind:host", "creat", func(tx *store.Tx, q baadal.ListQuery) (int, int, error) {
				l, err := tx.Events(q, anyone, nil)
				return len(l.Items), l.Total, err
			}},
		} {
			view(t, db, func(tx *store.Tx) error {
				for sort := range strings.FieldsSeq(c.sorts) {
					if n, total, err := c.list(tx, baadal.ListQuery{Sort: "-" + sort}); err != nil || n == 0 || total != n {
						t.Errorf("%s by %s: %d of %d rows, %v", c.noun, sort, n, total, err)
					}
				}
				for _, filter := range append(strings.Fields(c.keys), c.keys, c.word) {
					if n, total, err := c.list(tx, baadal.ListQuery{Filter: filter}); err != nil || n != 1 || total != 1 {
						t.Errorf("%s with %s: %d of %d rows, %v", c.noun, filter, n, total, err)
					}
				}
				if n, total, err := c.list(tx, baadal.ListQuery{Filter: "zzz"}); err != nil || n != 0 || total != 0 {
					t.Errorf("%s with zzz: %d of %d rows, %v", c.noun, n, total, err)
				}
				return nil
			})
		}
	})
}
