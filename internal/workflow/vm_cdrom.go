package workflow

import (
	"context"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// CDROMParams are the parameters of the operations on a VM's CD drive. The row
// names the image from the insert's transaction to the eject's end.
type CDROMParams struct {
	TemplateID int64  `json:"template_id"`
	ISO        string `json:"iso"`
	Force      bool   `json:"force"`
}

// cdromInsert puts a CD image into a VM's drive: at once if it runs, and in its
// definition.
func (w *Workflows) cdromInsert() task.Body {
	return task.Body{
		Kind:  baadal.TaskCDROMInsert,
		Steps: []task.Step{{Name: "insert", Do: w.insertDisc, Undo: w.takeBackDisc}},
		Done:  discChanged("inserted in"),
		Undone: func(tx *store.Tx, r *task.Run) error {
			return tx.SetVMCDROM(r.Task.Subject.ID, 0)
		},
	}
}

// cdromEject takes out what is in a VM's drive.
func (w *Workflows) cdromEject() task.Body {
	return task.Body{
		Kind:  baadal.TaskCDROMEject,
		Steps: []task.Step{{Name: "eject", Do: w.ejectDisc, Undo: w.insertDisc}},
		Done: func(tx *store.Tx, r *task.Run) (string, error) {
			if err := tx.SetVMCDROM(r.Task.Subject.ID, 0); err != nil {
				return "", err
			}
			return discChanged("ejected from")(tx, r)
		},
	}
}

// loadDisc finds where the image in a VM's drive lies; empty if none is in it.
func loadDisc(tx *store.Tx, vm baadal.VM) (string, error) {
	if vm.CDROMID == 0 {
		return "", nil
	}
	t, err := tx.Template(vm.CDROMID)
	if err != nil {
		return "", err
	}
	ds, err := tx.Datastore(t.DatastoreID)
	return ds.TemplateFile(t.File), err
}

func (w *Workflows) insertDisc(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	return w.setDisc(ctx, p, p.disc, false)
}

func (w *Workflows) ejectDisc(ctx context.Context, r *task.Run) error {
	params, err := task.Params[CDROMParams](r)
	if err != nil {
		return err
	}
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	return w.setDisc(ctx, p, "", params.Force)
}

// takeBackDisc is the undo of an insert: a guest that has mounted the image by
// now loses it. A domain that is not there has none.
func (w *Workflows) takeBackDisc(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	return ignoreMissing(w.setDisc(ctx, p, "", true))
}

// setDisc changes what is in the drive. A VM that is off is defined with it: its
// definition may be older than its drive.
func (w *Workflows) setDisc(ctx context.Context, p place, disc string, force bool) error {
	info, err := w.sys.Hypervisor.Domain(ctx, p.host, p.vm.UUID)
	if err != nil {
		return err
	}
	if info.State == baadal.VMRunning || info.State == baadal.VMPaused {
		return w.sys.CDDrives.SetDisc(ctx, p.host, p.vm.UUID, disc, force)
	}
	p.disc = disc
	return w.sys.Hypervisor.Define(ctx, p.host, w.domain(p))
}

// discChanged tells what was done with the image.
func discChanged(what string) func(*store.Tx, *task.Run) (string, error) {
	return func(tx *store.Tx, r *task.Run) (string, error) {
		params, err := task.Params[CDROMParams](r)
		if err != nil {
			return "", err
		}
		vm, err := tx.VM(r.Task.Subject.ID)
		if err != nil {
			return "", err
		}
		_, err = tx.AddEvent(baadal.Event{
			Topic: "vm", Subject: vmSubject(vm), Version: vm.Generation, What: "CD " + params.ISO + " " + what + " its drive",
			ActorID: r.Task.RequesterID, Actor: r.Task.Requester, OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID,
		})
		return params.ISO + " is " + what + " " + vm.Name + " successfully", err
	}
}

// foundDisc is what was seen in a drive.
type foundDisc struct {
	Path string `json:"path"`
}

// write notes an image that the VM has in its drive by other ways than an
// insert; one that the store does not know is none of ours.
func (f *foundDisc) write(tx *store.Tx, vmID int64) error {
	if f == nil {
		return nil
	}
	id := int64(0)
	if f.Path != "" {
		var err error
		if id, err = tx.CDROMAt(f.Path); err != nil {
			return err
		}
	}
	return tx.SetVMCDROM(vmID, id)
}

// lookAtDisc looks into the drive after a revert, which brings back what was in
// it.
func (w *Workflows) lookAtDisc(ctx context.Context, p place) (*foundDisc, error) {
	path, err := w.sys.CDDrives.Disc(ctx, p.host, p.vm.UUID)
	return &foundDisc{Path: path}, err
}
