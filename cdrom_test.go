package baadal_test

import (
	"slices"
	"testing"

	"baadal"
)

func TestCheckBoot(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		ok   bool
	}{
		{"", true}, // the default
		{"disk", true},
		{"cdrom,disk", true},
		{"network, cdrom, disk", true},
		{"disk,disk", false},
		{"floppy", false},
		{"disk,", false},
	} {
		order := baadal.ParseBoot(c.text)
		err := baadal.CheckBoot(order)
		if (err == nil) != c.ok {
			t.Errorf("%q: %v", c.text, err)
		}
		if err != nil && baadal.CodeOf(err) != "bad_boot" {
			t.Errorf("%q: code %q", c.text, baadal.CodeOf(err))
		}
		if again := baadal.ParseBoot(baadal.JoinBoot(order)); c.ok && !slices.Equal(again, order) {
			t.Errorf("%q: %v became %v", c.text, order, again)
		}
	}
	if baadal.CheckBoot(nil) == nil {
		t.Error("no device is a boot order")
	}
}

func TestCheckAutostart(t *testing.T) {
	t.Parallel()
	for _, a := range baadal.Autostarts() {
		if err := baadal.CheckAutostart(a); err != nil {
			t.Error(err)
		}
	}
	if baadal.CheckAutostart("sometimes") == nil || baadal.CheckAutostart("") == nil {
		t.Error("a policy that there is not passes")
	}
}

func TestCDROMNeedsARunningOrStoppedVM(t *testing.T) {
	t.Parallel()
	for state, ok := range map[baadal.VMState]bool{
		baadal.VMRunning: true, baadal.VMPaused: true, baadal.VMOff: true, baadal.VMMissing: false, baadal.VMDeleted: false, baadal.VMInQueue: false,
	} {
		vm := baadal.VM{Name: "web", State: state}
		if err := vm.CheckAction(baadal.ActionCDROMInsert); (err == nil) != ok {
			t.Errorf("insert into a VM that is %s: %v", state, err)
		}
	}
	vm := baadal.VM{Name: "web", State: baadal.VMOff, Reason: baadal.OffReason(true)}
	if err := vm.CheckAction(baadal.ActionCDROMEject); baadal.CodeOf(err) != "vm_saved" {
		t.Errorf("eject from a saved VM: %v", err)
	}
}
