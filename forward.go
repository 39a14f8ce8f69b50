package baadal

import (
	"fmt"
	"time"
)

// Protocol is what a port belongs to.
type Protocol string

// The protocols of port mappings.
const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

// Forward is a port of the NAT box's public address that leads to a port of a
// VM for a set time. The NAT box itself ends it, and cuts what is open then.
type Forward struct {
	ID         int64     `json:"id"`
	VMID       int64     `json:"vm_id"`
	VM         string    `json:"vm"`
	Generation int64     `json:"generation"`
	Protocol   Protocol  `json:"protocol" enum:"tcp,udp"`
	Public     string    `json:"public" doc:"The NAT box's public address."`
	PublicPort int       `json:"public_port"`
	Address    string    `json:"address" doc:"The VM's private address, where it leads to."`
	Port       int       `json:"port" doc:"Of the VM."`
	ExpiresAt  time.Time `json:"expires_at"`
	SecondsTo  int64     `json:"seconds_left"`
	Applied    bool      `json:"applied" doc:"The NAT box has it as it is here."`
	By         string    `json:"by" doc:"Who asked for it."`
	CreatedAt  time.Time `json:"created_at"`

	ByID           int64          `json:"-"`
	OwnerID        int64          `json:"-"` // of the VM
	OrganisationID int64          `json:"-"`
	Target         string         `json:"-"` // where it leads to, if that is not the VM's address
	Service        ForwardService `json:"-"`
}

// ForwardService says what keeps a mapping.
type ForwardService string

// The services that have mappings.
const (
	ForwardPort ForwardService = "port" // people, by baadal vm forward
	ForwardVNC  ForwardService = "vnc"  // a grant for a VNC client; leads to a controller
)

// ForwardAdd is the wish for a mapping.
type ForwardAdd struct {
	Port       int      `json:"port" minimum:"1" maximum:"65535" doc:"Of the VM."`
	Protocol   Protocol `json:"protocol,omitempty" enum:"tcp,udp" doc:"tcp if not given."`
	Seconds    int64    `json:"seconds" minimum:"1" doc:"How long it is open."`
	PublicPort int      `json:"public_port,omitempty" minimum:"0" maximum:"65535" doc:"Of the NAT box; a free one if not given."`
}

// ForwardExtend is the wish for another end of a mapping.
type ForwardExtend struct {
	Seconds int64 `json:"seconds" minimum:"1" doc:"How long it is open from now on. What is connected stays so."`
}

// Validate checks the wish by itself and fills in the default.
func (f *ForwardAdd) Validate() error {
	if f.Protocol == "" {
		f.Protocol = TCP
	}
	if f.Protocol != TCP && f.Protocol != UDP {
		return Errorf(Invalid, "there is no protocol %q", f.Protocol).WithField("protocol").WithDetail("tcp and udp can be mapped")
	}
	if f.Port < 1 || f.Port > maxPort {
		return Errorf(Invalid, "%d is not a port", f.Port).WithField("port").WithDetail("1 to %d are possible", maxPort)
	}
	if f.PublicPort < 0 || f.PublicPort > maxPort {
		return Errorf(Invalid, "%d is not a port", f.PublicPort).WithField("public_port")
	}
	return checkSeconds(f.Seconds)
}

// Validate checks the wish by itself.
func (f *ForwardExtend) Validate() error { return checkSeconds(f.Seconds) }

func checkSeconds(n int64) error {
	if n < 1 || n > int64(10*365*24*time.Hour/time.Second) {
		return Errorf(Invalid, "%d seconds is not a time to be open", n).WithField("seconds")
	}
	return nil
}

// Name is how people call a mapping: port and protocol of the VM.
func (f *Forward) Name() string { return fmt.Sprintf("%d/%s", f.Port, f.Protocol) }
