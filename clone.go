package baadal

import (
	"path"
	"strings"
	"time"
)

// MaxClones is the most clones that one wish may ask for; the specification's.
const MaxClones = 100

// VMClone is the wish for clones of a VM. Every clone is like its parent in
// size, network, owner and disk content, and has its own UUID, address, host
// name and console password.
type VMClone struct {
	Count int    `json:"count,omitempty" minimum:"0" maximum:"100" doc:"1 if not given."`
	Name  string `json:"name,omitempty" maxLength:"30" doc:"Beginning of the clones' names; the parent's name with _clone if empty. Each gets the next free number."`
	Full  bool   `json:"full,omitempty" doc:"Copy the disk for each clone instead of thin overlays on one frozen disk."`
	Start bool   `json:"start,omitempty" doc:"Start the clones; otherwise they end shut off."`

	Affinity     []string `json:"affinity,omitempty" maxItems:"20" doc:"Names or ids of affinity groups that the clones become members of. Those of the parent are not joined; the hosts that it may run on hold for its clones too."`
	WithoutDisks bool     `json:"without_disks,omitempty" doc:"Leave out the extra disks; otherwise each clone gets those that the VM has attached, as they are at the same moment."`
}

// Validate checks the wish by itself and fills in the defaults.
func (c *VMClone) Validate(parent string) error {
	if c.Count == 0 {
		c.Count = 1
	}
	if c.Count < 1 || c.Count > MaxClones {
		return Errorf(Invalid, "%d clones are out of range", c.Count).WithField("count").WithDetail("1 to %d are possible", MaxClones)
	}
	if c.Name == "" {
		c.Name = parent + "_clone"
	}
	return CheckName("name", c.Name)
}

// Base is a frozen disk that VMs, or other bases, stand on. It is made when a
// VM is cloned and removed when nothing stands on it any more.
type Base struct {
	ID          int64
	UUID        string // its folder's name and mark
	DatastoreID int64
	ParentID    int64  // the base it stands on; 0 for none
	Origin      string // identity of the VM whose disk it was
	SizeGiB     int
	State       string
	Standing    int // VMs and extra disks, deleted ones that can be restored included, and bases that stand on it
	CreatedAt   time.Time
}

// The states of a base.
const (
	BaseMaking   = "making"
	BaseReady    = "ready"
	BaseRemoving = "removing"
)

// DirBases holds the bases below a datastore's mount point.
const DirBases = "vm_bases"

// BaseDir returns the folder of a base.
func (d *Datastore) BaseDir(uuid string) string { return path.Join(d.Path, DirBases, uuid) }

// BaseFile returns the path of a base's image.
func (d *Datastore) BaseFile(uuid string) string { return path.Join(d.BaseDir(uuid), "base.qcow2") }

// DiskPath returns the path of a VM's first disk. Its name changes when the VM
// is cloned: what was the disk is then a base.
func (d *Datastore) DiskPath(vm *VM) string {
	if vm.DiskFile == "" {
		return d.ImageFile(vm.Identity)
	}
	return path.Join(d.ImageDir(vm.Identity), vm.DiskFile)
}

// DiskFreeze says which disk of which VM becomes a base.
type DiskFreeze struct {
	DiskFile        // the disk as it is
	Base     string // the base's UUID
	Overlay  string // name of the disk that takes its place, standing on the base
	Bytes    int64  // virtual size
}

// Old is the path of the disk that becomes the base.
func (f *DiskFreeze) Old() string { return f.Path() }

// New is the path of the overlay that takes its place.
func (f *DiskFreeze) New() string { return path.Join(path.Dir(f.Path()), f.Overlay) }

// OverlayName is the name of the overlay that takes the place of a disk whose
// file becomes a base; name is the one that the disk was made with.
func OverlayName(name, base string) string {
	return strings.TrimSuffix(name, ".qcow2") + "." + base[:min(len(base), 8)] + ".qcow2"
}

// DiskChain is what a disk image consists of.
type DiskChain struct {
	Depth     int    // files below it: 0 for a disk that stands on nothing
	Snapshots int    // internal ones in the image
	Bytes     int64  // virtual size
	Root      string // path of the template at the bottom; empty if there is none
	Format    string // the template's
	Between   int64  // what the files between the disk and its template occupy, bytes
}

// DiskForks are folders of VMs that are made with one look at their datastore,
// all of first disks or all of extra ones.
type DiskForks struct {
	Datastore Datastore
	Extra     bool   // folders of extra disks
	Turn      string // UUID of a base: two calls with the same one take turns on a host
	Folders   []DiskFork
}

// DiskFork is the folder of one VM, with disks that stand on bases.
type DiskFork struct {
	Identity string
	UUID     string
	Seed     []byte // of a folder of first disks
	Disks    []ForkedDisk
}

// ForkedDisk is a disk on a base.
type ForkedDisk struct {
	Name  string
	ID    int64  // of an extra disk
	Base  string // the base's UUID
	Bytes int64  // virtual size
}

// BaseCopy is the path of a base's image while it is copied.
func (f *DiskFreeze) BaseCopy() string { return path.Join(f.Datastore.BaseDir(f.Base), "copy.part") }
