package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kdomanski/iso9660"

	"baadal"
)

// importISO makes a template of a CD with one file.
func importISO(ctx context.Context, t *testing.T, name, words string) {
	t.Helper()
	w, err := iso9660.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Cleanup() }()
	if err := w.AddFile(strings.NewReader(words), "words.txt"); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := w.WriteTo(&b, "WORDS"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "words.iso")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := cloud.Client.ImportTemplate(ctx, baadal.TemplateImport{Name: name, Kind: baadal.TemplateISO, UploadID: upload(ctx, t, file)}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Await(ctx, c.Task, nil); err != nil {
		t.Fatal(err)
	}
}

// TestCDROM reads a CD in a guest, ejects it from under it, boots in another
// order, and carries it through a snapshot and a migration.
func TestCDROM(t *testing.T) {
	ctx := begin(t)
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	c, none := cloud.Client, baadal.ChangeOptions{}
	importISO(ctx, t, "words", "hello from a CD")
	vm := create(ctx, t, baadal.VMCreate{Name: "drive", Host: "host1", SSHKeys: []string{key}})
	if vm, err = cloud.WaitAnswer(ctx, vm.UUID); err != nil {
		t.Fatal(err)
	}
	insert := func() {
		t.Helper()
		ch, err := c.InsertCDROM(ctx, vm.UUID, baadal.CDROMInsert{ISO: "words"}, none)
		_, vm = did(ctx, t, "insert", ch, err)
	}
	eject := func(force bool) {
		t.Helper()
		ch, err := c.EjectCDROM(ctx, vm.UUID, baadal.CDROMEject{Force: force}, none)
		_, vm = did(ctx, t, "eject", ch, err)
	}
	// The first look after a change fails, as with a real drive; who polls the drive does not notice.
	const mount = "mkdir -p /mnt/cd; for i in 1 2 3 4 5; do mount -t iso9660 -o ro /dev/sr1 /mnt/cd && break; sleep 1; done; cat /mnt/cd/*"
	reads := func(when string) {
		t.Helper()
		if got := ssh(ctx, t, vm, mount); got != "hello from a CD" {
			t.Errorf("%s: the guest reads %q", when, got)
		}
	}
	insert()
	reads("inserted")
	ch, err := c.EjectCDROM(ctx, vm.UUID, baadal.CDROMEject{}, none)
	if err != nil {
		t.Fatal(err)
	}
	if done, err := cloud.Await(ctx, ch.Task, nil); err == nil || !strings.Contains(err.Error(), "holds the tray") {
		t.Errorf("a mounted CD is ejected: %s, %v", done.Message, err)
	}
	if _, err := c.DeleteTemplate(ctx, "words", none); baadal.CodeOf(err) != "template_in_use" || !strings.Contains(baadal.Message(err), "drive") {
		t.Errorf("a CD in a drive is deleted: %v", err)
	}
	ssh(ctx, t, vm, "umount /mnt/cd")
	eject(false)
	insert()
	reads("inserted again")
	eject(true)
	ssh(ctx, t, vm, "umount -l /mnt/cd; true")

	insert()
	snap, err := c.CreateSnapshot(ctx, vm.UUID, baadal.SnapshotCreate{Name: "with-cd"}, none)
	awaitSnapshot(ctx, t, snap, err)
	eject(false)
	snap, err = c.RevertSnapshot(ctx, vm.UUID, "with-cd", none)
	awaitSnapshot(ctx, t, snap, err)
	if vm, err = c.VM(ctx, vm.UUID); err != nil || vm.CDROM != "words" {
		t.Errorf("after the revert the store says %q: %v", vm.CDROM, err)
	}
	ch, err = c.MigrateVM(ctx, vm.UUID, baadal.VMMigrate{To: "host2"}, none)
	_, vm = did(ctx, t, "migrate", ch, err)
	reads("reverted and moved")
	ssh(ctx, t, vm, "umount /mnt/cd")

	bootsInOrder(ctx, t, vm)
	if _, err := c.DeleteTemplate(ctx, "words", none); baadal.CodeOf(err) != "template_in_use" || !strings.Contains(baadal.Message(err)+fmt.Sprint(err), "drive") {
		t.Errorf("a CD that a revert would bring back is deleted: %v", err)
	}
	snap, err = c.DeleteSnapshot(ctx, vm.UUID, "with-cd", none)
	awaitSnapshot(ctx, t, snap, err)
	remove(ctx, t, vm.UUID)
	tc, err := c.DeleteTemplate(ctx, "words", none)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Await(ctx, tc.Task, nil); err != nil {
		t.Fatal(err)
	}
}

