package store

// The machinery of all lists. A noun describes itself with a listSpec: its
// table, how its rows are read, the keys that a filter may name, the sorts, the
// facets. listRows does the rest:
//
//   - Where an index gives the order, rows are read until the page is full. For
//     other sorts the page is found first, on the noun's own table with nothing
//     but the sort's join; only its rows are joined with what a table row shows.
//   - A cursor holds the last row's sort value and id. The next page starts
//     behind that pair, so rows that come and go meanwhile neither repeat nor
//     hide others.
//   - Total and facets count what the filter matches. Counts over many rows are
//     remembered for a second: see count.go.
//
// SQL in a spec has ? where an argument goes; they are numbered at the end.

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"baadal"
)

// Limits of a page, rows.
const (
	pageDefault = 100
	pageMost    = 1000
)

// listSpec says how one noun is listed.
type listSpec struct {
	noun    string               // plural, for words, e.g. "vms"
	table   string               // the noun's own table with its alias, e.g. "vms v"
	id      string               // its id, the tie-break of every sort, e.g. "v.id"
	columns string               // what scan reads
	joins   string               // what columns needs beside table; must keep exactly one row each
	where   []cond               // what may be listed at all
	hidden  map[string]cond      // conditions that hold unless the filter names the key
	keys    map[string]filterKey // key:value pairs of the filter
	words   cond                 // what a free word is compared with, by LIKE; every ? is the word in lower case
	find    func(string) cond    // what a word, in lower case, may match; instead of words
	sorts   map[string]sortKey
	sort    string // the sort if none is asked for, e.g. "-id"
	facets  map[string]facet
}

// cond is a piece of a WHERE clause with its arguments.
type cond struct {
	sql  string
	args []any
}

// filterKey turns the value of one key:value pair into a condition.
type filterKey func(value string) (cond, error)

// sortKey is one order of a list. The value must never be NULL.
type sortKey struct {
	expr   string
	join   string // what expr needs beside the noun's table
	number bool   // an integer, not text
	index  bool   // the noun's table has an index on it
}

// facet counts rows by the value of a column of the noun's table.
type facet struct {
	expr  string
	table string             // expr is an id in this table; its name is shown
	name  func(int64) string // expr is a number; this is shown
}

// is makes a condition.
func is(sql string, args ...any) cond { return cond{sql, args} }

// equals is a key whose value is compared with a text column as it stands.
func equals(column string) filterKey {
	return func(v string) (cond, error) { return is(column+" = ?", v), nil }
}

// equalsFold is a key that is compared without regard to case.
func equalsFold(column string) filterKey {
	return func(v string) (cond, error) { return is("lower("+column+") = lower(?)", v), nil }
}

// named is a key whose value is the name of a row in another table.
func named(column, table, nameColumn string) filterKey {
	return func(v string) (cond, error) {
		return is(column+" IN (SELECT id FROM "+table+" WHERE "+nameColumn+" = ?)", v), nil
	}
}

// stateKey is a key whose value is the name of a numbered state.
func stateKey[T ~int](column string, states []T) filterKey {
	return func(v string) (cond, error) {
		names := make([]string, 0, len(states))
		for _, s := range states {
			name := any(s).(fmt.Stringer).String()
			if name == v {
				return is(column+" = ?", int(s)), nil
			}
			names = append(names, name)
		}
		return cond{}, baadal.Errorf(baadal.Invalid, "there is no state %q", v).WithField("filter").
			WithDetail("the states are: %s", strings.Join(names, ", "))
	}
}

// stateFacet counts by a numbered state.
func stateFacet[T ~int](expr string) facet {
	return facet{expr: expr, name: func(n int64) string { return any(T(n)).(fmt.Stringer).String() }}
}

// truth is a key whose value is yes or no.
func truth(column string) filterKey {
	return func(v string) (cond, error) {
		switch v {
		case "yes", "true":
			return is(column + " <> 0"), nil
		case "no", "false":
			return is(column + " = 0"), nil
		}
		return cond{}, baadal.Errorf(baadal.Invalid, "%q is neither yes nor no", v).WithField("filter")
	}
}

