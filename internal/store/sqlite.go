package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"

	"baadal"
)

// openSQLite opens one pool with a single connection for writing, whose
// transactions take the write lock at once, and one for reading, which sees the
// last committed state and waits for nobody.
func (db *DB) openSQLite(ctx context.Context, path string) error {
	if path == "" {
		return baadal.Errorf(baadal.Invalid, "no path given for the database").WithField("database")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("find database: %w", err)
	}
	if db.lock, err = lockFile(path); err != nil {
		return err
	}
	// It holds console passwords until they are fetched: for its owner only.
	// The WAL beside it takes over its mode.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	if db.write, err = openPool(path, true); err != nil {
		return err
	}
	db.write.SetMaxOpenConns(1)
	if err := db.write.PingContext(ctx); err != nil {
		return err
	}
	if db.read, err = openPool(path, false); err != nil {
		return err
	}
	readers := max(4, runtime.NumCPU())
	db.read.SetMaxOpenConns(readers)
	db.read.SetMaxIdleConns(readers)
	return nil
}

func openPool(path string, writer bool) (*sql.DB, error) {
	connector, err := sqlite.NewConnector(sqliteDSN(path, writer))
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(keepingConnector{connector}), nil
}

func sqliteDSN(path string, writer bool) string {
	q := url.Values{"_pragma": {
		"busy_timeout(10000)",
		"journal_mode(WAL)",
		"foreign_keys(1)",
		// FULL: an acknowledged task survives not only kill -9 of the
		// controller but the power cord of its machine.
		"synchronous(FULL)",
		"cache_size(-32768)",
		"temp_store(MEMORY)",
	}}
	if writer {
		q.Set("_txlock", "immediate")
	} else {
		q.Set("_query_only", "1")
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String()
}

// lockFile takes the lock that keeps a second controller off a SQLite file. The
// kernel drops it with the process, however that ends.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock database: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, baadal.Errorf(baadal.Conflict, "the database %s is in use by another controller", path).WithCode("database_in_use").
			WithDetail("stop it first; several controllers can share a PostgreSQL database, not a SQLite file")
	}
	return f, nil
}
