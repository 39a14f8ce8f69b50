package store

import (
	"fmt"
	"time"

	"baadal"
)

// AddConsoleTicket stores a ticket by the hash of its secret, and forgets those
// that nobody used in time.
func (tx *Tx) AddConsoleTicket(hash string, vmID, userID int64, kind baadal.ConsoleKind, expires time.Time) error {
	if _, err := tx.exec(`DELETE FROM console_tickets WHERE expires_at <= $1`, tx.now()); err != nil {
		return fmt.Errorf("forget old console tickets: %w", err)
	}
	if _, err := tx.exec(`INSERT INTO console_tickets (hash, vm_id, user_id, kind, expires_at) VALUES ($1, $2, $3, $4, $5)`,
		hash, vmID, userID, string(kind), ms(expires)); err != nil {
		return fmt.Errorf("add console ticket: %w", err)
	}
	return nil
}

// TakeConsoleTicket uses a ticket up. NotFound if there is none, it was used,
// it expired, or it is another user's, whose it stays.
func (tx *Tx) TakeConsoleTicket(hash string, userID int64) (vmID int64, kind baadal.ConsoleKind, err error) {
	var k string
	err = tx.queryRow(`DELETE FROM console_tickets WHERE hash = $1 AND user_id = $2 AND expires_at > $3 RETURNING vm_id, kind`, hash, userID, tx.now()).Scan(&vmID, &k)
	if isNoRows(err) {
		return 0, "", baadal.Errorf(baadal.NotFound, "there is no such console ticket")
	}
	if err != nil {
		return 0, "", fmt.Errorf("take console ticket: %w", err)
	}
	return vmID, baadal.ConsoleKind(k), nil
}

// HoldLine claims a VM's serial line for a controller until then, again and
// again while it is used. It is false if another controller holds it.
func (tx *Tx) HoldLine(vmID int64, holder string, until time.Time) (bool, error) {
	n, err := tx.affected(`INSERT INTO console_lines (vm_id, holder, held_until) VALUES ($1, $2, $3)
		ON CONFLICT (vm_id) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until
		WHERE console_lines.holder = excluded.holder OR console_lines.held_until <= $4`, vmID, holder, ms(until), tx.now())
	if err != nil {
		return false, fmt.Errorf("hold serial line: %w", err)
	}
	return n > 0, nil
}

// LineIsFree reports whether a controller could hold a VM's serial line now.
func (tx *Tx) LineIsFree(vmID int64, holder string) (bool, error) {
	n, err := tx.count(`SELECT COUNT(*) FROM console_lines WHERE vm_id = $1 AND holder <> $2 AND held_until > $3`, vmID, holder, tx.now())
	if err != nil {
		return false, fmt.Errorf("look at serial line: %w", err)
	}
	return n == 0, nil
}

// ForgetLines frees all serial lines.
func (tx *Tx) ForgetLines() error {
	if _, err := tx.exec(`DELETE FROM console_lines`); err != nil {
		return fmt.Errorf("forget serial lines: %w", err)
	}
	return nil
}

// ReleaseLine gives a serial line back that the holder has; otherwise nothing.
func (tx *Tx) ReleaseLine(vmID int64, holder string) error {
	if _, err := tx.exec(`DELETE FROM console_lines WHERE vm_id = $1 AND holder = $2`, vmID, holder); err != nil {
		return fmt.Errorf("release serial line: %w", err)
	}
	return nil
}

// forgetConsoles drops what is left of a VM's consoles: tickets that nobody
// used, a line whose controller was killed.
func (tx *Tx) forgetConsoles(vmID int64) error {
	for _, table := range []string{"console_tickets", "console_lines"} {
		if _, err := tx.exec(`DELETE FROM `+table+` WHERE vm_id = $1`, vmID); err != nil {
			return fmt.Errorf("forget consoles: %w", err)
		}
	}
	return nil
}
