package workflow_test

import (
	"context"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

// disksOf lists the extra disks of a VM.
func (c *cloud) disksOf(t *testing.T, vm baadal.VM) (all []baadal.Disk) {
	t.Helper()
	if err := c.db.View(t.Context(), func(tx *store.Tx) (err error) { all, err = tx.ExtraDisks(vm.ID); return err }); err != nil {
		t.Fatal(err)
	}
	return all
}

func (c *cloud) named(t *testing.T, name string) baadal.VM {
	t.Helper()
	vm, err := c.svc.VM(t.Context(), c.actor, name)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// depth is how many files a VM's disk stands on; disk 0 is the first one.
func (c *cloud) depth(t *testing.T, vm baadal.VM, k *baadal.Disk) int {
	t.Helper()
	h, err := c.world.Host("host1")
	if err != nil {
		t.Fatal(err)
	}
	ds := baadal.Datastore{Name: "main", Path: "/mnt/datastore"}
	f := baadal.DiskFile{Datastore: ds, Identity: vm.Identity, UUID: vm.UUID, Name: path.Base(ds.DiskPath(&vm))}
	if k != nil {
		f.DiskID, f.Name = k.ID, k.FileName()
	}
	chain, err := c.sys.Bases.DiskChain(t.Context(), h, baadal.DiskFreeze{DiskFile: f})
	if err != nil {
		t.Fatal(err)
	}
	return chain.Depth
}

// TestCloneDisks clones a VM with extra disks, running and off: the clones have
// disks of their own at the same targets, on bases of the same moment; all of it
// goes in any order.
func TestCloneDisks(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"running", "off", "with a snapshot"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			c := cloneCloud(t)
			addDisk(t, c)
			addDisk(t, c)
			actDisk(baadal.ActionDiskDetach)(t, c) // leaves vdc
			addDisk(t, c)                          // at vdb again
			switch state {
			case "off":
				off(t, c)
			case "with a snapshot":
				snapshotted(t, c)
			}
			c.finish(t, c.clone(t, "ml", baadal.VMClone{Count: 2}), nil)
			c.finish(t, c.clone(t, "ml", baadal.VMClone{Name: "bare", WithoutDisks: true}), nil)
			c.whole(t)
			for _, name := range []string{"ml_clone1", "ml_clone2"} {
				vm := c.named(t, name)
				got := map[string]string{}
				for _, k := range c.disksOf(t, vm) {
					got[k.Target] = k.State
					if k.BaseID == 0 || c.depth(t, vm, &k) != 1 {
						t.Errorf("%s stands on base %d, %d files", k.Name, k.BaseID, c.depth(t, vm, &k))
					}
				}
				if diff := cmp.Diff(map[string]string{"vdb": "attached", "vdc": "attached"}, got); diff != "" {
					t.Errorf("%s: %s", name, diff)
				}
				targets, err := c.sys.DiskPlugs.Targets(t.Context(), baadal.Host{Name: vm.Host, Address: c.address(t, vm.Host)}, vm.UUID)
				if err != nil || !strings.Contains(targets["vdb"], vm.Identity) || !strings.Contains(targets["vdc"], vm.Identity) {
					t.Errorf("%s has %v: %v", name, targets, err)
				}
				c.act(t, baadal.ActionVMStart, name)
			}
			if n := len(c.disksOf(t, c.named(t, "bare1"))); n != 0 {
				t.Errorf("the one without disks has %d", n)
			}
			c.cleanAudit(t)
			for _, name := range []string{"ml_clone1", "ml", "bare1", "ml_clone2"} {
				c.act(t, baadal.ActionVMDelete, name)
				c.purge(t)
				c.whole(t)
			}
			c.idle(t)
			if s := c.world.Snapshot(); strings.Contains(s, "vm_bases/") || strings.Contains(s, "vm_extra_disks/") || len(c.bases(t)) > 0 {
				t.Errorf("left:\n%s", s)
			}
		})
	}
}

func (c *cloud) address(t *testing.T, host string) string {
	t.Helper()
	h, err := c.world.Host(host)
	if err != nil {
		t.Fatal(err)
	}
	return h.Address
}

// cleanAudit runs an audit that must find nothing.
func (c *cloud) cleanAudit(t *testing.T) {
	t.Helper()
	ch, err := c.svc.RunAudit(t.Context(), c.actor, false, none)
	c.finish(t, ch.Task, err)
	report, err := c.svc.LastAudit(t.Context(), c.actor)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range report.Differences {
		t.Errorf("audit: %s %s: stored %q, seen %q", d.Kind, d.Subject.Name, d.Stored, d.Seen)
	}
}

// TestDeleteClonedDisk deletes an extra disk that became a base while its VM
// ran: the clone keeps its own, and nothing stays behind.
func TestDeleteClonedDisk(t *testing.T) {
	t.Parallel()
	c := cloneCloud(t)
	addDisk(t, c)
	c.finish(t, c.clone(t, "ml", baadal.VMClone{}), nil)
	actDisk(baadal.ActionDiskDelete)(t, c)
	c.whole(t)
	c.cleanAudit(t)
	c.act(t, baadal.ActionVMStart, "ml_clone1")
	actDisk(baadal.ActionDiskAttach)(t, c)
	c.whole(t)
	c.cleanAudit(t)
	k := c.disksOf(t, c.named(t, "ml"))[0]
	if k.State != baadal.DiskAttached || k.BaseID == 0 {
		t.Errorf("%+v", k)
	}
}

