package reconcile

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"baadal"
	"baadal/internal/store"
)

// hosts keeps one watcher per host.
func (l *Loops) hosts(ctx context.Context) {
	type running struct {
		*watcher
		stop    context.CancelFunc
		address string
		key     string
	}
	watchers := map[int64]running{}
	var wg sync.WaitGroup
	defer wg.Wait()
	wake, unsubscribe := l.db.Subscribe("host")
	defer unsubscribe()
	l.every(ctx, "hosts", l.opt.Hosts, wake, func(ctx context.Context) error {
		var all []baadal.Host
		if err := l.db.View(ctx, func(tx *store.Tx) (err error) { all, err = tx.KnownHosts(); return err }); err != nil {
			return err
		}
		known := map[int64]bool{}
		for _, h := range all {
			known[h.ID] = true
			if w, ok := watchers[h.ID]; ok {
				if w.address == h.SSHAddr() && w.key == h.HostKey {
					continue
				}
				w.stop()
			}
			hctx, stop := context.WithCancel(ctx)
			w := &watcher{l: l, host: h, look: make(chan struct{}, 1), nudge: make(chan struct{}, 1), up: make(chan struct{}, 1), uuids: map[string]bool{}}
			watchers[h.ID] = running{w, stop, h.SSHAddr(), h.HostKey}
			w.rebooted.Store(true)
			for _, part := range []func(context.Context){w.health, w.events, w.looks, w.count, w.networks} {
				wg.Go(func() { part(hctx) })
			}
			wg.Go(func() {
				if w.flows(hctx) && w.removed.Load() {
					l.clearFlows(ctx, h)
				}
			})
		}
		for id, w := range watchers {
			if !known[id] {
				w.removed.Store(true)
				w.stop()
				delete(watchers, id)
			}
		}
		return nil
	})
}

// watcher follows one host.
type watcher struct {
	l     *Loops
	host  baadal.Host   // as it was when the watcher began: its address and key
	look  chan struct{} // asks for a full look
	nudge chan struct{} // asks for a look at uuids
	up    chan struct{} // the host is back, or new

	rebooted atomic.Bool // the host may have been off since it was asked for its boot
	removed  atomic.Bool // the host is none of ours any more

	mu    sync.Mutex
	uuids map[string]bool
}

// A host is down after this many failed round trips in a row: one lost packet
// is not a lost host. Down means "does not answer", never "is off".
const missesUntilDown = 3

// health makes a round trip from time to time and keeps the host's state.
func (w *watcher) health(ctx context.Context) {
	misses := 0
	w.l.every(ctx, "host health", w.l.opt.HostCheck, nil, func(ctx context.Context) error {
		probe, stop := context.WithTimeout(ctx, max(w.l.opt.HostCheck, time.Second))
		err := w.l.sys.Alive(probe, w.host)
		stop()
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			misses = 0
			return w.setState(ctx, baadal.HostUp, "")
		}
		if misses++; misses < missesUntilDown && baadal.CodeOf(err) != "host_key_changed" {
			return nil
		}
		return w.setState(ctx, baadal.HostDown, baadal.Message(err))
	})
}

// setState writes the host's state when it changed. A host in maintenance, and
// one that is just being added, keeps its state.
func (w *watcher) setState(ctx context.Context, state baadal.HostState, reason string) error {
	up, known := false, false
	err := w.l.db.View(ctx, func(tx *store.Tx) error {
		h, err := tx.Host(w.host.ID)
		if err != nil {
			return err
		}
		t, err := tx.ActiveTask(baadal.Subject{Kind: "host", ID: h.ID})
		if err != nil {
			return err
		}
		if h.State == baadal.HostMaintenance || (t != nil && t.Kind == baadal.TaskHostAdd) {
			state, reason = h.State, h.Reason
		}
		known = h.State == state && h.Reason == reason && (state != baadal.HostUp || h.LastSeen != nil && w.l.db.Now().Sub(*h.LastSeen) < time.Minute)
		return nil
	})
	if err != nil || known {
		return ignoreGone(err)
	}
	err = w.l.db.Update(ctx, func(tx *store.Tx) error {
		changed, err := tx.SetHostState(w.host.ID, state, reason, state == baadal.HostUp)
		if err != nil || !changed {
			return err
		}
		h, err := tx.Host(w.host.ID)
		if err != nil {
			return err
		}
		up = h.State == baadal.HostUp
		if up {
			if err := tx.NudgeTasks(h.ID); err != nil {
				return err
			}
			tx.Wake("datastore")
			tx.Wake(store.TopicNetwork)
		}
		return note(tx, "host", baadal.Subject{Kind: "host", ID: h.ID, Name: h.Name}, h.Generation, h.State.String(), 0, 0,
			map[string]any{"state": h.State, "reason": h.Reason})
	})
	if up {
		w.rebooted.Store(true)
		w.askLook()
		select {
		case w.up <- struct{}{}:
		default:
		}
	}
	return ignoreGone(err)
}

// ignoreGone forgives that a host or VM was removed while it was looked at.
func ignoreGone(err error) error {
	if baadal.KindOf(err) == baadal.NotFound {
		return nil
	}
	return err
}

func (w *watcher) askLook() {
	select {
	case w.look <- struct{}{}:
	default:
	}
}

func (w *watcher) askLookAt(uuid string) {
	w.mu.Lock()
	w.uuids[uuid] = true
	w.mu.Unlock()
	select {
	case w.nudge <- struct{}{}:
	default:
	}
}

// events follows libvirt's events; each only says where to look.
func (w *watcher) events(ctx context.Context) {
	pause := time.Second
	for ctx.Err() == nil {
		begun := time.Now()
		err := w.l.sys.Hypervisor.Watch(ctx, w.host, func(e baadal.DomainEvent) {
			if e.UUID == "" {
				w.rebooted.Store(true)
				w.askLook()
				return
			}
			w.askLookAt(e.UUID)
		})
		if ctx.Err() != nil {
			return
		}
		if time.Since(begun) > 10*time.Second {
			pause = time.Second
			w.l.log.Info("host events lost", "host", w.host.Name, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(pause*2, 10*time.Second)
	}
}

// looks looks at what the events named, and at everything from time to time.
func (w *watcher) looks(ctx context.Context) {
	tick := time.NewTicker(w.l.opt.FullLook)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-w.nudge:
			w.mu.Lock()
			uuids := w.uuids
			w.uuids = map[string]bool{}
			w.mu.Unlock()
			for uuid := range uuids {
				err = w.lookAt(ctx, uuid)
			}
		case <-w.look:
			err = w.fullLook(ctx)
		case <-tick.C:
			err = w.fullLook(ctx)
		}
		if err != nil && ctx.Err() == nil && baadal.KindOf(err) != baadal.Unavailable {
			w.l.log.Warn("look at host failed", "host", w.host.Name, "error", err)
		}
	}
}
