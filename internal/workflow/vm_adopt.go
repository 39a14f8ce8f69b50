package workflow

import (
	"context"
	"time"

	"baadal"
	"baadal/internal/cloudinit"
	"baadal/internal/store"
	"baadal/internal/task"
)

// vmAdopt makes a domain that exists on a host one of ours: its disk is copied
// to a datastore and the definition replaced, under the same UUID. The old disk
// is not touched. The VM's row was made with the task.
func (w *Workflows) vmAdopt() task.Body {
	return task.Body{
		Kind: baadal.TaskVMAdopt,
		Steps: []task.Step{
			{Name: "look", Do: w.lookAtForeign},
			{Name: "take over", Do: w.takeOver, Undo: w.giveBack},
			{Name: "image", Do: w.adoptImage, Undo: w.removeImage, Timeout: 12 * time.Hour},
		},
		Done:   adopted,
		Undone: func(tx *store.Tx, r *task.Run) error { return tx.DeleteVM(r.Task.Subject.ID) },
		Owed: func(tx *store.Tx, r *task.Run, cause error) error {
			_, err := vmChanged(tx, r, baadal.VMUnknown, "it could not be adopted ("+baadal.Message(cause)+"); what was done is taken back when its host answers")
			return err
		},
	}
}

// lookAtForeign records the domain's definition, so that it can be given back.
func (w *Workflows) lookAtForeign(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	d, err := w.sys.Adopter.ForeignDomain(ctx, p.host, p.vm.UUID)
	if err != nil {
		return err
	}
	if err := d.Adoptable(); err != nil {
		return err
	}
	r.Detail("%s: %s", d.Name, d.Disks[0].Path)
	return r.Record(d)
}

// foreign is the domain as it was found.
func foreign(r *task.Run) (d baadal.ForeignDomain, known bool, err error) {
	known, err = r.Output("look", &d)
	return d, known && len(d.Disks) == 1, err
}

func (w *Workflows) adoptImage(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	d, _, err := foreign(r)
	if err != nil {
		return err
	}
	// An empty one: the guest keeps its name and keys.
	seed, err := cloudinit.Empty()
	if err != nil {
		return err
	}
	return w.copyIn(ctx, r, p, d.Disks[0].Path, true, seed)
}

// takeOver replaces the definition before the disk is copied: with the old one
// somebody could start the domain meanwhile, and what it wrote would be lost.
func (w *Workflows) takeOver(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	now, err := w.sys.Adopter.ForeignDomain(ctx, p.host, p.vm.UUID)
	if err != nil && baadal.KindOf(err) != baadal.NotFound { // an earlier try has removed it
		return err
	}
	if err == nil && now.VMID == 0 {
		if err := now.Adoptable(); err != nil {
			return err
		}
		if err := w.sys.Hypervisor.Undefine(ctx, p.host, p.vm.UUID); err != nil {
			return err
		}
	}
	return w.sys.Hypervisor.Define(ctx, p.host, w.domain(p))
}

// giveBack gives the domain the definition that it had.
func (w *Workflows) giveBack(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	d, known, err := foreign(r)
	if err != nil || !known {
		return err
	}
	now, err := w.sys.Adopter.ForeignDomain(ctx, p.host, p.vm.UUID)
	switch {
	case baadal.KindOf(err) == baadal.NotFound:
	case err != nil:
		return err
	case now.VMID == 0:
		return nil // it has it
	default:
		if err := w.sys.Hypervisor.Undefine(ctx, p.host, p.vm.UUID); err != nil {
			return err
		}
	}
	return w.sys.Adopter.DefineForeign(ctx, p.host, d.XML)
}

func adopted(tx *store.Tx, r *task.Run) (string, error) {
	d, _, err := foreign(r)
	if err != nil {
		return "", err
	}
	vm, err := vmChanged(tx, r, baadal.VMOff, "")
	if err != nil {
		return "", err
	}
	return vm.Name + " is adopted successfully; its old disk " + d.Disks[0].Path + " on " + vm.Host + " is not used any more", nil
}
