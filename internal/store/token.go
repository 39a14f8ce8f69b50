package store

import (
	"database/sql"
	"fmt"
	"time"

	"baadal"
)

const tokenColumns = `id, user_id, name, created_at, last_used, expires_at`

// touchEvery is how exactly the last use of a token is kept.
const touchEvery = time.Minute

func scanToken(r row) (t baadal.Token, err error) {
	var created int64
	var used, expires sql.NullInt64
	err = r.Scan(&t.ID, &t.UserID, &t.Name, &created, &used, &expires)
	t.CreatedAt, t.LastUsed, t.ExpiresAt = timeOf(created), timePtr(used), timePtr(expires)
	return t, err
}

// CreateToken stores a token by the hash of its secret and fills in id and
// time. A name that the user has used for another token is a Conflict.
func (tx *Tx) CreateToken(t *baadal.Token, hash string) error {
	t.CreatedAt = tx.at
	var err error
	t.ID, err = tx.insert(`INSERT INTO tokens (user_id, name, hash, created_at, expires_at) VALUES ($1, $2, $3, $4, $5) RETURNING id`,
		t.UserID, t.Name, hash, tx.now(), msPtr(t.ExpiresAt))
	if violated(err) == "tokens_user_id_name" {
		return exists("name", "you have a token %q already", t.Name)
	}
	if err != nil {
		return fmt.Errorf("create token: %w", err)
	}
	return nil
}

// TokenByHash returns a token that has not expired; NotFound otherwise.
func (tx *Tx) TokenByHash(hash string) (baadal.Token, error) {
	t, err := scanToken(tx.queryRow(`SELECT `+tokenColumns+` FROM tokens WHERE hash = $1 AND (expires_at IS NULL OR expires_at > $2)`, hash, tx.now()))
	if isNoRows(err) {
		return t, baadal.Errorf(baadal.NotFound, "there is no such token")
	}
	if err != nil {
		return t, fmt.Errorf("read token: %w", err)
	}
	return t, nil
}

// TouchToken notes that a token was used, to the minute.
func (tx *Tx) TouchToken(id int64) error {
	_, err := tx.exec(`UPDATE tokens SET last_used = $1 WHERE id = $2 AND (last_used IS NULL OR last_used <= $3)`,
		tx.now(), id, ms(tx.at.Add(-touchEvery)))
	if err != nil {
		return fmt.Errorf("touch token: %w", err)
	}
	return nil
}

// Tokens returns a user's tokens, oldest first.
func (tx *Tx) Tokens(userID int64) ([]baadal.Token, error) {
	all, err := collect(tx, scanToken, `SELECT `+tokenColumns+` FROM tokens WHERE user_id = $1 ORDER BY id`, userID)
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	return all, nil
}

// DeleteToken revokes a token of a user; of any user if userID is 0.
func (tx *Tx) DeleteToken(userID, id int64) error {
	n, err := tx.affected(`DELETE FROM tokens WHERE id = $1 AND (user_id = $2 OR CAST($3 AS BIGINT) = 0)`, id, userID, userID)
	if err != nil {
		return fmt.Errorf("delete token: %w", err)
	}
	if n == 0 {
		return missing("token", id)
	}
	return nil
}
