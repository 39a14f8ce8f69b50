package workflow

import (
	"context"
	"fmt"
	"time"

	"baadal"
	"baadal/internal/store"
)

// natEnding is how near its end a mapping is not judged any more.
const natEnding = 10 * time.Second

// lookNAT asks the NAT box, if there is one.
func (w *Workflows) lookNAT(ctx context.Context, s *sight) {
	if w.sys.NAT == nil {
		return
	}
	ctx, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	seen, err := w.sys.NAT.Seen(ctx)
	for range 2 { // a box that is only slow is not away
		if baadal.KindOf(err) != baadal.Unavailable || sleep(ctx, 3*time.Second) != nil {
			break
		}
		seen, err = w.sys.NAT.Seen(ctx)
	}
	if s.nat, s.natSeen = seen, err == nil; err != nil {
		s.notSeen = append(s.notSeen, "NAT box: "+baadal.Message(err))
	}
}

// compareNAT compares the NAT box's table with the store, as long as neither
// was in motion during the look: the loop that draws it is faster than people.
func (c *comparison) compareNAT() {
	want, seen, state := c.b.nat, c.seen.nat, c.b.natState
	if !c.seen.natSeen || c.before.nat.Revision != want.Revision || c.before.natState.Applied < want.Revision && state.Problem == "" {
		return
	}
	if !seen.Table && len(want.Pool)+len(want.Forwards) == 0 {
		return
	}
	missing, extra := 0, 0
	count := func(n map[string]time.Time, have map[string]time.Time, sum *int) {
		for key, ends := range n {
			other, ok := have[key]
			near := !ends.IsZero() && ends.Before(c.now.Add(natEnding))
			if !near && (!ok || other.Sub(ends).Abs() > natEnding) {
				*sum++
			}
		}
	}
	should, has := natKeys(want.Publics, want.Forwards), natKeys(seen.Publics, seen.Forwards)
	count(should, has, &missing)
	count(has, should, &extra)
	if seen.Table && missing+extra == 0 {
		return
	}
	words := fmt.Sprintf("%d, of which %d are not ours to have; %d are missing", len(has), extra, missing)
	if !seen.Table {
		words = "no table of ours, or one that was changed by hand"
	}
	if state.Problem != "" {
		words += "; " + state.Problem
	}
	c.add(baadal.Difference{
		Kind: baadal.DiffNAT, Subject: baadal.Subject{Kind: "cloud", Name: "NAT box"}, Seen: words,
		Stored: fmt.Sprintf("%d public addresses in use, %d ports open", len(want.Publics), len(want.Forwards)), Repair: "give it the store's table",
	})
}

// natKeys are what a box has, with the ends.
func natKeys(publics []baadal.NATPublic, forwards []baadal.NATForward) map[string]time.Time {
	keys := map[string]time.Time{}
	for _, p := range publics {
		keys[p.Public.String()+" "+p.Private.String()] = time.Time{}
	}
	for _, f := range forwards {
		keys[fmt.Sprintf("%s %d %s %t", f.Protocol, f.PublicPort, f.Target, f.Masked)] = f.Expires
	}
	return keys
}

// mendNAT gives the box what the store says now.
func (w *Workflows) mendNAT(ctx context.Context) error {
	var table baadal.NATTable
	if err := w.db.View(ctx, func(tx *store.Tx) (err error) { table, err = tx.NATTable(); return err }); err != nil {
		return err
	}
	_, err := w.sys.NAT.Apply(ctx, table)
	return err
}
