package service

import (
	"context"
	"encoding/json"
	"fmt"

	"baadal"
	"baadal/internal/placement"
	"baadal/internal/store"
)

// diskParams are the parameters of every task on a disk.
type diskParams struct {
	DiskID int64            `json:"disk_id"`
	Was    string           `json:"was"`
	WasGiB int              `json:"was_gib"`
	Limit  baadal.DiskLimit `json:"limit"`

	SizeGiB   int    `json:"size_gib"`            // for a retry
	Datastore string `json:"datastore,omitempty"` // likewise, as it was asked for
}

// diskActions are the actions on a disk, by the name they have in its JSON and
// in routes.
var diskActions = []struct {
	name   string
	action baadal.Action
}{
	{"attach", baadal.ActionDiskAttach},
	{"detach", baadal.ActionDiskDetach},
	{"delete", baadal.ActionDiskDelete},
	{"grow", baadal.ActionDiskGrow},
	{"limit", baadal.ActionDiskLimit},
}

// Disks lists a VM's disks: the first one, then the others in the order of
// their making, deleted ones that can be attached again included.
func (s *Service) Disks(ctx context.Context, a baadal.Actor, ref string) (all []baadal.Disk, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		vm, err := tx.VMByRef(ref, a.Sees(baadal.ActionVMRead))
		if err != nil {
			return err
		}
		first, err := tx.FirstDisk(vm)
		if err != nil {
			return err
		}
		extra, err := tx.ExtraDisks(vm.ID)
		if err != nil {
			return err
		}
		all = append([]baadal.Disk{first}, extra...)
		for i := range all {
			offerDisk(a, &vm, &all[i])
		}
		return nil
	})
	return all, err
}

func offerDisk(a baadal.Actor, vm *baadal.VM, k *baadal.Disk) {
	k.Actions = make(map[string]baadal.Access, len(diskActions))
	for _, d := range diskActions {
		k.Actions[d.name] = access(allowedDisk(a, d.action, vm, k))
	}
}

// allowedDisk is the one rule for an action on a disk.
func allowedDisk(a baadal.Actor, action baadal.Action, vm *baadal.VM, k *baadal.Disk) error {
	return first(allowed(a, action, vm), k.CheckAction(action))
}

// AddDisk claims room for an extra disk of a VM and makes the task that makes
// and attaches it.
func (s *Service) AddDisk(ctx context.Context, a baadal.Actor, ref string, in baadal.DiskAdd, opt baadal.ChangeOptions) (baadal.Change[baadal.Disk], error) {
	if err := in.Validate(); err != nil {
		return baadal.Change[baadal.Disk]{}, err
	}
	return s.changeDisk(ctx, a, ref, opt, baadal.TaskDiskAdd, func(tx *store.Tx, vm *baadal.VM, plan *baadal.Plan) (k baadal.Disk, p diskParams, err error) {
		if err := first(checkGeneration(opt, vm.Generation), allowed(a, baadal.ActionDiskAdd, vm)); err != nil {
			return k, p, err
		}
		want := placement.Want{DiskBytes: int64(in.SizeGiB) << 30}
		if in.Datastore != "" {
			d, err := tx.DatastoreByRef(in.Datastore)
			if err != nil {
				return k, p, fieldOf(err, "datastore")
			}
			want.Datastore = d.ID
		}
		ds, why, err := claimRoom(tx, vm, want)
		if err != nil {
			return k, p, err
		}
		k = baadal.Disk{VMID: vm.ID, DatastoreID: ds.ID, SizeGiB: in.SizeGiB, BytesPerSecond: in.BytesPerSecond, IOPS: in.IOPS}
		if err := tx.CreateDisk(&k); err != nil {
			return k, p, err
		}
		plan.Summary, plan.Datastore, plan.Why = fmt.Sprintf("give %s a disk of %d GiB as %s", vm.Name, k.SizeGiB, k.Target), ds.Name, why
		plan.Claims = []string{fmt.Sprintf("%d GiB on datastore %s", k.SizeGiB, ds.Name), k.Target + " of " + vm.Name}
		limit := baadal.DiskLimit{BytesPerSecond: in.BytesPerSecond, IOPS: in.IOPS}
		return k, diskParams{SizeGiB: in.SizeGiB, Datastore: in.Datastore, Limit: limit}, nil
	})
}

// claimRoom finds a datastore with room that the VM's host mounts. Whoever
// claims it must do so in this transaction.
func claimRoom(tx *store.Tx, vm *baadal.VM, want placement.Want) (baadal.Datastore, string, error) {
	if err := tx.Lock("placement"); err != nil {
		return baadal.Datastore{}, "", err
	}
	settings, err := tx.SettingValues()
	if err != nil {
		return baadal.Datastore{}, "", err
	}
	host, err := tx.Host(vm.HostID)
	if err != nil {
		return baadal.Datastore{}, "", err
	}
	stores, err := tx.AllDatastores()
	if err != nil {
		return baadal.Datastore{}, "", err
	}
	return placement.ChooseDatastore(host, stores, want, placement.LimitsOf(settings))
}

