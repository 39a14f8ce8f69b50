package baadal_test

import (
	"testing"

	"baadal"
)

func TestVMMoveValidate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, field string
		in          baadal.VMMove
	}{
		{name: "all of it", in: baadal.VMMove{Datastore: "fast", Disk: "vdb", BandwidthMiBs: 10}},
		{"nowhere", "datastore", baadal.VMMove{}},
		{"less than nothing", "bandwidth_mibs", baadal.VMMove{Datastore: "fast", BandwidthMiBs: -1}},
		{"too much", "bandwidth_mibs", baadal.VMMove{Datastore: "fast", BandwidthMiBs: 100_001}},
	} {
		field := ""
		if e, ok := c.in.Validate().(*baadal.Error); ok { //nolint:errorlint // as the API shows it
			field = e.Field
		}
		if field != c.field {
			t.Errorf("%s: field %q is refused, want %q", c.name, field, c.field)
		}
	}
	if in := (baadal.VMMove{BandwidthMiBs: 3}); in.BytesPerSecond() != 3<<20 {
		t.Error(in.BytesPerSecond())
	}
	for p, want := range map[baadal.CopyProgress]float64{{}: 0, {Done: 1, Total: 4}: 0.25, {Done: 9, Total: 4}: 1} {
		if got := p.Share(); got != want {
			t.Errorf("%+v: %v, want %v", p, got, want)
		}
	}
}
