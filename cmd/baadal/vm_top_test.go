package main

import (
	"fmt"
	"strings"
	"testing"

	"baadal"
)

// testUsages are so many VMs, each busier than the one before.
func testUsages(n int) (all []baadal.VMUsage) {
	for i := range n {
		cpu, rate, used := float64(2*i), float64(i<<20), 10*i
		all = append(all, baadal.VMUsage{
			Name: fmt.Sprintf("web%d", i), Owner: "asha", Host: "h1", State: baadal.VMRunning, VCPUs: 2, RAMMiB: 1024,
			Stats: &baadal.VMStats{VCPUs: 2, RAMMiB: 1024, CPUPercent: &cpu, UsedMiB: &used, UsedSource: "host", ReadRate: &rate, WriteRate: &rate},
		})
	}
	return append(all, baadal.VMUsage{Name: "fresh", State: baadal.VMRunning, VCPUs: 1, RAMMiB: 512})
}

// TestTopFitsTheTerminal: a frame is never wider or higher than the terminal,
// shows the busiest VMs, and sums up all of them.
func TestTopFitsTheTerminal(t *testing.T) {
	t.Parallel()
	c, _, _ := quietCLI()
	o := topOptions{sort: "cpu"}
	all := testUsages(40)
	if err := baadal.SortUsages(all, "cpu"); err != nil {
		t.Fatal(err)
	}
	whole := c.topText(all, o, 0)
	if n := strings.Count(whole, "\n"); n != len(all)+2 {
		t.Errorf("a pipe gets %d lines", n)
	}
	for _, words := range []string{"41 VMs by cpu: 31.2 of 80 vCPUs busy, memory 7.6 GiB of 40 GiB", "web39  78.0 %", "\nfresh       -"} {
		if !strings.Contains(whole, words) {
			t.Errorf("it does not say %q:\n%s", words, whole)
		}
	}
	c.outTerminal = true
	c.getenv = func(name string) string { return map[string]string{"NO_COLOR": "1"}[name] }
	for _, size := range [][2]int{{80, 24}, {40, 10}, {200, 5}, {80, 2}, {80, 0}} {
		c.columns, c.rows = func() int { return size[0] }, func() int { return size[1] }
		text := c.topText(all, o, c.topRows(o))
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		if size[1] > 3 && len(lines) >= size[1] || size[1] == 0 && len(lines) != len(all)+2 {
			t.Errorf("%d lines on a terminal of %d", len(lines), size[1])
		}
		for _, l := range lines {
			if cells(l) > size[0] {
				t.Errorf("%d cells on a terminal of %d: %s", cells(l), size[0], l)
			}
		}
		if len(lines) < 3 || !strings.HasPrefix(lines[2], "web39") {
			t.Errorf("the busiest is not on top:\n%s", text)
		}
	}
	o.most = 2
	if n := c.topRows(o); n != 2 {
		t.Errorf("--lines 2 shows %d", n)
	}
	if got := frame("a\nb\n"); got != screenTop+"a"+clearLine+"\nb"+clearLine+"\n"+clearRest {
		t.Errorf("a frame is %q", got)
	}
}

func TestTopFilter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		o           topOptions
		words, want string
	}{
		{topOptions{}, "", "state:running"},
		{topOptions{host: "h1"}, "web", "web host:h1 state:running"},
		{topOptions{owner: "asha"}, "state:paused", "state:paused owner:asha"},
	} {
		if got := topFilter(c.o, c.words); got != c.want {
			t.Errorf("%+v %q gives %q, want %q", c.o, c.words, got, c.want)
		}
	}
}
