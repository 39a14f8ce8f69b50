package workflow_test

import (
	"context"
	"strings"
	"testing"

	"baadal"
)

// isoBytes is the least that passes for a CD image.
func isoBytes() string {
	const at = 16*2048 + 1
	b := []byte(strings.Repeat("\x00", 40*1024))
	copy(b[at:], "CD001")
	return string(b)
}

// TestImportISO: what is to be a CD image must be one, and nothing else may.
func TestImportISO(t *testing.T) {
	t.Parallel()
	a, ctx := newAudited(t), context.Background()
	for _, c := range []struct {
		name, kind string
		iso, ok    bool
	}{{"cd", baadal.TemplateISO, true, true}, {"no-cd", baadal.TemplateISO, false, false}, {"no-disk", baadal.TemplateDisk, true, false}} {
		var upload string
		if c.iso {
			u, err := a.svc.Upload(ctx, a.actor, "", strings.NewReader(isoBytes()))
			must(t, err)
			upload = u.ID
		} else {
			upload = a.image(t)
		}
		ch, err := a.svc.ImportTemplate(ctx, a.actor, baadal.TemplateImport{Name: c.name, Kind: c.kind, UploadID: upload}, none)
		must(t, err)
		done := runToEnd(t, a.cloud, ch.Task.ID)
		if (done.State == baadal.TaskSuccess) != c.ok || !c.ok && done.Code != "bad_image" {
			t.Errorf("%s: %s %s %s", c.name, done.State, done.Code, done.Message)
		}
	}
	cd, err := a.svc.Template(ctx, a.actor, "cd")
	if err != nil || cd.Kind != baadal.TemplateISO || cd.Format != "raw" || !strings.HasSuffix(cd.File, baadal.ISOSuffix) {
		t.Errorf("imported as %+v, %v", cd, err)
	}
	_, err = a.svc.CreateVM(ctx, a.actor, baadal.VMCreate{Name: "on-cd", Template: "cd"}, none)
	if baadal.CodeOf(err) != "template_is_iso" {
		t.Errorf("a VM on a CD image: %v", err)
	}
}

// TestCDROMFollowsTheMachine: what is in a VM's drive is what the store says,
// through snapshots, clones, a locked tray and somebody at the host.
func TestCDROMFollowsTheMachine(t *testing.T) {
	t.Parallel()
	a, ctx := newAudited(t), context.Background()
	importISO(t, a.cloud)
	drive := func(when, want string) {
		t.Helper()
		vm, err := a.svc.VM(ctx, a.actor, "ml")
		must(t, err)
		h, err := a.world.Host(vm.Host)
		must(t, err)
		file, err := a.world.Hypervisor().Disc(ctx, h, vm.UUID)
		must(t, err)
		if vm.CDROM != want || strings.Contains(file, "/"+want+"-") != (want != "") {
			t.Errorf("%s: the store says %q, the drive has %q, want %q", when, vm.CDROM, file, want)
		}
	}
	insert := func() {
		t.Helper()
		ch, err := a.svc.InsertCDROM(ctx, a.actor, "ml", baadal.CDROMInsert{ISO: "install"}, none)
		a.finish(t, ch.Task, err)
	}
	insert()
	drive("inserted", "install")
	a.snapshot(t, "ml", "with")
	ejected(t, a.cloud)
	drive("ejected", "")
	a.snapshot(t, "ml", "without")
	for _, s := range []struct{ name, want string }{{"with", "install"}, {"without", ""}, {"with", "install"}} {
		ch, err := a.svc.RevertSnapshot(ctx, a.actor, "ml", s.name, none)
		a.finish(t, ch.Task, err)
		drive("reverted to "+s.name, s.want)
	}
	ch, err := a.svc.CloneVM(ctx, a.actor, "ml", baadal.VMClone{Name: "twin", Count: 1}, none)
	a.finish(t, ch.Task, err)
	twin, err := a.svc.VM(ctx, a.actor, "twin1")
	if err != nil || twin.CDROMID != 0 {
		t.Errorf("the clone has CD %d: %v", twin.CDROMID, err)
	}
	must(t, a.world.Deafen(a.host, a.vm.UUID, true))
	ch, err = a.svc.EjectCDROM(ctx, a.actor, "ml", baadal.CDROMEject{}, none)
	must(t, err)
	if done := runToEnd(t, a.cloud, ch.Task.ID); done.State != baadal.TaskFailed || done.Code != "tray_locked" {
		t.Errorf("with a locked tray: %s %s %s", done.State, done.Code, done.Message)
	}
	drive("not ejected", "install")
	ch, err = a.svc.EjectCDROM(ctx, a.actor, "ml", baadal.CDROMEject{Force: true}, none)
	a.finish(t, ch.Task, err)
	drive("ejected by force", "")
	must(t, a.world.Deafen(a.host, a.vm.UUID, false))
	if found := a.audit(t, false); !found.Clean() {
		t.Errorf("%+v", found.Differences)
	}
}

// TestAuditOfDrives: another CD than the store says, and libvirt's own
// autostart, show and are mended.
func TestAuditOfDrives(t *testing.T) {
	t.Parallel()
	a, ctx := newAudited(t), context.Background()
	inserted(t, a.cloud)
	h, err := a.world.Host(a.host)
	must(t, err)
	must(t, a.world.Hypervisor().SetDisc(ctx, h, a.vm.UUID, "", false))
	must(t, a.world.VirshAutostart(a.host, a.vm.UUID))
	kinds := map[string]bool{}
	for _, d := range a.audit(t, false).Differences {
		kinds[d.Kind] = d.Repair != "" && d.Subject.Name == "ml"
	}
	if len(kinds) != 2 || !kinds[baadal.DiffAutostart] || !kinds[baadal.DiffWrongCDROM] {
		t.Errorf("found %v", kinds)
	}
	a.audit(t, true)
	if left := a.audit(t, false); !left.Clean() {
		t.Errorf("left: %+v", left.Differences)
	}
	vm, err := a.svc.VM(ctx, a.actor, "ml")
	if err != nil || vm.CDROMID != 0 {
		t.Errorf("the store says %q: %v", vm.CDROM, err)
	}
}