// mountingAll chooses again for a VM that has disks on several datastores: its
// host must mount all of them.
func mountingAll(tx *store.Tx, vm baadal.VM, choice placement.Choice, want placement.Want, settings baadal.SettingValues) (placement.Choice, error) {
	stores, err := datastoresOf(tx, vm)
	if err != nil || len(stores) < 2 {
		return choice, err
	}
	hosts, err := tx.AllHosts()
	if err != nil {
		return choice, err
	}
	return placement.ChooseHost(hosts, stores, want, placement.LimitsOf(settings))
}

// ActDisk makes the task that attaches, detaches or deletes a disk.
func (s *Service) ActDisk(ctx context.Context, a baadal.Actor, action baadal.Action, ref, disk string, opt baadal.ChangeOptions) (baadal.Change[baadal.Disk], error) {
	kind := map[baadal.Action]baadal.TaskKind{
		baadal.ActionDiskAttach: baadal.TaskDiskAttach, baadal.ActionDiskDetach: baadal.TaskDiskDetach, baadal.ActionDiskDelete: baadal.TaskDiskDelete,
	}[action]
	return s.changeDisk(ctx, a, ref, opt, kind, func(tx *store.Tx, vm *baadal.VM, plan *baadal.Plan) (k baadal.Disk, p diskParams, err error) {
		if k, err = diskFor(tx, a, action, vm, disk, opt); err != nil {
			return k, p, err
		}
		p = diskParams{DiskID: k.ID, Was: k.State}
		switch action {
		case baadal.ActionDiskAttach:
			if k.Target, err = tx.FreeTarget(vm.ID, nil); err != nil {
				return k, p, err
			}
			plan.Summary = fmt.Sprintf("attach %s to %s as %s", k.Name, vm.Name, k.Target)
			plan.Claims = []string{k.Target + " of " + vm.Name}
			err = tx.UpdateDisk(&k)
		case baadal.ActionDiskDelete:
			plan.Summary = fmt.Sprintf("delete %s of %s", k.Name, vm.Name)
			plan.Effects = []string{"it can be attached again until its retention ends; its room stays claimed as long"}
		default:
			plan.Summary = fmt.Sprintf("detach %s from %s", k.Name, vm.Name)
		}
		if vm.State == baadal.VMRunning && action != baadal.ActionDiskAttach && k.State == baadal.DiskAttached {
			plan.Effects = append(plan.Effects, "the guest loses it at once: unmount it there first")
		}
		return k, p, err
	})
}

// GrowDisk claims the room and makes the task that makes a disk larger.
func (s *Service) GrowDisk(ctx context.Context, a baadal.Actor, ref, disk string, in baadal.DiskGrow, opt baadal.ChangeOptions) (baadal.Change[baadal.Disk], error) {
	if err := in.Validate(); err != nil {
		return baadal.Change[baadal.Disk]{}, err
	}
	return s.changeDisk(ctx, a, ref, opt, baadal.TaskDiskGrow, func(tx *store.Tx, vm *baadal.VM, plan *baadal.Plan) (k baadal.Disk, p diskParams, err error) {
		if k, err = diskFor(tx, a, baadal.ActionDiskGrow, vm, disk, opt); err != nil {
			return k, p, err
		}
		if in.SizeGiB <= k.SizeGiB {
			return k, p, baadal.Errorf(baadal.Invalid, "%s has %d GiB: disks only grow", k.Name, k.SizeGiB).WithCode("disk_shrink").WithField("size_gib").
				WithDetail("a smaller disk would cut off what lies at its end")
		}
		more := in.SizeGiB - k.SizeGiB
		if _, _, err = claimRoom(tx, vm, placement.Want{DiskBytes: int64(more) << 30, Datastore: k.DatastoreID}); err != nil {
			return k, p, err
		}
		p = diskParams{DiskID: k.ID, Was: k.State, WasGiB: k.SizeGiB, SizeGiB: in.SizeGiB}
		plan.Summary = fmt.Sprintf("grow %s of %s from %d to %d GiB", k.Name, vm.Name, k.SizeGiB, in.SizeGiB)
		plan.Claims = []string{fmt.Sprintf("%d GiB more on datastore %s", more, k.Datastore)}
		plan.Effects = []string{"the guest's file system is not grown; that is done in the guest", "it cannot be undone: disks never shrink"}
		k.SizeGiB = in.SizeGiB
		if k.First() {
			vm.DiskGiB = in.SizeGiB
			return k, p, tx.UpdateVM(vm)
		}
		return k, p, tx.UpdateDisk(&k)
	})
}

