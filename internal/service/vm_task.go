package service

import (
	"context"

	"baadal"
	"baadal/internal/store"
)

// newVMTask is a task that the actor asks for about a VM: it is its owner's, and
// takes so much of what the VM's host can carry.
func newVMTask(a baadal.Actor, kind baadal.TaskKind, vm baadal.VM, cost int, params any) (baadal.Task, error) {
	t, err := newTask(a, kind, vmSubject(vm), params)
	t.OwnerID, t.OrganisationID, t.HostID, t.Cost = vm.OwnerID, vm.OrganisationID, vm.HostID, cost
	return t, err
}

// changeVM makes the task for a change of a VM, in one transaction that others
// who claim places wait for. Once the VM is found and the actor may do that to it
// now, prepare claims what the change needs, completes the plan, and makes the
// task.
func (s *Service) changeVM(
	ctx context.Context, a baadal.Actor, action baadal.Action, ref string, opt baadal.ChangeOptions,
	prepare func(tx *store.Tx, vm *baadal.VM, plan *baadal.Plan) (baadal.Task, error),
) (c baadal.Change[baadal.VM], err error) {
	var vm baadal.VM
	var t baadal.Task
	var plan baadal.Plan
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		plan = baadal.Plan{}
		if err := tx.Lock("placement"); err != nil {
			return err
		}
		if vm, err = tx.VMForUpdate(ref, a.Sees(baadal.ActionVMRead)); err != nil {
			return err
		}
		if err := first(checkGeneration(opt, vm.Generation), allowed(a, action, &vm)); err != nil {
			return err
		}
		if t, err = prepare(tx, &vm, &plan); err != nil {
			return err
		}
		if err := tx.InsertTask(&t); err != nil {
			return err
		}
		plan.Steps = s.queue.StepNames(t.Kind)
		if vm, err = tx.VM(vm.ID); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		return nil
	})
	if isDryRun(err) {
		return baadal.Change[baadal.VM]{Plan: presentPlan(a, &plan)}, nil
	}
	if err != nil {
		return c, hideHosts(a, err)
	}
	present(a, &vm)
	return baadal.Change[baadal.VM]{Resource: &vm, Task: &t}, nil
}
