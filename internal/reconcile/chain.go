package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"baadal"
	"baadal/internal/store"
)

// flattenAgain is how long a VM is left alone whose disks could not be
// flattened, or whose owner cancelled it.
const flattenAgain = 12 * time.Hour

// chains asks for the flattening of disks that stand on many bases: one VM of
// each host at a time, the deepest first. VMs with snapshots keep their bases,
// saved and busy ones have their turn later.
func (l *Loops) chains(ctx context.Context) {
	l.every(ctx, "chains", l.opt.Chains, nil, func(ctx context.Context) error { return l.db.Update(ctx, flattenDeep) })
}

func flattenDeep(tx *store.Tx) error {
	settings, err := tx.SettingValues()
	if err != nil {
		return err
	}
	deep, err := tx.DeepVMs(settings.Int(baadal.SettingChainLimit))
	if err != nil || len(deep) == 0 {
		return err
	}
	busy, err := flattening(tx)
	if err != nil {
		return err
	}
	failed, err := tx.FailedSince(baadal.TaskDiskFlatten, tx.Now().Add(-flattenAgain))
	if err != nil {
		return err
	}
	up, err := hostsUp(tx)
	if err != nil {
		return err
	}
	for _, d := range deep {
		if failed[d.ID] {
			continue
		}
		vm, err := tx.VM(d.ID)
		if err != nil {
			return err
		}
		if busy[vm.HostID] || !up[vm.HostID] || vm.CheckAction(baadal.ActionVMFlatten) != nil {
			continue
		}
		snapshots, err := tx.Snapshots(vm.ID)
		if err != nil {
			return err
		}
		if len(snapshots) > 0 {
			continue
		}
		t := systemTask(baadal.TaskDiskFlatten, baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name})
		t.Params = json.RawMessage(fmt.Sprintf(`{"bytes_per_second":%d}`, int64(settings.Int(baadal.SettingChainBandwidth))<<20))
		t.OwnerID, t.OrganisationID, t.HostID = vm.OwnerID, vm.OrganisationID, vm.HostID
		if err := tx.InsertTask(&t); err != nil {
			return err
		}
		busy[vm.HostID] = true
	}
	return nil
}

// flattening tells the hosts where a disk is being flattened.
func flattening(tx *store.Tx) (map[int64]bool, error) {
	tasks, err := tx.ActiveTasks()
	busy := map[int64]bool{}
	for _, t := range tasks {
		if t.Kind == baadal.TaskDiskFlatten {
			busy[t.HostID] = true
		}
	}
	return busy, err
}

func hostsUp(tx *store.Tx) (map[int64]bool, error) {
	hosts, err := tx.AllHosts()
	up := map[int64]bool{}
	for _, h := range hosts {
		up[h.ID] = h.State == baadal.HostUp
	}
	return up, err
}
