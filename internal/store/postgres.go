package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"baadal"
)

// pgChannel is the NOTIFY channel; the payload is the topic.
const pgChannel = "baadal"

// pgConns bounds the pool: a controller has few transactions at once, and the
// server is shared with others.
const pgConns = 20

// openPostgres opens one pool. Updates run READ COMMITTED: what they read after
// Tx.Lock is what others committed before.
func (db *DB) openPostgres(ctx context.Context, dsn string) error {
	db.shared = true
	if _, err := pgx.ParseConfig(dsn); err != nil {
		return baadal.Errorf(baadal.Invalid, "the PostgreSQL address cannot be read").WithField("database")
	}
	pool, err := sql.Open("pgx", dsn)
	if err != nil {
		return err
	}
	pool.SetMaxOpenConns(pgConns)
	pool.SetMaxIdleConns(pgConns)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	db.read, db.write = pool, pool
	return classify(ctx, pool.PingContext(ctx))
}

// notify tells other controllers which topics the transaction wakes; the
// server sends it at commit, and not at all after a rollback.
func (tx *Tx) notify() error {
	if !tx.db.shared {
		return nil
	}
	for topic := range tx.wake {
		if _, err := tx.exec(`SELECT pg_notify($1, $2)`, pgChannel, topic); err != nil {
			return fmt.Errorf("notify: %w", err)
		}
	}
	return nil
}

// listen connects once, so that a commit after Open is not missed, and then
// keeps listening until the background context ends.
func (db *DB) listen(ctx, background context.Context, dsn string) error {
	conn, err := listenConn(ctx, dsn)
	if err != nil {
		return classify(ctx, err)
	}
	db.background.Go(func() { db.listenLoop(background, conn, dsn) })
	return nil
}

func listenConn(ctx context.Context, dsn string) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if _, err := conn.Exec(ctx, `LISTEN `+pgChannel); err != nil {
		_ = conn.Close(ctx)
		return nil, fmt.Errorf("listen: %w", err)
	}
	return conn, nil
}

func (db *DB) listenLoop(ctx context.Context, conn *pgx.Conn, dsn string) {
	const firstPause, longestPause = 100 * time.Millisecond, 5 * time.Second
	pause := firstPause
	for {
		if conn != nil {
			pause = firstPause
			err := db.relay(ctx, conn)
			closeConn(conn)
			if ctx.Err() != nil {
				return
			}
			db.logger.Warn("database listener lost its connection", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
		var err error
		if conn, err = listenConn(ctx, dsn); err == nil {
			db.topics.wakeAll()
		}
	}
}

// relay passes notifications on until the connection breaks.
func (db *DB) relay(ctx context.Context, conn *pgx.Conn) error {
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		db.topics.wake(n.Payload)
	}
}

func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}
