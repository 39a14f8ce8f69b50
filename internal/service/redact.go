package service

import (
	"errors"

	"baadal"
)

// Which host a VM is on is the business of those who look after VMs, of the
// organisation or of the cloud. Others do not learn hosts' names, or how full
// they are, from a VM, a plan or an error.

func seesHosts(a baadal.Actor) bool { return a.ScopeOf(baadal.ActionVMRead) >= baadal.ScopeOrg }

// present makes a VM ready for an actor: with what he may do with it, and
// without what is not for him.
func present(a baadal.Actor, vm *baadal.VM) {
	vmActions(a, vm)
	if seesHosts(a) {
		return
	}
	vm.HostID, vm.Host, vm.Placement = 0, "", ""
	if vm.State == baadal.VMMissing || vm.State == baadal.VMUnknown {
		vm.Reason = "an administrator has to look at it"
	}
	for name, act := range vm.Actions {
		if !act.Allowed && (act.Code == "host_unreachable" || act.Code == "vm_missing") {
			vm.Actions[name] = access(hideHosts(a, &baadal.Error{Kind: baadal.Unavailable, Code: act.Code, Title: act.Reason}))
		}
	}
}

// presentPlan takes the hosts out of a plan that is not for administrators.
func presentPlan(a baadal.Actor, p *baadal.Plan) *baadal.Plan {
	if p != nil && !seesHosts(a) {
		p.Host, p.Why, p.Hosts = "", "", nil
	}
	return p
}

// hideHosts gives errors that name hosts other words for other people.
func hideHosts(a baadal.Actor, err error) error {
	e, ok := errors.AsType[*baadal.Error](err)
	if !ok || seesHosts(a) {
		return err
	}
	plain := &baadal.Error{Kind: e.Kind, Code: e.Code, Field: e.Field, TaskID: e.TaskID}
	plain.Next = []baadal.Offer{{Label: "Ask an administrator"}}
	switch e.Code {
	case "no_host":
		plain.Title, plain.Detail = "No active host is available for a new vm.", "nothing was claimed; a smaller VM may fit"
	case "host_unreachable":
		plain.Title, plain.Detail = "the VM's host does not answer", "it is not known whether the VM runs; nothing is started elsewhere"
	case "affinity":
		plain.Title = "the rules for where the VM may run forbid that it starts where it is"
	case "vm_missing":
		plain.Title = "the VM is missing on its host"
	default:
		return err
	}
	return plain
}

// hideOutside is hideHosts for what a host, or what runs there, said.
func hideOutside(a baadal.Actor, err error) error {
	e, ok := errors.AsType[*baadal.Error](err)
	if !ok || seesHosts(a) || e.Code == "no_console" || e.Kind == baadal.Internal { // of an internal one nobody sees the words
		return err
	}
	if e.Kind == baadal.Unavailable {
		return hideHosts(a, &baadal.Error{Kind: e.Kind, Code: "host_unreachable"})
	}
	return &baadal.Error{Kind: e.Kind, Code: e.Code, Title: "the VM cannot be seen now", Detail: "it may have stopped or moved this moment", Next: []baadal.Offer{{Label: "See whether it runs"}}}
}
