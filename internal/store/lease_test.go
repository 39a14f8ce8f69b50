package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// leasing is a store with tasks whose leases run out before the next call.
type leasing struct {
	*world
	clock *clock
	names map[int64]string // of tasks
	calls int
}

// submit stores a task for the world's host.
func (l *leasing) submit(t *testing.T, name string, change func(*baadal.Task)) (id int64) {
	t.Helper()
	k := baadal.Task{
		Kind: baadal.TaskVMStart, Subject: baadal.Subject{Kind: "vm", ID: int64(len(l.names) + 1), Name: name}, HostID: l.host.ID, Exclusive: true,
	}
	if change != nil {
		change(&k)
	}
	update(t, l.db, func(tx *store.Tx) error { return tx.InsertTask(&k) })
	l.names[k.ID] = name
	return k.ID
}

// lease leases what is due, ends it if it is asked to, and returns the names.
func (l *leasing) lease(t *testing.T, end bool) (got []string) {
	t.Helper()
	update(t, l.db, func(tx *store.Tx) error {
		l.calls++
		all, err := tx.LeaseTasks(fmt.Sprint("lease", l.calls), tx.Now().Add(time.Second), 8, 16)
		for _, k := range all {
			got = append(got, l.names[k.ID])
			if end {
				k.State = baadal.TaskFailed
				if err := tx.SaveTask(&k, fmt.Sprint("lease", l.calls), false, time.Time{}); err != nil {
					return err
				}
			}
		}
		return err
	})
	slices.Sort(got)
	l.clock.at = l.clock.at.Add(2 * time.Second) // the leases run out
	return got
}

// TestTasksOfHostsThatAreDown wait for the host, for a while; then they are tried
// one at a time. What was cancelled, is late, or looks at the host does not wait.
func TestTasksOfHostsThatAreDown(t *testing.T) {
	t.Parallel()
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		db, clock := openAt(t, dsn)
		l := &leasing{world: newWorld(t, db, 1), clock: clock, names: map[int64]string{}}
		leased := func(when string, want ...string) {
			t.Helper()
			if d := cmp.Diff(want, l.lease(t, false)); d != "" {
				t.Errorf("%s (-want +got):\n%s", when, d)
			}
		}
		setState := func(state baadal.HostState) {
			update(t, db, func(tx *store.Tx) error { _, err := tx.SetHostState(l.host.ID, state, "", false); return err })
		}
		l.submit(t, "first", nil)
		l.submit(t, "second", nil)
		l.submit(t, "elsewhere", func(k *baadal.Task) { k.HostID = 0 })
		leased("the host is up", "elsewhere", "first", "second")
		setState(baadal.HostDown)
		leased("it went down", "elsewhere")
		cancelled := l.submit(t, "cancelled", nil)
		update(t, db, func(tx *store.Tx) error { return tx.CancelTask(cancelled, "asha") })
		leased("one is cancelled", "cancelled", "elsewhere")
		late := clock.at.Add(-time.Second)
		l.submit(t, "late", func(k *baadal.Task) { k.Deadline = &late })
		l.submit(t, "look", func(k *baadal.Task) { k.Subject.Kind = "host" })
		for range 3 { // one at a time on this host
			on := slices.DeleteFunc(l.lease(t, true), func(name string) bool { return name == "elsewhere" })
			if len(on) != 1 {
				t.Errorf("at one time on a host that is down: %v", on)
			}
		}
		leased("only those that wait are left")
		clock.at = clock.at.Add(2 * time.Minute)
		leased("it has been away for long", "first")
		view(t, db, func(tx *store.Tx) error {
			lost, err := tx.HostLost(l.host.ID)
			if !lost {
				t.Error("the host is not lost")
			}
			return err
		})
		setState(baadal.HostUp)
		leased("it is back", "first", "second")
	})
}

