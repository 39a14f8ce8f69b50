package workflow_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/simulator"
	"baadal/internal/store"
	"baadal/internal/task"
	"baadal/internal/workflow"
)

// furnished is a cloud with the running VM "ml".
func furnished(t *testing.T) (*cloud, baadal.VM) {
	t.Helper()
	c := open(t, t.TempDir())
	t.Cleanup(c.close)
	c.furnish(t)
	c.vm(t, "ml")
	return c, c.look(t)
}

// look reads the VM "ml".
func (c *cloud) look(t *testing.T) baadal.VM {
	t.Helper()
	vm, err := c.svc.VM(t.Context(), c.actor, "ml")
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// settle runs a task until it has ended, well or not.
func (c *cloud) settle(t *testing.T, k *baadal.Task, err error) baadal.Task {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	q := task.New(c.db, task.Options{Backoff: time.Millisecond})
	q.Register(c.bodies()...)
	if err := q.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := q.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	for {
		done, err := c.svc.WaitTask(t.Context(), baadal.System(), k.ID, 1<<40, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if done.State.Ended() {
			return done
		}
	}
}

func (c *cloud) domain(t *testing.T, vm baadal.VM) baadal.VMState {
	t.Helper()
	h, err := c.world.Host(vm.Host)
	if err != nil {
		t.Fatal(err)
	}
	info, err := c.world.Hypervisor().Domain(t.Context(), h, vm.UUID)
	if err != nil {
		t.Fatal(err)
	}
	return info.State
}

// TestStartThatFailsLeavesWhatRanAlready starts a VM that somebody has started
// on its host, unseen by the store.
func TestStartThatFailsLeavesWhatRanAlready(t *testing.T) {
	c, vm := furnished(t)
	c.act(t, baadal.ActionVMDestroy, "ml")
	if err := c.world.VirshStart(vm.Host, vm.UUID); err != nil {
		t.Fatal(err)
	}
	c.world.Fail(simulator.Rule{Op: "hypervisor.start", Before: true, Err: baadal.Errorf(baadal.Conflict, "libvirt is confused")})
	ch, err := c.svc.ActVM(t.Context(), c.actor, baadal.ActionVMStart, "ml", baadal.ChangeOptions{})
	if k := c.settle(t, ch.Task, err); k.State != baadal.TaskFailed {
		t.Fatalf("the start ends as %s", k.State)
	}
	if got := c.domain(t, vm); got != baadal.VMRunning {
		t.Errorf("the undo of a failed start left a VM that ran before as %s", got)
	}
}

// TestIgnoredRestoreCanBeDeleted ignores a restore that could not be undone: the
// VM must not stay "creating" for ever.
func TestIgnoredRestoreCanBeDeleted(t *testing.T) {
	c, vm := furnished(t)
	c.act(t, baadal.ActionVMDelete, "ml")
	c.world.Fail(simulator.Rule{Op: "hypervisor.define", Before: true, Err: baadal.Errorf(baadal.Conflict, "no")})
	stop := c.world.Fail(simulator.Rule{Op: "hypervisor.undefine", Before: true, Times: -1})
	ch, err := c.svc.ActVM(t.Context(), c.actor, baadal.ActionVMRestore, "ml", baadal.ChangeOptions{})
	k := c.settle(t, ch.Task, err)
	if !k.UndoPending {
		t.Fatalf("the restore ends as %s without an undo that is owed", k.State)
	}
	if got := c.look(t); got.State != baadal.VMUnknown || !strings.Contains(got.Reason, "its restore failed (no)") {
		t.Errorf("the VM is %s: %s", got.State, got.Reason)
	}
	if _, err := c.svc.IgnoreTask(t.Context(), baadal.System(), k.ID); err != nil {
		t.Fatal(err)
	}
	stop()
	c.act(t, baadal.ActionVMDelete, "ml")
	if vm = c.look(t); vm.State != baadal.VMDeleted || vm.Address != "" {
		t.Errorf("the VM is %s with address %q", vm.State, vm.Address)
	}
}

func (c *cloud) audit(t *testing.T) baadal.Audit {
	t.Helper()
	ch, err := c.svc.RunAudit(t.Context(), c.actor, true, baadal.ChangeOptions{})
	c.settle(t, ch.Task, err)
	report, err := c.svc.LastAudit(t.Context(), c.actor)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// TestAuditDefinesNoSecondDomain moves a VM by hand to another host: defined
// again on its own, it could be started twice.
func TestAuditDefinesNoSecondDomain(t *testing.T) {
	c, vm := furnished(t)
	for _, act := range []func(string, string) error{c.world.VirshDestroy, c.world.VirshUndefine} {
		if err := act(vm.Host, vm.UUID); err != nil {
			t.Fatal(err)
		}
	}
	c.defineOn(t, other(vm.Host), vm)
	i := slices.IndexFunc(c.audit(t).Differences, func(d baadal.Difference) bool { return d.Kind == baadal.DiffMovedDomain && d.Repaired })
	if i < 0 {
		t.Fatal("the move is not told")
	}
	h, err := c.world.Host(vm.Host)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.world.Hypervisor().Domain(t.Context(), h, vm.UUID); baadal.KindOf(err) != baadal.NotFound {
		t.Errorf("the repair defined a second domain: %v", err)
	}
}

func other(host string) string {
	if host == "host1" {
		return "host2"
	}
	return "host1"
}

func (c *cloud) defineOn(t *testing.T, host string, vm baadal.VM) {
	t.Helper()
	h, err := c.world.Host(host)
	if err != nil {
		t.Fatal(err)
	}
	d := baadal.Domain{
		Console: "/run/baadal/" + vm.UUID, UUID: vm.UUID, Name: vm.Identity, VMID: vm.ID, Virt: "qemu", VCPUs: 1, RAMMiB: 512,
		Disks: []baadal.DomainDisk{{Path: "/mnt/datastore/vm_images/x.qcow2", Format: "qcow2", Target: "vda"}},
	}
	if err := c.world.Hypervisor().Define(t.Context(), h, d); err != nil {
		t.Fatal(err)
	}
}

// TestRepairRespectsWhatChangedSince changes the VM while the audit mends what
// it saw before.
func TestRepairRespectsWhatChangedSince(t *testing.T) {
	for _, tc := range []struct {
		name     string
		prepare  func(t *testing.T, c *cloud, vm baadal.VM)
		change   baadal.VMState // what the VM becomes meanwhile
		kind     string
		survives bool // the domain
	}{
		{"deleted and restored", func(t *testing.T, c *cloud, vm baadal.VM) {
			c.act(t, baadal.ActionVMDelete, "ml")
			c.defineOn(t, vm.Host, vm)
		}, baadal.VMOff, baadal.DiffOrphanDomain, true},
		{"deleted", func(t *testing.T, c *cloud, vm baadal.VM) {
			if err := c.world.VirshDestroy(vm.Host, vm.UUID); err != nil {
				t.Fatal(err)
			}
		}, baadal.VMDeleted, baadal.DiffWrongState, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, vm := furnished(t)
			tc.prepare(t, c, vm)
			c.world.OnOp(func(op string, after bool) {
				if op != "hypervisor.domain" || after {
					return
				}
				err := c.db.Update(context.Background(), func(tx *store.Tx) error {
					_, _, err := tx.SetVMState(vm.ID, tc.change, "")
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
			report := c.audit(t)
			c.world.OnOp(nil)
			i := slices.IndexFunc(report.Differences, func(d baadal.Difference) bool { return d.Kind == tc.kind })
			if i < 0 || report.Differences[i].Repaired || report.Differences[i].Error == "" {
				t.Errorf("differences: %+v", report.Differences)
			}
			if now := c.look(t); now.State != tc.change {
				t.Errorf("the repair made the VM %s, it was %s by then", now.State, tc.change)
			}
			h, err := c.world.Host(vm.Host)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.world.Hypervisor().Domain(t.Context(), h, vm.UUID); (err == nil) != tc.survives {
				t.Errorf("the domain: %v", err)
			}
		})
	}
}

// slowDHCP makes the store change while an older list is applied, as another
// controller's network would.
type slowDHCP struct {
	workflow.DHCP
	once func()
}

func (s *slowDHCP) Apply(ctx context.Context, rs []baadal.Reservation) error {
	if once := s.once; once != nil {
		s.once = nil
		once()
	}
	return s.DHCP.Apply(ctx, rs)
}

// TestNewestReservationsWin lets another controller reserve while this one is
// about to apply its older list.
func TestNewestReservationsWin(t *testing.T) {
	c, _ := furnished(t)
	mac := baadal.RandomMAC([3]byte{0xff, 1, 2})
	c.sys.DHCP = &slowDHCP{DHCP: c.sys.DHCP, once: func() {
		err := c.db.Update(context.Background(), func(tx *store.Tx) error {
			n := baadal.Network{Name: "theirs", VLAN: 77, CIDR: "10.7.0.0/29", Bridge: "ovs-net", Portgroup: "vlan77", First: "10.7.0.2", Last: "10.7.0.2"}
			return tx.CreateNetwork(&n, []baadal.Address{{IP: "10.7.0.2", MAC: mac}})
		})
		if err != nil {
			t.Error(err)
		}
	}}
	ch, err := c.svc.CreateNetwork(t.Context(), c.actor, baadal.NetworkCreate{Name: "ours", VLAN: 20, CIDR: "10.0.2.0/29"}, baadal.ChangeOptions{})
	if k := c.settle(t, ch.Task, err); k.State != baadal.TaskSuccess {
		t.Fatalf("%s: %s", k.State, k.Message)
	}
	rs, err := c.world.DHCP().Reservations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(rs, func(r baadal.Reservation) bool { return r.MAC == mac }) {
		t.Error("the server was left with the older list")
	}
}
