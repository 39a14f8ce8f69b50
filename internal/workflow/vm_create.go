package workflow

import (
	"context"

	"baadal"
	"baadal/internal/cloudinit"
	"baadal/internal/store"
	"baadal/internal/task"
)

// VMCreateParams are the parameters of a creation beside the VM's row, which
// was made with its claims in the transaction that made the task.
type VMCreateParams struct {
	FullCopy bool            `json:"full_copy,omitempty"`
	Wish     baadal.VMCreate `json:"wish"` // for a retry
}

// vmCreate makes a VM. Its address needs nothing here: every address of a
// network is reserved for its MAC in the DHCP server since the network was made.
func (w *Workflows) vmCreate() task.Body {
	return task.Body{
		Kind: baadal.TaskVMCreate,
		Steps: []task.Step{
			{Name: "image", Do: w.createImage, Undo: w.removeImage},
			{Name: "define", Do: w.define, Undo: w.undefine},
			{Name: "start", Do: w.start, Undo: w.destroy},
		},
		Done: func(tx *store.Tx, r *task.Run) (string, error) {
			_, err := vmChanged(tx, r, baadal.VMRunning, "")
			return "VM is installed successfully", err
		},
		Undone: func(tx *store.Tx, r *task.Run) error { return tx.DeleteVM(r.Task.Subject.ID) },
		Owed: func(tx *store.Tx, r *task.Run, cause error) error {
			_, err := vmChanged(tx, r, baadal.VMUnknown, "its creation failed ("+baadal.Message(cause)+"); what is left is taken back when its host answers")
			return err
		},
	}
}

func (w *Workflows) createImage(ctx context.Context, r *task.Run) error {
	params, err := task.Params[VMCreateParams](r)
	if err != nil {
		return err
	}
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	seed, err := cloudinit.Seed(cloudinit.Config{
		InstanceID: p.vm.UUID, Hostname: p.vm.Name, SSHKeys: p.vm.SSHKeys, Password: p.password,
	})
	if err != nil {
		return err
	}
	size := max(int64(p.vm.DiskGiB)<<30, p.template.VirtualSize)
	return w.sys.Disks.CreateImage(ctx, p.host, baadal.VMImage{
		Datastore: p.store, Identity: p.vm.Identity, UUID: p.vm.UUID, Template: p.store.TemplateFile(p.template.File),
		Format: p.template.Format, Bytes: size, FullCopy: params.FullCopy, Seed: seed,
	})
}

func (w *Workflows) removeImage(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	return w.sys.Disks.RemoveImage(ctx, p.host, p.store, p.vm.Identity, p.vm.UUID)
}
