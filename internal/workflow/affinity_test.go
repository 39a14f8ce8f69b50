package workflow_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"baadal"
	"baadal/internal/store"
)

// TestAuditOfAffinity: a VM that runs where a rule forbids it shows, and what is
// off does not.
func TestAuditOfAffinity(t *testing.T) {
	t.Parallel()
	a, ctx, none := newAudited(t), context.Background(), baadal.ChangeOptions{}
	other, err := a.svc.CreateVM(ctx, a.actor, baadal.VMCreate{Name: "other", Template: "tiny", Host: a.host}, none)
	a.finish(t, other.Task, err)
	if _, err := a.svc.CreateAffinity(ctx, a.actor, baadal.AffinityCreate{Name: "web", Rule: baadal.AffinityApart, VMs: []string{"ml", "other"}}, none); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range a.audit(t, true).Differences {
		got = append(got, d.Kind+" of "+d.Subject.Name+": "+d.Stored)
		if d.Repair != "" || d.Repaired {
			t.Errorf("people move VMs, not the audit: %+v", d)
		}
	}
	want := []string{"affinity of ml: other of the apart group web is on the same host", "affinity of other: ml of the apart group web is on the same host"}
	if len(got) != 2 || !strings.Contains(strings.Join(got, "\n"), want[0]) || !strings.Contains(strings.Join(got, "\n"), want[1]) {
		t.Errorf("%q, want %q", got, want)
	}
	ch, err := a.svc.ActVM(ctx, a.actor, baadal.ActionVMDestroy, "other", none)
	a.finish(t, ch.Task, err)
	if left := a.audit(t, false); !left.Clean() {
		t.Errorf("with one of them off: %+v", left.Differences)
	}
}

// TestPostCopyBreaks pulls a cord while a part of the VM's memory is on each
// host: it is off afterwards, in one place, and the words say why.
func TestPostCopyBreaks(t *testing.T) {
	t.Parallel()
	for _, dies := range []string{"host1", "host2"} {
		t.Run(dies, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			c := open(t, t.TempDir())
			defer c.close()
			c.furnish(t)
			created, err := c.svc.CreateVM(ctx, c.actor, baadal.VMCreate{Name: "ml", Template: "tiny", Host: "host1"}, baadal.ChangeOptions{})
			c.finish(t, created.Task, err)
			uuid := created.Resource.UUID
			c.world.OnOp(func(op string, after bool) {
				if op == "hypervisor.migrate_go_on" && after {
					if err := c.world.PowerOff(dies); err != nil {
						t.Error(err)
					}
					c.world.OnOp(nil)
				}
			})
			ch, err := c.svc.MigrateVM(ctx, c.actor, "ml", baadal.VMMigrate{To: "host2", PostCopy: true}, baadal.ChangeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			stop := c.work(t)
			defer stop()
			c.awaitTask(t, ch.Task.ID, func(k baadal.Task) bool { return k.State.Ended() })
			if err := c.world.PowerOn(dies); err != nil {
				t.Fatal(err)
			}
			done := c.awaitTask(t, ch.Task.ID, func(k baadal.Task) bool { return !k.UndoPending })
			vm, err := c.svc.VM(ctx, c.actor, "ml")
			if err != nil {
				t.Fatal(err)
			}
			if vm.State != baadal.VMOff || vm.Host != "host1" || done.State != baadal.TaskFailed {
				t.Errorf("%s on %s, %s: %s", vm.State, vm.Host, done.State, done.Message)
			}
			for _, h := range []string{"host1", "host2"} {
				want := ""
				if h == vm.Host {
					want = vm.State.String()
				}
				if got := c.domainOn(t, h, uuid); got != want {
					t.Errorf("on %s it is %q, want %q", h, got, want)
				}
			}
			if bad := c.world.Check(); len(bad) > 0 {
				t.Error(bad)
			}
			c.wantClaims(t, vm.Host)
		})
	}
}

// TestMigratePreflightComparesCPUs: what the hosts' last look did not tell the
// task finds out before it touches anything.
func TestMigratePreflightComparesCPUs(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := open(t, t.TempDir())
	defer c.close()
	c.furnish(t)
	err := c.db.Update(ctx, func(tx *store.Tx) error { // an emulated CPU is the same everywhere
		hosts, err := tx.AllHosts()
		for _, h := range hosts {
			h.Virt = "kvm"
			err = errors.Join(err, tx.SetHostFacts(h.ID, h.HostFacts))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	created, err := c.svc.CreateVM(ctx, c.actor, baadal.VMCreate{Name: "ml", Template: "tiny", Host: "host1"}, baadal.ChangeOptions{})
	c.finish(t, created.Task, err)
	for host, cpu := range map[string]string{"host1": "AMD avx sse2", "host2": "AMD sse2"} {
		if err := c.world.SetHostCPU(host, cpu); err != nil {
			t.Fatal(err)
		}
	}
	ch, err := c.svc.MigrateVM(ctx, c.actor, "ml", baadal.VMMigrate{To: "host2"}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stop := c.work(t)
	defer stop()
	done := c.awaitTask(t, ch.Task.ID, func(k baadal.Task) bool { return k.State.Ended() })
	if done.State != baadal.TaskFailed || done.Code != "host_unfit" || !strings.Contains(done.Message, "avx") {
		t.Errorf("%s %s: %s", done.State, done.Code, done.Message)
	}
	if got := c.domainOn(t, "host1", created.Resource.UUID); got != "running" {
		t.Errorf("on host1 it is %q", got)
	}
}
