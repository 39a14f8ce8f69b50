package baadal

import "time"

// Domain is a VM as a hypervisor is told to define it.
type Domain struct {
	UUID     string
	Name     string // the VM's identity
	VMID     int64  // written into the domain's metadata
	Virt     string // kvm or qemu
	VCPUs    int
	MaxVCPUs int // can be plugged in while it runs; 0 for no more than VCPUs
	RAMMiB   int
	Disks    []DomainDisk

	MaxRAMMiB  int // can be given to it while it runs; no more than RAMMiB if less
	PluggedMiB int // of that beside RAMMiB it has; only of a domain that runs

	Seed    string       // path of the NoCloud ISO; empty for none
	CDROM   string       // path of the ISO in its other CD drive, which it always has; empty for none
	Boot    []BootDevice // what it boots from; DefaultBoot if empty
	NICs    []DomainNIC
	Console string // folder on the host for the VM's sockets (VNC, serial)
}

// DomainDisk is one disk of a domain.
type DomainDisk struct {
	Path   string
	Format string // qcow2 or raw
	Target string // vda, vdb …
	Serial string // empty for none

	BytesPerSecond int64 // of reading and writing together; 0 is no limit
	IOPS           int64 // 0 is no limit
}

// DomainNIC is one network interface of a domain.
type DomainNIC struct {
	MAC       string
	Network   string // libvirt network
	Portgroup string
	VLAN      int
	Down      bool // its link; only of a domain that runs
}

// DomainInfo is a domain as a host reports it.
type DomainInfo struct {
	UUID       string
	Name       string
	VMID       int64 // from its metadata; 0 if it is not one of ours
	State      VMState
	Saved      bool // it is off and its memory lies on the host's disk: its next start goes on from there
	Persistent bool
	Autostart  bool // libvirt would start it with the host; never our doing
	VCPUs      int
	RAMMiB     int
}

// DomainEvent says that something happened to a domain. An event with an empty
// UUID means: the connection was just made (again), look at everything.
type DomainEvent struct {
	UUID  string
	State VMState // as far as the event tells; VMMissing when it was undefined
	At    time.Time
}

// VMImage is what a VM's folder on a datastore is made from.
type VMImage struct {
	Datastore Datastore
	Identity  string
	UUID      string // written into the folder as its mark: only the owner may remove it
	Template  string // absolute path of the template's file
	Format    string // of the template
	Bytes     int64  // virtual size of the disk, bytes; never smaller than the template
	FullCopy  bool
	Seed      []byte // NoCloud ISO
}
