package store

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Counting 50,000 rows for the facets of a list takes ten times as long as
// reading its page, and a figure of that size that is a second old is as good
// as a fresh one. Small counts are always fresh.
const (
	countKeepFrom = 2000        // rows that a count must have gone over to be remembered
	countKeepFor  = time.Second // how long
	countEntries  = 256
)

// counts is what a list shows beside its page.
type counts struct {
	total  int
	facets map[string]map[string]int
}

// countCache remembers large counts per list, filter and visibility.
type countCache struct {
	mu      sync.Mutex
	entries map[string]*countEntry
}

type countEntry struct {
	at         time.Time
	refreshing bool
	counts     counts
}

func newCountCache() *countCache { return &countCache{entries: map[string]*countEntry{}} }

// get returns remembered counts. Of several callers that find them too old, one
// is sent to count anew and the others keep the old figures meanwhile.
func (c *countCache) get(key string) (counts, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil {
		return counts{}, false
	}
	if age := time.Since(e.at); age > countKeepFor && (!e.refreshing || age > 10*countKeepFor) {
		e.refreshing = true
		return counts{}, false
	}
	return e.counts, true
}

// put remembers counts if they are large, and forgets older ones if not.
func (c *countCache) put(key string, v counts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v.total < countKeepFrom {
		delete(c.entries, key)
		return
	}
	if len(c.entries) >= countEntries {
		clear(c.entries)
	}
	c.entries[key] = &countEntry{at: time.Now(), counts: v}
}

// counts returns the total and the facets of everything that where matches.
func (tx *Tx) counts(s listSpec, where cond) (counts, error) {
	key := fmt.Sprintf("%s|%s|%v", s.noun, where.sql, where.args)
	if c, ok := tx.db.counts.get(key); ok {
		return c, nil
	}
	c, err := tx.countAll(s, where)
	if err != nil {
		return c, err
	}
	tx.db.counts.put(key, c)
	return c, nil
}

func (tx *Tx) countAll(s listSpec, where cond) (c counts, err error) {
	if len(s.facets) == 0 {
		c.total, err = tx.count(number("SELECT COUNT(*) FROM "+s.table+" WHERE "+where.sql), where.args...)
		return c, err
	}
	c.facets = make(map[string]map[string]int, len(s.facets))
	// All rows of a table are counted facet by facet, each from an index. What
	// a filter leaves is found once, and then counted.
	from, with := s.table+" WHERE "+where.sql, ""
	names := slices.Sorted(maps.Keys(s.facets))
	columns := make([]string, len(names))
	for i, name := range names {
		columns[i] = s.facets[name].expr
	}
	if len(where.args) > 0 {
		with = "WITH hits AS MATERIALIZED (SELECT "
		for i := range columns {
			with += fmt.Sprintf("%s AS f%d, ", columns[i], i)
			columns[i] = fmt.Sprintf("f%d", i)
		}
		with, from = strings.TrimSuffix(with, ", ")+" FROM "+from+") ", "hits"
	}
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = s.facets[name].query(i, columns[i], from)
	}
	rows, err := tx.query(number(with+strings.Join(parts, " UNION ALL ")), where.args...)
	if err != nil {
		return c, err
	}
	defer rows.Close()
	for rows.Next() {
		var i, n int
		var value string
		if err := rows.Scan(&i, &value, &n); err != nil {
			return c, err
		}
		c.add(names[i], s.facets[names[i]], value, n, i == 0)
	}
	return c, rows.Err()
}

// query counts one facet; its rows begin with the facet's number.
func (f facet) query(i int, column, from string) string {
	groups := fmt.Sprintf("SELECT %s AS k, COUNT(*) AS n FROM %s GROUP BY %s", column, from, column)
	if f.table == "" {
		return fmt.Sprintf("SELECT %d, COALESCE(CAST(g%d.k AS TEXT), ''), g%d.n FROM (%s) g%d", i, i, i, groups, i)
	}
	return fmt.Sprintf("SELECT %d, COALESCE(t%d.name, ''), g%d.n FROM (%s) g%d LEFT JOIN %s t%d ON t%d.id = g%d.k", i, i, i, groups, i, f.table, i, i, i)
}

// add counts one value of a facet; total says that this facet makes the total,
// in which rows without a value count too.
func (c *counts) add(name string, f facet, value string, n int, total bool) {
	if total {
		c.total += n
	}
	if c.facets[name] == nil {
		c.facets[name] = map[string]int{}
	}
	if v, err := strconv.ParseInt(value, 10, 64); err == nil && f.name != nil {
		value = f.name(v)
	}
	if value != "" {
		c.facets[name][value] += n
	}
}
