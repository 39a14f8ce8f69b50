package service

import (
	"context"
	"fmt"
	"slices"

	"baadal"
	"baadal/internal/placement"
	"baadal/internal/store"
)

// restoreParams are the parameters of the tasks that bring disks back.
type restoreParams struct {
	BackupID int64                `json:"backup_id"`
	Wish     baadal.BackupRestore `json:"wish"`
	Disks    map[int64]int64      `json:"disks,omitempty"` // of the backup to those of a new VM
}

// RestoreBackup claims everything that a new VM like the one in the backup
// needs, and makes the task that makes it. The change's resource is the VM.
func (s *Service) RestoreBackup(ctx context.Context, a baadal.Actor, ref string, in baadal.BackupRestore, opt baadal.ChangeOptions) (c baadal.Change[baadal.VM], err error) {
	if err := first(may(a, baadal.ActionBackupRestore), in.Validate()); err != nil {
		return c, err
	}
	return s.restore(ctx, a, opt, baadal.TaskBackupRestore, func(tx *store.Tx, plan *baadal.Plan) (vm baadal.VM, p restoreParams, err error) {
		if err := tx.Lock("placement"); err != nil { // before the backups', as everywhere
			return vm, p, err
		}
		b, err := tx.BackupByRef(ref, a.Sees(baadal.ActionBackupRead))
		if err != nil {
			return vm, p, err
		}
		if err := tx.LockBackups(b); err != nil {
			return vm, p, err
		}
		if b, err = tx.Backup(b.ID); err != nil {
			return vm, p, err
		}
		if err := allowedBackup(a, baadal.ActionBackupRestore, &b); err != nil {
			return vm, p, err
		}
		cr, err := s.restorable(tx, a, b, in)
		if err != nil {
			return vm, p, err
		}
		choice, err := placeRestored(tx, b, cr)
		if err != nil {
			return vm, p, err
		}
		p = restoreParams{BackupID: b.ID, Wish: in, Disks: map[int64]int64{}}
		if vm, err = claimRestored(tx, a, b, in, cr, choice, p.Disks); err != nil {
			return vm, p, err
		}
		plan.Summary = fmt.Sprintf("restore backup %d of %s as %s, as it was on %s", b.ID, b.VM, vm.Name, b.CreatedAt.Format("2006-01-02 15:04 MST"))
		plan.Host, plan.Datastore, plan.Network, plan.Why, plan.Hosts = choice.Host.Name, choice.Datastore.Name, cr.network.Name, choice.Why, choice.Hosts
		plan.Claims = []string{
			fmt.Sprintf("%d vCPUs and %d MiB of memory on %s", vm.VCPUs, vm.RAMMiB, choice.Host.Name),
			fmt.Sprintf("%d GiB on datastore %s", b.Machine.GiB(), choice.Datastore.Name), "an address of " + cr.network.Name,
		}
		plan.Effects = []string{"it gets an address, a UUID and a console password of its own"}
		if gone := len(b.Machine.SecGroupIDs) - len(cr.secGroups); b.VMID == 0 && gone > 0 {
			plan.Effects = append(plan.Effects, fmt.Sprintf("%d of the security groups that %s had are gone: it is open to more than %s was", gone, b.VM, b.VM))
		}
		return vm, p, nil
	})
}

