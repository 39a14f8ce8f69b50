package reconcile_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

func TestDatastoreStates(t *testing.T) {
	bubble(t, simulator.Config{Capacity: 1 << 40}, func(t *testing.T, c *cloud) {
		opt := beating()
		opt.Datastores = 10 * time.Second
		if d := c.datastore(t); d.State != baadal.DatastoreUnknown {
			t.Errorf("before it is measured it is %s", d.State)
		}
		c.start(opt)
		want := func(state, reason string, hosts ...string) {
			t.Helper()
			pass(10 * time.Second)
			d := c.datastore(t)
			if d.State != state || d.Reason != reason {
				t.Errorf("it is %s (%s), want %s (%s)", d.State, d.Reason, state, reason)
			}
			if diff := cmp.Diff(hosts, d.Hosts); diff != "" {
				t.Errorf("mounted on (-want +got):\n%s", diff)
			}
		}
		mounted := func(host string, on bool) {
			t.Helper()
			must(t, c.world.Mount(host, mount, on))
		}
		want(baadal.DatastoreOK, "", "host1", "host2")
		if d := c.datastore(t); d.Capacity != 1<<40 || d.Free == 0 || d.Used != d.Capacity-d.Free || d.MeasuredAt == nil {
			t.Errorf("measured: %+v", d)
		}
		mounted("host1", false)
		want(baadal.DatastoreOK, "", "host2")
		must(t, c.world.SetReadOnly(mount, true))
		want(baadal.DatastoreReadOnly, "it is read-only on host2", "host2")
		mounted("host2", false)
		want(baadal.DatastoreMissing, "no host that is up has "+mount+" mounted")
		if d := c.datastore(t); d.Capacity != 1<<40 {
			t.Errorf("its last figures are lost: %+v", d)
		}
		must(t, c.world.SetReadOnly(mount, false))
		mounted("host1", true)
		mounted("host2", true)
		want(baadal.DatastoreOK, "", "host1", "host2")

		// Nobody can look: what is known stays.
		for _, host := range []string{"host1", "host2"} {
			must(t, c.world.Cut(host))
		}
		measured := c.datastore(t).MeasuredAt
		pass(time.Minute)
		want(baadal.DatastoreOK, "", "host1", "host2")
		if now := c.datastore(t).MeasuredAt; now.Sub(*measured) > 5*time.Second {
			t.Errorf("measured by nobody: %s, then %s", measured, now)
		}
		must(t, c.world.Heal("host2"))
		pass(5 * time.Second)
		want(baadal.DatastoreOK, "", "host2")
		if diff := cmp.Diff([]string{"ok", "read_only", "missing", "ok"}, c.happened(t, "datastore")); diff != "" {
			t.Errorf("history (-want +got):\n%s", diff)
		}
	})
}

// TestNewDatastoreIsMeasuredAtOnce, not when it is its turn.
func TestNewDatastoreIsMeasuredAtOnce(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		c.start(rarely)
		pass(time.Minute)
		must(t, c.world.AddDatastore("/mnt/second", 1<<30))
		d := baadal.Datastore{Name: "second", Path: "/mnt/second", State: baadal.DatastoreUnknown}
		c.update(t, func(tx *store.Tx) error {
			tx.Wake("datastore")
			return tx.CreateDatastore(&d)
		})
		pass(time.Second)
		c.view(t, func(tx *store.Tx) (err error) { d, err = tx.Datastore(d.ID); return err })
		if d.State != baadal.DatastoreOK || d.Capacity != 1<<30 {
			t.Errorf("it is %s with %d bytes", d.State, d.Capacity)
		}
	})
}

// tasks returns the tasks of a kind, oldest first.
func (c *cloud) tasks(t *testing.T, kind baadal.TaskKind) (all []baadal.Task) {
	t.Helper()
	c.view(t, func(tx *store.Tx) error {
		list, err := tx.Tasks(baadal.ListQuery{Limit: 1000, Sort: "id"}, baadal.Visibility{Scope: baadal.ScopeAny})
		for _, k := range list.Items {
			if k.Kind == kind {
				all = append(all, k)
			}
		}
		return err
	})
	return all
}

