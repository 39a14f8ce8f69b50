package store_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

var (
	publicFirst = netip.MustParseAddr("203.0.113.16")
	publicLast  = netip.MustParseAddr("203.0.113.18")
)

// A public address is one VM's at a time; a deleted VM gets its own again as
// long as nobody else needs it.
func TestPublicAddresses(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 5)
		var ids []int64
		for _, name := range []string{"a", "b", "c", "d"} {
			vm := w.vm(name)
			w.create(t, &vm)
			ids = append(ids, vm.ID)
		}
		claim := func(vm int, want string) {
			t.Helper()
			update(t, db, func(tx *store.Tx) error {
				ip, err := tx.ClaimPublic(ids[vm])
				if ip != want {
					t.Errorf("VM %d has %q, want %q", vm, ip, want)
				}
				return err
			})
		}
		update(t, db, func(tx *store.Tx) error { _, err := tx.AddPublics(publicFirst, publicLast); return err })
		wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error { _, err := tx.AddPublics(publicLast, publicLast); return err })
		claim(0, "203.0.113.16")
		claim(0, "203.0.113.16") // it keeps it
		claim(1, "203.0.113.17")
		update(t, db, func(tx *store.Tx) error { return tx.LeaveNAT(ids[0]) })
		claim(2, "203.0.113.18") // the first is kept for another as long as there are more
		claim(3, "203.0.113.16")
		view(t, db, func(tx *store.Tx) error {
			for filter, want := range map[string]int{"": 3, "vm:D": 1, "vm:a": 0, "owner:Asha": 3, "owner:ravi": 0, "free:yes": 0, "free:no": 3, "ip:203.0.113.17": 1, "d": 1, "0.113.1": 3} {
				if list, err := tx.Publics(baadal.ListQuery{Filter: filter}); err != nil || list.Total != want || len(list.Items) != want {
					t.Errorf("%q finds %d, %v, want %d", filter, len(list.Items), err, want)
				}
			}
			return nil
		})
		update(t, db, func(tx *store.Tx) error { return tx.ReclaimPublic(ids[0]) }) // gone: it has none
		update(t, db, func(tx *store.Tx) error { return tx.LeaveNAT(ids[1]) })
		update(t, db, func(tx *store.Tx) error { return tx.ReclaimPublic(ids[1]) })
		claim(1, "203.0.113.17")
		wantError(t, db, baadal.Exhausted, "no_public_address", func(tx *store.Tx) error { _, err := tx.ClaimPublic(ids[0]); return err })
		wantError(t, db, baadal.Conflict, "public_in_use", func(tx *store.Tx) error { _, err := tx.RemovePublics(publicFirst, publicLast); return err })
		update(t, db, func(tx *store.Tx) error {
			vm, err := tx.VM(ids[1])
			if vm.Public != "203.0.113.17" {
				t.Errorf("it is shown with %q", vm.Public)
			}
			if err != nil {
				return err
			}
			for _, id := range ids {
				if err := tx.DeleteVM(id); err != nil {
					return err
				}
			}
			n, err := tx.RemovePublics(publicFirst, publicLast)
			if n != 3 {
				t.Errorf("%d were removed", n)
			}
			return err
		})
	})
}

// What the NAT box is to have follows each change, with a new revision and a
// wake-up.
func TestNATTable(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 5)
		vm := w.vm("web")
		w.create(t, &vm)
		wake, stop := db.Subscribe(store.TopicNAT)
		defer stop()
		var ip string
		table := func() (n baadal.NATTable) {
			t.Helper()
			update(t, db, func(tx *store.Tx) (err error) { n, err = tx.NATTable(); return err })
			return n
		}
		update(t, db, func(tx *store.Tx) error {
			v, err := tx.VM(vm.ID)
			if err != nil {
				return err
			}
			ip = v.Address
			if _, err := tx.AddPublics(publicFirst, publicLast); err != nil {
				return err
			}
			_, err = tx.ClaimPublic(vm.ID)
			return err
		})
		<-wake
		before := table()
		addresses := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
		if diff := cmp.Diff([]baadal.NATPublic{{Public: publicFirst, Private: netip.MustParseAddr(ip)}}, before.Publics, addresses); diff != "" || len(before.Pool) != 3 {
			t.Errorf("pool %v (-want +got)\n%s", before.Pool, diff)
		}
		f := baadal.Forward{VMID: vm.ID, Service: baadal.ForwardPort, Protocol: baadal.TCP, Port: 22, ExpiresAt: db.Now().Add(time.Hour), ByID: vm.OwnerID}
		grant := baadal.Forward{VMID: vm.ID, Service: baadal.ForwardVNC, Protocol: baadal.TCP, PublicPort: 20000, Port: 20000, Target: "10.77.0.2", ExpiresAt: db.Now().Add(time.Hour), ByID: vm.OwnerID}
		update(t, db, func(tx *store.Tx) error {
			if err := tx.AddForward(&f, 50000, 50001); err != nil {
				return err
			}
			six := baadal.Forward{VMID: vm.ID, Service: "other", Protocol: baadal.TCP, PublicPort: 20001, Port: 1, Target: "fd00::3", ExpiresAt: db.Now().Add(time.Hour), ByID: vm.OwnerID}
			if err := tx.AddForward(&six, 0, 0); err != nil { // the box would refuse the whole table for it
				return err
			}
			return tx.AddForward(&grant, 0, 0)
		})
		<-wake
		after := table()
		if after.Revision <= before.Revision || len(after.Forwards) != 2 {
			t.Fatalf("after: %+v", after)
		}
		for _, n := range after.Forwards {
			if want := map[int]string{50000: ip + ":22", 20000: "10.77.0.2:20000"}[n.PublicPort]; n.Target.String() != want || n.Masked != (n.PublicPort == 20000) {
				t.Errorf("it has %+v, want %s", n, want)
			}
		}
		update(t, db, func(tx *store.Tx) error { return tx.LeaveNAT(vm.ID) })
		if last := table(); len(last.Forwards)+len(last.Publics) != 0 {
			t.Errorf("a deleted VM has %+v", last)
		}
	})
}

