package baadal

import (
	"fmt"
	"path"
	"strings"
)

// VMNew is what every wish for a VM from an image says.
type VMNew struct {
	Name    string   `json:"name" minLength:"1" maxLength:"30" doc:"Letters, digits, dash, underscore; starts with a letter or digit."`
	Network string   `json:"network,omitempty" doc:"Name or id; the only network if there is one."`
	Host    string   `json:"host,omitempty" doc:"Name or id; the best one if empty."`
	Owner   string   `json:"owner,omitempty" doc:"Username of the owner; the caller if empty."`
	VCPUs   int      `json:"vcpus,omitempty" minimum:"0" maximum:"64" doc:"1 if not given."`
	RAMMiB  int      `json:"ram_mib,omitempty" minimum:"0" maximum:"1048576" doc:"MiB; 512 if not given."`
	DiskGiB int      `json:"disk_gib,omitempty" minimum:"0" maximum:"16384" doc:"GiB; the image's size if not given; never smaller."`
	SSHKeys []string `json:"ssh_keys,omitempty" maxItems:"20" doc:"authorized_keys lines; the owner's keys if empty."`
	Purpose string   `json:"purpose,omitempty" maxLength:"512"`
}

// create is the same wish as one for a VM from a template, which has the rules.
func (n *VMNew) create() VMCreate {
	return VMCreate{
		Name: n.Name, Network: n.Network, Host: n.Host, Owner: n.Owner, VCPUs: n.VCPUs, RAMMiB: n.RAMMiB, DiskGiB: n.DiskGiB,
		SSHKeys: n.SSHKeys, Purpose: n.Purpose,
	}
}

// VMImport is the wish for a VM from an uploaded disk image.
type VMImport struct {
	VMNew
	UploadID string `json:"upload_id" minLength:"1" doc:"From PUT /api/v1/uploads."`
}

// Validate checks the wish by itself and returns it with its defaults as one
// for a VM of a template that is named "-".
func (i *VMImport) Validate() (VMCreate, error) {
	c := i.create()
	if i.UploadID == "" {
		return c, Errorf(Invalid, "no upload given").WithField("upload_id").WithNext("Upload the image", "baadal vm import FILE --name NAME")
	}
	c.Template = "-"
	return c, c.Validate()
}

// VMLaunch is the wish for a VM from a disk image that lies on a datastore
// already, as one of a former installation.
type VMLaunch struct {
	VMNew
	Datastore string `json:"datastore" minLength:"1" doc:"Name or id of the datastore that the image lies on."`
	Image     string `json:"image" minLength:"1" maxLength:"500" doc:"Its path below the datastore's mount point, as vm_images/NAME/NAME.qcow2, or a former identity."`
}

// Validate is as VMImport's. An identity becomes the path of its disk.
func (l *VMLaunch) Validate() (VMCreate, error) {
	c := l.create()
	c.Template, c.Datastore = "-", l.Datastore
	if l.Datastore == "" {
		return c, Errorf(Invalid, "no datastore given").WithField("datastore").WithNext("See the datastores", "baadal datastore list")
	}
	if !strings.Contains(l.Image, "/") && l.Image != "" {
		l.Image = path.Join(DirImages, l.Image, l.Image+".qcow2")
	}
	if l.Image == "" || path.IsAbs(l.Image) || path.Clean(l.Image) != l.Image || strings.HasPrefix(l.Image, "..") || strings.ContainsAny(l.Image, "\x00\n\r") {
		return c, Errorf(Invalid, "%q is not the path of an image", l.Image).WithField("image").
			WithDetail("give a path below the datastore's mount point, as vm_images/NAME/NAME.qcow2")
	}
	return c, c.Validate()
}

// VMAdopt is the wish to make a domain that exists on a host one of ours.
type VMAdopt struct {
	Host      string `json:"host" minLength:"1" doc:"Name or id of the host."`
	Domain    string `json:"domain" minLength:"1" maxLength:"200" doc:"The domain's name or UUID there."`
	Name      string `json:"name,omitempty" maxLength:"30" doc:"What to call the VM; the domain's name if empty."`
	Network   string `json:"network,omitempty" doc:"Name or id; the only network if there is one."`
	Datastore string `json:"datastore,omitempty" doc:"Name or id of the datastore that its disk is copied to; the best one if empty."`
	Owner     string `json:"owner,omitempty" doc:"Username of the owner; the caller if empty."`
	Purpose   string `json:"purpose,omitempty" maxLength:"512"`
}

