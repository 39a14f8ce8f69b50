package baadal

import (
	"net"
	"strconv"
	"strings"
	"time"
)

// HostState is what we know of a host; the numbers are the specification's.
type HostState int

// The states of a host.
const (
	HostDown        HostState = 0 // does not answer: NOT the same as off
	HostUp          HostState = 1
	HostMaintenance HostState = 2
)

var hostStateNames = map[HostState]string{HostDown: "down", HostUp: "up", HostMaintenance: "maintenance"}

func (s HostState) String() string { return nameOf(hostStateNames, s) }

// MarshalText writes the state's name.
func (s HostState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a state's name.
func (s *HostState) UnmarshalText(b []byte) (err error) {
	*s, err = valueOf(hostStateNames, "host state", string(b))
	return err
}

// Host types, as the specification spells them.
const (
	HostPhysical = "Physical"
	HostVirtual  = "Virtual"
)

// Host is a machine that runs VMs.
type Host struct {
	ID          int64      `json:"id"`
	Name        string     `json:"name"`
	Generation  int64      `json:"generation"`
	Address     string     `json:"address" doc:"Where the controller reaches its sshd: an IP address or a DNS name."`
	SSHPort     int        `json:"ssh_port"`
	SSHUser     string     `json:"ssh_user"`
	HostKey     string     `json:"host_key" doc:"The pinned public key of its sshd, in authorized_keys form."`
	Fingerprint string     `json:"fingerprint" doc:"SHA256 fingerprint of the pinned key."`
	State       HostState  `json:"state" enum:"down,up,maintenance"`
	Reason      string     `json:"reason,omitempty" doc:"Why it is not up."`
	StateSince  time.Time  `json:"state_since"`
	LastSeen    *time.Time `json:"last_seen,omitempty"`

	HostFacts

	// What the store has claimed on it, over all VMs that are not deleted.
	VMs           int `json:"vms"`
	ClaimedVCPUs  int `json:"claimed_vcpus"`
	ClaimedRAMMiB int `json:"claimed_ram_mib"`

	CreatedAt time.Time         `json:"created_at"`
	UpdatedAt time.Time         `json:"updated_at"`
	Actions   map[string]Access `json:"actions,omitempty"`
}

// SSHAddr returns host:port of its sshd.
func (h *Host) SSHAddr() string {
	port := h.SSHPort
	if port == 0 {
		port = 22
	}
	return net.JoinHostPort(h.Address, strconv.Itoa(port))
}

// HostFacts is what looking at a host tells.
type HostFacts struct {
	Hostname string  `json:"hostname"`
	CPUs     int     `json:"cpus" doc:"Logical CPUs."`
	CPUModel string  `json:"cpu_model,omitempty"`
	RAMMiB   int     `json:"ram_mib"`
	DiskGiB  int     `json:"disk_gib" doc:"Sum of its physical disks, GiB."`
	MAC      string  `json:"mac" doc:"MAC address of the interface with its management address."`
	NIC      string  `json:"nic"`
	Type     string  `json:"type" enum:"Physical,Virtual"`
	Virt     string  `json:"virt" enum:"kvm,qemu" doc:"The virtualisation type that was found to run a guest."`
	Libvirt  string  `json:"libvirt" doc:"Version."`
	QEMU     string  `json:"qemu" doc:"Version."`
	Checks   []Check `json:"checks,omitempty"`

	CPU string `json:"-"` // its maker and its features, as the kernel names them
}

// Check is one thing looked at on a host.
type Check struct {
	Name   string `json:"name" doc:"sshd, libvirtd, openvswitch, network, clock, virt, datastore NAME, flows."`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty" doc:"What was seen."`
	Fix    string `json:"fix,omitempty" doc:"How to mend it, if it is not ok."`
}

// LeftBehind says what a host that is removed while it does not answer keeps of
// ours; nothing if it answers.
func (h *Host) LeftBehind() string {
	if h.State != HostDown {
		return ""
	}
	return h.Name + " does not answer: the rules on its bridges stay. To take them off, on it: " + OpenBridge
}

// Failed returns the checks that are not ok.
func (f *HostFacts) Failed() []Check {
	var bad []Check
	for _, c := range f.Checks {
		if !c.OK {
			bad = append(bad, c)
		}
	}
	return bad
}

// HostAdd is the wish to add a host.
type HostAdd struct {
	Address     string `json:"address" minLength:"1" maxLength:"253" doc:"IP address or DNS name, with :port if sshd is not on 22."`
	Name        string `json:"name,omitempty" doc:"Its own host name if empty."`
	SSHUser     string `json:"ssh_user,omitempty" doc:"root if empty."`
	Fingerprint string `json:"fingerprint,omitempty" doc:"SHA256:… of its host key, to be pinned. Without it the answer is 409 showing the key found."`
}

// MissingInCPU compares two CPUs, each as HostFacts.CPU has them, and names what
// a guest that runs on the first one would miss on the second. What is not known
// is not missed.
func MissingInCPU(here, there string) []string {
	a, b := strings.Fields(here), strings.Fields(there)
	if len(a) == 0 || len(b) == 0 {
		return nil
	}
	if a[0] != b[0] {
		return []string{"the maker is " + b[0] + ", not " + a[0]}
	}
	has := map[string]bool{}
	for _, f := range b {
		has[f] = true
	}
	var missing []string
	for _, f := range a {
		if !has[f] {
			missing = append(missing, f)
		}
	}
	return missing
}
