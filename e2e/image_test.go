package e2e_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baadal"
)

// awaited waits for the good end of a change.
func awaited[T any](ctx context.Context, t *testing.T, ch baadal.Change[T], err error) (T, baadal.Task) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	done, err := cloud.Await(ctx, ch.Task, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s in %s", done.Message, done.EndedAt.Sub(done.CreatedAt).Round(time.Millisecond))
	return *ch.Resource, done
}

// TestImagesComeAndGo: a VM that runs is saved as a template, exported, imported
// and, on a host of former times, adopted. Each new one has the file, and all but
// the adopted one, which stays what it was, a host name of its own.
func TestImagesComeAndGo(t *testing.T) {
	ctx := begin(t)
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	none, c := baadal.ChangeOptions{}, cloud.Client
	shortRetention(ctx, t)
	src := create(ctx, t, baadal.VMCreate{Name: "imgsrc", SSHKeys: []string{key}})
	src = answered(ctx, t, src.UUID)
	ssh(ctx, t, src, "echo precious > /root/file; sync")
	made, err := c.SaveVMAsTemplate(ctx, src.UUID, baadal.VMSaveTemplate{Name: "imgsaved"}, none)
	saved, _ := awaited(ctx, t, made, err)
	ssh(ctx, t, src, "echo late > /root/late; sync")
	if saved, err = c.Template(ctx, "imgsaved"); err != nil || saved.Owner != src.Owner || saved.State != baadal.TemplateReady {
		t.Errorf("%+v, %v", saved, err)
	}
	sealed := node(ctx, t, "host1", "sh", "-c", "cd /mnt/datastore/vm_templates && stat -c %a "+saved.File+" && qemu-img info "+saved.File)
	if !strings.HasPrefix(sealed, "444\n") || strings.Contains(sealed, "backing file") {
		t.Errorf("the template's file: %s", sealed)
	}
	adopted := adopt(ctx, t, src, saved)
	destroyVM(ctx, t, src.UUID)
	imported := importExported(ctx, t, src, key)
	ofSaved := create(ctx, t, baadal.VMCreate{Name: "imgtwo", Template: "imgsaved", SSHKeys: []string{key}})

	for _, x := range []struct{ uuid, hostname, files string }{
		{ofSaved.UUID, "imgtwo", "precious"}, {imported, "imgagain", "precious\nlate"}, {adopted, "imgsrc", "precious"},
	} {
		vm := answered(ctx, t, x.uuid)
		if got := ssh(ctx, t, vm, "hostname; cat /root/file /root/late 2>/dev/null; true"); got != x.hostname+"\n"+x.files {
			t.Errorf("%s says %q", vm.Name, got)
		}
		if ip := ssh(ctx, t, vm, "ip", "-4", "-o", "addr", "show", "eth0"); !strings.Contains(ip, vm.Address+"/24") || vm.Address == src.Address {
			t.Errorf("%s has the address %q, the API says %s", vm.Name, ip, vm.Address)
		}
	}
	cleanAudit(ctx, t)
	all := []baadal.VM{{Name: "imgsrc", UUID: src.UUID}, {Name: "imgtwo", UUID: ofSaved.UUID}, {Name: "imgagain", UUID: imported}, {Name: "payroll", UUID: adopted}}
	for _, vm := range all {
		remove(ctx, t, vm.UUID)
	}
	purge(ctx, t, all...)
	gone, err := c.DeleteTemplate(ctx, "imgsaved", none)
	awaited(ctx, t, gone, err)
	eventually(t, 30*time.Second, "nothing left of transfers", func() error {
		if left := node(ctx, t, "host1", "ls", "-A", "/mnt/datastore/vm_migration_data"); left != "" {
			return errors.New("left: " + left)
		}
		return nil
	})
}

