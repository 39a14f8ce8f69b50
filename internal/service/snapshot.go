package service

import (
	"context"
	"encoding/json"
	"fmt"

	"baadal"
	"baadal/internal/placement"
	"baadal/internal/store"
)

// snapshotParams are the parameters of every task on a snapshot.
type snapshotParams struct {
	SnapshotID int64  `json:"snapshot_id"`
	Name       string `json:"name"`

	Description string              `json:"description,omitempty"` // for a retry
	Type        baadal.SnapshotType `json:"type,omitempty"`        // likewise

	Live    baadal.Size `json:"live,omitzero"` // what the VM claimed beside its configuration before a revert
	DiskGiB int         `json:"disk_gib,omitempty"`
}

// Snapshots lists a VM's snapshots, parents first.
func (s *Service) Snapshots(ctx context.Context, a baadal.Actor, ref string) (all []baadal.Snapshot, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		vm, err := tx.VMByRef(ref, a.Sees(baadal.ActionVMRead))
		if err != nil {
			return err
		}
		if all, err = tx.Snapshots(vm.ID); err != nil {
			return err
		}
		all = baadal.ParentsFirst(all)
		for i := range all {
			snapshotActions(a, &vm, &all[i])
		}
		return nil
	})
	return all, err
}

func snapshotActions(a baadal.Actor, vm *baadal.VM, snap *baadal.Snapshot) {
	snap.Actions = map[string]baadal.Access{
		"revert": access(revertable(a, vm, snap)),
		"delete": access(deletableSnapshot(a, vm, snap)),
	}
}

// snapshottable is the rule for making one. Memory that QEMU wrote with a vCPU
// plugged in later cannot be read back.
func snapshottable(a baadal.Actor, vm *baadal.VM) error {
	if err := allowed(a, baadal.ActionSnapshotCreate, vm); err != nil {
		return err
	}
	if vm.HotCPUs && vm.State != baadal.VMOff {
		return baadal.Errorf(baadal.Conflict, "%s got vCPUs while it ran: its memory could be written, but not read back", vm.Name).WithCode("hot_cpus").
			WithDetail("this ends with its next cold start").WithNext("Shut it down and start it again", "baadal vm shutdown "+vm.Name)
	}
	return nil
}

func revertable(a baadal.Actor, vm *baadal.VM, snap *baadal.Snapshot) error {
	return first(allowed(a, baadal.ActionSnapshotRevert, vm), ready(snap))
}

func deletableSnapshot(a baadal.Actor, vm *baadal.VM, snap *baadal.Snapshot) error {
	// One that is being made is its task's, which holds the VM; one that nobody makes any more can go.
	if err := allowed(a, baadal.ActionSnapshotDelete, vm); err != nil {
		return err
	}
	if snap.Type == baadal.SnapshotSystem && a.ScopeOf(baadal.ActionSnapshotDelete) < baadal.ScopeOrg {
		return baadal.Errorf(baadal.Forbidden, "snapshot %s is the cloud's own", snap.Name).WithCode("forbidden").WithNext("Ask an administrator", "")
	}
	return nil
}

func ready(snap *baadal.Snapshot) error {
	if !snap.Ready {
		return baadal.Errorf(baadal.Conflict, "snapshot %s is still being made", snap.Name).WithCode("snapshot_not_ready")
	}
	return nil
}

// CreateSnapshot claims a snapshot of the VM and makes the task for it.
func (s *Service) CreateSnapshot(ctx context.Context, a baadal.Actor, ref string, in baadal.SnapshotCreate, opt baadal.ChangeOptions) (baadal.Change[baadal.Snapshot], error) {
	if err := in.Validate(); err != nil {
		return baadal.Change[baadal.Snapshot]{}, err
	}
	return s.changeSnapshot(ctx, a, ref, opt, baadal.TaskSnapshotCreate, func(tx *store.Tx, vm *baadal.VM, plan *baadal.Plan) (snap baadal.Snapshot, p snapshotParams, err error) {
		if err := snapshottable(a, vm); err != nil {
			return snap, p, err
		}
		settings, err := tx.SettingValues()
		if err != nil {
			return snap, p, err
		}
		if err := roomForSnapshot(tx, vm, settings); err != nil {
			return snap, p, err
		}
		if in.Name == "" {
			in.Name = baadal.SnapshotName(baadal.SnapshotUser, tx.Now())
		}
		snap = baadal.Snapshot{
			VMID: vm.ID, Name: in.Name, Description: in.Description, Type: baadal.SnapshotUser, VMState: vm.State,
			VCPUs: vm.VCPUs, RAMMiB: vm.RAMMiB, DiskGiB: vm.DiskGiB,
		}
		plan.Summary = fmt.Sprintf("snapshot %s as %s", vm.Name, snap.Name)
		plan.Claims = []string{fmt.Sprintf("one of %d snapshots", settings.Int(baadal.SettingSnapshotLimit))}
		if vm.State == baadal.VMRunning {
			plan.Effects = []string{"the guest stands still while its memory is written"}
		}
		err = tx.ClaimSnapshot(&snap, settings.Int(baadal.SettingSnapshotLimit))
		return snap, snapshotParams{}, err
	})
}

