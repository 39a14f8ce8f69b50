package baadal

import "time"

// VNCGrant lets a VNC client see a VM's screen for a while: who has the
// address and the password, and nobody else.
type VNCGrant struct {
	ID         int64     `json:"id"`
	VMID       int64     `json:"vm_id"`
	VM         string    `json:"vm"`
	Generation int64     `json:"generation"`
	Address    string    `json:"address" doc:"Where a VNC client connects to."`
	Port       int       `json:"port" doc:"The VM's own."`
	ExpiresAt  time.Time `json:"expires_at"`
	SecondsTo  int64     `json:"seconds_left"`
	Open       bool      `json:"open" doc:"A client can connect now."`
	Problem    string    `json:"problem,omitempty" doc:"Why not, if something is wrong."`
	By         string    `json:"by" doc:"Who asked for it."`
	CreatedAt  time.Time `json:"created_at"`
	Password   string    `json:"password,omitempty" doc:"Only in the answer that made the grant: it is not shown again."`

	ByID       int64  `json:"-"`
	Controller string `json:"-"` // the address of the controller that listens
}

// VNCGrantCreate is the wish for a grant.
type VNCGrantCreate struct {
	Seconds int64 `json:"seconds,omitempty" minimum:"0" doc:"How long it is good; the setting vnc.grant if not given."`
}

// VNCGrantExtend is the wish for a later end of a grant.
type VNCGrantExtend struct {
	Seconds int64 `json:"seconds" minimum:"1" doc:"How long it is good from now on. Who is connected stays so."`
}

// VNCDoor is a grant as the one who listens for its clients needs it.
type VNCDoor struct {
	GrantID  int64
	VM       string // its name, for logs
	Port     int
	Password string
	Until    time.Time
}

// VNCPasswordLength is how much of a password VNC knows.
const VNCPasswordLength = 8

// leastVNCGrant keeps a grant from ending before a client is started.
const leastVNCGrant = 10 * time.Second

// CheckVNCGrantTime refuses times that make no sense for a grant.
func CheckVNCGrantTime(d, longest time.Duration) error {
	if d < leastVNCGrant || d > longest {
		return Errorf(Invalid, "a VNC grant cannot be good for %s", d).WithField("seconds").
			WithDetail("%s to %s are possible (setting %s)", leastVNCGrant, longest, SettingVNCLongest)
	}
	return nil
}
