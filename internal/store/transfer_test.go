package store_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// TestPrivateTemplates: a template with an owner is his and of those who see his
// things; its name is nobody else's business.
func TestPrivateTemplates(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		other := baadal.User{Username: "ravi", OrganisationID: w.org.ID, Roles: []baadal.Role{baadal.RoleUser}}
		private := func(u baadal.User, name string) baadal.Template {
			return baadal.Template{
				Name: name, DatastoreID: w.datastore.ID, File: name + "-" + u.Username, State: baadal.TemplateReady, OwnerID: u.ID, OrganisationID: u.OrganisationID,
			}
		}
		var his, mine baadal.Template
		update(t, db, func(tx *store.Tx) error {
			if err := tx.CreateUser(&other, ""); err != nil {
				return err
			}
			his, mine = private(w.user, "saved"), private(other, "saved")
			if err := tx.CreateTemplate(&his); err != nil {
				return err
			}
			return tx.CreateTemplate(&mine)
		})
		wantError(t, db, baadal.Conflict, "exists", func(tx *store.Tx) error {
			again := private(other, "saved")
			again.File = "x"
			return tx.CreateTemplate(&again)
		})
		own := func(u baadal.User) baadal.Visibility {
			return baadal.Visibility{Scope: baadal.ScopeOwn, UserID: u.ID, OrganisationID: u.OrganisationID}
		}
		inOrg := baadal.Visibility{Scope: baadal.ScopeOrg, UserID: 4711, OrganisationID: w.org.ID}
		view(t, db, func(tx *store.Tx) error {
			for _, x := range []struct {
				name string
				vis  baadal.Visibility
				want int // listed: those of the world and these
				id   int64
			}{
				{"his", own(w.user), 2, his.ID},
				{"mine", own(other), 2, mine.ID},
				{"nobody's", baadal.Visibility{}, 1, 0},
				{"another organisation's", baadal.Visibility{Scope: baadal.ScopeOrg, UserID: 4711, OrganisationID: 4711}, 1, 0},
				{"the organisation's", inOrg, 3, -1},
				{"everybody's", anyone, 3, -1},
			} {
				l, err := tx.Templates(baadal.ListQuery{}, x.vis)
				if err != nil || len(l.Items) != x.want || l.Total != x.want {
					t.Errorf("%s: %d listed of %d, want %d: %v", x.name, len(l.Items), l.Total, x.want, err)
				}
				m, err := tx.TemplateFor("saved", x.vis)
				switch {
				case x.id == -1 && baadal.CodeOf(err) != "ambiguous", x.id == 0 && baadal.KindOf(err) != baadal.NotFound, x.id > 0 && m.ID != x.id:
					t.Errorf("%s finds %d, %v", x.name, m.ID, err)
				}
			}
			if _, err := tx.TemplateByRef("saved"); baadal.KindOf(err) != baadal.NotFound {
				t.Errorf("by its name: %v", err)
			}
			m, err := tx.Template(his.ID)
			if m.Owner != w.user.Username || m.OrganisationID != w.org.ID {
				t.Errorf("%+v", m)
			}
			return err
		})
	})
}

// TestVMWithoutTemplate: a VM that was imported stands on none.
func TestVMWithoutTemplate(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		vm, with := w.vm("imported"), w.vm("created")
		vm.TemplateID = 0
		w.create(t, &vm)
		w.create(t, &with)
		view(t, db, func(tx *store.Tx) error {
			l, err := tx.VMs(baadal.ListQuery{Sort: "name"}, anyone)
			if err != nil || len(l.Items) != 2 || l.Items[1].Template != "" || l.Items[0].Template != w.template.Name {
				t.Errorf("%+v, %v", l.Items, err)
			}
			got, err := tx.VM(vm.ID)
			if err != nil || got.TemplateID != 0 || got.Template != "" || got.Address == "" {
				t.Errorf("%+v, %v", got, err)
			}
			m, err := tx.Template(w.template.ID)
			if m.VMs != 1 {
				t.Errorf("%d VMs are on the template", m.VMs)
			}
			return err
		})
	})
}

