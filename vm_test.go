package baadal_test

import (
	"encoding"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
)

// mustFail checks the kind, code and field of a refusal.
func mustFail(t *testing.T, err error, kind baadal.Kind, code, field string) {
	t.Helper()
	e, ok := err.(*baadal.Error) //nolint:errorlint // the nouns return their own error, not a chain
	if !ok {
		t.Errorf("got %v, want an error of kind %s", err, kind)
		return
	}
	if e.Kind != kind || e.Field != field || (code != "" && e.Code != code) {
		t.Errorf("got %v (kind %q, code %q, field %q), want kind %q, code %q, field %q", err, e.Kind, e.Code, e.Field, kind, code, field)
	}
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"a": true, "ml-test_2": true, "0day": true, "Web": true, strings.Repeat("x", 30): true,
		"": false, strings.Repeat("x", 31): false, "-rf": false, "_x": false, "a b": false, "a.b": false, "a/b": false, "..": false,
		"a\n": false, "a;reboot": false, "$(id)": false, "müller": false, "a\x00": false,
	} {
		err := baadal.CheckName("name", name)
		if ok && err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if !ok {
			mustFail(t, err, baadal.Invalid, "bad_name", "name")
		}
	}
}

const goodKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3pDSyJ8mTqyQ1xkWEeGm2A5d0qY1eBd1kW2r3l4n5o asha@desk"

