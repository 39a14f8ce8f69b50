package libvirttest

import (
	"fmt"
	"slices"
	"testing"

	"baadal"
)

// snapshots tells a domain's snapshots in few words, and returns them.
func (f Fixture) snapshots(t *testing.T, uuid string) (words []string, all []baadal.DomainSnapshot) {
	t.Helper()
	all, err := f.Hypervisor.Snapshots(t.Context(), f.Host, uuid)
	must(t, err)
	for _, s := range all {
		if s.XML == "" || s.CreatedAt.IsZero() {
			t.Errorf("snapshot %s is described by %d bytes, made at %s", s.Name, len(s.XML), s.CreatedAt)
		}
		w := fmt.Sprintf("%s<%s:%s", s.Name, s.Parent, s.State)
		if s.Current {
			w += "*"
		}
		words = append(words, w)
	}
	return words, all
}

func (f Fixture) wantSnapshots(t *testing.T, uuid string, want ...string) []baadal.DomainSnapshot {
	t.Helper()
	got, all := f.snapshots(t, uuid)
	if !slices.Equal(got, want) {
		t.Fatalf("snapshots are %q, want %q", got, want)
	}
	return all
}

func testSnapshots(t *testing.T, f Fixture) {
	d, ctx, h := f.define(t), t.Context(), f.Hypervisor
	f.wantSnapshots(t, d.UUID)
	for range 2 {
		must(t, h.CreateSnapshot(ctx, f.Host, d.UUID, "a", "of a machine that is off"))
	}
	must(t, h.Start(ctx, f.Host, d.UUID))
	must(t, h.CreateSnapshot(ctx, f.Host, d.UUID, "b", "<&> 'quoted'"))
	f.wantState(t, d.UUID, baadal.VMRunning)
	f.wantSnapshots(t, d.UUID, "a<:off", "b<a:running*")

	for range 2 {
		must(t, h.CheckRevert(ctx, f.Host, d.UUID, "a"))
		must(t, h.RevertSnapshot(ctx, f.Host, d.UUID, "a"))
		f.wantState(t, d.UUID, baadal.VMOff)
	}
	f.wantSnapshots(t, d.UUID, "a<:off*", "b<a:running")
	for range 2 {
		must(t, h.CheckRevert(ctx, f.Host, d.UUID, "b"))
		must(t, h.RevertSnapshot(ctx, f.Host, d.UUID, "b"))
		f.wantState(t, d.UUID, baadal.VMRunning)
	}
	wantKind(t, h.CheckRevert(ctx, f.Host, d.UUID, "c"), baadal.NotFound)
	wantKind(t, h.RevertSnapshot(ctx, f.Host, d.UUID, "c"), baadal.NotFound)
	f.wantState(t, d.UUID, baadal.VMRunning)

	for range 2 {
		must(t, h.DeleteSnapshot(ctx, f.Host, d.UUID, "a"))
		f.wantSnapshots(t, d.UUID, "b<:running*")
	}
	must(t, h.DeleteSnapshot(ctx, f.Host, nowhere, "a"))
	_, err := h.Snapshots(ctx, f.Host, nowhere)
	wantKind(t, err, baadal.NotFound)
	wantKind(t, h.CreateSnapshot(ctx, f.Host, nowhere, "a", ""), baadal.NotFound)
}

// testCarrySnapshots takes the descriptions off a domain and gives them back,
// as a move to another host does.
func testCarrySnapshots(t *testing.T, f Fixture) {
	if f.NoImages {
		t.Skip("the driver keeps no snapshots without their descriptions")
	}
	d, ctx, h := f.start(t), t.Context(), f.Hypervisor
	for _, name := range []string{"a", "b"} {
		must(t, h.CreateSnapshot(ctx, f.Host, d.UUID, name, ""))
	}
	must(t, h.RevertSnapshot(ctx, f.Host, d.UUID, "a"))
	must(t, h.CreateSnapshot(ctx, f.Host, d.UUID, "c", ""))
	tree := []string{"a<:running", "b<a:running", "c<a:running*"}
	sorted, all := f.snapshots(t, d.UUID)
	slices.Sort(sorted)
	if !slices.Equal(sorted, tree) {
		t.Fatalf("snapshots are %q, want %q", sorted, tree)
	}
	for range 2 {
		must(t, h.ForgetSnapshots(ctx, f.Host, d.UUID))
		f.wantSnapshots(t, d.UUID)
	}
	must(t, h.ForgetSnapshots(ctx, f.Host, nowhere))
	for range 2 {
		must(t, h.RedefineSnapshots(ctx, f.Host, d.UUID, all))
	}
	same := func() {
		t.Helper()
		again, _ := f.snapshots(t, d.UUID)
		if slices.Sort(again); !slices.Equal(again, tree) {
			t.Fatalf("snapshots are %q, want %q", again, tree)
		}
	}
	same()
	must(t, h.RevertSnapshot(ctx, f.Host, d.UUID, "c"))
	must(t, h.Destroy(ctx, f.Host, d.UUID))
	must(t, h.Undefine(ctx, f.Host, d.UUID))
	must(t, h.Define(ctx, f.Host, d))
	f.wantSnapshots(t, d.UUID)
	must(t, h.RedefineSnapshots(ctx, f.Host, d.UUID, all))
	same()
	must(t, h.CheckRevert(ctx, f.Host, d.UUID, "b"))
	must(t, h.RevertSnapshot(ctx, f.Host, d.UUID, "b"))
	f.wantState(t, d.UUID, baadal.VMRunning)
}
