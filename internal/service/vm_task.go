package service

import "baadal"

// newVMTask is a task that the actor asks for about a VM: it is its owner's, and
// takes so much of what the VM's host can carry.
func newVMTask(a baadal.Actor, kind baadal.TaskKind, vm baadal.VM, cost int, params any) (baadal.Task, error) {
	t, err := newTask(a, kind, vmSubject(vm), params)
	t.OwnerID, t.OrganisationID, t.HostID, t.Cost = vm.OwnerID, vm.OrganisationID, vm.HostID, cost
	return t, err
}
