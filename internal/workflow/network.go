package workflow

import (
	"context"
	"fmt"
	"slices"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// networkApply gives the DHCP server the reservations of a new network, or of a
// built-in one that was empty, and the hosts a portgroup for its VLAN. Its row and its addresses were made with the task.
func (w *Workflows) networkApply() task.Body {
	return task.Body{
		Kind: baadal.TaskNetworkApply,
		Steps: []task.Step{
			{Name: "dhcp", Do: w.applyDHCP, Undo: w.withdrawDHCP},
			{Name: "hosts", Do: w.onHosts(false), Undo: w.onHosts(true)},
		},
		Done: func(tx *store.Tx, r *task.Run) (string, error) {
			if err := tx.Lock("network"); err != nil { // somebody may be editing it
				return "", err
			}
			n, err := tx.Network(r.Task.Subject.ID)
			if err != nil {
				return "", err
			}
			n.Applied = true
			return n.Name + " is ready", tx.UpdateNetwork(&n)
		},
		Undone: func(tx *store.Tx, r *task.Run) error { return tx.DeleteNetwork(r.Task.Subject.ID) },
	}
}

// networkDelete withdraws the reservations of a network that nobody uses; the
// task's transaction marked it as deleting.
func (w *Workflows) networkDelete() task.Body {
	return task.Body{
		Kind: baadal.TaskNetworkDelete,
		Steps: []task.Step{
			{Name: "dhcp", Do: w.applyDHCP, Undo: w.restoreDHCP},
			{Name: "hosts", Do: w.onHosts(true), Undo: w.onHosts(false)},
		},
		Done: func(tx *store.Tx, r *task.Run) (string, error) {
			return r.Task.Subject.Name + " is deleted successfully", tx.DeleteNetwork(r.Task.Subject.ID)
		},
		// Cancelled before its first step, it has none to undo.
		Undone: func(tx *store.Tx, r *task.Run) error { return tx.SetNetworkDeleting(r.Task.Subject.ID, false) },
	}
}

// networkGrow gives the DHCP server more reservations of a network. The task's
// transaction made the addresses; they are given out from its end on.
func (w *Workflows) networkGrow() task.Body {
	return task.Body{
		Kind:  baadal.TaskNetworkGrow,
		Steps: []task.Step{{Name: "dhcp", Do: w.applyDHCP, Undo: w.settledDHCP((*store.Tx).DropComing)}},
		Done: func(tx *store.Tx, r *task.Run) (string, error) {
			return r.Task.Subject.Name + " has its new addresses", tx.AdmitAddresses(r.Task.Subject.ID)
		},
		Undone: func(tx *store.Tx, r *task.Run) error { return tx.DropComing(r.Task.Subject.ID) },
	}
}

// networkShrink withdraws reservations of addresses that nobody uses; the
// task's transaction marked them as going.
func (w *Workflows) networkShrink() task.Body {
	return task.Body{
		Kind:  baadal.TaskNetworkShrink,
		Steps: []task.Step{{Name: "dhcp", Do: w.applyDHCP, Undo: w.settledDHCP((*store.Tx).KeepGoing)}},
		Done: func(tx *store.Tx, r *task.Run) (string, error) {
			return r.Task.Subject.Name + " is without these addresses", tx.DropGoing(r.Task.Subject.ID)
		},
		Undone: func(tx *store.Tx, r *task.Run) error { return tx.KeepGoing(r.Task.Subject.ID) },
	}
}

// settledDHCP decides about a network's held addresses, then brings the DHCP
// server in line.
func (w *Workflows) settledDHCP(settle func(tx *store.Tx, network int64) error) func(context.Context, *task.Run) error {
	return func(ctx context.Context, r *task.Run) error {
		if err := w.db.Update(ctx, func(tx *store.Tx) error { return settle(tx, r.Task.Subject.ID) }); err != nil {
			return err
		}
		return w.applyDHCP(ctx, r)
	}
}

// applyDHCP makes the DHCP server hold what the store says, whoever changed it.
func (w *Workflows) applyDHCP(ctx context.Context, r *task.Run) error {
	if w.sys.DHCP == nil {
		r.Detail("no DHCP server is configured; nothing to do")
		return nil
	}
	n, err := w.syncDHCP(ctx)
	r.Detail("%d reservations", n)
	return err
}

// syncDHCP reads the reservations and applies them with nobody in between: of
// two at the same time, the later one must not apply the older list. Those that
// wait are answered together, by one that read the store after they had asked.
func (w *Workflows) syncDHCP(ctx context.Context) (n int, err error) {
	mine := w.dhcpAsked.Add(1)
	select {
	case w.dhcp <- struct{}{}:
		defer func() { <-w.dhcp }()
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for the DHCP server: %w", context.Cause(ctx))
	}
	if w.dhcpDone >= mine {
		return w.dhcpCount, w.dhcpResult
	}
	youngest := w.dhcpAsked.Load()
	n, err = w.applyReservations(ctx)
	if ctx.Err() == nil { // our own end is no answer for the others
		w.dhcpDone, w.dhcpCount, w.dhcpResult = youngest, n, err
	}
	return n, err
}

func (w *Workflows) applyReservations(ctx context.Context) (n int, err error) {
	rs, err := w.reservations(ctx)
	for err == nil {
		if err = w.sys.DHCP.Apply(ctx, rs); err != nil {
			break
		}
		applied := rs
		// Another controller on the same database may have applied a newer list
		// before this one: then it is applied again.
		if rs, err = w.reservations(ctx); slices.Equal(rs, applied) {
			break
		}
	}
	return len(rs), err
}

func (w *Workflows) reservations(ctx context.Context) (rs []baadal.Reservation, err error) {
	err = w.db.View(ctx, func(tx *store.Tx) (err error) { rs, err = tx.Reservations(); return err })
	return rs, err
}

func (w *Workflows) withdrawDHCP(ctx context.Context, r *task.Run) error {
	if err := w.setDeleting(ctx, r, true); err != nil {
		return err
	}
	return w.applyDHCP(ctx, r)
}

func (w *Workflows) restoreDHCP(ctx context.Context, r *task.Run) error {
	if err := w.setDeleting(ctx, r, false); err != nil {
		return err
	}
	return w.applyDHCP(ctx, r)
}

func (w *Workflows) setDeleting(ctx context.Context, r *task.Run, on bool) error {
	return w.db.Update(ctx, func(tx *store.Tx) error { return tx.SetNetworkDeleting(r.Task.Subject.ID, on) })
}
