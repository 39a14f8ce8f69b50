package baadal

import (
	"path"
	"strconv"
	"time"
)

// The kinds of backups.
const (
	BackupFull        = "full"        // stands on nothing
	BackupIncremental = "incremental" // what was written since another backup, on which it stands
)

// The states of a backup.
const (
	BackupMaking  = "making"
	BackupReady   = "ready"
	BackupDamaged = "damaged" // a verification found a file spoiled or missing
)

// BackupType says who wanted a backup, and so how long it stays.
type BackupType string

// The types of backups.
const (
	BackupUser    BackupType = "user" // a person's own; at most backup.limit of a VM
	BackupDaily   BackupType = "daily"
	BackupWeekly  BackupType = "weekly"
	BackupMonthly BackupType = "monthly"
)

// Backup is a copy of all disks of a VM as they were at one moment, with what
// is needed to make the VM anew. It does not go with its VM.
type Backup struct {
	ID             int64         `json:"id"`
	UUID           string        `json:"uuid" doc:"Name of its folder in vm_backups."`
	Generation     int64         `json:"generation"`
	VMID           int64         `json:"vm_id,omitempty" doc:"0 when the VM is gone for good."`
	VM             string        `json:"vm" doc:"The VM's name at the time."`
	OwnerID        int64         `json:"owner_id"`
	Owner          string        `json:"owner"`
	OrganisationID int64         `json:"organisation_id"`
	DatastoreID    int64         `json:"datastore_id"`
	Datastore      string        `json:"datastore"`
	Kind           string        `json:"kind" enum:"full,incremental"`
	Type           BackupType    `json:"type" enum:"user,daily,weekly,monthly"`
	State          string        `json:"state" enum:"making,ready,damaged"`
	Reason         string        `json:"reason,omitempty" doc:"Why it is full though an increment was asked for, or what is damaged."`
	ParentID       int64         `json:"parent_id,omitempty" doc:"The backup that an increment stands on."`
	Standing       int           `json:"standing" doc:"Increments that stand on it."`
	ClaimGiB       int           `json:"-"` // what it may come to need, while it is made
	Bytes          int64         `json:"bytes" doc:"Of its files."`
	Machine        BackupMachine `json:"machine" doc:"The VM as it was."`
	Files          []BackupFile  `json:"files"`
	CreatedAt      time.Time     `json:"created_at"`
	UpdatedAt      time.Time     `json:"updated_at"`
	VerifiedAt     *time.Time    `json:"verified_at,omitempty" doc:"When its files were last read and found right."`
	GoneAt         *time.Time    `json:"gone_at,omitempty" doc:"When its VM was found to be gone for good; it follows after backup.retention."`

	TemplateID int64 `json:"-"` // what the VM came from; 0 if that is gone

	Task    *TaskRef          `json:"task,omitempty" doc:"The task that holds it now."`
	Actions map[string]Access `json:"actions,omitempty"`
}

// BackupMachine is the VM that a backup is of, as it was.
type BackupMachine struct {
	UUID     string       `json:"uuid"`
	Identity string       `json:"identity"`
	State    VMState      `json:"state" enum:"running,paused,off,crashed" doc:"What it was doing: a running one is restored as after a power cut."`
	VCPUs    int          `json:"vcpus"`
	RAMMiB   int          `json:"ram_mib"`
	Template string       `json:"template"`
	Network  string       `json:"network"`
	Networks []string     `json:"networks,omitempty" doc:"Of its NICs beside the first one."`
	Purpose  string       `json:"purpose,omitempty"`
	SSHKeys  []string     `json:"ssh_keys,omitempty"`
	Disks    []BackupDisk `json:"disks"`

	SecGroupIDs []int64 `json:"secgroup_ids,omitempty" doc:"Its security groups; a VM made of the backup has those that the VM has now, or, when that is gone, these."`
}

// BackupDisk is one disk of the VM that a backup is of.
type BackupDisk struct {
	ID             int64  `json:"id" doc:"0 for the first disk."`
	Target         string `json:"target"`
	SizeGiB        int    `json:"size_gib"`
	File           string `json:"file" doc:"In the backup's folder."`
	BytesPerSecond int64  `json:"bytes_per_second,omitempty"`
	IOPS           int64  `json:"iops,omitempty"`
}

// BackupFile is a file of a backup as it was when the backup was made.
type BackupFile struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes" doc:"Its length."`
	SHA256 string `json:"sha256"`
}

// GiB is the virtual size of all disks in a backup together.
func (m *BackupMachine) GiB() (n int) {
	for _, d := range m.Disks {
		n += d.SizeGiB
	}
	return n
}

// BackupDiskFile is the name that a disk has in a backup.
func BackupDiskFile(diskID int64) string { return "disk" + strconv.FormatInt(diskID, 10) + ".qcow2" }

