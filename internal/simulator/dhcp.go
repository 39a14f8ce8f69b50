package simulator

import (
	"context"
	"slices"
	"strings"

	"baadal"
)

// DHCP is the world's DHCP server.
type DHCP struct{ w *World }

// DHCP returns the world's DHCP server.
func (w *World) DHCP() *DHCP { return &DHCP{w: w} }

// Apply makes the server hold exactly these reservations.
func (s *DHCP) Apply(ctx context.Context, rs []baadal.Reservation) error {
	return s.w.serve(ctx, "dhcp.apply", func() error {
		rs, err := sortedReservations(rs)
		if err != nil || slices.Equal(rs, s.w.state.Reservations) {
			return err
		}
		s.w.state.Reservations = rs
		s.w.state.DHCPRestarts++
		s.w.indexReservations()
		s.w.dirty = true
		return nil
	})
}

// Reservations reads back what the server holds, by name.
func (s *DHCP) Reservations(ctx context.Context) (rs []baadal.Reservation, err error) {
	err = s.w.serve(ctx, "dhcp.reservations", func() error {
		rs = slices.Clone(s.w.state.Reservations)
		return nil
	})
	return rs, err
}

// serve runs one operation on the DHCP server, if it works.
func (w *World) serve(ctx context.Context, op string, fn func() error) error {
	return w.around(ctx, op, baadal.Host{}, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.closed || w.state.DHCPBroken {
			return baadal.Errorf(baadal.Unavailable, "the DHCP server does not answer").WithCode("dhcp_unreachable").
				WithDetail("its reservations are unchanged")
		}
		return w.commit(fn())
	})
}

// sortedReservations returns a sorted copy, or refuses what no server would take.
func sortedReservations(rs []baadal.Reservation) ([]baadal.Reservation, error) {
	rs = slices.Clone(rs)
	slices.SortFunc(rs, func(a, b baadal.Reservation) int { return strings.Compare(a.Name, b.Name) })
	seen := make(map[string]bool, 3*len(rs))
	for _, r := range rs {
		for _, key := range []string{"name " + r.Name, "MAC " + strings.ToUpper(r.MAC), "address " + r.IP} {
			if seen[key] {
				return nil, baadal.Errorf(baadal.Invalid, "the %s is reserved twice", key).WithCode("duplicate_reservation")
			}
			seen[key] = true
		}
	}
	return rs, nil
}

// indexReservations makes addresses findable.
func (w *World) indexReservations() {
	w.ips = make(map[string]string, len(w.state.Reservations))
	for _, r := range w.state.Reservations {
		w.ips[r.IP] = strings.ToUpper(r.MAC)
	}
}

// Guests reaches the world's guests over the network.
type Guests struct{ w *World }

// Guests returns the network of the world's guests.
func (w *World) Guests() *Guests { return &Guests{w: w} }

// Answers reports whether a booted guest has the address by a reservation and
// packets get to its host.
func (g *Guests) Answers(ctx context.Context, address string) bool {
	answers := false
	err := g.w.around(ctx, "guests.answers", baadal.Host{Address: address}, func() error {
		g.w.mu.Lock()
		defer g.w.mu.Unlock()
		for d := range g.w.macs[g.w.ips[address]] {
			g.w.settle(d.host)
			up := d.State == baadal.VMRunning && !g.w.now().Before(d.Booted.Add(g.w.cfg.BootTime))
			answers = answers || up && !d.host.Cut && !d.host.Off
		}
		return nil
	})
	return answers && err == nil
}
