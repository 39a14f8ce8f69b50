package baadal

import "time"

// Kinds of differences that the audit finds.
const (
	DiffOrphanDomain    = "orphan_domain"   // a domain of ours that no VM owns
	DiffMissingDomain   = "missing_domain"  // a VM whose host does not know it
	DiffWrongState      = "wrong_state"     // running here, off there
	DiffMovedDomain     = "moved_domain"    // a VM that another host has, and its own does not
	DiffTwoDomains      = "two_domains"     // one VM defined on two hosts
	DiffTwoWriters      = "two_writers"     // one VM running on two hosts
	DiffOrphanDisk      = "orphan_disk"     // a folder in vm_images that no VM owns
	DiffMissingDisk     = "missing_disk"    // a VM without its folder
	DiffOrphanDeleted   = "orphan_deleted"  // a folder in vm_deleted that no deleted VM owns
	DiffOrphanTemplate  = "orphan_template" // a file in vm_templates that no template owns
	DiffMissingTemplate = "missing_template"
	DiffOrphanBase      = "orphan_base"      // a folder in vm_bases that no base owns
	DiffMissingBase     = "missing_base"     // a base without its folder
	DiffOrphanTransfer  = "orphan_transfer"  // a file in vm_migration_data that no transfer owns
	DiffLeakedAddress   = "leaked_address"   // claimed by nothing that lives
	DiffDHCP            = "dhcp"             // reservations differ from the server's
	DiffNames           = "names"            // names differ from the name server's
	DiffStranger        = "stranger"         // an address that answers but belongs to nobody, or to a VM that has another MAC
	DiffNAT             = "nat"              // the NAT box's table differs from the store
	DiffWrongVLAN       = "wrong_vlan"       // a port with another tag than the VM's network
	DiffFlows           = "flows"            // the rules on a host's ports are not those that they should be
	DiffFlowsOff        = "flows_off"        // there are no such rules, by a setting
	DiffPortgroup       = "portgroup"        // a host without the portgroup of a VLAN, or with another tag in it
	DiffStuckTask       = "stuck_task"       // nobody works on it though it is due
	DiffUndoPending     = "undo_pending"     // a failed task that could not take everything back yet
	DiffMissingSnapshot = "missing_snapshot" // a snapshot that the host does not know
	DiffMissingBackup   = "missing_backup"   // a backup without its folder, or without one of its files
	DiffOrphanBackup    = "orphan_backup"    // a folder in vm_backups that no backup owns, or a file in one that nobody knows
	DiffAffinity        = "affinity"         // a VM runs where a rule for its place forbids it
	DiffForeignSnapshot = "foreign_snapshot" // one on the host that the store does not know
	DiffAutostart       = "autostart"        // libvirt would start the domain with its host, wherever the VM is by then
	DiffWrongCDROM      = "wrong_cdrom"      // another CD image in the drive than the store says
	DiffVNC             = "vnc"              // a grant for a VNC client whose address does not answer
)

// Difference is one finding.
type Difference struct {
	Kind     string  `json:"kind"`
	Subject  Subject `json:"subject"`
	Host     string  `json:"host,omitempty"`
	Stored   string  `json:"stored" doc:"What the store says."`
	Seen     string  `json:"seen" doc:"What was seen."`
	Repair   string  `json:"repair,omitempty" doc:"What --repair would do; empty if it leaves it to people."`
	Repaired bool    `json:"repaired"`
	Error    string  `json:"error,omitempty" doc:"Why the repair failed."`
}

// Audit is one comparison of the store with the world.
type Audit struct {
	StartedAt   time.Time    `json:"started_at"`
	EndedAt     time.Time    `json:"ended_at"`
	VMs         int          `json:"vms" doc:"VMs compared."`
	Hosts       int          `json:"hosts" doc:"Hosts looked at."`
	NotSeen     []string     `json:"not_seen,omitempty" doc:"Hosts, datastores and servers that could not be looked at: nothing on them was judged."`
	Differences []Difference `json:"differences"`
}

// Clean reports whether the world matches the store as far as it was seen.
func (a *Audit) Clean() bool { return len(a.Differences) == 0 }
