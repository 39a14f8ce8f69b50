package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"baadal"
)

// Codes of PostgreSQL that are looked at.
const (
	pgUnique        = "23505"
	pgForeignKey    = "23503"
	pgSerialization = "40001"
	pgDeadlock      = "40P01"
)

// collided reports whether a transaction failed only because of another one,
// so that the same transaction may pass when it is begun again.
func collided(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		// Of two tasks for one subject at the same time the second one begins
		// again, and then sees whom it has to name.
		return pg.Code == pgSerialization || pg.Code == pgDeadlock || violated(err) == "tasks_one_per_subject"
	}
	if s, ok := errors.AsType[*sqlite.Error](err); ok {
		return s.Code() == lib.SQLITE_BUSY_SNAPSHOT
	}
	return false
}

// classify gives an error of the database its kind. Errors that have one keep
// it; a cancelled context shows its cause.
func classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*baadal.Error](err); ok {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("database: %w", context.Cause(ctx))
	}
	if unavailable(err) {
		return &baadal.Error{Kind: baadal.Unavailable, Code: "database_unavailable", Title: "the database does not answer or cannot store", Err: err}
	}
	return err
}

// unavailable reports whether the database is out of reach or out of room.
func unavailable(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		// 08 connection, 53 resources, 57P shutting down, 58 system, 40 still colliding
		for _, class := range []string{"08", "53", "57P", "58", "40", "25006"} {
			if strings.HasPrefix(pg.Code, class) {
				return true
			}
		}
		return false
	}
	if s, ok := errors.AsType[*sqlite.Error](err); ok {
		switch s.Code() & 0xff {
		case lib.SQLITE_FULL, lib.SQLITE_IOERR, lib.SQLITE_BUSY, lib.SQLITE_CANTOPEN, lib.SQLITE_READONLY, lib.SQLITE_PROTOCOL:
			return true
		}
		return false
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	_, dial := errors.AsType[*pgconn.ConnectError](err)
	return dial || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, net.ErrClosed) ||
		strings.Contains(err.Error(), "conn closed") || strings.Contains(err.Error(), "unexpected EOF")
}

// indexAlias names unique indexes whose columns SQLite tells instead of their name.
var indexAlias = map[string]string{
	"tasks_subject_kind_subject_id": "tasks_one_per_subject",
}

// violated returns the name of the unique index that err is about, as
// table_column[_column], or the index's own name; empty if err is about none.
func violated(err error) string {
	name := ""
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == pgUnique {
		name = strings.TrimSuffix(pg.ConstraintName, "_key")
	} else if s, ok := errors.AsType[*sqlite.Error](err); ok && s.Code() == lib.SQLITE_CONSTRAINT_UNIQUE {
		name = sqliteIndex(s.Error())
	}
	if alias, ok := indexAlias[name]; ok {
		return alias
	}
	return name
}

// sqliteIndex reads the index out of "… UNIQUE constraint failed: a.b, a.c (2067)"
// or "… failed: index 'name' (2067)".
func sqliteIndex(message string) string {
	_, rest, ok := strings.Cut(message, "UNIQUE constraint failed: ")
	if !ok {
		return ""
	}
	rest, _, _ = strings.Cut(rest, " (")
	if quoted, ok := strings.CutPrefix(rest, "index '"); ok {
		return strings.TrimSuffix(quoted, "'")
	}
	name := ""
	for i, column := range strings.Split(rest, ", ") {
		table, col, _ := strings.Cut(column, ".")
		if i == 0 {
			name = table
		}
		name += "_" + col
	}
	return name
}

// dangling reports whether err says that another row refers to, or is missing
// for, the one at hand.
func dangling(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == pgForeignKey
	}
	s, ok := errors.AsType[*sqlite.Error](err)
	return ok && s.Code() == lib.SQLITE_CONSTRAINT_FOREIGNKEY
}

// notFound turns "no rows" into NotFound in the noun's words.
func notFound(err error, noun string, ref any) error {
	if !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("read %s: %w", noun, err)
	}
	return missing(noun, ref)
}

// missing is the error for a row that is not there or not visible.
func missing(noun string, ref any) *baadal.Error {
	return baadal.Errorf(baadal.NotFound, "there is no %s %q", noun, fmt.Sprint(ref))
}

// exists is the error for a name that is taken.
func exists(field, format string, args ...any) *baadal.Error {
	return baadal.Errorf(baadal.Conflict, format, args...).WithCode("exists").WithField(field)
}

// stale tells why a generation-checked update of a row touched nothing: the
// row is gone, or its generation is another one.
func (tx *Tx) stale(table, noun string, id, generation int64) error {
	var current int64
	if err := tx.queryRow(`SELECT generation FROM `+table+` WHERE id = $1`, id).Scan(&current); err != nil {
		return notFound(err, noun, id)
	}
	return baadal.Errorf(baadal.Stale, "%s %d was changed by somebody else", noun, id).WithCode("stale").
		WithDetail("its generation is %d, the change was made for %d", current, generation)
}
