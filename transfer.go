package baadal

import (
	"path"
	"time"
)

// Transfer is a file on its way into or out of the cloud: an upload that waits
// to be used, or a copy of a disk that waits to be fetched. It lies in
// vm_migration_data of a datastore, so that every controller can go on with it,
// and is removed when nobody comes for it.
type Transfer struct {
	ID             int64     `json:"id"`
	Kind           string    `json:"kind" enum:"upload,export"`
	State          string    `json:"state" enum:"making,ready,taken,removing"`
	Name           string    `json:"name" doc:"What to call the file."`
	DatastoreID    int64     `json:"datastore_id"`
	Datastore      string    `json:"datastore"`
	VMID           int64     `json:"vm_id,omitempty" doc:"The VM whose disk it is a copy of."`
	OwnerID        int64     `json:"owner_id"`
	OrganisationID int64     `json:"organisation_id"`
	RequesterID    int64     `json:"requester_id"`
	Size           int64     `json:"size_bytes" doc:"Of the file."`
	VirtualSize    int64     `json:"virtual_size_bytes" doc:"Of the disk in it, as far as it was looked at."`
	SHA256         string    `json:"sha256" doc:"Of the file, hex."`
	CreatedAt      time.Time `json:"created_at"`
	UsedAt         time.Time `json:"used_at" doc:"When somebody last read or wrote it; an export that nobody reads is removed after a while."`
	Task           *TaskRef  `json:"task,omitempty" doc:"The task that makes or removes it."`

	UUID string `json:"-"` // its file's name; an upload is known by it
}

// Kinds of transfers.
const (
	TransferUpload = "upload"
	TransferExport = "export"
)

// States of a transfer.
const (
	TransferMaking   = "making"
	TransferReady    = "ready"
	TransferTaken    = "taken" // an import is made of it
	TransferRemoving = "removing"
)

// How long a transfer that nobody uses is kept.
const (
	KeepUpload = 24 * time.Hour
	KeepExport = 15 * time.Minute
)

// Keep is how long it is kept when nobody uses it.
func (t *Transfer) Keep() time.Duration {
	if t.Kind == TransferExport {
		return KeepExport
	}
	return KeepUpload
}

// ImageCopy names a flat image that is made from a disk.
type ImageCopy struct {
	Datastore Datastore
	Area      string // DirTemplates or DirMigration
	File      string
}

// Path is where the image lies when it is whole.
func (c *ImageCopy) Path() string { return path.Join(c.Datastore.Path, c.Area, c.File) }

// Part is where it is written.
func (c *ImageCopy) Part() string {
	return path.Join(c.Datastore.Path, c.Area, "."+c.File+".flatcopy.part")
}

// TransferFile returns the absolute path of a transfer's file.
func (d *Datastore) TransferFile(uuid string) string { return path.Join(d.Path, DirMigration, uuid) }
