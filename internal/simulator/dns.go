package simulator

import (
	"context"
	"net/netip"
	"slices"

	"baadal"
)

// Names is the world's name server.
type Names struct{ w *World }

// Names returns the world's name server.
func (w *World) Names() *Names { return &Names{w: w} }

// Apply makes the server answer with exactly these names.
func (s *Names) Apply(ctx context.Context, records []baadal.NameRecord) error {
	return s.w.name(ctx, "names.apply", func() error {
		records, err := sortedNames(records)
		if err != nil || slices.Equal(records, s.w.state.Names) {
			return err
		}
		s.w.state.Names, s.w.dirty = records, true
		s.w.state.NameChanges++
		return nil
	})
}

// NameRecords reads back what the server holds, in the order of addresses.
func (s *Names) NameRecords(ctx context.Context) (records []baadal.NameRecord, err error) {
	err = s.w.name(ctx, "names.read", func() error {
		records = slices.Clone(s.w.state.Names)
		return nil
	})
	return records, err
}

// name runs one operation on the name server, if it works.
func (w *World) name(ctx context.Context, op string, fn func() error) error {
	return w.around(ctx, op, baadal.Host{}, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.closed || w.state.NamesBroken {
			return baadal.Errorf(baadal.Unavailable, "the name server does not answer").WithCode("dns_unreachable")
		}
		return w.commit(fn())
	})
}

// sortedNames returns a sorted copy, or refuses what no server would take.
func sortedNames(records []baadal.NameRecord) ([]baadal.NameRecord, error) {
	records = slices.Clone(records)
	for _, r := range records {
		if ip, err := netip.ParseAddr(r.IP); err != nil || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLoopback() || baadal.CheckDomain(r.Name) != nil {
			return nil, baadal.Errorf(baadal.Invalid, "the name %q for %q is unusable", r.Name, r.IP).WithCode("bad_name_record")
		}
	}
	slices.SortFunc(records, func(a, b baadal.NameRecord) int {
		return netip.MustParseAddr(a.IP).Compare(netip.MustParseAddr(b.IP))
	})
	for i, r := range records[min(1, len(records)):] {
		if r.IP == records[i].IP {
			return nil, baadal.Errorf(baadal.Invalid, "%s has two names", r.IP).WithCode("duplicate_name_record")
		}
	}
	return records, nil
}

// BreakNames makes the name server stop or resume answering.
func (w *World) BreakNames(broken bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state.NamesBroken, w.dirty = broken, true
	return w.save()
}

// SetNames changes the name server's file by hand.
func (w *World) SetNames(records []baadal.NameRecord) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state.Names, w.dirty = records, true
	return w.save()
}

// NameChanges tells how often Apply changed something.
func (w *World) NameChanges() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state.NameChanges
}
