package workflow_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// TestMigrationHostDies pulls a cord in the middle of a migration. Nothing is
// started or removed while a host is silent; when it is back, the VM is in one
// place, the store says where, and nothing else is left of it.
func TestMigrationHostDies(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name, dies, before string // the host, and before which call
		meanwhile          map[string]string
		at, state          string
	}{
		{"destination while it copies", "host2", "hypervisor.migrate_perform", map[string]string{"host1": "running"}, "host1", "running"},
		{"source while it copies", "host1", "hypervisor.migrate_perform", map[string]string{}, "host1", "off"},
		{"destination when all is copied", "host2", "hypervisor.migrate_finish", map[string]string{"host1": "paused"}, "host1", "running"},
		{"source when all is copied", "host1", "hypervisor.migrate_finish", map[string]string{"host2": "running"}, "host2", "running"},
		{"source when it runs on the destination", "host1", "hypervisor.migrate_confirm", map[string]string{"host2": "running"}, "host2", "running"},
		{"destination when it runs there", "host2", "hypervisor.migrate_confirm", map[string]string{"host1": "off"}, "host1", "off"}, // off on both: it is given up
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			c := open(t, t.TempDir())
			defer c.close()
			c.furnish(t)
			created, err := c.svc.CreateVM(ctx, c.actor, baadal.VMCreate{Name: "ml", Template: "tiny", Host: "host1"}, baadal.ChangeOptions{})
			c.finish(t, created.Task, err)
			uuid := created.Resource.UUID
			c.world.OnOp(func(op string, after bool) {
				if op == x.before && !after {
					if err := c.world.PowerOff(x.dies); err != nil {
						t.Error(err)
					}
				}
			})
			ch, err := c.svc.MigrateVM(ctx, c.actor, "ml", baadal.VMMigrate{To: "host2"}, baadal.ChangeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			stop := c.work(t)
			defer stop()
			done := c.awaitTask(t, ch.Task.ID, func(k baadal.Task) bool { return k.State.Ended() })
			if done.State != baadal.TaskFailed || !done.UndoPending {
				t.Errorf("with %s silent it ends as %s, undo pending %t: %s", x.dies, done.State, done.UndoPending, done.Message)
			}
			for _, h := range []string{"host1", "host2"} {
				if h != x.dies {
					if got := c.domainOn(t, h, uuid); got != x.meanwhile[h] {
						t.Errorf("meanwhile on %s it is %q, want %q", h, got, x.meanwhile[h])
					}
				}
			}
			c.world.OnOp(nil)
			if err := c.world.PowerOn(x.dies); err != nil {
				t.Fatal(err)
			}
			done = c.awaitTask(t, ch.Task.ID, func(k baadal.Task) bool { return !k.UndoPending })
			vm, err := c.svc.VM(ctx, c.actor, "ml")
			if err != nil {
				t.Fatal(err)
			}
			if vm.Host != x.at || vm.State.String() != x.state {
				t.Errorf("the store says %s on %s, want %s on %s (%s)", vm.State, vm.Host, x.state, x.at, done.Message)
			}
			if moved := strings.Contains(done.Message, "it had arrived on host2"); moved != (x.at == "host2") {
				t.Errorf("the message: %s", done.Message)
			}
			for _, h := range []string{"host1", "host2"} {
				want := ""
				if h == x.at {
					want = x.state
				}
				if got := c.domainOn(t, h, uuid); got != want {
					t.Errorf("on %s it is %q, want %q", h, got, want)
				}
			}
			if bad := c.world.Check(); len(bad) > 0 {
				t.Error(bad)
			}
			c.wantClaims(t, x.at)
		})
	}
}

// TestMigrationOfTwoWriters: what runs on both hosts is not touched.
func TestMigrationOfTwoWriters(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := open(t, t.TempDir())
	defer c.close()
	c.furnish(t)
	created, err := c.svc.CreateVM(ctx, c.actor, baadal.VMCreate{Name: "ml", Template: "tiny", Host: "host1"}, baadal.ChangeOptions{})
	c.finish(t, created.Task, err)
	uuid := created.Resource.UUID
	ch, err := c.svc.MigrateVM(ctx, c.actor, "ml", baadal.VMMigrate{To: "host2"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	twin, err := c.world.Host("host2")
	if err != nil {
		t.Fatal(err)
	}
	c.world.OnOp(func(op string, after bool) {
		if op != "hypervisor.migrate_begin" || after {
			return
		}
		c.world.OnOp(nil)
		d := baadal.Domain{UUID: uuid, Name: "twin", VCPUs: 1, RAMMiB: 64, Virt: "qemu", Console: "/run/x", Disks: []baadal.DomainDisk{{Path: "/mnt/datastore/vm_templates/tiny.img", Format: "qcow2", Target: "vda"}}}
		if err := c.sys.Hypervisor.Define(ctx, twin, d); err != nil {
			t.Error(err)
		}
		if err := c.sys.Hypervisor.Start(ctx, twin, uuid); err != nil {
			t.Error(err)
		}
	})
	stop := c.work(t)
	done := c.awaitTask(t, ch.Task.ID, func(k baadal.Task) bool { return k.State.Ended() })
	stop()
	if done.State != baadal.TaskFailed || !done.UndoPending {
		t.Errorf("%s, undo pending %t: %s", done.State, done.UndoPending, done.Message)
	}
	for _, h := range []string{"host1", "host2"} {
		if got := c.domainOn(t, h, uuid); got != "running" {
			t.Errorf("on %s it is %q: it was touched", h, got)
		}
	}
}

// work runs a queue until stop is called.
func (c *cloud) work(t *testing.T) (stop func()) {
	t.Helper()
	q := task.New(c.db, task.Options{Backoff: time.Millisecond})
	q.Register(c.bodies()...)
	if err := q.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := q.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// awaitTask waits until a task is as it should be.
func (c *cloud) awaitTask(t *testing.T, id int64, ready func(baadal.Task) bool) (k baadal.Task) {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < 30*time.Second; time.Sleep(5 * time.Millisecond) {
		err := c.db.View(t.Context(), func(tx *store.Tx) (err error) { k, err = tx.Task(id); return err })
		if err != nil {
			t.Fatal(err)
		}
		if ready(k) {
			return k
		}
	}
	t.Fatalf("the task stays %s at %q: %s", k.State, k.Step, k.Message)
	return k
}

// domainOn is the state of a domain as its host tells it; empty if it has none
// or does not answer.
func (c *cloud) domainOn(t *testing.T, host, uuid string) string {
	t.Helper()
	h, err := c.world.Host(host)
	if err != nil {
		t.Fatal(err)
	}
	info, err := c.sys.Hypervisor.Domain(t.Context(), h, uuid)
	if err != nil {
		return ""
	}
	return info.State.String()
}

// wantClaims checks that only one host has something claimed.
func (c *cloud) wantClaims(t *testing.T, host string) {
	t.Helper()
	err := c.db.View(t.Context(), func(tx *store.Tx) error {
		hosts, err := tx.AllHosts()
		for _, h := range hosts {
			if (h.ClaimedVCPUs > 0) != (h.Name == host) {
				t.Errorf("%s has %d vCPUs claimed", h.Name, h.ClaimedVCPUs)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
