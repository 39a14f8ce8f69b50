package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// column is one column of a table of T.
type column[T any] struct {
	title string
	cell  func(T) string
	right bool // for numbers
	drop  int  // 0: always shown; otherwise the highest goes first when the terminal is narrow
	min   int  // may be cut down to this many cells; 0: never cut
	state bool // the cell is a state word: shown with its shape and colour on terminals
}

// column gap, in cells.
const gap = 2

// writeTable writes rows below upper-case titles. A width of 0 means a pipe or
// a file: nothing is dropped or cut.
func writeTable[T any](w io.Writer, cols []column[T], rows []T, width int, look look) {
	text := make([][]string, len(rows))
	for i, row := range rows {
		text[i] = make([]string, len(cols))
		for j, c := range cols {
			text[i][j] = clean(c.cell(row))
			if c.state {
				text[i][j] = look.shape(text[i][j])
			}
		}
	}
	keep, widths := fit(cols, text, width)
	var line strings.Builder
	for j, k := range keep {
		pad(&line, strings.ToUpper(cols[k].title), widths[k], cols[k].right, j == len(keep)-1, "")
	}
	fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	for i := range rows {
		line.Reset()
		for j, k := range keep {
			colour := ""
			if cols[k].state {
				colour = look.colour(text[i][k])
			}
			pad(&line, cut(text[i][k], widths[k]), widths[k], cols[k].right, j == len(keep)-1, colour)
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// fit chooses the columns to show and their widths: first the flexible columns
// shrink, widest first, then whole columns go.
func fit[T any](cols []column[T], text [][]string, width int) (keep, widths []int) {
	natural := make([]int, len(cols))
	for j, c := range cols {
		keep = append(keep, j)
		natural[j] = cells(c.title)
		for i := range text {
			natural[j] = max(natural[j], cells(text[i][j]))
		}
	}
	for {
		widths = slices.Clone(natural)
		if width <= 0 || shrink(cols, keep, widths, width) {
			return keep, widths
		}
		last := -1
		for i, k := range keep {
			if cols[k].drop > 0 && (last < 0 || cols[k].drop > cols[keep[last]].drop) {
				last = i
			}
		}
		if last < 0 {
			return keep, widths // nothing more can go: the terminal wraps
		}
		keep = slices.Delete(keep, last, last+1)
	}
}

// shrink cuts flexible columns until the kept ones fit, and reports whether
// they do.
func shrink[T any](cols []column[T], keep, widths []int, width int) bool {
	total := gap * (len(keep) - 1)
	for _, k := range keep {
		total += widths[k]
	}
	for total > width {
		widest := -1
		for _, k := range keep {
			least := max(cols[k].min, cells(cols[k].title))
			if cols[k].min > 0 && widths[k] > least && (widest < 0 || widths[k] > widths[widest]) {
				widest = k
			}
		}
		if widest < 0 {
			return false
		}
		widths[widest]--
		total--
	}
	return true
}

func pad(b *strings.Builder, s string, width int, right, last bool, colour string) {
	space := strings.Repeat(" ", max(0, width-cells(s)))
	if colour != "" {
		s = colour + s + "\x1b[0m"
	}
	switch {
	case right:
		b.WriteString(space + s)
	case last:
		b.WriteString(s)
	default:
		b.WriteString(s + space)
	}
	if !last {
		b.WriteString(strings.Repeat(" ", gap))
	}
}

// look says how much a stream may be adorned.
type look struct {
	terminal bool // shapes
	coloured bool // and colours
}

// stateLook gives every state word its shape and colour, so that a state can be
// told without seeing colours.
var stateLook = map[string]struct{ shape, colour string }{
	"running": {"●", green}, "up": {"●", green}, "ok": {"●", green}, "ready": {"●", green}, "success": {"✔", green}, "done": {"✔", green},
	"off": {"○", ""}, "deleted": {"◌", grey}, "undone": {"◌", grey}, "ignore": {"◌", grey}, "waiting": {"·", grey}, "pending": {"·", grey},
	"paused": {"‖", yellow}, "maintenance": {"‖", yellow}, "read_only": {"‖", yellow}, "partial_success": {"▲", yellow}, "retry": {"↻", yellow},
	"creating": {"◐", blue}, "importing": {"◐", blue}, "processing": {"◐", blue}, "started": {"◐", blue}, "undoing": {"↶", yellow},
	"failed": {"✗", red}, "down": {"✗", red}, "missing": {"✗", red}, "crashed": {"✗", red}, "blocked": {"✗", red},
	"unknown": {"?", yellow},
}

const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	blue   = "\x1b[34m"
	grey   = "\x1b[90m"
	bold   = "\x1b[1m"
)

// shape puts a state's shape before its word, on terminals. What follows the
// word, as in "running (host silent)", stays.
func (l look) shape(state string) string {
	word, _, _ := strings.Cut(state, " ")
	if s, ok := stateLook[word]; ok && l.terminal {
		return s.shape + " " + state
	}
	return state
}

// colour returns the escape sequence for a state, with or without its shape;
// empty where there is to be none.
func (l look) colour(state string) string {
	if !l.coloured {
		return ""
	}
	for word := range strings.FieldsSeq(state) {
		if s, ok := stateLook[word]; ok {
			return s.colour
		}
	}
	return ""
}

// state returns a state word with shape and colour as far as the stream allows.
func (l look) state(word string) string {
	s := l.shape(clean(word))
	return l.paint(s, l.colour(s))
}

// paint colours s if the stream allows.
func (l look) paint(s, colour string) string {
	if !l.coloured || colour == "" {
		return s
	}
	return colour + s + "\x1b[0m"
}
