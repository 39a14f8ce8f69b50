package proof_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// start is a state in which a VM may be when somebody wishes something.
type start struct {
	name    string
	bare    bool
	prepare func(tb testing.TB, c *cloud, vm string)
}

// starts are the states. Those that are not bare have a disk that is attached,
// one that is detached, one that is deleted, a second NIC, the snapshot "one" and a
// backup.
func starts() []start {
	acts := func(names ...baadal.Action) func(testing.TB, *cloud, string) {
		return func(tb testing.TB, c *cloud, vm string) {
			tb.Helper()
			for _, a := range names {
				c.run(tb, a, vm)
			}
		}
	}
	return []start{
		{"running", false, acts()},
		{"off", false, acts(baadal.ActionVMDestroy)},
		{"paused with a CD", false, func(tb testing.TB, c *cloud, vm string) {
			ch, err := c.InsertCDROM(context.Background(), c.asha, vm, baadal.CDROMInsert{ISO: "rescue"}, baadal.ChangeOptions{})
			must(tb, err)
			c.await(tb, ch.Task.ID)
			c.run(tb, baadal.ActionVMSuspend, vm)
		}},
		{"saved", false, acts(baadal.ActionVMSave)},
		{"deleted", false, acts(baadal.ActionVMDelete)},
		{"crashed", false, func(tb testing.TB, c *cloud, ref string) {
			vm := c.find(tb, ref)
			must(tb, c.world.GuestCrash(vm.Host, vm.UUID))
			c.see(tb, vm, baadal.VMCrashed)
		}},
		{"missing", false, func(tb testing.TB, c *cloud, ref string) {
			vm := c.find(tb, ref)
			must(tb, c.world.VirshDestroy(vm.Host, vm.UUID))
			must(tb, c.world.VirshUndefine(vm.Host, vm.UUID))
			c.see(tb, vm, baadal.VMMissing)
		}},
		{"bare running", true, acts()},
		{"bare off", true, acts(baadal.ActionVMDestroy)},
		{"cloned", false, func(tb testing.TB, c *cloud, vm string) { // it stands on bases, which snapshots would need
			ctx, none := context.Background(), baadal.ChangeOptions{}
			s, err := c.DeleteSnapshot(ctx, c.asha, vm, "one", none)
			must(tb, err)
			c.await(tb, s.Task.ID)
			ch, err := c.CloneVM(ctx, c.asha, vm, baadal.VMClone{Name: "twin"}, none)
			must(tb, err)
			c.await(tb, ch.Task.ID)
		}},
	}
}

// make makes a VM that is as the start says. The queue must be at work.
func (s start) make(tb testing.TB, c *cloud, name string) {
	tb.Helper()
	ctx, none := context.Background(), baadal.ChangeOptions{}
	well := func(k *baadal.Task, err error) {
		tb.Helper()
		must(tb, err)
		if done := c.await(tb, k.ID); done.State != baadal.TaskSuccess {
			tb.Fatalf("%s of %s ends as %s: %s", done.Kind, name, done.State, done.Message)
		}
	}
	well(taskOf(c.CreateVM(ctx, c.asha, baadal.VMCreate{Name: name, Template: "tiny", Network: "research"}, none)))
	if !s.bare {
		var ids []string
		for range 3 {
			ch, err := c.AddDisk(ctx, c.asha, name, baadal.DiskAdd{SizeGiB: 1, Datastore: "main"}, none)
			well(taskOf(ch, err))
			ids = append(ids, fmt.Sprint(ch.Resource.ID))
		}
		well(taskOf(c.ActDisk(ctx, c.asha, baadal.ActionDiskDetach, name, ids[1], none)))
		well(taskOf(c.ActDisk(ctx, c.asha, baadal.ActionDiskDelete, name, ids[2], none)))
		well(taskOf(c.AddNIC(ctx, c.asha, name, baadal.NICAdd{Network: "storage"}, none)))
		well(taskOf(c.CreateBackup(ctx, c.asha, name, baadal.BackupCreate{Incremental: true}, none)))
		well(taskOf(c.CreateSnapshot(ctx, c.asha, name, baadal.SnapshotCreate{Name: "one"}, none)))
	}
	s.prepare(tb, c, name)
}

// wishFor is what somebody asks of a VM that a start made; opt may ask for no
// more than a plan.
func (c *cloud) wishFor(tb testing.TB, a baadal.Actor, ref string, opt baadal.ChangeOptions) wish {
	tb.Helper()
	w := wish{ctx: context.Background(), svc: c.Service, actor: a, vm: ref, disk: baadal.FirstTarget, snapshot: "one", elsewhere: "second", name: "new-" + ref, n: 3, opt: opt}
	vm := c.find(tb, ref)
	c.view(tb, func(tx *store.Tx) error {
		disks, err := tx.ExtraDisks(vm.ID)
		if err != nil {
			return err
		}
		if len(disks) == 3 {
			w.attached, w.detached, w.deleted = fmt.Sprint(disks[0].ID), fmt.Sprint(disks[1].ID), fmt.Sprint(disks[2].ID)
		}
		backups, err := tx.VMBackups(vm.ID)
		if len(backups) > 0 {
			w.backup = fmt.Sprint(backups[0].ID)
		}
		return err
	})
	return w
}

// run does something to a VM and waits for its good end.
func (c *cloud) run(tb testing.TB, action baadal.Action, vm string) {
	tb.Helper()
	ch, err := c.ActVM(context.Background(), c.asha, action, vm, baadal.ChangeOptions{})
	must(tb, err)
	if done := c.await(tb, ch.Task.ID); done.State != baadal.TaskSuccess {
		tb.Fatalf("%s of %s ends as %s: %s", done.Kind, vm, done.State, done.Message)
	}
}

func (c *cloud) find(tb testing.TB, ref string) (vm baadal.VM) {
	tb.Helper()
	c.view(tb, func(tx *store.Tx) (err error) {
		vm, err = tx.VMByRef(ref, baadal.Visibility{Scope: baadal.ScopeAny})
		return err
	})
	return vm
}

// see writes down what the watcher of its host would see of a VM.
func (c *cloud) see(tb testing.TB, vm baadal.VM, state baadal.VMState) {
	tb.Helper()
	c.update(tb, func(tx *store.Tx) error {
		_, _, err := tx.SetVMState(vm.ID, state, "")
		return err
	})
}

// folders are the starts, each prepared once in a folder to be copied.
type folders struct {
	dir  string
	once map[string]*sync.Once
}

func newFolders(t *testing.T) *folders {
	f := &folders{dir: t.TempDir(), once: map[string]*sync.Once{}}
	for _, s := range starts() {
		f.once[s.name] = &sync.Once{}
	}
	return f
}

// open opens a copy of a start with the VM "ml" in it.
func (f *folders) open(t *testing.T, s start) (c *cloud, closeAll func()) {
	t.Helper()
	base := filepath.Join(f.dir, s.name)
	f.once[s.name].Do(func() {
		must(t, os.MkdirAll(base, 0o700))
		c, closeAll := open(t, base, task.Options{})
		defer closeAll()
		c.furnish(t, 3, baadal.HostFacts{CPUs: 16, RAMMiB: 65536}, "10.0.1.0/26")
		s.make(t, c, "ml")
		c.stopQueue(t)
	})
	dir := t.TempDir()
	must(t, os.CopyFS(filepath.Join(dir, "c"), os.DirFS(base)))
	return open(t, filepath.Join(dir, "c"), task.Options{})
}
