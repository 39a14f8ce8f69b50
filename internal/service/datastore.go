package service

import (
	"context"

	"baadal"
	"baadal/internal/store"
)

func datastoreSubject(d baadal.Datastore) baadal.Subject {
	return baadal.Subject{Kind: "datastore", ID: d.ID, Name: d.Name}
}

// Datastores lists the datastores.
func (s *Service) Datastores(ctx context.Context, a baadal.Actor, q baadal.ListQuery) (list baadal.List[baadal.Datastore], err error) {
	if err := may(a, baadal.ActionDatastoreRead); err != nil {
		return list, err
	}
	err = s.db.View(ctx, func(tx *store.Tx) (err error) { list, err = tx.Datastores(q); return err })
	for i := range list.Items {
		datastoreActions(a, &list.Items[i])
	}
	return list, err
}

// Datastore returns one datastore by id or name.
func (s *Service) Datastore(ctx context.Context, a baadal.Actor, ref string) (d baadal.Datastore, err error) {
	if err := may(a, baadal.ActionDatastoreRead); err != nil {
		return d, err
	}
	err = s.db.View(ctx, func(tx *store.Tx) (err error) { d, err = tx.DatastoreByRef(ref); return err })
	datastoreActions(a, &d)
	return d, err
}

func datastoreActions(a baadal.Actor, d *baadal.Datastore) {
	d.Actions = map[string]baadal.Access{"remove": access(first(may(a, baadal.ActionDatastoreRemove), removableDatastore(d)))}
}

func removableDatastore(d *baadal.Datastore) error {
	if d.VMs+d.Templates > 0 {
		return baadal.Errorf(baadal.Conflict, "%s holds %d VMs and %d templates", d.Name, d.VMs, d.Templates).WithCode("datastore_in_use")
	}
	if d.Claimed > 0 {
		return baadal.Errorf(baadal.Conflict, "%s holds extra disks, or what can be restored", d.Name).WithCode("datastore_in_use").
			WithDetail("%d GiB are claimed on it", d.Claimed>>30)
	}
	return nil
}

// AddDatastore makes a mount point of the hosts known; the measuring loop finds
// out at once which hosts have it.
func (s *Service) AddDatastore(ctx context.Context, a baadal.Actor, in baadal.DatastoreAdd, opt baadal.ChangeOptions) (c baadal.Change[baadal.Datastore], err error) {
	if err := first(may(a, baadal.ActionDatastoreAdd), baadal.CheckName("name", in.Name), baadal.CheckDatastorePath(in.Path)); err != nil {
		return c, err
	}
	d := baadal.Datastore{Name: in.Name, Path: in.Path, State: baadal.DatastoreUnknown, Reason: "it was not measured yet"}
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if err := tx.CreateDatastore(&d); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		tx.Wake("datastore")
		return event(tx, a, baadal.Event{Subject: datastoreSubject(d), Version: d.Generation, What: "created"}, map[string]any{"path": d.Path})
	})
	if isDryRun(err) {
		return baadal.Change[baadal.Datastore]{Plan: &baadal.Plan{Summary: "add " + in.Name + " at " + in.Path + " of every host; its folders are made there"}}, nil
	}
	datastoreActions(a, &d)
	return baadal.Change[baadal.Datastore]{Resource: &d}, err
}

// RemoveDatastore forgets a datastore that nothing lies on; its files stay.
func (s *Service) RemoveDatastore(ctx context.Context, a baadal.Actor, ref string, opt baadal.ChangeOptions) (c baadal.Change[baadal.Datastore], err error) {
	if err := may(a, baadal.ActionDatastoreRemove); err != nil {
		return c, err
	}
	var d baadal.Datastore
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if d, err = tx.DatastoreByRef(ref); err != nil {
			return err
		}
		if err := first(checkGeneration(opt, d.Generation), removableDatastore(&d)); err != nil {
			return err
		}
		if err := tx.DeleteDatastore(d.ID); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		return event(tx, a, baadal.Event{Subject: datastoreSubject(d), Version: d.Generation + 1, What: "deleted"}, nil)
	})
	if isDryRun(err) {
		return baadal.Change[baadal.Datastore]{Plan: &baadal.Plan{Summary: "forget " + d.Name + "; its files stay"}}, nil
	}
	return baadal.Change[baadal.Datastore]{Resource: &d}, err
}
