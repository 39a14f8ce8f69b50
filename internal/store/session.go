package store

import (
	"fmt"
	"time"

	"baadal"
)

// CreateSession stores the hash of a session's secret.
func (tx *Tx) CreateSession(hash string, userID int64, expires time.Time) error {
	_, err := tx.exec(`INSERT INTO sessions (hash, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)`, hash, userID, tx.now(), ms(expires))
	if err != nil {
		return fmt.Errorf("create session: %w", err)
	}
	return nil
}

// SessionUser returns whose session it is; NotFound if there is none or it has
// expired.
func (tx *Tx) SessionUser(hash string) (userID int64, err error) {
	err = tx.queryRow(`SELECT user_id FROM sessions WHERE hash = $1 AND expires_at > $2`, hash, tx.now()).Scan(&userID)
	if isNoRows(err) {
		return 0, baadal.Errorf(baadal.NotFound, "there is no such session")
	}
	if err != nil {
		return 0, fmt.Errorf("read session: %w", err)
	}
	return userID, nil
}

// DeleteSession ends a session; it is no error if there is none.
func (tx *Tx) DeleteSession(hash string) error {
	if _, err := tx.exec(`DELETE FROM sessions WHERE hash = $1`, hash); err != nil {
		return fmt.Errorf("delete session: %w", err)
	}
	return nil
}

// DeleteSessionsOf ends every session of a user.
func (tx *Tx) DeleteSessionsOf(userID int64) error {
	if _, err := tx.exec(`DELETE FROM sessions WHERE user_id = $1`, userID); err != nil {
		return fmt.Errorf("delete sessions: %w", err)
	}
	return nil
}

// PruneSessions forgets expired sessions and returns how many.
func (tx *Tx) PruneSessions() (int, error) {
	n, err := tx.affected(`DELETE FROM sessions WHERE expires_at <= $1`, tx.now())
	if err != nil {
		return 0, fmt.Errorf("prune sessions: %w", err)
	}
	return n, nil
}
