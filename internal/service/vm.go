package service

import (
	"context"
	"fmt"

	"baadal"
	"baadal/internal/store"
)

func vmSubject(vm baadal.VM) baadal.Subject {
	return baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name}
}

// powerActions are the actions on an existing VM, by the name they have in its
// JSON and in routes, with the kind of task that does each.
var powerActions = []struct {
	name   string
	action baadal.Action
	kind   baadal.TaskKind
	cost   int // what the task weighs on its host; 0 for one that mostly waits
}{
	{"start", baadal.ActionVMStart, baadal.TaskVMStart, 2},
	{"shutdown", baadal.ActionVMShutdown, baadal.TaskVMShutdown, 0},
	{"reboot", baadal.ActionVMReboot, baadal.TaskVMReboot, 1},
	{"destroy", baadal.ActionVMDestroy, baadal.TaskVMDestroy, 1},
	{"delete", baadal.ActionVMDelete, baadal.TaskVMDelete, 1},
	{"restore", baadal.ActionVMRestore, baadal.TaskVMRestore, 1},
	{"suspend", baadal.ActionVMSuspend, baadal.TaskVMSuspend, 1},
	{"resume", baadal.ActionVMResume, baadal.TaskVMResume, 1},
	{"reset", baadal.ActionVMReset, baadal.TaskVMReset, 1},
	{"save", baadal.ActionVMSave, baadal.TaskVMSave, 2},
}

// VMs lists the VMs that the actor may see.
func (s *Service) VMs(ctx context.Context, a baadal.Actor, q baadal.ListQuery) (list baadal.List[baadal.VM], err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) { list, err = tx.VMs(q, a.Sees(baadal.ActionVMRead)); return err })
	for i := range list.Items {
		present(a, &list.Items[i])
		s.nameVM(&list.Items[i])
	}
	if !seesHosts(a) {
		delete(list.Facets, "host")
	}
	return list, err
}

// VM returns one VM by id, UUID or name.
func (s *Service) VM(ctx context.Context, a baadal.Actor, ref string) (vm baadal.VM, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) {
		if vm, err = tx.VMByRef(ref, a.Sees(baadal.ActionVMRead)); err != nil {
			return err
		}
		return presentRules(tx, a, &vm)
	})
	s.nameVM(&vm)
	return vm, err
}

// nameVM tells the name that the name service has for a VM.
func (s *Service) nameVM(vm *baadal.VM) {
	if s.opt.Domain != "" && vm.Address != "" {
		vm.DNSName = baadal.DNSName(vm.Name, vm.Owner) + "." + s.opt.Domain
	}
}

func vmActions(a baadal.Actor, vm *baadal.VM) {
	vm.Actions = make(map[string]baadal.Access, len(powerActions))
	for _, p := range powerActions {
		vm.Actions[p.name] = access(allowed(a, p.action, vm))
	}
	vm.Actions["edit"] = access(allowed(a, baadal.ActionVMEdit, vm))
	vm.Actions["add_disk"] = access(allowed(a, baadal.ActionDiskAdd, vm))
	vm.Actions["backup"] = access(allowed(a, baadal.ActionBackupCreate, vm))
	vm.Actions["snapshot"] = access(snapshottable(a, vm))
	vm.Actions["clone"] = access(allowed(a, baadal.ActionVMClone, vm))
	vm.Actions["insert_cdrom"] = access(allowed(a, baadal.ActionCDROMInsert, vm))
	vm.Actions["eject_cdrom"] = access(allowed(a, baadal.ActionCDROMEject, vm))
	vm.Actions["add_nic"] = access(allowed(a, baadal.ActionNICAdd, vm))
	vm.Actions["change_network"] = access(allowed(a, baadal.ActionNICChange, vm))
	vm.Actions["move"] = access(allowed(a, baadal.ActionVMMove, vm))
	vm.Actions["save_template"] = access(allowed(a, baadal.ActionVMSaveTemplate, vm))
	vm.Actions["export"] = access(allowed(a, baadal.ActionVMExport, vm))
	vm.Actions["flatten"] = access(allowed(a, baadal.ActionVMFlatten, vm))
	vm.Actions["migrate"] = access(allowed(a, baadal.ActionVMMigrate, vm))
}

