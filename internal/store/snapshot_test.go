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

// snapshots reads a VM's snapshots in few words.
func snapshots(t *testing.T, db *store.DB, vm int64) (all []string) {
	t.Helper()
	view(t, db, func(tx *store.Tx) error {
		list, err := tx.Snapshots(vm)
		for _, s := range list {
			all = append(all, fmt.Sprintf("%s %s on %q current %t ready %t %s %q", s.Name, s.Type, s.Parent, s.Current, s.Ready, s.VMState, s.XML))
		}
		return err
	})
	return all
}

func TestSnapshots(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		vm, other := w.vm("ml"), w.vm("other")
		first := baadal.Snapshot{
			Name: "first", Description: "d", Type: baadal.SnapshotUser, VMState: baadal.VMRunning, VCPUs: 2, RAMMiB: 512, DiskGiB: 4,
		}
		update(t, db, func(tx *store.Tx) error {
			for _, v := range []*baadal.VM{&vm, &other} {
				if err := create(tx, v); err != nil {
					return err
				}
			}
			first.VMID = vm.ID
			if err := tx.ClaimSnapshot(&first, 1); err != nil {
				return err
			}
			theirs := baadal.Snapshot{VMID: other.ID, Name: "first", Type: baadal.SnapshotUser, VMState: baadal.VMOff} // names are the VM's own
			return tx.CreateSnapshot(&theirs)
		})
		view(t, db, func(tx *store.Tx) error {
			got, err := tx.SnapshotByName(vm.ID, "FIRST")
			if d := cmp.Diff(first, got, cmpopts.EquateApproxTime(time.Millisecond)); d != "" {
				t.Error(d)
			}
			return err
		})
		for name, fn := range map[string]func(tx *store.Tx) error{
			"exists":         func(tx *store.Tx) error { s := first; s.Name = "First"; return tx.CreateSnapshot(&s) },
			"snapshot_limit": func(tx *store.Tx) error { s := first; s.Name = "second"; return tx.ClaimSnapshot(&s, 1) },
			"not_found":      func(tx *store.Tx) error { s := first; s.VMID = 999; return tx.CreateSnapshot(&s) },
			"not_found ":     func(tx *store.Tx) error { _, err := tx.SnapshotByName(vm.ID, "nope"); return err },
		} {
			if err := db.Update(t.Context(), fn); baadal.CodeOf(err) != name && string(baadal.KindOf(err))+" " != name {
				t.Errorf("%s: %v", name, err)
			}
		}
		update(t, db, func(tx *store.Tx) error {
			daily := baadal.Snapshot{VMID: vm.ID, Name: "daily-1", Type: baadal.SnapshotDaily, VMState: baadal.VMOff, CreatedAt: tx.Now().Add(time.Hour)}
			if err := tx.ClaimSnapshot(&daily, 1); err != nil { // another type
				return err
			}
			if err := tx.FinishSnapshot(first.ID, 1, 256); err != nil {
				return err
			}
			return tx.SeeSnapshots(vm.ID, []baadal.DomainSnapshot{
				{Name: "first", State: baadal.VMPaused, XML: "<1/>"},
				{Name: "daily-1", Parent: "first", Current: true, State: baadal.VMOff, XML: "<2/>"},
				{Name: "foreign", State: baadal.VMOff, XML: "<3/>"},
			})
		})
		want := []string{`first user on "" current false ready true paused "<1/>"`, `daily-1 daily on "first" current true ready false off "<2/>"`}
		if d := cmp.Diff(want, snapshots(t, db, vm.ID)); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{`first user on "" current false ready false off ""`}, snapshots(t, db, other.ID)); d != "" {
			t.Errorf("the other VM's: %s", d)
		}
		update(t, db, func(tx *store.Tx) error { return tx.DeleteVM(vm.ID) })
		if left := snapshots(t, db, vm.ID); left != nil {
			t.Errorf("left of a purged VM: %v", left)
		}
	})
}