// TestFailures counts what failed since it last went well.
func TestFailures(t *testing.T) {
	t.Parallel()
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		db, clock := openAt(t, dsn)
		s := baadal.Subject{Kind: "vm", ID: 7, Name: "web"}
		for _, x := range []struct {
			kind  baadal.TaskKind
			state baadal.TaskState
			want  int // failures afterwards
		}{
			{baadal.TaskVMPurge, baadal.TaskFailed, 1},
			{baadal.TaskVMStart, baadal.TaskFailed, 1},
			{baadal.TaskVMPurge, baadal.TaskFailed, 2},
			{baadal.TaskVMPurge, baadal.TaskSuccess, 0},
			{baadal.TaskVMPurge, baadal.TaskIgnore, 1},
		} {
			clock.at = clock.at.Add(time.Minute)
			update(t, db, func(tx *store.Tx) error {
				k := baadal.Task{Kind: x.kind, Subject: s, Exclusive: true}
				if err := tx.InsertTask(&k); err != nil {
					return err
				}
				if _, err := tx.LeaseTasks("l", tx.Now().Add(time.Minute), 8, 16); err != nil {
					return err
				}
				k.State, k.EndedAt = x.state, new(tx.Now())
				return tx.SaveTask(&k, "l", false, time.Time{})
			})
			view(t, db, func(tx *store.Tx) error {
				n, last, err := tx.Failures(baadal.TaskVMPurge, s)
				if n != x.want || n == 1 && x.kind == baadal.TaskVMPurge && !last.Equal(clock.at) {
					t.Errorf("after %s %s: %d failures, the last at %s, want %d", x.kind, x.state, n, last, x.want)
				}
				return err
			})
		}
	})
}

// TestPruneInPieces forgets what is old in bounded pieces, oldest first, and
// nothing new.
func TestPruneInPieces(t *testing.T) {
	t.Parallel()
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		db, clock := openAt(t, dsn)
		add := func(n int) {
			update(t, db, func(tx *store.Tx) error {
				for range n {
					if _, err := tx.AddEvent(baadal.Event{Topic: "vm", Subject: baadal.Subject{Kind: "vm", ID: 1, Name: "web"}, What: "x"}); err != nil {
						return err
					}
				}
				return nil
			})
		}
		add(store.PruneBatch + 500)
		old := clock.at
		clock.at = clock.at.Add(time.Hour)
		add(700)
		for _, want := range []int{store.PruneBatch, 500, 0} {
			update(t, db, func(tx *store.Tx) error {
				n, err := tx.PruneEvents(old.Add(time.Minute))
				if n != want {
					t.Errorf("forgot %d, want %d", n, want)
				}
				return err
			})
		}
		view(t, db, func(tx *store.Tx) error {
			left, err := tx.EventsAfter(0, nil, nil, anyone, 5000)
			if len(left) != 700 {
				t.Errorf("%d are left", len(left))
			}
			return err
		})
	})
}

// TestIgnoredTasksLeaveNoState that only they could have ended.
func TestIgnoredTasksLeaveNoState(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 1)
		vm := w.vm("web")
		w.create(t, &vm)
		m := w.template
		m.Name, m.File, m.State = "half", "half.qcow2", baadal.TemplateImporting
		k := baadal.Disk{VMID: vm.ID, DatastoreID: w.datastore.ID, SizeGiB: 1, Target: "vdb"}
		update(t, db, func(tx *store.Tx) error {
			if err := tx.CreateTemplate(&m); err != nil {
				return err
			}
			if err := tx.CreateDisk(&k); err != nil {
				return err
			}
			for _, s := range []baadal.Subject{{Kind: "vm", ID: vm.ID, Name: vm.Name}, {Kind: "template", ID: m.ID, Name: m.Name}} {
				failed := baadal.Task{Kind: baadal.TaskDiskAdd, Subject: s, Exclusive: true}
				if err := tx.InsertTask(&failed); err != nil {
					return err
				}
				if _, err := tx.LeaseTasks("l"+s.Kind, tx.Now().Add(time.Minute), 8, 16); err != nil {
					return err
				}
				failed.State = baadal.TaskFailed
				if err := tx.SaveTask(&failed, "l"+s.Kind, true, time.Time{}); err != nil {
					return err
				}
				if err := tx.IgnoreTask(failed.ID); err != nil {
					return err
				}
			}
			return nil
		})
		view(t, db, func(tx *store.Tx) error {
			now, err := tx.Template(m.ID)
			if err != nil || now.State != baadal.TemplateFailed {
				t.Errorf("the template is %s, %v", now.State, err)
			}
			d, err := tx.Disk(k.ID)
			if d.State != baadal.DiskDetached || d.Target != "" {
				t.Errorf("the disk is %s at %q", d.State, d.Target)
			}
			return err
		})
	})
}
