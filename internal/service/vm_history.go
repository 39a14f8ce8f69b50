package service

import (
	"context"
	"encoding/json"

	"baadal"
	"baadal/internal/store"
)

// VMHistory lists what happened to a VM, newest first: who changed what, when,
// with old and new values.
func (s *Service) VMHistory(ctx context.Context, a baadal.Actor, ref string, q baadal.ListQuery) (list baadal.List[baadal.Event], err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		vm, err := tx.VMByRef(ref, a.Sees(baadal.ActionVMRead))
		if err != nil {
			return err
		}
		subject := vmSubject(vm)
		// Who may see the VM may see all of its history, whoever owned it then.
		list, err = tx.Events(q, baadal.System().Sees(baadal.ActionEventRead), &subject)
		return err
	})
	if !seesHosts(a) {
		for i := range list.Items {
			list.Items[i].Changes = withoutHosts(list.Items[i].Changes)
		}
	}
	return list, err
}

// withoutHosts takes out of an event's changes what names hosts.
func withoutHosts(raw json.RawMessage) json.RawMessage {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return nil
	}
	for _, name := range []string{"host", "placement", "reason"} {
		delete(fields, name)
	}
	if len(fields) == 0 {
		return nil
	}
	out, err := json.Marshal(fields)
	if err != nil {
		return nil
	}
	return out
}

// VMStats returns a VM's figures now. One that does not run has none (Conflict);
// one that was not looked at yet is Unavailable.
func (s *Service) VMStats(ctx context.Context, a baadal.Actor, ref string) (stats baadal.VMStats, err error) {
	vm, err := s.seeVM(ctx, a, ref)
	if err != nil {
		return stats, err
	}
	if vm.State != baadal.VMRunning && vm.State != baadal.VMPaused {
		return stats, baadal.Errorf(baadal.Conflict, "%s is %s: it uses nothing", vm.Name, vm.State).WithCode("vm_state")
	}
	if stats, known := s.statsOf(vm); known {
		return stats, nil
	}
	return stats, baadal.Errorf(baadal.Unavailable, "%s was not looked at yet", vm.Name).WithCode("no_stats").
		WithDetail("its host is looked at every few seconds, while it answers").WithNext("Ask again in a moment", "baadal vm stats "+vm.Name)
}

// seeVM reads a VM as it is, if the actor may see it.
func (s *Service) seeVM(ctx context.Context, a baadal.Actor, ref string) (vm baadal.VM, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) { vm, err = tx.VMByRef(ref, a.Sees(baadal.ActionVMRead)); return err })
	return vm, err
}
