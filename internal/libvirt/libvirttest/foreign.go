package libvirttest

import (
	"context"
	"testing"

	"baadal"
)

// adopter is what the suite's hypervisor does with domains of others; its
// contract is workflow.Adopter's.
type adopter interface {
	ForeignDomain(ctx context.Context, host baadal.Host, ref string) (baadal.ForeignDomain, error)
	DefineForeign(ctx context.Context, host baadal.Host, xml string) error
}

// testForeign looks at a domain, takes it away and gives it back as it was.
func testForeign(t *testing.T, f Fixture) {
	a, ok := f.Hypervisor.(adopter)
	if !ok {
		t.Fatalf("%T adopts nothing", f.Hypervisor)
	}
	d, ctx := f.define(t), t.Context()
	look := func(ref string) baadal.ForeignDomain {
		t.Helper()
		found, err := a.ForeignDomain(ctx, f.Host, ref)
		must(t, err)
		return found
	}
	for _, ref := range []string{d.UUID, d.Name} {
		got := look(ref)
		if got.UUID != d.UUID || got.Name != d.Name || got.VMID != d.VMID || got.State != baadal.VMOff || got.VCPUs != d.VCPUs || got.RAMMiB != d.RAMMiB || got.Firmware != "" {
			t.Errorf("by %s: %+v", ref, got)
		}
		if len(got.Disks) != len(d.Disks) || len(got.MACs) != len(d.NICs) || got.Saved || got.Snapshots != 0 || len(got.Passed) != 0 {
			t.Errorf("by %s: %+v", ref, got)
		}
		for i, k := range got.Disks {
			if k.Path != d.Disks[i].Path || k.Format != d.Disks[i].Format || k.Target != d.Disks[i].Target {
				t.Errorf("disk %+v, want %+v", k, d.Disks[i])
			}
		}
	}
	before := look(d.UUID)
	must(t, f.Hypervisor.Undefine(ctx, f.Host, d.UUID))
	_, err := a.ForeignDomain(ctx, f.Host, d.UUID)
	wantKind(t, err, baadal.NotFound)
	for range 2 {
		must(t, a.DefineForeign(ctx, f.Host, before.XML))
	}
	if after := look(d.UUID); after.Name != d.Name || after.VMID != d.VMID || len(after.Disks) != len(d.Disks) {
		t.Errorf("given back: %+v", after)
	}
	must(t, f.Hypervisor.Start(ctx, f.Host, d.UUID))
	if got := look(d.Name); got.State != baadal.VMRunning {
		t.Errorf("it is %s", got.State)
	}
	_, err = a.ForeignDomain(ctx, f.Host, "no such domain")
	wantKind(t, err, baadal.NotFound)
}
