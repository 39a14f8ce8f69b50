package service

import (
	"context"
	"fmt"
	"strings"

	"baadal"
	"baadal/internal/placement"
	"baadal/internal/store"
)

// EditVM changes a VM. Name and purpose change at once; another size is claimed
// and made by a task, which says what holds now and what from the next start on.
func (s *Service) EditVM(ctx context.Context, a baadal.Actor, ref string, in baadal.VMEdit, opt baadal.ChangeOptions) (c baadal.Change[baadal.VM], err error) {
	if err := first(may(a, baadal.ActionVMEdit), in.Validate()); err != nil {
		return c, err
	}
	if in.Network != nil {
		return s.ChangeNIC(ctx, a, ref, "0", baadal.NICChange{Network: *in.Network}, opt)
	}
	var vm baadal.VM
	var t *baadal.Task
	var plan baadal.Plan
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if err := tx.Lock("placement"); err != nil {
			return err
		}
		if vm, err = tx.VMForUpdate(ref, a.Sees(baadal.ActionVMRead)); err != nil {
			return err
		}
		old := vm
		if err := editable(a, &vm, in, opt); err != nil {
			return err
		}
		apply(&vm, in)
		plan = baadal.Plan{Summary: "edit " + old.Name, Host: vm.Host}
		if old.Hosts, err = editHosts(tx, a, &vm, in.Hosts, &plan); err != nil {
			return err
		}
		if err := s.editPublic(tx, &vm, in.Public, &plan); err != nil {
			return err
		}
		if old.SecGroups, err = editSecGroups(tx, a, &vm, in.SecGroups, &plan); err != nil {
			return err
		}
		changes, err := edits(old, vm).JSON()
		if err != nil {
			return err
		}
		if changes == nil {
			return baadal.Errorf(baadal.Invalid, "No change in VM properties.").WithCode("no_change")
		}
		if vm.Size() != old.Size() {
			if t, err = s.resize(tx, a, old, &vm, &plan); err != nil {
				return err
			}
		}
		if err := later(tx, in, old, vm, &plan); err != nil {
			return err
		}
		if err := tx.UpdateVM(&vm); err != nil {
			return err
		}
		if t != nil {
			if err := tx.InsertTask(t); err != nil {
				return err
			}
		}
		if vm, err = tx.VM(vm.ID); err != nil {
			return err
		}
		if err := presentRules(tx, a, &vm); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		return event(tx, a, baadal.Event{
			Subject: vmSubject(vm), Version: vm.Generation, What: "edited", OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID, Changes: changes,
		}, nil)
	})
	if isDryRun(err) {
		return baadal.Change[baadal.VM]{Plan: &plan}, nil
	}
	if err != nil {
		return c, err
	}
	return baadal.Change[baadal.VM]{Resource: &vm, Task: t}, nil
}

// editable is the rule for an edit. Words may change while a task holds the VM,
// a size may not.
func editable(a baadal.Actor, vm *baadal.VM, in baadal.VMEdit, opt baadal.ChangeOptions) error {
	if err := checkGeneration(opt, vm.Generation); err != nil {
		return err
	}
	if in.VCPUs != nil || in.RAMMiB != nil || vm.State == baadal.VMDeleted {
		return allowed(a, baadal.ActionVMEdit, vm)
	}
	return reach(a, baadal.ActionVMEdit, vm.OrganisationID, vm.OwnerID, vm.RequesterID)
}

func apply(vm *baadal.VM, in baadal.VMEdit) {
	set(&vm.Name, in.Name)
	set(&vm.Purpose, in.Purpose)
	set(&vm.VCPUs, in.VCPUs)
	set(&vm.RAMMiB, in.RAMMiB)
	set(&vm.Autostart, in.Autostart)
	set(&vm.MaxRAMMiB, in.MaxRAMMiB)
	if in.Boot != nil {
		vm.Boot = in.Boot
	}
}

// later notes what an edit means for a VM's next starts.
func later(tx *store.Tx, in baadal.VMEdit, old, vm baadal.VM, plan *baadal.Plan) error {
	if baadal.JoinBoot(old.Boot) != baadal.JoinBoot(vm.Boot) {
		plan.Effects = append(plan.Effects, "it boots from "+baadal.JoinBoot(vm.Boot)+" from its next cold start on")
	}
	if old.MaxRAMMiB != vm.MaxRAMMiB {
		plan.Effects = append(plan.Effects, fmt.Sprintf("it can be given up to %d MiB while it runs, from its next cold start on", max(vm.RAMMiB, vm.MaxRAMMiB)))
	}
	if in.Autostart == nil || *in.Autostart != baadal.AutostartNever {
		return nil
	}
	return tx.ForgetDue(vm.ID) // its host may have come back just now
}

