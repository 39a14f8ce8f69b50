package baadal_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
)

func TestSnapshotNames(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"": true, "before-upgrade": true, "v1": true, "1a": true, "1": false, "0042": false, "a b": false, "-a": false,
		"../x": false, "abcdefghijklmnopqrstuvwxyz01234": false,
	} {
		in := baadal.SnapshotCreate{Name: name}
		if err := in.Validate(); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, p := range (baadal.SnapshotSchedule{}).Periods() {
		in := baadal.SnapshotCreate{Name: baadal.SnapshotName(p.Type, time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC))}
		if err := in.Validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestParentsFirst(t *testing.T) {
	t.Parallel()
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	in := []baadal.Snapshot{
		{Name: "leaf", Parent: "middle", CreatedAt: at(1)}, // its host's clock was wrong
		{Name: "second", Parent: "gone", CreatedAt: at(5)},
		{Name: "sibling", Parent: "root", CreatedAt: at(4)},
		{Name: "middle", Parent: "root", CreatedAt: at(3)},
		{Name: "root", CreatedAt: at(2)},
	}
	var got []string
	for _, s := range baadal.ParentsFirst(in) {
		got = append(got, s.Name)
	}
	if d := cmp.Diff([]string{"root", "middle", "leaf", "sibling", "second"}, got); d != "" {
		t.Error(d)
	}
}

func TestHardwareOfASnapshot(t *testing.T) {
	t.Parallel()
	s := baadal.Snapshot{VCPUs: 2, RAMMiB: 512, DiskGiB: 4}
	vm := baadal.VM{VCPUs: 2, RAMMiB: 1024, DiskGiB: 5}
	if got, want := s.Hardware(&vm), "512 MiB of memory instead of 1024, 4 GiB of disk instead of 5"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := s.Hardware(&baadal.VM{VCPUs: 2, RAMMiB: 512, DiskGiB: 4}); got != "" {
		t.Error(got)
	}
}