// TestSnapshotLimitUnderConcurrency: many want the last places at once.
func TestSnapshotLimitUnderConcurrency(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 1)
		vm := w.vm("ml")
		update(t, db, func(tx *store.Tx) error { return create(tx, &vm) })
		outcome := parallel(20, func(i int) error {
			return db.Update(t.Context(), func(tx *store.Tx) error {
				s := baadal.Snapshot{VMID: vm.ID, Name: fmt.Sprintf("s%d", i), Type: baadal.SnapshotUser, VMState: baadal.VMOff}
				return tx.ClaimSnapshot(&s, 3)
			})
		})
		if got := len(snapshots(t, db, vm.ID)); got != 3 || outcome[""] != 3 {
			t.Errorf("%d snapshots, outcomes %v", got, outcome)
		}
	})
}

func TestSnapshotSchedules(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 5)
		vms := map[string]*baadal.VM{}
		update(t, db, func(tx *store.Tx) error {
			for _, name := range []string{"wanted", "ended", "left", "deleted", "none"} {
				vm := w.vm(name)
				if err := create(tx, &vm); err != nil {
					return err
				}
				vms[name] = &vm
			}
			for name, s := range map[string]baadal.SnapshotSchedule{"wanted": {Weekly: true}, "ended": {Daily: true}, "deleted": {Daily: true}} {
				if err := tx.SetSnapshotSchedule(vms[name].ID, s); err != nil {
					return err
				}
			}
			if err := tx.SetSnapshotSchedule(vms["ended"].ID, baadal.SnapshotSchedule{}); err != nil {
				return err
			}
			for name, kind := range map[string]baadal.SnapshotType{"left": baadal.SnapshotYearly, "none": baadal.SnapshotUser} {
				if err := tx.CreateSnapshot(&baadal.Snapshot{VMID: vms[name].ID, Name: "s", Type: kind, VMState: baadal.VMOff}); err != nil {
					return err
				}
			}
			_, _, err := tx.SetVMState(vms["deleted"].ID, baadal.VMDeleted, "")
			return err
		})
		view(t, db, func(tx *store.Tx) error {
			got, err := tx.ScheduledVMs()
			var names []string
			for _, vm := range got {
				names = append(names, vm.Name)
			}
			if d := cmp.Diff([]string{"wanted", "left"}, names); d != "" {
				t.Error(d)
			}
			if err != nil {
				return err
			}
			s, err := tx.SnapshotSchedule(vms["wanted"].ID)
			if err != nil || s != (baadal.SnapshotSchedule{Weekly: true}) {
				t.Errorf("%+v, %v", s, err)
			}
			s, err = tx.SnapshotSchedule(vms["none"].ID)
			if err != nil || s != (baadal.SnapshotSchedule{}) {
				t.Errorf("without a row: %+v, %v", s, err)
			}
			all, err := tx.AllSnapshots()
			if len(all) != 2 || len(all[vms["left"].ID]) != 1 {
				t.Errorf("%+v", all)
			}
			return err
		})
		if err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.SetSnapshotSchedule(999, baadal.SnapshotSchedule{Daily: true}) }); baadal.KindOf(err) != baadal.NotFound {
			t.Errorf("schedule of no VM: %v", err)
		}
	})
}

func TestLastTask(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		s := baadal.Subject{Kind: "vm", ID: 7, Name: "ml"}
		last := func(kind baadal.TaskKind) (at time.Time) {
			view(t, db, func(tx *store.Tx) (err error) { at, err = tx.LastTask(s, kind); return err })
			return at
		}
		if at := last(baadal.TaskSnapshotCreate); !at.IsZero() {
			t.Errorf("without a task: %s", at)
		}
		k := baadal.Task{Kind: baadal.TaskSnapshotCreate, Subject: s, Params: []byte("{}")}
		update(t, db, func(tx *store.Tx) error { return tx.InsertTask(&k) })
		if at := last(baadal.TaskSnapshotCreate); !at.Equal(k.CreatedAt.Truncate(time.Millisecond)) {
			t.Errorf("%s, want %s", at, k.CreatedAt)
		}
		if at := last(baadal.TaskSnapshotDelete); !at.IsZero() {
			t.Errorf("of another kind: %s", at)
		}
	})
}
