package baadal

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// VMState is what is known of a VM. The numbers -1 to 4 are the specification's.
type VMState int

// The states of a VM.
const (
	VMMissing  VMState = -2 // its host answers and does not know its domain
	VMUnknown  VMState = -1 // its creation failed and is not yet undone, or nothing is known
	VMInQueue  VMState = 1  // a task creates it
	VMRunning  VMState = 2
	VMPaused   VMState = 3 // SUSPENDED in the specification
	VMOff      VMState = 4 // SHUTDOWN in the specification
	VMDeleted  VMState = 5 // its disks lie in vm_deleted; restorable until PurgeAfter
	VMCrashed  VMState = 6 // libvirt says crashed; it can be started again
	vmStateEnd         = 7
)

var vmStateNames = map[VMState]string{
	VMMissing: "missing", VMUnknown: "unknown", VMInQueue: "creating", VMRunning: "running",
	VMPaused: "paused", VMOff: "off", VMDeleted: "deleted", VMCrashed: "crashed",
}

// VMStates lists the states in a fixed order, for facets and documentation.
func VMStates() []VMState {
	return []VMState{VMRunning, VMOff, VMPaused, VMInQueue, VMMissing, VMUnknown, VMCrashed, VMDeleted}
}

func (s VMState) String() string { return nameOf(vmStateNames, s) }

