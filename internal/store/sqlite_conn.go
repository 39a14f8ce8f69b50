package store

import (
	"context"
	"database/sql/driver"
	"fmt"
)

// SQLite parses a query as long as it runs a small one, and the driver parses
// it anew each time. Here a connection keeps the queries that it has parsed;
// the driver for PostgreSQL does so by itself.
const (
	keptQueries    = 256  // per connection; when there are more, all are dropped
	keptQueryBytes = 4096 // longer ones are bulk inserts and migrations
)

// sqliteConn is what the driver's connections can do.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// keepingConnector makes connections that keep their queries.
type keepingConnector struct{ driver.Connector }

// Connect opens a connection.
func (c keepingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	full, ok := conn.(sqliteConn)
	if !ok {
		return nil, fmt.Errorf("the SQLite driver's %T cannot do what is needed", conn)
	}
	return &keepingConn{sqliteConn: full, kept: map[string]*keptStmt{}}, nil
}

// keepingConn is used by one goroutine at a time, as database/sql has it.
type keepingConn struct {
	sqliteConn
	kept map[string]*keptStmt
}

type keptStmt struct {
	driver.Stmt
	busy bool // its rows are being read: the same query again must be another statement
}

// stmt returns a parsed query that is not in use, or nil.
func (c *keepingConn) stmt(ctx context.Context, query string) (*keptStmt, error) {
	if len(query) > keptQueryBytes {
		return nil, nil
	}
	if s, ok := c.kept[query]; ok {
		if s.busy {
			return nil, nil
		}
		return s, nil
	}
	parsed, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if len(c.kept) >= keptQueries {
		c.drop()
	}
	s := &keptStmt{Stmt: parsed}
	c.kept[query] = s
	return s, nil
}

// drop closes the queries that are not in use.
func (c *keepingConn) drop() {
	for query, s := range c.kept {
		if !s.busy {
			_ = s.Close() // tells the error of its last run once more
			delete(c.kept, query)
		}
	}
}

// ExecContext runs a statement, parsed before if possible.
func (c *keepingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	s, err := c.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	if s != nil {
		if run, ok := s.Stmt.(driver.StmtExecContext); ok {
			return run.ExecContext(ctx, args)
		}
	}
	return c.sqliteConn.ExecContext(ctx, query, args)
}

// QueryContext runs a query, parsed before if possible.
func (c *keepingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := c.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	if s != nil {
		if run, ok := s.Stmt.(driver.StmtQueryContext); ok {
			rows, err := run.QueryContext(ctx, args)
			if err != nil {
				return nil, err
			}
			s.busy = true
			return &keptRows{Rows: rows, stmt: s}, nil
		}
	}
	return c.sqliteConn.QueryContext(ctx, query, args)
}

// Close closes what is kept, and the connection.
func (c *keepingConn) Close() error {
	for _, s := range c.kept {
		_ = s.Close()
	}
	clear(c.kept)
	return c.sqliteConn.Close()
}

// keptRows gives the statement back when its rows have been read.
type keptRows struct {
	driver.Rows
	stmt *keptStmt
}

// Close resets the statement for its next run.
func (r *keptRows) Close() error {
	err := r.Rows.Close()
	r.stmt.busy = false
	return err
}
