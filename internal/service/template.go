package service

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"baadal"
	"baadal/internal/store"
)

func templateSubject(t baadal.Template) baadal.Subject {
	return baadal.Subject{Kind: "template", ID: t.ID, Name: t.Name}
}

// Upload is a file that waits in the spool folder for its import.
type Upload struct {
	ID     string `json:"upload_id"`
	Size   int64  `json:"size_bytes"`
	SHA256 string `json:"sha256"`
}

// Upload writes r to the spool folder. A broken upload leaves nothing behind.
func (s *Service) Upload(ctx context.Context, a baadal.Actor, r io.Reader) (u Upload, err error) {
	if err := may(a, baadal.ActionTemplateImport); err != nil {
		return u, err
	}
	if err := os.MkdirAll(s.opt.Spool, 0o700); err != nil {
		return u, fmt.Errorf("make spool folder: %w", err)
	}
	if err := s.sweepSpool(ctx); err != nil {
		return u, err
	}
	var b [16]byte
	_, _ = rand.Read(b[:])
	u.ID = hex.EncodeToString(b[:])
	path := filepath.Join(s.opt.Spool, u.ID)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return u, fmt.Errorf("spool upload: %w", err)
	}
	sum := sha256.New()
	u.Size, err = io.Copy(io.MultiWriter(f, sum), contextReader{ctx, r})
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = os.Remove(path)
		if errors.Is(err, syscall.ENOSPC) {
			return u, baadal.Errorf(baadal.Exhausted, "the controller's disk is full").WithCode("spool_full").WithDetail("nothing of the upload was kept")
		}
		return u, fmt.Errorf("spool upload: %w", err)
	}
	u.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return u, nil
}

// keepUpload is how long an upload may wait for its import.
const keepUpload = 24 * time.Hour

// sweepSpool removes uploads that were broken off by a crash or never imported:
// they would fill the disk that the controller's database lies on.
func (s *Service) sweepSpool(ctx context.Context) error {
	entries, err := os.ReadDir(s.opt.Spool)
	if err != nil || len(entries) == 0 {
		return err
	}
	var active []baadal.Task
	if err := s.db.View(ctx, func(tx *store.Tx) (err error) { active, err = tx.ActiveTasks(); return err }); err != nil {
		return err
	}
	awaited := map[string]bool{}
	for _, t := range active {
		var p struct {
			UploadID string `json:"upload_id"`
		}
		if t.Kind == baadal.TaskTemplateImport && json.Unmarshal(t.Params, &p) == nil {
			awaited[p.UploadID] = true
		}
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || awaited[e.Name()] || time.Since(info.ModTime()) < keepUpload {
			continue // gone by now, needed, or still being written
		}
		if err := os.Remove(filepath.Join(s.opt.Spool, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sweep spool folder: %w", err)
		}
	}
	return nil
}

// contextReader ends a copy when its context does.
type contextReader struct {
	ctx context.Context //nolint:containedctx // it lives as long as one copy
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// Templates lists the templates.
func (s *Service) Templates(ctx context.Context, a baadal.Actor, q baadal.ListQuery) (list baadal.List[baadal.Template], err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) { list, err = tx.Templates(q); return err })
	for i := range list.Items {
		templateActions(a, &list.Items[i])
	}
	return list, err
}

// Template returns one template by id or name.
func (s *Service) Template(ctx context.Context, a baadal.Actor, ref string) (t baadal.Template, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) { t, err = tx.TemplateByRef(ref); return err })
	templateActions(a, &t)
	return t, err
}

func templateActions(a baadal.Actor, t *baadal.Template) {
	t.Actions = map[string]baadal.Access{
		"delete": access(first(may(a, baadal.ActionTemplateDelete), deletableTemplate(t))),
		"use":    access(usableTemplate(t)),
	}
}

func usableTemplate(t *baadal.Template) error {
	if t.State != baadal.TemplateReady {
		return baadal.Errorf(baadal.Conflict, "template %s is not ready: it is %s", t.Name, t.State).WithCode("template_not_ready").
			WithNext("See the templates", "baadal template list")
	}
	return nil
}

func deletableTemplate(t *baadal.Template) error {
	if t.VMs > 0 {
		return baadal.Errorf(baadal.Conflict, "%d VMs stand on template %s", t.VMs, t.Name).WithCode("template_in_use").
			WithDetail("deleted VMs that can still be restored count too").
			WithNext("See them", "baadal vm list template:"+t.Name)
	}
	return usableTemplate(t)
}

