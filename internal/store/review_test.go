package store_test

import (
	"testing"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// TestPruneTasks forgets what ended long ago, and nothing that is still owed.
func TestPruneTasks(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		end := func(vm int64, state baadal.TaskState, active bool) int64 {
			k := baadal.Task{Kind: baadal.TaskVMStart, Subject: baadal.Subject{Kind: "vm", ID: vm, Name: "vm"}, Exclusive: true}
			update(t, db, func(tx *store.Tx) error {
				if err := tx.InsertTask(&k); err != nil {
					return err
				}
				if _, err := tx.LeaseTasks("l", tx.Now().Add(time.Minute), 8, 16); err != nil {
					return err
				}
				at := tx.Now()
				k.State, k.EndedAt = state, &at
				if err := tx.SaveStep(k.ID, baadal.TaskStep{Name: "one", State: baadal.StepDone}); err != nil {
					return err
				}
				return tx.SaveTask(&k, "l", active, time.Time{})
			})
			return k.ID
		}
		done, owed := end(1, baadal.TaskSuccess, false), end(2, baadal.TaskFailed, true)
		for _, tc := range []struct {
			before time.Duration
			want   int
		}{{-time.Hour, 0}, {time.Hour, 1}} {
			update(t, db, func(tx *store.Tx) error {
				n, err := tx.PruneTasks(tx.Now().Add(tc.before))
				if n != tc.want {
					t.Errorf("pruned %d tasks that ended before %s from now, want %d", n, tc.before, tc.want)
				}
				return err
			})
		}
		view(t, db, func(tx *store.Tx) error {
			if _, err := tx.Task(done); baadal.KindOf(err) != baadal.NotFound {
				t.Errorf("the ended task: %v", err)
			}
			k, err := tx.Task(owed)
			if len(k.Steps) != 1 {
				t.Errorf("the journal of what is owed has %d lines", len(k.Steps))
			}
			return err
		})
	})
}
