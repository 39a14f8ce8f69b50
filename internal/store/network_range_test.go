package store_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// rangesOf is what a network says of its addresses.
func rangesOf(t *testing.T, db *store.DB, id int64) (text string) {
	t.Helper()
	view(t, db, func(tx *store.Tx) error {
		n, err := tx.Network(id)
		var words []string
		for _, r := range n.Ranges {
			words = append(words, fmt.Sprintf("%s-%s:%d", r.First, r.Last, r.Addresses))
		}
		text = fmt.Sprintf("%s %s %s %d free %d", n.First, n.Last, strings.Join(words, " "), n.Addresses, n.Free)
		return err
	})
	return text
}

// retire takes a range of a network out of use.
func retire(id int64, first, last string) func(tx *store.Tx) error {
	return func(tx *store.Tx) error {
		n, err := tx.Network(id)
		if err != nil {
			return err
		}
		_, err = tx.RetireAddresses(&n, netip.MustParseAddr(first), netip.MustParseAddr(last))
		return err
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		vm := w.vm("web")
		w.create(t, &vm) // 10.10.0.10
		id := w.network.ID
		want := func(text string) {
			t.Helper()
			if d := cmp.Diff(text, rangesOf(t, db, id)); d != "" {
				t.Error(d)
			}
		}
		reserved := func(n int) {
			t.Helper()
			view(t, db, func(tx *store.Tx) error {
				all, err := tx.Reservations()
				if len(all) != n {
					t.Errorf("%d reservations, want %d", len(all), n)
				}
				return err
			})
		}
		retire := func(first, last string) func(tx *store.Tx) error { return retire(id, first, last) }
		settle := func(fn func(*store.Tx, int64) error) {
			t.Helper()
			for range 2 {
				update(t, db, func(tx *store.Tx) error { return fn(tx, id) })
			}
		}
		want("10.10.0.10 10.10.0.12 10.10.0.10-10.10.0.12:3 3 free 2")

		add := []baadal.Address{{IP: "10.10.1.0", MAC: "A2:00:00:FF:00:01"}, {IP: "10.10.1.1", MAC: "A2:00:00:FF:00:02"}}
		update(t, db, func(tx *store.Tx) error { return tx.AddAddresses(&w.network, add) })
		want("10.10.0.10 10.10.0.12 10.10.0.10-10.10.0.12:3 3 free 2")
		reserved(5)
		other := w.vm("other")
		wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error { // not given out before the DHCP server knows it
			_, err := tx.ClaimAddressIP(id, "10.10.1.0", vm.ID)
			return err
		})
		settle((*store.Tx).DropComing)
		reserved(3)
		update(t, db, func(tx *store.Tx) error { return tx.AddAddresses(&w.network, add) })
		settle((*store.Tx).AdmitAddresses)
		want("10.10.0.10 10.10.1.1 10.10.0.10-10.10.0.12:3 10.10.1.0-10.10.1.1:2 5 free 4")
		wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error {
			return tx.AddAddresses(&w.network, []baadal.Address{{IP: "10.10.1.1", MAC: "A2:00:00:FF:00:03"}})
		})

		wantError(t, db, baadal.Conflict, "address_in_use", retire("10.10.0.1", "10.10.0.11"))
		err := db.Update(t.Context(), retire("10.10.0.1", "10.10.0.11"))
		if !strings.Contains(baadal.Message(err), "10.10.0.10 by web") {
			t.Errorf("%v", err)
		}
		wantError(t, db, baadal.NotFound, "not_found", retire("10.10.2.1", "10.10.2.9"))
		update(t, db, retire("10.10.0.11", "10.10.1.0"))
		want("10.10.0.10 10.10.1.1 10.10.0.10-10.10.0.10:1 10.10.1.1-10.10.1.1:1 2 free 1")
		reserved(2)
		w.create(t, &other)
		view(t, db, func(tx *store.Tx) error {
			vm, err := tx.VM(other.ID)
			if vm.Address != "10.10.1.1" {
				t.Errorf("%s was given out", vm.Address)
			}
			return err
		})
		settle((*store.Tx).KeepGoing)
		want("10.10.0.10 10.10.1.1 10.10.0.10-10.10.0.12:3 10.10.1.0-10.10.1.1:2 5 free 3")
		update(t, db, retire("10.10.0.11", "10.10.1.0"))
		settle((*store.Tx).DropGoing)
		want("10.10.0.10 10.10.1.1 10.10.0.10-10.10.0.10:1 10.10.1.1-10.10.1.1:1 2 free 0")
	})
}

// TestBuiltinNetworks: without VLAN and subnet there may be several; a filled
// one that is deleted is empty again.
func TestBuiltinNetworks(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 1)
		var all [3]baadal.Network
		for i := range all {
			all[i] = baadal.Network{Name: fmt.Sprint("b", i), Builtin: fmt.Sprint("B", i), Bridge: "ovs-net", OrganisationIDs: []int64{w.org.ID}}
			update(t, db, func(tx *store.Tx) error { return tx.CreateNetwork(&all[i], nil) })
		}
		wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error {
			return tx.CreateNetwork(&baadal.Network{Name: "again", Builtin: "B0"}, nil)
		})
		read := func() baadal.Network {
			t.Helper()
			var n baadal.Network
			view(t, db, func(tx *store.Tx) (err error) { n, err = tx.NetworkByRef("b1"); return err })
			return n
		}
		empty := read()
		if empty.VLAN != 0 || empty.CIDR != "" || empty.Addresses != 0 || len(empty.Ranges) != 0 || empty.SeenBy(w.org.ID+1) || !empty.SeenBy(w.org.ID) || len(empty.Organisations) != 1 {
			t.Errorf("%+v", empty)
		}
		for org, want := range map[int64]int{0: 4, w.org.ID: 4, w.org.ID + 1: 1} {
			view(t, db, func(tx *store.Tx) error {
				l, err := tx.Networks(baadal.ListQuery{}, org)
				if len(l.Items) != want || l.Total != want {
					t.Errorf("organisation %d sees %d of %d networks, want %d", org, len(l.Items), l.Total, want)
				}
				return err
			})
		}
		n := empty
		n.VLAN, n.CIDR, n.Portgroup, n.IPv6Prefix = 77, "10.77.0.0/24", "vlan77", "fd00:77::/64"
		update(t, db, func(tx *store.Tx) error {
			return tx.FillNetwork(&n, []baadal.Address{{IP: "10.77.0.1", MAC: "A2:00:00:FF:FF:FE"}})
		})
		if got := read(); got.VLAN != 77 || got.IPv6Prefix != "fd00:77::/64" || got.Addresses != 1 || got.First != "10.77.0.1" || got.Builtin != "B1" {
			t.Errorf("%+v", got)
		}
		update(t, db, func(tx *store.Tx) error { return tx.DeleteNetwork(n.ID) })
		got := read()
		got.Generation, got.UpdatedAt = empty.Generation, empty.UpdatedAt
		if d := cmp.Diff(empty, got); d != "" {
			t.Error(d)
		}
	})
}
