// Package storetest opens fresh databases for tests: SQLite in the test's
// folder, PostgreSQL on a server that the test binary starts for itself.
//
// PostgreSQL takes part when BAADAL_TEST_POSTGRES is set: to 1 for a server of
// our own on a Unix socket, or to the DSN of one that is there. With
// BAADAL_TEST_DISALLOW_SKIP it takes part always, and its absence is a failure.
package storetest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"baadal/internal/store"
)

// Main runs the tests of a package that uses Each or Postgres, stops the
// server that they started, and ends the process.
func Main(m *testing.M) {
	code := m.Run()
	if err := stopServer(); err != nil {
		os.Stderr.WriteString("stop PostgreSQL: " + err.Error() + "\n")
		code = max(code, 1)
	}
	os.Exit(code)
}

// Each runs a test on both engines, each time with an empty database.
func Each(t *testing.T, test func(t *testing.T, db *store.DB)) {
	t.Helper()
	EachDSN(t, func(t *testing.T, dsn string) { test(t, OpenDSN(t, store.Config{DSN: dsn})) })
}

// EachDSN is Each for tests that open the database themselves, or twice.
func EachDSN(t *testing.T, test func(t *testing.T, dsn string)) {
	t.Helper()
	eachDSN(t, SQLiteDSN, test)
}

// EachBareDSN is EachDSN for tests of the schema itself: nothing is in the
// databases, and on SQLite there is no file.
func EachBareDSN(t *testing.T, test func(t *testing.T, dsn string)) {
	t.Helper()
	eachDSN(t, bareSQLiteDSN, test)
}

func eachDSN(t *testing.T, sqlite func(testing.TB) string, test func(t *testing.T, dsn string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, sqlite(t))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, PostgresDSN(t))
	})
}

// Open returns an empty SQLite database, closed when the test ends.
func Open(t testing.TB) *store.DB {
	t.Helper()
	return OpenDSN(t, store.Config{DSN: SQLiteDSN(t)})
}

// Postgres returns an empty PostgreSQL database, closed when the test ends. It
// skips the test if PostgreSQL does not take part.
func Postgres(t testing.TB) *store.DB {
	t.Helper()
	return OpenDSN(t, store.Config{DSN: PostgresDSN(t)})
}

// OpenDSN opens a database and closes it when the test ends.
func OpenDSN(t testing.TB, cfg store.Config) *store.DB {
	t.Helper()
	db, err := store.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// SQLiteDSN names a database with the newest schema and nothing in it.
func SQLiteDSN(t testing.TB) string {
	t.Helper()
	return SQLiteIn(t, t.TempDir())
}

// SQLiteIn names the database of a folder: the one that is there, or a new one
// as SQLiteDSN has it.
func SQLiteIn(t testing.TB, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "baadal.db")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		content, err := migrated()
		if err == nil {
			err = os.WriteFile(path, content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return "sqlite:" + path
}

// migrated is the file of a database with the newest schema. It is made once
// for a test binary and copied: to migrate takes longer than most tests.
var migrated = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "baadal-schema-")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "baadal.db")
	db, err := store.Open(context.Background(), store.Config{DSN: "sqlite:" + path})
	if err == nil {
		err = db.Close() // the last connection writes the WAL into the file
	}
	content, rerr := os.ReadFile(path)
	return content, errors.Join(err, rerr, os.RemoveAll(dir))
})

func bareSQLiteDSN(t testing.TB) string {
	t.Helper()
	return "sqlite:" + filepath.Join(t.TempDir(), "baadal.db")
}

// PostgresDSN makes an empty database on a PostgreSQL server and drops it when
// the test ends.
func PostgresDSN(t testing.TB) string {
	t.Helper()
	given, strict := os.Getenv("BAADAL_TEST_POSTGRES"), os.Getenv("BAADAL_TEST_DISALLOW_SKIP") != ""
	if given == "" && !strict {
		t.Skip("BAADAL_TEST_POSTGRES is not set")
	}
	if !strings.HasPrefix(given, "postgres") {
		var err error
		if given, err = serverDSN(); err != nil {
			if strict {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	dsn, drop, err := createDatabase(given)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := drop(); err != nil {
			t.Error(err)
		}
	})
	return dsn
}
