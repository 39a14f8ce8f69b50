package workflow_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"baadal"
	"baadal/internal/workflow"
)

// afterPorts looks at ports as the world's prober does; after the first look at
// a host something happens.
type afterPorts struct {
	workflow.Prober
	host   string
	happen func()
	did    atomic.Bool
}

func (a *afterPorts) VLANs(ctx context.Context, host baadal.Host) (map[string]int, error) {
	tags, err := a.Prober.VLANs(ctx, host)
	if host.Name == a.host && a.did.CompareAndSwap(false, true) {
		a.happen()
	}
	return tags, err
}

// TestAuditOfChangedNIC: a NIC that is changed while the audit looks is no
// difference, though no task is seen before or after.
func TestAuditOfChangedNIC(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir())
	defer c.close()
	c.furnish(t)
	c.vm(t, "ml")
	second(t, c)
	vm, err := c.svc.VM(t.Context(), c.actor, "ml")
	if err != nil {
		t.Fatal(err)
	}
	hook := &afterPorts{Prober: c.sys.Prober, host: vm.Host, happen: func() {
		ch, err := c.svc.ChangeNIC(t.Context(), c.actor, "ml", "0", baadal.NICChange{Network: "second"}, none)
		if err != nil {
			t.Error(err)
			return
		}
		if k, err := c.svc.WaitTask(t.Context(), c.actor, ch.Task.ID, 1<<40, 20*time.Second); err != nil || k.State != baadal.TaskSuccess {
			t.Errorf("the change is %s: %v", k.State, err)
		}
	}}
	c.sys.Prober = hook
	ch, err := c.svc.RunAudit(t.Context(), c.actor, false, none)
	c.finish(t, ch.Task, err)
	report, err := c.svc.LastAudit(t.Context(), c.actor)
	if err != nil || !hook.did.Load() {
		t.Fatalf("nothing happened: %v", err)
	}
	for _, d := range report.Differences {
		if d.Kind == baadal.DiffWrongVLAN {
			t.Errorf("stored %s, seen %s", d.Stored, d.Seen)
		}
	}
}
