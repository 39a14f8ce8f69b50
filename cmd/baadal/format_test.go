package main

import (
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	t.Parallel()
	good := map[string]int64{
		"512M": 512 * mib, "512m": 512 * mib, "512MiB": 512 * mib, "512MB": 512 * mib, "2G": 2 * gib, "2GiB": 2 * gib, "2 GiB": 2 * gib,
		"1.5g": gib + 512*mib, "1T": 1024 * gib, "64K": 64 << 10,
	}
	for in, want := range good {
		if got, err := parseSize(in); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "512", "G", "2X", "-1G", "+1G", "0G", "1e3G", "2G2", "1,5G", "99999999999T", "0x10M", ".G", "1.2.3G", "NaNG", "2GM", "ii"} {
		if got, err := parseSize(in); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", in, got)
		}
	}
}

func TestSizeFlag(t *testing.T) {
	t.Parallel()
	ram, disk := sizeFlag{unit: mib}, sizeFlag{unit: gib}
	if err := ram.Set("1.5G"); err != nil || ram.value != 1536 || ram.String() != "1.5G" {
		t.Errorf("ram 1.5G: %d %q %v", ram.value, ram.String(), err)
	}
	if err := disk.Set("1T"); err != nil || disk.value != 1024 {
		t.Errorf("disk 1T: %d %v", disk.value, err)
	}
	for f, in := range map[*sizeFlag]string{&disk: "1536M", &ram: "100K"} {
		before := f.value
		if err := f.Set(in); err == nil || f.value != before {
			t.Errorf("%s is not whole units but was taken as %d", in, f.value)
		}
	}
}

func TestBytesText(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 512 * mib: "512 MiB", gib - 1: "1 GiB", gib + gib/2: "1.5 GiB", 2048 * gib: "2 TiB", -gib: "-1 GiB",
	} {
		if got := bytesText(n); got != want {
			t.Errorf("bytesText(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{time.Time{}, "-"},
		{now, "just now"},
		{now.Add(-30 * time.Second), "30 s ago"},
		{now.Add(-3 * time.Minute), "3 min ago"},
		{now.Add(-26 * time.Hour), "26 h ago"},
		{now.Add(-72 * time.Hour), "3 d ago"},
		{now.Add(12*24*time.Hour + time.Hour), "in 12 d"},
	} {
		if got := agoText(now, c.at); got != c.want {
			t.Errorf("agoText(%s) = %q, want %q", c.at, got, c.want)
		}
	}
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 0: "0 ms", 40 * time.Millisecond: "40 ms", 4200 * time.Millisecond: "4.2 s", 3 * time.Second: "3 s", 42 * time.Second: "42 s", 80 * time.Second: "1 min 20 s",
		90 * time.Minute: "1 h 30 min", 50 * time.Hour: "2 d 2 h",
	} {
		if got := durationText(d); got != want {
			t.Errorf("durationText(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"web1":                    "web1",
		"\x1b[31mred\x1b[0m":      "[31mred[0m",
		"a\x07b\x00c\x7fd":        "abcd",
		"two\nlines\r\tand a tab": "two lines  and a tab",
		"\u009b31mC1":             "31mC1",
		"evil\u202egpj.exe":       "evilgpj.exe",
		"नमस्ते 世界":               "नमस्ते 世界",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestCells(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int{"abc": 3, "世界": 4, "é": 1, "e\u0301": 1, "…": 1, "": 0} {
		if got := cells(in); got != want {
			t.Errorf("cells(%q) = %d, want %d", in, got, want)
		}
	}
	for _, c := range []struct {
		in    string
		width int
		want  string
	}{{"abcdef", 6, "abcdef"}, {"abcdef", 5, "abcd…"}, {"世界世界", 5, "世界…"}, {"ab cdef", 4, "ab…"}} {
		if got := cut(c.in, c.width); got != c.want || cells(got) > c.width {
			t.Errorf("cut(%q, %d) = %q, want %q", c.in, c.width, got, c.want)
		}
	}
}
