package service

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"baadal"
	"baadal/internal/placement"
	"baadal/internal/store"
)

// cloneTask is what the task that clones a VM is told.
type cloneTask struct {
	Base   int64          `json:"base"`
	Disks  []cloneDisk    `json:"disks,omitempty"`
	Clones []int64        `json:"clones"`
	Names  []string       `json:"names"`
	Wish   baadal.VMClone `json:"wish"`
}

// CloneVM makes the rows of all clones with their claims, each on the host that
// placement chooses for it, and the task that makes them: one transaction. The
// change's resource is the VM that is cloned.
func (s *Service) CloneVM(ctx context.Context, a baadal.Actor, ref string, in baadal.VMClone, opt baadal.ChangeOptions) (c baadal.Change[baadal.VM], err error) {
	return s.cloneVM(ctx, a, ref, cloneTask{Wish: in}, opt)
}

// cloneVM clones under the given names, or under the next free ones if there
// are none, and on the given base if that is still there.
func (s *Service) cloneVM(ctx context.Context, a baadal.Actor, ref string, ct cloneTask, opt baadal.ChangeOptions) (c baadal.Change[baadal.VM], err error) {
	if err := may(a, baadal.ActionVMClone); err != nil {
		return c, err
	}
	var parent baadal.VM
	var t baadal.Task
	var plan baadal.Plan
	wish := ct
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		ct = wish
		ct.Names = slices.Clone(wish.Names)
		if err := tx.Lock("placement"); err != nil {
			return err
		}
		if parent, err = tx.VMForUpdate(ref, a.Sees(baadal.ActionVMRead)); err != nil {
			return err
		}
		if err := first(checkGeneration(opt, parent.Generation), allowed(a, baadal.ActionVMClone, &parent), ct.Wish.Validate(parent.Name)); err != nil {
			return err
		}
		if err := nameClones(tx, parent, &ct); err != nil {
			return err
		}
		if err := claimBases(tx, parent, &ct); err != nil {
			return err
		}
		if plan, err = claimClones(tx, a, parent, &ct); err != nil {
			return err
		}
		plan.Steps = s.queue.StepNames(baadal.TaskVMClone)
		if t, err = newVMTask(a, baadal.TaskVMClone, parent, 2, ct); err != nil {
			return err
		}
		if err := tx.InsertTask(&t); err != nil {
			return err
		}
		if parent, err = tx.VM(parent.ID); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		return event(tx, a, baadal.Event{Subject: vmSubject(parent), Version: parent.Generation, What: "being cloned", OwnerID: parent.OwnerID, OrganisationID: parent.OrganisationID},
			map[string]any{"clones": ct.Names})
	})
	if isDryRun(err) {
		return baadal.Change[baadal.VM]{Plan: presentPlan(a, &plan)}, nil
	}
	if err != nil {
		return c, hideHosts(a, err)
	}
	present(a, &parent)
	return baadal.Change[baadal.VM]{Resource: &parent, Task: &t}, nil
}

// nameClones gives the clones the next free numbers. Names that are given are a
// retry's.
func nameClones(tx *store.Tx, parent baadal.VM, ct *cloneTask) error {
	if len(ct.Names) > 0 {
		return nil
	}
	taken, err := tx.VMNames(parent.OwnerID)
	if err != nil {
		return err
	}
	for k := 1; len(ct.Names) < ct.Wish.Count; k++ {
		name := fmt.Sprintf("%s%d", ct.Wish.Name, k)
		if taken[strings.ToLower(name)] {
			continue
		}
		if err := baadal.CheckName("name", name); err != nil {
			return err
		}
		ct.Names = append(ct.Names, name)
	}
	return nil
}

// claimClones places every clone and makes its row with all that it owns.
func claimClones(tx *store.Tx, a baadal.Actor, parent baadal.VM, ct *cloneTask) (plan baadal.Plan, err error) {
	cr := creation{want: placement.Want{
		VCPUs: parent.VCPUs, RAMMiB: parent.RAMMiB, DiskBytes: int64(parent.DiskGiB) << 30, Datastore: parent.DatastoreID,
	}}
	if cr.settings, err = tx.SettingValues(); err != nil {
		return plan, err
	}
	if cr.owner, err = tx.User(parent.OwnerID); err != nil {
		return plan, err
	}
	if cr.owner.Blocked {
		return plan, baadal.Errorf(baadal.Conflict, "%s is blocked", cr.owner.Username)
	}
	if cr.want.Rules, err = cloneRules(tx, a, parent, cr.owner, ct.Wish); err != nil {
		return plan, err
	}
	if cr.secGroups, err = tx.VMSecGroupIDs(parent.ID); err != nil { // a copy of a VM is no way round its firewall
		return plan, err
	}
	cr.template.ID = parent.TemplateID
	if cr.network, cr.networks, err = networksOf(tx, a, parent); err != nil {
		return plan, err
	}
	room, err := readRoom(tx)
	if err != nil {
		return plan, err
	}
	disks, err := ct.disksOf(tx, parent)
	if err != nil {
		return plan, err
	}
	fit, err := room.fitDisks(cr, parent, disks, len(ct.Names))
	if err != nil {
		return plan, err
	}
	where := map[string]int{}
	for _, name := range ct.Names {
		choice, err := room.choose(fit)
		if err != nil {
			return plan, err
		}
		vm, err := claim(tx, a, baadal.VMCreate{
			Name: name, VCPUs: parent.VCPUs, RAMMiB: parent.RAMMiB, Purpose: parent.Purpose, SSHKeys: parent.SSHKeys,
		}, cr, choice)
		if err != nil {
			return plan, err
		}
		if err := tx.SetVMDisk(vm.ID, "", ct.Base); err != nil {
			return plan, err
		}
		placement.Join(cr.want.Rules, baadal.AffinityMember{VMID: vm.ID, VM: vm.Name, HostID: choice.Host.ID, Host: choice.Host.Name, State: vm.State})
		if err := claimDisks(tx, vm, parent, disks, ct); err != nil {
			return plan, err
		}
		ct.Clones = append(ct.Clones, vm.ID)
		where[choice.Host.Name]++
		plan.Why, plan.Hosts = choice.Why, choice.Hosts
	}
	return clonePlan(plan, parent, ct, where, disks), nil
}

