package workflow

import (
	"context"
	"fmt"
	"slices"
	"time"

	"baadal"
	"baadal/internal/store"
)

// Neighbours looks into the VMs' networks from a box that has a foot in them.
type Neighbours interface {
	// Neighbours tells who answers (ARP): MAC addresses in upper case by IP address, of those asked for, the box's own among them, and of others whom it has just
	// heard. Addresses that are not on a network of the box's are not asked for. It takes a second or two for every 64, and asks for each once.
	Neighbours(ctx context.Context, addresses []string) (map[string]string, error)
}

const (
	strangersEvery = time.Minute // how often it is looked for strangers
	strangersLook  = 256         // addresses asked for in one look, and strangers again
)

// lookForStrangers looks who answers for addresses that are free: those that
// would be given out next, and some of the others, in turn. Whoever has a MAC
// address that no NIC of ours has is a stranger.
func (w *Workflows) lookForStrangers(ctx context.Context) error {
	w.strangers.Lock()
	defer w.strangers.Unlock()
	if time.Since(w.strangersAt) < strangersEvery {
		return nil
	}
	var ask []string
	var known []baadal.Stranger
	err := w.db.View(ctx, func(tx *store.Tx) (err error) {
		if known, err = tx.Strangers(); err != nil {
			return err
		}
		ask, err = w.addressesToAsk(tx)
		return err
	})
	if err != nil {
		return err
	}
	// A router that answered for everybody left many: all at once would take longer than the box is waited for.
	slices.SortStableFunc(known, func(a, b baadal.Stranger) int { return a.SeenAt.Compare(b.SeenAt) })
	for _, s := range known[:min(len(known), strangersLook)] {
		if !slices.Contains(ask, s.IP) {
			ask = append(ask, s.IP)
		}
	}
	seen, err := w.sys.Neighbours.Neighbours(ctx, ask)
	if err != nil {
		return err
	}
	var ours map[string]bool // as it is now: looking took a while, and a network may be new
	if err := w.db.View(ctx, func(tx *store.Tx) (err error) { ours, err = tx.UsedMACs(); return err }); err != nil {
		return err
	}
	var found []baadal.Stranger
	for ip, mac := range seen {
		if !ours[mac] {
			found = append(found, baadal.Stranger{IP: ip, MAC: mac})
		}
	}
	w.strangersAt = time.Now()
	if len(known)+len(found) == 0 {
		return nil
	}
	return w.db.Update(ctx, func(tx *store.Tx) error { return tx.SetStrangers(ask, found) })
}

// addressesToAsk chooses free addresses of all networks.
func (w *Workflows) addressesToAsk(tx *store.Tx) (ask []string, err error) {
	networks, err := tx.NetworkIDs()
	if err != nil || len(networks) == 0 {
		return nil, err
	}
	each := max(1, strangersLook/2/len(networks))
	more := false
	for _, id := range networks {
		for _, offset := range []int{0, w.strangersFrom} {
			ips, err := tx.FreeAddresses(id, each, offset)
			if err != nil {
				return nil, err
			}
			more = more || offset > 0 && len(ips) == each
			for _, ip := range ips {
				if !slices.Contains(ask, ip) {
					ask = append(ask, ip)
				}
			}
		}
	}
	w.strangersFrom += each
	if !more && w.strangersFrom > each {
		w.strangersFrom = each
	}
	return ask[:min(len(ask), strangersLook)], nil
}

func (c *comparison) compareStrangers() {
	for _, s := range c.b.strangers {
		c.add(baadal.Difference{
			Kind: baadal.DiffStranger, Subject: baadal.Subject{Kind: "address", Name: s.IP}, Stored: "nobody of ours is there with this MAC",
			Seen: fmt.Sprintf("in use by somebody unknown: %s", s.MAC),
		})
	}
}
