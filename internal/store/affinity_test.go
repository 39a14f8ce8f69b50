package store_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

var everything = baadal.Visibility{Scope: baadal.ScopeAny}

// addHost stores a second host.
func (w *world) addHost(t *testing.T, name, address string) baadal.Host {
	t.Helper()
	h := baadal.Host{Name: name, Address: address, SSHPort: 22, State: baadal.HostUp}
	update(t, w.db, func(tx *store.Tx) error { return tx.CreateHost(&h) })
	return h
}

func (w *world) rules(t *testing.T, vm baadal.VM) (r baadal.VMRules) {
	t.Helper()
	view(t, w.db, func(tx *store.Tx) (err error) { r, err = tx.VMRules(vm.ID); return err })
	return r
}

func TestAffinityGroups(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 4)
		one, two := w.vm("web-1"), w.vm("web-2")
		w.create(t, &one)
		w.create(t, &two)
		g := baadal.Affinity{Name: "web", Rule: baadal.AffinityApart, OwnerID: w.user.ID, OrganisationID: w.org.ID}
		update(t, db, func(tx *store.Tx) error {
			if err := tx.CreateAffinity(&g); err != nil {
				return err
			}
			for _, vm := range []baadal.VM{two, one, one} { // twice is once
				if err := tx.JoinAffinity(g.ID, vm.ID); err != nil {
					return err
				}
			}
			return nil
		})
		var got baadal.Affinity
		view(t, db, func(tx *store.Tx) (err error) { got, err = tx.AffinityByRef("WEB", everything); return err })
		names := []string{}
		for _, m := range got.Members {
			names = append(names, m.VM+" of "+m.Owner+" "+m.State.String()+" on "+m.Host)
		}
		if diff := cmp.Diff([]string{"web-1 of asha running on h1", "web-2 of asha running on h1"}, names); diff != "" || got.Owner != "asha" || got.Organisation != "IITD" || got.Generation != 1 {
			t.Errorf("%+v\n%s", got, diff)
		}
		if r := w.rules(t, one); len(r.Groups) != 1 || len(r.Groups[0].Members) != 2 || r.Groups[0].Members[0].HostID != w.host.ID || len(r.Hosts) != 0 {
			t.Errorf("the rules of web-1: %+v", r)
		}

		wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error {
			return tx.CreateAffinity(&baadal.Affinity{Name: "Web", Rule: baadal.AffinityApart, OwnerID: w.user.ID, OrganisationID: w.org.ID})
		})
		wantError(t, db, baadal.Stale, "stale", func(tx *store.Tx) error { old := g; old.Generation = 7; return tx.UpdateAffinity(&old) })
		wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error {
			_, err := tx.AffinityByRef("web", baadal.Visibility{Scope: baadal.ScopeOwn, UserID: w.user.ID + 1})
			return err
		})
		update(t, db, func(tx *store.Tx) error {
			g.Rule, g.Name = baadal.AffinityTogether, "pair"
			if err := tx.UpdateAffinity(&g); err != nil {
				return err
			}
			return tx.LeaveAffinity(g.ID, two.ID)
		})
		var list baadal.List[baadal.Affinity]
		view(t, db, func(tx *store.Tx) (err error) {
			list, err = tx.Affinities(baadal.ListQuery{Filter: "rule:together vm:web-1"}, everything)
			return err
		})
		if list.Total != 1 || list.Items[0].Name != "pair" || list.Items[0].Generation != 2 || len(list.Items[0].Members) != 1 || list.Facets["rule"]["together"] != 1 {
			t.Errorf("%+v", list)
		}
		// A VM that goes leaves its groups; a group that goes leaves its VMs.
		update(t, db, func(tx *store.Tx) error { return tx.DeleteVM(one.ID) })
		view(t, db, func(tx *store.Tx) (err error) { got, err = tx.Affinity(g.ID); return err })
		if len(got.Members) != 0 {
			t.Errorf("members without VMs: %+v", got.Members)
		}
		update(t, db, func(tx *store.Tx) error { return tx.DeleteAffinity(g.ID) })
		wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error { _, err := tx.Affinity(g.ID); return err })
	})
}

func TestHostsOfAVM(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 4)
		vm := w.vm("web-1")
		w.create(t, &vm)
		spare := w.addHost(t, "h2", "10.0.0.2")
		set := func(hosts ...int64) {
			t.Helper()
			update(t, db, func(tx *store.Tx) error { return tx.SetVMHosts(vm.ID, hosts) })
		}
		bound := func(host int64) (names []string) {
			t.Helper()
			view(t, db, func(tx *store.Tx) (err error) { names, err = tx.BoundVMs(host); return err })
			return names
		}
		set(spare.ID, w.host.ID)
		if r := w.rules(t, vm); cmp.Diff([]string{"h1", "h2"}, r.HostNames()) != "" {
			t.Errorf("it may run on %v", r.HostNames())
		}
		if got := append(bound(spare.ID), bound(w.host.ID)...); len(got) != 0 {
			t.Errorf("bound to one of two hosts: %v", got)
		}
		set(spare.ID)
		if diff := cmp.Diff([]string{"web-1"}, bound(spare.ID)); diff != "" {
			t.Error(diff)
		}
		var all map[int64]baadal.VMRules
		view(t, db, func(tx *store.Tx) (err error) { all, err = tx.AllVMRules(); return err })
		if len(all) != 1 || len(all[vm.ID].Hosts) != 1 {
			t.Errorf("%+v", all)
		}
		update(t, db, func(tx *store.Tx) error { return tx.DeleteHost(spare.ID) })
		if r := w.rules(t, vm); len(r.Hosts) != 0 {
			t.Errorf("it may run on %v, of which nothing is left", r.HostNames())
		}
	})
}
