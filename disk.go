package baadal

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
)

// The states of a disk. A disk of a deleted VM keeps the state it had.
const (
	DiskCreating = "creating" // a task makes it, or its making failed and is not yet undone
	DiskAttached = "attached"
	DiskDetached = "detached" // its file is there; its VM does not have it
	DiskDeleted  = "deleted"  // its file lies in vm_deleted; it can be attached again until PurgeAfter
)

// FirstTarget is where a VM's first disk is; it lies in vm_images and lives and
// dies with the VM.
const FirstTarget = "vda"

// MaxDiskGiB is the largest disk.
const MaxDiskGiB = 16384

// MaxExtraDisks is how many disks a VM can have beside its first one: vdb to vdz.
const MaxExtraDisks = 25

// Disk is one disk of a VM: the first one, whose id is 0, or an extra one.
type Disk struct {
	ID             int64             `json:"id" doc:"0 for the first disk."`
	VMID           int64             `json:"vm_id"`
	VM             string            `json:"vm"`
	Name           string            `json:"name" doc:"Of its file, when it was made."`
	Generation     int64             `json:"generation"`
	Target         string            `json:"target,omitempty" doc:"Where the guest has it: vda, vdb …; empty while it is not attached."`
	Serial         string            `json:"serial,omitempty" doc:"By which the guest knows it for sure: /dev/disk/by-id/virtio-SERIAL."`
	DatastoreID    int64             `json:"datastore_id"`
	Datastore      string            `json:"datastore"`
	SizeGiB        int               `json:"size_gib" doc:"What the guest sees, GiB."`
	UsedBytes      int64             `json:"used_bytes" doc:"What its file occupied when it was measured last."`
	MeasuredAt     *time.Time        `json:"measured_at,omitempty"`
	State          string            `json:"state" enum:"creating,attached,detached,deleted"`
	BytesPerSecond int64             `json:"bytes_per_second" doc:"Limit of reading and writing together; 0 is none."`
	IOPS           int64             `json:"iops" doc:"Limit of operations a second; 0 is none."`
	CreatedAt      time.Time         `json:"created_at"`
	UpdatedAt      time.Time         `json:"updated_at"`
	DeletedAt      *time.Time        `json:"deleted_at,omitempty"`
	PurgeAfter     *time.Time        `json:"purge_after,omitempty" doc:"A deleted disk can be attached again until then."`
	Actions        map[string]Access `json:"actions,omitempty"`

	BaseID int64  `json:"-"` // the base that an extra disk stands on; 0 for none
	File   string `json:"-"` // name of its file, where that is not Name any more
}

// FileName is the name of the disk's file now. It changes when the VM is
// cloned: what was the disk is then a base.
func (d *Disk) FileName() string {
	if d.File != "" {
		return d.File
	}
	return d.Name
}

// First reports whether it is the VM's first disk.
func (d *Disk) First() bool { return d.ID == 0 }

// DiskSerial is what the guest sees as a disk's serial number.
func DiskSerial(id int64) string { return "disk-" + strconv.FormatInt(id, 10) }

// DiskName is the file name of a VM's nth extra disk.
func DiskName(identity string, n int) string { return fmt.Sprintf("%s_disk%d.qcow2", identity, n) }

// DiskTarget is the nth target name, counted from 0: vda, vdb and so on.
func DiskTarget(n int) string { return "vd" + string(rune('a'+n)) }

// DiskFile is where a disk's file lies, for who makes and moves it.
type DiskFile struct {
	Datastore Datastore
	Identity  string // the VM's
	UUID      string // the VM's: the mark of the folders
	DiskID    int64  // the mark of the file; 0 for the first disk
	Name      string
}

// Dir returns the file's folder below the mount point.
func (f *DiskFile) Dir() string {
	if f.DiskID == 0 {
		return path.Join(DirImages, f.Identity)
	}
	return f.Datastore.ExtraDisksDir(f.Identity)
}

// Path returns the file's absolute path.
func (f *DiskFile) Path() string { return path.Join(f.Datastore.Path, f.Dir(), f.Name) }

// DeletedDir returns the folder, below the mount point, of a disk that was
// deleted by itself. The id keeps two of one name apart.
func (f *DiskFile) DeletedDir() string {
	return path.Join(DirDeleted, strings.TrimSuffix(f.Name, ".qcow2")+"."+strconv.FormatInt(f.DiskID, 10))
}

