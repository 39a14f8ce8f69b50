package libvirttest

import (
	"testing"

	"baadal"
)

func testResize(t *testing.T, f Fixture) {
	d, ctx := f.NewDomain(t), t.Context()
	d.VCPUs, d.MaxVCPUs, d.RAMMiB = 1, 4, 128
	f.remove(t, d.UUID)
	must(t, f.Hypervisor.Define(ctx, f.Host, d))
	_, err := f.Hypervisor.Size(ctx, f.Host, d.UUID)
	wantKind(t, err, baadal.Conflict)
	wantKind(t, f.Hypervisor.PlugVCPUs(ctx, f.Host, d.UUID, 2), baadal.Conflict)
	wantKind(t, f.Hypervisor.SetBalloon(ctx, f.Host, d.UUID, 64), baadal.Conflict)
	must(t, f.Hypervisor.Start(ctx, f.Host, d.UUID))
	want := func(want baadal.DomainSize) {
		t.Helper()
		got, err := f.Hypervisor.Size(ctx, f.Host, d.UUID)
		must(t, err)
		if f.DeafBalloon {
			want.RAMMiB = got.RAMMiB
		}
		if got != want {
			t.Errorf("size is %+v, want %+v", got, want)
		}
	}
	want(baadal.DomainSize{VCPUs: 1, MaxVCPUs: 4, RAMMiB: 128, MaxRAMMiB: 128})
	for range 2 {
		must(t, f.Hypervisor.PlugVCPUs(ctx, f.Host, d.UUID, 3))
		must(t, f.Hypervisor.SetBalloon(ctx, f.Host, d.UUID, 96))
	}
	want(baadal.DomainSize{VCPUs: 3, MaxVCPUs: 4, RAMMiB: 96, MaxRAMMiB: 128})
	wantKind(t, f.Hypervisor.PlugVCPUs(ctx, f.Host, d.UUID, 5), baadal.Invalid)
	wantKind(t, f.Hypervisor.PlugVCPUs(ctx, f.Host, d.UUID, 2), baadal.Invalid)
	wantKind(t, f.Hypervisor.SetBalloon(ctx, f.Host, d.UUID, 129), baadal.Invalid)
	info, err := f.Hypervisor.Domain(ctx, f.Host, d.UUID)
	must(t, err)
	if info.VCPUs != 3 || info.RAMMiB != 128 {
		t.Errorf("it runs with %d vCPUs and %d MiB", info.VCPUs, info.RAMMiB)
	}
	must(t, f.Hypervisor.Destroy(ctx, f.Host, d.UUID))
	must(t, f.Hypervisor.Start(ctx, f.Host, d.UUID))
	want(baadal.DomainSize{VCPUs: 1, MaxVCPUs: 4, RAMMiB: 128, MaxRAMMiB: 128}) // only until the next start
	wantKind(t, f.Hypervisor.PlugVCPUs(ctx, f.Host, nowhere, 2), baadal.NotFound)
}
