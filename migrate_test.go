package baadal_test

import (
	"testing"
	"time"

	"baadal"
)

func TestVMMigrateValidate(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name     string
		in       baadal.VMMigrate
		field    string // that is refused
		deadline time.Duration
	}{
		{"nothing asked", baadal.VMMigrate{}, "", time.Hour},
		{"a deadline", baadal.VMMigrate{DeadlineSeconds: 90}, "", 90 * time.Second},
		{"the longest", baadal.VMMigrate{DeadlineSeconds: 86400, BandwidthMiBs: 100_000}, "", 24 * time.Hour},
		{"too long", baadal.VMMigrate{DeadlineSeconds: 86401}, "deadline_seconds", 0},
		{"in the past", baadal.VMMigrate{DeadlineSeconds: -1}, "deadline_seconds", 0},
		{"no bandwidth", baadal.VMMigrate{BandwidthMiBs: -1}, "bandwidth_mibs", 0},
		{"too much bandwidth", baadal.VMMigrate{BandwidthMiBs: 100_001}, "bandwidth_mibs", 0},
	} {
		err := x.in.Validate()
		if x.field == "" {
			if err != nil || x.in.Deadline() != x.deadline {
				t.Errorf("%s: deadline %s: %v", x.name, x.in.Deadline(), err)
			}
			continue
		}
		if e, ok := err.(*baadal.Error); !ok || e.Kind != baadal.Invalid || e.Field != x.field { //nolint:errorlint // as the API shows it
			t.Errorf("%s: %v", x.name, err)
		}
	}
}

func TestMigrationProgressShare(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		total, remaining int64
		want             float64
	}{{0, 0, 0}, {100, 100, 0}, {100, 25, 0.75}, {100, 0, 1}, {100, 150, 0}, {-1, 0, 0}} {
		if got := (baadal.MigrationProgress{Total: x.total, Remaining: x.remaining}).Share(); got != x.want {
			t.Errorf("%d of %d remain: %v, want %v", x.remaining, x.total, got, x.want)
		}
	}
}