// TestCancelWhileForking cancels when some files of clones are made: nothing of
// them stays.
func TestCancelWhileForking(t *testing.T) {
	t.Parallel()
	c := cloneCloud(t)
	addDisk(t, c)
	before := withoutUnusedBases(c.world.Snapshot())
	id := c.clone(t, "ml", baadal.VMClone{Count: 6}).ID
	var calls atomic.Int32
	c.world.OnOp(func(op string, after bool) {
		if op == "disks.fork" && after && calls.Add(1) == 2 {
			if _, err := c.svc.CancelTask(context.Background(), c.actor, id); err != nil {
				t.Error(err)
			}
			time.Sleep(4 * time.Second) // until the lease is renewed, and the worker told
		}
	})
	done := c.run(t, id)
	c.world.OnOp(nil)
	if done.State != baadal.TaskFailed || done.Code != "cancelled" {
		t.Errorf("%s: %s", done.State, done.Message)
	}
	c.idle(t)
	if diff := cmp.Diff(before, withoutUnusedBases(c.world.Snapshot())); diff != "" || len(c.vms(t)) != 1 || len(c.bases(t)) != 0 {
		t.Errorf("%d VMs, %d bases: %s", len(c.vms(t)), len(c.bases(t)), diff)
	}
}

// TestFlatten flattens a VM that was cloned over and over: it stands on its
// template alone, the bases that nobody needs go, its clones stay as they are.
func TestFlatten(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"running", "off"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			c := cloneCloud(t)
			addDisk(t, c)
			if state == "off" {
				off(t, c)
			}
			for range 3 {
				c.finish(t, c.clone(t, "ml", baadal.VMClone{}), nil)
			}
			for _, name := range []string{"ml_clone1", "ml_clone2"} { // the third needs all six bases
				c.act(t, baadal.ActionVMDelete, name)
			}
			c.purge(t)
			if n := len(c.bases(t)); n != 6 {
				t.Fatalf("%d bases", n)
			}
			for _, name := range []string{"ml", "ml_clone3"} {
				ch, err := c.svc.FlattenVM(t.Context(), c.actor, name, baadal.VMFlatten{BandwidthMiBs: 7}, none)
				c.finish(t, ch.Task, err)
				c.whole(t)
				vm := c.named(t, name)
				k := c.disksOf(t, vm)[0]
				if vm.BaseID != 0 || k.BaseID != 0 || c.depth(t, vm, nil) != 1 || c.depth(t, vm, &k) != 0 {
					t.Errorf("%s stands on base %d with %d files, its disk on %d with %d", name, vm.BaseID, c.depth(t, vm, nil), k.BaseID, c.depth(t, vm, &k))
				}
			}
			c.idle(t)
			if s := c.world.Snapshot(); len(c.bases(t)) != 0 || strings.Contains(s, "vm_bases/") {
				t.Errorf("%d bases are left:\n%s", len(c.bases(t)), s)
			}
			c.cleanAudit(t)
			_, err := c.svc.FlattenVM(t.Context(), c.actor, "ml", baadal.VMFlatten{}, none)
			if baadal.CodeOf(err) != "flat" {
				t.Errorf("flat already: %v", err)
			}
		})
	}
}

// TestFlattenRefused leaves alone what must not be flattened, and what there is
// no room for.
func TestFlattenRefused(t *testing.T) {
	t.Parallel()
	c := cloneCloud(t)
	c.finish(t, c.clone(t, "ml", baadal.VMClone{}), nil)
	ask := func() error {
		ch, err := c.svc.FlattenVM(t.Context(), c.actor, "ml", baadal.VMFlatten{}, none)
		if err != nil {
			return err
		}
		if done := c.run(t, ch.Task.ID); done.State != baadal.TaskSuccess {
			return baadal.Errorf(baadal.Conflict, "%s", done.Message).WithCode(done.Code)
		}
		return nil
	}
	if err := c.world.FillUp("/mnt/datastore", 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := ask(); baadal.CodeOf(err) != "datastore_full" {
		t.Errorf("full: %v", err)
	}
	if err := c.world.FillUp("/mnt/datastore", 1<<30); err != nil {
		t.Fatal(err)
	}
	stop := c.world.Fail(simulator.Rule{Op: "freezer.pull", Err: baadal.Errorf(baadal.Conflict, "the answer was lost")})
	if err := ask(); err == nil || c.named(t, "ml").BaseID == 0 {
		t.Errorf("a failure is no success: %v", err)
	}
	stop()
	snapshotted(t, c)
	if err := ask(); baadal.CodeOf(err) != "has_snapshots" {
		t.Errorf("with a snapshot: %v", err)
	}
	c.whole(t)
}