// roomForSnapshot refuses what would fill the datastore.
func roomForSnapshot(tx *store.Tx, vm *baadal.VM, settings baadal.SettingValues) error {
	ds, err := tx.Datastore(vm.DatastoreID)
	if err != nil {
		return err
	}
	return placement.RoomForSnapshot(ds, *vm, placement.LimitsOf(settings))
}

// RevertSnapshot makes the task that brings a VM back to a snapshot. Hardware
// that the VM gets back is claimed here.
func (s *Service) RevertSnapshot(ctx context.Context, a baadal.Actor, ref, name string, opt baadal.ChangeOptions) (baadal.Change[baadal.Snapshot], error) {
	return s.changeSnapshot(ctx, a, ref, opt, baadal.TaskSnapshotRevert, func(tx *store.Tx, vm *baadal.VM, plan *baadal.Plan) (snap baadal.Snapshot, p snapshotParams, err error) {
		if snap, err = tx.SnapshotByName(vm.ID, name); err != nil {
			return snap, p, err
		}
		if err := revertable(a, vm, &snap); err != nil {
			return snap, p, err
		}
		if snap.VMState != baadal.VMOff && vm.State == baadal.VMOff { // it runs afterwards
			if err := startable(tx, a, *vm); err != nil {
				return snap, p, err
			}
		}
		p = snapshotParams{Live: baadal.Size{VCPUs: vm.LiveVCPUs, RAMMiB: vm.LiveRAMMiB}, DiskGiB: vm.DiskGiB}
		plan.Summary = fmt.Sprintf("revert %s to snapshot %s", vm.Name, snap.Name)
		plan.Effects = []string{"what was written since " + snap.CreatedAt.Format("2006-01-02 15:04 MST") + " is lost", "it is " + snap.VMState.String() + " afterwards"}
		if hw := snap.Hardware(vm); hw != "" {
			plan.Effects = append(plan.Effects, "it gets back "+hw)
		}
		return snap, p, claimHardware(tx, vm, &snap, plan)
	})
}

// claimHardware claims what the snapshot's machine has more than the VM's now.
// What it has less is given back when the revert is done.
func claimHardware(tx *store.Tx, vm *baadal.VM, snap *baadal.Snapshot, plan *baadal.Plan) error {
	now := vm.Claim()
	want := placement.Want{
		VCPUs: max(0, snap.VCPUs-now.VCPUs), RAMMiB: max(0, snap.RAMMiB-now.RAMMiB), DiskBytes: int64(max(0, snap.DiskGiB-vm.DiskGiB)) << 30,
		Host: vm.HostID, Datastore: vm.DatastoreID,
	}
	if want.VCPUs == 0 && want.RAMMiB == 0 && want.DiskBytes == 0 {
		return nil
	}
	if err := tx.Lock("placement"); err != nil {
		return err
	}
	settings, err := tx.SettingValues()
	if err != nil {
		return err
	}
	if _, err := choose(tx, creation{settings: settings, want: want}); err != nil {
		return err
	}
	plan.Claims = append(plan.Claims, snap.Hardware(vm))
	vm.LiveVCPUs, vm.LiveRAMMiB, vm.DiskGiB = max(now.VCPUs, snap.VCPUs), max(now.RAMMiB, snap.RAMMiB), max(vm.DiskGiB, snap.DiskGiB)
	return tx.UpdateVM(vm)
}

// DeleteSnapshot makes the task that removes a snapshot; those made on it stay.
func (s *Service) DeleteSnapshot(ctx context.Context, a baadal.Actor, ref, name string, opt baadal.ChangeOptions) (baadal.Change[baadal.Snapshot], error) {
	return s.changeSnapshot(ctx, a, ref, opt, baadal.TaskSnapshotDelete, func(tx *store.Tx, vm *baadal.VM, plan *baadal.Plan) (snap baadal.Snapshot, p snapshotParams, err error) {
		if snap, err = tx.SnapshotByName(vm.ID, name); err != nil {
			return snap, p, err
		}
		plan.Summary = fmt.Sprintf("delete snapshot %s of %s", snap.Name, vm.Name)
		return snap, p, deletableSnapshot(a, vm, &snap)
	})
}

