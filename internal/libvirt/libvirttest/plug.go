package libvirttest

import (
	"testing"

	"baadal"
)

func testPlug(t *testing.T, f Fixture) {
	if f.NewDisk == nil {
		return
	}
	ctx, h := t.Context(), f.Hypervisor
	d := f.start(t)
	k, other := f.NewDisk(t, "vdb"), f.NewDisk(t, "vdb")
	targets := func(want string) {
		t.Helper()
		got, err := h.Targets(ctx, f.Host, d.UUID)
		must(t, err)
		if got[k.Target] != want || got[d.Disks[0].Target] != d.Disks[0].Path {
			t.Fatalf("disks are %v, want %q at %s", got, want, k.Target)
		}
	}
	targets("")
	for range 2 {
		must(t, h.AttachDisk(ctx, f.Host, d.UUID, k))
		targets(k.Path)
	}
	wantKind(t, h.AttachDisk(ctx, f.Host, d.UUID, other), baadal.Conflict)
	for range 2 {
		must(t, h.ResizeDisk(ctx, f.Host, d.UUID, k, 2<<30))
	}
	wantKind(t, h.ResizeDisk(ctx, f.Host, d.UUID, k, 1<<30), baadal.Invalid)
	k.BytesPerSecond, k.IOPS = 1<<20, 100
	for range 2 {
		must(t, h.LimitDisk(ctx, f.Host, d.UUID, k))
	}
	wantKind(t, h.LimitDisk(ctx, f.Host, d.UUID, other), baadal.NotFound)
	if f.ShutdownWithin > 0 { // there is a guest that can let go
		for range 2 {
			must(t, h.DetachDisk(ctx, f.Host, d.UUID, k))
			targets("")
		}
		must(t, h.AttachDisk(ctx, f.Host, d.UUID, k))
	}
	must(t, h.Destroy(ctx, f.Host, d.UUID))
	targets(k.Path)
	wantKind(t, h.ResizeDisk(ctx, f.Host, d.UUID, k, 3<<30), baadal.Conflict)
	must(t, h.LimitDisk(ctx, f.Host, d.UUID, k))
	for range 2 {
		must(t, h.DetachDisk(ctx, f.Host, d.UUID, k))
		targets("")
	}
	must(t, h.AttachDisk(ctx, f.Host, d.UUID, k))
	targets(k.Path)
	must(t, h.Start(ctx, f.Host, d.UUID))
	targets(k.Path)
	_, err := h.Targets(ctx, f.Host, nowhere)
	wantKind(t, err, baadal.NotFound)
	wantKind(t, h.AttachDisk(ctx, f.Host, nowhere, k), baadal.NotFound)
	wantKind(t, h.DetachDisk(ctx, f.Host, nowhere, k), baadal.NotFound)
	wantKind(t, h.ResizeDisk(ctx, f.Host, nowhere, k, 3<<30), baadal.NotFound)
	wantKind(t, h.LimitDisk(ctx, f.Host, nowhere, k), baadal.NotFound)
}
