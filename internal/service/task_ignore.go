package service

import (
	"encoding/json"
	"fmt"

	"baadal"
	"baadal/internal/store"
)

// leaveParts ends the states of what a task was making beside its subject, when
// it is set aside with its undo still owed: nobody else would ever end them, and
// what is being made cannot be deleted.
func leaveParts(tx *store.Tx, a baadal.Actor, t baadal.Task) error {
	var clones cloneTask
	var made struct {
		Template int64 `json:"template"`
		Transfer int64 `json:"transfer"`
	}
	var params any
	switch t.Kind {
	case baadal.TaskVMClone:
		params = &clones
	case baadal.TaskVMSaveTemplate, baadal.TaskVMExport:
		params = &made
	default:
		return nil
	}
	if err := json.Unmarshal(t.Params, params); err != nil {
		return fmt.Errorf("read task parameters: %w", err)
	}
	switch t.Kind {
	case baadal.TaskVMClone:
		return leaveClones(tx, a, t, clones)
	case baadal.TaskVMSaveTemplate:
		return leaveTemplate(tx, made.Template)
	default:
		return leaveExport(tx, made.Transfer)
	}
}

// leaveTemplate makes a template that nobody finishes one that can be deleted.
func leaveTemplate(tx *store.Tx, id int64) error {
	m, err := tx.Template(id)
	if err != nil || m.State != baadal.TemplateImporting {
		return unlessGone(err)
	}
	m.State = baadal.TemplateFailed
	return tx.UpdateTemplate(&m)
}

// leaveExport makes an export that nobody finishes one that goes by itself.
func leaveExport(tx *store.Tx, id int64) error {
	f, err := tx.Transfer(id, baadal.Visibility{Scope: baadal.ScopeAny})
	if err != nil || f.State != baadal.TransferMaking {
		return unlessGone(err)
	}
	return tx.SetTransfer(id, baadal.TransferRemoving, baadal.ImageInfo{})
}

// leaveClones makes clones that no task will ever begin VMs that can be deleted:
// what there is of them is not known. The bases, if they are there, are not used
// again and go with the last one who stands on them.
func leaveClones(tx *store.Tx, a baadal.Actor, t baadal.Task, ct cloneTask) error {
	for _, id := range ct.Clones {
		vm, err := tx.VM(id)
		if unlessGone(err) != nil {
			return err
		}
		if err != nil || vm.State != baadal.VMInQueue || vm.Task != nil {
			continue
		}
		if err := leaveClone(tx, a, t, vm); err != nil {
			return err
		}
	}
	bases := []int64{ct.Base}
	for _, d := range ct.Disks {
		bases = append(bases, d.Base)
	}
	for _, id := range bases {
		b, err := tx.Base(id)
		if err == nil && b.State == baadal.BaseMaking {
			err = tx.SetBase(b.ID, baadal.BaseRemoving, b.ParentID)
		}
		if unlessGone(err) != nil {
			return err
		}
	}
	return nil
}

func leaveClone(tx *store.Tx, a baadal.Actor, t baadal.Task, vm baadal.VM) error {
	disks, err := tx.ExtraDisks(vm.ID)
	if err != nil {
		return err
	}
	for _, k := range disks {
		k.State, k.Target = baadal.DiskDetached, ""
		if err := tx.UpdateDisk(&k); err != nil {
			return err
		}
	}
	_, vm, err = tx.SetVMState(vm.ID, baadal.VMUnknown, fmt.Sprintf("it was never made: task %d, which was to clone it, was set aside", t.ID))
	if err != nil {
		return err
	}
	return event(tx, a, baadal.Event{Subject: vmSubject(vm), Version: vm.Generation, What: vm.State.String(), OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID}, nil)
}

// unlessGone is an error but NotFound.
func unlessGone(err error) error {
	if baadal.KindOf(err) == baadal.NotFound {
		return nil
	}
	return err
}
