package baadal_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
)

func TestSortUsages(t *testing.T) {
	t.Parallel()
	n := func(f float64) *float64 { return &f }
	usage := func(name string, vcpus int, cpu, read, written, received *float64, used *int) baadal.VMUsage {
		return baadal.VMUsage{Name: name, Stats: &baadal.VMStats{
			VCPUs: vcpus, CPUPercent: cpu, ReadRate: read, WriteRate: written, ReceiveRate: received, UsedMiB: used,
		}}
	}
	all := []baadal.VMUsage{
		{Name: "silent"},
		usage("small", 1, n(90), n(10), n(1), n(5), new(100)),
		usage("large", 4, n(50), n(1), n(20), n(7), new(50)),
		usage("fresh", 1, nil, nil, nil, nil, nil),
		usage("Able", 1, n(0), n(0), n(0), n(0), new(700)),
	}
	for by, want := range map[baadal.UsageSort][]string{
		"cpu":  {"large", "small", "Able", "fresh", "silent"},
		"mem":  {"Able", "small", "large", "fresh", "silent"},
		"read": {"small", "large", "Able", "fresh", "silent"},
		"disk": {"large", "small", "Able", "fresh", "silent"},
		"rx":   {"large", "small", "Able", "fresh", "silent"},
		"net":  {"large", "small", "Able", "fresh", "silent"},
		"tx":   {"Able", "fresh", "large", "silent", "small"},
		"name": {"Able", "fresh", "large", "silent", "small"},
	} {
		if err := baadal.SortUsages(all, by); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, u := range all {
			got = append(got, u.Name)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("by %s: %s", by, d)
		}
	}
	if err := baadal.SortUsages(all, "luck"); baadal.KindOf(err) != baadal.Invalid {
		t.Errorf("an order that there is not: %v", err)
	}
}
