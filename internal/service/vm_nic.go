package service

import (
	"context"
	"encoding/json"
	"fmt"

	"baadal"
	"baadal/internal/store"
)

// nicParams are the parameters of the tasks on a VM's NICs.
type nicParams struct {
	Index     int              `json:"index"`
	MAC       string           `json:"mac"`
	Network   string           `json:"network"`
	NetworkID int64            `json:"network_id"` // for a retry
	Before    baadal.DomainNIC `json:"before"`
	Old       string           `json:"old,omitempty"`
}

// nicActions are the actions on a NIC, by the name they have in its JSON and in
// routes.
var nicActions = []struct {
	name   string
	action baadal.Action
}{
	{"change", baadal.ActionNICChange},
	{"remove", baadal.ActionNICRemove},
}

// NICs lists a VM's NICs, the first one first.
func (s *Service) NICs(ctx context.Context, a baadal.Actor, ref string) (all []baadal.NIC, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		vm, err := tx.VMByRef(ref, a.Sees(baadal.ActionVMRead))
		if err != nil {
			return err
		}
		if all, err = tx.NICs(vm.ID); err != nil {
			return err
		}
		for i := range all {
			all[i].Actions = make(map[string]baadal.Access, len(nicActions))
			for _, n := range nicActions {
				all[i].Actions[n.name] = access(allowedNIC(a, n.action, &vm, &all[i]))
			}
		}
		return nil
	})
	return all, err
}

// allowedNIC is the one rule for an action on a NIC.
func allowedNIC(a baadal.Actor, action baadal.Action, vm *baadal.VM, n *baadal.NIC) error {
	if err := allowed(a, action, vm); err != nil {
		return err
	}
	if action == baadal.ActionNICRemove && n.Index == 0 {
		return baadal.Errorf(baadal.Conflict, "the first NIC of %s stays", vm.Name).WithCode("first_nic").
			WithNext("Put it into another network", fmt.Sprintf("baadal vm nic change %s 0 --network NETWORK", vm.Name))
	}
	return nil
}

// AddNIC claims an address for another NIC of a VM and makes the task that plugs
// it in.
func (s *Service) AddNIC(ctx context.Context, a baadal.Actor, ref string, in baadal.NICAdd, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return s.changeNIC(ctx, a, baadal.ActionNICAdd, ref, "", in.Network, opt, func(tx *store.Tx, vm *baadal.VM, _ baadal.NIC, n baadal.Network, plan *baadal.Plan) (baadal.NIC, error) {
		nic, err := tx.AddNIC(vm.ID, n.ID)
		plan.Summary = fmt.Sprintf("give %s another NIC, in network %s", vm.Name, n.Name)
		plan.Effects = []string{"what is in the guest has to bring it up and ask for its address"}
		return nic, err
	})
}

// ChangeNIC claims an address of another network for a NIC of a VM and makes the
// task that puts it there, with the MAC that it has.
func (s *Service) ChangeNIC(ctx context.Context, a baadal.Actor, ref, nic string, in baadal.NICChange, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return s.changeNIC(ctx, a, baadal.ActionNICChange, ref, nic, in.Network, opt, func(tx *store.Tx, vm *baadal.VM, old baadal.NIC, n baadal.Network, plan *baadal.Plan) (baadal.NIC, error) {
		now, err := tx.ChangeNIC(vm.ID, old.Index, n.ID)
		plan.Summary = fmt.Sprintf("put NIC %d of %s into network %s instead of %s", old.Index, vm.Name, n.Name, old.Network)
		plan.Effects = []string{fmt.Sprintf("its address is %s instead of %s; its MAC stays", now.Address, old.Address)}
		if vm.State == baadal.VMRunning || vm.State == baadal.VMPaused {
			plan.Effects = append(plan.Effects, "the guest sees its link go down and come up, and loses its connections")
		}
		return now, err
	})
}

