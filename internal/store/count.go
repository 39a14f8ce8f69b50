package store

import (
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
