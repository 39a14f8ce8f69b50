package baadal

import "time"

// DomainSnapshot is an internal snapshot of a domain as its host knows it. Its
// data lies in the domain's images; the host keeps no more than this of it.
type DomainSnapshot struct {
	Name      string
	Parent    string // name of the snapshot it was made on; empty for a root
	Current   bool   // what is written now builds on this one
	State     VMState
	XML       string // all of it, secrets included: enough to define it again
	CreatedAt time.Time
}