// Mappings have a port each, are extended by who saw them last, and are over
// when their time is.
func TestForwards(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 5)
		vm := w.vm("web")
		w.create(t, &vm)
		add := func(port, public int, long time.Duration) func(*store.Tx) error {
			return func(tx *store.Tx) error {
				return tx.AddForward(&baadal.Forward{
					VMID: vm.ID, Service: baadal.ForwardPort, Protocol: baadal.TCP, Port: port, PublicPort: public, ExpiresAt: tx.Now().Add(long), ByID: vm.OwnerID,
				}, 50000, 50001)
			}
		}
		update(t, db, add(22, 0, time.Hour))
		wantError(t, db, baadal.Conflict, "exists", add(22, 0, time.Hour))
		wantError(t, db, baadal.Conflict, "port_taken", add(80, 50000, time.Hour))
		update(t, db, add(80, 0, time.Millisecond))
		time.Sleep(5 * time.Millisecond) // over
		update(t, db, add(443, 0, time.Hour))
		wantError(t, db, baadal.Exhausted, "no_port", add(80, 0, time.Hour))
		view(t, db, func(tx *store.Tx) error { // whoever finds it over
			list, err := tx.Events(baadal.ListQuery{Limit: 100}, baadal.Visibility{Scope: baadal.ScopeAny}, nil)
			said := 0
			for _, e := range list.Items {
				if e.What == "port mapping expired" {
					said++
				}
			}
			if said != 1 {
				t.Errorf("its end is told %d times", said)
			}
			return err
		})
		update(t, db, func(tx *store.Tx) error {
			all, err := tx.VMForwards(vm.ID, baadal.ForwardPort)
			if err != nil || len(all) != 2 {
				t.Fatalf("it has %+v, %v", all, err)
			}
			old := all[0]
			if err := tx.ExtendForward(&all[0], tx.Now().Add(3*time.Hour)); err != nil {
				return err
			}
			if err := tx.ExtendForward(&old, tx.Now().Add(time.Hour)); baadal.KindOf(err) != baadal.Stale {
				t.Errorf("extending what somebody else has extended: %v", err)
			}
			return tx.EndForward(all[1].ID)
		})
		update(t, db, func(tx *store.Tx) error {
			all, err := tx.Forwards(baadal.ForwardPort, baadal.Visibility{Scope: baadal.ScopeOwn, UserID: vm.OwnerID})
			if len(all) != 1 || all[0].ExpiresAt.Before(tx.Now().Add(2*time.Hour)) {
				t.Errorf("the owner sees %+v", all)
			}
			if others, err := tx.Forwards(baadal.ForwardPort, baadal.Visibility{Scope: baadal.ScopeOwn, UserID: vm.OwnerID + 1}); len(others) != 0 || err != nil {
				t.Errorf("others see %+v, %v", others, err)
			}
			return err
		})
	})
}

// Who asked for a VM sees its mappings, as they see the VM.
func TestForwardsOfWhoAsked(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 5)
		dean := baadal.User{Username: "dean", OrganisationID: w.org.ID}
		update(t, db, func(tx *store.Tx) error { return tx.CreateUser(&dean, "") })
		lent, other := w.vm("lent"), w.vm("other")
		lent.RequesterID = dean.ID
		w.create(t, &lent)
		w.create(t, &other)
		update(t, db, func(tx *store.Tx) error {
			for _, vm := range []baadal.VM{lent, other} {
				f := baadal.Forward{VMID: vm.ID, Service: baadal.ForwardPort, Protocol: baadal.TCP, Port: 22, ExpiresAt: tx.Now().Add(time.Hour), ByID: vm.OwnerID}
				if err := tx.AddForward(&f, 50000, 50009); err != nil {
					return err
				}
			}
			for _, x := range []struct {
				vis  baadal.Visibility
				want int
			}{
				{baadal.Visibility{Scope: baadal.ScopeOwn, UserID: dean.ID}, 1},
				{baadal.Visibility{Scope: baadal.ScopeOwn, UserID: lent.OwnerID}, 2},
				{baadal.Visibility{Scope: baadal.ScopeOrg, OrganisationID: w.org.ID, UserID: 0}, 2},
				{baadal.Visibility{Scope: baadal.ScopeOrg, OrganisationID: w.org.ID + 1, UserID: dean.ID}, 1},
				{baadal.Visibility{Scope: baadal.ScopeAny}, 2},
				{baadal.Visibility{}, 0},
			} {
				if all, err := tx.Forwards(baadal.ForwardPort, x.vis); err != nil || len(all) != x.want {
					t.Errorf("%+v sees %d mappings, %v, want %d", x.vis, len(all), err, x.want)
				}
			}
			return nil
		})
	})
}
