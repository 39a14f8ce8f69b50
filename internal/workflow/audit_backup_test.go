package workflow_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
)

// TestAuditOfBackups: a backup without its folder, or without a file, and a
// folder that no backup owns; one that is being made is in motion.
func TestAuditOfBackups(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	for range 3 {
		backUp(baadal.BackupCreate{})(t, a.cloud)
	}
	if got := a.audit(t, false); !got.Clean() {
		t.Errorf("with three backups: %+v", got.Differences)
	}
	var all []baadal.Backup
	a.view(t, func(tx *store.Tx) (err error) { all, err = tx.AllBackups(); return err })
	folder := func(i int) string { return baadal.DirBackups + "/" + all[i].UUID }
	if err := a.world.RemoveFolder(mount, folder(0)); err != nil {
		t.Fatal(err)
	}
	a.update(t, func(tx *store.Tx) error {
		b := all[1]
		b.Files = append(slices.Clone(b.Files), baadal.BackupFile{Name: "disk7.qcow2"})
		if err := tx.UpdateBackup(&b); err != nil {
			return err
		}
		return tx.DeleteBackup(all[2].ID)
	})
	var got []string
	for _, d := range a.audit(t, true).Differences {
		got = append(got, fmt.Sprintf("%s %s: %s, %s", d.Kind, d.Subject.Name, d.Stored, d.Seen))
	}
	slices.Sort(got)
	want := []string{
		fmt.Sprintf("missing_backup backup %d of ml: %s on main, it is not there", all[0].ID, folder(0)),
		fmt.Sprintf("missing_backup backup %d of ml: %s/disk7.qcow2 on main, it is not there", all[1].ID, folder(1)),
		fmt.Sprintf("orphan_backup main: no backup owns it, %s on main, 128 MiB", folder(2)),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestMendingEndsIncrements: the checkpoints went with a domain that somebody
// undefined; no bitmap of them may stay in the disks of the one that is defined
// in its place.
func TestMendingEndsIncrements(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	backUp(baadal.BackupCreate{Incremental: true})(t, a.cloud)
	for _, act := range []func(string, string) error{a.world.VirshDestroy, a.world.VirshUndefine} {
		if err := act(a.host, a.vm.UUID); err != nil {
			t.Fatal(err)
		}
	}
	a.audit(t, true)
	if left := chains.FindString(a.world.Snapshot()); left != "" {
		t.Errorf("left:%s", left)
	}
	a.act(t, baadal.ActionVMStart, "ml")
	backUp(baadal.BackupCreate{Incremental: true})(t, a.cloud)
	snapshotted(t, a.cloud)
}
