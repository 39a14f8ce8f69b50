// Package storetest opens fresh databases for tests: SQLite in the test's
// folder, PostgreSQL on a server that the test binary starts for itself.
//
// PostgreSQL takes part when BAADAL_TEST_POSTGRES is set: to 1 for a server of
// our own on a Unix socket, or to the DSN of one that is there. With
// BAADAL_TEST_DISALLOW_SKIP it takes part always, and its absence is a failure.
package storetest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
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
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, SQLiteDSN(t))
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

// SQLiteDSN names a database that does not exist yet.
func SQLiteDSN(t testing.TB) string {
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
