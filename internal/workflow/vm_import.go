package workflow

import (
	"context"
	"time"

	"baadal"
	"baadal/internal/cloudinit"
	"baadal/internal/store"
	"baadal/internal/task"
)

// VMImportParams say which image a VM is made of, beside its row.
type VMImportParams struct {
	Upload int64  `json:"upload,omitempty"` // the transfer; 0 for an image that lay on the datastore
	Path   string `json:"path"`             // of the image, absolute
}

// vmImport makes a VM from an upload, vmLaunch from an image that lies on a
// datastore. Both copy it: the image stays what it is until the VM runs.
func (w *Workflows) vmImport() task.Body {
	b := w.vmLaunch()
	done, undone := b.Done, b.Undone
	b.Kind = baadal.TaskVMImport
	b.Done = func(tx *store.Tx, r *task.Run) (string, error) {
		if err := usedUpload(tx, r); err != nil {
			return "", err
		}
		return done(tx, r)
	}
	b.Undone = func(tx *store.Tx, r *task.Run) error {
		if err := usedUpload(tx, r); err != nil {
			return err
		}
		return undone(tx, r)
	}
	return b
}

func (w *Workflows) vmLaunch() task.Body {
	create := w.vmCreate()
	create.Kind = baadal.TaskVMLaunch
	create.Steps = []task.Step{
		{Name: "image", Do: w.importImage, Undo: w.removeImage, Timeout: 12 * time.Hour},
		{Name: "define", Do: w.define, Undo: w.undefine},
		{Name: "start", Do: w.start, Undo: w.destroy},
	}
	return create
}

func (w *Workflows) importImage(ctx context.Context, r *task.Run) error {
	params, err := task.Params[VMImportParams](r)
	if err != nil {
		return err
	}
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	if params.Upload != 0 { // an import that waited long must not lose it now
		if err := w.db.Update(ctx, func(tx *store.Tx) error { return tx.UseTransfer(params.Upload) }); err != nil {
			return err
		}
	}
	seed, err := cloudinit.Seed(cloudinit.Config{
		InstanceID: p.vm.UUID, Hostname: p.vm.Name, SSHKeys: p.vm.SSHKeys, Password: p.password,
	})
	if err != nil {
		return err
	}
	return w.copyIn(ctx, r, p, params.Path, params.Upload == 0, seed)
}

// copyIn makes the VM's folder with a flat copy of an image, which it looks at
// once more: it may be another one than when the VM was asked for.
func (w *Workflows) copyIn(ctx context.Context, r *task.Run, p place, image string, trusted bool, seed []byte) error {
	info, err := w.sys.Images.InspectImage(ctx, p.host, image, trusted)
	if err != nil {
		return err
	}
	if need := int64(p.vm.DiskGiB) << 30; info.VirtualSize > need {
		return baadal.Errorf(baadal.Conflict, "the image has grown since it was looked at").WithCode("image_changed").
			WithDetail("it has %d bytes, %d GiB are claimed", info.VirtualSize, p.vm.DiskGiB).WithNext("Ask for it anew", "")
	}
	if err := w.roomForImage(ctx, r, p, info); err != nil {
		return err
	}
	r.Detail("%s, %d MiB", info.Format, info.FileSize>>20)
	return w.sys.Disks.CreateImage(ctx, p.host, baadal.VMImage{
		Datastore: p.store, Identity: p.vm.Identity, UUID: p.vm.UUID, Template: image, Format: info.Format,
		Bytes: int64(p.vm.DiskGiB) << 30, FullCopy: true, Seed: seed,
	})
}

// roomForImage looks for room at the first try only: at a later one the copy may
// be there already.
func (w *Workflows) roomForImage(ctx context.Context, r *task.Run, p place, info baadal.ImageInfo) error {
	if known, err := r.Output(r.Task.Step, new(baadal.ImageInfo)); known || err != nil {
		return err
	}
	need := info.FileSize
	if info.Format == "raw" { // its file may have holes: they are not copied
		need = 0
	}
	if err := w.roomFor(ctx, p.host, p.store, need, "copy the image"); err != nil {
		return err
	}
	return r.Record(info)
}

// usedUpload asks for the removal of the upload that a VM was to be made of,
// whether that went well or not.
func usedUpload(tx *store.Tx, r *task.Run) error {
	params, err := task.Params[VMImportParams](r)
	if err != nil || params.Upload == 0 {
		return err
	}
	f, err := tx.Transfer(params.Upload, everything)
	if err != nil {
		return ignoreMissing(err)
	}
	return freeTransfer(tx, f)
}
