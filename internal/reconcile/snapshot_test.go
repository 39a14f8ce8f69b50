package reconcile_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

// endSnapshotTask plays the worker: it ends the VM's task, well or not, and
// tells what it was about.
func (c *cloud) endSnapshotTask(t *testing.T, vm baadal.VM, well bool) (what string) {
	t.Helper()
	c.update(t, func(tx *store.Tx) error {
		k, err := tx.ActiveTask(baadal.Subject{Kind: "vm", ID: vm.ID})
		if err != nil || k == nil {
			what = "nothing"
			return err
		}
		full, err := tx.Task(k.ID)
		if err != nil {
			return err
		}
		var p struct {
			SnapshotID int64               `json:"snapshot_id"`
			Name       string              `json:"name"`
			Type       baadal.SnapshotType `json:"type"`
		}
		if err := json.Unmarshal(full.Params, &p); err != nil {
			return err
		}
		create := full.Kind == baadal.TaskSnapshotCreate
		what = strings.ToLower(strings.Fields(string(full.Kind))[0]) + " " + string(p.Type)
		if create == well {
			err = tx.FinishSnapshot(p.SnapshotID, 1, 512)
		} else {
			err = tx.DeleteSnapshot(p.SnapshotID)
		}
		if err != nil {
			return err
		}
		if _, err := tx.LeaseTasks("me", tx.Now().Add(time.Hour), 8, 16); err != nil {
			return err
		}
		if full, err = tx.Task(k.ID); err != nil {
			return err
		}
		full.State = map[bool]baadal.TaskState{true: baadal.TaskSuccess, false: baadal.TaskFailed}[well]
		return tx.SaveTask(&full, "me", false, time.Time{})
	})
	return what
}

// schedule sets which snapshots of a VM are made by themselves.
func (c *cloud) schedule(t *testing.T, vm baadal.VM, s baadal.SnapshotSchedule) {
	t.Helper()
	c.update(t, func(tx *store.Tx) error { return tx.SetSnapshotSchedule(vm.ID, s) })
}

// TestScheduledSnapshots: each type is made when its newest is too old; the old
// one goes only when the new one is there.
func TestScheduledSnapshots(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		opt := rarely
		opt.Schedule = time.Hour
		vm, busy := c.vm(t, "host1", "ml"), c.vm(t, "host1", "busy")
		c.schedule(t, vm, baadal.SnapshotSchedule{Daily: true, Weekly: true})
		c.schedule(t, busy, baadal.SnapshotSchedule{Daily: true})
		held := c.hold(t, baadal.TaskVMReboot, busy)
		c.start(opt)
		var got []string
		for range 24*3 - 1 {
			pass(time.Hour)
			if what := c.endSnapshotTask(t, vm, true); what != "nothing" {
				got = append(got, what)
			}
		}
		want := []string{"snapshot daily", "snapshot weekly", "snapshot daily", "delete daily", "snapshot daily", "delete daily"}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if all := c.tasks(t, baadal.TaskSnapshotCreate); len(all) != 4 {
			t.Errorf("%d snapshots were asked for", len(all))
		}
		c.view(t, func(tx *store.Tx) error {
			k, err := tx.ActiveTask(baadal.Subject{Kind: "vm", ID: busy.ID})
			if err == nil && (k == nil || k.ID != held.ID) {
				t.Errorf("the busy VM is held by %+v", k)
			}
			return err
		})
	})
}

// TestScheduledSnapshotThatFails is asked for again after a pause, not at once.
func TestScheduledSnapshotThatFails(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		opt := rarely
		opt.Schedule = 10 * time.Minute
		vm := c.vm(t, "host1", "ml")
		c.schedule(t, vm, baadal.SnapshotSchedule{Daily: true})
		c.start(opt)
		asked := 0
		for range 12 { // two hours
			pass(10 * time.Minute)
			if c.endSnapshotTask(t, vm, false) != "nothing" {
				asked++
			}
		}
		if asked != 3 { // at once, after one hour, after two
			t.Errorf("asked for %d times in two hours", asked)
		}
	})
}

// TestNoScheduledSnapshot where it would fill the datastore, could not be
// reverted to, or nobody wants it.
func TestNoScheduledSnapshot(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		opt := rarely
		opt.Schedule = 10 * time.Minute
		c.vm(t, "host1", "unscheduled")
		hot, off := c.vm(t, "host1", "hot"), c.row(t, "host1", "gone", baadal.VMMissing)
		hot.HotCPUs = true
		c.update(t, func(tx *store.Tx) error { return tx.UpdateVM(&hot) })
		big := c.vm(t, "host1", "big")
		must(t, c.world.FillUp(mount, 600<<20))
		c.update(t, func(tx *store.Tx) error {
			_, err := tx.SetDatastoreUsage(c.ds.ID, baadal.DatastoreOK, "", baadal.DatastoreUsage{Mounted: true, Writable: true, Capacity: 1 << 40, Free: 600 << 20}, nil)
			return err
		})
		big.RAMMiB = 1024
		c.update(t, func(tx *store.Tx) error { return tx.UpdateVM(&big) })
		for _, vm := range []baadal.VM{hot, off, big} {
			c.schedule(t, vm, baadal.SnapshotSchedule{Daily: true, Yearly: true})
		}
		c.start(opt)
		pass(time.Hour)
		if all := c.tasks(t, baadal.TaskSnapshotCreate); len(all) != 0 {
			t.Errorf("%d were asked for, the first of %s", len(all), all[0].Subject.Name)
		}
	})
}
