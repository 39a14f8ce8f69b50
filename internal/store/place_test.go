package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

func TestHosts(t *testing.T) {
	t.Parallel()
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		db, clock := openAt(t, dsn)
		w := newWorld(t, db, 3)
		began := clock.at
		vm, gone := w.vm("web"), w.vm("gone")
		gone.State = baadal.VMDeleted
		w.create(t, &vm)
		w.create(t, &gone)
		set := func(after time.Duration, state baadal.HostState, reason string, seen, wantChanged bool, wantSeen, wantSince time.Duration) {
			t.Helper()
			clock.at = began.Add(after)
			update(t, db, func(tx *store.Tx) error {
				changed, err := tx.SetHostState(w.host.ID, state, reason, seen)
				if err != nil {
					return err
				}
				h, err := tx.Host(w.host.ID)
				if changed != wantChanged || h.LastSeen == nil || !h.LastSeen.Equal(began.Add(wantSeen)) || !h.StateSince.Equal(began.Add(wantSince)) {
					t.Errorf("after %v: changed %v, seen %v, since %v", after, changed, h.LastSeen, h.StateSince)
				}
				return err
			})
		}
		const s = time.Second
		set(0, baadal.HostUp, "", true, false, 0, 0)
		set(59*s, baadal.HostUp, "", true, false, 0, 0) // not worth a write
		set(60*s, baadal.HostUp, "", true, false, 60*s, 0)
		set(62*s, baadal.HostDown, "no answer", false, true, 60*s, 62*s)
		set(63*s, baadal.HostDown, "refused", false, true, 60*s, 62*s)
		set(64*s, baadal.HostUp, "", true, true, 64*s, 64*s)

		facts := baadal.HostFacts{Hostname: "h1.lab", CPUs: 16, RAMMiB: 32768, Virt: "kvm", Checks: []baadal.Check{{Name: "sshd", OK: true}}}
		update(t, db, func(tx *store.Tx) error { return tx.SetHostFacts(w.host.ID, facts) })
		view(t, db, func(tx *store.Tx) error {
			h, err := tx.HostByRef("h1")
			if err != nil {
				return err
			}
			all, err := tx.AllHosts()
			if d := cmp.Diff([]baadal.Host{h}, all); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(facts, h.HostFacts); d != "" || h.VMs != 1 || h.ClaimedVCPUs != 1 || h.ClaimedRAMMiB != 512 {
				t.Errorf("%+v %s", h, d)
			}
			return err
		})
		wantError(t, db, baadal.Stale, "stale", func(tx *store.Tx) error { return tx.UpdateHost(&w.host) })
		twin := w.host
		wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error { return tx.CreateHost(&twin) })
		twin.Name = "h2"
		wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error { return tx.CreateHost(&twin) })
		err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.DeleteHost(w.host.ID) })
		if baadal.CodeOf(err) != "host_in_use" || !strings.Contains(err.Error(), "web") || strings.Contains(err.Error(), "gone") {
			t.Errorf("deleting a host with VMs: %v", err)
		}
		update(t, db, func(tx *store.Tx) error {
			if err := tx.DeleteVM(vm.ID); err != nil {
				return err
			}
			if err := tx.DeleteHost(w.host.ID); err != nil {
				return err
			}
			left, err := tx.VM(gone.ID)
			if left.HostID != 0 || !left.Reachable {
				t.Errorf("the deleted VM remembers host %d", left.HostID)
			}
			return err
		})
	})
}

