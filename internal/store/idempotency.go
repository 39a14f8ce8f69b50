package store

import (
	"fmt"
	"time"

	"baadal"
)

// Response is an answer as it was given to the first call with a key.
type Response struct {
	Status int // HTTP status
	Body   []byte
}

// keyAbandoned is how long a call may be at work before its key counts as left
// behind by a controller that was killed.
const keyAbandoned = time.Minute

// BeginIdempotent claims a key for a request, told by its hash. It returns the
// answer of an earlier call with the same key, which is to be repeated; nil
// sends the caller to work, and he must finish or drop the key. A key that is
// at work, or that was used for another request, is a Conflict.
func (tx *Tx) BeginIdempotent(userID int64, key, requestHash string) (prior *Response, err error) {
	n, err := tx.affected(`INSERT INTO idempotency_keys (user_id, key, request, status, response, created_at)
		VALUES ($1, $2, $3, 0, '', $4) ON CONFLICT (user_id, key) DO NOTHING`, userID, key, requestHash, tx.now())
	if err != nil {
		return nil, fmt.Errorf("claim idempotency key: %w", err)
	}
	if n == 1 {
		return nil, nil
	}
	var request, body string
	var status int
	var created int64
	err = tx.queryRow(`SELECT request, status, response, created_at FROM idempotency_keys WHERE user_id = $1 AND key = $2`, userID, key).
		Scan(&request, &status, &body, &created)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read idempotency key: %w", err)
	case request != requestHash:
		return nil, baadal.Errorf(baadal.Conflict, "the idempotency key was used for another request").WithCode("idempotency_key_reused").
			WithDetail("use a new key for a new request")
	case status == 0 && tx.at.Sub(timeOf(created)) > keyAbandoned:
		// The first call died with its controller, before or after its effect. What
		// creates makes has a unique name, so that nothing is made twice.
		_, err = tx.exec(`UPDATE idempotency_keys SET created_at = $1 WHERE user_id = $2 AND key = $3`, tx.now(), userID, key)
		return nil, err
	case status == 0:
		return nil, baadal.Errorf(baadal.Conflict, "the first call with this idempotency key is still at work").WithCode("in_progress").
			WithDetail("ask again in a moment")
	}
	return &Response{Status: status, Body: []byte(body)}, nil
}

// FinishIdempotent keeps the answer of a call.
func (tx *Tx) FinishIdempotent(userID int64, key string, status int, body []byte) error {
	_, err := tx.exec(`UPDATE idempotency_keys SET status = $1, response = $2 WHERE user_id = $3 AND key = $4`, status, string(body), userID, key)
	if err != nil {
		return fmt.Errorf("finish idempotency key: %w", err)
	}
	return nil
}

// DropIdempotent gives a key back whose call failed without having done anything.
func (tx *Tx) DropIdempotent(userID int64, key string) error {
	if _, err := tx.exec(`DELETE FROM idempotency_keys WHERE user_id = $1 AND key = $2`, userID, key); err != nil {
		return fmt.Errorf("drop idempotency key: %w", err)
	}
	return nil
}

// PruneIdempotent forgets keys from before a time and returns how many.
func (tx *Tx) PruneIdempotent(before time.Time) (int, error) {
	n, err := tx.affected(`DELETE FROM idempotency_keys WHERE created_at < $1`, ms(before))
	if err != nil {
		return 0, fmt.Errorf("prune idempotency keys: %w", err)
	}
	return n, nil
}
