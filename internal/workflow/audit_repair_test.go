package workflow_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
	"baadal/internal/task"
	"baadal/internal/workflow"
)

// TestRepairOfOrphanDomain removes a domain of ours that is off, keeps its disk,
// and leaves one that runs and those of others alone.
func TestRepairOfOrphanDomain(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprintf("running %t", running), func(t *testing.T) {
			t.Parallel()
			a := newAudited(t)
			uuid := a.orphan(t, running)
			theirs, err := a.world.RogueDomain(a.host, "theirs")
			must(t, err)
			a.audit(t, true)
			h, err := a.world.Host(a.host)
			must(t, err)
			_, err = a.world.Hypervisor().Domain(context.Background(), h, uuid)
			if want := map[bool]baadal.Kind{true: "", false: baadal.NotFound}[running]; baadal.KindOf(err) != want {
				t.Errorf("the orphan: %v, want kind %q", err, want)
			}
			for _, other := range []string{theirs, a.vm.UUID} {
				if info, err := a.world.Hypervisor().Domain(context.Background(), h, other); err != nil || info.State != baadal.VMRunning {
					t.Errorf("another's domain: %+v, %v", info, err)
				}
			}
			if !slices.Contains(a.disks(t), "vm_images/IITD_gone_x "+uuid) {
				t.Errorf("its disk is gone: %v", a.disks(t))
			}
		})
	}
}

// TestRepairOfDomainOfDeletedVM: a domain that came back after its VM was
// deleted is removed; the VM stays restorable.
func TestRepairOfDomainOfDeletedVM(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	a.act(t, baadal.ActionVMDelete, "ml")
	must(t, a.world.RogueFolder(mount, "lost+found/copy", ""))
	a.copyDomain(t, mount+"/lost+found/copy/copy.qcow2")
	must(t, a.world.VirshStart(a.elsewhere(), a.vm.UUID))
	report := a.audit(t, true)
	if len(report.Differences) != 1 || report.Differences[0].Kind != baadal.DiffOrphanDomain || !report.Differences[0].Repaired {
		t.Errorf("got %+v", report.Differences)
	}
	if left := a.audit(t, false); !left.Clean() {
		t.Errorf("left: %v", a.shorts(left))
	}
	a.act(t, baadal.ActionVMRestore, "ml")
	a.act(t, baadal.ActionVMStart, "ml")
}

// TestRepairDefinesMissingDomain shut off, so that a person starts it.
func TestRepairDefinesMissingDomain(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	must(t, a.world.VirshDestroy(a.host, a.vm.UUID))
	must(t, a.world.VirshUndefine(a.host, a.vm.UUID))
	a.audit(t, true)
	if vm := a.look(t); vm.State != baadal.VMOff || vm.Address != a.vm.Address {
		t.Errorf("it is %s with %s", vm.State, vm.Address)
	}
	a.act(t, baadal.ActionVMStart, "ml")
	if wrong := a.world.Check(); len(wrong) != 0 {
		t.Error(wrong)
	}
}

// TestAuditLeavesWhatTasksHold: what a task works on is in motion.
func TestAuditLeavesWhatTasksHold(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	a.update(t, func(tx *store.Tx) error {
		return tx.InsertTask(&baadal.Task{
			Kind: baadal.TaskVMReboot, Subject: baadal.Subject{Kind: "vm", ID: a.vm.ID, Name: "ml"}, Exclusive: true, RunAfter: time.Now().Add(time.Hour),
		})
	})
	must(t, a.world.VirshDestroy(a.host, a.vm.UUID))
	must(t, a.world.RemoveFolder(mount, a.folder()))
	if report := a.audit(t, true); !report.Clean() {
		t.Errorf("judged: %v", a.shorts(report))
	}
}

