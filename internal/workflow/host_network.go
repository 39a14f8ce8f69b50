package workflow

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// A host has, for each libvirt network that a network of ours names, that
// network with a portgroup per VLAN. Tasks about networks bring them to the hosts
// that are up; a loop brings and keeps them everywhere else. What was made is
// written down first, so that nothing of anyone else's is ever removed.

// KeepHostNetworks brings the libvirt networks of a host in line with the store.
func (w *Workflows) KeepHostNetworks(ctx context.Context, host baadal.Host) error {
	return w.keepHostNetworks(ctx, host, 0)
}

// keepHostNetworks leaves out the portgroup of one network, which is going.
func (w *Workflows) keepHostNetworks(ctx context.Context, host baadal.Host, without int64) error {
	// A loop and a task in this program do not do the same at once.
	mu, _ := w.networks.LoadOrStore(host.ID, &sync.Mutex{})
	mu.(*sync.Mutex).Lock() //nolint:forcetypeassert // the map holds nothing else
	defer mu.(*sync.Mutex).Unlock()
	k, err := w.lookHostNetworks(ctx, host, without)
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(k.names()))
	for _, name := range names {
		if err := w.keepHostNetwork(ctx, host, k, name); err != nil {
			return err
		}
	}
	return nil
}

// hostNetworks are the networks of a host: as they shall be, as they are, and
// which portgroups are ours.
type hostNetworks struct {
	want, have map[string]baadal.HostNetwork
	made       map[string][]string
	bridge     string
}

func (k *hostNetworks) names() map[string]bool {
	names := map[string]bool{}
	for name := range k.want {
		names[name] = true
	}
	for name := range k.made {
		names[name] = true
	}
	return names
}

func (w *Workflows) lookHostNetworks(ctx context.Context, host baadal.Host, without int64) (k hostNetworks, err error) {
	err = w.db.View(ctx, func(tx *store.Tx) (err error) {
		if k.want, err = tx.HostNetworks(without); err != nil {
			return err
		}
		if k.made, err = tx.MadePortgroups(host.ID); err != nil {
			return err
		}
		settings, err := tx.SettingValues()
		k.bridge = settings.String(baadal.SettingNetworkBridge)
		return err
	})
	if err != nil || len(k.names()) == 0 {
		return k, err
	}
	k.have, err = w.sys.Networks.HostNetworks(ctx, host, slices.Sorted(maps.Keys(k.names())))
	return k, err
}

func (w *Workflows) keepHostNetwork(ctx context.Context, host baadal.Host, k hostNetworks, name string) error {
	want, have := k.want[name], k.have[name]
	_, there := k.have[name]
	n := baadal.HostNetwork{Name: name, Bridge: k.bridge, Portgroups: map[string]int{}}
	var making, drop, gone []string
	for group, tag := range want.Portgroups {
		seen, known := have.Portgroups[group]
		if !known {
			making = append(making, group)
		}
		if !known || seen != tag {
			n.Portgroups[group] = tag
		}
	}
	for _, group := range k.made[name] {
		if _, wanted := want.Portgroups[group]; wanted {
			continue
		}
		gone = append(gone, group)
		if _, known := have.Portgroups[group]; known {
			drop = append(drop, group)
		}
	}
	note := func(groups []string, fn func(tx *store.Tx, host int64, network, portgroup string) error) error {
		if len(groups) == 0 {
			return nil
		}
		return w.db.Update(ctx, func(tx *store.Tx) error {
			for _, group := range groups {
				if err := fn(tx, host.ID, name, group); err != nil {
					return err
				}
			}
			return nil
		})
	}
	wanted := len(want.Portgroups) > 0
	if len(n.Portgroups)+len(drop) > 0 || wanted && !have.Ready || wanted && !there {
		if err := note(making, (*store.Tx).AddMadePortgroup); err != nil {
			return err
		}
		if err := w.sys.Networks.KeepHostNetwork(ctx, host, n, drop); err != nil {
			return err
		}
	}
	return note(gone, (*store.Tx).DropMadePortgroup)
}

// networkPatience is how often a task tries a host that is up and yet does not
// answer; then the loop owes it the networks.
const networkPatience = 3

// onHosts is a step that brings the networks to all hosts that are up, with or
// without the one that the task is about.
func (w *Workflows) onHosts(gone bool) func(context.Context, *task.Run) error {
	return func(ctx context.Context, r *task.Run) error {
		var hosts []baadal.Host
		err := w.db.View(ctx, func(tx *store.Tx) (err error) { hosts, err = tx.KnownHosts(); return err })
		if err != nil {
			return err
		}
		without := int64(0)
		if gone {
			without = r.Task.Subject.ID
		}
		hosts = slices.DeleteFunc(hosts, func(h baadal.Host) bool { return h.State != baadal.HostUp })
		errs := make([]error, len(hosts))
		var wg sync.WaitGroup
		limit := make(chan struct{}, 32)
		for i, h := range hosts {
			limit <- struct{}{}
			wg.Go(func() {
				defer func() { <-limit }()
				ctx, stop := context.WithTimeout(ctx, 15*time.Second)
				defer stop()
				errs[i] = ignoreMissing(w.keepHostNetworks(ctx, h, without))
			})
		}
		wg.Wait()
		r.Detail("%d hosts", len(hosts))
		for i, err := range errs {
			if err == nil || ctx.Err() == nil && baadal.KindOf(err) == baadal.Unavailable && r.Task.Attempt >= networkPatience {
				continue
			}
			return baadal.Errorf(baadal.KindOf(err), "the networks of %s: %w", hosts[i].Name, err).WithCode(baadal.CodeOf(err))
		}
		return nil
	}
}

// hostNetwork is a step of taking in a host; its undo takes back the portgroups.
func (w *Workflows) hostNetwork(ctx context.Context, r *task.Run) error {
	host, err := w.hostOf(ctx, r)
	if err != nil {
		return err
	}
	return w.KeepHostNetworks(ctx, host)
}

func (w *Workflows) dropHostNetwork(ctx context.Context, r *task.Run) error {
	host, err := w.hostOf(ctx, r)
	if err != nil {
		return err
	}
	k, err := w.lookHostNetworks(ctx, host, 0)
	if err != nil {
		return err
	}
	k.want = nil
	for name := range k.made {
		if err := w.keepHostNetwork(ctx, host, k, name); err != nil {
			return err
		}
	}
	return nil
}

func (w *Workflows) hostOf(ctx context.Context, r *task.Run) (host baadal.Host, err error) {
	err = w.db.View(ctx, func(tx *store.Tx) (err error) { host, err = tx.Host(r.Task.Subject.ID); return err })
	return host, err
}
