package service_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"
	"testing"

	"baadal"
	"baadal/internal/service"
	"baadal/internal/store"
)

var plain = baadal.ChangeOptions{}

// TestPrivateTemplate: what a student saves is his and his organisation's
// administrators': nobody else sees it, makes a VM of it, or deletes it.
func TestPrivateTemplate(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Owner: "ravi"})
	for _, x := range []struct {
		actor baadal.Actor
		in    baadal.VMSaveTemplate
		kind  baadal.Kind
		code  string
	}{
		{c.stranger, baadal.VMSaveTemplate{Name: "mine"}, baadal.NotFound, "not_found"},
		{c.faculty, baadal.VMSaveTemplate{Name: "mine"}, baadal.NotFound, "not_found"},
		{c.student, baadal.VMSaveTemplate{Name: "mine", Public: true}, baadal.Forbidden, "forbidden"},
		{c.orgadmin, baadal.VMSaveTemplate{Name: "mine", Public: true}, baadal.Forbidden, "forbidden"},
		{c.student, baadal.VMSaveTemplate{Name: "no spaces"}, baadal.Invalid, "bad_name"},
	} {
		_, err := c.SaveVMAsTemplate(t.Context(), x.actor, "ml", x.in, plain)
		refused(t, err, x.kind, x.code)
	}
	if ch, err := c.SaveVMAsTemplate(t.Context(), c.student, "ml", baadal.VMSaveTemplate{Name: "mine"}, dry); err != nil || ch.Plan == nil || ch.Task != nil {
		t.Errorf("dry: %+v, %v", ch, err)
	}
	ch, err := c.SaveVMAsTemplate(t.Context(), c.student, "ml", baadal.VMSaveTemplate{Name: "mine"}, plain)
	if err != nil || ch.Resource.Owner != "ravi" || ch.Resource.State != baadal.TemplateImporting {
		t.Fatalf("%+v, %v", ch.Resource, err)
	}
	_, err = c.ActVM(t.Context(), c.student, baadal.ActionVMShutdown, "ml", plain)
	refused(t, err, baadal.Conflict, "vm_busy")
	c.run(t, ch.Task)
	for name, x := range map[string]struct {
		actor  baadal.Actor
		sees   bool
		listed int
	}{
		"owner": {c.student, true, 2}, "another student": {c.faculty, false, 1}, "administrator of his organisation": {c.orgadmin, true, 2},
		"administrator of another": {c.stranger, false, 1}, "administrator": {c.admin, true, 2},
	} {
		m, err := c.Template(t.Context(), x.actor, "mine")
		if (err == nil) != x.sees || err != nil && baadal.KindOf(err) != baadal.NotFound {
			t.Errorf("%s: %v", name, err)
		}
		if x.sees && (m.State != baadal.TemplateReady || !m.Actions["delete"].Allowed || m.VirtualSize != 1<<30) {
			t.Errorf("%s: %+v", name, m)
		}
		l, err := c.Templates(t.Context(), x.actor, baadal.ListQuery{})
		if err != nil || len(l.Items) != x.listed {
			t.Errorf("%s: %d are listed, want %d: %v", name, len(l.Items), x.listed, err)
		}
	}
	_, err = c.CreateVM(t.Context(), c.stranger, baadal.VMCreate{Name: "theirs", Template: "mine"}, plain)
	refusedField(t, err, baadal.Invalid, "template")
	for _, a := range []baadal.Actor{c.stranger, c.faculty} {
		_, err = c.DeleteTemplate(t.Context(), a, "mine", plain)
		refused(t, err, baadal.NotFound, "not_found")
	}
	_, err = c.DeleteTemplate(t.Context(), c.student, "tiny", plain)
	refused(t, err, baadal.Forbidden, "forbidden")
	two := c.create(t, c.orgadmin, baadal.VMCreate{Name: "two", Template: "mine", Owner: "ravi"})
	_, err = c.DeleteTemplate(t.Context(), c.student, "mine", plain)
	refused(t, err, baadal.Conflict, "template_in_use")
	c.update(t, func(tx *store.Tx) error { return tx.DeleteVM(two.ID) })
	gone, err := c.DeleteTemplate(t.Context(), c.student, "mine", plain)
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, gone.Task)
}