// restorable finds what a new VM from a backup refers to.
func (s *Service) restorable(tx *store.Tx, a baadal.Actor, b baadal.Backup, in baadal.BackupRestore) (cr creation, err error) {
	if cr.settings, err = tx.SettingValues(); err != nil {
		return cr, err
	}
	if cr.owner, err = tx.User(b.OwnerID); err != nil {
		return cr, err
	}
	if cr.owner.Blocked {
		return cr, baadal.Errorf(baadal.Conflict, "%s is blocked", cr.owner.Username)
	}
	switch {
	case in.Template != "":
		if cr.template, err = tx.TemplateFor(in.Template, a.Sees(baadal.ActionTemplateDelete)); err != nil {
			return cr, fieldOf(err, "template")
		}
		if err := usableTemplate(&cr.template); err != nil {
			return cr, err
		}
	case b.TemplateID == 0 && b.Machine.Template == "": // of an image: it came from none
	case b.TemplateID == 0:
		return cr, baadal.Errorf(baadal.Conflict, "the template %s, from which %s came, is gone", b.Machine.Template, b.VM).WithCode("template_gone").WithField("template").
			WithNext("Say which one it shall count as coming from", fmt.Sprintf("baadal backup restore %d --as NAME --template TEMPLATE", b.ID))
	default:
		if cr.template, err = tx.Template(b.TemplateID); err != nil {
			return cr, err
		}
	}
	ref, more := in.Network, []string(nil)
	if ref == "" {
		ref, more = b.Machine.Network, b.Machine.Networks
	}
	if cr.network, err = pickNetwork(tx, a, ref); err != nil {
		return cr, fieldOf(err, "network")
	}
	if cr.networks, err = moreNetworks(tx, a, cr.network, more); err != nil {
		return cr, err
	}
	if cr.secGroups, err = restoredSecGroups(tx, b); err != nil {
		return cr, err
	}
	cr.want = placement.Want{VCPUs: b.Machine.VCPUs, RAMMiB: b.Machine.RAMMiB, DiskBytes: int64(b.Machine.GiB()) << 30, Datastore: cr.template.DatastoreID}
	return cr, nil
}