// MarshalText writes the state's name.
func (s VMState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a state's name.
func (s *VMState) UnmarshalText(b []byte) (err error) {
	*s, err = valueOf(vmStateNames, "vm state", string(b))
	return err
}

// VM is a virtual machine: its row in the store, its JSON in the API.
type VM struct {
	ID         int64  `json:"id"`
	UUID       string `json:"uuid" doc:"The libvirt domain's UUID."`
	Name       string `json:"name"`
	Identity   string `json:"identity" doc:"ORG_owner_name: the domain's and the folder's name."`
	Generation int64  `json:"generation" doc:"Rises with every change; the ETag."`

	OwnerID        int64  `json:"owner_id"`
	Owner          string `json:"owner" doc:"Username of the owner."`
	OrganisationID int64  `json:"organisation_id"`
	Organisation   string `json:"organisation"`
	RequesterID    int64  `json:"requester_id"`

	HostID      int64  `json:"host_id"`
	Host        string `json:"host"`
	DatastoreID int64  `json:"datastore_id"`
	Datastore   string `json:"datastore"`
	TemplateID  int64  `json:"template_id"`
	Template    string `json:"template"`
	NetworkID   int64  `json:"network_id"`
	Network     string `json:"network" doc:"The security domain."`
	VLAN        int    `json:"vlan"`
	Address     string `json:"address" doc:"Private IPv4 address; empty once it was given back."`
	MAC         string `json:"mac"`
	IPv6        string `json:"ipv6_address,omitempty" doc:"Its IPv6 address, if its network has an IPv6 prefix: it follows from that and the MAC."`
	DNSName     string `json:"dns_name,omitempty" doc:"Its name in the cloud's name service, if there is one."`
	Public      string `json:"public_address,omitempty" doc:"Its own address on the outside, given by the NAT box."`

	BaseID   int64  `json:"base_id,omitempty" doc:"The frozen disk that its own stands on together with its clones or its parent."`
	DiskFile string `json:"-"` // name of its first disk, when that is not the identity's

	VCPUs      int  `json:"vcpus"`
	RAMMiB     int  `json:"ram_mib"`
	LiveVCPUs  int  `json:"live_vcpus,omitempty" doc:"How many it runs with, where vcpus holds only from its next cold start on."`
	LiveRAMMiB int  `json:"live_ram_mib,omitempty" doc:"Memory that it was started with, MiB, where ram_mib holds only from its next cold start on. The larger of both is claimed."`
	MaxRAMMiB  int  `json:"max_ram_mib,omitempty" doc:"Memory that it can be given while it runs, from its next cold start on, MiB; not claimed until it is given. None: no more than it was started with."`
	HotCPUs    bool `json:"hot_cpus,omitempty" doc:"vCPUs were added while it runs: no snapshot with memory until its next cold start."`

	DiskGiB int `json:"disk_gib" doc:"Virtual size of the first disk, GiB."`

	Boot      []BootDevice `json:"boot" doc:"What it boots from, the first choice first; in force from its next cold start on."`
	Autostart Autostart    `json:"autostart" enum:"last,always,never" doc:"What becomes of it when its host comes back after having been off."`
	CDROMID   int64        `json:"cdrom_id,omitempty"`
	CDROM     string       `json:"cdrom,omitempty" doc:"The CD image in its drive."`

	VNCPort int `json:"vnc_port" doc:"The VM's own port for VNC clients; claimed, unique in the cloud."`

	State      VMState    `json:"state" enum:"running,off,paused,creating,missing,unknown,crashed,deleted"`
	Reason     string     `json:"reason,omitempty" doc:"Why the state is what it is, when that is not obvious."`
	StateSince time.Time  `json:"state_since"`
	Reachable  bool       `json:"reachable" doc:"False while its host does not answer: the state is then the last one seen."`
	AnsweredAt *time.Time `json:"answered_at,omitempty" doc:"When its address first answered after the last start."`
	Placement  string     `json:"placement,omitempty" doc:"Why it runs where it runs."`
	Purpose    string     `json:"purpose,omitempty"`
	SSHKeys    []string   `json:"ssh_keys,omitempty"`

	CreatedAt  time.Time  `json:"created_at"`
	UpdatedAt  time.Time  `json:"updated_at"`
	DeletedAt  *time.Time `json:"deleted_at,omitempty"`
	PurgeAfter *time.Time `json:"purge_after,omitempty" doc:"A deleted VM can be restored until then."`

	// Shown of one VM, not in lists.
	NICs      []NIC    `json:"nics,omitempty" doc:"Its network interfaces, the first one, whose network, address and MAC are above, too. Not in lists."`
	Hosts     []string `json:"hosts,omitempty" doc:"Hosts that it may run on; any if there are none. Not in lists."`
	Affinity  []string `json:"affinity,omitempty" doc:"Groups that keep it together with other VMs or apart from them. Not in lists."`
	SecGroups []string `json:"secgroups,omitempty" doc:"Its security groups; without any it has no firewall. Not in lists."`
	Broken    []string `json:"broken_rules,omitempty" doc:"Which of these rules its place breaks, because they were changed later. Not in lists."`

	Task    *TaskRef          `json:"task,omitempty" doc:"The task that holds the VM now."`
	Actions map[string]Access `json:"actions,omitempty" doc:"What can be done with it now, and if not, why not."`
}

// TaskRef is a task as another resource shows it.
type TaskRef struct {
	ID       int64     `json:"id"`
	Kind     TaskKind  `json:"kind"`
	State    TaskState `json:"state" enum:"pending,processing,success,failed,retry,ignore,partial_success"`
	Step     string    `json:"step,omitempty"`
	Progress int       `json:"progress"`
}

// Access says whether an action is allowed now and, if not, why and what to do.
type Access struct {
	Allowed bool    `json:"allowed"`
	Code    string  `json:"code,omitempty"`
	Reason  string  `json:"reason,omitempty"`
	Next    []Offer `json:"next,omitempty"`
}

// VMCreate is the wish for a new VM.
type VMCreate struct {
	Name      string   `json:"name" minLength:"1" maxLength:"30" doc:"Letters, digits, dash, underscore; starts with a letter or digit."`
	Template  string   `json:"template" doc:"Name or id of the template."`
	Network   string   `json:"network,omitempty" doc:"Name or id; the only network if there is one."`
	Networks  []string `json:"networks,omitempty" maxItems:"7" doc:"Names or ids of further networks: a NIC each."`
	Datastore string   `json:"datastore,omitempty" doc:"Name or id; the best one if empty."`
	Host      string   `json:"host,omitempty" doc:"Name or id; the best one if empty."`
	Owner     string   `json:"owner,omitempty" doc:"Username of the owner; the caller if empty."`
	VCPUs     int      `json:"vcpus,omitempty" minimum:"0" maximum:"64" doc:"1 if not given."`
	RAMMiB    int      `json:"ram_mib,omitempty" minimum:"0" maximum:"1048576" doc:"MiB; 512 if not given."`
	DiskGiB   int      `json:"disk_gib,omitempty" minimum:"0" maximum:"16384" doc:"GiB; the template's size if not given; never smaller."`
	FullCopy  bool     `json:"full_copy,omitempty" doc:"Copy the template instead of a thin overlay on it."`
	SSHKeys   []string `json:"ssh_keys,omitempty" maxItems:"20" doc:"authorized_keys lines; the owner's keys if empty."`
	Purpose   string   `json:"purpose,omitempty" maxLength:"512"`
	Hosts     []string `json:"hosts,omitempty" maxItems:"100" doc:"Names or ids of the hosts that it may ever run on; any if empty."`
	Affinity  []string `json:"affinity,omitempty" maxItems:"20" doc:"Names or ids of affinity groups that it becomes a member of."`
	Public    bool     `json:"public,omitempty" doc:"Give it a public address of its own."`
	SecGroups []string `json:"secgroups,omitempty" maxItems:"20" doc:"Names or ids of its security groups; no firewall if empty."`
}

// Limits of a VM, from the specification's tables.
const (
	MinRAMMiB  = 64
	MaxVCPUs   = 64
	MaxNameLen = 30
)

var nameRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,29}$`)

// CheckName refuses names that are not 1 to 30 letters, digits, dashes and
// underscores starting with a letter or digit (the specification's rule).
func CheckName(field, name string) error {
	if !nameRE.MatchString(name) {
		return Errorf(Invalid, "%s %q is not usable", field, name).WithCode("bad_name").WithField(field).
			WithDetail("use 1 to 30 letters, digits, dashes or underscores, starting with a letter or digit")
	}
	return nil
}

// Validate checks the wish by itself, without looking at the cloud, and fills
// in the defaults for size.
func (c *VMCreate) Validate() error {
	if err := CheckName("name", c.Name); err != nil {
		return err
	}
	if c.Template == "" {
		return Errorf(Invalid, "no template given").WithField("template").WithNext("See the templates", "baadal template list")
	}
	if c.VCPUs == 0 {
		c.VCPUs = 1
	}
	if c.RAMMiB == 0 {
		c.RAMMiB = 512
	}
	if c.VCPUs < 1 || c.VCPUs > MaxVCPUs {
		return Errorf(Invalid, "%d vCPUs is out of range", c.VCPUs).WithField("vcpus").WithDetail("1 to %d are possible", MaxVCPUs)
	}
	if c.RAMMiB < MinRAMMiB {
		return Errorf(Invalid, "%d MiB of memory is too little", c.RAMMiB).WithField("ram_mib").WithDetail("the least is %d MiB", MinRAMMiB)
	}
	if c.DiskGiB < 0 {
		return Errorf(Invalid, "a disk of %d GiB is not possible", c.DiskGiB).WithField("disk_gib")
	}
	for _, k := range c.SSHKeys {
		if err := CheckSSHKey(k); err != nil {
			return err
		}
	}
	return nil
}

var sshKeyRE = regexp.MustCompile(`^(ssh-(rsa|ed25519|dss)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com) [A-Za-z0-9+/]+={0,3}( [^\x00-\x1f\x7f]*)?$`)

// CheckSSHKey refuses what is not one authorized_keys line without options.
func CheckSSHKey(line string) error {
	if !sshKeyRE.MatchString(line) {
		return Errorf(Invalid, "that is not an SSH public key").WithCode("bad_ssh_key").WithField("ssh_keys").
			WithDetail("one line as in ~/.ssh/id_ed25519.pub, without options")
	}
	return nil
}

var identityBad = regexp.MustCompile(`[^A-Za-z0-9-]+`)

// Identity returns ORG_owner_name, the name of the domain and of its folder.
// Characters that do not belong in a file name become dashes, so two identities
// may collide: the store keeps them unique.
func Identity(organisation, owner, name string) string {
	clean := func(s string) string { return strings.Trim(identityBad.ReplaceAllString(s, "-"), "-") }
	return fmt.Sprintf("%s_%s_%s", clean(organisation), clean(owner), name)
}

// vmTransitions is the table of power actions: in which states each is
// allowed. Everything else is refused with the reason from vmRefusal.
var vmTransitions = map[Action][]VMState{
	ActionVMStart:    {VMOff, VMCrashed},
	ActionVMShutdown: {VMRunning},
	ActionVMReboot:   {VMRunning},
	ActionVMDestroy:  {VMRunning, VMPaused, VMCrashed},
	ActionVMSuspend:  {VMRunning},
	ActionVMResume:   {VMPaused},
	ActionVMReset:    {VMRunning},
	ActionVMSave:     {VMRunning, VMPaused},
	ActionVMEdit:     {VMRunning, VMPaused, VMOff, VMCrashed},
	ActionVMDelete:   {VMRunning, VMPaused, VMOff, VMCrashed, VMMissing, VMUnknown},
	ActionVMRestore:  {VMDeleted},
	ActionVMMigrate:  {VMRunning, VMPaused, VMOff},
	ActionVMClone:    {VMRunning, VMPaused, VMOff},
	ActionVMMove:     {VMRunning, VMPaused, VMOff, VMCrashed},

	ActionVMSaveTemplate: {VMRunning, VMPaused, VMOff},
	ActionVMExport:       {VMRunning, VMPaused, VMOff},
	ActionVMFlatten:      {VMRunning, VMPaused, VMOff, VMCrashed},

	ActionSnapshotCreate: {VMRunning, VMPaused, VMOff, VMCrashed},
	ActionSnapshotRevert: {VMRunning, VMPaused, VMOff, VMCrashed},
	ActionSnapshotDelete: {VMRunning, VMPaused, VMOff, VMCrashed},

	ActionBackupCreate:  {VMRunning, VMPaused, VMOff, VMCrashed},
	ActionBackupReplace: {VMOff, VMCrashed},

	ActionDiskAdd:    {VMRunning, VMPaused, VMOff, VMCrashed},
	ActionDiskAttach: {VMRunning, VMPaused, VMOff, VMCrashed},
	ActionDiskDetach: {VMRunning, VMOff, VMCrashed}, // a paused guest cannot let go
	ActionDiskDelete: {VMRunning, VMOff, VMCrashed},
	ActionDiskGrow:   {VMRunning, VMPaused, VMOff, VMCrashed},
	ActionDiskLimit:  {VMRunning, VMPaused, VMOff, VMCrashed},

	ActionCDROMInsert: {VMRunning, VMPaused, VMOff, VMCrashed},
	ActionCDROMEject:  {VMRunning, VMPaused, VMOff, VMCrashed},

	ActionNICAdd:    {VMRunning, VMPaused, VMOff, VMCrashed},
	ActionNICChange: {VMRunning, VMPaused, VMOff, VMCrashed},
	ActionNICRemove: {VMRunning, VMOff, VMCrashed}, // a paused guest cannot let go
}

// VMActions lists the actions that a VM's state allows or forbids: all that
// change one.
func VMActions() []Action { return slices.Sorted(maps.Keys(vmTransitions)) }

// CheckAction says whether an action is possible in the VM's present state; it
// does not look at who asks. The messages for a state already reached are the
// specification's.
func (vm *VM) CheckAction(a Action) error {
	if vm.Task != nil {
		return Errorf(Conflict, "%s is held by task %d (%s)", vm.Name, vm.Task.ID, vm.Task.Kind).
			WithCode("vm_busy").WithTask(vm.Task.ID).
			WithDetail("step %q, %d %%", vm.Task.Step, vm.Task.Progress).
			WithNext("Wait for it", fmt.Sprintf("baadal task wait %d", vm.Task.ID))
	}
	states, ok := vmTransitions[a]
	if !ok {
		return nil
	}
	if words, refused := savedRefusals[a]; refused && vm.Saved() {
		return Errorf(Conflict, "%s is saved to disk: %s", vm.Name, words).WithCode("vm_saved").
			WithNext("Start it first", "baadal vm start "+vm.Name).WithNext("Give up what it was doing", "baadal vm destroy "+vm.Name)
	}
	// A saved VM can be destroyed: the only way out when what was saved cannot be restored.
	if slices.Contains(states, vm.State) || (a == ActionVMDestroy && vm.Saved()) {
		return nil
	}
	return vm.refusal(a)
}

// savedRefusals are the actions that a VM must not meet while its memory is on
// disk, and why: it goes on with what it had.
var savedRefusals = map[Action]string{
	ActionVMEdit:         "it goes on as it was when it starts",
	ActionVMMigrate:      "it can only go on where it is",
	ActionVMClone:        "its disks and its memory must not part",
	ActionVMMove:         "it goes on with the disks that it had",
	ActionVMSaveTemplate: "its disks and its memory must not part",
	ActionVMExport:       "its disks and its memory must not part",
	ActionVMFlatten:      "it goes on with the disks that it had",
	ActionSnapshotCreate: "its disks and its memory must not part",
	ActionSnapshotRevert: "its disks and its memory must not part",
	ActionBackupCreate:   "its disks and its memory must not part",
	ActionBackupReplace:  "its disks and its memory must not part",
	ActionDiskAdd:        "it goes on with the disks that it had",
	ActionDiskAttach:     "it goes on with the disks that it had",
	ActionDiskDetach:     "it goes on with the disks that it had",
	ActionDiskDelete:     "it goes on with the disks that it had",
	ActionDiskGrow:       "it goes on with the disks that it had",
	ActionDiskLimit:      "it goes on with the disks that it had",
	ActionCDROMInsert:    "it goes on with the drive as it was",
	ActionCDROMEject:     "it goes on with the drive as it was",
	ActionNICAdd:         "it goes on with the NICs that it had",
	ActionNICChange:      "it goes on with the NICs that it had",
	ActionNICRemove:      "it goes on with the NICs that it had",
}

// reasonSaved is the reason of a VM that is off with its memory on disk.
const reasonSaved = "saved"

// OffReason is the reason that goes with a VM that was seen off; what is saved
// is resumed by its next start.
func OffReason(saved bool) string {
	if saved {
		return reasonSaved
	}
	return ""
}

// Saved reports whether the VM is off with its memory on its host's disk. Its
// next start goes on from there, with the hardware that it had.
func (vm *VM) Saved() bool { return vm.State == VMOff && vm.Reason == reasonSaved }

func (vm *VM) refusal(a Action) error {
	switch {
	case a == ActionVMStart && vm.State == VMRunning:
		return Errorf(Conflict, "VM is already running. Check vm status on host.").WithCode("vm_running")
	case a == ActionVMSuspend && vm.State == VMPaused:
		return Errorf(Conflict, "VM is already paused. Check vm status on host.").WithCode("vm_paused")
	case a == ActionVMResume && vm.State == VMRunning:
		return Errorf(Conflict, "VM is already running. Check vm status on host.").WithCode("vm_running")
	case (a == ActionVMDestroy || a == ActionVMShutdown || a == ActionVMSave) && vm.State == VMOff:
		return Errorf(Conflict, "VM is already shutoff. Check vm status on host.").WithCode("vm_off")
	case vm.State == VMDeleted:
		return Errorf(Conflict, "%s is deleted", vm.Name).WithCode("vm_deleted").
			WithNext("Restore it first", "baadal vm restore "+vm.Name)
	case vm.State == VMMissing:
		return Errorf(Conflict, "%s is missing: host %s does not know its domain", vm.Name, vm.Host).WithCode("vm_missing").
			WithNext("Define it again from the store", "baadal audit --repair")
	}
	return Errorf(Conflict, "%s is %s: it cannot be %s now", vm.Name, vm.State, pastTense[a]).WithCode("vm_state")
}

var pastTense = map[Action]string{
	ActionVMStart: "started", ActionVMShutdown: "shut down", ActionVMReboot: "rebooted",
	ActionVMDestroy: "destroyed", ActionVMDelete: "deleted", ActionVMRestore: "restored", ActionVMMigrate: "migrated", ActionVMClone: "cloned", ActionVMMove: "moved", ActionVMFlatten: "flattened",
	ActionVMSuspend: "suspended", ActionVMResume: "resumed", ActionVMReset: "reset", ActionVMSave: "saved", ActionVMEdit: "edited",
	ActionSnapshotCreate: "snapshotted", ActionSnapshotRevert: "reverted", ActionSnapshotDelete: "parted from a snapshot",
	ActionBackupCreate: "backed up", ActionBackupReplace: "restored in place",
	ActionDiskAdd: "given a disk", ActionDiskAttach: "given a disk", ActionDiskDetach: "parted from a disk",
	ActionDiskDelete: "parted from a disk", ActionDiskGrow: "given a larger disk", ActionDiskLimit: "given limits",
	ActionVMSaveTemplate: "saved as a template", ActionVMExport: "exported",
	ActionCDROMInsert: "given a CD", ActionCDROMEject: "parted from a CD",
	ActionNICAdd: "given a NIC", ActionNICChange: "put into another network", ActionNICRemove: "parted from a NIC",
}
