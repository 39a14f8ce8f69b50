package baadal

// VMMove is the wish to move a VM's disks to another datastore. Where they lie
// changes, the VM and its host do not: one that runs keeps running.
type VMMove struct {
	Datastore     string `json:"datastore" minLength:"1" maxLength:"64" doc:"Name or id of the datastore."`
	Disk          string `json:"disk,omitempty" maxLength:"255" doc:"Only this disk: its target, file name, serial or id. If empty, the first one and all that lie on the same datastore."`
	BandwidthMiBs int    `json:"bandwidth_mibs,omitempty" minimum:"0" maximum:"100000" doc:"Most MiB per second that are copied; no limit if 0."`
}

// maxMoveBandwidth is in MiB/s.
const maxMoveBandwidth = 100_000

// Validate checks the wish by itself.
func (m *VMMove) Validate() error {
	if m.Datastore == "" {
		return Errorf(Invalid, "no datastore given").WithField("datastore").WithNext("See the datastores", "baadal datastore list")
	}
	if m.BandwidthMiBs < 0 || m.BandwidthMiBs > maxMoveBandwidth {
		return Errorf(Invalid, "a bandwidth of %d MiB/s is not possible", m.BandwidthMiBs).WithField("bandwidth_mibs").
			WithDetail("0 (no limit) to %d are", maxMoveBandwidth)
	}
	return nil
}

// MoveNeedsOff is the refusal to move the disks of a VM that runs while it has
// snapshots: a running disk is copied without them.
func MoveNeedsOff(vm string, snapshots int) error {
	return Errorf(Conflict, "%s has %d snapshots: its disks can be moved only while it is off", vm, snapshots).WithCode("has_snapshots").
		WithDetail("a disk that is in use is copied without the snapshots in it; of a VM that is off they are moved along").
		WithNext("Shut it down first", "baadal vm shutdown "+vm).WithNext("See its snapshots", "baadal vm snapshot list "+vm)
}

// BytesPerSecond is the limit of the copying; 0 is none.
func (m *VMMove) BytesPerSecond() int64 { return int64(m.BandwidthMiBs) << 20 }

// DiskMove is a disk's file on its way between two datastores. Its name stays.
type DiskMove struct {
	From, To DiskFile
	Bytes    int64 // virtual size
}

// DiskCopy is one disk of a domain: the file that it is, and the file that it is
// being copied to while the domain runs.
type DiskCopy struct {
	Target string
	File   string
	To     string // empty if it is not being copied
	Ready  bool   // both are alike, and every write goes to both
}

// CopyProgress is how far a copy is.
type CopyProgress struct {
	Done, Total int64 // bytes
	Rate        int64 // bytes per second; 0 if not known
}

// Share is how much is done, 0 to 1.
func (p CopyProgress) Share() float64 {
	if p.Total <= 0 {
		return 0
	}
	return max(0, min(1, float64(p.Done)/float64(p.Total)))
}
