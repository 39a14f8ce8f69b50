package workflow_test

import (
	"context"
	"fmt"
	"regexp"
	"testing"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task/tasktest"
)

// backUp makes a backup of the VM "ml".
func backUp(in baadal.BackupCreate) func(testing.TB, *cloud) {
	return func(tb testing.TB, c *cloud) {
		tb.Helper()
		ch, err := c.svc.CreateBackup(context.Background(), c.actor, "ml", in, none)
		c.finish(tb, ch.Task, err)
	}
}

// newest is the newest backup's id.
func (c *cloud) newest(tb testing.TB) string {
	tb.Helper()
	list, err := c.svc.Backups(context.Background(), c.actor, baadal.ListQuery{})
	if err != nil || len(list.Items) == 0 {
		tb.Fatalf("%d backups, %v", len(list.Items), err)
	}
	return fmt.Sprint(list.Items[0].ID)
}

// chains are what a failed operation need not leave as it was: the next backup
// is a full one then.
var chains = regexp.MustCompile(` (checkpoints|bitmaps)=\S+`)

// backupLines is what the state says of backups.
func backupLines(tx *store.Tx) (lines []string, err error) {
	all, err := tx.AllBackups()
	for _, b := range all {
		lines = append(lines, fmt.Sprintf("backup %d %s of %s, %s %s %s, on %d, %d GiB claimed, %d bytes in %d files", b.ID, b.UUID, b.VM, b.Kind, b.Type, b.State,
			b.ParentID, b.ClaimGiB, b.Bytes, len(b.Files)))
	}
	return lines, err
}

func backupCases() []tasktest.Case {
	ctx := context.Background()
	create := func(in baadal.BackupCreate) func(testing.TB, *cloud) int64 {
		return func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.CreateBackup(ctx, c.actor, "ml", in, none)
			return submitted(tb, ch, err)
		}
	}
	restore := func(in baadal.BackupRestore) func(testing.TB, *cloud) int64 {
		return func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.RestoreBackup(ctx, c.actor, c.newest(tb), in, none)
			return submitted(tb, ch, err)
		}
	}
	full, more := backUp(baadal.BackupCreate{}), backUp(baadal.BackupCreate{Incremental: true})
	return []tasktest.Case{
		diskCase("back up a running vm", create(baadal.BackupCreate{}), addDisk),
		diskCase("back up a stopped vm", create(baadal.BackupCreate{Incremental: true}), addDisk, off),
		diskCase("begin increments", create(baadal.BackupCreate{Incremental: true}), addDisk),
		diskCase("make an increment", create(baadal.BackupCreate{Incremental: true}), addDisk, more),
		diskCase("verify a backup", func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.VerifyBackup(ctx, c.actor, c.newest(tb), none)
			return submitted(tb, ch, err)
		}, more, more),
		either(diskCase("delete a backup", func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.DeleteBackup(ctx, c.actor, c.newest(tb), none)
			return submitted(tb, ch, err)
		}, more, more)),
		diskCase("restore a backup and start it", restore(baadal.BackupRestore{As: "again", Start: true}), addDisk, full),
		diskCase("restore an increment of a deleted vm", restore(baadal.BackupRestore{As: "ml"}), more, more, deleted),
		either(diskCase("restore a backup in place", func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.RestoreBackupInPlace(ctx, c.actor, c.newest(tb), none)
			return submitted(tb, ch, err)
		}, addDisk, more, cloned, snapshotted, off)),
		diskCase("snapshot a vm that has increments", func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.CreateSnapshot(ctx, c.actor, "ml", baadal.SnapshotCreate{Name: "s"}, none)
			return submitted(tb, ch, err)
		}, more),
		either(diskCase("migrate a vm that has increments", func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.MigrateVM(ctx, c.actor, "ml", baadal.VMMigrate{}, none)
			return submitted(tb, ch, err)
		}, more)),
	}
}

func TestBackups(t *testing.T)      { tasktest.Run(t, backupCases()) }
func TestBackupsChild(t *testing.T) { tasktest.Child(t, backupCases()) }
