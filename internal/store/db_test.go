package store_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

func asError(err error, target **baadal.Error) bool { return errors.As(err, target) }

func TestOpenRefusesUnknownDSN(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{"", "sqlite:", "mysql://root:secret@h/db", "/tmp/x.db", "postgres://u:secret@[::1/db"} {
		db, err := store.Open(t.Context(), store.Config{DSN: dsn})
		if err == nil {
			t.Errorf("%q was opened", dsn)
			_ = db.Close()
			continue
		}
		if baadal.KindOf(err) != baadal.Invalid || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", dsn, err)
		}
	}
}

func TestSQLiteFileBelongsToOneController(t *testing.T) {
	t.Parallel()
	dsn := storetest.SQLiteDSN(t)
	db, err := store.Open(t.Context(), store.Config{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	if db.Shared() {
		t.Error("SQLite says that it can be shared")
	}
	if _, err := store.Open(t.Context(), store.Config{DSN: dsn}); baadal.CodeOf(err) != "database_in_use" {
		t.Errorf("a second controller: %v", err)
	}
	info, err := os.Stat(strings.TrimPrefix(dsn, "sqlite:"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v", info.Mode())
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	storetest.OpenDSN(t, store.Config{DSN: dsn})
}

func TestSQLitePathWithOddCharacters(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a b%20?c#d.db")
	db := storetest.OpenDSN(t, store.Config{DSN: "sqlite:" + path})
	newWorld(t, db, 1)
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestUpdateIsAllOrNothing(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		failed := errors.New("failed")
		err := db.Update(t.Context(), func(tx *store.Tx) error {
			if _, err := tx.CreateOrganisation("A", ""); err != nil {
				return err
			}
			return failed
		})
		if !errors.Is(err, failed) {
			t.Errorf("got %v", err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_ = db.Update(t.Context(), func(tx *store.Tx) error {
				if _, err := tx.CreateOrganisation("B", ""); err != nil {
					return err
				}
				panic("B")
			})
		}()
		if err := db.View(t.Context(), func(tx *store.Tx) error { _, err := tx.CreateOrganisation("C", ""); return err }); err == nil {
			t.Error("a view could write")
		}
		view(t, db, func(tx *store.Tx) error {
			all, err := tx.Organisations()
			if len(all) != 0 {
				t.Errorf("stored: %v", all)
			}
			return err
		})
		update(t, db, func(tx *store.Tx) error { _, err := tx.CreateOrganisation("D", ""); return err }) // it still works
	})
}

func TestCancelledContextShowsItsCause(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		err := db.Update(ctx, func(tx *store.Tx) error {
			cancel(cause)
			_, err := tx.CreateOrganisation("A", "")
			return err
		})
		if !errors.Is(err, cause) {
			t.Errorf("got %v", err)
		}
	})
}

func TestBrokenConnectionIsUnavailable(t *testing.T) {
	t.Parallel()
	dsn := storetest.PostgresDSN(t)
	db := storetest.OpenDSN(t, store.Config{DSN: dsn})
	woken, stop := db.Subscribe(store.TopicTask)
	defer stop()
	// The server ends our connections, as when it restarts.
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.CreateOrganisation("A", ""); err != nil {
			return err
		}
		dropConnections(t, dsn)
		return nil
	})
	if baadal.KindOf(err) != baadal.Unavailable {
		t.Errorf("got kind %q: %v", baadal.KindOf(err), err)
	}
	waitWake(t, woken) // the listener is back, and something may have been missed
	update(t, db, func(tx *store.Tx) error { _, err := tx.CreateOrganisation("A", ""); return err })
}

func TestSubscribe(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		tasks, stopTasks := db.Subscribe(store.TopicTask)
		events, stop := db.Subscribe(store.TopicEvent)
		defer stopTasks()
		wake := func(err error) {
			_ = db.Update(t.Context(), func(tx *store.Tx) error { tx.Wake(store.TopicEvent); return err })
		}
		wake(nil)
		wake(nil) // two become one
		waitWake(t, events)
		select {
		case <-tasks:
			t.Error("the other topic was woken")
		default:
		}
		if !db.Shared() { // PostgreSQL may tell once more
			wake(errors.New("rolled back"))
			select {
			case <-events:
				t.Error("woken by a transaction that was rolled back")
			default:
			}
		}
		stop()
		stop()
		wake(nil)
	})
}

