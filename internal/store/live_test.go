package store_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// TestTheLargerSizeIsClaimed: what a VM still runs with is claimed until it is
// off and not saved.
func TestTheLargerSizeIsClaimed(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		vm, other := w.vm("web"), w.vm("other")
		w.create(t, &vm)
		w.create(t, &other)
		claimed := func(vcpus, ram int) {
			t.Helper()
			view(t, db, func(tx *store.Tx) error {
				one, err := tx.Host(w.host.ID)
				if err != nil {
					return err
				}
				all, err := tx.AllHosts()
				if err != nil {
					return err
				}
				for _, h := range append(all, one) {
					want := [2]int{vcpus + other.VCPUs, ram + other.RAMMiB}
					if got := [2]int{h.ClaimedVCPUs, h.ClaimedRAMMiB}; h.ID == w.host.ID && got != want {
						t.Errorf("claimed are %v, want %v", got, want)
					}
				}
				return nil
			})
		}
		set := func(vcpus, ram, liveVCPUs, liveRAM int) {
			t.Helper()
			update(t, db, func(tx *store.Tx) error {
				fresh, err := tx.VM(vm.ID)
				if err != nil {
					return err
				}
				fresh.VCPUs, fresh.RAMMiB, fresh.LiveVCPUs, fresh.LiveRAMMiB, fresh.HotCPUs = vcpus, ram, liveVCPUs, liveRAM, true
				return tx.UpdateVM(&fresh)
			})
		}
		state := func(s baadal.VMState, reason string) (vm2 baadal.VM) {
			t.Helper()
			update(t, db, func(tx *store.Tx) (err error) { _, vm2, err = tx.SetVMState(vm.ID, s, reason); return err })
			return vm2
		}
		state(baadal.VMRunning, "")
		set(2, 1024, 6, 512)
		claimed(6, 1024)
		if got := state(baadal.VMPaused, ""); !got.HotCPUs || got.Claim() != (baadal.Size{VCPUs: 6, RAMMiB: 1024}) {
			t.Errorf("paused: %+v, hot %t", got.Claim(), got.HotCPUs)
		}
		state(baadal.VMOff, baadal.OffReason(true))
		claimed(6, 1024)
		got := state(baadal.VMOff, "")
		if d := cmp.Diff(baadal.Size{VCPUs: 2, RAMMiB: 1024}, got.Claim()); d != "" || got.HotCPUs {
			t.Errorf("off, hot %t: %s", got.HotCPUs, d)
		}
		claimed(2, 1024)
		set(1, 256, 0, 2048)
		claimed(1, 2048)
		state(baadal.VMDeleted, "")
		claimed(0, 0)
	})
}
