package workflow_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/store"
)

// TestAuditOfFlows: rules that are missing on a host's ports are found and laid
// again, and that there are to be none is said loudly each time.
func TestAuditOfFlows(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	for i := range 3 {
		if err := a.world.DropFlows(fmt.Sprintf("host%d", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	kinds := func(r baadal.Audit) (all []string) {
		for _, d := range r.Differences {
			all = append(all, d.Kind+" "+d.Subject.Name)
		}
		return all
	}
	if got := kinds(a.audit(t, true)); strings.Join(got, ", ") != "flows host1, flows host2, flows host3" {
		t.Errorf("before any rules: %v", got)
	}
	if r := a.audit(t, false); !r.Clean() {
		t.Errorf("after the repair: %v", kinds(r))
	}
	if err := a.world.DropFlows("host2"); err != nil {
		t.Fatal(err)
	}
	host2, err := a.world.Host("host2")
	if err != nil {
		t.Fatal(err)
	}
	a.view(t, func(tx *store.Tx) (err error) { host2, err = tx.HostByRef("host2"); return err })
	if words, err := a.sys.Flows.Differences(t.Context(), host2, func([]string) (baadal.FlowPolicy, error) { return baadal.FlowPolicy{}, nil }); err != nil || len(words) != 1 {
		t.Errorf("%v, %v", words, err)
	}
	if got := kinds(a.audit(t, true)); strings.Join(got, ", ") != "flows host2" {
		t.Errorf("after a loss: %v", got)
	}
	a.update(t, func(tx *store.Tx) error {
		_, err := tx.SetSetting(baadal.SettingAntiSpoofing, "false", 0, "asha")
		return err
	})
	for range 2 {
		a.audit(t, true)
	}
	if got := kinds(a.audit(t, true)); strings.Join(got, ", ") != "flows_off "+baadal.SettingAntiSpoofing {
		t.Errorf("switched off: %v", got)
	}
}

// TestAuditWhileAHostIsAdded: a host that a task is about to take in gets its
// rules from that, and is not judged.
func TestAuditWhileAHostIsAdded(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	a.audit(t, true)
	must(t, a.world.DropFlows("host3"))
	a.update(t, func(tx *store.Tx) error {
		h, err := tx.HostByRef("host3")
		if err != nil {
			return err
		}
		return tx.InsertTask(&baadal.Task{
			Kind: baadal.TaskHostAdd, Subject: baadal.Subject{Kind: "host", ID: h.ID, Name: h.Name}, Exclusive: true, RunAfter: time.Now().Add(time.Hour),
		})
	})
	for _, d := range a.audit(t, false).Differences {
		if d.Kind == baadal.DiffFlows {
			t.Errorf("%+v", d)
		}
	}
}
