package baadal

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// PublicAddress is an address that the NAT box gives to one VM, both ways.
type PublicAddress struct {
	ID      int64  `json:"id"`
	IP      string `json:"ip"`
	VMID    int64  `json:"vm_id,omitempty"`
	VM      string `json:"vm,omitempty" doc:"Whose it is; nobody's if empty."`
	Owner   string `json:"owner,omitempty"`
	Address string `json:"address,omitempty" doc:"The VM's private address, where it leads to."`
	KeptFor string `json:"kept_for,omitempty" doc:"A deleted VM that gets it again when it is restored, unless somebody needs it before."`
	Applied bool   `json:"applied" doc:"The NAT box has it as it is here."`

	Traffic *PublicTraffic `json:"traffic,omitempty" doc:"What went through it since it was claimed, as the NAT box last said."`
}

// PublicTraffic counts what a public address carried.
type PublicTraffic struct {
	InBytes    int64     `json:"in_bytes"`
	InPackets  int64     `json:"in_packets"`
	OutBytes   int64     `json:"out_bytes"`
	OutPackets int64     `json:"out_packets"`
	At         time.Time `json:"at"`
}

// PublicRange is the wish to put addresses into the pool, or to take them out.
type PublicRange struct {
	Range string `json:"range" minLength:"7" maxLength:"40" doc:"One address, first-last, or a prefix as 203.0.113.16/28, all of whose addresses are meant."`
}

// PublicPool is what came of it.
type PublicPool struct {
	Range     string `json:"range"`
	Addresses int    `json:"addresses" doc:"How many were put in or taken out."`
}

// MaxPublicRange is how many addresses can be put into the pool at once.
const MaxPublicRange = 4096

// ParseRange reads one IPv4 address, first-last, or a prefix, and returns its
// first and last address.
func ParseRange(s string) (first, last netip.Addr, err error) {
	bad := func(why string) (netip.Addr, netip.Addr, error) {
		return first, last, Errorf(Invalid, "%q is not a range of addresses: %s", s, why).WithCode("bad_range").WithField("range").
			WithDetail("give one IPv4 address, as 203.0.113.7, two, as 203.0.113.7-203.0.113.20, or a prefix, as 203.0.113.16/28")
	}
	if from, to, two := strings.Cut(s, "-"); two {
		a, err1 := netip.ParseAddr(strings.TrimSpace(from))
		b, err2 := netip.ParseAddr(strings.TrimSpace(to))
		if err1 != nil || err2 != nil || !a.Is4() || !b.Is4() {
			return bad("it must be two IPv4 addresses")
		}
		first, last = a, b
	} else if p, perr := netip.ParsePrefix(s); perr == nil {
		if !p.Addr().Is4() || p.Masked() != p {
			return bad("a prefix begins with its network's address")
		}
		first = p.Addr()
		last = AddrOf(NumberOf(first) + uint32(1<<(32-p.Bits())-1))
	} else {
		a, err := netip.ParseAddr(s)
		if err != nil || !a.Is4() {
			return bad("it is no IPv4 address")
		}
		first, last = a, a
	}
	if last.Less(first) {
		return bad("it goes downwards")
	}
	for _, a := range []netip.Addr{first, last} {
		if a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() || a.As4()[0] >= 240 || a.As4()[0] == 0 {
			return bad("no machine can have " + a.String())
		}
	}
	if NumberOf(last)-NumberOf(first) >= MaxPublicRange {
		return bad("it has more than 4096 addresses")
	}
	return first, last, nil
}

// NumberOf is an IPv4 address as a number.
func NumberOf(a netip.Addr) uint32 { return binary.BigEndian.Uint32(a.AsSlice()) }

// AddrOf is the IPv4 address of a number.
func AddrOf(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// NATTable is all that the NAT box is to do for us.
type NATTable struct {
	Revision int64        // which state of the store it is
	Pool     []netip.Addr // all public addresses, claimed or not, sorted
	Ports    []PortRange  // of Public that are ours; a connection to another one is not looked at
	Publics  []NATPublic
	Forwards []NATForward
}

// PortRange is a range of ports, both ends included.
type PortRange struct{ First, Last int }

// NATPublic ties a public address to a private one, both ways.
type NATPublic struct {
	Public, Private netip.Addr
}

// NATForward leads a port of the NAT box's own public address to a port
// somewhere inside, until its time is over.
type NATForward struct {
	Protocol   Protocol
	PublicPort int
	Target     netip.AddrPort
	Masked     bool // the target is no VM behind the NAT box, and answers to the box only
	Expires    time.Time
}

// NATSeen is what a NAT box was seen to have of ours.
type NATSeen struct {
	Table   bool // there is a table of ours, with our rules
	Publics []NATPublic
	Traffic map[netip.Addr]PublicTraffic // by private address

	Forwards []NATForward // Expires is exact to some seconds
}

// NATState says how far the NAT box follows the store.
type NATState struct {
	Revision int64 // of the store
	Applied  int64 // that the box was last given
	Problem  string
	Since    time.Time // of the problem
}

// Blocks returns the fewest prefixes that hold exactly the sorted addresses.
func Blocks(sorted []netip.Addr) (all []netip.Prefix) {
	for i := 0; i < len(sorted); {
		bits := 32
		for bits > 8 {
			size := 1 << (32 - bits + 1)
			start := NumberOf(sorted[i])
			if start%uint32(size) != 0 || i+size > len(sorted) || NumberOf(sorted[i+size-1]) != start+uint32(size-1) {
				break
			}
			bits--
		}
		all = append(all, netip.PrefixFrom(sorted[i], bits))
		i += 1 << (32 - bits)
	}
	return slices.Clip(all)
}
