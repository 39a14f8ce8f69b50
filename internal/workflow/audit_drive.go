package workflow

import (
	"context"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// lookDiscs looks into the CD drives of the VMs of a host that have an image in
// them.
func (w *Workflows) lookDiscs(ctx context.Context, b book, host baadal.Host, domains []baadal.DomainInfo) (map[int64]string, error) {
	discs := map[int64]string{}
	for _, d := range domains {
		vm, known := b.byUUID[d.UUID]
		if !known || vm.CDROMID == 0 || vm.HostID != host.ID {
			continue
		}
		path, err := w.sys.CDDrives.Disc(ctx, host, vm.UUID)
		if baadal.KindOf(err) == baadal.NotFound { // it went while we looked
			continue
		}
		if err != nil {
			return nil, err
		}
		discs[vm.ID] = path
	}
	return discs, nil
}

// discPaths tells where the CD images of the store lie.
func discPaths(b book) map[int64]string {
	stores := map[int64]baadal.Datastore{}
	for _, ds := range b.stores {
		stores[ds.ID] = ds
	}
	paths := map[int64]string{}
	for _, t := range b.templates {
		if ds := stores[t.DatastoreID]; t.Kind == baadal.TemplateISO {
			paths[t.ID] = ds.TemplateFile(t.File)
		}
	}
	return paths
}

// compareDrive asks whether libvirt would start a VM by itself, and whether the
// image in its drive is the one that the store says.
func (c *comparison) compareDrive(vm baadal.VM, d baadal.DomainInfo) {
	if d.Autostart {
		c.add(baadal.Difference{
			Kind: baadal.DiffAutostart, Subject: vmSubject(vm), Host: vm.Host, Stored: "only Baadal starts it",
			Seen: "libvirt's autostart is on: the host would start it at boot, wherever it is by then", Repair: "switch libvirt's autostart off",
		})
	}
	seen, looked := c.seen.discs[vm.ID]
	if old, was := c.before.vms[vm.ID]; !looked || !was || old.CDROMID != vm.CDROMID || vm.CDROMID == 0 {
		return
	}
	if want := c.b.discs[vm.CDROMID]; seen != want {
		diff := baadal.Difference{Kind: baadal.DiffWrongCDROM, Subject: vmSubject(vm), Host: vm.Host, Stored: want, Seen: "it has " + seen + " in its drive"}
		if seen == "" {
			diff.Seen = "its drive is empty"
		}
		diff.Repair = "write down what is seen"
		c.add(diff)
	}
}

func (w *Workflows) mendAutostart(ctx context.Context, b book, d baadal.Difference) error {
	vm, known := b.vms[d.Subject.ID]
	if !known {
		return nil
	}
	host, err := hostByName(b, d.Host)
	if err != nil {
		return err
	}
	return w.sys.Hypervisor.DropAutostart(ctx, host, vm.UUID)
}

func (w *Workflows) mendDisc(ctx context.Context, d baadal.Difference) error {
	p, err := w.load(ctx, &task.Run{Task: baadal.Task{Subject: d.Subject}})
	if err != nil {
		return err
	}
	if err := quiet(p.vm); err != nil {
		return err
	}
	disc, err := w.lookAtDisc(ctx, p)
	if err != nil {
		return err
	}
	return w.db.Update(ctx, func(tx *store.Tx) error {
		now, err := tx.VM(p.vm.ID)
		if err != nil {
			return err
		}
		if err := quiet(now); err != nil {
			return err
		}
		return disc.write(tx, p.vm.ID)
	})
}
