package libvirttest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"baadal"
)

// nics are a domain's NICs in short, in order of their MACs.
func (f Fixture) nics(t *testing.T, uuid string) (all []string) {
	t.Helper()
	found, err := f.Hypervisor.NICs(t.Context(), f.Host, uuid)
	must(t, err)
	for _, n := range found {
		all = append(all, fmt.Sprintf("%s %d down %t", strings.ToUpper(n.MAC), n.VLAN, n.Down))
	}
	slices.Sort(all)
	return all
}

func testNICs(t *testing.T, f Fixture) {
	if f.OtherNetwork.Network == "" {
		return
	}
	ctx, h := t.Context(), f.Hypervisor
	d := f.start(t)
	first, other := d.NICs[0], f.OtherNetwork
	second := other
	second.MAC = first.MAC[:len(first.MAC)-2] + "FE"
	has := func(want ...baadal.DomainNIC) {
		t.Helper()
		var words []string
		for _, n := range want {
			words = append(words, fmt.Sprintf("%s %d down %t", strings.ToUpper(n.MAC), n.VLAN, n.Down))
		}
		slices.Sort(words)
		if got := f.nics(t, d.UUID); !slices.Equal(got, words) {
			t.Fatalf("NICs are %v, want %v", got, words)
		}
	}
	set := func(n baadal.DomainNIC) {
		t.Helper()
		for range 2 {
			must(t, h.SetNIC(ctx, f.Host, d.UUID, n))
		}
	}
	has(first)
	moved := other
	moved.MAC, moved.Down = first.MAC, true
	set(moved)
	has(moved)
	moved.Down = false
	set(moved)
	has(moved)
	second.Down = true // until its port was looked at
	set(second)
	has(moved, second)
	second.Down = false
	set(second)
	has(moved, second)
	if f.ShutdownWithin > 0 { // there is a guest that can let go
		for range 2 {
			must(t, h.DropNIC(ctx, f.Host, d.UUID, second.MAC))
		}
		has(moved)
		set(second)
	}
	must(t, h.Destroy(ctx, f.Host, d.UUID))
	has(moved, second) // the definition has them too
	first.Down = true  // nobody sees that of a domain that is off
	set(first)
	first.Down = false
	has(first, second)
	for range 2 {
		must(t, h.DropNIC(ctx, f.Host, d.UUID, second.MAC))
	}
	has(first)
	must(t, h.Start(ctx, f.Host, d.UUID))
	has(first)
	_, err := h.NICs(ctx, f.Host, nowhere)
	wantKind(t, err, baadal.NotFound)
	wantKind(t, h.SetNIC(ctx, f.Host, nowhere, first), baadal.NotFound)
	wantKind(t, h.DropNIC(ctx, f.Host, nowhere, first.MAC), baadal.NotFound)
}