// TestAuditTellsOfTasks that nobody works on, or that owe an undo.
func TestAuditTellsOfTasks(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	owing := baadal.Task{Kind: baadal.TaskVMReboot, Subject: baadal.Subject{Kind: "vm", ID: a.vm.ID, Name: "ml"}, Exclusive: true}
	a.update(t, func(tx *store.Tx) error {
		if err := tx.InsertTask(&owing); err != nil {
			return err
		}
		all, err := tx.LeaseTasks("me", tx.Now().Add(time.Hour), 8, 16)
		if err != nil || len(all) != 1 {
			return fmt.Errorf("%d tasks leased: %w", len(all), err)
		}
		all[0].State, all[0].Message, all[0].Undoing, all[0].RunAfter = baadal.TaskFailed, "host1 does not answer", true, tx.Now().Add(time.Hour)
		return tx.SaveTask(&all[0], "me", true, time.Time{})
	})
	// A task that hangs has all of host1, and another one has waited for long.
	a.world.Fail(simulator.Rule{Op: "prober.probe", Times: -1, Before: true, Hang: true})
	a.update(t, func(tx *store.Tx) error {
		h, err := tx.HostByRef("host1")
		if err != nil {
			return err
		}
		for _, k := range []baadal.Task{{RunAfter: tx.Now().Add(-20 * time.Minute), Cost: 8}, {RunAfter: tx.Now().Add(-10 * time.Minute)}} {
			k.Kind, k.HostID, k.Subject = baadal.TaskHostCheck, h.ID, baadal.Subject{Kind: "host", ID: h.ID, Name: h.Name}
			if err := tx.InsertTask(&k); err != nil {
				return err
			}
		}
		return nil
	})
	report := a.auditWhileBusy(t)
	var found []string
	for _, d := range report.Differences {
		if d.Repair != "" || d.Repaired {
			t.Errorf("tasks are mended by their workers: %+v", d)
		}
		stored, _, _ := strings.Cut(d.Stored, " 20")
		found = append(found, fmt.Sprintf("%s of %s: %s, %s", d.Kind, d.Subject.Name, stored, d.Seen))
	}
	slices.Sort(found)
	want := []string{"stuck_task of Check Host: due since, nobody works on it", "undo_pending of Reboot VM: failed, vm ml, host1 does not answer"}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
}

// auditWhileBusy makes an audit once another task is at work.
func (a *audited) auditWhileBusy(t *testing.T) baadal.Audit {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	q := task.New(a.db, task.Options{})
	q.Register(a.bodies()...)
	must(t, q.Start(ctx))
	defer func() { must(t, q.Stop(ctx)) }()
	for busy := false; !busy; time.Sleep(time.Millisecond) {
		must(t, ctx.Err())
		a.view(t, func(tx *store.Tx) error {
			counts, _, err := tx.TaskCounts()
			busy = counts[baadal.TaskProcessing.String()] > 0
			return err
		})
	}
	ch, err := a.svc.RunAudit(ctx, a.actor, true, baadal.ChangeOptions{})
	must(t, err)
	done, err := a.svc.WaitTask(ctx, a.actor, ch.Task.ID, 1<<40, time.Minute)
	must(t, err)
	if done.State != baadal.TaskSuccess {
		t.Fatalf("the audit: %s: %s", done.State, done.Message)
	}
	report, err := a.svc.LastAudit(ctx, a.actor)
	must(t, err)
	return report
}

// scribbledDHCP is a DHCP server whose file of ours somebody wrote nonsense into.
type scribbledDHCP struct {
	workflow.DHCP
	mended bool
}

func (s *scribbledDHCP) Apply(ctx context.Context, rs []baadal.Reservation) error {
	s.mended = true
	return s.DHCP.Apply(ctx, rs)
}

func (s *scribbledDHCP) Reservations(ctx context.Context) ([]baadal.Reservation, error) {
	if !s.mended {
		return nil, baadal.Errorf(baadal.Conflict, "baadal.conf was changed by hand").WithCode("dhcp_file_changed")
	}
	return s.DHCP.Reservations(ctx)
}

// TestScribbledReservations: a file that cannot be read is a difference, and
// mended, not something that could not be looked at.
func TestScribbledReservations(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	a.sys.DHCP = &scribbledDHCP{DHCP: a.sys.DHCP}
	const want = "dhcp of cloud DHCP server: 4 reservations, baadal.conf was changed by hand"
	for _, repair := range []bool{false, true} {
		report := a.audit(t, repair)
		if diff := cmp.Diff([]string{want}, a.shorts(report)); diff != "" || len(report.NotSeen) > 0 || report.Differences[0].Repaired != repair {
			t.Errorf("repair %t: %s, not seen %v", repair, diff, report.NotSeen)
		}
	}
	if report := a.audit(t, false); len(report.Differences)+len(report.NotSeen) > 0 {
		t.Errorf("after the repair: %+v", report)
	}
}
