package baadal

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Network is a security domain with its VLAN and its range of addresses.
type Network struct {
	ID         int64             `json:"id"`
	Name       string            `json:"name" doc:"Name of the security domain."`
	Generation int64             `json:"generation"`
	VLAN       int               `json:"vlan" doc:"802.1Q tag, 1 to 4094; one domain each."`
	CIDR       string            `json:"cidr"`
	Gateway    string            `json:"gateway,omitempty"`
	DNS        []string          `json:"dns,omitempty"`
	Bridge     string            `json:"libvirt_network" doc:"The libvirt network on the hosts, ovs-net by default."`
	Portgroup  string            `json:"portgroup" doc:"Its portgroup with the VLAN's tag, vlan<tag> by default."`
	First      string            `json:"first" doc:"First address of the range for VMs."`
	Last       string            `json:"last"`
	Addresses  int               `json:"addresses" doc:"Size of the range."`
	Free       int               `json:"free"`
	VMs        int               `json:"vms"`
	Applied    bool              `json:"applied" doc:"The DHCP server has its reservations."`
	CreatedAt  time.Time         `json:"created_at"`
	UpdatedAt  time.Time         `json:"updated_at"`
	Task       *TaskRef          `json:"task,omitempty"`
	Actions    map[string]Access `json:"actions,omitempty"`
}

// DefaultLibvirtNetwork is the specification's name of the libvirt network.
const DefaultLibvirtNetwork = "ovs-net"

// MaxRange is the largest range of one network, addresses.
const MaxRange = 65536

// NetworkCreate is the wish for a new network.
type NetworkCreate struct {
	Name    string   `json:"name" minLength:"1" maxLength:"30"`
	VLAN    int      `json:"vlan" minimum:"1" maximum:"4094"`
	CIDR    string   `json:"cidr" doc:"e.g. 192.168.10.0/24"`
	Gateway string   `json:"gateway,omitempty"`
	DNS     []string `json:"dns,omitempty" maxItems:"3"`
	First   string   `json:"first,omitempty" doc:"First address for VMs; the subnet's tenth if empty."`
	Last    string   `json:"last,omitempty" doc:"Last address for VMs; the last usable if empty."`
	Bridge  string   `json:"libvirt_network,omitempty"`
}

// Address is one address of a network's range with its MAC.
type Address struct {
	ID        int64  `json:"id"`
	NetworkID int64  `json:"network_id"`
	IP        string `json:"ip"`
	MAC       string `json:"mac"`
	VMID      int64  `json:"vm_id,omitempty" doc:"Its owner; 0 means free."`
	NIC       int    `json:"nic,omitempty" doc:"Which of its owner's NICs has it; below 0 while that NIC is leaving the network."`
}

// Reservation ties an address to a MAC in the DHCP server.
type Reservation struct {
	Name string // unique host name in the server's file, e.g. ip-192-168-10-11
	MAC  string
	IP   string
}

// Validate checks the wish by itself, fills in defaults, and returns the range
// as addresses.
func (c *NetworkCreate) Validate() (first, last netip.Addr, err error) {
	if err := CheckName("name", c.Name); err != nil {
		return first, last, err
	}
	if c.VLAN < 1 || c.VLAN > 4094 {
		return first, last, Errorf(Invalid, "VLAN %d is out of range", c.VLAN).WithField("vlan").WithDetail("1 to 4094 are possible")
	}
	p, perr := netip.ParsePrefix(c.CIDR)
	if perr != nil || !p.Addr().Is4() || p.Masked() != p || p.Bits() < 16 || p.Bits() > 30 {
		return first, last, Errorf(Invalid, "%q is not a usable IPv4 subnet", c.CIDR).WithField("cidr").
			WithDetail("give its network address and a prefix of /16 to /30, as 192.168.10.0/24")
	}
	base := binary.BigEndian.Uint32(p.Addr().AsSlice())
	size := uint32(1) << (32 - p.Bits())
	pick := func(field, s string, def uint32) (netip.Addr, error) {
		if s == "" {
			var b [4]byte
			binary.BigEndian.PutUint32(b[:], def)
			return netip.AddrFrom4(b), nil
		}
		a, err := netip.ParseAddr(s)
		if err != nil || !a.Is4() || !p.Contains(a) {
			return a, Errorf(Invalid, "%q is not an address of %s", s, p).WithField(field)
		}
		return a, nil
	}
	if first, err = pick("first", c.First, base+min(10, size/4+1)); err != nil {
		return first, last, err
	}
	if last, err = pick("last", c.Last, base+size-2); err != nil {
		return first, last, err
	}
	n := int64(binary.BigEndian.Uint32(last.AsSlice())) - int64(binary.BigEndian.Uint32(first.AsSlice())) + 1
	if n < 1 || n > MaxRange || first == p.Addr() || binary.BigEndian.Uint32(last.AsSlice()) == base+size-1 {
		return first, last, Errorf(Invalid, "the range %s to %s is not usable in %s", first, last, p).WithField("first").
			WithDetail("it must go upwards and leave out the network and broadcast addresses")
	}
	if c.Gateway != "" {
		if _, err = pick("gateway", c.Gateway, 0); err != nil {
			return first, last, err
		}
		g := netip.MustParseAddr(c.Gateway)
		if g.Compare(first) >= 0 && g.Compare(last) <= 0 {
			return first, last, Errorf(Invalid, "the gateway %s lies inside the range for VMs", g).WithField("gateway")
		}
		if g == p.Addr() || binary.BigEndian.Uint32(g.AsSlice()) == base+size-1 {
			return first, last, Errorf(Invalid, "the gateway %s is the network or broadcast address of %s", g, p).WithField("gateway")
		}
	}
	for _, d := range c.DNS {
		if _, derr := netip.ParseAddr(d); derr != nil {
			return first, last, Errorf(Invalid, "%q is not an address", d).WithField("dns")
		}
	}
	if c.Bridge == "" {
		c.Bridge = DefaultLibvirtNetwork
	}
	return first, last, CheckName("libvirt_network", c.Bridge)
}

// RandomMAC makes a locally administered unicast MAC from three random bytes,
// in the specification's block A2:00:00.
func RandomMAC(r [3]byte) string { return fmt.Sprintf("A2:00:00:%02X:%02X:%02X", r[0], r[1], r[2]) }

// ReservationName names an address in the DHCP server's file.
func ReservationName(ip string) string { return "ip-" + strings.ReplaceAll(ip, ".", "-") }
