package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// errAbandoned fails a transaction after it has claimed everything.
var errAbandoned = errors.New("abandoned")

// TestClaimsUnderConcurrency is the property of everything that is claimed:
// many at once, more than there is room for, some of which fail at the end, and
// some of which are deleted again: nothing is given out twice, nothing is
// given out that is not there, and everything comes back.
func TestClaimsUnderConcurrency(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const attempts, addresses, capacity = 200, 120, 100
		w := newWorld(t, db, addresses)
		claim := func(name string, abandon bool) error {
			return db.Update(t.Context(), func(tx *store.Tx) error {
				if err := tx.Lock("placement"); err != nil {
					return err
				}
				host, err := tx.Host(w.host.ID)
				if err != nil {
					return err
				}
				if host.ClaimedVCPUs+1 > capacity {
					return baadal.Errorf(baadal.Exhausted, "the host is full").WithCode("no_host")
				}
				vm := w.vm(name)
				if err := create(tx, &vm); err != nil {
					return err
				}
				if abandon {
					return errAbandoned
				}
				return nil
			})
		}
		outcome := parallel(attempts, func(i int) error {
			err := claim(fmt.Sprintf("vm%d", i), i%10 == 3)
			if err == nil && i%10 == 7 {
				return errors.Join(deleteByName(t.Context(), db, fmt.Sprintf("vm%d", i)), errors.New("deleted"))
			}
			return err
		})
		for err, n := range outcome {
			if err != "" && err != "deleted" && err != errAbandoned.Error() && err != "the host is full" {
				t.Errorf("%d times: %s", n, err)
			}
		}
		checkClaims(t, db, w, outcome[""], addresses)
		if outcome[""] > capacity {
			t.Errorf("%d VMs on a host for %d", outcome[""], capacity)
		}

		// Everything comes back.
		var vms []baadal.VM
		view(t, db, func(tx *store.Tx) (err error) { vms, err = tx.AllVMs(); return err })
		gone := parallel(len(vms), func(i int) error {
			return db.Update(t.Context(), func(tx *store.Tx) error { return tx.DeleteVM(vms[i].ID) })
		})
		if gone[""] != len(vms) {
			t.Errorf("deleting: %v", gone)
		}
		checkClaims(t, db, w, 0, addresses)
	})
}

// TestAddressesUnderConcurrency claims without any lock around: the last
// address too is given out, though others hold it for a moment.
func TestAddressesUnderConcurrency(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const attempts, addresses = 60, 40
		w := newWorld(t, db, addresses)
		outcome := parallel(attempts, func(i int) error {
			return db.Update(t.Context(), func(tx *store.Tx) error {
				vm := w.vm(fmt.Sprintf("vm%d", i))
				return create(tx, &vm)
			})
		})
		want := map[string]int{"": addresses, "Available MACs are exhausted for security domain 'lab'.": attempts - addresses}
		if d := cmp.Diff(want, outcome); d != "" {
			t.Error(d)
		}
		checkClaims(t, db, w, addresses, addresses)
	})
}

// parallel runs n calls at once and counts their errors; "" is none.
func parallel(n int, call func(i int) error) map[string]int {
	var mu sync.Mutex
	var group sync.WaitGroup
	outcome := map[string]int{}
	for i := range n {
		group.Go(func() {
			err := call(i)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				outcome[""]++
				return
			}
			outcome[err.Error()]++
		})
	}
	group.Wait()
	return outcome
}

func deleteByName(ctx context.Context, db *store.DB, name string) error {
	return db.Update(ctx, func(tx *store.Tx) error {
		vm, err := tx.VMByRef(name, anyone)
		if err != nil {
			return err
		}
		return tx.DeleteVM(vm.ID)
	})
}

