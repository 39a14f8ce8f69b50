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

// flows has the rules on the host's ports kept while the host answers, until ctx
// ends. One that is just being added is left to its task: kept tells whether it
// ever was another.
func (w *watcher) flows(ctx context.Context) (kept bool) {
	if w.l.sys.KeepFlows == nil {
		return false
	}
	wake, unsubscribe := w.l.db.Subscribe(store.TopicFlow)
	defer unsubscribe()
	read := w.l.flowRead(ctx)
	pause, last := flowsAgain, ""
	for ctx.Err() == nil {
		taken := false
		err := ignoreGone(w.l.db.View(ctx, func(tx *store.Tx) error {
			h, err := tx.Host(w.host.ID)
			taken = err == nil && h.LastSeen != nil
			return err
		}))
		if err == nil && taken {
			kept = true
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
	return kept
}

func (l *Loops) flowRead(ctx context.Context) baadal.FlowRead {
	return func(macs []string) (p baadal.FlowPolicy, err error) {
		err = l.db.View(ctx, func(tx *store.Tx) (err error) { p, err = tx.FlowPolicy(macs); return err })
		return p, err
	}
}

// clearPatience is how long a host that was removed may take to be opened.
const clearPatience = 20 * time.Second

// clearFlows opens the bridges of a host that was removed, once: from then on
// nobody would keep their rules. Of one that does not answer it is said what is
// left there.
func (l *Loops) clearFlows(ctx context.Context, host baadal.Host) {
	if l.sys.ClearFlows == nil {
		return
	}
	short, stop := context.WithTimeout(ctx, clearPatience)
	defer stop()
	err := l.sys.ClearFlows(short, host, l.flowRead(ctx))
	if err == nil {
		l.log.Info("flows of a removed host cleared", "host", host.Name)
		return
	}
	reason := baadal.Message(err)
	l.log.Warn("flows left on a removed host", "host", host.Name, "address", host.Address, "error", err)
	err = l.db.Update(ctx, func(tx *store.Tx) error {
		return note(tx, "host", baadal.Subject{Kind: "host", ID: host.ID, Name: host.Name}, host.Generation, "rules left", 0, 0,
			map[string]any{"reason": reason, "mend_there": baadal.OpenBridge})
	})
	if err != nil && ctx.Err() == nil {
		l.log.Warn("event not stored", "error", err)
	}
}
