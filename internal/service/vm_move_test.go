package service_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
)

// second adds a datastore that all hosts, or only some, mount.
func (c *cloud) second(t *testing.T, gib int64, hosts ...string) {
	t.Helper()
	if err := c.world.AddDatastore("/mnt/second", gib<<30); err != nil {
		t.Fatal(err)
	}
	c.update(t, func(tx *store.Tx) error {
		ds := baadal.Datastore{Name: "second", Path: "/mnt/second"}
		if err := tx.CreateDatastore(&ds); err != nil {
			return err
		}
		_, err := tx.SetDatastoreUsage(ds.ID, baadal.DatastoreOK, "", baadal.DatastoreUsage{Mounted: true, Writable: true, Capacity: gib << 30, Free: gib << 30}, hosts)
		return err
	})
}

// roomOn returns the GiB that are claimed on each datastore beside templates.
func (c *cloud) roomOn(t *testing.T) map[string]int64 {
	t.Helper()
	got := map[string]int64{}
	c.view(t, func(tx *store.Tx) error {
		stores, err := tx.AllDatastores()
		for _, ds := range stores {
			if gib := ds.Claimed >> 30; gib > 0 {
				got[ds.Name] = gib
			}
		}
		return err
	})
	return got
}

func TestMoveVM(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.second(t, 100)
	vm := c.create(t, c.admin, baadal.VMCreate{Name: "ml", DiskGiB: 4})
	to := baadal.VMMove{Datastore: "second", BandwidthMiBs: 100}
	plan, err := c.MoveVM(t.Context(), c.admin, "ml", to, dry)
	if err != nil {
		t.Fatal(err)
	}
	if p := plan.Plan; p == nil || p.Datastore != "second" || len(p.Steps) == 0 || p.Why == "" || len(p.Claims) != 1 || plan.Task != nil {
		t.Errorf("the plan: %+v", plan.Plan)
	}
	was := vm.Datastore
	if diff := cmp.Diff(map[string]int64{was: 4}, c.roomOn(t)); diff != "" {
		t.Errorf("a dry run claims (-want +got):\n%s", diff)
	}
	ch, err := c.MoveVM(t.Context(), c.admin, "ml", to, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int64{was: 4, "second": 4}, c.roomOn(t)); diff != "" {
		t.Errorf("on its way it has (-want +got):\n%s", diff)
	}
	_, err = c.MoveVM(t.Context(), c.admin, "ml", to, baadal.ChangeOptions{})
	refused(t, err, baadal.Conflict, "vm_busy")
	c.run(t, ch.Task)
	if now := c.vm(t, vm.ID); now.Datastore != "second" || now.State != baadal.VMRunning || now.Host != vm.Host {
		t.Errorf("it is %s on %s, on %s", now.State, now.Datastore, now.Host)
	}
	if diff := cmp.Diff(map[string]int64{"second": 4}, c.roomOn(t)); diff != "" {
		t.Errorf("afterwards it has (-want +got):\n%s", diff)
	}
	_, err = c.MoveVM(t.Context(), c.admin, "ml", to, dry)
	refused(t, err, baadal.Conflict, "same_datastore")
}

func TestMoveVMIsRefused(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.second(t, 10)
	c.create(t, c.admin, baadal.VMCreate{Name: "ml", Owner: "asha", DiskGiB: 30})
	move := func(in baadal.VMMove) error {
		_, err := c.MoveVM(t.Context(), c.admin, "ml", in, dry)
		return err
	}
	_, err := c.MoveVM(t.Context(), c.faculty, "ml", baadal.VMMove{Datastore: "second"}, dry)
	refused(t, err, baadal.Forbidden, "forbidden")
	refused(t, move(baadal.VMMove{}), baadal.Invalid, "invalid")
	refusedField(t, move(baadal.VMMove{Datastore: "nowhere"}), baadal.Invalid, "datastore")
	refusedField(t, move(baadal.VMMove{Datastore: "second", Disk: "vdq"}), baadal.Invalid, "disk")
	if err := move(baadal.VMMove{Datastore: "second"}); err != nil {
		t.Errorf("30 GiB on 10, four times claimed: %v", err)
	}
	set := func(name, value string) {
		t.Helper()
		if _, err := c.UpdateSetting(t.Context(), c.admin, name, value, baadal.ChangeOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	set(baadal.SettingDiskRatio, "1.0")
	refused(t, move(baadal.VMMove{Datastore: "second"}), baadal.Exhausted, "datastore_full")
	set(baadal.SettingDiskRatio, "4.0")

	ch, err := c.CreateSnapshot(t.Context(), c.admin, "ml", baadal.SnapshotCreate{Name: "one"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, ch.Task)
	err = move(baadal.VMMove{Datastore: "second"})
	refused(t, err, baadal.Conflict, "has_snapshots")
	off, err := c.ActVM(t.Context(), c.admin, baadal.ActionVMDestroy, "ml", baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, off.Task)
	if err := move(baadal.VMMove{Datastore: "second"}); err != nil {
		t.Errorf("off, with a snapshot: %v", err)
	}
}

// TestDatastoreNotMountedThere: neither a move to a datastore that the VM's host
// does not mount, nor a migration to a host that does not mount the VM's.
func TestDatastoreNotMountedThere(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.second(t, 100, "host1")
	c.create(t, c.admin, baadal.VMCreate{Name: "there", Host: "host2"})
	vm := c.create(t, c.admin, baadal.VMCreate{Name: "ml", Host: "host1"})
	_, err := c.MoveVM(t.Context(), c.admin, "there", baadal.VMMove{Datastore: "second"}, dry)
	refused(t, err, baadal.Exhausted, "no_datastore")
	if !strings.Contains(err.Error(), "host2, where the VM is, does not mount second") {
		t.Errorf("it says %v", err)
	}
	ch, err := c.MoveVM(t.Context(), c.admin, "ml", baadal.VMMove{Datastore: "second"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, ch.Task)
	for _, in := range []baadal.VMMigrate{{}, {To: "host2"}} {
		_, err = c.MigrateVM(t.Context(), c.admin, "ml", in, dry)
		refused(t, err, baadal.Exhausted, "no_host")
		e, ok := err.(*baadal.Error) //nolint:errorlint // as the API shows it
		if !ok || !strings.Contains(e.Detail, "host2: datastore second is not mounted there") || len(e.Next) == 0 || !strings.Contains(e.Next[0].Action, "baadal vm move "+vm.Name) {
			t.Errorf("it says %v, and offers %+v", err, e.Next)
		}
	}
}

// TestRetriedMove asks again for a move that failed.
func TestRetriedMove(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.second(t, 100)
	vm := c.create(t, c.admin, baadal.VMCreate{Name: "ml"})
	if err := c.world.SetReadOnly("/mnt/second", true); err != nil {
		t.Fatal(err)
	}
	ch, err := c.MoveVM(t.Context(), c.admin, "ml", baadal.VMMove{Datastore: "second"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if done := c.settle(t, ch.Task)[0]; done.State != baadal.TaskFailed || done.Code != "datastore_read_only" {
		t.Fatalf("%s (%s): %s", done.State, done.Code, done.Message)
	}
	if err := c.world.SetReadOnly("/mnt/second", false); err != nil {
		t.Fatal(err)
	}
	again, err := c.RetryTask(t.Context(), c.admin, ch.Task.ID)
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, &again)
	if now := c.vm(t, vm.ID); now.Datastore != "second" {
		t.Errorf("it is on %s", now.Datastore)
	}
}