// VMSaveTemplate is the wish to save a VM's disk as a template.
type VMSaveTemplate struct {
	Name   string `json:"name" minLength:"1" maxLength:"30"`
	OS     string `json:"os,omitempty" maxLength:"64" doc:"For people; that of the VM's template if empty."`
	Public bool   `json:"public,omitempty" doc:"For everybody; an administrator's to say. Otherwise it is the VM's owner's."`
}

// ForeignDomain is a domain on a host, as it is looked at before it is adopted.
type ForeignDomain struct {
	UUID      string
	Name      string
	VMID      int64 // from our metadata; 0 if it is not one of ours
	State     VMState
	Saved     bool // its memory lies on the host's disk
	Snapshots int
	VCPUs     int
	RAMMiB    int
	Machine   string // as pc-i440fx-7.2
	Firmware  string // what it boots by if not by BIOS
	Disks     []ForeignDisk
	MACs      []string // of its network interfaces
	Passed    []string // devices of the host that it was given
	XML       string   // its definition
}

// ForeignDisk is a disk of a foreign domain.
type ForeignDisk struct {
	Path   string // empty if it is not a file
	Format string
	Target string
	Bus    string
}

// Adoptable refuses, with everything that is in the way at once, a domain that
// cannot be adopted.
func (d *ForeignDomain) Adoptable() error {
	var reasons []string
	add := func(bad bool, format string, args ...any) {
		if bad {
			reasons = append(reasons, fmt.Sprintf(format, args...))
		}
	}
	add(d.VMID != 0, "it carries the mark of VM %d: the audit looks after it", d.VMID)
	add(d.State != VMOff && d.State != VMCrashed, "it is %s: shut it down first", d.State)
	add(d.Saved, "its memory is saved: start it and shut it down, or drop it (virsh managedsave-remove)")
	add(d.Snapshots > 0, "it has %d snapshots, which name its old files: delete them (virsh snapshot-delete)", d.Snapshots)
	add(d.Firmware != "", "it boots by %s, and VMs here boot by BIOS", d.Firmware)
	add(len(d.Passed) > 0, "it was given devices of the host: %s", strings.Join(d.Passed, ", "))
	add(len(d.Disks) != 1, "it has %d disks: one can be adopted; detach the others and bring them as images", len(d.Disks))
	for _, k := range d.Disks {
		add(k.Path == "", "its disk %s is not a file", k.Target)
		add(k.Path != "" && k.Format != "qcow2" && k.Format != "raw" && k.Format != "vmdk", "its disk %s has the format %q", k.Target, k.Format)
	}
	if len(reasons) == 0 {
		return nil
	}
	return Errorf(Conflict, "domain %s cannot be adopted", d.Name).WithCode("not_adoptable").WithDetail("%s", strings.Join(reasons, "; "))
}

// Differences tells what will be another than before when it is adopted.
func (d *ForeignDomain) Differences() []string {
	var all []string
	for _, k := range d.Disks {
		all = append(all, k.Path+" is copied and stays where it is: remove it when the VM is as you want it")
		if k.Bus != "virtio" {
			all = append(all, fmt.Sprintf("its disk is at the bus virtio (%s) instead of %s (%s): the guest must name it by label or UUID", FirstTarget, k.Bus, k.Target))
		}
	}
	switch n := len(d.MACs); n {
	case 0:
		all = append(all, "it gets a network interface")
	case 1:
		all = append(all, "its network interface gets another MAC address than "+d.MACs[0]+", and its address by DHCP")
	default:
		all = append(all, fmt.Sprintf("it has one network interface instead of %d, with another MAC address, and its address by DHCP", n))
	}
	if d.Machine != "" && !strings.Contains(d.Machine, "i440fx") && d.Machine != "pc" {
		all = append(all, "its machine is pc (i440fx) instead of "+d.Machine)
	}
	return append(all, "its host name, keys and passwords stay as they are: it gets no seed")
}
