package store_test

import (
	"fmt"
	"testing"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// large fills a database with hosts and VMs, 20 on each host, in four networks.
func large(b *testing.B, db *store.DB, vms int) *world {
	b.Helper()
	w := newWorld(b, db, vms/4+1)
	networks := []baadal.Network{w.network}
	update(b, db, func(tx *store.Tx) error {
		for i := 1; i < 4; i++ {
			n, err := w.addNetwork(tx, fmt.Sprintf("lab%d", i), 10+i, vms/4+1)
			if err != nil {
				return err
			}
			networks = append(networks, n)
		}
		return nil
	})
	states := []baadal.VMState{baadal.VMRunning, baadal.VMRunning, baadal.VMRunning, baadal.VMOff, baadal.VMPaused}
	owner, host := w.user, w.host
	for first := 0; first < vms; first += 1000 {
		update(b, db, func(tx *store.Tx) error {
			for i := first; i < min(first+1000, vms); i++ {
				if i%20 == 0 {
					owner = baadal.User{Username: fmt.Sprintf("user%d", i), OrganisationID: w.org.ID, Roles: []baadal.Role{baadal.RoleUser}}
					if err := tx.CreateUser(&owner, ""); err != nil {
						return err
					}
					host = w.host
					host.Checks = []baadal.Check{
						{Name: "sshd", OK: true, Detail: "OpenSSH_9.2p1 as root"},
						{Name: "libvirtd", OK: true, Detail: "9.0.0, QEMU 7.2.0"},
						{Name: "openvswitch", OK: true, Detail: "bridge br0"},
						{Name: "clock", OK: true, Detail: fmt.Sprintf("off by %d ms", i)},
					}
					host.Name, host.Address = fmt.Sprintf("host%d", i), fmt.Sprintf("host%d", i)
					if err := tx.CreateHost(&host); err != nil {
						return err
					}
				}
				vm := w.vm(fmt.Sprintf("vm%d", i))
				vm.OwnerID, vm.RequesterID, vm.HostID, vm.NetworkID, vm.State = owner.ID, owner.ID, host.ID, networks[i%4].ID, states[i%5]
				vm.Placement, vm.Purpose = "host has the most room left: 61 % of CPU, 70 % of memory", "coursework"
				vm.SSHKeys = []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGmBdkXB0sXrWb3AQ7dZ asha@lab"}
				if err := create(tx, &vm); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return w
}

// The figures of DESIGN.md section 11: a page of 100 among 50,000 VMs in 5 ms,
// all of 20,000 in 150 ms.
func BenchmarkVMs(b *testing.B) {
	for _, engine := range []struct {
		name string
		open func(testing.TB) *store.DB
	}{{"sqlite", storetest.Open}, {"postgres", storetest.Postgres}} {
		b.Run(engine.name, func(b *testing.B) {
			b.Run("page of 100 among 50000", func(b *testing.B) { benchPages(b, engine.open(b), 50000) })
			b.Run("all of 20000", func(b *testing.B) { benchAll(b, engine.open(b), 20000) })
		})
	}
}

func benchPages(b *testing.B, db *store.DB, vms int) {
	w := large(b, db, vms)
	for _, c := range []struct {
		name string
		q    baadal.ListQuery
		vis  baadal.Visibility
	}{
		{"plain", baadal.ListQuery{}, anyone},
		{"by name", baadal.ListQuery{Sort: "name"}, anyone},
		{"newest first", baadal.ListQuery{Sort: "-created_at"}, anyone},
		{"by host", baadal.ListQuery{Sort: "host"}, anyone},
		{"off", baadal.ListQuery{Filter: "state:off"}, anyone},
		{"of a host", baadal.ListQuery{Filter: "host:host400"}, anyone},
		{"word", baadal.ListQuery{Filter: "vm4711"}, anyone},
		{"of an owner", baadal.ListQuery{}, baadal.Visibility{Scope: baadal.ScopeOwn, UserID: w.user.ID + 1}},
		{"of an organisation", baadal.ListQuery{}, baadal.Visibility{Scope: baadal.ScopeOrg, UserID: w.user.ID, OrganisationID: w.org.ID}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				view(b, db, func(tx *store.Tx) error { _, err := tx.VMs(c.q, c.vis); return err })
			}
		})
	}
	b.Run("sums of hosts", func(b *testing.B) {
		for b.Loop() {
			view(b, db, func(tx *store.Tx) error { _, err := tx.AllHosts(); return err })
		}
	})
	b.Run("choice of a host", func(b *testing.B) {
		for b.Loop() {
			view(b, db, func(tx *store.Tx) error {
				all, _, err := tx.RecentHosts()
				if err != nil {
					return err
				}
				_, err = tx.RenewHost(&all, all[len(all)/2].ID)
				return err
			})
		}
	})
	b.Run("sums of datastores", func(b *testing.B) {
		for b.Loop() {
			view(b, db, func(tx *store.Tx) error { _, err := tx.AllDatastores(); return err })
		}
	})
	b.Run("create", func(b *testing.B) {
		i := 0
		for b.Loop() {
			i++
			update(b, db, func(tx *store.Tx) error {
				vm := w.vm(fmt.Sprintf("more%d", i))
				vm.HostID = w.host.ID
				if err := tx.CreateVM(&vm); err != nil {
					return err
				}
				_, err := tx.ClaimVNCPort(vm.ID, 1024, 65535)
				return err
			})
		}
	})
}

func benchAll(b *testing.B, db *store.DB, vms int) {
	large(b, db, vms)
	b.Run("at once", func(b *testing.B) {
		for b.Loop() {
			view(b, db, func(tx *store.Tx) error { _, err := tx.AllVMs(); return err })
		}
	})
	b.Run("in pages of 1000", func(b *testing.B) {
		for b.Loop() {
			n := 0
			for q := (baadal.ListQuery{Limit: 1000}); ; {
				var page baadal.List[baadal.VM]
				view(b, db, func(tx *store.Tx) (err error) { page, err = tx.VMs(q, anyone); return err })
				n += len(page.Items)
				if q.After = page.Next; q.After == "" {
					break
				}
			}
			if n != vms {
				b.Fatalf("read %d of %d", n, vms)
			}
		}
	})
}

// BenchmarkTransactions measures what every request and every step of a task
// pays: one VM read with its names, and one small change stored.
func BenchmarkTransactions(b *testing.B) {
	for _, engine := range []struct {
		name string
		open func(testing.TB) *store.DB
	}{{"sqlite", storetest.Open}, {"postgres", storetest.Postgres}} {
		b.Run(engine.name, func(b *testing.B) {
			w := newWorld(b, engine.open(b), 20000)
			vm := w.vm("web")
			w.create(b, &vm)
			b.Run("read a vm", func(b *testing.B) {
				for b.Loop() {
					view(b, w.db, func(tx *store.Tx) error { _, err := tx.VM(vm.ID); return err })
				}
			})
			b.Run("change a vm", func(b *testing.B) {
				for i := 0; b.Loop(); i++ {
					update(b, w.db, func(tx *store.Tx) error {
						_, _, err := tx.SetVMState(vm.ID, baadal.VMState(2+i%3), "")
						return err
					})
				}
			})
			b.Run("network of 20000", func(b *testing.B) {
				for i := 11; b.Loop(); i++ {
					update(b, w.db, func(tx *store.Tx) error {
						n, err := w.addNetwork(tx, "big", i, 20000)
						if err != nil {
							return err
						}
						return tx.DeleteNetwork(n.ID)
					})
				}
			})
		})
	}
}
