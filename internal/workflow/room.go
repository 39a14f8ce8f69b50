package workflow

import (
	"context"

	"baadal"
	"baadal/internal/store"
)

// roomFor refuses to fill up a datastore, as Exhausted: where there is no room
// left every VM with a thin disk there stands still. doing says what for.
func (w *Workflows) roomFor(ctx context.Context, host baadal.Host, ds baadal.Datastore, bytes int64, doing string) error {
	usage, err := w.sys.Disks.Usage(ctx, host, ds)
	if err != nil {
		return err
	}
	var settings baadal.SettingValues
	if err := w.db.View(ctx, func(tx *store.Tx) (err error) { settings, err = tx.SettingValues(); return err }); err != nil {
		return err
	}
	need := bytes + int64(settings.Int(baadal.SettingDiskReserve))<<20
	if usage.Mounted && need > usage.Free {
		return baadal.Errorf(baadal.Exhausted, "datastore %s has no room to %s", ds.Name, doing).WithCode("datastore_full").
			WithDetail("up to %d MiB are needed, %d MiB are free; nothing was changed", need>>20, usage.Free>>20).
			WithNext("Purge deleted VMs or add room", "baadal datastore list")
	}
	return nil
}

// roomForCopy is roomFor a flat copy of a disk: all that its file and those that
// it stands on occupy, but no more than it can hold.
func (w *Workflows) roomForCopy(ctx context.Context, p place, k diskAt) error {
	file := p.file(k)
	chain, err := w.sys.Bases.DiskChain(ctx, p.host, baadal.DiskFreeze{DiskFile: file})
	if err != nil {
		return err
	}
	info, err := w.sys.Sizer.DiskInfo(ctx, p.host, file)
	if err != nil {
		return err
	}
	bytes := info.FileSize + chain.Between
	if chain.Root != "" {
		bytes += p.template.FileSize
	}
	return w.roomFor(ctx, p.host, k.store, min(bytes, chain.Bytes), "copy "+k.Target+" of "+p.vm.Name)
}
