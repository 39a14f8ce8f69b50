package baadal

import (
	"slices"
	"time"
)

// AffinityRule says how the VMs of an affinity group stand to each other.
type AffinityRule string

// The rules of affinity groups.
const (
	AffinityTogether AffinityRule = "together" // all on one host
	AffinityApart    AffinityRule = "apart"    // no two on one host
)

// Affinity is a group of VMs that are kept together or apart.
type Affinity struct {
	ID             int64             `json:"id"`
	Name           string            `json:"name"`
	Generation     int64             `json:"generation"`
	Rule           AffinityRule      `json:"rule" enum:"together,apart"`
	OwnerID        int64             `json:"owner_id"`
	Owner          string            `json:"owner" doc:"Username of the owner."`
	OrganisationID int64             `json:"organisation_id"`
	Organisation   string            `json:"organisation"`
	Members        []AffinityMember  `json:"members" doc:"Its VMs by name; deleted ones that can be restored included."`
	CreatedAt      time.Time         `json:"created_at"`
	UpdatedAt      time.Time         `json:"updated_at"`
	Actions        map[string]Access `json:"actions,omitempty"`
}

// AffinityMember is a VM of an affinity group.
type AffinityMember struct {
	VMID  int64   `json:"vm_id"`
	VM    string  `json:"vm"`
	Owner string  `json:"owner"`
	State VMState `json:"state" enum:"running,off,paused,creating,missing,unknown,crashed,deleted"`
	Host  string  `json:"host,omitempty" doc:"Where it is; for those who see hosts."`

	HostID         int64 `json:"-"` // 0 for none
	TargetID       int64 `json:"-"` // the host that it is on its way to; 0 for none
	OwnerID        int64 `json:"-"`
	OrganisationID int64 `json:"-"`
	Busy           bool  `json:"-"` // a task holds it: it may be starting
}

// Active reports whether the member runs, or may be about to.
func (m *AffinityMember) Active() bool {
	return m.State == VMRunning || m.State == VMPaused || m.State == VMInQueue || m.Busy && m.State != VMDeleted
}

// VMRules are the rules that the place of a VM is to obey.
type VMRules struct {
	Hosts  []HostRef  // only these; none is any
	Groups []Affinity // that it is a member of
}

// HostRef is a host as a rule names it.
type HostRef struct {
	ID   int64
	Name string
}

// HostNames are the names of the hosts that the VM may run on.
func (r *VMRules) HostNames() []string {
	var names []string
	for _, h := range r.Hosts {
		names = append(names, h.Name)
	}
	return names
}

// GroupNames are the names of the groups.
func (r *VMRules) GroupNames() []string {
	var names []string
	for _, g := range r.Groups {
		names = append(names, g.Name)
	}
	return names
}

// AffinityCreate is the wish for an affinity group.
type AffinityCreate struct {
	Name  string       `json:"name" minLength:"1" maxLength:"30" doc:"Letters, digits, dash, underscore; starts with a letter or digit."`
	Rule  AffinityRule `json:"rule" enum:"together,apart" doc:"together: all on one host; apart: no two on one host."`
	VMs   []string     `json:"vms,omitempty" maxItems:"100" doc:"Names or ids of VMs, all of one owner unless an administrator asks."`
	Owner string       `json:"owner,omitempty" doc:"Username of the owner; the caller if empty."`
}

// AffinityEdit is the wish to change an affinity group; what is nil or empty
// stays as it is.
type AffinityEdit struct {
	Name   *string       `json:"name,omitempty" minLength:"1" maxLength:"30"`
	Rule   *AffinityRule `json:"rule,omitempty" enum:"together,apart" doc:"VMs that run where it forbids stay there; they and the audit say so."`
	Add    []string      `json:"add,omitempty" maxItems:"100" doc:"Names or ids of VMs that become members."`
	Remove []string      `json:"remove,omitempty" maxItems:"100" doc:"Names or ids of VMs that cease to be."`
}

// MaxAffinityMembers is how many VMs a group may have: each placement of one of
// them looks at all.
const MaxAffinityMembers = 100

// Validate checks the wish by itself.
func (c *AffinityCreate) Validate() error {
	if err := CheckName("name", c.Name); err != nil {
		return err
	}
	return checkAffinityRule(c.Rule)
}

// Validate checks the wish by itself.
func (e *AffinityEdit) Validate() error {
	if e.Name == nil && e.Rule == nil && len(e.Add)+len(e.Remove) == 0 {
		return Errorf(Invalid, "nothing to change is given").WithCode("no_change")
	}
	if e.Name != nil {
		if err := CheckName("name", *e.Name); err != nil {
			return err
		}
	}
	if e.Rule != nil {
		return checkAffinityRule(*e.Rule)
	}
	return nil
}

func checkAffinityRule(r AffinityRule) error {
	if slices.Contains([]AffinityRule{AffinityTogether, AffinityApart}, r) {
		return nil
	}
	return Errorf(Invalid, "there is no rule %q", r).WithField("rule").WithDetail("together (all on one host) and apart (no two on one host) are the rules")
}