func set[T any](field *T, wish *T) {
	if wish != nil {
		*field = *wish
	}
}

func edits(old, vm baadal.VM) baadal.Changes {
	return baadal.Changes{
		"name": {Old: old.Name, New: vm.Name}, "purpose": {Old: old.Purpose, New: vm.Purpose},
		"hosts":          {Old: strings.Join(old.Hosts, ", "), New: strings.Join(vm.Hosts, ", ")},
		"secgroups":      {Old: strings.Join(old.SecGroups, ", "), New: strings.Join(vm.SecGroups, ", ")},
		"public_address": {Old: old.Public, New: vm.Public},
		"vcpus":          {Old: old.VCPUs, New: vm.VCPUs}, "ram_mib": {Old: old.RAMMiB, New: vm.RAMMiB},
		"max_ram_mib": {Old: old.MaxRAMMiB, New: vm.MaxRAMMiB},
		"boot":        {Old: baadal.JoinBoot(old.Boot), New: baadal.JoinBoot(vm.Boot)}, "autostart": {Old: old.Autostart, New: vm.Autostart},
	}
}

// resize claims what a VM is to have more, and keeps the claim of what it is to
// have less until that is in force.
func (s *Service) resize(tx *store.Tx, a baadal.Actor, old baadal.VM, vm *baadal.VM, plan *baadal.Plan) (*baadal.Task, error) {
	settings, err := tx.SettingValues()
	if err != nil {
		return nil, err
	}
	host, err := tx.Host(vm.HostID)
	if err != nil {
		return nil, err
	}
	active := vm.State == baadal.VMRunning || vm.State == baadal.VMPaused
	if vm.LiveVCPUs == 0 && vm.VCPUs != old.VCPUs && (active || vm.VCPUs < old.VCPUs) {
		vm.LiveVCPUs = old.VCPUs
	}
	if vm.LiveRAMMiB == 0 && vm.RAMMiB != old.RAMMiB && (active || vm.RAMMiB < old.RAMMiB) {
		vm.LiveRAMMiB = old.RAMMiB
	}
	was, claim := old.Claim(), vm.Claim()
	more := baadal.Size{VCPUs: claim.VCPUs - was.VCPUs, RAMMiB: claim.RAMMiB - was.RAMMiB}
	if err := placement.Grow(host, claim, more, placement.LimitsOf(settings)); err != nil {
		return nil, err
	}
	t, err := newVMTask(a, baadal.TaskVMEdit, *vm, 1, map[string]any{
		"before": old.Size(), "after": vm.Size(), "live": baadal.Size{VCPUs: old.LiveVCPUs, RAMMiB: old.LiveRAMMiB},
	})
	plan.Summary = fmt.Sprintf("edit %s: %d vCPUs and %d MiB instead of %d and %d", old.Name, vm.VCPUs, vm.RAMMiB, old.VCPUs, old.RAMMiB)
	plan.Claims = []string{fmt.Sprintf("%d vCPUs and %d MiB more on %s", max(0, more.VCPUs), max(0, more.RAMMiB), vm.Host)}
	plan.Steps, plan.Effects = s.queue.StepNames(t.Kind), append(plan.Effects, effects(old, *vm, active)...)
	return &t, err
}

// effects says what an edit means for a VM that runs.
func effects(old, vm baadal.VM, active bool) (all []string) {
	if !active {
		return []string{"it holds from its next start on"}
	}
	switch {
	case vm.VCPUs > baadal.VCPUHeadroom(max(old.VCPUs, 1)) || vm.VCPUs < old.VCPUs:
		all = append(all, "the vCPUs hold from its next cold start on")
	case vm.VCPUs > old.VCPUs:
		all = append(all, "the vCPUs are plugged in while it runs; no snapshot with memory can be taken until its next cold start")
	}
	switch {
	case vm.RAMMiB < old.RAMMiB:
		all = append(all, "the guest is asked to make do with less memory now; its host has it back at its next cold start")
	case vm.RAMMiB > old.RAMMiB && vm.RAMMiB <= old.MaxRAMMiB:
		all = append(all, "the guest is given the memory now, if it was started with the head-room for it")
	case vm.RAMMiB > old.RAMMiB:
		all = append(all, "the memory holds from its next cold start on")
	}
	return all
}