func TestCheckSSHKey(t *testing.T) {
	t.Parallel()
	for _, key := range []string{
		goodKey, "ssh-rsa AAAAB3NzaC1yc2E=", "ecdsa-sha2-nistp256 AAAAE2Vj== Asha Rao", "sk-ssh-ed25519@openssh.com AAAAGnNr",
	} {
		if err := baadal.CheckSSHKey(key); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
	for _, key := range []string{
		"", "hello", "ssh-ed25519", "ssh-ed25519 ", "ssh-ed25519  AAAA", "ssh-ed25519 AAAA*", " " + goodKey, goodKey + "\n", goodKey + "\n" + goodKey,
		`command="reboot" ` + goodKey, "no-pty " + goodKey, "ssh-foo AAAA", "-----BEGIN OPENSSH PRIVATE KEY-----", goodKey + "\r", goodKey + "\x1b[31m",
	} {
		mustFail(t, baadal.CheckSSHKey(key), baadal.Invalid, "bad_ssh_key", "ssh_keys")
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ org, owner, name, want string }{
		{"IITD", "asha", "ml", "IITD_asha_ml"},
		{"IITD", "a.sharma", "my_vm-1", "IITD_a-sharma_my_vm-1"},
		{"IIT Delhi", "asha_r", "ml", "IIT-Delhi_asha-r_ml"},
		{"../etc", "a/../b", "ml", "etc_a-b_ml"},
		{"Zürich", "..asha..", "ml", "Z-rich_asha_ml"},
	} {
		if got := baadal.Identity(c.org, c.owner, c.name); got != c.want {
			t.Errorf("Identity(%q, %q, %q) = %q, want %q", c.org, c.owner, c.name, got, c.want)
		}
	}
}

func TestVMCreateValidate(t *testing.T) {
	t.Parallel()
	in := baadal.VMCreate{Name: "ml", Template: "debian"}
	if err := in.Validate(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(baadal.VMCreate{Name: "ml", Template: "debian", VCPUs: 1, RAMMiB: 512}, in); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	for _, c := range []struct {
		name  string
		spoil func(*baadal.VMCreate)
		field string // empty: it is fine
	}{
		{"largest", func(c *baadal.VMCreate) { c.VCPUs = baadal.MaxVCPUs }, ""},
		{"smallest", func(c *baadal.VMCreate) { c.RAMMiB = baadal.MinRAMMiB }, ""},
		{"with a key", func(c *baadal.VMCreate) { c.SSHKeys = []string{goodKey} }, ""},
		{"no name", func(c *baadal.VMCreate) { c.Name = "" }, "name"},
		{"bad name", func(c *baadal.VMCreate) { c.Name = "a b" }, "name"},
		{"no template", func(c *baadal.VMCreate) { c.Template = "" }, "template"},
		{"fewer than no CPUs", func(c *baadal.VMCreate) { c.VCPUs = -1 }, "vcpus"},
		{"too many CPUs", func(c *baadal.VMCreate) { c.VCPUs = baadal.MaxVCPUs + 1 }, "vcpus"},
		{"too little memory", func(c *baadal.VMCreate) { c.RAMMiB = baadal.MinRAMMiB - 1 }, "ram_mib"},
		{"negative memory", func(c *baadal.VMCreate) { c.RAMMiB = -512 }, "ram_mib"},
		{"negative disk", func(c *baadal.VMCreate) { c.DiskGiB = -1 }, "disk_gib"},
		{"second key is bad", func(c *baadal.VMCreate) { c.SSHKeys = []string{goodKey, "x"} }, "ssh_keys"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			in := baadal.VMCreate{Name: "ml", Template: "debian"}
			c.spoil(&in)
			err := in.Validate()
			if c.field == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			mustFail(t, err, baadal.Invalid, "", c.field)
		})
	}
}

// TestCheckAction is the whole table: what each power action meets in each
// state. A column that is "ok" is allowed, anything else is the code.
func TestCheckAction(t *testing.T) {
	t.Parallel()
	actions := []baadal.Action{
		baadal.ActionVMStart, baadal.ActionVMShutdown, baadal.ActionVMReboot, baadal.ActionVMDestroy, baadal.ActionVMDelete, baadal.ActionVMRestore,
		baadal.ActionVMSuspend, baadal.ActionVMResume, baadal.ActionVMReset, baadal.ActionVMSave, baadal.ActionVMEdit,
	}
	const golden = `
state     start       shutdown    reboot      destroy     delete      restore     suspend     resume      reset       save        edit
running   vm_running  ok          ok          ok          ok          vm_state    ok          vm_running  ok          ok          ok
off       ok          vm_off      vm_state    vm_off      ok          vm_state    vm_state    vm_state    vm_state    vm_off      ok
paused    vm_state    vm_state    vm_state    ok          ok          vm_state    vm_paused   ok          vm_state    ok          ok
creating  vm_state    vm_state    vm_state    vm_state    vm_state    vm_state    vm_state    vm_state    vm_state    vm_state    vm_state
missing   vm_missing  vm_missing  vm_missing  vm_missing  ok          vm_missing  vm_missing  vm_missing  vm_missing  vm_missing  vm_missing
unknown   vm_state    vm_state    vm_state    vm_state    ok          vm_state    vm_state    vm_state    vm_state    vm_state    vm_state
crashed   ok          vm_state    vm_state    ok          ok          vm_state    vm_state    vm_state    vm_state    vm_state    ok
deleted   vm_deleted  vm_deleted  vm_deleted  vm_deleted  vm_deleted  ok          vm_deleted  vm_deleted  vm_deleted  vm_deleted  vm_deleted
`
	var got strings.Builder
	fmt.Fprintf(&got, "\n%-10s", "state")
	for i, a := range actions {
		fmt.Fprintf(&got, "%-*s", width(i, len(actions)), strings.TrimPrefix(string(a), "vm."))
	}
	got.WriteByte('\n')
	for _, state := range baadal.VMStates() {
		fmt.Fprintf(&got, "%-10s", state)
		for i, a := range actions {
			vm := baadal.VM{Name: "ml", Host: "h1", State: state}
			code := "ok"
			if err := vm.CheckAction(a); err != nil {
				code = baadal.CodeOf(err)
				if baadal.KindOf(err) != baadal.Conflict {
					t.Errorf("%s of a VM that is %s: kind %s", a, state, baadal.KindOf(err))
				}
				if strings.Contains(err.Error(), "%!") || strings.Contains(err.Error(), "be  now") {
					t.Errorf("%s of a VM that is %s: broken words %q", a, state, err)
				}
			}
			fmt.Fprintf(&got, "%-*s", width(i, len(actions)), code)
		}
		got.WriteByte('\n')
	}
	if diff := cmp.Diff(golden, got.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func width(i, n int) int {
	if i == n-1 {
		return 0
	}
	return 12
}

// TestCheckActionWords keeps the specification's messages.
func TestCheckActionWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		state  baadal.VMState
		action baadal.Action
		want   string
	}{
		{baadal.VMRunning, baadal.ActionVMStart, "VM is already running. Check vm status on host."},
		{baadal.VMOff, baadal.ActionVMDestroy, "VM is already shutoff. Check vm status on host."},
		{baadal.VMOff, baadal.ActionVMShutdown, "VM is already shutoff. Check vm status on host."},
		{baadal.VMPaused, baadal.ActionVMSuspend, "VM is already paused. Check vm status on host."},
		{baadal.VMRunning, baadal.ActionVMResume, "VM is already running. Check vm status on host."},
		{baadal.VMOff, baadal.ActionVMSave, "VM is already shutoff. Check vm status on host."},
		{baadal.VMPaused, baadal.ActionVMReboot, "ml is paused: it cannot be rebooted now"},
		{baadal.VMMissing, baadal.ActionVMStart, "ml is missing: host h1 does not know its domain"},
		{baadal.VMDeleted, baadal.ActionVMStart, "ml is deleted"},
	} {
		vm := baadal.VM{Name: "ml", Host: "h1", State: c.state}
		if got := baadal.Message(vm.CheckAction(c.action)); got != c.want {
			t.Errorf("%s while %s: %q, want %q", c.action, c.state, got, c.want)
		}
	}
}

// TestSavedVM: a VM whose memory is on disk can be started, given up or deleted.
func TestSavedVM(t *testing.T) {
	t.Parallel()
	vm := baadal.VM{Name: "ml", Host: "h1", State: baadal.VMOff, Reason: baadal.OffReason(true)}
	for a, want := range map[baadal.Action]string{
		baadal.ActionVMStart: "", baadal.ActionVMDestroy: "", baadal.ActionVMDelete: "", baadal.ActionVMSave: "vm_off",
		baadal.ActionVMEdit: "vm_saved", baadal.ActionVMMigrate: "vm_saved", baadal.ActionVMClone: "vm_saved", baadal.ActionDiskAdd: "vm_saved",
		baadal.ActionDiskGrow: "vm_saved", baadal.ActionSnapshotCreate: "vm_saved", baadal.ActionSnapshotRevert: "vm_saved",
	} {
		if got := baadal.CodeOf(vm.CheckAction(a)); got != want {
			t.Errorf("%s of a saved VM: %q, want %q", a, got, want)
		}
	}
	running := baadal.VM{State: baadal.VMRunning, Reason: baadal.OffReason(true)}
	if !vm.Saved() || running.Saved() {
		t.Error("only a VM that is off is saved")
	}
}

func TestCheckActionOfHeldVM(t *testing.T) {
	t.Parallel()
	for _, state := range baadal.VMStates() {
		vm := baadal.VM{Name: "ml", State: state, Task: &baadal.TaskRef{ID: 7, Kind: baadal.TaskVMStart, Step: "start", Progress: 40}}
		err := vm.CheckAction(baadal.ActionVMDelete)
		mustFail(t, err, baadal.Conflict, "vm_busy", "")
		if e, ok := err.(*baadal.Error); ok && (e.TaskID != 7 || !strings.Contains(e.Error(), `step "start", 40 %`)) { //nolint:errorlint // as above
			t.Errorf("%s: the task in the way is not named: %+v", state, e)
		}
	}
	vm := baadal.VM{Name: "ml", State: baadal.VMDeleted}
	if err := vm.CheckAction(baadal.ActionVMRead); err != nil {
		t.Errorf("looking is no power action: %v", err)
	}
}

// roundTrip checks that every state has a name of its own that reads back.
func roundTrip[T interface {
	comparable
	fmt.Stringer
	encoding.TextMarshaler
}](t *testing.T, states []T, read func(string) (T, error)) {
	t.Helper()
	seen := map[string]bool{}
	for _, s := range states {
		text, err := s.MarshalText()
		if err != nil || string(text) != s.String() || strings.HasPrefix(s.String(), "state ") || seen[s.String()] {
			t.Errorf("%v: text %q, %v", s, text, err)
		}
		seen[s.String()] = true
		if back, err := read(string(text)); err != nil || back != s {
			t.Errorf("%q reads back as %v, %v", text, back, err)
		}
	}
	if _, err := read("no such state"); baadal.KindOf(err) != baadal.Invalid {
		t.Errorf("an unknown name: %v", err)
	}
}

func TestStatesRoundTrip(t *testing.T) {
	t.Parallel()
	roundTrip(t, baadal.VMStates(), func(s string) (v baadal.VMState, err error) { return v, v.UnmarshalText([]byte(s)) })
	roundTrip(t, baadal.TaskStates(), func(s string) (v baadal.TaskState, err error) { return v, v.UnmarshalText([]byte(s)) })
	roundTrip(t, []baadal.HostState{baadal.HostDown, baadal.HostUp, baadal.HostMaintenance},
		func(s string) (v baadal.HostState, err error) { return v, v.UnmarshalText([]byte(s)) })
	if got := baadal.VMState(42).String(); got != "state 42" {
		t.Errorf("an unknown number is shown as %q", got)
	}
}

// TestStateNumbers keeps the specification's numbers, which live in databases.
func TestStateNumbers(t *testing.T) {
	t.Parallel()
	want := map[string]int{
		"vm missing": -2, "vm unknown": -1, "vm creating": 1, "vm running": 2, "vm paused": 3, "vm off": 4, "vm deleted": 5, "vm crashed": 6,
		"task pending": 1, "task processing": 2, "task success": 3, "task failed": 4, "task retry": 5, "task ignore": 6, "task partial_success": 7,
		"host down": 0, "host up": 1, "host maintenance": 2,
	}
	got := map[string]int{}
	for _, s := range baadal.VMStates() {
		got["vm "+s.String()] = int(s)
	}
	for _, s := range baadal.TaskStates() {
		got["task "+s.String()] = int(s)
	}
	for _, s := range []baadal.HostState{baadal.HostDown, baadal.HostUp, baadal.HostMaintenance} {
		got["host "+s.String()] = int(s)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("numbers (-want +got):\n%s", diff)
	}
}