// importExported exports a VM, in two pieces, and makes another one of the file.
func importExported(ctx context.Context, t *testing.T, src baadal.VM, key string) (uuid string) {
	t.Helper()
	none, c := baadal.ChangeOptions{}, cloud.Client
	made, err := c.ExportVM(ctx, src.UUID, none)
	f, _ := awaited(ctx, t, made, err)
	if f, err = c.Export(ctx, f.ID); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), f.Name)
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	n, err := c.FetchExport(ctx, f, 0, &shortWriter{to: file, left: f.Size / 2}, nil)
	if err == nil || n < f.Size/4 || n > f.Size/2 {
		t.Errorf("a download that broke off got %d of %d bytes: %v", n, f.Size, err)
	}
	if _, err := c.FetchExport(ctx, f, n, file, nil); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(name)
	if sum := sha256.Sum256(raw); err != nil || hex.EncodeToString(sum[:]) != f.SHA256 || int64(len(raw)) != f.Size {
		t.Fatalf("%d bytes came, with the sum %x; the export has %d with %s (%v)", len(raw), sum, f.Size, f.SHA256, err)
	}
	dropped, err := c.DeleteExport(ctx, f.ID, none)
	awaited(ctx, t, dropped, err)
	in := baadal.VMImport{VMNew: baadal.VMNew{Name: "imgagain", RAMMiB: 128, SSHKeys: []string{key}}, UploadID: upload(ctx, t, name)}
	again, err := c.ImportVM(ctx, in, none)
	vm, _ := awaited(ctx, t, again, err)
	return vm.UUID
}

// shortWriter fails after so many bytes, as a connection does that breaks.
type shortWriter struct {
	to   io.Writer
	left int64
}

func (w *shortWriter) Write(b []byte) (int, error) {
	if int64(len(b)) > w.left {
		return 0, errors.New("broken off")
	}
	w.left -= int64(len(b))
	return w.to.Write(b)
}

const foreignXML = `<domain type='qemu'><name>payroll</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>
	<os><type arch='x86_64' machine='pc'>hvm</type></os>
	<devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/var/tmp/payroll.qcow2'/><target dev='hda' bus='ide'/></disk></devices>
</domain>`

// adopt makes a domain by hand on host1, with what was saved on its disk, and
// makes it a VM that runs.
func adopt(ctx context.Context, t *testing.T, src baadal.VM, saved baadal.Template) (uuid string) {
	t.Helper()
	c := cloud.Client
	virsh := func(args ...string) { t.Helper(); node(ctx, t, "host1", append([]string{"virsh", "-q"}, args...)...) }
	node(ctx, t, "host1", "qemu-img", "convert", "-O", "qcow2", "/mnt/datastore/vm_templates/"+saved.File, "/var/tmp/payroll.qcow2")
	node(ctx, t, "host1", "sh", "-c", `printf %s "$1" > /var/tmp/payroll.xml`, "sh", foreignXML)
	t.Cleanup(func() {
		node(context.WithoutCancel(ctx), t, "host1", "rm", "-f", "/var/tmp/payroll.qcow2", "/var/tmp/payroll.xml")
	})
	virsh("define", "/var/tmp/payroll.xml")
	virsh("start", "payroll")
	wish := baadal.VMAdopt{Host: "host1", Domain: "payroll", Datastore: src.Datastore}
	if _, err := c.AdoptVM(ctx, wish, baadal.ChangeOptions{}); baadal.CodeOf(err) != "not_adoptable" || !strings.Contains(err.Error(), "it is running") {
		t.Errorf("one that runs: %v", err)
	}
	virsh("destroy", "payroll")
	ch, err := c.AdoptVM(ctx, wish, baadal.ChangeOptions{DryRun: true})
	if err != nil || !strings.Contains(strings.Join(ch.Plan.Effects, "\n"), "/var/tmp/payroll.qcow2 is copied and stays") {
		t.Errorf("dry run: %+v, %v", ch.Plan, err)
	}
	made, err := c.AdoptVM(ctx, wish, baadal.ChangeOptions{})
	vm, _ := awaited(ctx, t, made, err)
	if got := node(ctx, t, "host1", "virsh", "-q", "domname", vm.UUID); got != vm.Identity {
		t.Errorf("the domain's name is %q, want %q", got, vm.Identity)
	}
	startVM(ctx, t, vm.UUID)
	return vm.UUID
}