// Checkpoint is what the domain's checkpoint is called that begins with the
// backup, and the bitmaps in its disks.
func (b *Backup) Checkpoint() string { return CheckpointPrefix + b.UUID[:8] }

// CheckpointPrefix begins the names of our checkpoints and bitmaps.
const CheckpointPrefix = "baadal-"

// DirBackups holds the backups below a datastore's mount point.
const DirBackups = "vm_backups"

// BackupDir returns the folder of a backup.
func (d *Datastore) BackupDir(uuid string) string { return path.Join(d.Path, DirBackups, uuid) }

// BackupPart returns the folder of a backup while it is made.
func (d *Datastore) BackupPart(uuid string) string {
	return path.Join(d.Path, DirBackups, "."+uuid+".part")
}

// BackupCreate is the wish for a backup.
type BackupCreate struct {
	Incremental bool   `json:"incremental,omitempty" doc:"Only what was written since the last backup that was asked for like this; a full one where that cannot be."`
	Datastore   string `json:"datastore,omitempty" doc:"Name or id; that of the setting backup.datastore, or else the VM's own, if empty."`
}

// BackupRestore is the wish for a new VM from a backup.
type BackupRestore struct {
	As       string `json:"as" minLength:"1" maxLength:"30" doc:"Name of the new VM."`
	Network  string `json:"network,omitempty" doc:"Name or id; the one that the VM had if empty."`
	Template string `json:"template,omitempty" doc:"Name or id of the template that it counts as coming from, if the VM's own is gone."`
	Start    bool   `json:"start,omitempty" doc:"Start it afterwards."`
}

// Validate checks the wish by itself.
func (r *BackupRestore) Validate() error { return CheckName("as", r.As) }

// BackupSchedule says which backups of a VM are made by themselves.
type BackupSchedule struct {
	Every       BackupType `json:"every" enum:"never,daily,weekly,monthly"`
	Incremental bool       `json:"incremental" doc:"Increments where that can be, with a full one after every backup.full_every of them."`
	Keep        int        `json:"keep" minimum:"1" maximum:"1000" doc:"How many of these stay, the newest ones. What others stand on stays with them."`
	Datastore   string     `json:"datastore,omitempty" doc:"Name; that of the setting backup.datastore, or else the VM's own, if empty."`
}

// BackupNever is the schedule of a VM that has none.
const BackupNever BackupType = "never"

// Period returns how often a scheduled backup is wanted; 0 for never.
func (s *BackupSchedule) Period() time.Duration {
	const day = 24 * time.Hour
	switch s.Every {
	case BackupDaily:
		return day
	case BackupWeekly:
		return 7 * day
	case BackupMonthly:
		return 30 * day
	case BackupNever, BackupUser:
	}
	return 0
}

// Validate checks the schedule by itself.
func (s *BackupSchedule) Validate() error {
	if s.Every != BackupNever && s.Period() == 0 {
		return Errorf(Invalid, "%q is no period of backups", s.Every).WithField("every").WithDetail("never, daily, weekly and monthly are")
	}
	if s.Keep < 1 || s.Keep > 1000 {
		return Errorf(Invalid, "%d backups cannot be kept", s.Keep).WithField("keep").WithDetail("1 to 1000 can")
	}
	return nil
}

// CheckAction says whether an action is possible in the backup's present state;
// it does not look at who asks.
func (b *Backup) CheckAction(a Action) error {
	switch {
	case b.Task != nil:
		return Errorf(Conflict, "backup %d is held by task %d (%s)", b.ID, b.Task.ID, b.Task.Kind).WithCode("busy").WithTask(b.Task.ID).
			WithNext("Wait for it", "baadal task wait "+strconv.FormatInt(b.Task.ID, 10))
	case b.State == BackupMaking:
		return Errorf(Conflict, "backup %d is still being made", b.ID).WithCode("backup_not_ready")
	case (a == ActionBackupRestore || a == ActionBackupReplace) && b.State == BackupDamaged:
		return Errorf(Conflict, "backup %d is damaged", b.ID).WithCode("backup_damaged").WithDetail("%s", b.Reason).
			WithNext("See whether it still is", "baadal backup verify "+strconv.FormatInt(b.ID, 10))
	case a == ActionBackupDelete && b.Standing > 0:
		return Errorf(Conflict, "backup %d is needed: increments stand on it", b.ID).WithCode("backup_needed").
			WithDetail("%d of them, which hold nothing without it", b.Standing).WithNext("Delete them first, the newest first", "baadal backup list --vm "+b.VM)
	}
	return nil
}

// BackupJob says which disks of a running domain are copied where.
type BackupJob struct {
	Disks      []BackupTarget
	Since      string // checkpoint: only what was written since; empty for all
	Checkpoint string // one that begins with the copy; empty for none
}

// BackupTarget is one disk of a BackupJob.
type BackupTarget struct {
	Target string // vda, vdb …
	File   string // absolute path of the copy
}