// TestPurgeAfterRetention: a task is made when the retention of a deleted VM has
// ended, one at a time, and none for a VM that is being restored.
func TestPurgeAfterRetention(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		end := time.Now().Add(24 * time.Hour)
		var vms []baadal.VM
		for _, name := range []string{"old", "restoring", "kept"} {
			vm := c.row(t, "host1", name, baadal.VMRunning)
			vm.State, vm.HostID, vm.DeletedAt, vm.PurgeAfter = baadal.VMDeleted, 0, new(time.Now()), &end
			if name == "kept" {
				vm.PurgeAfter = new(end.Add(never))
			}
			c.update(t, func(tx *store.Tx) error { return tx.UpdateVM(&vm) })
			vms = append(vms, vm)
		}
		c.hold(t, baadal.TaskVMRestore, vms[1])
		opt := rarely
		opt.Schedule = time.Second
		c.start(opt)
		c.skip(24*time.Hour - time.Minute)
		if got := c.tasks(t, baadal.TaskVMPurge); len(got) != 0 {
			t.Errorf("too early: %+v", got)
		}
		c.skip(30 * time.Minute)
		got := c.tasks(t, baadal.TaskVMPurge)
		if len(got) != 1 || got[0].Subject.ID != vms[0].ID || !got[0].Exclusive || got[0].RequesterID != baadal.SystemUser || got[0].OwnerID != c.user.ID {
			t.Errorf("tasks %+v", got)
		}
		c.skip(5 * time.Hour) // nobody works on it: it is not asked for again
		if again := c.tasks(t, baadal.TaskVMPurge); len(again) != 1 {
			t.Errorf("%d tasks", len(again))
		}
	})
}

func TestDailyAudit(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		opt := rarely
		opt.Schedule = time.Second
		c.start(opt)
		c.skip(24*time.Hour - time.Minute)
		if got := c.tasks(t, baadal.TaskAudit); len(got) != 0 {
			t.Errorf("on the first day: %+v", got)
		}
		c.skip(30 * time.Minute)
		got := c.tasks(t, baadal.TaskAudit)
		if len(got) != 1 || got[0].Requester != "system" || string(got[0].Params) != "{}" {
			t.Fatalf("tasks %+v", got)
		}
		c.skip(48 * time.Hour) // it is still at work: no second one
		if again := c.tasks(t, baadal.TaskAudit); len(again) != 1 {
			t.Errorf("%d tasks", len(again))
		}
		c.endTask(t, got[0])
		c.skip(20 * time.Minute)
		if next := c.tasks(t, baadal.TaskAudit); len(next) != 2 {
			t.Errorf("%d tasks", len(next))
		}
		c.skip(23 * time.Hour)
		if next := c.tasks(t, baadal.TaskAudit); len(next) != 2 {
			t.Errorf("%d tasks within a day", len(next))
		}
	})
}

// TestOldThingsAreForgotten: sessions and history do not grow for ever.
func TestOldThingsAreForgotten(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		c.update(t, func(tx *store.Tx) error {
			if err := tx.CreateSession("hash", c.user.ID, tx.Now().Add(time.Hour)); err != nil {
				return err
			}
			_, err := tx.AddEvent(baadal.Event{Topic: "host", Subject: baadal.Subject{Kind: "host", Name: "h"}, What: "long ago"})
			return err
		})
		opt := rarely
		opt.Schedule = time.Second
		c.start(opt)
		c.skip(89 * 24 * time.Hour)
		if got := c.happened(t, "host"); len(got) != 1 {
			t.Errorf("after 89 days: %v", got)
		}
		c.skip(2 * 24 * time.Hour)
		if got := c.happened(t, "host"); len(got) != 0 {
			t.Errorf("after 91 days: %v", got)
		}
		c.update(t, func(tx *store.Tx) error {
			n, err := tx.PruneSessions()
			if n != 0 {
				t.Errorf("%d old sessions were there still", n)
			}
			return err
		})
	})
}

// TestFailedPurgeRests: what fails is asked for again, later each time, and no
// more seldom than daily.
func TestFailedPurgeRests(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		vm := c.row(t, "host1", "old", baadal.VMRunning)
		vm.State, vm.HostID, vm.DeletedAt, vm.PurgeAfter = baadal.VMDeleted, 0, new(time.Now()), new(time.Now())
		c.update(t, func(tx *store.Tx) error { return tx.UpdateVM(&vm) })
		opt := rarely
		opt.Schedule = time.Second
		c.start(opt)
		pass(2 * time.Second)
		asked := 0
		for hours := range 72 {
			for _, k := range c.tasks(t, baadal.TaskVMPurge) {
				if !k.State.Ended() {
					asked++
					c.update(t, func(tx *store.Tx) error { return tx.HurryTask(k.ID) })
					c.endTask(t, k)
				}
			}
			if hours == 0 && asked != 1 {
				t.Errorf("asked for %d times at the beginning", asked)
			}
			c.skip(time.Hour)
			pass(2 * time.Second)
		}
		// After 0, 1 (10, 20 and 40 minutes are less), 2, 5, 10 h and so on, at last once a day.
		if asked < 6 || asked > 12 {
			t.Errorf("asked for %d times in three days", asked)
		}
		c.skip(25 * time.Hour)
		pass(2 * time.Second)
		if all := c.tasks(t, baadal.TaskVMPurge); all[len(all)-1].State.Ended() {
			t.Error("it is not asked for daily")
		}
	})
}
