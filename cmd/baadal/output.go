package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"baadal"
)

// writeJSON writes v as the API would, indented. Characters that could steer a
// terminal are written as escapes, which mean the same.
func writeJSON(w io.Writer, v any, indent string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	var out strings.Builder
	for _, r := range b.String() {
		if r != '\n' && steersTerminal(r) {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// json writes one document to standard output.
func (c *cli) json(v any) error { return writeJSON(c.out, v, "  ") }

// printf writes a result to standard output; --quiet and --json silence it.
func (c *cli) printf(format string, args ...any) {
	if !c.flags.quiet && !c.flags.json {
		fmt.Fprintf(c.out, format, args...)
	}
}

// hintf writes a remark for people to standard error; --quiet silences it.
func (c *cli) hintf(format string, args ...any) {
	if !c.flags.quiet {
		fmt.Fprintf(c.err, format, args...)
	}
}

// look says how much standard output may be adorned.
func (c *cli) look() look { return c.lookOf(c.outTerminal) }

func (c *cli) lookOf(terminal bool) look {
	plain := c.flags.noColor || c.getenv("NO_COLOR") != "" || c.getenv("TERM") == "dumb"
	return look{terminal: terminal, coloured: terminal && !plain}
}

// field is one line of a resource shown in full; lines with an empty value are
// left out.
type field struct{ label, value string }

// fields writes labels and values in two columns.
func (c *cli) fields(fs []field) {
	width := 0
	for _, f := range fs {
		if f.value != "" {
			width = max(width, cells(f.label))
		}
	}
	for _, f := range fs {
		if f.value != "" {
			fmt.Fprintf(c.out, "  %s%s  %s\n", f.label, strings.Repeat(" ", width-cells(f.label)), clean(f.value))
		}
	}
}

// title makes the first line of a resource shown in full.
func (c *cli) title(name, state, rest string) string {
	l := c.look()
	s := l.paint(clean(name), bold)
	if state != "" {
		s += "  " + l.state(state)
	}
	if rest != "" {
		s += "  " + clean(rest)
	}
	return s
}

// listing says how a list is shown.
type listing[T any] struct {
	columns []column[T]
	name    func(T) string // what --quiet prints
	empty   string         // what to do when there is nothing
}

// show writes a page: as JSON, as names only, or as a table with a remark when
// there is more.
func (l listing[T]) show(c *cli, page baadal.List[T], filtered bool) error {
	switch {
	case c.flags.json:
		return c.json(page)
	case c.flags.quiet:
		for _, item := range page.Items {
			fmt.Fprintln(c.out, clean(l.name(item)))
		}
		return nil
	case len(page.Items) == 0 && filtered:
		c.hintf("Nothing matches.\n")
		return nil
	case len(page.Items) == 0:
		c.hintf("%s\n", l.empty)
		return nil
	}
	writeTable(c.out, l.columns, page.Items, c.width(), c.look())
	if page.Next != "" {
		c.hintf("%d of %d shown. See all with --all, or narrow down with --filter.\n", len(page.Items), page.Total)
	}
	return nil
}

// actionsText lists what may be done with a resource now.
func actionsText(actions map[string]baadal.Access) string {
	var can []string
	for _, verb := range slices.Sorted(maps.Keys(actions)) {
		if actions[verb].Allowed {
			can = append(can, verb)
		}
	}
	return strings.Join(can, ", ")
}

// taskRefText tells of the task that holds a resource.
func taskRefText(t *baadal.TaskRef) string {
	if t == nil {
		return ""
	}
	return fmt.Sprintf("task %d, %s: %s %d %%", t.ID, t.Kind, dash(t.Step), t.Progress)
}
