package baadal_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
)

func TestStatsBetween(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	first := baadal.DomainStats{
		UUID: "u", Run: 3, At: start, VCPUs: 2, CPU: 10 * time.Second, RAMMiB: 512, Used: 100 << 20,
		Disks: map[string]baadal.Counters{"vda": {In: 1000, Out: 2000}}, NICs: map[string]baadal.Counters{"vnet0": {In: 5000, Out: 7000}},
	}
	next := func(change func(*baadal.DomainStats)) baadal.DomainStats {
		n := first
		n.At, n.CPU = start.Add(5*time.Second), 15*time.Second
		n.Disks = map[string]baadal.Counters{"vda": {In: 6000, Out: 2000}}
		n.NICs = map[string]baadal.Counters{"vnet0": {In: 5500, Out: 8000}}
		change(&n)
		return n
	}
	type figures struct {
		CPU, Read, Write, In, Out float64 // -1 is unknown
		Used                      int
		Source                    string
	}
	known := func(p *float64) float64 {
		if p == nil {
			return -1
		}
		return *p
	}
	for _, c := range []struct {
		name   string
		before *baadal.DomainStats
		now    baadal.DomainStats
		want   figures
	}{
		{"first look", nil, first, figures{-1, -1, -1, -1, -1, 100, "guest"}},
		{"busy", &first, next(func(*baadal.DomainStats) {}), figures{50, 1000, 0, 100, 200, 100, "guest"}},
		{"started anew", &first, next(func(n *baadal.DomainStats) { n.Run = 4 }), figures{-1, -1, -1, -1, -1, 100, "guest"}},
		{"counters went back", &first, next(func(n *baadal.DomainStats) { n.CPU = time.Second }), figures{-1, -1, -1, -1, -1, 100, "guest"}},
		{"the clock stood still", &first, next(func(n *baadal.DomainStats) { n.At = start }), figures{-1, -1, -1, -1, -1, 100, "guest"}},
		{"a disk was replaced", &first, next(func(n *baadal.DomainStats) {
			n.Disks = map[string]baadal.Counters{"vda": {In: 500, Out: 50}, "vdb": {In: 1 << 40, Out: 1 << 40}}
		}), figures{50, 100, 10, 100, 200, 100, "guest"}},
		{"the guest is silent", &first, next(func(n *baadal.DomainStats) { n.Used, n.UsedByHost = 300<<20, true }), figures{50, 1000, 0, 100, 200, 300, "host"}},
		{"nobody tells of memory", &first, next(func(n *baadal.DomainStats) { n.Used = 0 }), figures{50, 1000, 0, 100, 200, -1, ""}},
		{"more than there is", &first, next(func(n *baadal.DomainStats) { n.CPU = time.Hour }), figures{100, 1000, 0, 100, 200, 100, "guest"}},
	} {
		s := baadal.StatsBetween(c.before, c.now)
		got := figures{known(s.CPUPercent), known(s.ReadRate), known(s.WriteRate), known(s.ReceiveRate), known(s.TransmitRate), -1, s.UsedSource}
		if s.UsedMiB != nil {
			got.Used = *s.UsedMiB
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
		if (s.Interval > 0) != (c.want.CPU >= 0) {
			t.Errorf("%s: an interval of %g s", c.name, s.Interval)
		}
	}
}
