package simulator

import (
	"context"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"baadal"
)

// NAT is the world's NAT box. What it has of ours is gone with its power.
type NAT struct{ w *World }

// NAT returns the world's NAT box.
func (w *World) NAT() *NAT { return &NAT{w: w} }

// natBox is what the box has.
type natBox struct {
	table  *baadal.NATTable // nil: none
	broken bool
	writes int
}

// Apply makes the box have exactly this.
func (n *NAT) Apply(ctx context.Context, t baadal.NATTable) (changed bool, err error) {
	err = n.serve(ctx, "nat.apply", func(b *natBox) {
		// Mappings that are over are gone here and there.
		t.Forwards, t.Revision = open(t.Forwards, n.w.now()), 0
		if b.table != nil {
			b.table.Forwards = open(b.table.Forwards, n.w.now())
		}
		if changed = b.table == nil || !reflect.DeepEqual(*b.table, t); changed {
			b.table, b.writes = &t, b.writes+1
		}
	})
	return changed, err
}

// Seen reads back what the box has.
func (n *NAT) Seen(ctx context.Context) (s baadal.NATSeen, err error) {
	err = n.serve(ctx, "nat.seen", func(b *natBox) {
		if b.table == nil {
			return
		}
		s = baadal.NATSeen{
			Table: true, Publics: slices.Clone(b.table.Publics), Forwards: open(b.table.Forwards, n.w.now()), Traffic: map[netip.Addr]baadal.PublicTraffic{},
		}
		for _, p := range s.Publics {
			s.Traffic[p.Private] = baadal.PublicTraffic{At: n.w.now()}
		}
	})
	return s, err
}

// open leaves out the mappings whose time is over.
func open(all []baadal.NATForward, now time.Time) []baadal.NATForward {
	return slices.DeleteFunc(slices.Clone(all), func(f baadal.NATForward) bool { return !f.Expires.After(now) })
}

func (n *NAT) serve(ctx context.Context, op string, fn func(*natBox)) error {
	return n.w.around(ctx, op, baadal.Host{}, func() error {
		n.w.mu.Lock()
		defer n.w.mu.Unlock()
		if n.w.closed || n.w.nat.broken {
			return baadal.Errorf(baadal.Unavailable, "the NAT box does not answer").WithCode("unreachable")
		}
		fn(&n.w.nat)
		return nil
	})
}

// BreakNAT makes the NAT box stop or resume answering.
func (w *World) BreakNAT(broken bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nat.broken = broken
}

// FlushNAT empties the NAT box by hand, as a reboot does.
func (w *World) FlushNAT() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nat.table = nil
}

// NATWrites tells how often Apply changed something.
func (w *World) NATWrites() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nat.writes
}
