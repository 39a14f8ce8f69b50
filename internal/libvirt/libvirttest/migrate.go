package libvirttest

import (
	"testing"

	"baadal"
)

// testHalf looks at domains that no migration left: the moves themselves need
// two hosts and are tested on the lab.
func testHalf(t *testing.T, f Fixture) {
	ctx := t.Context()
	want := func(uuid string, want baadal.DomainHalf) {
		t.Helper()
		must(t, f.Hypervisor.AbortMigration(ctx, f.Host, uuid)) // nothing to abort
		got, err := f.Hypervisor.Half(ctx, f.Host, uuid)
		must(t, err)
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	want(nowhere, baadal.DomainHalf{})
	d := f.start(t)
	want(d.UUID, baadal.DomainHalf{There: true, State: baadal.VMRunning, Persistent: true})
	must(t, f.Hypervisor.ResumeMigrated(ctx, f.Host, d.UUID))
	must(t, f.Hypervisor.Fits(ctx, f.Host, f.Host, d.UUID)) // where it runs it can run
	must(t, f.Hypervisor.Suspend(ctx, f.Host, d.UUID))
	want(d.UUID, baadal.DomainHalf{There: true, State: baadal.VMPaused, Persistent: true})
	must(t, f.Hypervisor.Destroy(ctx, f.Host, d.UUID))
	want(d.UUID, baadal.DomainHalf{There: true, State: baadal.VMOff, Persistent: true})
	wantKind(t, f.Hypervisor.ResumeMigrated(ctx, f.Host, d.UUID), baadal.Conflict)
	must(t, f.Hypervisor.Fits(ctx, f.Host, f.Host, d.UUID))
	wantKind(t, f.Hypervisor.Fits(ctx, f.Host, f.Host, nowhere), baadal.NotFound)
	wantKind(t, f.Hypervisor.ResumeMigrated(ctx, f.Host, nowhere), baadal.NotFound)
}
