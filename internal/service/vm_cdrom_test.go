package service_test

import (
	"fmt"
	"strings"
	"testing"

	"baadal"
	"baadal/internal/store"
)

// iso makes a CD image on a datastore of its own, which only the given hosts
// mount.
func (c *cloud) iso(t *testing.T, name string, hosts ...string) (id int64) {
	t.Helper()
	file, path := name+"-1.iso", "/mnt/"+name
	if err := c.world.AddDatastore(path, 1<<40); err != nil {
		t.Fatal(err)
	}
	if _, err := c.world.AddTemplate(path, file, 1<<20); err != nil {
		t.Fatal(err)
	}
	c.update(t, func(tx *store.Tx) error {
		ds := baadal.Datastore{Name: name, Path: path, State: baadal.DatastoreOK}
		if err := tx.CreateDatastore(&ds); err != nil {
			return err
		}
		usage := baadal.DatastoreUsage{Mounted: true, Writable: true, Capacity: 1 << 40, Free: 1 << 40}
		if _, err := tx.SetDatastoreUsage(ds.ID, baadal.DatastoreOK, "", usage, hosts); err != nil {
			return err
		}
		m := baadal.Template{Name: name, Kind: baadal.TemplateISO, DatastoreID: ds.ID, File: file, Format: "raw", VirtualSize: 1 << 20, State: baadal.TemplateReady}
		err := tx.CreateTemplate(&m)
		id = m.ID
		return err
	})
	return id
}

// TestCDROMRefusals: whose drive it is, what may go into it, and where the VM
// may go with it.
func TestCDROMRefusals(t *testing.T) {
	t.Parallel()
	c, same := newCloud(t), baadal.ChangeOptions{}
	vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Owner: "asha", Host: "host1"})
	c.iso(t, "here", "host1", "host2")
	c.iso(t, "far", "host3")
	insert := func(a baadal.Actor, iso string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
		return c.InsertCDROM(t.Context(), a, fmt.Sprint(vm.ID), baadal.CDROMInsert{ISO: iso}, opt)
	}
	_, err := insert(c.student, "here", same)
	refused(t, err, baadal.NotFound, "not_found")
	_, err = insert(c.faculty, "", same)
	refusedField(t, err, baadal.Invalid, "iso")
	_, err = insert(c.faculty, "nothing", same)
	refusedField(t, err, baadal.Invalid, "iso")
	_, err = insert(c.faculty, "tiny", same)
	refused(t, err, baadal.Invalid, "not_iso")
	_, err = insert(c.faculty, "far", same)
	refused(t, err, baadal.Conflict, "datastore_not_mounted")
	_, err = c.EjectCDROM(t.Context(), c.faculty, "ml", baadal.CDROMEject{}, same)
	refused(t, err, baadal.Conflict, "cdrom_empty")
	if ch, err := insert(c.faculty, "here", dry); err != nil || ch.Plan == nil || ch.Plan.Host != "" {
		t.Errorf("a dry run: %+v, %v", ch.Plan, err)
	}
	if now := c.vm(t, vm.ID); now.CDROMID != 0 || now.Generation != vm.Generation {
		t.Errorf("a refusal or a dry run changed it: %+v", now)
	}
	ch, err := insert(c.faculty, "here", same)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.DeleteTemplate(t.Context(), c.admin, "here", same) // the task has not begun
	refused(t, err, baadal.Conflict, "template_in_use")
	if !strings.Contains(err.Error(), "ml") {
		t.Errorf("the refusal does not say who: %v", err)
	}
	_, err = insert(c.faculty, "here", same)
	refused(t, err, baadal.Conflict, "vm_busy")
	c.run(t, ch.Task)
	_, err = insert(c.faculty, "here", same)
	refused(t, err, baadal.Conflict, "cdrom_full")

	_, err = c.MigrateVM(t.Context(), c.admin, "ml", baadal.VMMigrate{To: "host3"}, same)
	refused(t, err, baadal.Exhausted, "no_host")
	if !strings.Contains(baadal.Message(err)+fmt.Sprintf("%+v", err), "here") {
		t.Errorf("the refusal does not name the CD's datastore: %v", err)
	}
	if _, err := c.MigrateVM(t.Context(), c.admin, "ml", baadal.VMMigrate{To: "host2"}, dry); err != nil {
		t.Error(err)
	}
	_, err = c.CreateVM(t.Context(), c.orgadmin, baadal.VMCreate{Name: "on-cd", Template: "here"}, same)
	refused(t, err, baadal.Conflict, "template_is_iso")
	c.act(t, baadal.ActionVMDelete, vm)
	done, err := c.DeleteTemplate(t.Context(), c.admin, "here", same) // a deleted VM has no CD
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, done.Task)
}

// TestNewerWishesThanAutostart: a VM that is to be started because its host came
// back is left alone when its owner wants something else.
func TestNewerWishesThanAutostart(t *testing.T) {
	t.Parallel()
	c, same := newCloud(t), baadal.ChangeOptions{}
	never := baadal.AutostartNever
	for name, wish := range map[string]func() error{
		"edited": func() error {
			_, err := c.EditVM(t.Context(), c.orgadmin, "edited", baadal.VMEdit{Autostart: &never}, same)
			return err
		},
		"deleted": func() error {
			ch, err := c.ActVM(t.Context(), c.orgadmin, baadal.ActionVMDelete, "deleted", same)
			if err == nil {
				c.run(t, ch.Task)
			}
			return err
		},
	} {
		vm := c.create(t, c.orgadmin, baadal.VMCreate{Name: name, Host: "host1"})
		c.update(t, func(tx *store.Tx) error {
			if _, err := tx.NoteHostBoot(vm.HostID, "before "+name); err != nil {
				return err
			}
			n, err := tx.NoteHostBoot(vm.HostID, "after "+name)
			if n == 0 {
				t.Errorf("%s is not due", name)
			}
			return err
		})
		if err := wish(); err != nil {
			t.Fatal(err)
		}
		c.view(t, func(tx *store.Tx) error {
			due, err := tx.DueVMs()
			for _, d := range due {
				if d.VMID == vm.ID {
					t.Errorf("%s is due still", name)
				}
			}
			return err
		})
	}
}

// TestUsagesHideHosts: students see what their VMs use, not where.
func TestUsagesHideHosts(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.create(t, c.orgadmin, baadal.VMCreate{Name: "ml", Owner: "ravi", Host: "host1"})
	for _, who := range []struct {
		actor baadal.Actor
		n     int
		host  string
	}{{c.student, 1, ""}, {c.orgadmin, 1, "host1"}, {c.faculty, 0, ""}, {c.stranger, 0, ""}} {
		list, err := c.VMUsages(t.Context(), who.actor, baadal.ListQuery{Filter: "state:running"})
		if err != nil || len(list.Items) != who.n {
			t.Fatalf("%s sees %+v, %v", who.actor.User.Username, list.Items, err)
		}
		if who.n == 1 && (list.Items[0].Host != who.host || list.Items[0].Stats != nil || list.Items[0].VCPUs != 1) {
			t.Errorf("%s sees %+v", who.actor.User.Username, list.Items[0])
		}
	}
}
