package service_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
)

// diskActs are the acts on one disk, as routes call them.
func diskActs(t *testing.T, c *cloud, a baadal.Actor, disk string, opt baadal.ChangeOptions) map[string]error {
	t.Helper()
	ctx, errs := t.Context(), map[string]error{}
	for name, action := range map[string]baadal.Action{"attach": baadal.ActionDiskAttach, "detach": baadal.ActionDiskDetach, "delete": baadal.ActionDiskDelete} {
		_, errs[name] = c.ActDisk(ctx, a, action, "ml", disk, opt)
	}
	_, errs["grow"] = c.GrowDisk(ctx, a, "ml", disk, baadal.DiskGrow{SizeGiB: 100}, opt)
	_, errs["limit"] = c.LimitDisk(ctx, a, "ml", disk, baadal.DiskLimit{IOPS: 100}, opt)
	return errs
}

// TestDiskButtonsSayWhatActsAnswer compares, for every state of a disk, role
// and action, what the disk's actions say with what the act itself answers.
func TestDiskButtonsSayWhatActsAnswer(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Owner: "asha"})
	actors := map[string]baadal.Actor{"owner": c.faculty, "orgadmin": c.orgadmin, "admin": c.admin}
	check := func(situation string) {
		t.Helper()
		for who, a := range actors {
			disks, err := c.Disks(t.Context(), a, "ml")
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range disks {
				ref := k.Name
				for name, err := range diskActs(t, c, a, ref, dry) {
					got := baadal.Access{Allowed: err == nil}
					if e, ok := errors.AsType[*baadal.Error](err); ok {
						got = baadal.Access{Code: baadal.CodeOf(err), Reason: baadal.Message(err), Next: e.Next}
					}
					if diff := cmp.Diff(k.Actions[name], got); diff != "" {
						t.Errorf("%s, %s, %s of %s (-button +act):\n%s", situation, who, name, ref, diff)
					}
				}
			}
		}
	}
	check("only the first disk")
	add, err := c.AddDisk(t.Context(), c.admin, "ml", baadal.DiskAdd{SizeGiB: 2}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	check("being made")
	c.run(t, add.Task)
	check("attached")
	act := func(action baadal.Action) {
		t.Helper()
		ch, err := c.ActDisk(t.Context(), c.admin, action, "ml", "disk-1", baadal.ChangeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c.run(t, ch.Task)
	}
	act(baadal.ActionDiskDetach)
	check("detached")
	act(baadal.ActionDiskDelete)
	check("deleted")
	c.update(t, func(tx *store.Tx) error {
		vm, err := tx.VMByRef("ml", baadal.Visibility{Scope: baadal.ScopeAny})
		if err != nil {
			return err
		}
		_, _, err = tx.SetVMState(vm.ID, baadal.VMPaused, "")
		return err
	})
	check("paused")
}

// TestWhoMayAddDisks: capacity is given by who runs an organisation; what one
// may not see is not there.
func TestWhoMayAddDisks(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Owner: "asha"})
	for who, want := range map[*baadal.Actor]baadal.Kind{
		&c.admin: "", &c.orgadmin: "", &c.faculty: baadal.Forbidden, &c.student: baadal.NotFound, &c.stranger: baadal.NotFound,
	} {
		if _, err := c.AddDisk(t.Context(), *who, "ml", baadal.DiskAdd{SizeGiB: 1}, dry); baadal.KindOf(err) != want {
			t.Errorf("%s adds a disk: %v", who.User.Username, err)
		}
		for act, err := range diskActs(t, c, *who, "vda", dry) {
			if want == baadal.NotFound && baadal.KindOf(err) != want {
				t.Errorf("%s of what %s may not see: %v", act, who.User.Username, err)
			}
		}
	}
}

// TestDryRunOfADisk tells what would be, and leaves nothing.
func TestDryRunOfADisk(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.create(t, c.admin, baadal.VMCreate{Name: "ml"})
	before, err := c.Datastore(t.Context(), c.admin, "main")
	if err != nil {
		t.Fatal(err)
	}
	ch, err := c.AddDisk(t.Context(), c.admin, "ml", baadal.DiskAdd{SizeGiB: 3}, dry)
	if err != nil || ch.Plan == nil || ch.Task != nil || len(ch.Plan.Steps) != 2 || ch.Plan.Datastore != "main" || !strings.Contains(ch.Plan.Summary, "3 GiB as vdb") {
		t.Errorf("%+v, %v", ch.Plan, err)
	}
	after, err := c.Datastore(t.Context(), c.admin, "main")
	if diff := cmp.Diff(before.Claimed, after.Claimed); diff != "" || err != nil {
		t.Errorf("a dry run claims: %s, %v", diff, err)
	}
	if disks, err := c.Disks(t.Context(), c.admin, "ml"); len(disks) != 1 || err != nil {
		t.Errorf("%+v, %v", disks, err)
	}
}