// changeSnapshot is what the three acts have in common: the rule and its claims,
// the task, or the plan.
func (s *Service) changeSnapshot(ctx context.Context, a baadal.Actor, ref string, opt baadal.ChangeOptions, kind baadal.TaskKind,
	decide func(*store.Tx, *baadal.VM, *baadal.Plan) (baadal.Snapshot, snapshotParams, error),
) (c baadal.Change[baadal.Snapshot], err error) {
	var snap baadal.Snapshot
	var t baadal.Task
	var plan baadal.Plan
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if err := tx.Lock("placement"); err != nil {
			return err
		}
		vm, err := tx.VMForUpdate(ref, a.Sees(baadal.ActionVMRead))
		if err != nil {
			return err
		}
		if err := checkGeneration(opt, vm.Generation); err != nil {
			return err
		}
		plan = baadal.Plan{Host: vm.Host}
		var p snapshotParams
		if snap, p, err = decide(tx, &vm, &plan); err != nil {
			return err
		}
		p.SnapshotID, p.Name, p.Description, p.Type = snap.ID, snap.Name, snap.Description, snap.Type
		if t, err = newVMTask(a, kind, vm, 2, p); err != nil {
			return err
		}
		if err := tx.InsertTask(&t); err != nil {
			return err
		}
		plan.Steps = s.queue.StepNames(kind)
		if vm, err = tx.VM(vm.ID); err != nil {
			return err
		}
		snapshotActions(a, &vm, &snap)
		if opt.DryRun {
			return errDryRun
		}
		return nil
	})
	if isDryRun(err) {
		return baadal.Change[baadal.Snapshot]{Plan: &plan}, nil
	}
	if err != nil {
		return c, err
	}
	return baadal.Change[baadal.Snapshot]{Resource: &snap, Task: &t}, nil
}

// repeatSnapshot asks for a failed act on a snapshot again.
func (s *Service) repeatSnapshot(ctx context.Context, a baadal.Actor, t baadal.Task) (baadal.Change[baadal.Snapshot], error) {
	var p snapshotParams
	if err := json.Unmarshal(t.Params, &p); err != nil {
		return baadal.Change[baadal.Snapshot]{}, fmt.Errorf("read task parameters: %w", err)
	}
	vm := fmt.Sprint(t.Subject.ID)
	switch {
	case t.Kind == baadal.TaskSnapshotRevert:
		return s.RevertSnapshot(ctx, a, vm, p.Name, baadal.ChangeOptions{})
	case t.Kind == baadal.TaskSnapshotDelete:
		return s.DeleteSnapshot(ctx, a, vm, p.Name, baadal.ChangeOptions{})
	case p.Type != baadal.SnapshotUser:
		return baadal.Change[baadal.Snapshot]{}, baadal.Errorf(baadal.Conflict, "a %s snapshot is tried again by itself", p.Type).WithCode("task_state")
	}
	return s.CreateSnapshot(ctx, a, vm, baadal.SnapshotCreate{Name: p.Name, Description: p.Description}, baadal.ChangeOptions{})
}

// SnapshotSchedule tells which snapshots of a VM are made by themselves.
func (s *Service) SnapshotSchedule(ctx context.Context, a baadal.Actor, ref string) (out baadal.SnapshotSchedule, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		vm, err := tx.VMByRef(ref, a.Sees(baadal.ActionVMRead))
		if err != nil {
			return err
		}
		out, err = tx.SnapshotSchedule(vm.ID)
		return err
	})
	return out, err
}

// SetSnapshotSchedule changes it. What a schedule made goes when its line is
// taken out, but for the newest, which its owner may delete.
func (s *Service) SetSnapshotSchedule(ctx context.Context, a baadal.Actor, ref string, in baadal.SnapshotSchedule) (baadal.SnapshotSchedule, error) {
	err := s.db.Update(ctx, func(tx *store.Tx) error {
		vm, err := tx.VMByRef(ref, a.Sees(baadal.ActionVMRead))
		if err != nil {
			return err
		}
		if err := reach(a, baadal.ActionSnapshotSchedule, vm.OrganisationID, vm.OwnerID, vm.RequesterID); err != nil {
			return err
		}
		if vm.State == baadal.VMDeleted {
			return vm.CheckAction(baadal.ActionSnapshotCreate)
		}
		if err := tx.SetSnapshotSchedule(vm.ID, in); err != nil {
			return err
		}
		return event(tx, a, baadal.Event{
			Subject: vmSubject(vm), Version: vm.Generation, What: "snapshot schedule changed", OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID,
		}, map[string]any{"daily": in.Daily, "weekly": in.Weekly, "monthly": in.Monthly, "yearly": in.Yearly})
	})
	return in, err
}
