package baadal

import "time"

// Template states.
const (
	TemplateImporting = "importing"
	TemplateReady     = "ready"
	TemplateFailed    = "failed"
	TemplateDeleted   = "deleted"
)

// Template is an immutable disk image that VMs start from.
type Template struct {
	ID          int64     `json:"id"`
	Name        string    `json:"name"`
	Generation  int64     `json:"generation"`
	OwnerID     int64     `json:"owner_id,omitempty" doc:"Whose it is; 0 for one that everybody may use."`
	Owner       string    `json:"owner,omitempty" doc:"Username of the owner."`
	OS          string    `json:"os" doc:"For people, e.g. Debian 12."`
	DatastoreID int64     `json:"datastore_id"`
	Datastore   string    `json:"datastore"`
	File        string    `json:"file" doc:"File name below vm_templates."`
	Kind        string    `json:"kind" enum:"disk,iso" doc:"disk: VMs are made from it; iso: a CD image that can be inserted in VMs."`
	Format      string    `json:"format" enum:"qcow2,raw"`
	VirtualSize int64     `json:"virtual_size_bytes"`
	FileSize    int64     `json:"file_size_bytes"`
	SHA256      string    `json:"sha256" doc:"Of the file as it was imported, hex."`
	State       string    `json:"state" enum:"importing,ready,failed,deleted"`
	Source      string    `json:"source" doc:"File name or URL it came from."`
	VMs         int       `json:"vms" doc:"VMs that stand on it or have it in their drive, deleted ones that can be restored included."`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
	Task        *TaskRef  `json:"task,omitempty"`

	OrganisationID int64             `json:"organisation_id,omitempty" doc:"The owner's."`
	Actions        map[string]Access `json:"actions,omitempty"`
}

// MinDiskGiB is the smallest disk of a VM on this template: its size rounded up.
func (t *Template) MinDiskGiB() int { return int((t.VirtualSize + 1<<30 - 1) >> 30) }

// TemplateImport is the wish to import a template.
type TemplateImport struct {
	Name      string `json:"name" minLength:"1" maxLength:"30"`
	Kind      string `json:"kind,omitempty" enum:"disk,iso" doc:"disk if not given: an image that VMs are made from; iso: a CD image to insert in VMs."`
	OS        string `json:"os,omitempty" maxLength:"64"`
	Datastore string `json:"datastore,omitempty" doc:"Name or id; the one with most room if empty."`
	URL       string `json:"url,omitempty" format:"uri" doc:"http or https; or upload the file first and give upload_id."`
	UploadID  string `json:"upload_id,omitempty" doc:"From PUT /api/v1/uploads."`
	SHA256    string `json:"sha256,omitempty" pattern:"^[0-9a-fA-F]{64}$" doc:"Expected checksum; compared if given."`
}

// ImageInfo is what qemu-img says of an image.
type ImageInfo struct {
	Format      string
	VirtualSize int64
	FileSize    int64
	Backing     string // backing file as written in the image; empty if none
	SHA256      string // hex; empty if not asked for
}
