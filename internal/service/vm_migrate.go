package service

import (
	"context"
	"fmt"

	"baadal"
	"baadal/internal/placement"
	"baadal/internal/store"
)

// migrateCost is what a migration weighs on the host that the VM leaves: with
// the usual setting four of them, and little else, go at once.
const migrateCost = 2

// MigrateVM finds another host for a VM, claims room for it there beside the
// room that it has, and makes the task that moves it.
func (s *Service) MigrateVM(ctx context.Context, a baadal.Actor, ref string, in baadal.VMMigrate, opt baadal.ChangeOptions) (c baadal.Change[baadal.VM], err error) {
	if err := in.Validate(); err != nil {
		return c, err
	}
	return s.changeVM(ctx, a, baadal.ActionVMMigrate, ref, opt, func(tx *store.Tx, vm *baadal.VM, plan *baadal.Plan) (baadal.Task, error) {
		if err := offlineIfOff(in, vm); err != nil {
			return baadal.Task{}, err
		}
		choice, err := destination(tx, a, in, *vm)
		if err != nil {
			return baadal.Task{}, err
		}
		if err := tx.ClaimVMTarget(vm.ID, choice.Host.ID); err != nil {
			return baadal.Task{}, err
		}
		*plan = *s.migratePlan(*vm, choice, in)
		t, err := newVMTask(a, baadal.TaskVMMigrate, *vm, migrateCost, map[string]any{
			"from": vm.HostID, "to": choice.Host.ID, "why": choice.Why, "wish": in,
			"migration": baadal.Migration{BandwidthMiBs: in.BandwidthMiBs, AutoConverge: in.AutoConverge, PostCopy: in.PostCopy},
		})
		deadline := tx.Now().Add(in.Deadline())
		t.Deadline = &deadline
		return t, err
	})
}

// offlineIfOff refuses to move a VM offline that is not off.
func offlineIfOff(in baadal.VMMigrate, vm *baadal.VM) error {
	if !in.Offline || vm.State == baadal.VMOff {
		return nil
	}
	return baadal.Errorf(baadal.Conflict, "%s is %s: it cannot be migrated offline", vm.Name, vm.State).WithCode("vm_state").
		WithNext("Migrate it as it is", "baadal vm migrate "+vm.Name).WithNext("Shut it down first", "baadal vm shutdown "+vm.Name)
}

// destination chooses where a VM goes; every host's reason is in the error.
func destination(tx *store.Tx, a baadal.Actor, in baadal.VMMigrate, vm baadal.VM) (c placement.Choice, err error) {
	want := placement.Want{VCPUs: vm.Claim().VCPUs, RAMMiB: vm.Claim().RAMMiB, From: vm.HostID, VM: vm.ID}
	if !in.IgnoreAffinity {
		if want.Rules, err = rulesFor(tx, a, vm); err != nil {
			return c, err
		}
	}
	if in.To != "" {
		h, err := tx.HostByRef(in.To)
		if err != nil {
			return c, fieldOf(err, "to")
		}
		want.Host = h.ID
	}
	hosts, err := tx.AllHosts()
	if err != nil {
		return c, err
	}
	if err := suitCPU(tx, &want, hosts, vm); err != nil {
		return c, err
	}
	stores, err := datastoresOf(tx, vm)
	if err != nil {
		return c, err
	}
	settings, err := tx.SettingValues()
	if err != nil {
		return c, err
	}
	c, err = placement.ChooseHost(hosts, stores, want, placement.LimitsOf(settings))
	e, ok := err.(*baadal.Error) //nolint:errorlint // placement returns its own error, not a chain
	switch {
	case ok && want.Host == vm.HostID:
		return c, baadal.Errorf(baadal.Conflict, "%s is on %s already", vm.Name, vm.Host).WithCode("same_host").WithField("to")
	case ok && in.To != "":
		e.Title, e.Next = fmt.Sprintf("%s cannot be migrated to %s", vm.Name, in.To), nil
		return c, offerMove(offerIgnoring(e, in, want, vm), vm).WithField("to").WithNext("Let the best host be chosen", "baadal vm migrate "+vm.Name)
	case ok:
		e.Title, e.Next = "no other host can take "+vm.Name, nil
		return c, offerMove(offerIgnoring(e, in, want, vm), vm).WithNext("See the hosts", "baadal host list")
	}
	return c, err
}

// datastoresOf are all datastores that a VM has disks on.
func datastoresOf(tx *store.Tx, vm baadal.VM) ([]baadal.Datastore, error) {
	disks, err := tx.ExtraDisks(vm.ID)
	if err != nil {
		return nil, err
	}
	ids := map[int64]bool{vm.DatastoreID: true}
	if vm.CDROMID != 0 { // what is in its drive goes with it
		t, err := tx.Template(vm.CDROMID)
		if err != nil {
			return nil, err
		}
		ids[t.DatastoreID] = true
	}
	bases := []int64{vm.BaseID}
	for _, d := range disks {
		if d.Target != "" {
			ids[d.DatastoreID], bases = true, append(bases, d.BaseID)
		}
	}
	for _, id := range bases { // a VM that moved with its snapshots left what it stands on behind
		for id != 0 {
			b, err := tx.Base(id)
			if err != nil {
				return nil, err
			}
			ids[b.DatastoreID], id = true, b.ParentID
		}
	}
	all, err := tx.AllDatastores()
	if err != nil {
		return nil, err
	}
	var has []baadal.Datastore
	for _, ds := range all {
		if ids[ds.ID] {
			has = append(has, ds)
		}
	}
	return has, nil
}

func (s *Service) migratePlan(vm baadal.VM, choice placement.Choice, in baadal.VMMigrate) *baadal.Plan {
	effect := "it keeps running; for a fraction of a second at the end it stands still"
	if vm.State == baadal.VMPaused {
		effect = "it stays paused"
	}
	if vm.State == baadal.VMOff {
		effect = "it is off: only its definition moves"
	}
	effects := []string{effect, fmt.Sprintf("after %s it is given up and the VM stays on %s", in.Deadline(), vm.Host)}
	if in.PostCopy {
		effects = append(effects, fmt.Sprintf("if its memory cannot be copied fast enough it goes on on %s before all of it is there: if a host or the network between them fails then, it loses what was in its memory and is off afterwards, as after a power failure", choice.Host.Name))
	}
	return &baadal.Plan{
		Summary: fmt.Sprintf("migrate %s from %s to %s", vm.Name, vm.Host, choice.Host.Name),
		Host:    choice.Host.Name, Why: choice.Why, Hosts: choice.Hosts,
		Claims:  []string{fmt.Sprintf("%d vCPUs and %d MiB of memory on %s; those on %s are given back at the end", vm.Claim().VCPUs, vm.Claim().RAMMiB, choice.Host.Name, vm.Host)},
		Steps:   s.queue.StepNames(baadal.TaskVMMigrate),
		Effects: effects,
	}
}