// visible is the condition for rows that somebody may see: those of the
// organisation, and those whose owner columns name him.
func visible(vis baadal.Visibility, organisation string, owners ...string) cond {
	own := make([]string, 0, len(owners)+1)
	var args []any
	if vis.Scope == baadal.ScopeOrg {
		own, args = append(own, organisation+" = ?"), append(args, vis.OrganisationID)
	}
	for _, o := range owners {
		own, args = append(own, o+" = ?"), append(args, vis.UserID)
	}
	switch {
	case vis.Scope == baadal.ScopeAny:
		return is("1 = 1")
	case vis.Scope == baadal.ScopeNone || len(own) == 0:
		return is("1 = 0")
	}
	return cond{"(" + strings.Join(own, " OR ") + ")", args}
}

// cursor is where a page ended.
type cursor struct {
	Sort  string `json:"s"`
	Text  string `json:"t,omitempty"`
	Num   int64  `json:"n,omitempty"`
	ID    int64  `json:"i"`
	value any
}

// listRows reads one page as spec says. Bad limits, sorts, filters and cursors
// are Invalid and name what is possible.
func listRows[T any](tx *Tx, spec listSpec, q baadal.ListQuery, scan func(row) (T, error)) (baadal.List[T], error) {
	var list baadal.List[T]
	limit, sort, err := spec.page(q)
	if err != nil {
		return list, err
	}
	where, err := spec.filter(q.Filter)
	if err != nil {
		return list, err
	}
	c, err := tx.counts(spec, where)
	if err != nil {
		return list, fmt.Errorf("count %s: %w", spec.noun, err)
	}
	list.Total, list.Facets = c.total, c.facets
	query, args, err := spec.pageQuery(where, sort, q.After, limit+1)
	if err != nil {
		return list, err
	}
	var last cursor
	read := 0
	list.Items, err = collectN(tx, func(r row) (T, error) {
		if read++; read == limit+1 { // only tells that there is a next page
			var beyond cursor
			return scan(lead{r, beyond.dest(spec.sorts[sort.name].number)})
		}
		return scan(lead{r, last.dest(spec.sorts[sort.name].number)})
	}, min(limit+1, c.total), query, args...)
	if err != nil {
		return list, fmt.Errorf("list %s: %w", spec.noun, err)
	}
	if len(list.Items) > limit {
		list.Items = list.Items[:limit]
		last.Sort = sort.String()
		list.Next = last.encode()
	}
	return list, nil
}

// lead puts the cursor's columns before those that the noun's scan reads.
type lead struct {
	row
	first []any
}

// Scan reads the columns of both.
func (l lead) Scan(dest ...any) error { return l.row.Scan(append(l.first, dest...)...) }

func (c *cursor) dest(number bool) []any {
	if number {
		return []any{&c.Num, &c.ID}
	}
	return []any{&c.Text, &c.ID}
}