// restoredSecGroups are the security groups of a VM made of a backup: those that
// the VM has, or, when it is gone for good, those that it had and that are there.
func restoredSecGroups(tx *store.Tx, b baadal.Backup) (ids []int64, err error) {
	if b.VMID != 0 {
		return tx.VMSecGroupIDs(b.VMID)
	}
	for _, id := range b.Machine.SecGroupIDs {
		_, err := tx.SecGroup(id)
		if baadal.KindOf(err) == baadal.NotFound {
			continue
		}
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// placeRestored chooses a host that mounts the backup too. Call it under
// Lock("placement").
func placeRestored(tx *store.Tx, b baadal.Backup, cr creation) (placement.Choice, error) {
	choice, err := choose(tx, cr)
	if err != nil {
		return choice, err
	}
	lim := placement.LimitsOf(cr.settings)
	need, err := tx.BackupBytes(b)
	if err != nil {
		return choice, err
	}
	if err := placement.RoomForFiles(choice.Datastore, need, lim); err != nil || b.DatastoreID == choice.Datastore.ID {
		return choice, err
	}
	from, err := tx.Datastore(b.DatastoreID)
	if err != nil {
		return choice, err
	}
	hosts, err := tx.AllHosts()
	if err != nil {
		return choice, err
	}
	both, err := placement.ChooseHost(hosts, []baadal.Datastore{choice.Datastore, from}, cr.want, lim)
	both.Datastore = choice.Datastore
	return both, err
}

// claimRestored makes the VM's row with everything it owns, and those of its
// disks; which of the backup's each belongs to is noted in disks.
func claimRestored(tx *store.Tx, a baadal.Actor, b baadal.Backup, in baadal.BackupRestore, cr creation, choice placement.Choice, disks map[int64]int64) (baadal.VM, error) {
	cr.want.DiskBytes = int64(b.Machine.Disks[0].SizeGiB) << 30
	vm, err := claim(tx, a, baadal.VMCreate{
		Name: in.As, VCPUs: b.Machine.VCPUs, RAMMiB: b.Machine.RAMMiB, Purpose: b.Machine.Purpose, SSHKeys: b.Machine.SSHKeys,
	}, cr, choice)
	if err != nil {
		return vm, err
	}
	if err := limitFirst(tx, vm, b.Machine.Disks[0].BytesPerSecond, b.Machine.Disks[0].IOPS); err != nil {
		return vm, err
	}
	for _, d := range b.Machine.Disks[1:] {
		// At the target where it was: what is in the guest may know it by that.
		k := baadal.Disk{VMID: vm.ID, DatastoreID: choice.Datastore.ID, Target: d.Target, SizeGiB: d.SizeGiB, BytesPerSecond: d.BytesPerSecond, IOPS: d.IOPS}
		if err := tx.CreateDisk(&k); err != nil {
			return vm, err
		}
		k.State = baadal.DiskAttached // it is defined with it
		if err := tx.UpdateDisk(&k); err != nil {
			return vm, err
		}
		disks[d.ID] = k.ID
	}
	return vm, nil
}

// RestoreBackupInPlace makes the task that puts the disks of a VM back as a
// backup has them. The VM must be off, and keeps its size and everything else.
func (s *Service) RestoreBackupInPlace(ctx context.Context, a baadal.Actor, ref string, opt baadal.ChangeOptions) (c baadal.Change[baadal.VM], err error) {
	return s.restore(ctx, a, opt, baadal.TaskBackupReplace, func(tx *store.Tx, plan *baadal.Plan) (vm baadal.VM, p restoreParams, err error) {
		if err := tx.Lock("placement"); err != nil {
			return vm, p, err
		}
		b, err := tx.BackupByRef(ref, a.Sees(baadal.ActionBackupRead))
		if err != nil {
			return vm, p, err
		}
		if err := tx.LockBackups(b); err != nil {
			return vm, p, err
		}
		if b, err = tx.Backup(b.ID); err != nil {
			return vm, p, err
		}
		if vm, err = replaceable(tx, a, &b); err != nil {
			return vm, p, err
		}
		if err := checkGeneration(opt, vm.Generation); err != nil {
			return vm, p, err
		}
		if err := roomToReplace(tx, b, vm); err != nil {
			return vm, p, err
		}
		snaps, err := tx.Snapshots(vm.ID)
		if err != nil {
			return vm, p, err
		}
		plan.Summary = fmt.Sprintf("put the disks of %s back as they were on %s", vm.Name, b.CreatedAt.Format("2006-01-02 15:04 MST"))
		plan.Host, plan.Datastore = vm.Host, vm.Datastore
		plan.Claims = []string{"the same again for each disk, until what it has now is gone"}
		plan.Effects = []string{fmt.Sprintf("what it wrote to %d disks since is lost", len(b.Machine.Disks)), "its size, address and everything else stay"}
		if len(snaps) > 0 {
			plan.Effects = append(plan.Effects, fmt.Sprintf("its %d snapshots are lost", len(snaps)))
		}
		return vm, restoreParams{BackupID: b.ID}, nil
	})
}

// replaceable is the rule for a restore in place.
func replaceable(tx *store.Tx, a baadal.Actor, b *baadal.Backup) (vm baadal.VM, err error) {
	if err := allowedBackup(a, baadal.ActionBackupReplace, b); err != nil {
		return vm, err
	}
	gone := baadal.Errorf(baadal.Conflict, "%s is gone", b.VM).WithCode("vm_deleted").
		WithNext("Make a new VM of the backup", fmt.Sprintf("baadal backup restore %d --as NAME", b.ID))
	if b.VMID == 0 {
		return vm, gone
	}
	if vm, err = tx.VM(b.VMID); err != nil {
		return vm, err
	}
	if err := allowed(a, baadal.ActionBackupReplace, &vm); err != nil {
		return vm, err
	}
	extra, err := tx.ExtraDisks(vm.ID)
	if err != nil {
		return vm, err
	}
	has := map[int64]bool{0: true}
	for _, k := range extra {
		has[k.ID] = k.State == baadal.DiskAttached
	}
	if err := sparesSnapshots(tx, vm, extra, b); err != nil {
		return vm, err
	}
	for _, d := range b.Machine.Disks {
		if !has[d.ID] {
			return vm, baadal.Errorf(baadal.Conflict, "%s does not have the disk %s of backup %d any more", vm.Name, d.Target, b.ID).WithCode("disk_missing").
				WithNext("Attach it again", "baadal vm disk list "+vm.Name).WithNext("Make a new VM of the backup", fmt.Sprintf("baadal backup restore %d --as NAME", b.ID))
		}
	}
	return vm, nil
}

// sparesSnapshots refuses a VM whose snapshots lie in a disk that the backup does
// not have, too: they go with the disks that are replaced, and what they hold of
// that one would stay in it for ever.
func sparesSnapshots(tx *store.Tx, vm baadal.VM, extra []baadal.Disk, b *baadal.Backup) error {
	snaps, err := tx.Snapshots(vm.ID)
	if err != nil || len(snaps) == 0 {
		return err
	}
	for _, k := range extra {
		if k.State == baadal.DiskAttached && !slices.ContainsFunc(b.Machine.Disks, func(d baadal.BackupDisk) bool { return d.ID == k.ID }) {
			return baadal.Errorf(baadal.Conflict, "%s has %d snapshots with its disk %s, which backup %d does not have", vm.Name, len(snaps), k.Target, b.ID).
				WithCode("has_snapshots").WithNext("Delete them first", "baadal vm snapshot list "+vm.Name)
		}
	}
	return nil
}

// roomToReplace claims what the copies of a backup's disks need beside those
// that they replace, and refuses what would not fit there, or could not be read
// where the VM is. Call it under Lock("placement").
func roomToReplace(tx *store.Tx, b baadal.Backup, vm baadal.VM) error {
	settings, err := tx.SettingValues()
	if err != nil {
		return err
	}
	host, err := tx.Host(vm.HostID)
	if err != nil {
		return err
	}
	from, err := tx.Datastore(b.DatastoreID)
	if err != nil {
		return err
	}
	extra, err := tx.ExtraDisks(vm.ID)
	if err != nil {
		return err
	}
	where := map[int64]int64{0: vm.DatastoreID}
	for _, k := range extra {
		where[k.ID] = k.DatastoreID
	}
	bytes, err := bytesOfDisks(tx, b)
	if err != nil {
		return err
	}
	need := map[int64]int64{}
	for _, d := range b.Machine.Disks {
		need[where[d.ID]] += bytes[d.File]
		if err := tx.ClaimMove(vm.ID, d.ID, where[d.ID], d.SizeGiB); err != nil {
			return err
		}
	}
	for id, n := range need {
		to, err := tx.Datastore(id)
		if err == nil {
			err = placement.RoomForFiles(to, n, placement.LimitsOf(settings))
		}
		if err != nil {
			return err
		}
	}
	return placement.Mounts(host, from)
}

// bytesOfDisks tells what each disk has in a backup and in all that it stands on,
// by its file's name.
func bytesOfDisks(tx *store.Tx, b baadal.Backup) (map[string]int64, error) {
	all := map[string]int64{}
	for {
		for _, f := range b.Files {
			all[f.Name] += f.Bytes
		}
		if b.ParentID == 0 {
			return all, nil
		}
		var err error
		if b, err = tx.Backup(b.ParentID); err != nil {
			return nil, err
		}
	}
}

// restore is what both ways have in common.
func (s *Service) restore(ctx context.Context, a baadal.Actor, opt baadal.ChangeOptions, kind baadal.TaskKind,
	decide func(*store.Tx, *baadal.Plan) (baadal.VM, restoreParams, error),
) (c baadal.Change[baadal.VM], err error) {
	var vm baadal.VM
	var t baadal.Task
	var plan baadal.Plan
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		plan = baadal.Plan{}
		var p restoreParams
		if vm, p, err = decide(tx, &plan); err != nil {
			return err
		}
		if t, err = newVMTask(a, kind, vm, backupCost, p); err != nil {
			return err
		}
		if err := tx.InsertTask(&t); err != nil {
			return err
		}
		plan.Steps = s.queue.StepNames(kind)
		if vm, err = tx.VM(vm.ID); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		if kind == baadal.TaskBackupReplace {
			return nil
		}
		return event(tx, a, baadal.Event{Subject: vmSubject(vm), Version: vm.Generation, What: "created", OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID},
			map[string]any{"host": baadal.Changed{New: vm.Host}, "address": baadal.Changed{New: vm.Address}, "backup": baadal.Changed{New: p.BackupID}})
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