func clonePlan(plan baadal.Plan, parent baadal.VM, ct *cloneTask, where map[string]int, disks []baadal.Disk) baadal.Plan {
	n := len(ct.Names)
	plan.Summary = fmt.Sprintf("clone %s %d times: %s", parent.Name, n, ct.Names[0])
	if n > 1 {
		plan.Summary += " to " + ct.Names[n-1]
	}
	plan.Datastore, plan.Network = parent.Datastore, parent.Network
	hosts := make([]string, 0, len(where))
	for name := range where {
		hosts = append(hosts, name)
	}
	slices.Sort(hosts)
	for _, name := range hosts {
		plan.Claims = append(plan.Claims, fmt.Sprintf("%d vCPUs and %d MiB of memory on %s, for %d clones",
			where[name]*parent.VCPUs, where[name]*parent.RAMMiB, name, where[name]))
	}
	plan.Claims = append(plan.Claims, fmt.Sprintf("%d GiB on datastore %s, the base included", (n+1)*parent.DiskGiB, parent.Datastore), fmt.Sprintf("%d addresses of %s", n, parent.Network))
	for _, k := range disks {
		plan.Claims = append(plan.Claims, fmt.Sprintf("%d GiB on datastore %s for copies of %s, the base included", (n+1)*k.SizeGiB, k.Datastore, k.Target))
	}
	switch {
	case ct.Wish.Full:
		plan.Effects = append(plan.Effects, parent.Name+" stays as it is; its disk is copied")
	case parent.State == baadal.VMRunning:
		plan.Effects = append(plan.Effects, fmt.Sprintf("what %s has on its disk now is frozen under it and its clones; it runs on", parent.Name))
	default:
		plan.Effects = append(plan.Effects, fmt.Sprintf("what %s has on its disk is frozen under it and its clones", parent.Name))
	}
	plan.Effects = append(plan.Effects, "if it has snapshots its disk is copied once instead, and it stays as it is")
	if ct.Wish.WithoutDisks {
		plan.Effects = append(plan.Effects, "extra disks are left out")
	}
	return plan
}

// room is what hosts and datastores have left while several VMs are placed in
// one transaction.
type room struct {
	hosts  []baadal.Host
	stores []baadal.Datastore
}

func readRoom(tx *store.Tx) (r room, err error) {
	if r.hosts, err = tx.AllHosts(); err != nil {
		return r, err
	}
	r.stores, err = tx.AllDatastores()
	return r, err
}

// choose places one VM and takes its room away.
func (r *room) choose(cr creation) (placement.Choice, error) {
	choice, err := placement.Choose(r.hosts, r.stores, cr.want, placement.LimitsOf(cr.settings))
	if err != nil {
		return choice, err
	}
	for i := range r.hosts {
		if h := &r.hosts[i]; h.ID == choice.Host.ID {
			h.ClaimedVCPUs += cr.want.VCPUs
			h.ClaimedRAMMiB += cr.want.RAMMiB
			h.VMs++
		}
	}
	for i := range r.stores {
		if d := &r.stores[i]; d.ID == choice.Datastore.ID {
			d.Claimed += cr.want.DiskBytes
		}
	}
	return choice, nil
}

// cloneAgain makes the clones that a task could not make, under the names that
// they would have had.
func (s *Service) cloneAgain(ctx context.Context, a baadal.Actor, t baadal.Task) (c baadal.Change[baadal.VM], err error) {
	var ct cloneTask
	if err := json.Unmarshal(t.Params, &ct); err != nil {
		return c, fmt.Errorf("read task parameters: %w", err)
	}
	var missing []string
	err = s.db.View(ctx, func(tx *store.Tx) error {
		missing = nil
		children, err := tx.ChildTasks(t.ID)
		if err != nil {
			return err
		}
		made := map[int64]bool{}
		for _, child := range children {
			made[child.Subject.ID] = child.State == baadal.TaskSuccess
		}
		for i, id := range ct.Clones {
			if !made[id] {
				missing = append(missing, ct.Names[i])
			}
		}
		return nil
	})
	if err != nil {
		return c, err
	}
	if len(missing) == 0 {
		return c, baadal.Errorf(baadal.Conflict, "all clones of task %d were made", t.ID).WithCode("not_repeatable").
			WithDetail("no clone is missing; nothing was done").WithNext("Ask for more", "baadal vm clone "+t.Subject.Name)
	}
	ct.Names, ct.Clones = missing, nil
	ct.Wish.Count = len(missing)
	return s.cloneVM(ctx, a, fmt.Sprint(t.Subject.ID), ct, baadal.ChangeOptions{})
}
