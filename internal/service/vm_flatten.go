package service

import (
	"context"
	"encoding/json"
	"fmt"

	"baadal"
	"baadal/internal/store"
)

// flattenTask is what the task that flattens a VM's disks is told.
type flattenTask struct {
	BytesPerSecond int64 `json:"bytes_per_second"`
}

// FlattenVM makes the task after which a VM's disks stand on no bases any more.
// Where none of them does, or snapshots need the bases, it is a Conflict.
func (s *Service) FlattenVM(ctx context.Context, a baadal.Actor, ref string, in baadal.VMFlatten, opt baadal.ChangeOptions) (c baadal.Change[baadal.VM], err error) {
	if err := in.Validate(); err != nil {
		return c, err
	}
	return s.changeVM(ctx, a, baadal.ActionVMFlatten, ref, opt, func(tx *store.Tx, vm *baadal.VM, plan *baadal.Plan) (baadal.Task, error) {
		if err := flattenable(tx, *vm); err != nil {
			return baadal.Task{}, err
		}
		settings, err := tx.SettingValues()
		if err != nil {
			return baadal.Task{}, err
		}
		mibs := in.BandwidthMiBs
		if mibs == 0 {
			mibs = settings.Int(baadal.SettingChainBandwidth)
		}
		plan.Summary, plan.Host, plan.Datastore = "flatten the disks of "+vm.Name, vm.Host, vm.Datastore
		plan.Effects = []string{
			fmt.Sprintf("what its disks have of bases is copied into them, at no more than %d MiB/s", mibs),
			"bases that nobody else stands on are removed", "its guest notices nothing",
		}
		return newVMTask(a, baadal.TaskDiskFlatten, *vm, 1, flattenTask{int64(mibs) << 20})
	})
}

// flattenable refuses what needs no flattening and what must not be flattened.
func flattenable(tx *store.Tx, vm baadal.VM) error {
	disks, err := tx.ExtraDisks(vm.ID)
	if err != nil {
		return err
	}
	stands := vm.BaseID != 0
	for _, k := range disks {
		stands = stands || k.BaseID != 0 && k.State != baadal.DiskDeleted
	}
	if !stands {
		return baadal.Errorf(baadal.Conflict, "the disks of %s stand on no base", vm.Name).WithCode("flat").
			WithDetail("it was neither cloned nor made as a clone, or it is flattened already")
	}
	snapshots, err := tx.Snapshots(vm.ID)
	if err != nil || len(snapshots) == 0 {
		return err
	}
	return baadal.Errorf(baadal.Conflict, "%s has %d snapshots", vm.Name, len(snapshots)).WithCode("has_snapshots").
		WithDetail("they stand on the bases too and could not be reverted to any more").
		WithNext("Delete them first", "baadal vm snapshot list "+vm.Name)
}

// flattenAgain asks again for what a task could not do.
func (s *Service) flattenAgain(ctx context.Context, a baadal.Actor, t baadal.Task) (c baadal.Change[baadal.VM], err error) {
	var p flattenTask
	if err := json.Unmarshal(t.Params, &p); err != nil {
		return c, fmt.Errorf("read task parameters: %w", err)
	}
	return s.FlattenVM(ctx, a, fmt.Sprint(t.Subject.ID), baadal.VMFlatten{BandwidthMiBs: int(p.BytesPerSecond >> 20)}, baadal.ChangeOptions{})
}
