package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// backup stores a backup of a VM that is ready, standing on another one.
func backup(t *testing.T, w *world, vm baadal.VM, kind baadal.BackupType, parent int64, bytes int64) (b baadal.Backup) {
	t.Helper()
	update(t, w.db, func(tx *store.Tx) (err error) {
		if b, _, err = tx.BackupOf(vm); err != nil {
			return err
		}
		b.DatastoreID, b.Type = w.datastore.ID, kind
		if err := tx.CreateBackup(&b); err != nil {
			return err
		}
		b.State, b.ParentID, b.ClaimGiB, b.Bytes = baadal.BackupReady, parent, 0, bytes
		if parent != 0 {
			b.Kind = baadal.BackupIncremental
		}
		b.Files = []baadal.BackupFile{{Name: "disk0.qcow2", Bytes: bytes, SHA256: "ab"}}
		return tx.UpdateBackup(&b)
	})
	return b
}

func claimed(t *testing.T, w *world) (n int64) {
	t.Helper()
	view(t, w.db, func(tx *store.Tx) error {
		ds, err := tx.Datastore(w.datastore.ID)
		n = ds.Claimed
		return err
	})
	return n
}

func TestBackups(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		vm := w.vm("ml")
		vm.SSHKeys = []string{"k"}
		w.create(t, &vm)
		before := claimed(t, w)
		var b baadal.Backup
		update(t, db, func(tx *store.Tx) (err error) {
			k := baadal.Disk{VMID: vm.ID, DatastoreID: w.datastore.ID, SizeGiB: 3, IOPS: 7}
			if err := tx.CreateDisk(&k); err != nil {
				return err
			}
			k.State = baadal.DiskAttached
			if err := tx.UpdateDisk(&k); err != nil {
				return err
			}
			if vm, err = tx.VM(vm.ID); err != nil {
				return err
			}
			if b, _, err = tx.BackupOf(vm); err != nil {
				return err
			}
			b.DatastoreID, b.Type = w.datastore.ID, baadal.BackupUser
			return tx.ClaimBackup(&b, 1)
		})
		before += 3 << 30
		want := baadal.BackupMachine{
			UUID: vm.UUID, Identity: vm.Identity, State: baadal.VMRunning, VCPUs: 1, RAMMiB: 512, Template: "debian", Network: "lab", SSHKeys: []string{"k"},
			Disks: []baadal.BackupDisk{{Target: "vda", SizeGiB: 2, File: "disk0.qcow2"}, {ID: 1, Target: "vdb", SizeGiB: 3, File: "disk1.qcow2", IOPS: 7}},
		}
		if d := cmp.Diff(want, b.Machine); d != "" || b.State != baadal.BackupMaking || b.Owner != "asha" || b.TemplateID != w.template.ID {
			t.Errorf("%+v %s", b, d)
		}
		if n := claimed(t, w) - before; n != 5<<30 {
			t.Errorf("%d bytes are claimed while it is made", n)
		}
		wantError(t, db, baadal.Exhausted, "backup_limit", func(tx *store.Tx) error { c := b; return tx.ClaimBackup(&c, 1) })
		update(t, db, func(tx *store.Tx) error {
			now := tx.Now()
			b.State, b.ClaimGiB, b.Bytes, b.VerifiedAt, b.Reason = baadal.BackupReady, 0, 4711, &now, "why"
			b.Files = []baadal.BackupFile{{Name: "disk0.qcow2", Bytes: 4711, SHA256: "ab"}}
			return tx.UpdateBackup(&b)
		})
		if n := claimed(t, w) - before; n != 4711 {
			t.Errorf("%d bytes are claimed when it is made", n)
		}
		more := backup(t, w, vm, baadal.BackupDaily, b.ID, 100)
		view(t, db, func(tx *store.Tx) error {
			got, err := tx.BackupByRef(b.UUID, anyone)
			b.Standing = 1
			if d := cmp.Diff(b, got, cmpopts.EquateApproxTime(time.Millisecond)); d != "" {
				t.Error(d)
			}
			n, err2 := tx.BackupBytes(more)
			if n != 4811 || err2 != nil {
				t.Errorf("%d bytes, %v", n, err2)
			}
			return err
		})
		wantError(t, db, baadal.Conflict, "backup_needed", func(tx *store.Tx) error { return tx.DeleteBackup(b.ID) })
		wantError(t, db, baadal.Conflict, "datastore_in_use", func(tx *store.Tx) error { return tx.DeleteDatastore(w.datastore.ID) })
		update(t, db, func(tx *store.Tx) error {
			for range 2 {
				if err := tx.DeleteBackup(more.ID); err != nil {
					return err
				}
			}
			return tx.DeleteBackup(b.ID)
		})
		if n := claimed(t, w) - before; n != 0 {
			t.Errorf("%d bytes are claimed by nothing", n)
		}
	})
}

