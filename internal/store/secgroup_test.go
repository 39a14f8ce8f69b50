package store_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// TestSecGroups: what a VM's groups say is what its port is told, and a group
// that a VM has stays.
func TestSecGroups(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		vm := w.vm("vm")
		w.create(t, &vm)
		web := baadal.SecGroup{Name: "web", OwnerID: w.user.ID, OrganisationID: w.org.ID}
		empty := baadal.SecGroup{Name: "empty", OwnerID: w.user.ID, OrganisationID: w.org.ID}
		ssh := baadal.SecRule{Direction: "in", Protocol: "tcp", First: 22, Last: 22, Peer: "10.0.0.0/8"}
		dns := baadal.SecRule{Direction: "out", Protocol: "udp", First: 53, Last: 53}
		update(t, db, func(tx *store.Tx) error {
			for _, g := range []*baadal.SecGroup{&web, &empty} {
				if err := tx.CreateSecGroup(g); err != nil {
					return err
				}
			}
			for _, r := range []baadal.SecRule{ssh, dns, ssh} { // the same again is no other
				if err := tx.AddSecRule(web.ID, r); err != nil {
					return err
				}
			}
			return nil
		})
		wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error {
			return tx.CreateSecGroup(&baadal.SecGroup{Name: "WEB", OwnerID: w.user.ID, OrganisationID: w.org.ID})
		})
		nic := func() baadal.FlowNIC {
			var p baadal.FlowPolicy
			view(t, db, func(tx *store.Tx) (err error) { p, err = tx.FlowPolicy([]string{vm.MAC}); return err })
			return p.NICs[0]
		}
		if n := nic(); n.Firewalled || len(n.Rules) != 0 {
			t.Errorf("a VM without groups: %+v", n)
		}
		give := func(ids ...int64) {
			woken, stop := db.Subscribe(store.TopicFlow)
			defer stop()
			update(t, db, func(tx *store.Tx) error { return tx.SetVMSecGroups(vm.ID, ids) })
			waitWake(t, woken)
		}
		give(empty.ID)
		if n := nic(); !n.Firewalled || len(n.Rules) != 0 {
			t.Errorf("with a group without rules: %+v", n)
		}
		give(empty.ID, web.ID)
		if diff := cmp.Diff([]baadal.SecRule{ssh, dns}, nic().Rules); diff != "" {
			t.Error(diff)
		}
		view(t, db, func(tx *store.Tx) error {
			names, err := tx.VMSecGroups(vm.ID)
			if diff := cmp.Diff([]string{"empty", "web"}, names); diff != "" {
				t.Error(diff)
			}
			return err
		})
		wantError(t, db, baadal.Conflict, "secgroup_in_use", func(tx *store.Tx) error { return tx.DeleteSecGroup(web.ID) })
		var rules []baadal.SecRule
		view(t, db, func(tx *store.Tx) error {
			g, err := tx.SecGroupByRef("Web", anyone)
			rules = g.Rules
			if diff := cmp.Diff([]string{"vm"}, g.VMs); diff != "" {
				t.Error(diff)
			}
			return err
		})
		update(t, db, func(tx *store.Tx) error { return tx.RemoveSecRule(web.ID, rules[0].ID) })
		wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error { return tx.RemoveSecRule(empty.ID, rules[1].ID) })
		if diff := cmp.Diff([]baadal.SecRule{dns}, nic().Rules); diff != "" {
			t.Error(diff)
		}
		give()
		update(t, db, func(tx *store.Tx) error { return tx.DeleteSecGroup(web.ID) })
	})
}

// TestSecGroupsOfEveryNIC: the rules hold for all NICs of a VM, also for one that
// it gets later, or that changes its network.
func TestSecGroupsOfEveryNIC(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		vm := w.vm("vm")
		w.create(t, &vm)
		rule := baadal.SecRule{Direction: "in", Protocol: "tcp", First: 22, Last: 22}
		var added baadal.Address
		update(t, db, func(tx *store.Tx) error {
			second, err := w.addNetwork(tx, "second", 20, 2)
			if err != nil {
				return err
			}
			third, err := w.addNetwork(tx, "third", 30, 2)
			if err != nil {
				return err
			}
			g := baadal.SecGroup{Name: "web", OwnerID: w.user.ID, OrganisationID: w.org.ID}
			if err := tx.CreateSecGroup(&g); err != nil {
				return err
			}
			if err := tx.AddSecRule(g.ID, rule); err != nil {
				return err
			}
			if err := tx.SetVMSecGroups(vm.ID, []int64{g.ID}); err != nil {
				return err
			}
			if added, err = tx.ClaimNIC(second.ID, vm.ID, 1); err != nil {
				return err
			}
			_, err = tx.ChangeNIC(vm.ID, 0, third.ID)
			return err
		})
		var p baadal.FlowPolicy
		view(t, db, func(tx *store.Tx) (err error) {
			p, err = tx.FlowPolicy([]string{vm.MAC, added.MAC})
			return err
		})
		got := map[int][]baadal.SecRule{}
		for _, n := range p.NICs {
			if n.Firewalled {
				got[n.VLAN] = n.Rules
			}
		}
		if diff := cmp.Diff(map[int][]baadal.SecRule{20: {rule}, 30: {rule}}, got); diff != "" {
			t.Error(diff)
		}
	})
}

// TestSecRulesOfOneVM: a VM has no more rules than its host's switch should
// carry, however they come together.
func TestSecRulesOfOneVM(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		vm := w.vm("vm")
		w.create(t, &vm)
		const groups = 3
		var ids []int64
		update(t, db, func(tx *store.Tx) error {
			for i := range groups {
				g := baadal.SecGroup{Name: fmt.Sprintf("g%d", i), OwnerID: w.user.ID, OrganisationID: w.org.ID}
				if err := tx.CreateSecGroup(&g); err != nil {
					return err
				}
				for n := range baadal.MaxVMSecRules / 2 {
					if err := tx.AddSecRule(g.ID, baadal.SecRule{Direction: "in", Protocol: "tcp", First: 1 + n, Last: 1 + n}); err != nil {
						return err
					}
				}
				ids = append(ids, g.ID)
			}
			return nil
		})
		wantError(t, db, baadal.Invalid, "invalid", func(tx *store.Tx) error { return tx.SetVMSecGroups(vm.ID, ids) })
		update(t, db, func(tx *store.Tx) error { return tx.SetVMSecGroups(vm.ID, ids[:2]) })
		add := func(id int64) func(tx *store.Tx) error {
			return func(tx *store.Tx) error {
				if err := tx.AddSecRule(id, baadal.SecRule{Direction: "out", Protocol: "any"}); err != nil {
					return err
				}
				return tx.CheckSecRules(id)
			}
		}
		wantError(t, db, baadal.Invalid, "invalid", add(ids[0]))
		update(t, db, add(ids[2])) // which no VM has
	})
}
