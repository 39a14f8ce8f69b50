package reconcile

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"baadal"
	"baadal/internal/store"
)

// natBook is what the loop knows of the NAT box.
type natBook struct {
	table  baadal.NATTable
	readAt time.Time // when the table was read from the store; zero: never
	drawn  bool      // the box was given a table once
	anew   bool      // it has not been given this one yet
	asked  time.Time // when the box was last asked for its counters
}

// How long the store's table is believed while its revision stays, how often the
// box is asked for its counters, and how long it may take to answer.
const (
	natReadEvery  = 10 * time.Second
	natCountEvery = 10 * time.Second
	natLimit      = 40 * time.Second
)

// nat keeps the NAT box's table as the store has it: after each change, and
// after the box was rebooted, flushed by hand or away. The table is nothing but
// a picture of the store: there is no step to undo, so no task draws it, and
// none waits for a box that does not answer.
func (l *Loops) nat(ctx context.Context) {
	if l.sys.NAT == nil {
		return
	}
	wake, stop := l.db.Subscribe(store.TopicNAT)
	defer stop()
	var book natBook
	l.every(ctx, "nat", l.opt.NAT, wake, func(ctx context.Context) error { return l.drawNAT(ctx, &book) })
}

func (l *Loops) drawNAT(ctx context.Context, book *natBook) error {
	if err := l.expireForwards(ctx); err != nil {
		return err
	}
	state, err := l.readNAT(ctx, book)
	if err != nil {
		return err
	}
	limited, stop := context.WithTimeout(ctx, natLimit)
	changed, err := l.sys.NAT.Apply(limited, book.table)
	stop()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	applied, problem := max(state.Applied, book.table.Revision), ""
	if err != nil {
		applied, problem = state.Applied, baadal.Message(err)
	} else if changed && book.drawn && !book.anew {
		l.log.Warn("the NAT box did not have its table any more and was given it again", "public_addresses", len(book.table.Publics), "forwards", len(book.table.Forwards))
	}
	if applied != state.Applied || problem != state.Problem {
		note := func(tx *store.Tx) error { _, err := tx.SetNATState(applied, problem); return err }
		if err := l.db.Update(ctx, note); err != nil {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("keep the NAT box: %w", err)
	}
	book.drawn, book.anew = true, false
	return l.countNAT(ctx, book)
}

// readNAT reads what the box is to have, if that may be another table by now.
func (l *Loops) readNAT(ctx context.Context, book *natBook) (state baadal.NATState, err error) {
	err = l.db.View(ctx, func(tx *store.Tx) error {
		if state, err = tx.NATState(); err != nil {
			return err
		}
		if !book.readAt.IsZero() && state.Revision == book.table.Revision && tx.Now().Sub(book.readAt) < natReadEvery {
			return nil
		}
		table, err := tx.NATTable()
		if err == nil {
			book.anew = book.anew || !reflect.DeepEqual(book.table, table) // also what ends by itself leaves something to take out
			book.table, book.readAt = table, tx.Now()
		}
		return err
	})
	return state, err
}

// expireForwards forgets mappings that the box has ended by itself.
func (l *Loops) expireForwards(ctx context.Context) error {
	due := false
	err := l.db.View(ctx, func(tx *store.Tx) (err error) { due, err = tx.ForwardsDue(); return err })
	if err != nil || !due {
		return err
	}
	return l.db.Update(ctx, func(tx *store.Tx) error { _, err := tx.ExpireForwards(); return err })
}

// countNAT asks for the counters now and then.
func (l *Loops) countNAT(ctx context.Context, book *natBook) error {
	if time.Since(book.asked) < natCountEvery || len(book.table.Publics) == 0 {
		return nil
	}
	limited, stop := context.WithTimeout(ctx, natLimit)
	defer stop()
	seen, err := l.sys.NAT.Seen(limited)
	if err != nil {
		return fmt.Errorf("read counters of the NAT box: %w", err)
	}
	book.asked = time.Now()
	l.traffic.mu.Lock()
	defer l.traffic.mu.Unlock()
	l.traffic.byAddress = seen.Traffic
	return nil
}

// trafficBook has the counters of public addresses, by private address.
type trafficBook struct {
	mu        sync.Mutex
	byAddress map[netip.Addr]baadal.PublicTraffic
}

// PublicTraffic tells what a VM's public address carried, by the VM's private
// one; false if it is not known.
func (l *Loops) PublicTraffic(private string) (baadal.PublicTraffic, bool) {
	ip, err := netip.ParseAddr(private)
	if err != nil {
		return baadal.PublicTraffic{}, false
	}
	l.traffic.mu.Lock()
	defer l.traffic.mu.Unlock()
	t, ok := l.traffic.byAddress[ip]
	return t, ok
}