// checkClaims compares the claims with the VMs that are there.
func checkClaims(t *testing.T, db *store.DB, w *world, vms, addresses int) {
	t.Helper()
	view(t, db, func(tx *store.Tx) error {
		all, err := tx.AllVMs()
		if err != nil {
			return err
		}
		ips, ports := map[string]bool{}, map[int]bool{}
		for _, vm := range all {
			ips[vm.Address], ports[vm.VNCPort] = true, true
		}
		delete(ips, "")
		delete(ports, 0)
		if len(all) != vms || len(ips) != vms || len(ports) != vms {
			t.Errorf("%d VMs have %d addresses and %d ports, want %d of each", len(all), len(ips), len(ports), vms)
		}
		host, err := tx.Host(w.host.ID)
		if err != nil {
			return err
		}
		if host.VMs != vms || host.ClaimedVCPUs != vms || host.ClaimedRAMMiB != 512*vms {
			t.Errorf("the host counts %d VMs, %d vCPUs, %d MiB; want %d", host.VMs, host.ClaimedVCPUs, host.ClaimedRAMMiB, vms)
		}
		network, err := tx.Network(w.network.ID)
		if err != nil {
			return err
		}
		claimed, err := tx.ClaimedAddresses()
		if network.Free != addresses-vms || network.VMs != vms || len(claimed) != vms {
			t.Errorf("the network counts %d free addresses and %d VMs, %d are claimed; want %d VMs", network.Free, network.VMs, len(claimed), vms)
		}
		if !slices.IsSortedFunc(claimed, func(a, b baadal.Address) int { return int(a.ID - b.ID) }) {
			t.Error("claimed addresses are not in order")
		}
		return err
	})
}

func TestVNCPorts(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 10)
		ids := make([]int64, 5)
		for i := range ids {
			vm := w.vm(fmt.Sprintf("vm%d", i))
			update(t, db, func(tx *store.Tx) error { return tx.CreateVM(&vm) })
			ids[i] = vm.ID
		}
		claim := func(i, want int) {
			t.Helper()
			update(t, db, func(tx *store.Tx) error {
				port, err := tx.ClaimVNCPort(ids[i], 20000, 20003)
				if port != want {
					t.Errorf("got port %d, want %d", port, want)
				}
				return err
			})
		}
		release := func(i int) {
			update(t, db, func(tx *store.Tx) error { return tx.ReleaseVNCPort(ids[i]) })
		}
		claim(0, 20000)
		claim(0, 20000) // it keeps its port
		claim(1, 20001)
		claim(2, 20002)
		release(0)
		claim(0, 20003) // not the one just given back
		claim(3, 20000)
		wantError(t, db, baadal.Exhausted, "no_vnc_port", func(tx *store.Tx) error { _, err := tx.ClaimVNCPort(ids[4], 20000, 20003); return err })
		wantError(t, db, baadal.Exhausted, "no_vnc_port", func(tx *store.Tx) error { _, err := tx.ClaimVNCPort(ids[4], 20003, 20000); return err })
		release(2)
		claim(4, 20002)
	})
}

func TestClaimAddressIP(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 5)
		first, second := w.vm("first"), w.vm("second")
		w.create(t, &first)
		w.create(t, &second)
		again := func(vm baadal.VM, ip string) func(*store.Tx) error {
			return func(tx *store.Tx) error { _, err := tx.ClaimAddressIP(w.network.ID, ip, vm.ID); return err }
		}
		update(t, db, again(first, first.Address)) // its own: idempotent
		wantError(t, db, baadal.Conflict, "address_taken", again(first, second.Address))
		wantError(t, db, baadal.Conflict, "has_address", again(first, "10.10.0.14"))
		wantError(t, db, baadal.NotFound, "not_found", again(first, "10.99.0.1"))
		update(t, db, func(tx *store.Tx) error { return tx.ReleaseAddress(second.ID) })
		update(t, db, again(second, "10.10.0.14"))
		view(t, db, func(tx *store.Tx) error {
			vm, err := tx.VM(second.ID)
			if vm.Address != "10.10.0.14" {
				t.Errorf("got address %q", vm.Address)
			}
			return err
		})
	})
}
