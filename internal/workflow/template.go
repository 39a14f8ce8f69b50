package workflow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// TemplateImportParams say where a template comes from: an upload in the spool
// folder, or a URL.
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
			{Name: "copy", Do: w.copyTemplate, Undo: w.undoImport, Timeout: 12 * time.Hour},
			{Name: "clean", Do: w.removeUpload},
		},
		Done:   templateImported,
		Undone: func(tx *store.Tx, r *task.Run) error { return tx.DeleteTemplate(r.Task.Subject.ID) },
		Tries:  2,
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
	src, size, err := w.openSource(ctx, params)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := w.sys.Disks.ImportTemplate(ctx, host, ds, t.File, src, size, func(n int64) {
		if size > 0 {
			r.Progress(float64(n)/float64(size), fmt.Sprintf("%d of %d MiB", n>>20, size>>20))
		} else {
			r.Progress(0.5, fmt.Sprintf("%d MiB", n>>20))
		}
	})
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

var uploadID = regexp.MustCompile(`^[A-Za-z0-9]{16,64}$`)

// UploadPath returns where an upload lies in the spool folder; ids are made by
// the server, others are refused.
func UploadPath(spool, id string) (string, error) {
	if !uploadID.MatchString(id) {
		return "", baadal.Errorf(baadal.Invalid, "there is no upload %q", id).WithField("upload_id")
	}
	return filepath.Join(spool, id), nil
}

func (w *Workflows) openSource(ctx context.Context, p TemplateImportParams) (io.ReadCloser, int64, error) {
	if p.URL == "" {
		path, err := UploadPath(w.opt.Spool, p.UploadID)
		if err != nil {
			return nil, 0, err
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, 0, baadal.Errorf(baadal.NotFound, "the upload is gone").WithCode("upload_gone").WithNext("Upload it again", "baadal template import FILE")
		}
		if err != nil {
			return nil, 0, fmt.Errorf("open upload: %w", err)
		}
		st, err := f.Stat()
		if err != nil {
			_ = f.Close()
			return nil, 0, fmt.Errorf("open upload: %w", err)
		}
		return f, st.Size(), nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL, nil)
	if err != nil {
		return nil, 0, baadal.Errorf(baadal.Invalid, "%q is not a usable URL", p.URL).WithField("url")
	}
	from := req.URL.Redacted()
	if req.URL.RawQuery != "" { // it may hold a key
		from = strings.Replace(from, "?"+req.URL.RawQuery, "?…", 1)
	}
	resp, err := w.opt.HTTP.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return nil, 0, baadal.Errorf(baadal.Unavailable, "fetch %s: %w", from, err)
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		kind := baadal.Invalid
		if resp.StatusCode >= 500 {
			kind = baadal.Unavailable
		}
		return nil, 0, baadal.Errorf(kind, "%s answers %s", from, resp.Status).WithCode("fetch_failed")
	}
	return resp.Body, resp.ContentLength, nil
}

func (w *Workflows) removeTemplate(ctx context.Context, r *task.Run) error {
	t, ds, host, err := w.loadTemplate(ctx, r)
	if err != nil {
		return err
	}
	return w.sys.Disks.RemoveTemplate(ctx, host, ds, t.File)
}

func (w *Workflows) undoImport(ctx context.Context, r *task.Run) error {
	if err := w.removeTemplate(ctx, r); err != nil {
		return err
	}
	return w.removeUpload(ctx, r)
}

// removeUpload drops the spooled upload: it is not needed any more, whether the
// import went well or not.
func (w *Workflows) removeUpload(_ context.Context, r *task.Run) error {
	params, err := task.Params[TemplateImportParams](r)
	if err != nil || params.UploadID == "" {
		return err
	}
	path, err := UploadPath(w.opt.Spool, params.UploadID)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove upload: %w", err)
	}
	return nil
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
	return t.Name + " is imported successfully", err
}