// bootsInOrder lets a VM look at its CD before its disk, and boots it.
func bootsInOrder(ctx context.Context, t *testing.T, vm baadal.VM) {
	t.Helper()
	c, none := cloud.Client, baadal.ChangeOptions{}
	ch, err := c.EditVM(ctx, vm.UUID, baadal.VMEdit{Boot: []baadal.BootDevice{baadal.BootCDROM, baadal.BootDisk}}, none)
	if err != nil || ch.Task != nil {
		t.Fatalf("edit the boot order: %+v, %v", ch.Task, err)
	}
	ch, err = c.DestroyVM(ctx, vm.UUID, none)
	_, vm = did(ctx, t, "destroy", ch, err)
	ch, err = c.StartVM(ctx, vm.UUID, none)
	_, vm = did(ctx, t, "start", ch, err)
	xml := node(ctx, t, vm.Host, "virsh", "-q", "dumpxml", vm.UUID)
	for target, order := range map[string]string{"hdb": "1", "vda": "2"} {
		if got := bootOrder(xml, target); got != order {
			t.Errorf("%s has boot order %q, want %s", target, got, order)
		}
	}
	if _, err := cloud.WaitAnswer(ctx, vm.UUID); err != nil { // the CD boots nothing: the disk's turn
		t.Fatal(err)
	}
}

func awaitSnapshot(ctx context.Context, t *testing.T, ch baadal.Change[baadal.Snapshot], err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Await(ctx, ch.Task, nil); err != nil {
		t.Fatal(err)
	}
}

// bootOrder reads the boot order of a disk in a domain's XML.
func bootOrder(xml, target string) string {
	for disk := range strings.SplitSeq(xml, "<disk ") {
		if _, rest, ok := strings.Cut(disk, "<boot order='"); ok && strings.Contains(disk, "<target dev='"+target+"'") {
			order, _, _ := strings.Cut(rest, "'")
			return order
		}
	}
	return ""
}

