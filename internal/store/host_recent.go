package store

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"baadal"
)

// Summing what 50,000 VMs claim on their hosts takes tens of milliseconds, and a
// choice among hosts is made under a lock that every creation waits for. Where
// hosts are many, their figures of a moment ago are good enough to choose by, as
// long as those of the one that is chosen are read anew.
const (
	recentFrom = 200         // hosts; fewer are summed each time
	recentFor  = time.Second // how old figures may be
)

// hostCache remembers all hosts with their figures, if they are many.
type hostCache struct {
	mu  sync.Mutex
	at  time.Time
	all []baadal.Host
}

// RecentHosts returns every host by name. exact tells whether the figures are
// those of now; otherwise they may be a second old, and whoever claims room on
// one of the hosts reads it again first: RenewHost.
func (tx *Tx) RecentHosts() (all []baadal.Host, exact bool, err error) {
	c := &tx.db.hosts
	c.mu.Lock()
	if tx.Now().Sub(c.at) < recentFor {
		all = slices.Clone(c.all)
	}
	c.mu.Unlock()
	if all != nil {
		return all, false, nil
	}
	if all, err = tx.AllHosts(); err != nil || len(all) < recentFrom {
		return all, true, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.all = tx.Now(), slices.Clone(all)
	return all, true, nil
}

// RenewHost puts one host of a list right that RecentHosts returned, and reports
// whether it was right already. A host that is gone leaves the list.
func (tx *Tx) RenewHost(all *[]baadal.Host, id int64) (right bool, err error) {
	i := slices.IndexFunc(*all, func(h baadal.Host) bool { return h.ID == id })
	if i < 0 {
		return false, missing("host", id)
	}
	now, err := tx.Host(id)
	if baadal.KindOf(err) == baadal.NotFound {
		*all = slices.Delete(*all, i, i+1)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	old := (*all)[i]
	(*all)[i] = now
	c := &tx.db.hosts
	c.mu.Lock()
	defer c.mu.Unlock()
	if j := slices.IndexFunc(c.all, func(h baadal.Host) bool { return h.ID == id }); j >= 0 {
		c.all[j] = now
	}
	return old.Generation == now.Generation && old.VMs == now.VMs && old.ClaimedVCPUs == now.ClaimedVCPUs && old.ClaimedRAMMiB == now.ClaimedRAMMiB, nil
}

// KnownHosts returns every host by name, without what is claimed on them.
func (tx *Tx) KnownHosts() ([]baadal.Host, error) {
	all, err := collect(tx, tx.scanHost, `SELECT `+hostFields+`, 0, 0, 0 FROM hosts h ORDER BY h.name`)
	if err != nil {
		return nil, fmt.Errorf("read hosts: %w", err)
	}
	return all, nil
}