func (c cursor) encode() string {
	b, err := json.Marshal(c)
	if err != nil { // strings and integers always encode
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// decodeCursor reads a cursor that was made for the same sort.
func decodeCursor(text string, sort order, number bool) (c cursor, err error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		return c, baadal.Errorf(baadal.Invalid, "that is not a cursor of a list").WithField("after").WithDetail("use next of the page before, as it is")
	}
	if c.Sort != sort.String() {
		return c, baadal.Errorf(baadal.Invalid, "the cursor belongs to another sort").WithField("after").
			WithDetail("it was made for %q, this list is sorted by %q", c.Sort, sort)
	}
	if c.value = c.Text; number {
		c.value = c.Num
	}
	return c, nil
}

// order is a sort that was asked for.
type order struct {
	name string
	desc bool
}

func (o order) String() string {
	if o.desc {
		return "-" + o.name
	}
	return o.name
}

func (s *listSpec) page(q baadal.ListQuery) (limit int, o order, err error) {
	if limit = q.Limit; limit == 0 {
		limit = pageDefault
	}
	if limit < 1 || limit > pageMost {
		return 0, o, baadal.Errorf(baadal.Invalid, "a page of %d is not possible", q.Limit).WithField("limit").WithDetail("1 to %d are", pageMost)
	}
	text := q.Sort
	if text == "" {
		text = s.sort
	}
	o.name, o.desc = strings.CutPrefix(text, "-")
	if _, ok := s.sorts[o.name]; !ok {
		return 0, o, baadal.Errorf(baadal.Invalid, "%s cannot be sorted by %q", s.noun, o.name).WithField("sort").
			WithDetail("possible are: %s; with a leading - for descending", known(s.sorts))
	}
	return limit, o, nil
}

func known[V any](m map[string]V) string { return strings.Join(slices.Sorted(maps.Keys(m)), ", ") }

// wordLike matches what looks like key:value but is part of a MAC address.
var wordLike = regexp.MustCompile(`^([0-9a-fA-F]{2}:)+[0-9a-fA-F]{0,2}$`)

// filter parses words and key:value pairs. Values of one key are alternatives,
// everything else must hold together.
func (s *listSpec) filter(text string) (cond, error) {
	all := slices.Clone(s.where)
	alternatives := map[string][]cond{}
	var order []string
	for word := range strings.FieldsSeq(text) {
		key, value, pair := strings.Cut(word, ":")
		if !pair || wordLike.MatchString(word) {
			c, err := s.word(word)
			if err != nil {
				return cond{}, err
			}
			all = append(all, c)
			continue
		}
		condition, ok := s.keys[key]
		if !ok {
			return cond{}, baadal.Errorf(baadal.Invalid, "%s cannot be filtered by %q", s.noun, key).WithField("filter").
				WithDetail("possible are: %s", known(s.keys))
		}
		if alternatives[key] == nil {
			order = append(order, key)
		}
		for one := range strings.SplitSeq(value, ",") {
			c, err := condition(one)
			if err != nil {
				return cond{}, err
			}
			alternatives[key] = append(alternatives[key], c)
		}
	}
	for _, key := range order {
		all = append(all, join(" OR ", alternatives[key]))
	}
	for _, key := range slices.Sorted(maps.Keys(s.hidden)) {
		if alternatives[key] == nil {
			all = append(all, s.hidden[key])
		}
	}
	if len(all) == 0 {
		return is("1 = 1"), nil
	}
	return join(" AND ", all), nil
}

func (s *listSpec) word(word string) (cond, error) {
	word = strings.ToLower(word)
	if s.find != nil {
		return s.find(word), nil
	}
	if s.words.sql == "" {
		return cond{}, baadal.Errorf(baadal.Invalid, "%s cannot be searched by words", s.noun).WithField("filter").
			WithDetail("possible are: %s", known(s.keys))
	}
	return like(s.words.sql, word), nil
}

// like is a condition whose every ? is a pattern that finds a word anywhere.
func like(sql, word string) cond {
	pattern := "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(word) + "%"
	return cond{sql, slices.Repeat([]any{pattern}, strings.Count(sql, "?"))}
}

// join puts conditions together; a single one stays bare so that an index on
// just its rows is recognised.
func join(op string, all []cond) cond {
	if len(all) == 1 {
		return all[0]
	}
	var c cond
	parts := make([]string, len(all))
	for i, one := range all {
		parts[i] = one.sql
		c.args = append(c.args, one.args...)
	}
	if c.sql = strings.Join(parts, op); op != " AND " {
		c.sql = "(" + c.sql + ")"
	}
	return c
}

// pageQuery selects the keys of one page and joins the rest to them.
func (s *listSpec) pageQuery(where cond, o order, after string, limit int) (string, []any, error) {
	key := s.sorts[o.name]
	way, beyond := "", ">"
	if o.desc {
		way, beyond = " DESC", "<"
	}
	sql, args := where.sql, slices.Clone(where.args)
	if after != "" {
		c, err := decodeCursor(after, o, key.number)
		if err != nil {
			return "", nil, err
		}
		sql += fmt.Sprintf(" AND (%s, %s) %s (?, ?)", key.expr, s.id, beyond)
		args = append(args, c.value, c.ID)
	}
	// The limit is a number in the text, so that PostgreSQL plans for it.
	ordered := fmt.Sprintf("WHERE %s ORDER BY %s%s, %s%s LIMIT %d", sql, key.expr, way, s.id, way, limit)
	if key.index || key.expr == s.id {
		query := fmt.Sprintf("SELECT %s, %s, %s FROM %s %s %s %s", key.expr, s.id, s.columns, s.table, key.join, s.joins, ordered)
		return number(query), args, nil
	}
	page := fmt.Sprintf("SELECT %s AS list_key, %s AS list_id FROM %s %s %s", key.expr, s.id, s.table, key.join, ordered)
	query := fmt.Sprintf("SELECT page.list_key, page.list_id, %s FROM (%s) page JOIN %s ON %s = page.list_id %s ORDER BY page.list_key%s, page.list_id%s",
		s.columns, page, s.table, s.id, s.joins, way, way)
	return number(query), args, nil
}

// number turns each ? into $1, $2 and so on.
func number(sql string) string {
	var b strings.Builder
	n := 0
	for _, r := range sql {
		if r == '?' {
			n++
			b.WriteString("$" + strconv.Itoa(n))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
