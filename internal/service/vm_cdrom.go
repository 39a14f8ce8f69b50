package service

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"baadal"
	"baadal/internal/store"
)

// cdromParams are the parameters of the tasks on a VM's CD drive.
type cdromParams struct {
	TemplateID int64  `json:"template_id"`
	ISO        string `json:"iso"`
	Force      bool   `json:"force"`
}

// InsertCDROM claims a CD image for a VM, so that it cannot be deleted, and
// makes the task that puts it into the VM's drive.
func (s *Service) InsertCDROM(ctx context.Context, a baadal.Actor, ref string, in baadal.CDROMInsert, opt baadal.ChangeOptions) (c baadal.Change[baadal.VM], err error) {
	if err := in.Validate(); err != nil {
		return c, err
	}
	return s.changeCDROM(ctx, a, baadal.ActionCDROMInsert, ref, opt, func(tx *store.Tx, vm *baadal.VM, plan *baadal.Plan) (p cdromParams, err error) {
		t, err := tx.TemplateFor(in.ISO, a.Sees(baadal.ActionTemplateDelete))
		if err != nil {
			return p, fieldOf(err, "iso")
		}
		if err := insertable(tx, vm, &t); err != nil {
			return p, err
		}
		plan.Summary, plan.Datastore = fmt.Sprintf("insert %s in %s", t.Name, vm.Name), t.Datastore
		return cdromParams{TemplateID: t.ID, ISO: t.Name}, tx.SetVMCDROM(vm.ID, t.ID)
	})
}

// insertable is the rule for a CD image in a VM's drive, beside those for the VM.
func insertable(tx *store.Tx, vm *baadal.VM, t *baadal.Template) error {
	switch {
	case t.Kind != baadal.TemplateISO:
		return baadal.Errorf(baadal.Invalid, "template %s is not a CD image", t.Name).WithCode("not_iso").WithField("iso").
			WithNext("See the CD images", "baadal template list kind:iso")
	case vm.CDROMID != 0:
		return baadal.Errorf(baadal.Conflict, "%s has %s in its drive", vm.Name, vm.CDROM).WithCode("cdrom_full").
			WithNext("Eject it first", "baadal vm cdrom eject "+vm.Name)
	}
	if err := readyTemplate(t); err != nil {
		return err
	}
	ds, err := tx.Datastore(t.DatastoreID)
	if err != nil {
		return err
	}
	if ds.MeasuredAt != nil && len(ds.Hosts) > 0 && !slices.Contains(ds.Hosts, vm.Host) {
		return baadal.Errorf(baadal.Conflict, "%s is on %s, which does not mount datastore %s", vm.Name, vm.Host, ds.Name).WithCode("datastore_not_mounted").
			WithDetail("the image %s lies there", t.Name).WithNext("Import it on another datastore too", "baadal template import FILE --kind iso --name NAME --datastore NAME")
	}
	return nil
}

// EjectCDROM makes the task that takes out what is in a VM's drive.
func (s *Service) EjectCDROM(ctx context.Context, a baadal.Actor, ref string, in baadal.CDROMEject, opt baadal.ChangeOptions) (c baadal.Change[baadal.VM], err error) {
	return s.changeCDROM(ctx, a, baadal.ActionCDROMEject, ref, opt, func(_ *store.Tx, vm *baadal.VM, plan *baadal.Plan) (p cdromParams, err error) {
		if vm.CDROMID == 0 {
			return p, baadal.Errorf(baadal.Conflict, "%s has nothing in its drive", vm.Name).WithCode("cdrom_empty")
		}
		plan.Summary = fmt.Sprintf("eject %s from %s", vm.CDROM, vm.Name)
		if in.Force && vm.State == baadal.VMRunning {
			plan.Effects = []string{"the guest loses it at once, also while it reads from it"}
		}
		return cdromParams{TemplateID: vm.CDROMID, ISO: vm.CDROM, Force: in.Force}, nil
	})
}

// changeCDROM is what both changes of the drive have in common.
func (s *Service) changeCDROM(
	ctx context.Context, a baadal.Actor, action baadal.Action, ref string, opt baadal.ChangeOptions,
	prepare func(*store.Tx, *baadal.VM, *baadal.Plan) (cdromParams, error),
) (c baadal.Change[baadal.VM], err error) {
	kind := baadal.TaskCDROMInsert
	if action == baadal.ActionCDROMEject {
		kind = baadal.TaskCDROMEject
	}
	// Others who claim places wait: a template that is being claimed must not go.
	return s.changeVM(ctx, a, action, ref, opt, func(tx *store.Tx, vm *baadal.VM, plan *baadal.Plan) (baadal.Task, error) {
		p, err := prepare(tx, vm, plan)
		if err != nil {
			return baadal.Task{}, err
		}
		plan.Host = vm.Host
		return newVMTask(a, kind, *vm, 1, p)
	})
}

// repeatCDROM asks again for a change of the drive that failed and was undone.
func (s *Service) repeatCDROM(ctx context.Context, a baadal.Actor, t baadal.Task) (c baadal.Change[baadal.VM], err error) {
	var p cdromParams
	if err := json.Unmarshal(t.Params, &p); err != nil {
		return c, fmt.Errorf("read task parameters: %w", err)
	}
	ref := fmt.Sprint(t.Subject.ID)
	if t.Kind == baadal.TaskCDROMEject {
		return s.EjectCDROM(ctx, a, ref, baadal.CDROMEject{Force: p.Force}, baadal.ChangeOptions{})
	}
	return s.InsertCDROM(ctx, a, ref, baadal.CDROMInsert{ISO: fmt.Sprint(p.TemplateID)}, baadal.ChangeOptions{})
}

// deletableISO refuses to delete a CD image that is in a VM's drive, or was when
// a snapshot was made: a revert would want it back.
func deletableISO(tx *store.Tx, t *baadal.Template) error {
	if t.Kind != baadal.TemplateISO {
		return nil
	}
	names, err := tx.VMsWithCDROM(t.ID)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return baadal.Errorf(baadal.Conflict, "CD image %s is in the drive of %s", t.Name, strings.Join(names, ", ")).WithCode("template_in_use").
			WithNext("Eject it there first", "baadal vm cdrom eject "+strings.Join(names, " "))
	}
	if names, err = tx.SnapshotsWithFile(t.File); err != nil || len(names) == 0 {
		return err
	}
	return baadal.Errorf(baadal.Conflict, "CD image %s was in the drive when a snapshot was made", t.Name).WithCode("template_in_use").
		WithDetail("the snapshots are: %s; a revert brings back what was in the drive", strings.Join(names, ", ")).
		WithNext("Delete those snapshots first", "")
}
