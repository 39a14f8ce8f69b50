package service

import (
	"context"
	"fmt"
	"strings"

	"baadal"
	"baadal/internal/placement"
	"baadal/internal/store"
)

// moveCost is what a move to another datastore weighs on the VM's host.
const moveCost = 2

// MoveVM claims room on another datastore, beside the room where they are, for a
// VM's disks and makes the task that moves them there.
func (s *Service) MoveVM(ctx context.Context, a baadal.Actor, ref string, in baadal.VMMove, opt baadal.ChangeOptions) (c baadal.Change[baadal.VM], err error) {
	if err := first(may(a, baadal.ActionVMMove), in.Validate()); err != nil {
		return c, err
	}
	return s.changeVM(ctx, a, baadal.ActionVMMove, ref, opt, func(tx *store.Tx, vm *baadal.VM, plan *baadal.Plan) (baadal.Task, error) {
		disks, to, err := claimMove(tx, *vm, in, plan)
		if err != nil {
			return baadal.Task{}, err
		}
		ids := make([]int64, len(disks))
		for i, k := range disks {
			ids[i] = k.ID
		}
		return newVMTask(a, baadal.TaskVMMove, *vm, moveCost, map[string]any{"from": disks[0].DatastoreID, "to": to.ID, "disks": ids, "wish": in})
	})
}

// claimMove chooses the disks that move and claims room for them.
func claimMove(tx *store.Tx, vm baadal.VM, in baadal.VMMove, plan *baadal.Plan) (disks []baadal.Disk, to baadal.Datastore, err error) {
	if to, err = tx.DatastoreByRef(in.Datastore); err != nil {
		return nil, to, fieldOf(err, "datastore")
	}
	if disks, err = movingDisks(tx, vm, in.Disk); err != nil {
		return nil, to, err
	}
	if disks[0].DatastoreID == to.ID {
		what := vm.Name
		if in.Disk != "" {
			what = disks[0].Name + " of " + vm.Name
		}
		return nil, to, baadal.Errorf(baadal.Conflict, "%s is on datastore %s already", what, to.Name).WithCode("same_datastore").WithField("datastore")
	}
	snapshots, err := tx.Snapshots(vm.ID)
	if err != nil {
		return nil, to, err
	}
	if n := len(snapshots); n > 0 && (vm.State == baadal.VMRunning || vm.State == baadal.VMPaused) {
		return nil, to, baadal.MoveNeedsOff(vm.Name, n)
	}
	gib := 0
	var names []string
	for _, k := range disks {
		gib += k.SizeGiB
		names = append(names, k.Name)
	}
	_, why, err := claimRoom(tx, &vm, placement.Want{DiskBytes: int64(gib) << 30, Datastore: to.ID})
	if err != nil {
		return nil, to, fieldOf(err, "datastore")
	}
	for _, k := range disks {
		if err := tx.ClaimMove(vm.ID, k.ID, to.ID, k.SizeGiB); err != nil {
			return nil, to, err
		}
	}
	from := disks[0].Datastore
	plan.Summary = fmt.Sprintf("migrate %s from datastore %s to %s", vm.Name, from, to.Name)
	plan.Host, plan.Datastore, plan.Why = vm.Host, to.Name, why
	plan.Claims = []string{fmt.Sprintf("%d GiB on datastore %s; those on %s are given back at the end", gib, to.Name, from)}
	plan.Effects = append([]string{"these disks move: " + strings.Join(names, ", ")}, moveEffects(vm, len(snapshots))...)
	return disks, to, nil
}

func moveEffects(vm baadal.VM, snapshots int) []string {
	switch {
	case snapshots > 0:
		return []string{"it is off: its files are copied, compared and switched over, with their snapshots and what they stand on"}
	case vm.State == baadal.VMRunning || vm.State == baadal.VMPaused:
		return []string{"it keeps running: its disks are copied while it writes to them", "a disk that stands on a template or a base becomes flat and takes more room"}
	}
	return []string{"it is off: its disks are copied, compared and switched over", "a disk that stands on a template or a base becomes flat and takes more room"}
}

// movingDisks are the disk that is named or, if none is, the first one and all
// that lie beside it. Deleted ones stay where they are.
func movingDisks(tx *store.Tx, vm baadal.VM, ref string) ([]baadal.Disk, error) {
	if ref != "" {
		k, err := tx.DiskByRef(vm, ref)
		if err != nil {
			return nil, fieldOf(err, "disk")
		}
		return []baadal.Disk{k}, k.CheckAction(baadal.ActionVMMove)
	}
	first, err := tx.FirstDisk(vm)
	if err != nil {
		return nil, err
	}
	extra, err := tx.ExtraDisks(vm.ID)
	if err != nil {
		return nil, err
	}
	disks := []baadal.Disk{first}
	for _, k := range extra {
		if k.DatastoreID == first.DatastoreID && (k.State == baadal.DiskAttached || k.State == baadal.DiskDetached) {
			disks = append(disks, k)
		}
	}
	return disks, nil
}

// offerMove adds the way out for a VM that no other host can take because of
// the datastores that its disks are on.
func offerMove(e *baadal.Error, vm baadal.VM) *baadal.Error {
	if strings.Contains(e.Detail, "is not mounted there") {
		e.WithNext("Move its disks to a datastore that is mounted there", "baadal vm move "+vm.Name+" --datastore NAME")
	}
	return e
}
