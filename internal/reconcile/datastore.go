package reconcile

import (
	"context"
	"slices"
	"sync"
	"time"

	"baadal"
	"baadal/internal/store"
)

// datastores measures every datastore from every host that is up: its size is
// the same from all, but each host has to have it mounted.
func (l *Loops) datastores(ctx context.Context) {
	wake, unsubscribe := l.db.Subscribe("datastore")
	defer unsubscribe()
	l.every(ctx, "datastores", l.opt.Datastores, wake, func(ctx context.Context) error {
		hosts, stores, err := l.mounts(ctx)
		if err != nil {
			return err
		}
		for _, ds := range stores {
			if err := l.measure(ctx, ds, hosts); err != nil {
				return err
			}
		}
		return nil
	})
}

// mounts reads the hosts that can be asked, those that are up, and all datastores.
func (l *Loops) mounts(ctx context.Context) (hosts []baadal.Host, stores []baadal.Datastore, err error) {
	err = l.db.View(ctx, func(tx *store.Tx) (err error) {
		if hosts, err = tx.KnownHosts(); err != nil {
			return err
		}
		hosts = slices.DeleteFunc(hosts, func(h baadal.Host) bool { return h.State != baadal.HostUp })
		stores, err = tx.AllDatastores()
		return err
	})
	return hosts, stores, err
}

// look is what one host says of a datastore.
type look struct {
	host  string
	usage baadal.DatastoreUsage
	err   error
}

func (l *Loops) measure(ctx context.Context, ds baadal.Datastore, hosts []baadal.Host) error {
	looks := make([]look, len(hosts))
	limit := make(chan struct{}, 16)
	var wg sync.WaitGroup
	for i, h := range hosts {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			ctx, stop := context.WithTimeout(ctx, 15*time.Second)
			defer stop()
			u, err := l.sys.Usage(ctx, h, ds)
			looks[i] = look{h.Name, u, err}
		})
	}
	wg.Wait()
	state, reason, usage, mounted, seen := sum(ds, looks)
	if !seen || ctx.Err() != nil {
		return nil // nobody could look: what is known stays
	}
	return ignoreGone(l.db.Update(ctx, func(tx *store.Tx) error {
		changed, err := tx.SetDatastoreUsage(ds.ID, state, reason, usage, mounted)
		if err != nil || !changed || state == ds.State {
			return err
		}
		now, err := tx.Datastore(ds.ID)
		if err != nil {
			return err
		}
		return note(tx, "datastore", baadal.Subject{Kind: "datastore", ID: ds.ID, Name: ds.Name}, now.Generation, state, 0, 0,
			map[string]any{"state": map[string]any{"old": ds.State, "new": state}, "reason": reason})
	}))
}

// sum turns what the hosts say into one state.
func sum(ds baadal.Datastore, looks []look) (state, reason string, usage baadal.DatastoreUsage, mounted []string, seen bool) {
	state, reason = baadal.DatastoreMissing, "no host that is up has "+ds.Path+" mounted"
	for _, k := range looks {
		if k.err != nil {
			if baadal.KindOf(k.err) != baadal.Unavailable {
				seen = true
				reason = k.host + ": " + baadal.Message(k.err)
			}
			continue
		}
		seen = true
		if !k.usage.Mounted {
			continue
		}
		mounted = append(mounted, k.host)
		switch {
		case k.usage.Writable:
			state, reason, usage = baadal.DatastoreOK, "", k.usage
		case state != baadal.DatastoreOK:
			state, reason, usage = baadal.DatastoreReadOnly, "it is read-only on "+k.host, k.usage
		}
	}
	if state == baadal.DatastoreMissing {
		usage = baadal.DatastoreUsage{Capacity: ds.Capacity, Used: ds.Used, Free: ds.Free}
	}
	return state, reason, usage, mounted, seen
}