// TestDiskCapacity: disks and growth count against the datastore, the last GiB
// is given once, and the host must mount what it is on.
func TestDiskCapacity(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.create(t, c.admin, baadal.VMCreate{Name: "ml"})
	none := baadal.ChangeOptions{}
	c.update(t, func(tx *store.Tx) error {
		d := baadal.Datastore{Name: "small", Path: "/mnt/small"}
		if err := tx.CreateDatastore(&d); err != nil {
			return err
		}
		u := baadal.DatastoreUsage{Mounted: true, Writable: true, Capacity: 100 << 30, Free: 100 << 30}
		_, err := tx.SetDatastoreUsage(d.ID, baadal.DatastoreOK, "", u, []string{"host1", "host2", "host3"})
		return err
	})
	if err := c.world.AddDatastore("/mnt/small", 100<<30); err != nil {
		t.Fatal(err)
	}
	add := func(gib int) (baadal.Change[baadal.Disk], error) {
		return c.AddDisk(t.Context(), c.admin, "ml", baadal.DiskAdd{SizeGiB: gib, Datastore: "small"}, none)
	}
	room := 100 * 4 // the setting's ratio; TestChoose has it too
	ch, err := add(room - 1)
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, ch.Task)
	if d, err := c.Datastore(t.Context(), c.admin, "small"); err != nil || d.Actions["remove"].Code != "datastore_in_use" {
		t.Errorf("removing a datastore with nothing but a disk on it: %+v, %v", d.Actions["remove"], err)
	}
	if _, err := add(2); baadal.CodeOf(err) != "datastore_full" {
		t.Errorf("more than there is: %v", err)
	}
	if _, err := c.GrowDisk(t.Context(), c.admin, "ml", "vdb", baadal.DiskGrow{SizeGiB: room + 1}, none); baadal.CodeOf(err) != "datastore_full" {
		t.Errorf("growth beyond what there is: %v", err)
	}
	if _, err := c.GrowDisk(t.Context(), c.admin, "ml", "vdb", baadal.DiskGrow{SizeGiB: room - 1}, none); baadal.CodeOf(err) != "disk_shrink" {
		t.Errorf("growth to the same size: %v", err)
	}
	grown, err := c.GrowDisk(t.Context(), c.admin, "ml", "vdb", baadal.DiskGrow{SizeGiB: room}, none)
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, grown.Task)
	if _, err := c.AddDisk(t.Context(), c.admin, "ml", baadal.DiskAdd{SizeGiB: 1, Datastore: "nope"}, none); baadal.KindOf(err) != baadal.Invalid {
		t.Errorf("on a datastore that is not there: %v", err)
	}
	c.update(t, func(tx *store.Tx) error {
		d, err := tx.DatastoreByRef("small")
		if err != nil {
			return err
		}
		u := baadal.DatastoreUsage{Mounted: true, Writable: true, Capacity: 1 << 40, Free: 1 << 40}
		_, err = tx.SetDatastoreUsage(d.ID, baadal.DatastoreOK, "", u, []string{"nowhere"})
		return err
	})
	if _, err := add(1); baadal.CodeOf(err) != "no_datastore" {
		t.Errorf("on a datastore that the host does not mount: %v", err)
	}
}

// TestRepeatDiskTask asks again for what failed.
func TestRepeatDiskTask(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.create(t, c.admin, baadal.VMCreate{Name: "ml"})
	if err := c.world.FillUp(mount, 1000); err != nil {
		t.Fatal(err)
	}
	ch, err := c.AddDisk(t.Context(), c.admin, "ml", baadal.DiskAdd{SizeGiB: 2, IOPS: 50}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if done := c.settle(t, ch.Task)[0]; done.State != baadal.TaskFailed {
		t.Fatalf("on a full datastore it ends as %s", done.State)
	}
	if err := c.world.FillUp(mount, -1); err != nil {
		t.Fatal(err)
	}
	again, err := c.RetryTask(t.Context(), c.admin, ch.Task.ID)
	if err != nil {
		t.Fatal(err)
	}
	if done := c.settle(t, &again)[0]; done.State != baadal.TaskSuccess {
		t.Fatalf("again: %s", done.Message)
	}
	disks, err := c.Disks(t.Context(), c.admin, "ml")
	if err != nil || len(disks) != 2 || disks[1].SizeGiB != 2 || disks[1].IOPS != 50 || disks[1].State != baadal.DiskAttached {
		t.Errorf("%+v, %v", disks, err)
	}
}

// TestRestoreGoesWhereAllDisksAre: a VM with disks on two datastores comes back
// on a host that mounts both.
func TestRestoreGoesWhereAllDisksAre(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	vm := c.create(t, c.admin, baadal.VMCreate{Name: "ml", Host: "host3"})
	for _, h := range []string{"host1", "host2"} {
		if err := c.world.Mount(h, "/mnt/small", false); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.world.AddDatastore("/mnt/small", 100<<30); err != nil {
		t.Fatal(err)
	}
	c.update(t, func(tx *store.Tx) error {
		d := baadal.Datastore{Name: "small", Path: "/mnt/small"}
		if err := tx.CreateDatastore(&d); err != nil {
			return err
		}
		u := baadal.DatastoreUsage{Mounted: true, Writable: true, Capacity: 100 << 30, Free: 100 << 30}
		_, err := tx.SetDatastoreUsage(d.ID, baadal.DatastoreOK, "", u, []string{"host3"})
		return err
	})
	ch, err := c.AddDisk(t.Context(), c.admin, "ml", baadal.DiskAdd{SizeGiB: 1, Datastore: "small"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, ch.Task)
	c.act(t, baadal.ActionVMDelete, vm)
	c.create(t, c.admin, baadal.VMCreate{Name: "other", Host: "host3", RAMMiB: 32768}) // it is the fullest now
	if again := c.act(t, baadal.ActionVMRestore, vm); again.Host != "host3" {
		t.Errorf("restored on %s", again.Host)
	}
}
