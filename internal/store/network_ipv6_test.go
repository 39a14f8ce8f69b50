package store_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// giveIPv6 gives a network another prefix; none if it is empty.
func giveIPv6(id int64, prefix string) func(tx *store.Tx) error {
	return func(tx *store.Tx) error {
		n, err := tx.Network(id)
		if err != nil {
			return err
		}
		n.IPv6Prefix = prefix
		return tx.UpdateNetwork(&n)
	}
}

// wantIPv6 compares the addresses of a VM's two NICs wherever they are told: of
// the NICs, of the VM alone and in a list, of its ports, and with its name.
func wantIPv6(t *testing.T, db *store.DB, vm baadal.VM, first, further string, named ...string) {
	t.Helper()
	view(t, db, func(tx *store.Tx) error {
		nics, err := tx.NICs(vm.ID)
		if err != nil {
			return err
		}
		here, err := tx.NICsOnHost(vm.HostID)
		if err != nil {
			return err
		}
		one, err := tx.VM(vm.ID)
		if err != nil {
			return err
		}
		page, err := tx.VMs(baadal.ListQuery{}, anyone)
		if err != nil {
			return err
		}
		got := []string{nics[0].IPv6, nics[1].IPv6, here[vm.ID][0].IPv6, here[vm.ID][1].IPv6, one.IPv6, page.Items[0].IPv6}
		if d := cmp.Diff([]string{first, further, first, further, first, first}, got); d != "" {
			t.Error(d)
		}
		policy, err := tx.FlowPolicy([]string{nics[0].MAC, nics[1].MAC})
		if err != nil {
			return err
		}
		for i, six := range []string{first, further} {
			may := []string{nics[i].Address}
			if six != "" {
				may = append(may, six)
			}
			if d := cmp.Diff(may, policy.NICs[i].Addresses); d != "" {
				t.Error(d)
			}
		}
		records, err := tx.NameRecords()
		var ips []string
		for _, r := range records {
			ips = append(ips, r.IP)
		}
		if d := cmp.Diff(named, ips); d != "" {
			t.Error(d)
		}
		return err
	})
}

// TestIPv6: what has a NIC's IPv4 address has the one of IPv6 too, as soon as
// its network has a prefix, and in the network in which it is.
func TestIPv6(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		var second baadal.Network
		update(t, db, func(tx *store.Tx) (err error) { second, err = w.addNetwork(tx, "second", 20, 2); return err })
		vm := w.vm("vm")
		w.create(t, &vm)
		update(t, db, func(tx *store.Tx) error { _, err := tx.AddNIC(vm.ID, second.ID); return err })
		want := func(first, further string, named ...string) {
			t.Helper()
			wantIPv6(t, db, vm, first, further, named...)
		}
		want("", "", "10.10.0.10", "10.20.0.10")
		woken, stop := db.Subscribe(store.TopicFlow)
		defer stop()
		update(t, db, giveIPv6(w.network.ID, "fd00:10::/64"))
		waitWake(t, woken)
		const first, further, moved = "fd00:10::a000:ff:fe0a:0", "2001:db8:20:0:a000:ff:fe14:0", "2001:db8:20:0:a000:ff:fe0a:0"
		want(first, "", "10.10.0.10", "10.20.0.10", first)
		update(t, db, giveIPv6(second.ID, "2001:db8:20::/64"))
		want(first, further, "10.10.0.10", "10.20.0.10", further, first) // in their order

		for filter, want := range map[string]int{"address:" + first: 1, "address:FD00:10:0::a000:ff:fe0a:0": 1, "address:" + further: 1, "address:fd00:10::1": 0, "address:" + moved: 0} {
			view(t, db, func(tx *store.Tx) error {
				page, err := tx.VMs(baadal.ListQuery{Filter: filter}, anyone)
				if len(page.Items) != want {
					t.Errorf("%s finds %d VMs, want %d", filter, len(page.Items), want)
				}
				return err
			})
		}
		update(t, db, giveIPv6(second.ID, ""))
		want(first, "", "10.10.0.10", "10.20.0.10", first)
		update(t, db, giveIPv6(w.network.ID, ""))
		want("", "", "10.10.0.10", "10.20.0.10")
	})
}

// TestIPv6OfANICThatMoves: it is in one prefix at any moment.
func TestIPv6OfANICThatMoves(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		vm := w.vm("vm")
		w.create(t, &vm)
		update(t, db, giveIPv6(w.network.ID, "fd00:10::/64"))
		update(t, db, func(tx *store.Tx) error {
			second, err := w.addNetwork(tx, "second", 20, 2)
			if err == nil {
				err = giveIPv6(second.ID, "fd00:20::/64")(tx)
			}
			if err == nil {
				_, err = tx.ChangeNIC(vm.ID, 0, second.ID)
			}
			return err
		})
		var got []string
		view(t, db, func(tx *store.Tx) error {
			now, err := tx.VM(vm.ID)
			if err != nil {
				return err
			}
			records, err := tx.NameRecords()
			got = append(got, now.IPv6)
			for _, r := range records {
				got = append(got, r.IP)
			}
			return err
		})
		const moved = "fd00:20::a000:ff:fe0a:0"
		if d := cmp.Diff([]string{moved, "10.10.0.10", "10.20.0.10", moved}, got); d != "" {
			t.Error(d)
		}
	})
}

func TestIPv6PrefixesAreUnique(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		var second, third baadal.Network
		update(t, db, func(tx *store.Tx) (err error) {
			if second, err = w.addNetwork(tx, "second", 20, 2); err != nil { // both have none
				return err
			}
			third = baadal.Network{Name: "third", VLAN: 30, CIDR: "10.30.0.0/16", IPv6Prefix: "fd00:10::/64"}
			return tx.CreateNetwork(&third, nil)
		})
		wantError(t, db, baadal.Conflict, "exists", giveIPv6(w.network.ID, "fd00:10::/64"))
		wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error {
			return tx.CreateNetwork(&baadal.Network{Name: "fourth", VLAN: 40, CIDR: "10.40.0.0/16", IPv6Prefix: "fd00:10::/64"}, nil)
		})
		update(t, db, giveIPv6(second.ID, "fd00:20::/64"))
		update(t, db, giveIPv6(third.ID, ""))
		update(t, db, giveIPv6(w.network.ID, "fd00:10::/64"))
		for id, want := range map[int64]string{w.network.ID: "fd00:10::/64", second.ID: "fd00:20::/64", third.ID: ""} {
			view(t, db, func(tx *store.Tx) error {
				n, err := tx.Network(id)
				if n.IPv6Prefix != want {
					t.Errorf("%s has %q, want %q", n.Name, n.IPv6Prefix, want)
				}
				return err
			})
		}
	})
}
