package baadal

import (
	"path"
	"strings"
	"time"
)

// Datastore is a file system mounted at the same path on every host.
type Datastore struct {
	ID         int64             `json:"id"`
	Name       string            `json:"name"`
	Generation int64             `json:"generation"`
	Path       string            `json:"path" doc:"Where the hosts mount it, e.g. /mnt/datastore."`
	State      string            `json:"state" enum:"ok,read_only,missing,unknown"`
	Reason     string            `json:"reason,omitempty"`
	Capacity   int64             `json:"capacity_bytes"`
	Used       int64             `json:"used_bytes" doc:"As measured; everything that lies on it."`
	Free       int64             `json:"free_bytes" doc:"As measured."`
	Claimed    int64             `json:"claimed_bytes" doc:"Virtual sizes of all disks on it, in bytes."`
	VMs        int               `json:"vms"`
	Templates  int               `json:"templates"`
	MeasuredAt *time.Time        `json:"measured_at,omitempty"`
	Hosts      []string          `json:"hosts,omitempty" doc:"Hosts seen to have it mounted at the last look."`
	CreatedAt  time.Time         `json:"created_at"`
	UpdatedAt  time.Time         `json:"updated_at"`
	Actions    map[string]Access `json:"actions,omitempty"`
}

// Datastore states.
const (
	DatastoreOK       = "ok"
	DatastoreReadOnly = "read_only"
	DatastoreMissing  = "missing" // no host has it mounted
	DatastoreUnknown  = "unknown" // not measured yet
)

// DatastoreUsage is one measurement of a datastore from one host.
type DatastoreUsage struct {
	Mounted  bool
	Writable bool
	Capacity int64 // bytes
	Used     int64
	Free     int64
}

// The layout of a datastore below its mount point; the specification's.
const (
	DirTemplates  = "vm_templates"
	DirImages     = "vm_images"
	DirExtraDisks = "vm_extra_disks"
	DirMigration  = "vm_migration_data"
	DirDeleted    = "vm_deleted"
)

// TemplateFile returns the absolute path of a template's image.
func (d *Datastore) TemplateFile(file string) string { return path.Join(d.Path, DirTemplates, file) }

// ImageDir returns the folder of a VM's first disk and seed.
func (d *Datastore) ImageDir(identity string) string { return path.Join(d.Path, DirImages, identity) }

// ImageFile returns the path of a VM's first disk.
func (d *Datastore) ImageFile(identity string) string {
	return path.Join(d.Path, DirImages, identity, identity+".qcow2")
}

// SeedFile returns the path of a VM's NoCloud seed.
func (d *Datastore) SeedFile(identity string) string {
	return path.Join(d.Path, DirImages, identity, identity+"-seed.iso")
}

// DeletedDir returns the folder that holds a deleted VM until it is purged.
// The UUID keeps two deleted VMs of one identity apart.
func (d *Datastore) DeletedDir(identity, uuid string) string {
	return path.Join(d.Path, DirDeleted, identity+"."+uuid)
}

// CheckDatastorePath refuses what is not a clean absolute path below the root.
func CheckDatastorePath(p string) error {
	if !path.IsAbs(p) || path.Clean(p) != p || p == "/" || strings.ContainsAny(p, "\x00\n\r") {
		return Errorf(Invalid, "datastore path %q is not usable", p).WithField("path").
			WithDetail("give the absolute mount point, as /mnt/datastore")
	}
	return nil
}

// DatastoreAdd is the wish to add a datastore.
type DatastoreAdd struct {
	Name string `json:"name" minLength:"1" maxLength:"30"`
	Path string `json:"path" minLength:"2" maxLength:"255" doc:"Mount point on the hosts."`
}

// DatastoreEntry is one thing found on a datastore by looking.
type DatastoreEntry struct {
	Area  string // DirTemplates, DirImages, DirDeleted …
	Name  string // file or folder name below the area
	UUID  string // the VM that made it, from its mark; empty if unmarked
	Bytes int64  // what it occupies
}
