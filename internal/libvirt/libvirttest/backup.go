package libvirttest

import (
	"context"
	"slices"
	"testing"

	"baadal"
)

// backups is what the suite's hypervisor does when files can be put beside its
// disks; its contract is workflow.Backups'.
type backups interface {
	BackupDomain(ctx context.Context, host baadal.Host, uuid string, job baadal.BackupJob, progress func(share float64)) error
	AbortBackup(ctx context.Context, host baadal.Host, uuid string) error
	Checkpoints(ctx context.Context, host baadal.Host, uuid string) ([]string, error)
	DropCheckpoints(ctx context.Context, host baadal.Host, uuid string, names ...string) error
}

// testBackups backs up a running domain, in full and with what was written
// since, and ends the records of it.
func testBackups(t *testing.T, f Fixture) {
	if f.Overlay == nil {
		return // nothing lies under these domains
	}
	k, ok := f.Hypervisor.(backups)
	if !ok {
		t.Fatalf("%T makes no backups", f.Hypervisor)
	}
	d, ctx := f.define(t), t.Context()
	_, free := f.Overlay(t, d)
	job := func(file, since, checkpoint string) baadal.BackupJob {
		return baadal.BackupJob{Disks: []baadal.BackupTarget{{Target: "vda", File: file}}, Since: since, Checkpoint: checkpoint}
	}
	var shares []float64
	try := func(j baadal.BackupJob) error {
		return k.BackupDomain(ctx, f.Host, d.UUID, j, func(share float64) { shares = append(shares, share) })
	}
	has := func(want ...string) {
		t.Helper()
		got, err := k.Checkpoints(ctx, f.Host, d.UUID)
		must(t, err)
		if !slices.Equal(got, want) {
			t.Fatalf("checkpoints %q, want %q", got, want)
		}
	}
	const first, second = baadal.CheckpointPrefix + "00000001", baadal.CheckpointPrefix + "00000002"
	wantKind(t, try(job(free, "", "")), baadal.Conflict)
	must(t, f.Hypervisor.Start(ctx, f.Host, d.UUID))
	must(t, try(job(free, "", first)))
	has(first)
	lost := try(job(free+".more", second, ""))
	if baadal.CodeOf(lost) != "checkpoint_lost" {
		t.Fatalf("since a checkpoint that is not there: %v", lost)
	}
	must(t, try(job(free+".more", first, second)))
	has(first, second)
	must(t, k.AbortBackup(ctx, f.Host, d.UUID))
	must(t, k.DropCheckpoints(ctx, f.Host, d.UUID, second))
	has(first)
	f.wantState(t, d.UUID, baadal.VMRunning)

	// They outlive a stop, and can be forgotten while the domain is off.
	must(t, f.Hypervisor.Destroy(ctx, f.Host, d.UUID))
	has(first)
	for range 2 {
		must(t, k.DropCheckpoints(ctx, f.Host, d.UUID))
		has()
	}
	must(t, k.AbortBackup(ctx, f.Host, d.UUID))
	must(t, k.AbortBackup(ctx, f.Host, nowhere))
	must(t, k.DropCheckpoints(ctx, f.Host, nowhere))
	_, err := k.Checkpoints(ctx, f.Host, nowhere)
	wantKind(t, err, baadal.NotFound)
	wantKind(t, k.BackupDomain(ctx, f.Host, nowhere, job(free, "", ""), func(float64) {}), baadal.NotFound)
	if slices.ContainsFunc(shares, func(s float64) bool { return s < 0 || s > 1 }) {
		t.Errorf("progress: %v", shares)
	}
}
