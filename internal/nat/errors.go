package nat

import (
	"errors"
	"fmt"

	"baadal"
)

// The exit codes of nat.sh.
const (
	codeBusy    = 80
	codeNoNFT   = 81
	codeRefused = 82
	codeNoRoom  = 83
	codeCutOff  = 84
	codeRoutes  = 85
	codeNeeded  = 86
)

// scriptError is how the script ended.
type scriptError struct {
	code  int
	words string
}

func (e scriptError) Error() string {
	return fmt.Sprintf("script ended with code %d: %s", e.code, e.words)
}

// explain turns a failure into an error with a kind.
func (b *Box) explain(err error) error {
	s, ok := errors.AsType[scriptError](err)
	if !ok {
		return fmt.Errorf("change NAT table: %w", err)
	}
	e := &baadal.Error{Kind: baadal.Conflict, Detail: s.words, Err: err}
	box := b.host.Address
	switch s.code {
	case codeBusy, codeCutOff:
		e.Kind, e.Code, e.Title = baadal.Unavailable, "nat_busy", "the NAT table could not be written at "+box
	case codeNoNFT:
		e.Code, e.Title = "nat_no_nft", "the NAT box at "+box+" lacks nft or ip"
		return e.WithNext("Install them on "+box, "apt-get install nftables iproute2")
	case codeRefused:
		e.Code, e.Title = "nat_refused", "the NAT box at "+box+" refuses the table; it goes on with the old one"
	case codeRoutes:
		e.Code, e.Title = "nat_routes", "the NAT box at "+box+" refuses the routes of the public addresses"
	case codeNoRoom:
		e.Kind, e.Code, e.Title = baadal.Unavailable, "nat_no_room", "the NAT box at "+box+" has no room for a lock; it goes on with the old table"
		return e.WithNext("See what is full there", "df -h /run/lock; df -i /run/lock")
	case codeNeeded:
		e.Code, e.Title = "nat_pool", "the NAT box at "+box+" goes on with the old table: without these addresses of the pool it would be cut off"
		return e.WithNext("Take them out of the pool", "baadal public remove "+s.words)
	default: // not Unavailable: a table that cannot be listed is replaced
		e.Code, e.Title = "nat_failed", fmt.Sprintf("the NAT table could not be changed at %s, code %d", box, s.code)
	}
	return e
}
