// Package store keeps the nouns of the cloud in SQLite or PostgreSQL, behind
// one SQL text through database/sql. It knows rows, claims and uniqueness; it
// must not know rules of who may do what, and it must not talk to any host.
//
// The transaction is the unit: DB.Update and DB.View hand out a *Tx, and the
// methods of the nouns hang on it, one file a noun. So intent, claims, task and
// event become one transaction, made by whoever knows the use case.
//
// The SQL keeps to what both engines read alike: placeholders $1, $2 … in
// ascending order, each used once; times as Unix milliseconds, JSON as text,
// booleans as 0 and 1.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"baadal"
)

// maxAttempts is how often a transaction is begun before a conflict with
// another one is reported.
const maxAttempts = 20

// Config says which database to open.
type Config struct {
	DSN    string           // "sqlite:/path/x.db" or "postgres://…"
	Now    func() time.Time // time.Now if nil
	Logger *slog.Logger     // slog.DiscardHandler if nil
}

// DB is an open database. It is safe for use by many goroutines.
type DB struct {
	write, read *sql.DB // the same pool on PostgreSQL
	shared      bool
	now         func() time.Time
	logger      *slog.Logger
	topics      *notifier
	counts      *countCache
	facts       *factsCache
	hosts       hostCache
	lock        *os.File // SQLite: the flock that keeps a second controller out
	stop        context.CancelFunc
	background  sync.WaitGroup // PostgreSQL: the listener
}

// Open opens the database and brings its schema up to date. It refuses a
// database that is newer than the program, and a SQLite file that another
// process has open. The caller closes it.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	db := &DB{now: cfg.Now, logger: cfg.Logger, topics: newNotifier(), counts: newCountCache(), facts: &factsCache{}}
	if db.now == nil {
		db.now = time.Now
	}
	if db.logger == nil {
		db.logger = slog.New(slog.DiscardHandler)
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	db.stop = stop
	if err := db.open(ctx, cfg.DSN); err != nil {
		return nil, fmt.Errorf("open database: %w", joinClose(err, db))
	}
	if err := db.migrate(ctx); err != nil {
		return nil, fmt.Errorf("migrate database: %w", joinClose(err, db))
	}
	if db.shared {
		if err := db.listen(ctx, background, cfg.DSN); err != nil {
			return nil, fmt.Errorf("listen to database: %w", joinClose(err, db))
		}
	}
	return db, nil
}

func (db *DB) open(ctx context.Context, dsn string) error {
	scheme, rest, _ := strings.Cut(dsn, ":")
	switch scheme {
	case "sqlite":
		return db.openSQLite(ctx, strings.TrimPrefix(rest, "//"))
	case "postgres", "postgresql":
		return db.openPostgres(ctx, dsn)
	}
	// The DSN itself may hold a password: it is not repeated.
	return baadal.Errorf(baadal.Invalid, "database is neither sqlite:/path nor postgres://…").WithField("database")
}

// joinClose closes a half-open database and returns the error that made it fail.
func joinClose(err error, db *DB) error {
	if cerr := db.Close(); cerr != nil {
		return fmt.Errorf("%w (and closing: %w)", err, cerr)
	}
	return err
}

// Close waits for running transactions, ends the listener and gives the lock
// of a SQLite file back. Subscribers are not woken any more. It may be called again.
func (db *DB) Close() error {
	db.stop()
	db.background.Wait()
	var first error
	for _, pool := range []*sql.DB{db.read, db.write} {
		if pool == nil {
			continue
		}
		if err := pool.Close(); err != nil && first == nil {
			first = fmt.Errorf("close database: %w", err)
		}
	}
	if db.lock != nil {
		if err := db.lock.Close(); err != nil && !errors.Is(err, os.ErrClosed) && first == nil {
			first = fmt.Errorf("unlock database: %w", err)
		}
	}
	return first
}

// Shared reports whether several controllers may work on this database
// (PostgreSQL) or only one (SQLite).
func (db *DB) Shared() bool { return db.shared }

// Now returns the time as rows keep it: UTC, whole milliseconds.
func (db *DB) Now() time.Time { return db.now().UTC().Truncate(time.Millisecond) }

// View runs fn in a read-only transaction that sees one state of the database.
func (db *DB) View(ctx context.Context, fn func(*Tx) error) error {
	opts := &sql.TxOptions{ReadOnly: true}
	if db.shared {
		opts.Isolation = sql.LevelRepeatableRead
	}
	return db.repeat(ctx, func() error { return db.attempt(ctx, db.read, opts, fn) })
}

// Update runs fn in one transaction: all of it is stored, or nothing. An error
// or a panic of fn rolls back. fn may run more than once, when PostgreSQL finds
// that two transactions were in each other's way: it must change nothing but
// the transaction and variables that it sets anew each time. fn must not call
// Update itself. A full disk and a broken connection are Unavailable.
func (db *DB) Update(ctx context.Context, fn func(*Tx) error) error {
	return db.repeat(ctx, func() error { return db.attempt(ctx, db.write, nil, fn) })
}

// repeat runs a transaction until it does not collide with another one.
func (db *DB) repeat(ctx context.Context, try func() error) error {
	for n := 1; ; n++ {
		err := try()
		if err == nil || n == maxAttempts || !collided(err) || ctx.Err() != nil {
			return classify(ctx, err)
		}
		pause := time.Duration(1+rand.IntN(2*min(n, 10))) * time.Millisecond
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (db *DB) attempt(ctx context.Context, pool *sql.DB, opts *sql.TxOptions, fn func(*Tx) error) error {
	stx, err := pool.BeginTx(ctx, opts)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	done := false
	defer func() {
		if !done { // fn failed or panicked; the first error is the one that tells
			_ = stx.Rollback()
		}
	}()
	tx := &Tx{ctx: ctx, db: db, sql: stx, at: db.Now()}
	if err := fn(tx); err != nil {
		return err
	}
	if err := tx.flushEvents(); err != nil {
		return err
	}
	if err := tx.notify(); err != nil {
		return err
	}
	done = true
	if err := stx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	for topic := range tx.wake {
		db.topics.wake(topic)
	}
	return nil
}