// TestSubscribeAcrossControllers wakes a second controller on the same database.
func TestSubscribeAcrossControllers(t *testing.T) {
	t.Parallel()
	dsn := storetest.PostgresDSN(t)
	one, two := storetest.OpenDSN(t, store.Config{DSN: dsn}), storetest.OpenDSN(t, store.Config{DSN: dsn})
	ch, stop := two.Subscribe(store.TopicTask)
	defer stop()
	update(t, one, func(tx *store.Tx) error { tx.Wake(store.TopicTask); return nil })
	waitWake(t, ch)
}

func waitWake(t *testing.T, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(20 * time.Second):
		t.Error("nobody was woken")
	}
}

// TestLockOrdersTransactions orders transactions that would lose each other's change.
func TestLockOrdersTransactions(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const n = 30
		outcome := parallel(n, func(int) error {
			return db.Update(t.Context(), func(tx *store.Tx) error {
				if err := tx.Lock("counter"); err != nil {
					return err
				}
				body, err := tx.Document("counter")
				if err != nil && baadal.KindOf(err) != baadal.NotFound {
					return err
				}
				return tx.PutDocument("counter", append(body, 'x'))
			})
		})
		if outcome[""] != n {
			t.Errorf("%v", outcome)
		}
		view(t, db, func(tx *store.Tx) error {
			body, err := tx.Document("counter")
			if len(body) != n {
				t.Errorf("%d of %d changes are there", len(body), n)
			}
			return err
		})
	})
}

// TestDeadlocksAreRetried makes two transactions wait for each other.
func TestDeadlocksAreRetried(t *testing.T) {
	t.Parallel()
	db := storetest.Postgres(t)
	var both sync.WaitGroup
	both.Add(2)
	outcome := parallel(2, func(i int) error {
		first := true
		return db.Update(t.Context(), func(tx *store.Tx) error {
			names := []string{"a", "b"}
			if err := tx.Lock(names[i]); err != nil {
				return err
			}
			if first {
				first = false
				both.Done()
				both.Wait()
			}
			return tx.Lock(names[1-i])
		})
	})
	if outcome[""] != 2 {
		t.Errorf("%v", outcome)
	}
}

// TestEventsAreSeenInOrder reads the stream while many write it: the ids that a
// reader sees rise, and it misses none.
func TestEventsAreSeenInOrder(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const writers, each = 8, 25
		done := make(chan map[string]int, 1)
		go func() {
			done <- parallel(writers, func(int) error {
				for range each {
					err := db.Update(t.Context(), func(tx *store.Tx) error {
						_, err := tx.AddEvent(baadal.Event{Topic: "vm", Subject: baadal.Subject{Kind: "vm"}})
						return err
					})
					if err != nil {
						return err
					}
				}
				return nil
			})
		}()
		seen, last := 0, int64(0)
		read := func() {
			view(t, db, func(tx *store.Tx) error {
				events, err := tx.EventsAfter(last, nil, nil, anyone, 10000)
				for _, e := range events {
					if e.ID <= last {
						t.Errorf("event %d after %d", e.ID, last)
					}
					last = e.ID
				}
				seen += len(events)
				return err
			})
		}
		for {
			select {
			case outcome := <-done:
				read()
				if seen != writers*each || outcome[""] != writers {
					t.Errorf("saw %d of %d events; %v", seen, writers*each, outcome)
				}
				return
			default:
				read()
			}
		}
	})
}

// driverOf splits a DSN for database/sql.
func driverOf(dsn string) (driver, name string) {
	if path, ok := strings.CutPrefix(dsn, "sqlite:"); ok {
		return "sqlite", path
	}
	return "pgx", dsn
}

// execRaw runs SQL past the store, on a database that it does not have open.
func execRaw(t *testing.T, dsn, query string, args ...any) {
	t.Helper()
	db, err := sql.Open(driverOf(dsn))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatal(err)
	}
}

// dropConnections makes the server end every connection to the test's database.
func dropConnections(t *testing.T, dsn string) {
	t.Helper()
	execRaw(t, dsn, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
}
