package service

import (
	"context"
	"crypto/rand"
	"encoding/hex"

	"baadal"
	"baadal/internal/store"
)

// saveTemplateTask is what the task that saves a VM as a template is told.
type saveTemplateTask struct {
	Template int64                 `json:"template"`
	Wish     baadal.VMSaveTemplate `json:"wish"` // for a retry
}

// SaveVMAsTemplate makes a template's row and the task that copies the VM's disk
// to it. It is the VM's owner's, unless an administrator makes it everybody's.
func (s *Service) SaveVMAsTemplate(ctx context.Context, a baadal.Actor, ref string, in baadal.VMSaveTemplate, opt baadal.ChangeOptions) (c baadal.Change[baadal.Template], err error) {
	if err := first(may(a, baadal.ActionVMSaveTemplate), baadal.CheckName("name", in.Name)); err != nil {
		return c, err
	}
	if in.Public {
		if err := may(a, baadal.ActionTemplateImport); err != nil {
			return c, err
		}
	}
	var vm baadal.VM
	var m baadal.Template
	var t baadal.Task
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if vm, err = tx.VMForUpdate(ref, a.Sees(baadal.ActionVMRead)); err != nil {
			return err
		}
		if err := first(checkGeneration(opt, vm.Generation), allowed(a, baadal.ActionVMSaveTemplate, &vm)); err != nil {
			return err
		}
		if m, err = savedTemplate(tx, vm, in); err != nil {
			return err
		}
		if t, err = newVMTask(a, baadal.TaskVMSaveTemplate, vm, 2, saveTemplateTask{Template: m.ID, Wish: in}); err != nil {
			return err
		}
		if err := tx.InsertTask(&t); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		return event(tx, a, baadal.Event{Subject: vmSubject(vm), Version: vm.Generation, What: "being saved as template " + m.Name, OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID}, nil)
	})
	if isDryRun(err) {
		whose := "it is " + vm.Owner + "'s: others neither see nor use it"
		if in.Public {
			whose = "everybody may use it"
		}
		return baadal.Change[baadal.Template]{Plan: presentPlan(a, &baadal.Plan{
			Summary: "save " + vm.Name + " as template " + in.Name, Host: vm.Host, Datastore: vm.Datastore, Steps: s.queue.StepNames(baadal.TaskVMSaveTemplate),
			Effects: append(copyEffects(vm), whose, "what people put into the VM is in it: keys, histories, passwords of programs"),
		})}, nil
	}
	if err != nil {
		return c, hideHosts(a, err)
	}
	templateActions(a, &m)
	return baadal.Change[baadal.Template]{Resource: &m, Task: &t}, nil
}

// savedTemplate makes the row of the template that a VM is saved as.
func savedTemplate(tx *store.Tx, vm baadal.VM, in baadal.VMSaveTemplate) (baadal.Template, error) {
	var b [4]byte
	_, _ = rand.Read(b[:])
	m := baadal.Template{
		Name: in.Name, OS: in.OS, Kind: baadal.TemplateDisk, DatastoreID: vm.DatastoreID, Datastore: vm.Datastore, Format: "qcow2",
		File: in.Name + "-" + hex.EncodeToString(b[:]) + ".img", State: baadal.TemplateImporting, Source: "VM " + vm.Identity,
	}
	if !in.Public {
		m.OwnerID, m.Owner, m.OrganisationID = vm.OwnerID, vm.Owner, vm.OrganisationID
	}
	if m.OS == "" && vm.TemplateID != 0 {
		from, err := tx.Template(vm.TemplateID)
		if err != nil {
			return m, err
		}
		m.OS = from.OS
	}
	return m, tx.CreateTemplate(&m)
}
