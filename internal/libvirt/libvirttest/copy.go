package libvirttest

import (
	"context"
	"testing"

	"baadal"
)

// copier is what the suite's hypervisor does when disks can be plugged into it;
// its contract is workflow.Copier's.
type copier interface {
	DiskCopies(ctx context.Context, host baadal.Host, uuid string) (active bool, all []baadal.DiskCopy, err error)
	CopyDisk(ctx context.Context, host baadal.Host, uuid, target, to string, limit int64, progress func(baadal.CopyProgress)) error
	PivotDisk(ctx context.Context, host baadal.Host, uuid, target, to string) error
	StopCopy(ctx context.Context, host baadal.Host, uuid, target string) error
	SwapSeed(ctx context.Context, host baadal.Host, uuid, from, to string) error
}

// testCopy copies a disk of a running domain to another file, gives that up
// once, and goes over to it the second time.
func testCopy(t *testing.T, f Fixture) {
	if f.NewDisk == nil {
		return
	}
	h, ok := f.Hypervisor.(copier)
	if !ok {
		t.Fatalf("%T copies no disks", f.Hypervisor)
	}
	ctx := t.Context()
	d := f.define(t)
	k, to, third := f.NewDisk(t, "vdb"), f.NewDisk(t, "vdb").Path, f.NewDisk(t, "vdb").Path
	must(t, f.Hypervisor.AttachDisk(ctx, f.Host, d.UUID, k))
	progress := func(p baadal.CopyProgress) {
		if s := p.Share(); s < 0 || s > 1 {
			t.Errorf("progress: %+v", p)
		}
	}
	want := func(active bool, want baadal.DiskCopy) {
		t.Helper()
		is, all, err := h.DiskCopies(ctx, f.Host, d.UUID)
		must(t, err)
		for _, got := range all {
			if got.Target == "vdb" && got == want && is == active && len(all) == 2 {
				return
			}
		}
		t.Fatalf("active %t, disks %+v, want %t and %+v", is, all, active, want)
	}
	want(false, baadal.DiskCopy{Target: "vdb", File: k.Path})
	wantKind(t, h.CopyDisk(ctx, f.Host, d.UUID, "vdb", to, 0, progress), baadal.Conflict)
	must(t, h.StopCopy(ctx, f.Host, d.UUID, "vdb"))
	must(t, f.Hypervisor.Start(ctx, f.Host, d.UUID))
	wantKind(t, h.PivotDisk(ctx, f.Host, d.UUID, "vdb", to), baadal.Conflict)
	for range 2 {
		must(t, h.CopyDisk(ctx, f.Host, d.UUID, "vdb", to, 1<<30, progress))
		want(true, baadal.DiskCopy{Target: "vdb", File: k.Path, To: to, Ready: true})
	}
	wantKind(t, h.CopyDisk(ctx, f.Host, d.UUID, "vdb", third, 0, progress), baadal.Conflict)
	wantKind(t, h.PivotDisk(ctx, f.Host, d.UUID, "vdb", third), baadal.Conflict)
	for range 2 {
		must(t, h.StopCopy(ctx, f.Host, d.UUID, "vdb"))
		want(true, baadal.DiskCopy{Target: "vdb", File: k.Path})
	}
	must(t, h.CopyDisk(ctx, f.Host, d.UUID, "vdb", to, 0, progress))
	for range 2 {
		must(t, h.PivotDisk(ctx, f.Host, d.UUID, "vdb", to))
		want(true, baadal.DiskCopy{Target: "vdb", File: to})
	}
	must(t, h.CopyDisk(ctx, f.Host, d.UUID, "vdb", to, 0, progress)) // it is there
	must(t, h.SwapSeed(ctx, f.Host, d.UUID, "/nowhere.iso", "/neither.iso"))
	f.wantState(t, d.UUID, baadal.VMRunning)
	must(t, f.Hypervisor.Destroy(ctx, f.Host, d.UUID))
	want(false, baadal.DiskCopy{Target: "vdb", File: to}) // its definition says so, too
	must(t, h.SwapSeed(ctx, f.Host, d.UUID, "/nowhere.iso", "/neither.iso"))
	must(t, f.Hypervisor.Start(ctx, f.Host, d.UUID))
	want(true, baadal.DiskCopy{Target: "vdb", File: to})
	_, _, err := h.DiskCopies(ctx, f.Host, nowhere)
	wantKind(t, err, baadal.NotFound)
	must(t, h.StopCopy(ctx, f.Host, nowhere, "vdb"))
	wantKind(t, h.CopyDisk(ctx, f.Host, nowhere, "vdb", to, 0, progress), baadal.NotFound)
	wantKind(t, h.PivotDisk(ctx, f.Host, nowhere, "vdb", to), baadal.NotFound)
	wantKind(t, h.SwapSeed(ctx, f.Host, nowhere, "/a", "/b"), baadal.NotFound)
}
