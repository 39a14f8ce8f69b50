package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	kib = int64(1) << 10
	mib = int64(1) << 20
	gib = int64(1) << 30
)

// parseSize reads a size such as 512M, 2G, 2GiB or 1.5g into bytes. Units are
// binary whatever their spelling. A bare number is refused: nobody can tell
// whether bytes or GiB were meant.
func parseSize(s string) (int64, error) {
	bad := func() error { return fmt.Errorf("%q is not a size: give a number with a unit, as 512M or 2G", s) }
	digits := strings.TrimRight(s, "kKmMgGtTiIbB ")
	unit := strings.ToLower(strings.TrimSpace(s[len(digits):]))
	factor, ok := map[string]int64{
		"k": 1 << 10, "kb": 1 << 10, "kib": 1 << 10, "m": mib, "mb": mib, "mib": mib,
		"g": gib, "gb": gib, "gib": gib, "t": gib << 10, "tb": gib << 10, "tib": gib << 10,
	}[unit]
	if !ok || digits == "" || strings.Trim(digits, "0123456789.") != "" {
		return 0, bad()
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || n <= 0 || n*float64(factor) > math.MaxInt64/2 {
		return 0, bad()
	}
	return int64(math.Round(n * float64(factor))), nil
}

// sizeFlag is a flag that takes a size which must be a whole number of units
// (MiB for memory, GiB for disks), because the API counts in these.
type sizeFlag struct {
	unit  int64
	value int // in units; 0 means not given
	text  string
}

func (f *sizeFlag) String() string { return f.text }
func (f *sizeFlag) Type() string   { return "size" }

// Set parses and keeps the size.
func (f *sizeFlag) Set(s string) error {
	n, err := parseSize(s)
	if err != nil {
		return err
	}
	if n%f.unit != 0 || n/f.unit > math.MaxInt32 {
		return errors.New("give a whole number of " + strings.TrimPrefix(bytesText(f.unit), "1 "))
	}
	f.value, f.text = int(n/f.unit), s
	return nil
}

// bytesText writes a number of bytes for people, in binary units with at most
// one decimal.
func bytesText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	v, i := float64(n), 0
	for i < len(units)-1 && math.Abs(v) >= 1023.95 {
		v /= 1024
		i++
	}
	s := strconv.FormatFloat(v, 'f', 1, 64)
	return strings.TrimSuffix(s, ".0") + " " + units[i]
}

func mibText(n int) string { return bytesText(int64(n) * mib) }
func gibText(n int) string { return bytesText(int64(n) * gib) }

// durationText writes a time span with one or two units: "4.2 s", "1 min 20 s".
func durationText(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return strings.TrimSuffix(strconv.FormatFloat(d.Seconds(), 'f', 1, 64), ".0") + " s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
}

// roughly writes a time span in its largest unit.
func roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d.Hours())/24)
}

// agoText writes a moment as people say it, seen from now: "3 min ago",
// "in 12 d", and the date when it is more than 60 days away. The zero time is
// a dash.
func agoText(now, at time.Time) string {
	d := now.Sub(at)
	switch {
	case at.IsZero():
		return "-"
	case d.Abs() > 60*24*time.Hour:
		return at.Local().Format(time.DateOnly)
	case d.Abs() < time.Second:
		return "just now"
	case d < 0:
		if d = -d; d > 48*time.Hour {
			d = d.Round(24 * time.Hour)
		}
		return "in " + roughly(d)
	}
	return roughly(d) + " ago"
}

// clean removes what could steer a terminal: control characters, escape
// sequences' introducers and characters that reorder text. Names and messages
// come from other people.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			return ' '
		case steersTerminal(r):
			return -1
		}
		return r
	}, s)
}

// cleanLines cleans a text that may have several lines; all but the first are
// indented.
func cleanLines(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\r\n"), "\n")
	for i := range lines {
		lines[i] = clean(strings.TrimRight(lines[i], "\r"))
	}
	return strings.Join(lines, "\n  ")
}

func steersTerminal(r rune) bool {
	return unicode.IsControl(r) || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 ||
		r == 0x200e || r == 0x200f || r == 0x2028 || r == 0x2029
}

// runeCells returns how many cells of a terminal a rune takes.
func runeCells(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf, r >= 0xac00 && r <= 0xd7a3,
		r >= 0xf900 && r <= 0xfaff, r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60,
		r >= 0xffe0 && r <= 0xffe6, r >= 0x1f300 && r <= 0x1f64f, r >= 0x1f680 && r <= 0x1f6ff,
		r >= 0x1f900 && r <= 0x1f9ff, r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}

// cells returns how many cells of a terminal s takes.
func cells(s string) int {
	n := 0
	for _, r := range s {
		n += runeCells(r)
	}
	return n
}

// cut shortens s to at most width cells, the last of which is then an ellipsis.
func cut(s string, width int) string {
	if cells(s) <= width {
		return s
	}
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n+runeCells(r) > width-1 {
			break
		}
		n += runeCells(r)
		b.WriteRune(r)
	}
	return strings.TrimRight(b.String(), " ") + "…"
}

// plural writes a count with its noun: "1 VM", "3 VMs".
func plural(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "s"):
		return fmt.Sprintf("%d %ses", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
