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

// testHeadroom gives a domain memory from its head-room and takes it back, as
// far as that is libvirt's business: whether a guest uses it is its own.
func testHeadroom(t *testing.T, f Fixture) {
	if f.NoHeadroom {
		return
	}
	d, ctx := f.NewDomain(t), t.Context()
	d.VCPUs, d.MaxVCPUs, d.RAMMiB, d.MaxRAMMiB = 1, 4, 128, 257
	f.remove(t, d.UUID)
	must(t, f.Hypervisor.Define(ctx, f.Host, d))
	has := func(plugged, ram int) {
		t.Helper()
		s, err := f.Hypervisor.Size(ctx, f.Host, d.UUID)
		must(t, err)
		info, err := f.Hypervisor.Domain(ctx, f.Host, d.UUID)
		must(t, err)
		if s.MaxRAMMiB != 128 || s.RoomMiB != 128 || s.PluggedMiB != plugged || s.Most() != 256 || info.RAMMiB != ram {
			t.Errorf("it is of %+v and has %d MiB, want %d plugged in and %d", s, info.RAMMiB, plugged, ram)
		}
	}
	must(t, f.Hypervisor.Start(ctx, f.Host, d.UUID))
	has(0, 128)
	for range 2 {
		must(t, f.Hypervisor.SetBalloon(ctx, f.Host, d.UUID, 191))
		has(64, 192)
	}
	must(t, f.Hypervisor.SetBalloon(ctx, f.Host, d.UUID, 256))
	has(128, 256)
	wantKind(t, f.Hypervisor.SetBalloon(ctx, f.Host, d.UUID, 257), baadal.Invalid)
	must(t, f.Hypervisor.SetBalloon(ctx, f.Host, d.UUID, 128))
	has(0, 128)
	must(t, f.Hypervisor.SetBalloon(ctx, f.Host, d.UUID, 160))
	must(t, f.Hypervisor.Destroy(ctx, f.Host, d.UUID))
	must(t, f.Hypervisor.Start(ctx, f.Host, d.UUID))
	has(0, 128) // only until the next start
}
