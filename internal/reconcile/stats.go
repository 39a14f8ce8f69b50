package reconcile

import (
	"context"
	"sync"
	"time"

	"baadal"
)

// A VM's figures are forgotten after so many looks that did not have it.
const statsLive = 3

// statsBook has the last two looks at each domain of each host. A VM that moves
// begins anew on its new host.
type statsBook struct {
	mu    sync.Mutex
	hosts map[int64]map[string]statsPair
}

type statsPair struct {
	now    baadal.DomainStats
	before *baadal.DomainStats
}

// add takes a look at a host; domains that it does not have are forgotten.
func (b *statsBook) add(hostID int64, all []baadal.DomainStats) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hosts == nil {
		b.hosts = map[int64]map[string]statsPair{}
	}
	old, pairs := b.hosts[hostID], make(map[string]statsPair, len(all))
	for _, s := range all {
		pair := statsPair{now: s}
		if was, known := old[s.UUID]; known {
			pair.before = &was.now
		}
		pairs[s.UUID] = pair
	}
	b.hosts[hostID] = pairs
}

func (b *statsBook) get(hostID int64, uuid string) (statsPair, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	pair, known := b.hosts[hostID][uuid]
	return pair, known
}

// drop forgets a host.
func (b *statsBook) drop(hostID int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.hosts, hostID)
}

// VMStats returns the figures of a VM that runs; false if it was not looked at
// lately.
func (l *Loops) VMStats(vm baadal.VM) (baadal.VMStats, bool) {
	pair, known := l.stats.get(vm.HostID, vm.UUID)
	if !known || l.db.Now().Sub(pair.now.At) > statsLive*l.opt.Stats {
		return baadal.VMStats{}, false
	}
	return baadal.StatsBetween(pair.before, pair.now), true
}

// count looks at the figures of the host's domains from time to time.
func (w *watcher) count(ctx context.Context) {
	if w.l.sys.Stats == nil {
		return
	}
	defer w.l.stats.drop(w.host.ID)
	w.l.every(ctx, "stats", w.l.opt.Stats, nil, func(ctx context.Context) error {
		look, stop := context.WithTimeout(ctx, max(w.l.opt.Stats, time.Second))
		defer stop()
		all, err := w.l.sys.Stats(look, w.host)
		if err == nil {
			w.l.stats.add(w.host.ID, all)
		}
		if baadal.KindOf(err) == baadal.Unavailable { // the host's state says so
			return nil
		}
		return err
	})
}
