package proof_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"baadal"
	"baadal/internal/store"
)

// publics has fewer addresses than there are VMs that want one.
const publics = "203.0.113.16-203.0.113.18"

// drawNAT draws a wish about what the NAT box leads to VMs: ports for a time, some
// of which end while other things go on, and public addresses.
func (s *sequence) drawNAT(b book, actor baadal.Actor) func() {
	ctx, none := context.Background(), baadal.ChangeOptions{}
	vm, public, pick := fmt.Sprint(b.VMs[s.rnd.IntN(len(b.VMs))].ID), s.rnd.IntN(2) == 0, s.rnd.IntN(100)
	in := baadal.ForwardAdd{Port: 22 + s.rnd.IntN(3), Protocol: baadal.Protocol(s.one("tcp", "udp")), Seconds: int64(1 + s.rnd.IntN(300))}
	if s.rnd.IntN(3) == 0 {
		in.PublicPort = 50000 + s.rnd.IntN(4)
	}
	if s.rnd.IntN(4) == 0 {
		in.Seconds = 168 * 3600
	}
	some := func(do func(id int64) error) func() error { // with one of its mappings, if it has any
		return func() error {
			all, err := s.VMForwards(ctx, actor, vm)
			if err != nil || len(all) == 0 {
				return err
			}
			return do(all[pick%len(all)].ID)
		}
	}
	acts := []struct {
		what string
		do   func() error
	}{
		{fmt.Sprintf("open %+v of %s", in, vm), func() error { _, err := s.AddForward(ctx, actor, vm, in, none); return err }},
		{fmt.Sprintf("open %+v of %s", in, vm), func() error { _, err := s.AddForward(ctx, actor, vm, in, none); return err }},
		{fmt.Sprintf("a port of %s for %d s", vm, in.Seconds), some(func(id int64) error {
			_, err := s.ExtendForward(ctx, actor, vm, id, baadal.ForwardExtend{Seconds: in.Seconds}, none)
			return err
		})},
		{"close a port of " + vm, some(func(id int64) error { _, err := s.EndForward(ctx, actor, vm, id, none); return err })},
		{fmt.Sprintf("a public address of %s: %t", vm, public), func() error { _, err := s.EditVM(ctx, actor, vm, baadal.VMEdit{Public: &public}, none); return err }},
	}
	act := acts[s.rnd.IntN(len(acts))]
	return func() { s.answered(actor.User.Username+": "+act.what, nil, act.do()) }
}

// natIsWhole compares what the NAT box has with what it should have, and that with
// the VMs that there are. The loops must have seen everything.
func (s *sequence) natIsWhole() {
	s.t.Helper()
	var state baadal.NATState
	var forwards []baadal.Forward
	var pool baadal.List[baadal.PublicAddress]
	s.view(s.t, func(tx *store.Tx) (err error) {
		if state, err = tx.NATState(); err != nil {
			return err
		}
		if forwards, err = tx.Forwards(baadal.ForwardPort, baadal.Visibility{Scope: baadal.ScopeAny}); err != nil {
			return err
		}
		pool, err = tx.Publics(baadal.ListQuery{Limit: 100})
		return err
	})
	if state.Applied != state.Revision || state.Problem != "" {
		s.t.Errorf("the NAT box is behind: %+v", state)
	}
	vms := map[int64]baadal.VM{}
	for _, vm := range s.book(s.t).VMs {
		vms[vm.ID] = vm
	}
	lives := func(id int64) bool { vm, there := vms[id]; return there && vm.State != baadal.VMDeleted }
	soon := s.db.Now().Add(2 * time.Second) // what ends by then may have ended
	var want, has []string
	for _, p := range pool.Items {
		switch {
		case p.VMID != 0 && (!lives(p.VMID) || vms[p.VMID].Public != p.IP):
			s.t.Errorf("%s is vm %d's, which has %q", p.IP, p.VMID, vms[p.VMID].Public)
		case p.VMID != 0:
			want = append(want, p.IP+" to "+vms[p.VMID].Address)
		case p.KeptFor != "" && len(vms) == 0:
			s.t.Errorf("%s is kept for %s, which is gone", p.IP, p.KeptFor)
		}
	}
	for _, f := range forwards {
		if !lives(f.VMID) {
			s.t.Errorf("port %s of vm %d is open, which is not there", f.Name(), f.VMID)
		} else if f.ExpiresAt.After(soon) {
			want = append(want, fmt.Sprintf("%s %d to %s:%d until %d", f.Protocol, f.PublicPort, vms[f.VMID].Address, f.Port, f.ExpiresAt.UnixMilli()))
		}
	}
	seen, err := s.world.NAT().Seen(context.Background())
	must(s.t, err)
	for _, p := range seen.Publics {
		has = append(has, p.Public.String()+" to "+p.Private.String())
	}
	for _, f := range seen.Forwards {
		if f.Expires.After(soon) {
			has = append(has, fmt.Sprintf("%s %d to %s until %d", f.Protocol, f.PublicPort, f.Target, f.Expires.UnixMilli()))
		}
	}
	slices.Sort(want)
	slices.Sort(has)
	if !slices.Equal(want, has) {
		s.t.Errorf("the NAT box (-wanted +has):\n%s", difference(strings.Join(want, "\n"), strings.Join(has, "\n")))
	}
	s.tally.add("led by the NAT box at a look", len(has))
}