// TestBackupsOutliveTheirVM, and are found by whom they belong to.
func TestBackupsOutliveTheirVM(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		vm := w.vm("ml")
		w.create(t, &vm)
		full := backup(t, w, vm, baadal.BackupUser, 0, 10)
		more := backup(t, w, vm, baadal.BackupUser, full.ID, 10)
		update(t, db, func(tx *store.Tx) error {
			if err := tx.SetBackupChain(vm.ID, more.ID, "baadal-1"); err != nil {
				return err
			}
			if err := tx.NoteGoneBackups(); err != nil {
				return err
			}
			return tx.DeleteVM(vm.ID)
		})
		var gone time.Time
		update(t, db, func(tx *store.Tx) error { gone = tx.Now(); return tx.NoteGoneBackups() })
		update(t, db, func(tx *store.Tx) error { return tx.NoteGoneBackups() })
		for _, test := range []struct {
			query string
			vis   baadal.Visibility
			want  int
		}{
			{"", anyone, 2},
			{"vm:ML", anyone, 2},
			{"vm:other", anyone, 0},
			{"kind:incremental", anyone, 1},
			{"state:damaged", anyone, 0},
			{"owner:asha ml", anyone, 2},
			{"", baadal.Visibility{Scope: baadal.ScopeOwn, UserID: w.user.ID}, 2},
			{"", baadal.Visibility{Scope: baadal.ScopeOrg, UserID: 99, OrganisationID: w.org.ID}, 2},
			{"", baadal.Visibility{Scope: baadal.ScopeOrg, UserID: 99, OrganisationID: 99}, 0},
		} {
			view(t, db, func(tx *store.Tx) error {
				list, err := tx.Backups(baadal.ListQuery{Filter: test.query}, test.vis)
				if len(list.Items) != test.want || list.Total != test.want {
					t.Errorf("%q seen by %+v: %d of %d", test.query, test.vis, len(list.Items), list.Total)
				}
				return err
			})
		}
		view(t, db, func(tx *store.Tx) error {
			_, err := tx.BackupByRef(fmt.Sprint(full.ID), baadal.Visibility{Scope: baadal.ScopeOwn, UserID: 99})
			if baadal.KindOf(err) != baadal.NotFound {
				t.Errorf("somebody else's: %v", err)
			}
			early, err := tx.PurgeableBackups(gone)
			if err != nil {
				return err
			}
			due, err := tx.PurgeableBackups(gone.Add(time.Hour))
			if len(early) != 0 || len(due) != 1 || due[0].ID != more.ID || due[0].VMID != 0 || !due[0].GoneAt.Equal(gone.Truncate(time.Millisecond)) {
				t.Errorf("due are %+v, and before %+v", due, early) // the full one is needed
			}
			return err
		})
	})
}

func TestBackupChainsAndSchedules(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		vm, other := w.vm("ml"), w.vm("other")
		w.create(t, &vm)
		w.create(t, &other)
		b := backup(t, w, vm, baadal.BackupUser, 0, 10)
		chain := func(want string) {
			t.Helper()
			view(t, db, func(tx *store.Tx) error {
				id, name, err := tx.BackupChain(vm.ID)
				if got := fmt.Sprint(id, name); got != want {
					t.Errorf("the chain is %q, want %q", got, want)
				}
				return err
			})
		}
		chain("0")
		for want, set := range map[string]int64{"0baadal-1": 0, fmt.Sprint(b.ID) + "baadal-1": b.ID} {
			update(t, db, func(tx *store.Tx) error { return tx.SetBackupChain(vm.ID, set, "baadal-1") })
			chain(want)
		}
		update(t, db, func(tx *store.Tx) error { return tx.SetBackupChain(vm.ID, b.ID, "baadal-1") })
		update(t, db, func(tx *store.Tx) error { return tx.DeleteBackup(b.ID) })
		chain("0baadal-1") // nothing stands on what is gone, but the checkpoint is there
		for range 2 {
			update(t, db, func(tx *store.Tx) error { return tx.EndBackupChain(vm.ID) })
			chain("0")
		}
		s := baadal.BackupSchedule{Every: baadal.BackupWeekly, Incremental: true, Keep: 4, Datastore: "ds1"}
		update(t, db, func(tx *store.Tx) error {
			if err := tx.SetBackupSchedule(vm.ID, baadal.BackupSchedule{Every: baadal.BackupDaily, Keep: 1}); err != nil {
				return err
			}
			return tx.SetBackupSchedule(vm.ID, s)
		})
		view(t, db, func(tx *store.Tx) error {
			got, err := tx.BackupSchedule(vm.ID)
			if got != s || err != nil {
				t.Errorf("%+v, %v", got, err)
			}
			if got, err = tx.BackupSchedule(other.ID); err != nil || got != (baadal.BackupSchedule{Every: baadal.BackupNever, Keep: 1}) {
				t.Errorf("without a row: %+v, %v", got, err)
			}
			vms, err := tx.BackedUpVMs()
			if len(vms) != 1 || vms[0].ID != vm.ID {
				t.Errorf("%+v", vms)
			}
			return err
		})
		wantError(t, db, baadal.NotFound, "not_found", func(tx *store.Tx) error { return tx.SetBackupSchedule(999, s) })
	})
}
