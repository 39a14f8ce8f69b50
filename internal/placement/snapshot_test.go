package placement_test

import (
	"testing"
	"time"

	"baadal"
	"baadal/internal/placement"
)

func TestRoomForSnapshot(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, test := range []struct {
		state    baadal.VMState
		free     int64 // MiB
		measured *time.Time
		fits     bool
	}{
		{baadal.VMRunning, 1024 + 16, &now, true},
		{baadal.VMRunning, 1024 + 15, &now, false},
		{baadal.VMPaused, 1024, &now, false},
		{baadal.VMOff, 16, &now, true},
		{baadal.VMOff, 15, &now, false},
		{baadal.VMRunning, 0, nil, true}, // nobody has looked yet
	} {
		ds := baadal.Datastore{Name: "main", Free: test.free << 20, MeasuredAt: test.measured}
		err := placement.RoomForSnapshot(ds, baadal.VM{State: test.state, RAMMiB: 1024}, placement.Limits{DiskReserve: 16 << 20})
		if (err == nil) != test.fits || err != nil && baadal.CodeOf(err) != "datastore_full" {
			t.Errorf("%s with %d MiB free: %v", test.state, test.free, err)
		}
	}
}
