package reconcile

import (
	"context"

	"baadal"
	"baadal/internal/store"
)

// networks keeps the libvirt networks of a host that is up: when one of ours
// changed, when a host came back, and from time to time.
func (w *watcher) networks(ctx context.Context) {
	if w.l.sys.Networks == nil {
		return
	}
	wake, unsubscribe := w.l.db.Subscribe(store.TopicNetwork)
	defer unsubscribe()
	w.l.every(ctx, "networks of "+w.host.Name, w.l.opt.Networks, wake, func(ctx context.Context) error {
		var host baadal.Host
		err := w.l.db.View(ctx, func(tx *store.Tx) (err error) { host, err = tx.Host(w.host.ID); return err })
		if err != nil {
			return ignoreGone(err)
		}
		if host.State != baadal.HostUp {
			return nil // it is asked again when it is back
		}
		err = w.l.sys.Networks(ctx, host)
		if baadal.KindOf(err) == baadal.Unavailable {
			return nil // the health of the host says so
		}
		return ignoreGone(err)
	})
}