// LimitDisk makes the task that limits what a disk may do in a second.
func (s *Service) LimitDisk(ctx context.Context, a baadal.Actor, ref, disk string, in baadal.DiskLimit, opt baadal.ChangeOptions) (baadal.Change[baadal.Disk], error) {
	if err := in.Validate(); err != nil {
		return baadal.Change[baadal.Disk]{}, err
	}
	return s.changeDisk(ctx, a, ref, opt, baadal.TaskDiskLimit, func(tx *store.Tx, vm *baadal.VM, plan *baadal.Plan) (k baadal.Disk, p diskParams, err error) {
		if k, err = diskFor(tx, a, baadal.ActionDiskLimit, vm, disk, opt); err != nil {
			return k, p, err
		}
		plan.Summary = fmt.Sprintf("limit %s of %s to %s and %s", k.Name, vm.Name, limitText(in.BytesPerSecond, "bytes"), limitText(in.IOPS, "operations"))
		return k, diskParams{DiskID: k.ID, Was: k.State, Limit: in}, nil
	})
}

func limitText(n int64, what string) string {
	if n == 0 {
		return "any number of " + what + " a second"
	}
	return fmt.Sprintf("%d %s a second", n, what)
}

// diskFor finds the disk for an action that the actor may do to it.
func diskFor(tx *store.Tx, a baadal.Actor, action baadal.Action, vm *baadal.VM, ref string, opt baadal.ChangeOptions) (k baadal.Disk, err error) {
	if k, err = tx.DiskByRef(*vm, ref); err != nil {
		return k, err
	}
	return k, first(checkGeneration(opt, k.Generation), allowedDisk(a, action, vm, &k))
}

// changeDisk is what all changes of a VM's disks have in common: find the VM,
// prepare what is special, make the task, answer.
func (s *Service) changeDisk(
	ctx context.Context, a baadal.Actor, ref string, opt baadal.ChangeOptions, kind baadal.TaskKind,
	prepare func(*store.Tx, *baadal.VM, *baadal.Plan) (baadal.Disk, diskParams, error),
) (c baadal.Change[baadal.Disk], err error) {
	var k baadal.Disk
	var t baadal.Task
	plan := baadal.Plan{Steps: s.queue.StepNames(kind)}
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if err := tx.Lock("placement"); err != nil {
			return err
		}
		vm, err := tx.VMForUpdate(ref, a.Sees(baadal.ActionVMRead))
		if err != nil {
			return err
		}
		var p diskParams
		if k, p, err = prepare(tx, &vm, &plan); err != nil {
			return err
		}
		p.DiskID, plan.Host = k.ID, vm.Host
		if t, err = newVMTask(a, kind, vm, 1, p); err != nil {
			return err
		}
		if err := tx.InsertTask(&t); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		if vm, err = tx.VM(vm.ID); err != nil {
			return err
		}
		offerDisk(a, &vm, &k)
		return nil
	})
	if isDryRun(err) {
		return baadal.Change[baadal.Disk]{Plan: &plan}, nil
	}
	if err != nil {
		return c, err
	}
	return baadal.Change[baadal.Disk]{Resource: &k, Task: &t}, nil
}

// repeatDisk asks again for a change of a disk that failed and was undone.
func (s *Service) repeatDisk(ctx context.Context, a baadal.Actor, t baadal.Task) (c baadal.Change[baadal.Disk], err error) {
	var p diskParams
	if err := json.Unmarshal(t.Params, &p); err != nil {
		return c, fmt.Errorf("read task parameters: %w", err)
	}
	ref, disk, none := fmt.Sprint(t.Subject.ID), fmt.Sprint(p.DiskID), baadal.ChangeOptions{}
	if p.DiskID == 0 {
		disk = baadal.FirstTarget
	}
	switch t.Kind {
	case baadal.TaskDiskAdd:
		return s.AddDisk(ctx, a, ref, baadal.DiskAdd{SizeGiB: p.SizeGiB, Datastore: p.Datastore, BytesPerSecond: p.Limit.BytesPerSecond, IOPS: p.Limit.IOPS}, none)
	case baadal.TaskDiskGrow:
		return s.GrowDisk(ctx, a, ref, disk, baadal.DiskGrow{SizeGiB: p.SizeGiB}, none)
	case baadal.TaskDiskLimit:
		return s.LimitDisk(ctx, a, ref, disk, p.Limit, none)
	case baadal.TaskDiskAttach:
		return s.ActDisk(ctx, a, baadal.ActionDiskAttach, ref, disk, none)
	case baadal.TaskDiskDetach:
		return s.ActDisk(ctx, a, baadal.ActionDiskDetach, ref, disk, none)
	default:
		return s.ActDisk(ctx, a, baadal.ActionDiskDelete, ref, disk, none)
	}
}
