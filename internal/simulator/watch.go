package simulator

import (
	"context"
	"time"

	"baadal"
)

// watcher is one call of Watch.
type watcher struct {
	wake  chan struct{} // holds one: look at queue and lost
	queue []baadal.DomainEvent
	lost  error // the connection is gone
}

// emit tells the watchers of a host; a hung libvirtd tells later.
func (h *host) emit(e baadal.DomainEvent) {
	if len(h.watchers) == 0 {
		return
	}
	if h.Hung {
		h.held = append(h.held, e)
		return
	}
	for wt := range h.watchers {
		wt.queue = append(wt.queue, e)
		wt.poke()
	}
}

// lose breaks the connections of all watchers.
func (h *host) lose(err error) {
	for wt := range h.watchers {
		wt.lost = err
		wt.poke()
	}
	clear(h.watchers)
	h.held = nil
}

func (wt *watcher) poke() {
	select {
	case wt.wake <- struct{}{}:
	default:
	}
}

// arm sets the timer to the next thing due, if someone is there to be told.
func (w *World) arm(h *host) {
	h.stopTimer()
	if len(h.watchers) == 0 || len(h.pending) == 0 || w.closed {
		return
	}
	wait := h.dueDomains()[0].due().Sub(w.now())
	h.timer = time.AfterFunc(max(wait, time.Millisecond), func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.settle(h)
	})
}

func (h *host) stopTimer() {
	if h.timer != nil {
		h.timer.Stop()
		h.timer = nil
	}
}

// Watch calls fn for every event on the host until ctx ends or the host is lost.
func (v *Hypervisor) Watch(ctx context.Context, bh baadal.Host, fn func(baadal.DomainEvent)) error {
	return v.w.around(ctx, "hypervisor.watch", bh, func() error {
		h, err := v.w.reach(ctx, "hypervisor.watch", bh)
		if err != nil {
			return err
		}
		wt := &watcher{wake: make(chan struct{}, 1)}
		wt.queue = []baadal.DomainEvent{{State: baadal.VMUnknown, At: v.w.now()}}
		h.watchers[wt] = true
		v.w.arm(h)
		v.w.mu.Unlock()
		defer v.w.forget(h, wt)
		return v.w.deliver(ctx, wt, fn)
	})
}

func (w *World) forget(h *host, wt *watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(h.watchers, wt)
	w.arm(h)
}

// deliver hands events over in their order until there will be no more.
func (w *World) deliver(ctx context.Context, wt *watcher, fn func(baadal.DomainEvent)) error {
	for {
		w.mu.Lock()
		events, lost := wt.queue, wt.lost
		wt.queue = nil
		w.mu.Unlock()
		for _, e := range events {
			if err := cause(ctx); err != nil {
				return interrupted("watch", err)
			}
			fn(e)
		}
		if lost != nil {
			if err := sleep(ctx, w.cfg.UnreachableDelay); err != nil {
				return interrupted("watch", err)
			}
			return lost
		}
		select {
		case <-wt.wake:
		case <-ctx.Done():
			return interrupted("watch", cause(ctx))
		}
	}
}
