package libvirttest

import (
	"context"
	"testing"

	"baadal"
)

func testSuspend(t *testing.T, f Fixture) {
	d, ctx := f.start(t), t.Context()
	for range 2 {
		must(t, f.Hypervisor.Suspend(ctx, f.Host, d.UUID))
		f.wantState(t, d.UUID, baadal.VMPaused)
	}
	wantKind(t, f.Hypervisor.Start(ctx, f.Host, d.UUID), baadal.Conflict)
	for range 2 {
		must(t, f.Hypervisor.Resume(ctx, f.Host, d.UUID))
		f.wantState(t, d.UUID, baadal.VMRunning)
	}
	must(t, f.Hypervisor.Destroy(ctx, f.Host, d.UUID))
	wantKind(t, f.Hypervisor.Suspend(ctx, f.Host, d.UUID), baadal.Conflict)
	wantKind(t, f.Hypervisor.Resume(ctx, f.Host, d.UUID), baadal.Conflict)
	wantKind(t, f.Hypervisor.Suspend(ctx, f.Host, nowhere), baadal.NotFound)
}

func testReset(t *testing.T, f Fixture) {
	if f.NoReset {
		t.Skip("the driver has no reset")
	}
	d := f.start(t)
	must(t, f.Hypervisor.Reset(t.Context(), f.Host, d.UUID))
	f.wantState(t, d.UUID, baadal.VMRunning)
	must(t, f.Hypervisor.Destroy(t.Context(), f.Host, d.UUID))
	wantKind(t, f.Hypervisor.Reset(t.Context(), f.Host, d.UUID), baadal.Conflict)
}

func testSave(t *testing.T, f Fixture) {
	d, ctx := f.start(t), t.Context()
	saved := func(want bool) {
		t.Helper()
		got, err := f.Hypervisor.Domain(ctx, f.Host, d.UUID)
		must(t, err)
		all, err := f.Hypervisor.Domains(ctx, f.Host)
		must(t, err)
		for _, i := range append(all, got) {
			if i.UUID == d.UUID && i.Saved != want {
				t.Errorf("saved is %t, want %t: %+v", i.Saved, want, i)
			}
		}
	}
	for range 2 {
		must(t, f.Hypervisor.Save(ctx, f.Host, d.UUID))
		f.wantState(t, d.UUID, baadal.VMOff)
		saved(true)
	}
	must(t, f.Hypervisor.Define(ctx, f.Host, d))
	saved(true)
	must(t, f.Hypervisor.Start(ctx, f.Host, d.UUID))
	f.wantState(t, d.UUID, baadal.VMRunning)
	saved(false)
	must(t, f.Hypervisor.Suspend(ctx, f.Host, d.UUID)) // what was paused when it was saved runs when it is started
	must(t, f.Hypervisor.Save(ctx, f.Host, d.UUID))
	must(t, f.Hypervisor.Start(ctx, f.Host, d.UUID))
	f.wantState(t, d.UUID, baadal.VMRunning)
	must(t, f.Hypervisor.Save(ctx, f.Host, d.UUID))
	for range 2 {
		must(t, f.Hypervisor.Discard(ctx, f.Host, d.UUID))
		saved(false)
	}
	wantKind(t, f.Hypervisor.Save(ctx, f.Host, d.UUID), baadal.Conflict)
	wantKind(t, f.Hypervisor.Save(ctx, f.Host, nowhere), baadal.NotFound)
	must(t, f.Hypervisor.Discard(context.WithoutCancel(ctx), f.Host, nowhere))
}
