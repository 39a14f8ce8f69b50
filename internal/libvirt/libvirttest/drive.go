package libvirttest

import (
	"testing"

	"baadal"
)

// testDrive changes the CD in a domain's drive, while it runs and while it is
// off; the seed stays where it is.
func testDrive(t *testing.T, f Fixture) {
	if f.NewISO == nil {
		return
	}
	ctx, h := t.Context(), f.Hypervisor
	one, two := f.NewISO(t), f.NewISO(t)
	d := f.NewDomain(t)
	d.CDROM, d.Boot = one, []baadal.BootDevice{baadal.BootCDROM, baadal.BootDisk, baadal.BootNetwork}
	f.remove(t, d.UUID)
	must(t, h.Define(ctx, f.Host, d))
	has := func(want string) {
		t.Helper()
		got, err := h.Disc(ctx, f.Host, d.UUID)
		must(t, err)
		if got != want {
			t.Fatalf("%q is in the drive, want %q", got, want)
		}
	}
	has(one)
	must(t, h.Start(ctx, f.Host, d.UUID))
	has(one)
	for _, disc := range []string{two, "", one, ""} {
		for range 2 {
			must(t, h.SetDisc(ctx, f.Host, d.UUID, disc, disc == ""))
			has(disc)
		}
	}
	targets, err := h.Targets(ctx, f.Host, d.UUID)
	must(t, err)
	if d.Seed != "" && targets["hda"] != d.Seed {
		t.Errorf("the seed is not where it was: %v", targets)
	}
	must(t, h.SetDisc(ctx, f.Host, d.UUID, two, false))
	must(t, h.Destroy(ctx, f.Host, d.UUID))
	has(two) // its definition was changed too
	must(t, h.SetDisc(ctx, f.Host, d.UUID, one, false))
	has(one)
	must(t, h.SetDisc(ctx, f.Host, d.UUID, "", false))
	has("")
	_, err = h.Disc(ctx, f.Host, nowhere)
	wantKind(t, err, baadal.NotFound)
	wantKind(t, h.SetDisc(ctx, f.Host, nowhere, one, false), baadal.NotFound)
}

// testAutostart switches off what only somebody else can have switched on.
func testAutostart(t *testing.T, f Fixture) {
	d, ctx := f.define(t), t.Context()
	for range 2 {
		must(t, f.Hypervisor.DropAutostart(ctx, f.Host, d.UUID))
	}
	must(t, f.Hypervisor.DropAutostart(ctx, f.Host, nowhere))
	all, err := f.Hypervisor.Domains(ctx, f.Host)
	must(t, err)
	for _, info := range all {
		if info.UUID == d.UUID && info.Autostart {
			t.Error("it starts by itself")
		}
	}
}