// TestHostBootsAgain pulls a host's cord and switches it on: of its VMs those
// come back that are to.
func TestHostBootsAgain(t *testing.T) {
	ctx := begin(t)
	c, none := cloud.Client, baadal.ChangeOptions{}
	vms := map[baadal.Autostart]baadal.VM{}
	for _, policy := range baadal.Autostarts() {
		vm := create(ctx, t, baadal.VMCreate{Name: "comes-back-" + string(policy), Host: "host3", RAMMiB: 96})
		defer func() { remove(ctx, t, vm.UUID) }()
		if _, err := c.EditVM(ctx, vm.UUID, baadal.VMEdit{Autostart: &policy}, none); err != nil && policy != baadal.AutostartLast {
			t.Fatal(err)
		}
		vms[policy] = vm
	}
	ch, err := c.DestroyVM(ctx, vms[baadal.AutostartAlways].UUID, none)
	did(ctx, t, "destroy", ch, err)
	time.Sleep(6 * time.Second) // the host's boot is known by then
	if err := theLab.Kill(ctx, "host3"); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "host shown as down", func() error {
		h, err := c.Host(ctx, "host3")
		if err == nil && h.State != baadal.HostDown {
			err = fmt.Errorf("it is %s", h.State)
		}
		return err
	})
	if err := theLab.Boot(ctx, "host3"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 2*time.Minute, "running what is to", func() error {
		for policy, want := range map[baadal.Autostart]baadal.VMState{
			baadal.AutostartLast: baadal.VMRunning, baadal.AutostartAlways: baadal.VMRunning, baadal.AutostartNever: baadal.VMOff,
		} {
			vm, err := c.VM(ctx, vms[policy].UUID)
			if err != nil {
				return err
			}
			if vm.State != want || vm.Task != nil {
				return fmt.Errorf("%s is %s, task %v", vm.Name, vm.State, vm.Task)
			}
		}
		return nil
	})
	page, err := c.VMHistory(ctx, vms[baadal.AutostartLast].UUID, baadal.ListQuery{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(page.Items, func(e baadal.Event) bool { return strings.HasPrefix(e.What, "to be started") }) {
		t.Errorf("its history does not say why it was started: %+v", page.Items)
	}
	if out := node(ctx, t, "host3", "virsh", "-q", "list", "--all", "--autostart", "--name"); strings.TrimSpace(out) != "" {
		t.Errorf("libvirt's autostart is set: %s", out)
	}
}

// TestGrowMemory gives a guest that runs more memory than it was started with,
// and looks whether it keeps it through a snapshot and a migration.
func TestGrowMemory(t *testing.T) {
	ctx := begin(t)
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	c, none := cloud.Client, baadal.ChangeOptions{}
	vm := create(ctx, t, baadal.VMCreate{Name: "grows", Host: "host1", SSHKeys: []string{key}})
	defer func() { remove(ctx, t, vm.UUID) }()
	most := 384
	if _, err := c.EditVM(ctx, vm.UUID, baadal.VMEdit{MaxRAMMiB: &most}, none); err != nil {
		t.Fatal(err)
	}
	ch, err := c.DestroyVM(ctx, vm.UUID, none)
	_, vm = did(ctx, t, "destroy", ch, err)
	ch, err = c.StartVM(ctx, vm.UUID, none)
	_, vm = did(ctx, t, "start", ch, err)
	if vm, err = cloud.WaitAnswer(ctx, vm.UUID); err != nil {
		t.Fatal(err)
	}
	begun := memTotal(ctx, t, vm)
	edit := func(ram int, words string, live int) {
		t.Helper()
		ch, err := c.EditVM(ctx, vm.UUID, baadal.VMEdit{RAMMiB: &ram}, none)
		var said string
		said, vm = did(ctx, t, "edit", ch, err)
		if said != words || vm.RAMMiB != ram || vm.LiveRAMMiB != live {
			t.Errorf("it says %q, has %d MiB, runs with %d", said, vm.RAMMiB, vm.LiveRAMMiB)
		}
	}
	has := func(when string, least, most int) {
		t.Helper()
		eventually(t, 30*time.Second, when, func() error {
			if now := memTotal(ctx, t, vm); now < least || now > most {
				return fmt.Errorf("the guest has %d MiB, of %d at first", now, begun)
			}
			return nil
		})
	}
	edit(256, "Edited RAM successfully.", 0)
	has("given 128 MiB", begun+120, begun+130)
	snap, err := c.CreateSnapshot(ctx, vm.UUID, baadal.SnapshotCreate{Name: "grown"}, none)
	awaitSnapshot(ctx, t, snap, err)
	edit(320, "Edited RAM successfully.", 0)
	has("given 64 MiB more", begun+184, begun+194)
	snap, err = c.RevertSnapshot(ctx, vm.UUID, "grown", none)
	awaitSnapshot(ctx, t, snap, err)
	if vm, err = c.VM(ctx, vm.UUID); err != nil || vm.RAMMiB != 256 {
		t.Errorf("after the revert it has %d MiB: %v", vm.RAMMiB, err)
	}
	has("reverted", begun+120, begun+130)
	ch, err = c.MigrateVM(ctx, vm.UUID, baadal.VMMigrate{To: "host2"}, none)
	_, vm = did(ctx, t, "migrate", ch, err)
	has("moved", begun+120, begun+130)
	edit(384, "Edited RAM successfully.", 0)
	has("given the rest", begun+248, begun+258)
	edit(192, "Edited RAM successfully. It takes effect at the next cold start. The guest is asked to make do with it now.", 384)
	has("made do with less", begun, begun+200)
}
