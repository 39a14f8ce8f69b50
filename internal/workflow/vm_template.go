package workflow

import (
	"context"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// VMSaveTemplateParams are the parameters of the task that saves a VM's disk as
// a template. The template's row, in state importing, was made with it.
type VMSaveTemplateParams struct {
	Template int64 `json:"template"`
}

// vmSaveTemplate makes a flat copy of a VM's first disk an immutable template.
// The VM stays as it is, running or off, with its snapshots.
func (w *Workflows) vmSaveTemplate() task.Body {
	return task.Body{
		Kind:   baadal.TaskVMSaveTemplate,
		Steps:  []task.Step{w.copyStep(w.templateCopy)},
		Done:   templateSaved,
		Undone: templateNotSaved,
	}
}

// copyStep makes a flat copy of a VM's first disk; of says of which VM, and what
// becomes of it.
func (w *Workflows) copyStep(of func(context.Context, *task.Run) (place, baadal.ImageCopy, error)) task.Step {
	return task.Step{
		Name: "copy", Timeout: 12 * time.Hour,
		Do: func(ctx context.Context, r *task.Run) error {
			p, c, err := of(ctx, r)
			if err != nil {
				return err
			}
			info, err := w.flatCopy(ctx, r, p, c)
			if err != nil {
				return err
			}
			return r.Record(info)
		},
		Undo: func(ctx context.Context, r *task.Run) error {
			p, c, err := of(ctx, r)
			if err != nil {
				return ignoreMissing(err)
			}
			return w.uncopy(ctx, p, c)
		},
	}
}

// templateCopy is the VM and the image that becomes the template.
func (w *Workflows) templateCopy(ctx context.Context, r *task.Run) (p place, c baadal.ImageCopy, err error) {
	params, err := task.Params[VMSaveTemplateParams](r)
	if err != nil {
		return p, c, err
	}
	if p, err = w.load(ctx, r); err != nil {
		return p, c, err
	}
	var t baadal.Template
	err = w.db.View(ctx, func(tx *store.Tx) (err error) { t, err = tx.Template(params.Template); return err })
	return p, baadal.ImageCopy{Datastore: p.store, Area: baadal.DirTemplates, File: t.File}, err
}

// flatCopy makes a flat image of a VM's first disk as it is now, and tells its
// facts. What an earlier try finished is taken as it is.
func (w *Workflows) flatCopy(ctx context.Context, r *task.Run, p place, c baadal.ImageCopy) (info baadal.ImageInfo, err error) {
	active, err := w.active(ctx, p)
	if err != nil {
		return info, err
	}
	done, err := w.sys.Images.PrepareImage(ctx, p.host, c)
	if err != nil {
		return info, err
	}
	if !done {
		if err := w.roomForCopy(ctx, p, p.disks[0]); err != nil {
			return info, err
		}
	}
	progress := func(share float64) { r.Progress(share*0.9, "copying its disk") }
	switch {
	case done:
	case active:
		err = w.sys.Freezer.BackupDisk(ctx, p.host, p.vm.UUID, target, c.Part(), progress)
	default:
		err = w.sys.Images.CopyImage(ctx, p.host, c, p.vm.UUID, p.store.DiskPath(&p.vm), progress)
	}
	if err != nil {
		return info, err
	}
	if info, err = w.sys.Images.KeepImage(ctx, p.host, c); err != nil {
		return info, err
	}
	r.Detail("%d MiB, sha256 %s", info.FileSize>>20, info.SHA256)
	return info, nil
}

// uncopy removes what flatCopy made, after ending a copying that nobody looks
// after any more.
func (w *Workflows) uncopy(ctx context.Context, p place, c baadal.ImageCopy) error {
	if p.host.ID != 0 {
		if err := w.sys.Backups.AbortBackup(ctx, p.host, p.vm.UUID); err != nil {
			return err
		}
	}
	host, err := w.diskHost(ctx, p, p.store)
	if err != nil {
		return err
	}
	return w.sys.Images.RemoveImageCopy(ctx, host, c)
}

func templateSaved(tx *store.Tx, r *task.Run) (string, error) {
	params, err := task.Params[VMSaveTemplateParams](r)
	if err != nil {
		return "", err
	}
	var info baadal.ImageInfo
	if _, err := r.Output("copy", &info); err != nil {
		return "", err
	}
	t, err := tx.Template(params.Template)
	if err != nil {
		return "", err
	}
	t.Format, t.VirtualSize, t.FileSize, t.SHA256, t.State = info.Format, info.VirtualSize, info.FileSize, info.SHA256, baadal.TemplateReady
	if err := tx.UpdateTemplate(&t); err != nil {
		return "", err
	}
	_, err = tx.AddEvent(baadal.Event{
		Topic: "template", Subject: baadal.Subject{Kind: "template", ID: t.ID, Name: t.Name}, Version: t.Generation, What: "saved from " + r.Task.Subject.Name,
		ActorID: r.Task.RequesterID, Actor: r.Task.Requester, OwnerID: t.OwnerID, OrganisationID: t.OrganisationID,
	})
	return r.Task.Subject.Name + " is saved as template " + t.Name + " successfully", err
}

func templateNotSaved(tx *store.Tx, r *task.Run) error {
	params, err := task.Params[VMSaveTemplateParams](r)
	if err != nil {
		return err
	}
	return ignoreMissing(tx.DeleteTemplate(params.Template))
}
