package baadal

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// SecGroup is a set of firewall rules that VMs can have. A VM that has groups
// may be reached as one of their rules says, and in no other way; it may reach
// everything, unless one of its groups has rules for what goes out. What a VM
// began, or was allowed in, is answered both ways.
type SecGroup struct {
	ID             int64             `json:"id"`
	Name           string            `json:"name"`
	Generation     int64             `json:"generation"`
	OwnerID        int64             `json:"owner_id"`
	Owner          string            `json:"owner" doc:"Username of the owner."`
	OrganisationID int64             `json:"organisation_id"`
	Organisation   string            `json:"organisation"`
	Rules          []SecRule         `json:"rules"`
	VMs            []string          `json:"vms" doc:"Names of the VMs that have it."`
	CreatedAt      time.Time         `json:"created_at"`
	UpdatedAt      time.Time         `json:"updated_at"`
	Actions        map[string]Access `json:"actions,omitempty"`
}

// Directions and protocols of rules.
const (
	RuleIn  = "in"
	RuleOut = "out"

	ProtocolAny  = "any"
	ProtocolTCP  = "tcp"
	ProtocolUDP  = "udp"
	ProtocolICMP = "icmp" // of IPv6 too
)

// SecRule lets something pass.
type SecRule struct {
	ID        int64  `json:"id,omitempty" doc:"Given by the server; by it the rule is removed."`
	Direction string `json:"direction" enum:"in,out" doc:"in: to the VM; out: from it."`
	Protocol  string `json:"protocol" enum:"any,tcp,udp,icmp"`
	First     int    `json:"first,omitempty" minimum:"0" maximum:"65535" doc:"First port that is reached, of tcp and udp; every port if 0."`
	Last      int    `json:"last,omitempty" minimum:"0" maximum:"65535" doc:"Last port; the first one if 0."`
	Peer      string `json:"peer,omitempty" maxLength:"64" doc:"The other side: an address or a subnet, as 10.0.0.0/8; everybody if empty."`
}

// How many rules a group can have, and a VM by all its groups: each is up to
// sixty in its host's switch, and all VMs there wait while they are laid.
const (
	MaxSecRules   = 100
	MaxVMSecRules = 200
)

// Validate checks a rule by itself and gives it its one form.
func (r *SecRule) Validate() error {
	if r.Direction != RuleIn && r.Direction != RuleOut {
		return Errorf(Invalid, "there is no direction %q", r.Direction).WithField("direction").WithDetail("in (to the VM) and out (from it) are the directions")
	}
	if !slices.Contains([]string{ProtocolAny, ProtocolTCP, ProtocolUDP, ProtocolICMP}, r.Protocol) {
		return Errorf(Invalid, "there is no protocol %q", r.Protocol).WithField("protocol").WithDetail("any, tcp, udp and icmp are possible")
	}
	if r.Last == 0 {
		r.Last = r.First
	}
	switch {
	case r.First < 0 || r.Last < r.First || r.Last > maxPort || r.First == 0 && r.Last > 0:
		return Errorf(Invalid, "the ports %d to %d are no range", r.First, r.Last).WithField("first").WithDetail("1 to %d are possible, upwards", maxPort)
	case r.First > 0 && r.Protocol != ProtocolTCP && r.Protocol != ProtocolUDP:
		return Errorf(Invalid, "%s has no ports", r.Protocol).WithField("first")
	}
	if r.Peer == "" {
		return nil
	}
	p, err := netip.ParsePrefix(r.Peer)
	if a, aerr := netip.ParseAddr(r.Peer); aerr == nil && a.Zone() == "" {
		p, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	if err != nil || p.Masked() != p || p.Addr().Is4In6() {
		return Errorf(Invalid, "%q is no address and no subnet", r.Peer).WithField("peer").WithDetail("as 192.168.10.7, 10.0.0.0/8 or 2001:db8::/32")
	}
	if r.Peer = p.String(); p.IsSingleIP() {
		r.Peer = p.Addr().String()
	}
	return nil
}

// String is the rule in words.
func (r SecRule) String() string {
	words := r.Direction + " " + r.Protocol
	if r.First > 0 {
		words += fmt.Sprintf(" %d", r.First)
		if r.Last > r.First {
			words += fmt.Sprintf("-%d", r.Last)
		}
	}
	if r.Peer != "" {
		words += map[string]string{RuleIn: " from ", RuleOut: " to "}[r.Direction] + r.Peer
	}
	return words
}

// SecGroupCreate is the wish for a group.
type SecGroupCreate struct {
	Name  string    `json:"name" minLength:"1" maxLength:"30" doc:"Letters, digits, dash, underscore; starts with a letter or digit."`
	Rules []SecRule `json:"rules,omitempty" maxItems:"100" doc:"Without any, a VM that has it can be reached by nobody."`
	Owner string    `json:"owner,omitempty" doc:"Username of the owner; the caller if empty."`
}

// Validate checks the wish by itself.
func (c *SecGroupCreate) Validate() error {
	if err := CheckName("name", c.Name); err != nil {
		return err
	}
	return checkRules(c.Rules)
}

// SecGroupEdit is the wish to change a group; what is nil or empty stays. It
// holds at once for every VM that has it, also for connections that exist.
type SecGroupEdit struct {
	Name   *string   `json:"name,omitempty" minLength:"1" maxLength:"30"`
	Add    []SecRule `json:"add,omitempty" maxItems:"100" doc:"Rules that come."`
	Remove []int64   `json:"remove,omitempty" maxItems:"100" doc:"Ids of rules that go."`
}

// Validate checks the wish by itself.
func (e *SecGroupEdit) Validate() error {
	if e.Name == nil && len(e.Add)+len(e.Remove) == 0 {
		return Errorf(Invalid, "nothing to change is given").WithCode("no_change")
	}
	if e.Name != nil {
		if err := CheckName("name", *e.Name); err != nil {
			return err
		}
	}
	return checkRules(e.Add)
}

func checkRules(rules []SecRule) error {
	for i := range rules {
		if err := rules[i].Validate(); err != nil {
			return err
		}
	}
	return nil
}

// RulesText is all rules in words.
func RulesText(rules []SecRule) string {
	words := make([]string, len(rules))
	for i := range rules {
		words[i] = rules[i].String()
	}
	return strings.Join(words, "; ")
}
