package baadal

import "time"

// VMMigrate is the wish to move a VM to another host. A VM that runs keeps
// running, one that is paused stays paused, of one that is off only the
// definition moves.
type VMMigrate struct {
	To              string `json:"to,omitempty" maxLength:"64" doc:"Name or id of the host; the best one if empty."`
	Offline         bool   `json:"offline,omitempty" doc:"Only if it is off: refused while it runs."`
	BandwidthMiBs   int    `json:"bandwidth_mibs,omitempty" minimum:"0" maximum:"100000" doc:"Most MiB per second that it may use; no limit if 0."`
	DeadlineSeconds int    `json:"deadline_seconds,omitempty" minimum:"0" maximum:"86400" doc:"It is given up, and the VM stays, when it takes longer; one hour if 0."`
	IgnoreAffinity  bool   `json:"ignore_affinity,omitempty" doc:"Even to where the rules for its place forbid it: the way to move a group that is kept together."`
	AutoConverge    bool   `json:"auto_converge,omitempty" doc:"Slow the guest down step by step if it writes faster than its memory can be copied."`
	PostCopy        bool   `json:"post_copy,omitempty" doc:"Only with its owner's consent. If it writes faster than its memory can be copied, let it go on on the new host and fetch the rest afterwards. If a host or the network between them fails then, it loses what was in its memory and is off afterwards, as after a power failure; without this it would stay where it is."`
}

// Limits of a migration.
const (
	defaultMigrateDeadline = time.Hour
	maxMigrateDeadline     = 24 * time.Hour
	maxMigrateBandwidth    = 100_000 // MiB/s
)

// Validate checks the wish by itself and fills in the default deadline.
func (m *VMMigrate) Validate() error {
	if m.BandwidthMiBs < 0 || m.BandwidthMiBs > maxMigrateBandwidth {
		return Errorf(Invalid, "a bandwidth of %d MiB/s is not possible", m.BandwidthMiBs).WithField("bandwidth_mibs").
			WithDetail("0 (no limit) to %d are", maxMigrateBandwidth)
	}
	if m.DeadlineSeconds == 0 {
		m.DeadlineSeconds = int(defaultMigrateDeadline / time.Second)
	}
	if m.DeadlineSeconds < 0 || m.Deadline() > maxMigrateDeadline {
		return Errorf(Invalid, "a deadline of %d seconds is not possible", m.DeadlineSeconds).WithField("deadline_seconds").
			WithDetail("1 second to %s are", maxMigrateDeadline)
	}
	return nil
}

// Deadline is how long the migration may take.
func (m *VMMigrate) Deadline() time.Duration { return time.Duration(m.DeadlineSeconds) * time.Second }

// Migration is how a hypervisor is to move a domain.
type Migration struct {
	BandwidthMiBs int // 0 is no limit
	AutoConverge  bool
	PostCopy      bool // switch to it when the memory was copied several times and the guest still writes faster
}

// MigrationProgress is how far a migration is.
type MigrationProgress struct {
	Total     int64         // bytes of memory
	Processed int64         // bytes looked at; a guest that writes makes them more than Total
	Remaining int64         // bytes
	Rate      int64         // bytes per second; 0 if not known
	Pass      int           // over the memory, from 1; 0 if not known
	PostCopy  bool          // the guest goes on on the destination, without all of its memory until the end
	Downtime  time.Duration // how long the guest stood still; known at the end
}

// Share is how much is done, 0 to 1.
func (p MigrationProgress) Share() float64 {
	if p.Total <= 0 {
		return 0
	}
	return max(0, min(1, 1-float64(p.Remaining)/float64(p.Total)))
}

// DomainHalf is what one host has of a domain that was moved to or from it.
type DomainHalf struct {
	There      bool
	State      VMState
	Persistent bool
	Migrating  bool // paused by a migration: not by anyone's wish, and it has not run since
	PostCopy   bool // part of its memory is here and part on the other host: neither is whole
	Saved      bool // off, with its memory saved on this host
}
