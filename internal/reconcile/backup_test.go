package reconcile_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

// endBackupTasks plays the worker: it ends what was asked for about backups, and
// tells what it was. An increment stands on the newest backup, unless that has
// the given number below it.
func (c *cloud) endBackupTasks(t *testing.T, well bool, most int) (done []string) {
	t.Helper()
	c.update(t, func(tx *store.Tx) error {
		done = nil
		if _, err := tx.LeaseTasks("me", tx.Now().Add(time.Hour), 8, 16); err != nil {
			return err
		}
		all, err := tx.ActiveTasks()
		if err != nil {
			return err
		}
		for _, k := range all {
			what := ""
			switch k.Kind {
			case baadal.TaskBackupCreate:
				what, err = endBackup(tx, k, well, most)
			case baadal.TaskBackupDelete:
				what, err = fmt.Sprintf("delete %d", k.Subject.ID), tx.DeleteBackup(k.Subject.ID)
			default:
				continue
			}
			if err != nil {
				return err
			}
			done = append(done, what)
			k.State = map[bool]baadal.TaskState{true: baadal.TaskSuccess, false: baadal.TaskFailed}[well]
			if err := tx.SaveTask(&k, "me", false, time.Time{}); err != nil {
				return err
			}
		}
		return nil
	})
	return done
}

func endBackup(tx *store.Tx, k baadal.Task, well bool, most int) (string, error) {
	var p struct {
		BackupID    int64             `json:"backup_id"`
		Incremental bool              `json:"incremental"`
		Type        baadal.BackupType `json:"type"`
	}
	if err := json.Unmarshal(k.Params, &p); err != nil {
		return "", err
	}
	if !well {
		return "failed", tx.DeleteBackup(p.BackupID)
	}
	all, err := tx.VMBackups(k.Subject.ID)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(all, func(b baadal.Backup) bool { return b.ID == p.BackupID })
	b, below := all[i], 0
	for up := b.ID - 1; p.Incremental && up > 0; below++ {
		parent, err := tx.Backup(up)
		if err != nil {
			break
		}
		up = parent.ParentID
	}
	b.State, b.ClaimGiB = baadal.BackupReady, 0
	if p.Incremental && below > 0 && below <= most {
		b.Kind, b.ParentID = baadal.BackupIncremental, b.ID-1
	}
	return fmt.Sprintf("%s %s %d", p.Type, b.Kind, b.ID), tx.UpdateBackup(&b)
}

// TestScheduledBackups: one a day; of those that are too many the newest goes
// first, and what others stand on stays until they have gone.
func TestScheduledBackups(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		opt := rarely
		opt.Schedule = time.Hour
		vm := c.vm(t, "host1", "ml")
		c.update(t, func(tx *store.Tx) error {
			return tx.SetBackupSchedule(vm.ID, baadal.BackupSchedule{Every: baadal.BackupDaily, Incremental: true, Keep: 2})
		})
		c.start(opt)
		var got []string
		for range 24*6 - 1 {
			pass(time.Hour)
			got = append(got, c.endBackupTasks(t, true, 2)...)
		}
		want := []string{
			"daily full 1", "daily incremental 2", "daily incremental 3", "daily full 4", "daily incremental 5", "delete 3", "delete 2", "delete 1", "daily incremental 6",
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		c.view(t, func(tx *store.Tx) error {
			left, err := tx.VMBackups(vm.ID)
			if len(left) != 3 { // 4 stays for 5 and 6
				t.Errorf("%d are left", len(left))
			}
			return err
		})
	})
}

// TestScheduledBackupThatFails is asked for again after a pause; one that does
// not fit is not asked for, and a VM without a schedule neither.
func TestScheduledBackupThatFails(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		opt := rarely
		opt.Schedule = 10 * time.Minute
		vm := c.vm(t, "host1", "ml")
		c.vm(t, "host1", "unscheduled")
		c.update(t, func(tx *store.Tx) error {
			return tx.SetBackupSchedule(vm.ID, baadal.BackupSchedule{Every: baadal.BackupDaily, Keep: 1})
		})
		c.start(opt)
		asked := 0
		for range 14 { // two hours, once the datastore was measured
			pass(10 * time.Minute)
			asked += len(c.endBackupTasks(t, false, 0))
		}
		if asked != 3 { // at once, after one hour, after two
			t.Errorf("asked for %d times in two hours", asked)
		}
		c.update(t, func(tx *store.Tx) error {
			_, err := tx.SetDatastoreUsage(c.ds.ID, baadal.DatastoreReadOnly, "it is read-only", baadal.DatastoreUsage{Mounted: true, Capacity: 1 << 40, Free: 1 << 40}, nil)
			return err
		})
		pass(3 * time.Hour)
		if more := c.endBackupTasks(t, false, 0); len(more) > 0 {
			t.Errorf("on a read-only datastore: %v", more)
		}
	})
}

// TestBackupsOfGoneVMs go when their retention is over, the newest first.
func TestBackupsOfGoneVMs(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		opt := rarely
		opt.Schedule = time.Hour
		vm := c.vm(t, "host1", "ml")
		c.update(t, func(tx *store.Tx) error {
			var parent int64
			for range 2 {
				b, _, err := tx.BackupOf(vm)
				if err != nil {
					return err
				}
				b.DatastoreID, b.Type = c.ds.ID, baadal.BackupUser
				if err := tx.CreateBackup(&b); err != nil {
					return err
				}
				b.State, b.ParentID = baadal.BackupReady, parent
				if err := tx.UpdateBackup(&b); err != nil {
					return err
				}
				parent = b.ID
			}
			if _, err := tx.SetSetting(baadal.SettingBackupKeepGone, "48h", 0, "test"); err != nil {
				return err
			}
			return tx.DeleteVM(vm.ID)
		})
		c.start(opt)
		pass(47 * time.Hour)
		if early := c.endBackupTasks(t, true, 0); len(early) > 0 {
			t.Errorf("before its time: %v", early)
		}
		var got []string
		for range 5 {
			pass(time.Hour)
			got = append(got, c.endBackupTasks(t, true, 0)...)
		}
		if strings.Join(got, ", ") != "delete 2, delete 1" {
			t.Errorf("%v", got)
		}
	})
}
