package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"baadal"
)

// Tx is one transaction. It lives as long as the function that it was handed
// to and belongs to one goroutine; that is why it may hold the context.
type Tx struct {
	ctx    context.Context
	db     *DB
	sql    *sql.Tx
	at     time.Time
	wake   map[string]struct{}
	events []baadal.Event // stored at the end
}

// Now returns the one instant of this transaction, as rows keep it.
func (tx *Tx) Now() time.Time { return tx.at }

// now is Now in Unix milliseconds.
func (tx *Tx) now() int64 { return ms(tx.at) }

// Wake wakes the subscribers of a topic once the transaction is committed; on
// PostgreSQL those of other controllers too.
func (tx *Tx) Wake(topic string) {
	if tx.wake == nil {
		tx.wake = map[string]struct{}{}
	}
	tx.wake[topic] = struct{}{}
}

// Lock makes other transactions that lock the same name wait until this one
// ends. What is read afterwards includes what they stored. SQLite has only one
// writer at a time, so there it has nothing to do.
func (tx *Tx) Lock(name string) error {
	if !tx.db.shared {
		return nil
	}
	if _, err := tx.exec(`SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, name); err != nil {
		return fmt.Errorf("lock %s: %w", name, err)
	}
	return nil
}

// skipLocked ends a SELECT of rows to claim: rows that another transaction is
// about to claim are passed over.
func (tx *Tx) skipLocked() string {
	if tx.db.shared {
		return " FOR UPDATE SKIP LOCKED"
	}
	return ""
}

// forUpdate ends a SELECT of rows that are changed next: it waits for other
// transactions that hold them.
func (tx *Tx) forUpdate() string {
	if tx.db.shared {
		return " FOR UPDATE"
	}
	return ""
}

// forShare ends a SELECT of a row that must stay as it is until the end.
func (tx *Tx) forShare() string {
	if tx.db.shared {
		return " FOR SHARE"
	}
	return ""
}

func (tx *Tx) exec(query string, args ...any) (sql.Result, error) {
	return tx.sql.ExecContext(tx.ctx, query, args...)
}

func (tx *Tx) query(query string, args ...any) (*sql.Rows, error) {
	return tx.sql.QueryContext(tx.ctx, query, args...)
}

func (tx *Tx) queryRow(query string, args ...any) *sql.Row {
	return tx.sql.QueryRowContext(tx.ctx, query, args...)
}

// insert runs an INSERT … RETURNING id.
func (tx *Tx) insert(query string, args ...any) (id int64, err error) {
	err = tx.queryRow(query, args...).Scan(&id)
	return id, err
}

// affected runs a statement and returns how many rows it touched.
func (tx *Tx) affected(query string, args ...any) (int, error) {
	res, err := tx.exec(query, args...)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

// count runs a query that returns one number.
func (tx *Tx) count(query string, args ...any) (n int, err error) {
	err = tx.queryRow(query, args...).Scan(&n)
	return n, err
}

// row is what both *sql.Row and *sql.Rows can do.
type row interface{ Scan(dest ...any) error }

// collect runs a query and scans every row of its answer.
func collect[T any](tx *Tx, scan func(row) (T, error), query string, args ...any) ([]T, error) {
	return collectN(tx, scan, 0, query, args...)
}

// collectN runs a query and scans every row of its answer; size is how many
// there will be about, 0 if nobody knows.
func collectN[T any](tx *Tx, scan func(row) (T, error), size int, query string, args ...any) ([]T, error) {
	rows, err := tx.query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := make([]T, 0, size)
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// ms turns a time into what rows keep.
func ms(t time.Time) int64 { return t.UnixMilli() }

// timeOf is the inverse of ms, in UTC.
func timeOf(v int64) time.Time { return time.UnixMilli(v).UTC() }

// msPtr is ms for a time that may be missing.
func msPtr(t *time.Time) sql.NullInt64 {
	if t == nil {
		return sql.NullInt64{}
	}
	return sql.NullInt64{Int64: ms(*t), Valid: true}
}

// timePtr is the inverse of msPtr.
func timePtr(v sql.NullInt64) *time.Time {
	if !v.Valid {
		return nil
	}
	t := timeOf(v.Int64)
	return &t
}

// idOrNull stores id 0 as NULL.
func idOrNull(id int64) sql.NullInt64 { return sql.NullInt64{Int64: id, Valid: id != 0} }

// flag stores a bool as 0 or 1.
func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// encode returns v as JSON text; an empty list becomes "[]".
func encode[T any](v []T) string {
	if len(v) == 0 {
		return "[]"
	}
	b, err := json.Marshal(v)
	if err != nil { // lists of strings and roles always encode
		panic(fmt.Sprintf("encode %T: %v", v, err))
	}
	return string(b)
}

// decode reads a JSON list that encode wrote; an empty list becomes nil.
func decode[T any](text string) ([]T, error) {
	if text == "" || text == "[]" {
		return nil, nil
	}
	var v []T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return nil, fmt.Errorf("decode list: %w", err)
	}
	return v, nil
}
