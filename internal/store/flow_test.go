package store_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// TestFlowPolicy: a port may send what the NIC with its MAC has claimed; one that
// nobody has claimed is nobody's.
func TestFlowPolicy(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		var second baadal.Network
		update(t, db, func(tx *store.Tx) (err error) { second, err = w.addNetwork(tx, "second", 20, 2); return err })
		vm := w.vm("vm")
		w.create(t, &vm)
		read := func(macs ...string) (p baadal.FlowPolicy) {
			view(t, db, func(tx *store.Tx) (err error) { p, err = tx.FlowPolicy(macs); return err })
			return p
		}
		var free string
		view(t, db, func(tx *store.Tx) error {
			all, err := tx.Addresses(w.network.ID)
			free = all[2].MAC
			return err
		})
		nic := baadal.FlowNIC{VM: vm.UUID, MAC: vm.MAC, VLAN: 10, Addresses: []string{vm.Address}}
		want := baadal.FlowPolicy{Networks: []string{"ovs-net"}, VLANs: []int{10, 20}, NICs: []baadal.FlowNIC{nic}}
		if diff := cmp.Diff(want, read(vm.MAC, free, "A2:FF:FF:FF:FF:FF")); diff != "" {
			t.Error(diff)
		}
		if got := read(); len(got.NICs) != 0 || len(got.VLANs) != 2 {
			t.Errorf("of no port: %+v", got)
		}
		woken, stop := db.Subscribe(store.TopicFlow)
		defer stop()
		update(t, db, func(tx *store.Tx) error { _, err := tx.ChangeNIC(vm.ID, 0, second.ID); return err })
		waitWake(t, woken)
		nic.VLAN, nic.Addresses = 20, []string{"10.20.0.10"} // the one that it leaves is its no more
		if diff := cmp.Diff([]baadal.FlowNIC{nic}, read(vm.MAC).NICs); diff != "" {
			t.Error(diff)
		}
		update(t, db, func(tx *store.Tx) error {
			_, err := tx.SetSetting(baadal.SettingAntiSpoofing, "false", 0, "asha")
			return err
		})
		waitWake(t, woken)
		if !read().Off {
			t.Error("it is not off")
		}
		update(t, db, func(tx *store.Tx) error { _, err := w.addNetwork(tx, "third", 30, 2); return err })
		waitWake(t, woken) // its VLAN is nobody else's from now on
	})
}
