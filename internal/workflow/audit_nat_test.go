package workflow_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/store"
)

// A NAT box that has not what the store says is told, and mended on request.
func TestAuditComparesTheNATBox(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	found := func(repair bool, want bool) {
		t.Helper()
		report := a.audit(t, repair)
		got := false
		for _, d := range report.Differences {
			got = got || d.Kind == baadal.DiffNAT && d.Repaired == repair
		}
		if got != want {
			t.Errorf("found is %t, want %t: %+v", got, want, report.Differences)
		}
	}
	found(false, false) // a cloud that needs nothing of it
	var table baadal.NATTable
	a.update(t, func(tx *store.Tx) (err error) {
		if _, err := tx.AddPublics(netip.MustParseAddr("203.0.113.16"), netip.MustParseAddr("203.0.113.31")); err != nil {
			return err
		}
		if _, err := tx.ClaimPublic(a.vm.ID); err != nil {
			return err
		}
		f := baadal.Forward{VMID: a.vm.ID, Service: baadal.ForwardPort, Protocol: baadal.TCP, Port: 22, ExpiresAt: tx.Now().Add(time.Hour), ByID: a.vm.OwnerID}
		if err := tx.AddForward(&f, 50000, 50009); err != nil {
			return err
		}
		table, err = tx.NATTable()
		return err
	})
	found(false, false) // the loop has not been at it: in motion
	a.update(t, func(tx *store.Tx) error { _, err := tx.SetNATState(table.Revision, ""); return err })
	found(false, true)
	found(true, true)
	found(false, false)
	other := table
	other.Publics = nil
	if _, err := a.world.NAT().Apply(context.Background(), other); err != nil {
		t.Fatal(err)
	}
	found(false, true)
	a.update(t, func(tx *store.Tx) error { _, err := tx.SetNATState(table.Revision, "the box refuses it"); return err })
	if report := a.audit(t, false); len(report.Differences) != 1 || !strings.Contains(report.Differences[0].Seen, "the box refuses it") {
		t.Errorf("it does not say why: %+v", report.Differences)
	}
	a.world.BreakNAT(true)
	if report := a.audit(t, false); len(report.NotSeen) != 1 || len(report.Differences) != 0 {
		t.Errorf("of a box that does not answer: %+v", report)
	}
}