func TestDatastoresAndTemplatesCountWhatLiesOnThem(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		vm, gone := w.vm("web"), w.vm("gone")
		vm.DiskGiB, gone.DiskGiB, gone.State = 10, 5, baadal.VMDeleted
		w.create(t, &vm)
		w.create(t, &gone)
		usage := baadal.DatastoreUsage{Mounted: true, Writable: true, Capacity: 100 << 30, Used: 1 << 30, Free: 99 << 30}
		for _, want := range []bool{true, false} {
			update(t, db, func(tx *store.Tx) error {
				changed, err := tx.SetDatastoreUsage(w.datastore.ID, baadal.DatastoreOK, "", usage, []string{"h1", "h2"})
				if changed != want {
					t.Errorf("changed %v, want %v", changed, want)
				}
				return err
			})
		}
		view(t, db, func(tx *store.Tx) error {
			d, err := tx.DatastoreByRef("ds1")
			if d.Claimed != 15<<30+1<<20 || d.VMs != 1 || d.Templates != 1 || d.Free != 99<<30 || len(d.Hosts) != 2 || d.Generation != 2 {
				t.Errorf("%+v", d)
			}
			m, err2 := tx.TemplateByRef("debian")
			if m.VMs != 2 || m.Datastore != "ds1" {
				t.Errorf("%+v", m)
			}
			if err == nil {
				err = err2
			}
			return err
		})
		wantError(t, db, baadal.Conflict, "datastore_in_use", func(tx *store.Tx) error { return tx.DeleteDatastore(w.datastore.ID) })
		wantError(t, db, baadal.Conflict, "template_in_use", func(tx *store.Tx) error { return tx.DeleteTemplate(w.template.ID) })
		wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error {
			return tx.CreateDatastore(&baadal.Datastore{Name: "ds2", Path: w.datastore.Path})
		})
		wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error { m := w.template; return tx.CreateTemplate(&m) })
		update(t, db, func(tx *store.Tx) error { return tx.DeleteVM(vm.ID) })
		wantError(t, db, baadal.Conflict, "template_in_use", func(tx *store.Tx) error { return tx.DeleteTemplate(w.template.ID) })
		update(t, db, func(tx *store.Tx) error {
			if err := tx.DeleteVM(gone.ID); err != nil {
				return err
			}
			m := w.template
			m.State, m.SHA256 = baadal.TemplateDeleted, "abc"
			if err := tx.UpdateTemplate(&m); err != nil {
				return err
			}
			if _, err := tx.TemplateByRef("debian"); baadal.KindOf(err) != baadal.NotFound {
				t.Errorf("a deleted template is found by its name: %v", err)
			}
			if all, err := tx.AllTemplates(); err != nil || len(all) != 0 {
				t.Errorf("%v %v", all, err)
			}
			return tx.DeleteDatastore(w.datastore.ID)
		})
	})
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 2)
		vm := w.vm("web")
		w.create(t, &vm)
		for i, change := range []func(n *baadal.Network){
			func(n *baadal.Network) { n.Name = "lab" }, func(n *baadal.Network) { n.VLAN = 10 }, func(n *baadal.Network) { n.CIDR = "10.10.0.0/16" },
		} {
			wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error {
				n := baadal.Network{Name: fmt.Sprintf("n%d", i), VLAN: 20 + i, CIDR: fmt.Sprintf("10.2%d.0.0/16", i)}
				change(&n)
				return tx.CreateNetwork(&n, nil)
			})
		}
		wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error {
			n := baadal.Network{Name: "inside", VLAN: 30, CIDR: "10.10.0.0/24"}
			return tx.CreateNetwork(&n, []baadal.Address{{IP: "10.10.0.11", MAC: "A2:00:00:FF:FF:FF"}})
		})
		view(t, db, func(tx *store.Tx) error {
			n, err := tx.NetworkByRef("lab")
			if n.Addresses != 2 || n.Free != 1 || n.VMs != 1 || len(n.DNS) != 1 {
				t.Errorf("%+v", n)
			}
			return err
		})
		wantError(t, db, baadal.Conflict, "network_in_use", func(tx *store.Tx) error { return tx.SetNetworkDeleting(w.network.ID, true) })
		wantError(t, db, baadal.Conflict, "network_in_use", func(tx *store.Tx) error { return tx.DeleteNetwork(w.network.ID) })
		reservations := func(want ...string) {
			t.Helper()
			view(t, db, func(tx *store.Tx) error {
				all, err := tx.Reservations()
				got := []string{}
				for _, r := range all {
					got = append(got, r.Name+" "+r.MAC+" "+r.IP)
				}
				if d := cmp.Diff(append([]string{}, want...), got); d != "" {
					t.Error(d)
				}
				return err
			})
		}
		both := []string{"ip-10-10-0-10 A2:00:00:0A:00:00 10.10.0.10", "ip-10-10-0-11 A2:00:00:0A:00:01 10.10.0.11"}
		reservations(both...)
		update(t, db, func(tx *store.Tx) error {
			if err := tx.DeleteVM(vm.ID); err != nil {
				return err
			}
			return tx.SetNetworkDeleting(w.network.ID, true)
		})
		reservations()
		wantError(t, db, baadal.Conflict, "network_deleting", func(tx *store.Tx) error { return create(tx, &vm) })
		update(t, db, func(tx *store.Tx) error { return tx.SetNetworkDeleting(w.network.ID, false) })
		reservations(both...)
		update(t, db, func(tx *store.Tx) error {
			n, err := tx.Network(w.network.ID)
			if err != nil {
				return err
			}
			n.Applied = true
			if err := tx.UpdateNetwork(&n); err != nil {
				return err
			}
			return tx.DeleteNetwork(n.ID)
		})
		wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error { return tx.DeleteNetwork(w.network.ID) })
		view(t, db, func(tx *store.Tx) error {
			left, err := tx.Addresses(w.network.ID)
			if len(left) != 0 {
				t.Errorf("left: %v", left)
			}
			return err
		})
	})
}