// allowed is the one rule for an action on a VM: for the button and for the act.
func allowed(a baadal.Actor, action baadal.Action, vm *baadal.VM) error {
	if err := reach(a, action, vm.OrganisationID, vm.OwnerID, vm.RequesterID); err != nil {
		return err
	}
	if err := vm.CheckAction(action); err != nil {
		return err
	}
	if !vm.Reachable {
		return baadal.Errorf(baadal.Unavailable, "%s is on %s, which does not answer", vm.Name, vm.Host).WithCode("host_unreachable").
			WithDetail("it is not known whether it runs; nothing is started elsewhere").
			WithNext("See what is wrong with the host", "baadal host show "+vm.Host)
	}
	return nil
}

// ActVM makes the task for a power action on a VM.
func (s *Service) ActVM(ctx context.Context, a baadal.Actor, action baadal.Action, ref string, opt baadal.ChangeOptions) (c baadal.Change[baadal.VM], err error) {
	var vm baadal.VM
	var t baadal.Task
	var plan baadal.Plan
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if action == baadal.ActionVMRestore { // it claims its place again
			if err := tx.Lock("placement"); err != nil {
				return err
			}
		}
		if vm, err = tx.VMForUpdate(ref, a.Sees(baadal.ActionVMRead)); err != nil {
			return err
		}
		if err := first(checkGeneration(opt, vm.Generation), allowed(a, action, &vm)); err != nil {
			return err
		}
		plan = baadal.Plan{Summary: fmt.Sprintf("%s on %s", action, vm.Name), Host: vm.Host}
		if action == baadal.ActionVMStart {
			if err := startable(tx, a, vm); err != nil {
				return err
			}
		}
		if action == baadal.ActionVMRestore {
			if err := s.claimAgain(tx, a, &vm, &plan); err != nil {
				return err
			}
		}
		if action != baadal.ActionVMStart { // its host may have come back just now, and this is a newer wish
			if err := tx.ForgetDue(vm.ID); err != nil {
				return err
			}
		}
		if t, err = vmTask(a, action, vm); err != nil {
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
		if action != baadal.ActionVMRestore {
			return nil
		}
		return event(tx, a, baadal.Event{Subject: vmSubject(vm), Version: vm.Generation, What: "given a place again", OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID},
			map[string]any{"host": baadal.Changed{Old: "", New: vm.Host}, "address": baadal.Changed{Old: "", New: vm.Address}})
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

func vmTask(a baadal.Actor, action baadal.Action, vm baadal.VM) (baadal.Task, error) {
	for _, p := range powerActions {
		if p.action == action {
			t, err := newVMTask(a, p.kind, vm, p.cost, struct{}{})
			if p.cost == 0 {
				t.HostID = 0
			}
			return t, err
		}
	}
	return baadal.Task{}, baadal.Errorf(baadal.Internal, "no task for action %s", action)
}

// VMPassword returns the console password to the owner, once.
func (s *Service) VMPassword(ctx context.Context, a baadal.Actor, ref string) (password string, err error) {
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		vm, err := tx.VMByRef(ref, a.Sees(baadal.ActionVMRead))
		if err != nil {
			return err
		}
		if err := reach(a, baadal.ActionVMPassword, vm.OrganisationID, vm.OwnerID); err != nil {
			return err
		}
		if vm.State == baadal.VMInQueue {
			return baadal.Errorf(baadal.Conflict, "%s is being created; its password can be seen when it is ready", vm.Name).WithCode("vm_busy")
		}
		password, err = tx.TakeSecret(vm.ID)
		if baadal.KindOf(err) == baadal.NotFound {
			return baadal.Errorf(baadal.NotFound, "the console password of %s was shown already", vm.Name).WithCode("password_taken").
				WithDetail("it is shown once and then forgotten").WithNext("Sign in with your SSH key and set another one", "baadal vm ssh "+vm.Name)
		}
		if err != nil {
			return err
		}
		return event(tx, a, baadal.Event{Subject: vmSubject(vm), Version: vm.Generation, What: "console password shown", OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID}, nil)
	})
	return password, err
}