// TestExport: the owner fetches his VM's disk, from any place on; others do not
// know that it is there.
func TestExport(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Owner: "ravi"})
	_, err := c.ExportVM(t.Context(), c.faculty, "ml", plain)
	refused(t, err, baadal.NotFound, "not_found")
	ch, err := c.ExportVM(t.Context(), c.student, "ml", plain)
	if err != nil || ch.Resource.State != baadal.TransferMaking || ch.Resource.Name != "ml.qcow2" {
		t.Fatalf("%+v, %v", ch.Resource, err)
	}
	id := ch.Resource.ID
	_, _, err = c.OpenExport(t.Context(), c.student, id)
	refused(t, err, baadal.Conflict, "export_not_ready")
	_, err = c.RemoveExport(t.Context(), c.student, id, plain)
	refused(t, err, baadal.Conflict, "export_not_ready")
	c.run(t, ch.Task)
	for _, a := range []baadal.Actor{c.faculty, c.stranger} {
		_, err := c.Export(t.Context(), a, id)
		refused(t, err, baadal.NotFound, "not_found")
		_, _, err = c.OpenExport(t.Context(), a, id)
		refused(t, err, baadal.NotFound, "not_found")
		_, err = c.RemoveExport(t.Context(), a, id, plain)
		refused(t, err, baadal.NotFound, "not_found")
	}
	f, r, err := c.OpenExport(t.Context(), c.student, id)
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(r)
	if sum := sha256.Sum256(all); err != nil || int64(len(all)) != f.Size || hex.EncodeToString(sum[:]) != f.SHA256 {
		t.Errorf("%d bytes with the sum %x, want %d with %s: %v", len(all), sum, f.Size, f.SHA256, err)
	}
	for _, at := range []int64{0, 1, f.Size - 1, f.Size} {
		if n, err := r.Seek(at, io.SeekStart); n != at || err != nil {
			t.Errorf("seek to %d: %d, %v", at, n, err)
		}
		if rest, err := io.ReadAll(r); err != nil || !bytes.Equal(rest, all[at:]) {
			t.Errorf("from %d on: %d bytes, %v", at, len(rest), err)
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	gone, err := c.RemoveExport(t.Context(), c.student, id, plain)
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, gone.Task)
	_, err = c.Export(t.Context(), c.student, id)
	refused(t, err, baadal.NotFound, "not_found")
}

// qcow2 is the beginning of an image of a size in MiB below 4096.
func qcow2(mib int) string {
	header := make([]byte, 4096)
	copy(header, "QFI\xfb\x00\x00\x00\x03")
	header[28], header[29] = byte(mib>>4), byte(mib<<4)
	return string(header)
}

// TestImportVM: an upload is its sender's, of one size at least, and used once.
func TestImportVM(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	up, err := c.Upload(t.Context(), c.orgadmin, "main", strings.NewReader(qcow2(1536)))
	if err != nil {
		t.Fatal(err)
	}
	bad, err := c.Upload(t.Context(), c.orgadmin, "", strings.NewReader("no image"))
	if err != nil {
		t.Fatal(err)
	}
	in := func(upload string, disk int) baadal.VMImport {
		return baadal.VMImport{VMNew: baadal.VMNew{Name: "ml", Owner: "ravi", DiskGiB: disk}, UploadID: upload}
	}
	for _, x := range []struct {
		actor baadal.Actor
		in    baadal.VMImport
		kind  baadal.Kind
		code  string
	}{
		{c.student, in(up.ID, 0), baadal.Forbidden, "forbidden"},
		{c.stranger, in(up.ID, 0), baadal.NotFound, "not_found"},
		{c.orgadmin, in("nix", 0), baadal.NotFound, "not_found"},
		{c.orgadmin, in(bad.ID, 0), baadal.Invalid, "bad_image"},
		{c.orgadmin, in(up.ID, 1), baadal.Invalid, "invalid"},
	} {
		_, err := c.ImportVM(t.Context(), x.actor, x.in, plain)
		refused(t, err, x.kind, x.code)
	}
	if ch, err := c.ImportVM(t.Context(), c.orgadmin, in(up.ID, 0), dry); err != nil || ch.Plan == nil {
		t.Errorf("dry: %+v, %v", ch, err)
	}
	ch, err := c.ImportVM(t.Context(), c.orgadmin, in(up.ID, 0), plain)
	if err != nil || ch.Resource.DiskGiB != 2 || ch.Resource.Template != "" || ch.Resource.Owner != "ravi" {
		t.Fatalf("%+v, %v", ch.Resource, err)
	}
	again := in(up.ID, 0)
	again.Name = "again"
	_, err = c.ImportVM(t.Context(), c.orgadmin, again, plain)
	refused(t, err, baadal.Conflict, "upload_taken")
	c.run(t, ch.Task)
	if vm := c.vm(t, ch.Resource.ID); vm.State != baadal.VMRunning || vm.Address == "" {
		t.Errorf("%+v", vm)
	}
}

