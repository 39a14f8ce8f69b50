package placement_test

import (
	"testing"
	"time"

	"baadal"
	"baadal/internal/placement"
)

func TestChooseDatastore(t *testing.T) {
	t.Parallel()
	now := time.Now()
	h := host(1, 8, 8192, 0, 0)
	elsewhere := datastore(3, 90)
	elsewhere.MeasuredAt, elsewhere.Hosts = &now, []string{"host2"}
	stores := []baadal.Datastore{datastore(1, 20), datastore(2, 50), elsewhere}
	for name, c := range map[string]struct {
		stores []baadal.Datastore
		want   placement.Want
		chosen string
		code   string
	}{
		"most room that the host mounts": {stores, placement.Want{DiskBytes: 1 << 30}, "ds2", ""},
		"asked for":                      {stores, placement.Want{DiskBytes: 1 << 30, Datastore: 1}, "ds1", ""},
		"asked for, not mounted":         {stores, placement.Want{DiskBytes: 1 << 30, Datastore: 3}, "", "no_datastore"},
		"none mounted":                   {stores[2:], placement.Want{DiskBytes: 1 << 30}, "", "no_datastore"},
		"none":                           {nil, placement.Want{DiskBytes: 1 << 30}, "", "no_datastore"},
		"too large":                      {stores, placement.Want{DiskBytes: 500 << 30}, "", "datastore_full"},
	} {
		ds, why, err := placement.ChooseDatastore(h, c.stores, c.want, limits)
		if ds.Name != c.chosen || (err == nil) != (c.code == "") || err != nil && baadal.CodeOf(err) != c.code || (why == "") != (err != nil) {
			t.Errorf("%s: %q, %q, %v; want %q, %q", name, ds.Name, why, err, c.chosen, c.code)
		}
	}
}