func TestTransfers(t *testing.T) {
	t.Parallel()
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		var later atomic.Int64
		db := storetest.OpenDSN(t, store.Config{DSN: dsn, Now: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }})
		w := newWorld(t, db, 3)
		upload := baadal.Transfer{UUID: "up", Kind: baadal.TransferUpload, Name: "upload", DatastoreID: w.datastore.ID, OwnerID: w.user.ID, RequesterID: w.user.ID}
		export := baadal.Transfer{
			UUID: "ex", Kind: baadal.TransferExport, Name: "web.qcow2", DatastoreID: w.datastore.ID, OwnerID: 11, OrganisationID: 12, RequesterID: 13, VMID: 14,
		}
		making := export
		making.UUID = "making"
		info := baadal.ImageInfo{FileSize: 1, VirtualSize: 2, SHA256: "s"}
		update(t, db, func(tx *store.Tx) error {
			for _, f := range []*baadal.Transfer{&upload, &export, &making} {
				if err := tx.CreateTransfer(f); err != nil {
					return err
				}
			}
			for range 2 {
				if err := tx.SetTransfer(export.ID, baadal.TransferReady, info); err != nil {
					return err
				}
			}
			return tx.SetTransfer(upload.ID, baadal.TransferReady, info)
		})
		view(t, db, func(tx *store.Tx) error {
			f, err := tx.Transfer(export.ID, anyone)
			if err != nil || f.State != baadal.TransferReady || f.Size != 1 || f.VirtualSize != 2 || f.SHA256 != "s" || f.Datastore != w.datastore.Name || f.VMID != 14 {
				t.Errorf("%+v, %v", f, err)
			}
			for user, sees := range map[int64]bool{11: true, 13: true, 14: false} {
				_, err := tx.TransferByUUID("ex", baadal.Visibility{Scope: baadal.ScopeOwn, UserID: user})
				if (err == nil) != sees || err != nil && baadal.KindOf(err) != baadal.NotFound {
					t.Errorf("user %d: %v", user, err)
				}
			}
			return nil
		})
		idle := func(after time.Duration, want ...int64) {
			t.Helper()
			later.Store(int64(after))
			view(t, db, func(tx *store.Tx) error {
				all, err := tx.IdleTransfers()
				var got []int64
				for _, f := range all {
					got = append(got, f.ID)
				}
				if !slices.Equal(got, want) {
					t.Errorf("after %s: %v are idle, want %v", after, got, want)
				}
				return err
			})
		}
		idle(time.Minute)
		idle(baadal.KeepExport+time.Minute, export.ID)
		update(t, db, func(tx *store.Tx) error { return tx.UseTransfer(export.ID) })
		idle(baadal.KeepExport + 2*time.Minute)
		idle(baadal.KeepUpload+time.Minute, upload.ID, export.ID) // what is being made is its task's
		update(t, db, func(tx *store.Tx) error {
			return tx.InsertTask(&baadal.Task{Kind: baadal.TaskTransferRemove, Subject: baadal.Subject{Kind: "transfer", ID: export.ID, Name: "x"}, Exclusive: true})
		})
		idle(baadal.KeepUpload+time.Minute, upload.ID)
		update(t, db, func(tx *store.Tx) error {
			for range 2 {
				if err := tx.DeleteTransfer(upload.ID); err != nil {
					return err
				}
			}
			return nil
		})
		wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error { _, err := tx.Transfer(upload.ID, anyone); return err })
		wantError(t, db, baadal.Conflict, "datastore_in_use", func(tx *store.Tx) error {
			if err := tx.DeleteTemplate(w.template.ID); err != nil {
				return err
			}
			return tx.DeleteDatastore(w.datastore.ID)
		})
	})
}
