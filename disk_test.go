package baadal_test

import (
	"testing"

	"baadal"
)

func TestDiskPlaces(t *testing.T) {
	t.Parallel()
	ds := baadal.Datastore{Name: "main", Path: "/mnt/datastore"}
	f := baadal.DiskFile{Datastore: ds, Identity: "IITD_asha_ml", UUID: "u", DiskID: 12, Name: baadal.DiskName("IITD_asha_ml", 3)}
	first := baadal.DiskFile{Datastore: ds, Identity: "IITD_asha_ml", Name: "IITD_asha_ml.qcow2"}
	for got, want := range map[string]string{
		f.Path():                                "/mnt/datastore/vm_extra_disks/main/IITD_asha_ml/IITD_asha_ml_disk3.qcow2", // the specification's
		f.DeletedDir():                          "vm_deleted/IITD_asha_ml_disk3.12",
		first.Path():                            ds.ImageFile("IITD_asha_ml"),
		baadal.DiskTarget(0):                    baadal.FirstTarget,
		baadal.DiskTarget(baadal.MaxExtraDisks): "vdz",
		baadal.DiskSerial(12):                   "disk-12",
		ds.DeletedDisksDir("IITD_asha_ml", "u"): "vm_deleted/IITD_asha_ml.u.disks",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if len(baadal.DiskSerial(1<<40)) > 20 { // what virtio carries
		t.Error("serials are cut off")
	}
}

func TestDiskWishes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wish  interface{ Validate() error }
		field string // that is wrong; empty for none
	}{
		"disk":             {&baadal.DiskAdd{SizeGiB: 1}, ""},
		"largest":          {&baadal.DiskAdd{SizeGiB: baadal.MaxDiskGiB, IOPS: 10, BytesPerSecond: 64 << 10}, ""},
		"no size":          {&baadal.DiskAdd{}, "size_gib"},
		"negative":         {&baadal.DiskAdd{SizeGiB: -1}, "size_gib"},
		"too large":        {&baadal.DiskGrow{SizeGiB: baadal.MaxDiskGiB + 1}, "size_gib"},
		"slow disk":        {&baadal.DiskAdd{SizeGiB: 1, IOPS: 9}, "iops"},
		"no limits":        {&baadal.DiskLimit{}, ""},
		"too few bytes":    {&baadal.DiskLimit{BytesPerSecond: 64<<10 - 1}, "bytes_per_second"},
		"negative bytes":   {&baadal.DiskLimit{BytesPerSecond: -1}, "bytes_per_second"},
		"growth":           {&baadal.DiskGrow{SizeGiB: 2}, ""},
		"growth from zero": {&baadal.DiskGrow{}, "size_gib"},
	} {
		err := c.wish.Validate()
		e, _ := err.(*baadal.Error) //nolint:errorlint // Validate returns its own error
		switch {
		case c.field == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.field != "" && (e == nil || e.Kind != baadal.Invalid || e.Field != c.field):
			t.Errorf("%s: %v, want %s to be wrong", name, err, c.field)
		}
	}
}

func TestDiskActions(t *testing.T) {
	t.Parallel()
	all := []baadal.Action{baadal.ActionDiskAttach, baadal.ActionDiskDetach, baadal.ActionDiskDelete, baadal.ActionDiskGrow, baadal.ActionDiskLimit}
	for _, c := range []struct {
		disk  baadal.Disk
		codes [5]string
	}{
		{baadal.Disk{State: baadal.DiskAttached}, [5]string{"first_disk", "first_disk", "first_disk", "", ""}},
		{baadal.Disk{ID: 1, State: baadal.DiskCreating}, [5]string{"disk_creating", "disk_creating", "disk_creating", "disk_creating", "disk_creating"}},
		{baadal.Disk{ID: 1, State: baadal.DiskAttached}, [5]string{"disk_attached", "", "", "", ""}},
		{baadal.Disk{ID: 1, State: baadal.DiskDetached}, [5]string{"", "disk_detached", "", "", ""}},
		{baadal.Disk{ID: 1, State: baadal.DiskDeleted}, [5]string{"", "disk_deleted", "disk_deleted", "disk_deleted", "disk_deleted"}},
	} {
		for i, a := range all {
			if got := baadal.CodeOf(c.disk.CheckAction(a)); got != c.codes[i] {
				t.Errorf("%s of disk %d, %s: %q, want %q", a, c.disk.ID, c.disk.State, got, c.codes[i])
			}
		}
	}
}