// RemoveNIC makes the task that takes a NIC away from a VM.
func (s *Service) RemoveNIC(ctx context.Context, a baadal.Actor, ref, nic string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
	return s.changeNIC(ctx, a, baadal.ActionNICRemove, ref, nic, "", opt, func(_ *store.Tx, vm *baadal.VM, old baadal.NIC, _ baadal.Network, plan *baadal.Plan) (baadal.NIC, error) {
		plan.Summary = fmt.Sprintf("remove NIC %d, in network %s, from %s", old.Index, old.Network, vm.Name)
		plan.Effects = []string{"the address " + old.Address + " is given back"}
		return old, nil
	})
}

// changeNIC is what the changes of a VM's NICs have in common: which NIC it is,
// if there is one, and which network is asked for, if one is. claim makes the
// claims and returns the NIC as it is to be.
func (s *Service) changeNIC(
	ctx context.Context, a baadal.Actor, action baadal.Action, ref, nic, network string, opt baadal.ChangeOptions,
	claim func(*store.Tx, *baadal.VM, baadal.NIC, baadal.Network, *baadal.Plan) (baadal.NIC, error),
) (baadal.Change[baadal.VM], error) {
	kind := map[baadal.Action]baadal.TaskKind{
		baadal.ActionNICAdd: baadal.TaskNICAdd, baadal.ActionNICChange: baadal.TaskNICChange, baadal.ActionNICRemove: baadal.TaskNICRemove,
	}[action]
	return s.changeVM(ctx, a, action, ref, opt, func(tx *store.Tx, vm *baadal.VM, plan *baadal.Plan) (t baadal.Task, err error) {
		all, err := tx.NICs(vm.ID)
		if err != nil {
			return t, err
		}
		var old baadal.NIC
		p := nicParams{}
		if nic != "" {
			if old, err = baadal.FindNIC(all, nic); err != nil {
				return t, err
			}
			if err := allowedNIC(a, action, vm, &old); err != nil {
				return t, err
			}
			p.Before, p.Old = old.Domain(), old.Address+" in "+old.Network
		}
		var n baadal.Network
		if action != baadal.ActionNICRemove {
			if n, err = pickNetwork(tx, a, network); err != nil {
				return t, fieldOf(err, "network")
			}
			if err := baadal.CheckNICNetwork(all, &n); err != nil {
				return t, err
			}
		}
		now, err := claim(tx, vm, old, n, plan)
		if err != nil {
			return t, err
		}
		p.Index, p.MAC, p.Network, p.NetworkID = now.Index, now.MAC, now.Network, n.ID
		plan.Host, plan.Network = vm.Host, n.Name
		if n.ID != 0 {
			plan.Claims = []string{fmt.Sprintf("address %s (the lowest free one of %s; another may be taken meanwhile)", now.Address, n.Name)}
		}
		return newVMTask(a, kind, *vm, 1, p)
	})
}

// repeatNIC asks again for a change of a NIC that failed and was undone. The NIC
// is known by its MAC: another one may have its number by now.
func (s *Service) repeatNIC(ctx context.Context, a baadal.Actor, t baadal.Task) (baadal.Change[baadal.VM], error) {
	var p nicParams
	if err := json.Unmarshal(t.Params, &p); err != nil {
		return baadal.Change[baadal.VM]{}, fmt.Errorf("read task parameters: %w", err)
	}
	ref, nic, network, none := fmt.Sprint(t.Subject.ID), p.MAC, fmt.Sprint(p.NetworkID), baadal.ChangeOptions{}
	switch t.Kind {
	case baadal.TaskNICAdd:
		return s.AddNIC(ctx, a, ref, baadal.NICAdd{Network: network}, none)
	case baadal.TaskNICChange:
		return s.ChangeNIC(ctx, a, ref, nic, baadal.NICChange{Network: network}, none)
	}
	return s.RemoveNIC(ctx, a, ref, nic, none)
}
