package workflow

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// TemplateImportParams say where a template comes from: an upload on its
// datastore, or a URL.
type TemplateImportParams struct {
	UploadID string `json:"upload_id,omitempty"`
	URL      string `json:"url,omitempty"`
	SHA256   string `json:"sha256,omitempty"` // expected; not compared if empty
}

// templateImport copies an image to a datastore, checks it, and makes it
// immutable. Its row, in state importing, was made with the task.
func (w *Workflows) templateImport() task.Body {
	return task.Body{
		Kind: baadal.TaskTemplateImport,
		Steps: []task.Step{
			{Name: "copy", Do: w.copyTemplate, Undo: w.removeTemplate, Timeout: 12 * time.Hour},
		},
		Done: templateImported,
		Undone: func(tx *store.Tx, r *task.Run) error {
			if err := usedByTemplate(tx, r); err != nil {
				return err
			}
			return tx.DeleteTemplate(r.Task.Subject.ID)
		},
		Owed:  importFailed,
		Tries: 2,
	}
}

// templateDelete removes a template that nothing stands on.
func (w *Workflows) templateDelete() task.Body {
	return task.Body{
		Kind:  baadal.TaskTemplateDelete,
		Steps: []task.Step{{Name: "remove", Do: w.removeTemplate, Undo: w.lookForTemplate}},
		Done: func(tx *store.Tx, r *task.Run) (string, error) {
			return r.Task.Subject.Name + " is deleted successfully", tx.DeleteTemplate(r.Task.Subject.ID)
		},
		Undone: templateNotDeleted,
	}
}

// gone says whether a template's file is gone although its removal failed.
type gone struct {
	File bool `json:"file"`
}

// lookForTemplate is the undo of a removal: a file that is gone cannot come
// back, so it looks which of the two it is.
func (w *Workflows) lookForTemplate(ctx context.Context, r *task.Run) error {
	t, ds, host, err := w.loadTemplate(ctx, r)
	if err != nil {
		return err
	}
	entries, err := w.sys.Disks.Entries(ctx, host, ds)
	if err != nil {
		return err
	}
	there := slices.ContainsFunc(entries, func(e baadal.DatastoreEntry) bool {
		return e.Area == baadal.DirTemplates && e.Name == t.File
	})
	return r.Record(gone{File: !there})
}

// templateNotDeleted makes a template whose file is still there usable again,
// and forgets one whose file is gone.
func templateNotDeleted(tx *store.Tx, r *task.Run) error {
	var g gone
	if _, err := r.Output("remove", &g); err != nil {
		return err
	}
	if g.File {
		return tx.DeleteTemplate(r.Task.Subject.ID)
	}
	t, err := tx.Template(r.Task.Subject.ID)
	if err != nil {
		return err
	}
	t.State = baadal.TemplateReady
	if t.SHA256 == "" && t.VirtualSize == 0 { // its import was never finished
		t.State = baadal.TemplateFailed
	}
	return tx.UpdateTemplate(&t)
}

// importFailed says of a template what its task says: it goes when its
// datastore can be worked on again.
func importFailed(tx *store.Tx, r *task.Run, _ error) error {
	t, err := tx.Template(r.Task.Subject.ID)
	if err != nil {
		return err
	}
	t.State = baadal.TemplateFailed
	return tx.UpdateTemplate(&t)
}

func (w *Workflows) loadTemplate(ctx context.Context, r *task.Run) (t baadal.Template, ds baadal.Datastore, host baadal.Host, err error) {
	err = w.db.View(ctx, func(tx *store.Tx) (err error) {
		if t, err = tx.Template(r.Task.Subject.ID); err != nil {
			return err
		}
		ds, err = tx.Datastore(t.DatastoreID)
		return err
	})
	if err == nil {
		host, err = w.anyHost(ctx, ds)
	}
	return t, ds, host, err
}

func (w *Workflows) copyTemplate(ctx context.Context, r *task.Run) error {
	params, err := task.Params[TemplateImportParams](r)
	if err != nil {
		return err
	}
	t, ds, host, err := w.loadTemplate(ctx, r)
	if err != nil {
		return err
	}
	info, err := w.takeTemplate(ctx, r, params, host, ds, t.File)
	if err != nil {
		return err
	}
	if params.SHA256 != "" && !strings.EqualFold(params.SHA256, info.SHA256) {
		return baadal.Errorf(baadal.Invalid, "the checksum is not the expected one").WithCode("checksum").
			WithDetail("expected %s, got %s", strings.ToLower(params.SHA256), info.SHA256)
	}
	r.Detail("%d MiB, sha256 %s", info.FileSize>>20, info.SHA256)
	return r.Record(info)
}

// takeTemplate makes the template's file, of an upload or of what a URL gives.
func (w *Workflows) takeTemplate(ctx context.Context, r *task.Run, params TemplateImportParams, host baadal.Host, ds baadal.Datastore, file string) (baadal.ImageInfo, error) {
	if params.UploadID != "" {
		info, err := w.sys.Images.TakeUpload(ctx, host, ds, params.UploadID, file)
		if baadal.KindOf(err) == baadal.NotFound {
			err = baadal.Errorf(baadal.NotFound, "the upload is gone").WithCode("upload_gone").WithNext("Upload it again", "baadal template import FILE")
		}
		return info, err
	}
	src, size, err := w.fetch(ctx, params.URL)
	if err != nil {
		return baadal.ImageInfo{}, err
	}
	defer src.Close()
	return w.sys.Disks.ImportTemplate(ctx, host, ds, file, src, size, func(n int64) {
		if size > 0 {
			r.Progress(float64(n)/float64(size), fmt.Sprintf("%d of %d MiB", n>>20, size>>20))
		} else {
			r.Progress(0.5, fmt.Sprintf("%d MiB", n>>20))
		}
	})
}

func (w *Workflows) removeTemplate(ctx context.Context, r *task.Run) error {
	t, ds, host, err := w.loadTemplate(ctx, r)
	if err != nil {
		return err
	}
	return w.sys.Disks.RemoveTemplate(ctx, host, ds, t.File)
}

// usedByTemplate asks for the removal of the upload: it is not needed any more,
// whether the import went well or not.
func usedByTemplate(tx *store.Tx, r *task.Run) error {
	params, err := task.Params[TemplateImportParams](r)
	if err != nil || params.UploadID == "" {
		return err
	}
	f, err := tx.TransferByUUID(params.UploadID, everything)
	if err != nil {
		return ignoreMissing(err)
	}
	return freeTransfer(tx, f)
}

func templateImported(tx *store.Tx, r *task.Run) (string, error) {
	var info baadal.ImageInfo
	if _, err := r.Output("copy", &info); err != nil {
		return "", err
	}
	t, err := tx.Template(r.Task.Subject.ID)
	if err != nil {
		return "", err
	}
	t.Format, t.VirtualSize, t.FileSize, t.SHA256, t.State = info.Format, info.VirtualSize, info.FileSize, info.SHA256, baadal.TemplateReady
	if err := tx.UpdateTemplate(&t); err != nil {
		return "", err
	}
	_, err = tx.AddEvent(baadal.Event{
		Topic: "template", Subject: r.Task.Subject, Version: t.Generation, What: "imported",
		ActorID: r.Task.RequesterID, Actor: r.Task.Requester,
	})
	if err != nil {
		return "", err
	}
	return t.Name + " is imported successfully", usedByTemplate(tx, r)
}
