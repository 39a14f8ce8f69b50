package reconcile

import (
	"context"
	"time"

	"baadal"
	"baadal/internal/store"
)

// How long it takes until a host whose ports' rules could not be kept is tried
// again; its return is not waited for.
const (
	flowsAgain     = 200 * time.Millisecond
	flowsAgainMost = 5 * time.Second
)

// flows has the rules on the host's ports kept while the host answers. One that
// is just being added is left to its task.
func (w *watcher) flows(ctx context.Context) {
	if w.l.sys.KeepFlows == nil {
		return
	}
	wake, unsubscribe := w.l.db.Subscribe(store.TopicFlow)
	defer unsubscribe()
	read := func(macs []string) (p baadal.FlowPolicy, err error) {
		err = w.l.db.View(ctx, func(tx *store.Tx) (err error) { p, err = tx.FlowPolicy(macs); return err })
		return p, err
	}
	pause, last := flowsAgain, ""
	for ctx.Err() == nil {
		taken := false
		err := w.l.db.View(ctx, func(tx *store.Tx) error {
			h, err := tx.Host(w.host.ID)
			taken = h.LastSeen != nil
			return err
		})
		if err == nil && taken {
			begun := time.Now()
			err = w.l.sys.KeepFlows(ctx, w.host, wake, read)
			if time.Since(begun) > flowsAgainMost {
				pause, last = flowsAgain, ""
			}
		}
		if err != nil && ctx.Err() == nil && err.Error() != last {
			last = err.Error()
			w.l.log.Warn("flows not kept", "host", w.host.Name, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-w.up:
			pause = flowsAgain
		case <-time.After(pause):
			pause = min(pause*2, flowsAgainMost)
		}
	}
}
