package libvirttest

import (
	"context"
	"slices"
	"testing"

	"baadal"
)

// freezer is what the suite's hypervisor does when files can be put under it;
// its contract is workflow.Freezer's.
type freezer interface {
	SwitchDisks(ctx context.Context, host baadal.Host, uuid string, to map[string]string) error
	RejoinDisk(ctx context.Context, host baadal.Host, uuid, target, from, to string) error
	PullDisk(ctx context.Context, host baadal.Host, uuid, target, onto string, bytesPerSecond int64, progress func(share float64)) error
	BackupDisk(ctx context.Context, host baadal.Host, uuid, target, to string, progress func(share float64)) error
}

// testFreeze puts an overlay under a running domain and takes it away again.
func testFreeze(t *testing.T, f Fixture) {
	if f.Overlay == nil {
		return // nothing lies under these domains
	}
	z, ok := f.Hypervisor.(freezer)
	if !ok {
		t.Fatalf("%T freezes no disks", f.Hypervisor)
	}
	d, ctx := f.define(t), t.Context()
	onto := func(file string) map[string]string { return map[string]string{"vda": file} }
	old, overlay, backup := d.Disks[0].Path, "", ""
	overlay, backup = f.Overlay(t, d)
	wantKind(t, z.SwitchDisks(ctx, f.Host, d.UUID, onto(overlay)), baadal.Conflict)
	must(t, f.Hypervisor.Start(ctx, f.Host, d.UUID))
	for range 2 {
		must(t, z.SwitchDisks(ctx, f.Host, d.UUID, onto(overlay)))
	}
	f.wantState(t, d.UUID, baadal.VMRunning)
	// It comes back with the overlay, also without being defined anew.
	must(t, f.Hypervisor.Destroy(ctx, f.Host, d.UUID))
	must(t, f.Hypervisor.Start(ctx, f.Host, d.UUID))
	must(t, z.SwitchDisks(ctx, f.Host, d.UUID, onto(overlay)))

	var shares []float64
	must(t, z.BackupDisk(ctx, f.Host, d.UUID, "vda", backup, func(share float64) { shares = append(shares, share) }))
	if slices.ContainsFunc(shares, func(s float64) bool { return s < 0 || s > 1 }) {
		t.Errorf("progress: %v", shares)
	}
	for range 2 {
		must(t, z.RejoinDisk(ctx, f.Host, d.UUID, "vda", overlay, old))
	}
	f.wantState(t, d.UUID, baadal.VMRunning)
	must(t, z.SwitchDisks(ctx, f.Host, d.UUID, onto(old))) // that is where it is

	// Flattened, it stands on nothing and runs on.
	must(t, z.SwitchDisks(ctx, f.Host, d.UUID, onto(overlay)))
	progress := func(share float64) { shares = append(shares, share) }
	wantKind(t, z.PullDisk(ctx, f.Host, d.UUID, "vda", "/nowhere", 0, progress), baadal.Conflict)
	for range 2 {
		must(t, z.PullDisk(ctx, f.Host, d.UUID, "vda", "", 64<<20, progress))
	}
	f.wantState(t, d.UUID, baadal.VMRunning)
	must(t, f.Hypervisor.Destroy(ctx, f.Host, d.UUID))
	wantKind(t, z.PullDisk(ctx, f.Host, d.UUID, "vda", "", 0, progress), baadal.Conflict)
	must(t, f.Hypervisor.Start(ctx, f.Host, d.UUID))
	wantKind(t, z.SwitchDisks(ctx, f.Host, nowhere, onto(overlay)), baadal.NotFound)
}
