package service

import (
	"context"
	"fmt"
	"net/netip"

	"baadal"
	"baadal/internal/store"
)

// NAT is what the service knows of the NAT box. It never talks to it: who draws
// the box's table is woken by what is stored.
type NAT struct {
	Public  string                                            // its own address on the outside; empty: there is no box
	Traffic func(private string) (baadal.PublicTraffic, bool) // what a public address carried; may be nil
}

// needNAT refuses what nothing would come of.
func (s *Service) needNAT() error {
	if s.opt.NAT.Public != "" {
		return nil
	}
	return baadal.Errorf(baadal.Conflict, "this cloud has no NAT box").WithCode("no_nat_box").
		WithNext("Name one in the controller's configuration, under nat", "")
}

// Publics lists the pool of public addresses.
func (s *Service) Publics(ctx context.Context, a baadal.Actor, q baadal.ListQuery) (list baadal.List[baadal.PublicAddress], err error) {
	if err := may(a, baadal.ActionPublicRead); err != nil {
		return list, err
	}
	err = s.db.View(ctx, func(tx *store.Tx) (err error) { list, err = tx.Publics(q); return err })
	for i := range list.Items {
		p := &list.Items[i]
		if s.opt.NAT.Traffic == nil || p.Address == "" {
			continue
		}
		if t, ok := s.opt.NAT.Traffic(p.Address); ok {
			p.Traffic = &t
		}
	}
	return list, err
}

// AddPublics puts addresses into the pool.
func (s *Service) AddPublics(ctx context.Context, a baadal.Actor, in baadal.PublicRange, opt baadal.ChangeOptions) (c baadal.Change[baadal.PublicPool], err error) {
	if err := first(may(a, baadal.ActionPublicAdd), s.needNAT()); err != nil {
		return c, err
	}
	from, to, err := baadal.ParseRange(in.Range)
	if err != nil {
		return c, err
	}
	return s.changePool(ctx, a, opt, "put into the pool", "added", from, to, func(tx *store.Tx) (int, error) {
		if err := s.foreignTo(tx, from, to); err != nil {
			return 0, err
		}
		return tx.AddPublics(from, to)
	})
}

// foreignTo refuses addresses that machines of the cloud have: the NAT box would
// answer for them, and who is asked for by them would not be reached any more, the
// box itself least of all.
func (s *Service) foreignTo(tx *store.Tx, from, to netip.Addr) error {
	within := func(ip netip.Addr) bool { return !ip.Less(from) && !to.Less(ip) }
	if own, err := netip.ParseAddr(s.opt.NAT.Public); err == nil && within(own) {
		return baadal.Errorf(baadal.Conflict, "%s is the NAT box's own address", own).WithCode("bad_range").WithField("range")
	}
	taken, err := s.takenAddresses(tx, &baadal.Network{})
	if err != nil {
		return err
	}
	for a := range taken {
		if within(a) {
			return baadal.Errorf(baadal.Conflict, "%s is this controller's, a host's or a server's", a).WithCode("bad_range").WithField("range")
		}
	}
	all, err := tx.AllNetworks()
	if err != nil {
		return err
	}
	for _, n := range all {
		p, err := netip.ParsePrefix(n.CIDR)
		if err == nil && (p.Contains(from) || p.Contains(to) || within(p.Addr())) {
			return baadal.Errorf(baadal.Conflict, "these are addresses of network %s (%s)", n.Name, n.CIDR).WithCode("bad_range").WithField("range")
		}
	}
	return nil
}

// RemovePublics takes addresses that nobody has out of the pool.
func (s *Service) RemovePublics(ctx context.Context, a baadal.Actor, in baadal.PublicRange, opt baadal.ChangeOptions) (c baadal.Change[baadal.PublicPool], err error) {
	if err := may(a, baadal.ActionPublicRemove); err != nil {
		return c, err
	}
	from, to, err := baadal.ParseRange(in.Range)
	if err != nil {
		return c, err
	}
	return s.changePool(ctx, a, opt, "take out of the pool", "removed", from, to, func(tx *store.Tx) (int, error) { return tx.RemovePublics(from, to) })
}

func (s *Service) changePool(ctx context.Context, a baadal.Actor, opt baadal.ChangeOptions, words, what string, from, to netip.Addr, change func(*store.Tx) (int, error)) (c baadal.Change[baadal.PublicPool], err error) {
	pool := baadal.PublicPool{Range: from.String() + "-" + to.String()}
	if from == to {
		pool.Range = from.String()
	}
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if pool.Addresses, err = change(tx); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		return event(tx, a, baadal.Event{Subject: baadal.Subject{Kind: "public", Name: pool.Range}, What: what}, map[string]any{"addresses": pool.Addresses})
	})
	if isDryRun(err) {
		return baadal.Change[baadal.PublicPool]{Plan: &baadal.Plan{Summary: fmt.Sprintf("%s: %d addresses, %s", words, pool.Addresses, pool.Range)}}, nil
	}
	if err != nil {
		return c, err
	}
	return baadal.Change[baadal.PublicPool]{Resource: &pool}, nil
}

// editPublic gives a VM a public address, or takes it away.
func (s *Service) editPublic(tx *store.Tx, vm *baadal.VM, wish *bool, plan *baadal.Plan) (err error) {
	switch {
	case wish == nil || *wish == (vm.Public != ""):
		return nil
	case !*wish:
		plan.Effects = append(plan.Effects, fmt.Sprintf("%s goes back to the pool, and what is connected by it is cut", vm.Public))
		vm.Public = ""
		return tx.ReleasePublic(vm.ID, false)
	}
	if err := s.needNAT(); err != nil {
		return err
	}
	if vm.Public, err = tx.ClaimPublic(vm.ID); err == nil {
		plan.Effects = append(plan.Effects, fmt.Sprintf("it is reached at %s from outside, all its ports, and goes out with it", vm.Public))
	}
	return err
}
