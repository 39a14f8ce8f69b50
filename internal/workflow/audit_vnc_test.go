package workflow_test

import (
	"testing"
	"time"

	"baadal"
	"baadal/internal/store"
)

// TestAuditOfVNCGrants: one whose address does not answer shows, with the reason.
func TestAuditOfVNCGrants(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	var g baadal.VNCGrant
	add := func(old time.Duration) {
		t.Helper()
		a.update(t, func(tx *store.Tx) error {
			if _, err := tx.EndVNCGrants(a.vm.ID); err != nil {
				return err
			}
			g = baadal.VNCGrant{
				VMID: a.vm.ID, VM: a.vm.Name, ByID: a.vm.OwnerID, Password: "Sesame12", Controller: "10.0.0.3",
				CreatedAt: tx.Now().Add(-old), ExpiresAt: tx.Now().Add(time.Hour),
			}
			return tx.AddVNCGrant(&g, tx.Now().Add(time.Minute), 10)
		})
	}
	wantVNC := func(seen string) {
		t.Helper()
		found := a.audit(t, false)
		if seen == "" && found.Clean() {
			return
		}
		if len(found.Differences) != 1 || found.Differences[0].Kind != baadal.DiffVNC || found.Differences[0].Seen != seen {
			t.Errorf("found %+v, want %q", found.Differences, seen)
		}
	}
	add(0)
	wantVNC("")
	add(time.Minute)
	wantVNC("no controller listens for its clients")
	for _, problem := range []string{"address in use", ""} {
		a.update(t, func(tx *store.Tx) error { return tx.SetVNCOpen(g.ID, "10.0.0.3", problem) })
		if problem != "" {
			problem = "10.0.0.3: " + problem
		}
		wantVNC(problem)
	}
}
