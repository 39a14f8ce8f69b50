package reconcile

import (
	"context"
	"sync/atomic"
	"time"

	"baadal/internal/store"
)

// Box is a server beside the hosts that is to hold what the store says.
type Box struct {
	Name string
	Sync func(ctx context.Context) error // makes it so; a look if it is so

	// Soon: changes of VMs are for it, too, and it shall have them at once.
	Soon bool
}

// box keeps a server in line: now and then, as it may have been away, rebooted,
// or changed by hand, and soon after each change in the store if it wants that.
func (l *Loops) box(ctx context.Context, b Box) {
	if !b.Soon {
		l.every(ctx, b.Name, l.opt.Boxes, nil, b.Sync)
		return
	}
	changed, stop := l.db.Subscribe(store.TopicEvent)
	defer stop()
	wake := make(chan struct{}, 1)
	var took atomic.Int64 // the last time
	sync := func(ctx context.Context) error {
		begun := time.Now()
		defer func() { took.Store(int64(time.Since(begun))) }()
		return b.Sync(ctx)
	}
	l.wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			// Many changes in a row are one; where each makes much work they are rarer.
			if !pause(ctx, max(l.opt.BoxCalm, min(4*time.Duration(took.Load()), 10*l.opt.BoxCalm))) {
				return
			}
			select {
			case <-changed:
			default:
			}
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	})
	l.every(ctx, b.Name, l.opt.Boxes, wake, sync)
}

// pause waits, and reports whether ctx is still going on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