// ImportTemplate makes a template from an upload or a URL.
func (s *Service) ImportTemplate(ctx context.Context, a baadal.Actor, in baadal.TemplateImport, opt baadal.ChangeOptions) (c baadal.Change[baadal.Template], err error) {
	if err := first(may(a, baadal.ActionTemplateImport), baadal.CheckName("name", in.Name), s.checkSource(in)); err != nil {
		return c, err
	}
	// Everybody sees where a template came from, and a query may hold a key.
	source, _, query := strings.Cut(in.URL, "?")
	if query {
		source += "?…"
	}
	if source == "" {
		source = "upload"
	}
	var t baadal.Template
	var k baadal.Task
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		ds, err := importTarget(tx, in.Datastore)
		if err != nil {
			return err
		}
		t = baadal.Template{
			Name: in.Name, OS: in.OS, DatastoreID: ds.ID, Datastore: ds.Name, State: baadal.TemplateImporting, Source: source, Format: "qcow2",
		}
		// The file's name never comes back: a template imported anew under an old
		// name is another file, so overlays cannot end up on the wrong one.
		var b [4]byte
		_, _ = rand.Read(b[:])
		t.File = in.Name + "-" + hex.EncodeToString(b[:]) + ".img"
		if err := tx.CreateTemplate(&t); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		params := map[string]any{"upload_id": in.UploadID, "url": in.URL, "sha256": in.SHA256}
		if k, err = newTask(a, baadal.TaskTemplateImport, templateSubject(t), params); err != nil {
			return err
		}
		if err := tx.InsertTask(&k); err != nil {
			return err
		}
		return event(tx, a, baadal.Event{Subject: templateSubject(t), Version: t.Generation, What: "created"}, map[string]any{"source": source})
	})
	if isDryRun(err) {
		return baadal.Change[baadal.Template]{Plan: &baadal.Plan{
			Summary: "import " + in.Name + " to " + t.Datastore, Datastore: t.Datastore, Steps: s.queue.StepNames(baadal.TaskTemplateImport),
		}}, nil
	}
	if err != nil {
		return c, err
	}
	return baadal.Change[baadal.Template]{Resource: &t, Task: &k}, nil
}

func (s *Service) checkSource(in baadal.TemplateImport) error {
	if (in.URL == "") == (in.UploadID == "") {
		return baadal.Errorf(baadal.Invalid, "give either a URL or an upload").WithField("url")
	}
	if in.URL != "" {
		u, err := url.Parse(in.URL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
			return baadal.Errorf(baadal.Invalid, "the URL is not usable").WithField("url").WithDetail("http or https, without a password in it")
		}
		return nil
	}
	info, err := os.Lstat(filepath.Join(s.opt.Spool, filepath.Base(in.UploadID)))
	if err != nil || !info.Mode().IsRegular() || filepath.Base(in.UploadID) != in.UploadID {
		return baadal.Errorf(baadal.NotFound, "there is no upload %q", in.UploadID).WithField("upload_id")
	}
	return nil
}

// importTarget is the datastore asked for, or the one with most room.
func importTarget(tx *store.Tx, ref string) (baadal.Datastore, error) {
	if ref != "" {
		return tx.DatastoreByRef(ref)
	}
	all, err := tx.AllDatastores()
	if err != nil {
		return baadal.Datastore{}, err
	}
	var best baadal.Datastore
	for _, d := range all {
		if d.State == baadal.DatastoreOK && (best.ID == 0 || d.Free > best.Free) {
			best = d
		}
	}
	if best.ID == 0 {
		return best, baadal.Errorf(baadal.Exhausted, "No datastore found.").WithCode("no_datastore").
			WithDetail("%d datastores are known, none is measured and writable", len(all)).
			WithNext("See them", "baadal datastore list")
	}
	return best, nil
}

// DeleteTemplate removes a template that no VM stands on.
func (s *Service) DeleteTemplate(ctx context.Context, a baadal.Actor, ref string, opt baadal.ChangeOptions) (c baadal.Change[baadal.Template], err error) {
	if err := may(a, baadal.ActionTemplateDelete); err != nil {
		return c, err
	}
	var t baadal.Template
	var k baadal.Task
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		// The lock of creations: a VM that is being claimed on it is not seen yet.
		if err := tx.Lock("placement"); err != nil {
			return err
		}
		if t, err = tx.TemplateByRef(ref); err != nil {
			return err
		}
		if err := first(checkGeneration(opt, t.Generation), deletableTemplate(&t)); err != nil {
			return err
		}
		t.State = baadal.TemplateDeleted
		if err := tx.UpdateTemplate(&t); err != nil {
			return err
		}
		if k, err = newTask(a, baadal.TaskTemplateDelete, templateSubject(t), struct{}{}); err != nil {
			return err
		}
		if err := tx.InsertTask(&k); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		return event(tx, a, baadal.Event{Subject: templateSubject(t), Version: t.Generation, What: "deleted"}, nil)
	})
	if isDryRun(err) {
		return baadal.Change[baadal.Template]{Plan: &baadal.Plan{Summary: "remove " + t.Name + " and its file", Steps: s.queue.StepNames(baadal.TaskTemplateDelete)}}, nil
	}
	if err != nil {
		return c, err
	}
	return baadal.Change[baadal.Template]{Resource: &t, Task: &k}, nil
}
