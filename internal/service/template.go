package service

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/url"
	"strings"

	"baadal"
	"baadal/internal/store"
)

func templateSubject(t baadal.Template) baadal.Subject {
	return baadal.Subject{Kind: "template", ID: t.ID, Name: t.Name}
}

// Templates lists the templates.
func (s *Service) Templates(ctx context.Context, a baadal.Actor, q baadal.ListQuery) (list baadal.List[baadal.Template], err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) {
		list, err = tx.Templates(q, a.Sees(baadal.ActionTemplateDelete))
		return err
	})
	for i := range list.Items {
		templateActions(a, &list.Items[i])
	}
	return list, err
}

// Template returns one template by id or name.
func (s *Service) Template(ctx context.Context, a baadal.Actor, ref string) (t baadal.Template, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) {
		t, err = tx.TemplateFor(ref, a.Sees(baadal.ActionTemplateDelete))
		return err
	})
	templateActions(a, &t)
	return t, err
}

func templateActions(a baadal.Actor, t *baadal.Template) {
	t.Actions = map[string]baadal.Access{
		"delete": access(first(mayDelete(a, t), deletableTemplate(t))),
		"use":    access(usableTemplate(t)),
	}
}

// mayDelete refuses who does not own it; one without an owner is the
// administrators'.
func mayDelete(a baadal.Actor, t *baadal.Template) error {
	if t.OwnerID == 0 && a.ScopeOf(baadal.ActionTemplateDelete) != baadal.ScopeAny {
		return forbidden(baadal.ActionTemplateDelete)
	}
	return reach(a, baadal.ActionTemplateDelete, t.OrganisationID, t.OwnerID)
}

// usableTemplate is the rule for making VMs from it.
func usableTemplate(t *baadal.Template) error {
	if t.Kind == baadal.TemplateISO {
		return baadal.Errorf(baadal.Conflict, "template %s is a CD image: nothing can stand on it", t.Name).WithCode("template_is_iso").
			WithNext("Insert it in a VM", "baadal vm cdrom insert NAME --iso "+t.Name)
	}
	return readyTemplate(t)
}

func readyTemplate(t *baadal.Template) error {
	if t.State != baadal.TemplateReady {
		return baadal.Errorf(baadal.Conflict, "template %s is not ready: it is %s", t.Name, t.State).WithCode("template_not_ready").
			WithNext("See the templates", "baadal template list")
	}
	return nil
}

func deletableTemplate(t *baadal.Template) error {
	if t.VMs > 0 && t.Kind == baadal.TemplateISO {
		return baadal.Errorf(baadal.Conflict, "CD image %s is in the drives of %d VMs", t.Name, t.VMs).WithCode("template_in_use").
			WithNext("See them", "baadal vm list cdrom:"+t.Name)
	}
	if t.VMs > 0 {
		return baadal.Errorf(baadal.Conflict, "%d VMs stand on template %s", t.VMs, t.Name).WithCode("template_in_use").
			WithDetail("deleted VMs that can still be restored count too").
			WithNext("See them", "baadal vm list template:"+t.Name)
	}
	if t.State == baadal.TemplateFailed { // what its import left goes with it
		return nil
	}
	return readyTemplate(t)
}

// ImportTemplate makes a template from an upload or a URL.
func (s *Service) ImportTemplate(ctx context.Context, a baadal.Actor, in baadal.TemplateImport, opt baadal.ChangeOptions) (c baadal.Change[baadal.Template], err error) {
	if err := first(may(a, baadal.ActionTemplateImport), baadal.CheckName("name", in.Name), checkTemplateKind(in.Kind), checkSource(in)); err != nil {
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
		ds, err := importPlace(tx, a, in)
		if err != nil {
			return err
		}
		t = baadal.Template{
			Name: in.Name, OS: in.OS, DatastoreID: ds.ID, Datastore: ds.Name, State: baadal.TemplateImporting, Source: source, Format: "qcow2", Kind: in.Kind,
		}
		// The file's name never comes back: a template imported anew under an old
		// name is another file, so overlays cannot end up on the wrong one.
		var b [4]byte
		_, _ = rand.Read(b[:])
		t.File = in.Name + "-" + hex.EncodeToString(b[:]) + ".img"
		if t.Kind == baadal.TemplateISO {
			t.File, t.Format = strings.TrimSuffix(t.File, ".img")+baadal.ISOSuffix, "raw"
		}
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

func checkTemplateKind(kind string) error {
	if kind != "" && kind != baadal.TemplateDisk && kind != baadal.TemplateISO {
		return baadal.Errorf(baadal.Invalid, "%q is no kind of template", kind).WithField("kind").WithDetail("disk and iso are")
	}
	return nil
}

func checkSource(in baadal.TemplateImport) error {
	if (in.URL == "") == (in.UploadID == "") {
		return baadal.Errorf(baadal.Invalid, "give either a URL or an upload").WithField("url")
	}
	if in.URL != "" {
		u, err := url.Parse(in.URL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
			return baadal.Errorf(baadal.Invalid, "the URL is not usable").WithField("url").WithDetail("http or https, without a password in it")
		}
	}
	return nil
}

// importPlace is the datastore that the upload lies on, which is taken, or the
// one for what a URL gives.
func importPlace(tx *store.Tx, a baadal.Actor, in baadal.TemplateImport) (ds baadal.Datastore, err error) {
	if in.UploadID == "" {
		return importTarget(tx, in.Datastore)
	}
	f, err := takeUpload(tx, a, in.UploadID)
	if err != nil {
		return ds, err
	}
	if in.Datastore != "" {
		if ds, err = tx.DatastoreByRef(in.Datastore); err != nil {
			return ds, fieldOf(err, "datastore")
		}
		if ds.ID != f.DatastoreID {
			return ds, baadal.Errorf(baadal.Invalid, "the upload is on datastore %s, not on %s", f.Datastore, ds.Name).WithField("datastore").
				WithNext("Upload it there", "baadal template import FILE --datastore "+ds.Name)
		}
		return ds, nil
	}
	return tx.Datastore(f.DatastoreID)
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
		if t, err = tx.TemplateFor(ref, a.Sees(baadal.ActionTemplateDelete)); err != nil {
			return err
		}
		if err := first(checkGeneration(opt, t.Generation), mayDelete(a, &t), deletableISO(tx, &t), deletableTemplate(&t)); err != nil {
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
