package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"baadal"
)

// testNow is the moment at which the tests look.
var testNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// quietCLI is a cli whose streams are buffers and whose environment is empty.
func quietCLI() (c *cli, out, errs *bytes.Buffer) {
	out, errs = new(bytes.Buffer), new(bytes.Buffer)
	return &cli{
		in: strings.NewReader(""), out: out, err: errs, getenv: func(string) string { return "" },
		now: func() time.Time { return testNow }, columns: func() int { return 80 }, rows: func() int { return 24 },
	}, out, errs
}

func testVMs() []baadal.VM {
	return []baadal.VM{
		{
			Name: "web1", State: baadal.VMRunning, Reachable: true, Address: "192.168.10.11", Host: "h1", VCPUs: 2, RAMMiB: 2048, DiskGiB: 20,
			Owner: "asha", Network: "lab", Template: "debian-12", StateSince: testNow.Add(-3 * time.Minute),
		},
		{
			Name: "a-name-of-thirty-letters-at-most", State: baadal.VMOff, Reachable: true, Address: "192.168.10.112", Host: "compute-rack-07-unit-12",
			VCPUs: 16, RAMMiB: 65536, DiskGiB: 1024, Owner: "a.longer.name", Network: "department-of-physics", Template: "rocky-9-with-gpu-tools",
			StateSince: testNow.Add(-40 * time.Hour),
		},
		{
			Name: "new", State: baadal.VMInQueue, Reachable: true, Host: "h2", VCPUs: 1, RAMMiB: 512, DiskGiB: 10, Owner: "asha", Network: "lab", Template: "debian-12",
			StateSince: testNow.Add(-2 * time.Second), Task: &baadal.TaskRef{ID: 7, Kind: baadal.TaskVMCreate, Progress: 40},
		},
		{
			Name: "far", State: baadal.VMRunning, Address: "192.168.10.13", Host: "h3", VCPUs: 1, RAMMiB: 1536, DiskGiB: 10, Owner: "बाळ\x1b[2J", Network: "lab",
			Template: "debian-12", StateSince: testNow.Add(-time.Hour),
		},
	}
}

func TestTableWidths(t *testing.T) {
	t.Parallel()
	c, _, _ := quietCLI()
	for _, width := range []int{40, 80, 120, 0} {
		for name, l := range map[string]look{"plain": {}, "shape": {terminal: true}, "colour": {terminal: true, coloured: true}} {
			var b bytes.Buffer
			writeTable(&b, c.vmListing().columns, testVMs(), width, l)
			golden(t, fmt.Sprintf("table/vm-%d-%s.golden", width, name), b.Bytes())
			if l.coloured || width == 0 {
				continue
			}
			for line := range strings.Lines(b.String()) {
				if n := cells(strings.TrimRight(line, "\n")); n > width {
					t.Errorf("width %d, %s: a line takes %d cells: %q", width, name, n, line)
				}
			}
		}
	}
}

func TestTableIsCleanAndAligned(t *testing.T) {
	t.Parallel()
	c, _, _ := quietCLI()
	var b bytes.Buffer
	writeTable(&b, c.vmListing().columns, testVMs(), 0, look{})
	if strings.ContainsRune(b.String(), '\x1b') {
		t.Errorf("a name's escape sequence came through:\n%q", b.String())
	}
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	if len(lines) != 1+len(testVMs()) {
		t.Fatalf("%d lines", len(lines))
	}
	end := strings.Index(lines[0], "VCPUS") + len("VCPUS")
	for _, line := range lines[1:3] {
		if line[end-1] == ' ' || line[end] != ' ' {
			t.Errorf("vCPUs do not end at column %d: %q", end, line)
		}
	}
}

func TestListings(t *testing.T) {
	t.Parallel()
	c, out, errs := quietCLI()
	l := c.vmListing()

	if err := l.show(c, baadal.List[baadal.VM]{}, false); err != nil || out.Len() > 0 || !strings.Contains(errs.String(), "baadal vm create") {
		t.Errorf("empty: %v, out %q, err %q", err, out, errs)
	}
	errs.Reset()
	if err := l.show(c, baadal.List[baadal.VM]{}, true); err != nil || errs.String() != "Nothing matches.\n" {
		t.Errorf("no match: %v, %q", err, errs)
	}
	errs.Reset()
	if err := l.show(c, baadal.List[baadal.VM]{Items: testVMs(), Total: 2500, Next: "x"}, false); err != nil || !strings.Contains(errs.String(), "4 of 2500 shown") {
		t.Errorf("a page of more: %v, %q", err, errs)
	}
	out.Reset()
	c.flags.quiet = true
	if err := l.show(c, baadal.List[baadal.VM]{Items: testVMs()[:2]}, false); err != nil || out.String() != "web1\na-name-of-thirty-letters-at-most\n" {
		t.Errorf("quiet: %v, %q", err, out)
	}
}

func TestJSONDoesNotSteerTerminals(t *testing.T) {
	t.Parallel()
	c, out, _ := quietCLI()
	if err := c.json(map[string]string{"name": "a\x1b[2J\u009bb\u202ec<&>"}); err != nil {
		t.Fatal(err)
	}
	if want := "{\n  \"name\": \"a\\u001b[2J\\u009bb\\u202ec<&>\"\n}\n"; out.String() != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

func TestWidth(t *testing.T) {
	t.Parallel()
	c, _, _ := quietCLI()
	if c.width() != 0 {
		t.Errorf("a pipe has width %d", c.width())
	}
	c.outTerminal = true
	if c.width() != 80 {
		t.Errorf("the terminal has width %d", c.width())
	}
	c.getenv = func(name string) string { return map[string]string{"COLUMNS": "132"}[name] }
	if c.width() != 132 {
		t.Errorf("COLUMNS is not respected: %d", c.width())
	}
}

func TestLook(t *testing.T) {
	t.Parallel()
	c, _, _ := quietCLI()
	env := map[string]string{}
	c.getenv = func(name string) string { return env[name] }
	if c.look() != (look{}) {
		t.Error("a pipe is adorned")
	}
	c.outTerminal = true
	if got := c.look().state("running"); got != green+"● running\x1b[0m" {
		t.Errorf("terminal: %q", got)
	}
	env["NO_COLOR"] = "1"
	if got := c.look().state("running (host silent)"); got != "● running (host silent)" {
		t.Errorf("NO_COLOR: %q", got)
	}
}
