package baadal

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// SnapshotType says who wanted a snapshot, and so how long it stays.
type SnapshotType string

// The types of snapshots.
const (
	SnapshotUser    SnapshotType = "user" // a person's own; at most vm.snapshot_limit of a VM
	SnapshotDaily   SnapshotType = "daily"
	SnapshotWeekly  SnapshotType = "weekly"
	SnapshotMonthly SnapshotType = "monthly"
	SnapshotYearly  SnapshotType = "yearly"
	SnapshotSystem  SnapshotType = "system" // the cloud's own, or found on a host
)

// Snapshot is a VM as it was at one moment: its disks, its hardware, and its
// memory if it ran. The data lies in the VM's own images.
type Snapshot struct {
	ID          int64        `json:"id"`
	VMID        int64        `json:"vm_id"`
	Name        string       `json:"name" doc:"Unique within the VM."`
	Description string       `json:"description,omitempty"`
	Type        SnapshotType `json:"type" enum:"user,daily,weekly,monthly,yearly,system"`
	Ready       bool         `json:"ready" doc:"False while a task makes it."`
	Parent      string       `json:"parent,omitempty" doc:"Name of the snapshot it was made on."`
	Current     bool         `json:"current" doc:"What the VM writes now builds on it."`
	VMState     VMState      `json:"vm_state" enum:"running,paused,off" doc:"What a revert brings the VM to."`
	VCPUs       int          `json:"vcpus" doc:"Of the machine that a revert brings back."`
	RAMMiB      int          `json:"ram_mib"`
	DiskGiB     int          `json:"disk_gib"`
	CreatedAt   time.Time    `json:"created_at"`

	XML     string            `json:"-"` // libvirt's description
	Actions map[string]Access `json:"actions,omitempty"`
}

// SnapshotCreate is the wish for a snapshot.
type SnapshotCreate struct {
	Name        string `json:"name,omitempty" maxLength:"30" doc:"Letters, digits, dash, underscore, not digits alone; made from the time if empty."`
	Description string `json:"description,omitempty" maxLength:"512"`
}

// SnapshotSchedule says which snapshots of a VM are made by themselves.
type SnapshotSchedule struct {
	Daily   bool `json:"daily"`
	Weekly  bool `json:"weekly"`
	Monthly bool `json:"monthly"`
	Yearly  bool `json:"yearly"`
}

// SnapshotPeriod is one line of the schedule's table: what is wanted, how often
// and which setting says how many stay.
type SnapshotPeriod struct {
	Type   SnapshotType
	Every  time.Duration
	Keep   string // setting
	Wanted bool
}

// Periods returns the schedule, the most frequent first.
func (s SnapshotSchedule) Periods() []SnapshotPeriod {
	const day = 24 * time.Hour
	return []SnapshotPeriod{
		{SnapshotDaily, day, SettingKeepDaily, s.Daily},
		{SnapshotWeekly, 7 * day, SettingKeepWeekly, s.Weekly},
		{SnapshotMonthly, 30 * day, SettingKeepMonthly, s.Monthly},
		{SnapshotYearly, 365 * day, SettingKeepYearly, s.Yearly},
	}
}

// DomainSnapshot is an internal snapshot of a domain as its host knows it. Its
// data lies in the domain's images; the host keeps no more than this of it.
type DomainSnapshot struct {
	Name      string
	Parent    string // name of the snapshot it was made on; empty for a root
	Current   bool   // what is written now builds on this one
	State     VMState
	XML       string // all of it, secrets included: enough to define it again
	CreatedAt time.Time
}

var digitsRE = regexp.MustCompile(`^[0-9]+$`)

// Validate checks the wish by itself. A name of digits alone is refused: QEMU
// would take it for another snapshot's number.
func (c *SnapshotCreate) Validate() error {
	if c.Name == "" {
		return nil
	}
	if err := CheckName("name", c.Name); err != nil {
		return err
	}
	if digitsRE.MatchString(c.Name) {
		return Errorf(Invalid, "snapshot name %q is not usable", c.Name).WithCode("bad_name").WithField("name").
			WithDetail("it must not be a number alone")
	}
	return nil
}

// SnapshotName makes a name from type and time, to the second.
func SnapshotName(t SnapshotType, at time.Time) string {
	return fmt.Sprintf("%s-%s", t, at.UTC().Format("20060102-150405"))
}

// Hardware tells in words which machine a revert would bring back; empty if it
// is the one that the VM is now.
func (s *Snapshot) Hardware(vm *VM) string {
	var diff []string
	add := func(then, now int, unit string) {
		if then != now {
			diff = append(diff, fmt.Sprintf("%d %s instead of %d", then, unit, now))
		}
	}
	add(s.VCPUs, vm.VCPUs, "vCPUs")
	add(s.RAMMiB, vm.RAMMiB, "MiB of memory")
	add(s.DiskGiB, vm.DiskGiB, "GiB of disk")
	return strings.Join(diff, ", ")
}

// ParentsFirst puts snapshots into an order in which none comes before its
// parent; among siblings by time. Ones whose parent is not there are roots.
func ParentsFirst(all []Snapshot) []Snapshot {
	sorted := slices.SortedStableFunc(slices.Values(all), func(a, b Snapshot) int { return a.CreatedAt.Compare(b.CreatedAt) })
	known := map[string]bool{}
	for _, s := range sorted {
		known[s.Name] = true
	}
	out := make([]Snapshot, 0, len(sorted))
	var walk func(parent string)
	walk = func(parent string) {
		for _, s := range sorted {
			if s.Name != parent && (s.Parent == parent || parent == "" && !known[s.Parent]) {
				out = append(out, s)
				walk(s.Name)
			}
		}
	}
	walk("")
	return out
}
