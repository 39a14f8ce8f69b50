package workflow

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// lookSnapshots asks a host for the snapshots of the VMs that it has; of a
// domain that went meanwhile nothing is said.
func (w *Workflows) lookSnapshots(ctx context.Context, b book, h baadal.Host, domains []baadal.DomainInfo) (map[int64][]baadal.DomainSnapshot, error) {
	seen := map[int64][]baadal.DomainSnapshot{}
	for _, d := range domains {
		vm, known := b.byUUID[d.UUID]
		if !known || vm.HostID != h.ID {
			continue
		}
		snaps, err := w.sys.Snapshots.Snapshots(ctx, h, d.UUID)
		if baadal.KindOf(err) == baadal.NotFound {
			continue
		}
		if err != nil {
			return nil, err
		}
		seen[vm.ID] = snaps
	}
	return seen, nil
}

// compareSnapshots finds snapshots that vanished or appeared behind our back.
func (c *comparison) compareSnapshots() {
	for id, seen := range c.seen.snapshots {
		vm := c.b.vms[id]
		stored := c.b.snapshots[id]
		sameID := func(a, b baadal.Snapshot) bool { return a.ID == b.ID && a.Ready == b.Ready }
		if vm.State == baadal.VMDeleted || c.inMotion(vm) || !slices.EqualFunc(c.before.snapshots[id], stored, sameID) {
			continue
		}
		var gone, foreign []string
		for _, s := range stored {
			if s.Ready && !slices.ContainsFunc(seen, func(d baadal.DomainSnapshot) bool { return d.Name == s.Name }) {
				gone = append(gone, s.Name)
			}
		}
		for _, d := range seen {
			if !slices.ContainsFunc(stored, func(s baadal.Snapshot) bool { return d.Name == s.Name }) {
				foreign = append(foreign, d.Name)
			}
		}
		if len(gone) > 0 {
			c.add(baadal.Difference{
				Kind: baadal.DiffMissingSnapshot, Subject: vmSubject(vm), Host: vm.Host, Stored: "snapshots " + strings.Join(gone, ", "),
				Seen: "the host does not know them", Repair: "tell the host of them again",
			})
		}
		if len(foreign) > 0 {
			c.add(baadal.Difference{
				Kind: baadal.DiffForeignSnapshot, Subject: vmSubject(vm), Host: vm.Host, Stored: fmt.Sprintf("%d snapshots", len(stored)),
				Seen: "also " + strings.Join(foreign, ", "), Repair: "write them down as the cloud's own",
			})
		}
	}
}

func (w *Workflows) mendMissingSnapshots(ctx context.Context, d baadal.Difference) error {
	p, err := w.load(ctx, &task.Run{Task: baadal.Task{Subject: d.Subject}})
	if err != nil {
		return err
	}
	if err := quiet(p.vm); err != nil {
		return err
	}
	refused, err := w.redefineSnapshots(ctx, p)
	if err != nil {
		return err
	}
	return refused
}

// mendForeignSnapshots writes down what is on the host, so that it is moved
// with the VM and can be deleted.
func (w *Workflows) mendForeignSnapshots(ctx context.Context, d baadal.Difference) error {
	p, err := w.load(ctx, &task.Run{Task: baadal.Task{Subject: d.Subject}})
	if err != nil {
		return err
	}
	seen, err := w.sys.Snapshots.Snapshots(ctx, p.host, p.vm.UUID)
	if err != nil {
		return err
	}
	return w.db.Update(ctx, func(tx *store.Tx) error {
		vm, err := tx.VM(p.vm.ID)
		if err != nil {
			return err
		}
		if err := quiet(vm); err != nil {
			return err
		}
		for _, s := range seen {
			_, err := tx.SnapshotByName(vm.ID, s.Name)
			if err == nil {
				continue
			}
			if baadal.KindOf(err) != baadal.NotFound {
				return err
			}
			row := baadal.Snapshot{
				VMID: vm.ID, Name: s.Name, Description: "found on " + p.host.Name, Type: baadal.SnapshotSystem, Ready: true, VMState: s.State,
				VCPUs: vm.VCPUs, RAMMiB: vm.RAMMiB, DiskGiB: vm.DiskGiB, CreatedAt: s.CreatedAt,
			}
			if err := tx.CreateSnapshot(&row); err != nil {
				return err
			}
		}
		return tx.SeeSnapshots(vm.ID, seen)
	})
}
