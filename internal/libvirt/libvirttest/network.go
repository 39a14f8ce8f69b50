package libvirttest

import (
	"context"
	"maps"
	"testing"

	"baadal"
)

// networks is what the suite's hypervisor does to libvirt networks; its contract
// is workflow.HostNetworks'.
type networks interface {
	HostNetworks(ctx context.Context, host baadal.Host, names []string) (map[string]baadal.HostNetwork, error)
	KeepHostNetwork(ctx context.Context, host baadal.Host, n baadal.HostNetwork, drop []string) error
}

// testNetworks makes a network, changes its portgroups, and sees that what it
// was not told to change stays.
func testNetworks(t *testing.T, f Fixture) {
	if f.NewNetwork == nil {
		return // the driver has none
	}
	k, ok := f.Hypervisor.(networks)
	if !ok {
		t.Fatalf("%T keeps no networks", f.Hypervisor)
	}
	ctx, name := t.Context(), f.NewNetwork(t)
	has := func(want map[string]int) {
		t.Helper()
		all, err := k.HostNetworks(ctx, f.Host, []string{name, "no-such-network"})
		must(t, err)
		got, there := all[name]
		if there != (want != nil) || len(all) > 1 {
			t.Fatalf("networks %+v", all)
		}
		if there && (got.Name != name || got.Bridge != "baadal-br-int" || !got.Ready || !maps.Equal(got.Portgroups, want)) {
			t.Fatalf("%+v, want the portgroups %v", got, want)
		}
	}
	keep := func(bridge string, groups map[string]int, drop ...string) {
		t.Helper()
		for range 2 {
			must(t, k.KeepHostNetwork(ctx, f.Host, baadal.HostNetwork{Name: name, Bridge: bridge, Portgroups: groups}, drop))
		}
	}
	has(nil)
	keep("baadal-br-int", map[string]int{"vlan101": 101, "theirs": 7}, "nothing")
	has(map[string]int{"vlan101": 101, "theirs": 7})
	keep("another", map[string]int{"vlan102": 102, "vlan101": 1101}, "nothing")
	has(map[string]int{"vlan101": 1101, "vlan102": 102, "theirs": 7})
	keep("another", nil, "vlan101")
	has(map[string]int{"vlan102": 102, "theirs": 7})
}
