package libvirt

import golibvirt "github.com/digitalocean/go-libvirt"

// BootSector is the probe's disk.
var BootSector = bootSector

// SameDisks and ImageHolds decide whether a snapshot can be reverted to.
var (
	SameDisks  = sameDisks
	ImageHolds = imageHolds
)

// Explain is what callers see of an error of libvirt.
func Explain(host, op string, code int, message string) error {
	l := &link{conn: &guard{done: make(chan struct{})}}
	l.host.Name = host
	return l.explain(op, golibvirt.Error{Code: uint32(code), Message: message}) //nolint:gosec // small constants
}
