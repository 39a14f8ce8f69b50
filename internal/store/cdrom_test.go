package store_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// TestCDROM follows a CD image through a VM's drive, a snapshot and a deletion.
func TestCDROM(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, 3)
		vm := w.vm("ml")
		vm.Boot = []baadal.BootDevice{baadal.BootCDROM, baadal.BootDisk}
		w.create(t, &vm)
		iso := baadal.Template{Name: "install", Kind: baadal.TemplateISO, DatastoreID: w.datastore.ID, File: "install-1_2.iso", Format: "raw", State: baadal.TemplateReady}
		update(t, db, func(tx *store.Tx) error {
			if err := tx.CreateTemplate(&iso); err != nil {
				return err
			}
			return tx.SetVMCDROM(vm.ID, iso.ID)
		})
		view(t, db, func(tx *store.Tx) error {
			now, err := tx.VM(vm.ID)
			if err != nil {
				return err
			}
			if now.CDROM != "install" || now.CDROMID != iso.ID || baadal.JoinBoot(now.Boot) != "cdrom,disk" || now.Autostart != baadal.AutostartLast || now.Generation <= vm.Generation {
				t.Errorf("the VM is %+v", now)
			}
			listed, err := tx.VMs(baadal.ListQuery{Filter: "cdrom:install autostart:last"}, anyone)
			if err != nil || len(listed.Items) != 1 || listed.Items[0].CDROM != "install" {
				t.Errorf("listed: %+v, %v", listed.Items, err)
			}
			for path, want := range map[string]int64{
				"/mnt/datastore/vm_templates/install-1_2.iso": iso.ID, "/mnt/datastore/vm_templates/debian.qcow2": 0, "/elsewhere/install-1_2.iso": 0,
			} {
				if id, err := tx.CDROMAt(path); id != want || err != nil {
					t.Errorf("at %s is template %d, %v", path, id, err)
				}
			}
			names, err := tx.VMsWithCDROM(iso.ID)
			if d := cmp.Diff([]string{"ml"}, names); d != "" {
				t.Error(d)
			}
			m, merr := tx.Template(iso.ID)
			if merr != nil || m.VMs != 1 || m.Kind != baadal.TemplateISO {
				t.Errorf("the template is %+v, %v", m, merr)
			}
			return err
		})
		update(t, db, func(tx *store.Tx) error {
			if err := tx.DeleteTemplate(iso.ID); baadal.CodeOf(err) != "template_in_use" {
				t.Errorf("a CD image in a drive is deleted: %v", err)
			}
			if err := tx.SetVMCDROM(vm.ID, 0); err != nil {
				return err
			}
			s := baadal.Snapshot{VMID: vm.ID, Name: "before", Type: baadal.SnapshotUser, VMState: baadal.VMOff}
			if err := tx.CreateSnapshot(&s); err != nil {
				return err
			}
			return tx.SeeSnapshots(vm.ID, []baadal.DomainSnapshot{{Name: "before", State: baadal.VMOff, XML: "<x file='/mnt/datastore/vm_templates/install-1_2.iso'/>"}})
		})
		view(t, db, func(tx *store.Tx) error {
			for file, want := range map[string][]string{"install-1_2.iso": {"before of ml"}, "install-1x2.iso": {}} {
				names, err := tx.SnapshotsWithFile(file)
				if d := cmp.Diff(want, names); d != "" || err != nil {
					t.Errorf("%s: %s %v", file, d, err)
				}
			}
			return nil
		})
		update(t, db, func(tx *store.Tx) error {
			if err := tx.SetVMCDROM(vm.ID, iso.ID); err != nil {
				return err
			}
			_, now, err := tx.SetVMState(vm.ID, baadal.VMDeleted, "")
			if now.CDROMID != 0 {
				t.Error("a deleted VM keeps its CD")
			}
			return err
		})
		update(t, db, func(tx *store.Tx) error { return tx.DeleteTemplate(iso.ID) })
	})
}