// TestAdoptVM: everything that is in the way is told at once; nothing is claimed.
func TestAdoptVM(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	for _, file := range []string{"a", "b"} {
		if err := c.world.PutImage(mount, "vm_images/old/"+file, 1<<30); err != nil {
			t.Fatal(err)
		}
	}
	disk := func(file, format string) baadal.DomainDisk {
		return baadal.DomainDisk{Path: mount + "/vm_images/old/" + file, Format: format, Target: "vda"}
	}
	define := func(name, uuid string, id int64, disks ...baadal.DomainDisk) {
		t.Helper()
		if err := c.world.VirshDefine("host2", baadal.Domain{UUID: uuid, Name: name, VMID: id, VCPUs: 2, RAMMiB: 768, Disks: disks}); err != nil {
			t.Fatal(err)
		}
	}
	const uuid = "00000000-0000-4000-8000-00000000000"
	define("good", uuid+"1", 0, disk("a", "qcow2"))
	define("ours", uuid+"2", 7, disk("a", "qcow2"))
	define("two_disks", uuid+"3", 0, disk("a", "qcow2"), disk("b", "qcow2"))
	define("liar", uuid+"4", 0, disk("a", "raw"))
	define("running", uuid+"5", 0, disk("b", "qcow2"))
	if err := c.world.VirshStart("host2", uuid+"5"); err != nil {
		t.Fatal(err)
	}
	for domain, want := range map[string]string{
		"ours": "the mark of VM 7", "two_disks": "it has 2 disks", "liar": "defined as raw and looks like qcow2", "running": "it is running",
	} {
		for _, opt := range []baadal.ChangeOptions{plain, dry} {
			_, err := c.AdoptVM(t.Context(), c.admin, baadal.VMAdopt{Host: "host2", Domain: domain, Name: "ml"}, opt)
			refused(t, err, baadal.Conflict, "not_adoptable")
			if !strings.Contains(baadal.Message(err), want) {
				t.Errorf("%s: %v, want %q", domain, err, want)
			}
		}
	}
	_, err := c.AdoptVM(t.Context(), c.orgadmin, baadal.VMAdopt{Host: "host2", Domain: "good"}, plain)
	refused(t, err, baadal.Forbidden, "forbidden")
	_, err = c.AdoptVM(t.Context(), c.admin, baadal.VMAdopt{Host: "host1", Domain: "good"}, plain)
	refused(t, err, baadal.Invalid, "no_domain")
	ch, err := c.AdoptVM(t.Context(), c.admin, baadal.VMAdopt{Host: "host2", Domain: "good", Owner: "ravi"}, dry)
	if err != nil || ch.Plan.Host != "host2" || len(ch.Plan.Effects) < 2 || c.vmsNow(t) != 0 {
		t.Errorf("dry: %+v, %v", ch.Plan, err)
	}
	if ch, err = c.AdoptVM(t.Context(), c.admin, baadal.VMAdopt{Host: "host2", Domain: uuid + "1", Owner: "ravi"}, plain); err != nil {
		t.Fatal(err)
	}
	c.run(t, ch.Task)
	vm := c.vm(t, ch.Resource.ID)
	if vm.Name != "good" || vm.UUID != uuid+"1" || vm.State != baadal.VMOff || vm.VCPUs != 2 || vm.RAMMiB != 768 || vm.DiskGiB != 1 || vm.Owner != "ravi" || vm.Address == "" {
		t.Errorf("%+v", vm)
	}
	_, err = c.AdoptVM(t.Context(), c.admin, baadal.VMAdopt{Host: "host2", Domain: uuid + "1", Name: "twice"}, plain)
	refused(t, err, baadal.Conflict, "not_adoptable")
}

// vmsNow counts the VMs.
func (c *cloud) vmsNow(t *testing.T) (n int) {
	t.Helper()
	c.view(t, func(tx *store.Tx) error { all, err := tx.AllVMs(); n = len(all); return err })
	return n
}

// TestUploadIsForEveryController: another controller on the same database makes
// a template of what this one received.
func TestUploadIsForEveryController(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	up, err := c.Upload(t.Context(), c.admin, "", strings.NewReader(qcow2(64)))
	if err != nil {
		t.Fatal(err)
	}
	other := service.New(c.db, c.newQueue(), service.Options{Prober: c.world.Prober(), Files: c.world.Disks(), Foreign: c.world.Hypervisor()})
	ch, err := other.ImportTemplate(t.Context(), c.admin, baadal.TemplateImport{Name: "new", UploadID: up.ID, SHA256: up.SHA256}, plain)
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, ch.Task)
	if m, err := c.Template(t.Context(), c.admin, "new"); err != nil || m.State != baadal.TemplateReady || m.VirtualSize != 64<<20 || m.SHA256 != up.SHA256 {
		t.Errorf("%+v, %v", m, err)
	}
}
