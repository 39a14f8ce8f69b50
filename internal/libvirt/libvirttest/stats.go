package libvirttest

import (
	"testing"

	"baadal"
)

func testStats(t *testing.T, f Fixture) {
	running, off := f.start(t), f.define(t)
	find := func() *baadal.DomainStats {
		t.Helper()
		all, err := f.Hypervisor.Stats(t.Context(), f.Host)
		must(t, err)
		var found *baadal.DomainStats
		for _, s := range all {
			switch s.UUID {
			case running.UUID:
				found = &s
			case off.UUID:
				t.Error("a domain that is off is counted")
			}
		}
		return found
	}
	first := find()
	if first == nil {
		t.Fatal("the running domain is not counted")
	}
	if f.NoCounters {
		return
	}
	if first.VCPUs != running.VCPUs || first.RAMMiB != running.RAMMiB || len(first.Disks) != len(running.Disks) || len(first.NICs) != len(running.NICs) || first.At.IsZero() {
		t.Errorf("%+v", first)
	}
	second := find()
	if second.Run != first.Run || second.CPU < first.CPU || !second.At.After(first.At) {
		t.Errorf("%+v after %+v", second, first)
	}
	must(t, f.Hypervisor.Destroy(t.Context(), f.Host, running.UUID))
	if find() != nil {
		t.Error("it is counted after it was destroyed")
	}
	must(t, f.Hypervisor.Start(t.Context(), f.Host, running.UUID))
	if again := find(); again == nil || again.Run == first.Run {
		t.Errorf("a new start is not told from the old one: %+v", again)
	}
}
