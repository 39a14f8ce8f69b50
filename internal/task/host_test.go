package task_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
	"baadal/internal/task"
)

// TestHangingHostsLeaveWorkers: however much work there is for hosts that hang,
// a worker is left for one that does not.
func TestHangingHostsLeaveWorkers(t *testing.T) {
	t.Parallel()
	db := storetest.Open(t)
	const well = 99
	hang := make(chan struct{})
	var hanging atomic.Int32
	vm := int64(0)
	for range 8 { // three hosts that hang, with enough work for all workers
		for host := range int64(3) {
			vm++
			if _, err := submit(t, db, vm, func(k *baadal.Task) { k.HostID = host + 1 }); err != nil {
				t.Fatal(err)
			}
		}
	}
	start(t, db, task.Options{Workers: 16}, task.Body{Steps: []task.Step{{Name: "work", Do: func(context.Context, *task.Run) error { return nil }}, {
		Name: "hang", Do: func(_ context.Context, r *task.Run) error {
			if r.Task.HostID != well {
				hanging.Add(1)
				<-hang
			}
			return nil
		},
	}}})
	defer close(hang)
	for deadline := time.Now().Add(20 * time.Second); hanging.Load() < 12 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	for range 5 {
		vm++
		id, err := submit(t, db, vm, func(k *baadal.Task) { k.HostID = well })
		if err != nil {
			t.Fatal(err)
		}
		await(t, db, id, "ended beside hosts that hang", ended)
	}
	if n := hanging.Load(); n < 12 || n > 15 {
		t.Errorf("%d of 16 workers are at hosts that hang", n)
	}
}

// TestHostThatWentDown: a task in the midst of work on a host that goes down waits
// without a worker and goes on when the host is back; when it stays away, the
// task ends after one more try.
func TestHostThatWentDown(t *testing.T) {
	t.Parallel()
	for name, returns := range map[string]bool{"comes back": true, "stays away": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var ahead atomic.Int64
			db := storetest.OpenDSN(t, store.Config{DSN: storetest.SQLiteDSN(t), Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
			host := baadal.Host{Name: "host1", Address: "10.0.0.1", State: baadal.HostUp}
			change := func(fn func(tx *store.Tx) error) {
				t.Helper()
				if err := db.Update(t.Context(), fn); err != nil {
					t.Fatal(err)
				}
			}
			change(func(tx *store.Tx) error { return tx.CreateHost(&host) })
			setState := func(state baadal.HostState) {
				change(func(tx *store.Tx) error {
					if _, err := tx.SetHostState(host.ID, state, "", false); err != nil {
						return err
					}
					return tx.NudgeTasks(host.ID)
				})
			}
			var away atomic.Bool
			var tries atomic.Int32
			start(t, db, task.Options{Backoff: 50 * time.Millisecond}, task.Body{Steps: []task.Step{{Name: "work", Do: func(context.Context, *task.Run) error {
				if tries.Add(1); away.Load() {
					return unavailable
				}
				return nil
			}}}})
			away.Store(true)
			id, err := submit(t, db, 1, func(k *baadal.Task) { k.HostID = host.ID })
			if err != nil {
				t.Fatal(err)
			}
			await(t, db, id, "in retry", func(k baadal.Task) bool { return k.State == baadal.TaskRetry })
			setState(baadal.HostDown)
			time.Sleep(100 * time.Millisecond) // for a try that was under way
			before := tries.Load()
			time.Sleep(300 * time.Millisecond)
			if n := tries.Load(); n != before {
				t.Errorf("it was tried %d times while the host is away", n-before)
			}
			if !returns {
				ahead.Add(int64(3 * time.Minute))
				k := await(t, db, id, "failed", ended)
				if n := tries.Load(); k.State != baadal.TaskFailed || n != before+1 || !strings.Contains(k.Message, "host1 does not answer") {
					t.Errorf("%s after %d more tries: %s", k.State, n-before, k.Message)
				}
				return
			}
			away.Store(false)
			setState(baadal.HostUp)
			if k := await(t, db, id, "ended", ended); k.State != baadal.TaskSuccess {
				t.Errorf("it ends as %s: %s", k.State, k.Message)
			}
		})
	}
}