// ExtraDisksDir returns the folder of a VM's extra disks below the mount point,
// the specification's.
func (d *Datastore) ExtraDisksDir(identity string) string {
	return path.Join(DirExtraDisks, d.Name, identity)
}

// DeletedDisksDir returns where that folder lies, below the mount point, while
// its VM is deleted.
func (d *Datastore) DeletedDisksDir(identity, uuid string) string {
	return path.Join(DirDeleted, identity+"."+uuid+".disks")
}

// DiskSize is what one disk's file was seen to occupy.
type DiskSize struct {
	File  string // its name
	Bytes int64
}

// DiskAdd is the wish for another disk.
type DiskAdd struct {
	SizeGiB        int    `json:"size_gib" minimum:"1" maximum:"16384"`
	Datastore      string `json:"datastore,omitempty" doc:"Name or id; the best one that the VM's host mounts if empty."`
	BytesPerSecond int64  `json:"bytes_per_second,omitempty" minimum:"0" doc:"Limit of reading and writing together; 0 is none."`
	IOPS           int64  `json:"iops,omitempty" minimum:"0" doc:"Limit of operations a second; 0 is none."`
}

// Validate checks the wish by itself.
func (a *DiskAdd) Validate() error {
	l := DiskLimit{BytesPerSecond: a.BytesPerSecond, IOPS: a.IOPS}
	if err := checkDiskSize(a.SizeGiB); err != nil {
		return err
	}
	return l.Validate()
}

// DiskGrow is the wish for more room on a disk.
type DiskGrow struct {
	SizeGiB int `json:"size_gib" minimum:"1" maximum:"16384" doc:"The new size, GiB. Disks never shrink."`
}

// Validate checks the wish by itself.
func (g *DiskGrow) Validate() error { return checkDiskSize(g.SizeGiB) }

// DiskLimit is the wish for limits; 0 is none.
type DiskLimit struct {
	BytesPerSecond int64 `json:"bytes_per_second" minimum:"0" doc:"Of reading and writing together; 0 is no limit."`
	IOPS           int64 `json:"iops" minimum:"0" doc:"Operations a second; 0 is no limit."`
}

// Validate checks the wish by itself: a limit too low makes a guest's kernel
// give up on the disk.
func (l *DiskLimit) Validate() error {
	const leastBytes, leastIOPS = 64 << 10, 10
	switch {
	case l.BytesPerSecond != 0 && l.BytesPerSecond < leastBytes:
		return Errorf(Invalid, "%d bytes a second are too few", l.BytesPerSecond).WithField("bytes_per_second").WithDetail("the least is %d; 0 is no limit", leastBytes)
	case l.IOPS != 0 && l.IOPS < leastIOPS:
		return Errorf(Invalid, "%d operations a second are too few", l.IOPS).WithField("iops").WithDetail("the least is %d; 0 is no limit", leastIOPS)
	}
	return nil
}

func checkDiskSize(gib int) error {
	if gib < 1 || gib > MaxDiskGiB {
		return Errorf(Invalid, "a disk of %d GiB is not possible", gib).WithField("size_gib").WithDetail("1 to %d are", MaxDiskGiB)
	}
	return nil
}

// CheckAction says whether an action is possible in the disk's present state; it
// does not look at who asks, nor at the VM.
func (d *Disk) CheckAction(a Action) error {
	no := func(code, format string, args ...any) error { return Errorf(Conflict, format, args...).WithCode(code) }
	if d.First() && (a == ActionDiskAttach || a == ActionDiskDetach || a == ActionDiskDelete) {
		return no("first_disk", "%s is the first disk of %s: it comes and goes with the VM", d.Target, d.VM)
	}
	switch {
	case d.State == DiskCreating:
		return no("disk_creating", "%s is not made yet", d.Name)
	case a == ActionDiskAttach && d.State == DiskAttached:
		return no("disk_attached", "%s is attached to %s already, as %s", d.Name, d.VM, d.Target)
	case a == ActionDiskDetach && d.State == DiskDetached:
		return no("disk_detached", "%s is detached already", d.Name)
	case a != ActionDiskAttach && d.State == DiskDeleted:
		return Errorf(Conflict, "%s is deleted", d.Name).WithCode("disk_deleted").
			WithNext("Attach it again first", fmt.Sprintf("baadal vm disk attach %s %d", d.VM, d.ID))
	}
	return nil
}
