package reconcile

import (
	"context"
	"time"

	"baadal"
	"baadal/internal/store"
)

// disks measures what the files of disks occupy, each datastore from one host:
// of those that are up and mount it, the first that answers.
func (l *Loops) disks(ctx context.Context) {
	l.every(ctx, "disks", l.opt.Disks, nil, func(ctx context.Context) error {
		hosts, stores, err := l.mounts(ctx)
		if err != nil {
			return err
		}
		for _, ds := range stores {
			if err := l.measureDisks(ctx, ds, hosts); err != nil {
				return err
			}
		}
		return nil
	})
}

func (l *Loops) measureDisks(ctx context.Context, ds baadal.Datastore, hosts []baadal.Host) error {
	for _, h := range hosts {
		look, stop := context.WithTimeout(ctx, time.Minute)
		sizes, err := l.sys.DiskSizes(look, h, ds)
		stop()
		if err == nil {
			return ignoreGone(l.db.Update(ctx, func(tx *store.Tx) error { return tx.SetDiskSizes(ds.ID, sizes) }))
		}
	}
	return nil // nobody could look: what is known stays
}
