package baadal

import (
	"encoding/binary"
	"net/netip"
)

// MaxRange is the largest range of addresses that is added at once.
const MaxRange = 65536

// NetworkCreate is the wish for a new network, or for the VLAN and the
// addresses of a built-in one that has none yet.
type NetworkCreate struct {
	Name    string   `json:"name" minLength:"1" maxLength:"30"`
	VLAN    int      `json:"vlan" minimum:"1" maximum:"4094"`
	CIDR    string   `json:"cidr" doc:"e.g. 192.168.10.0/24"`
	Gateway string   `json:"gateway,omitempty"`
	DNS     []string `json:"dns,omitempty" maxItems:"3"`
	First   string   `json:"first,omitempty" doc:"First address for VMs; the subnet's tenth if empty."`
	Last    string   `json:"last,omitempty" doc:"Last address for VMs; the last usable if empty."`
	Bridge  string   `json:"libvirt_network,omitempty"`

	IPv6Prefix string `json:"ipv6_prefix,omitempty" doc:"A /64 beside the subnet, global or unique local, e.g. 2001:db8:10::/64"`

	VisibleToAll  *bool    `json:"visible_to_all,omitempty" doc:"Every organisation may use it; the default unless organisations are named. false without organisations: administrators only."`
	Organisations []string `json:"organisations,omitempty" maxItems:"100" doc:"Names or ids of the only ones that may use it."`
}

// NetworkEdit is the wish to change a network; what is nil stays as it is.
type NetworkEdit struct {
	Name    *string   `json:"name,omitempty" minLength:"1" maxLength:"30"`
	VLAN    *int      `json:"vlan,omitempty" minimum:"1" maximum:"4094" doc:"Only while no VM is in it."`
	CIDR    *string   `json:"cidr,omitempty" doc:"Only while it has no addresses."`
	Gateway *string   `json:"gateway,omitempty" doc:"Empty for none."`
	DNS     *[]string `json:"dns,omitempty" maxItems:"3"`
	Bridge  *string   `json:"libvirt_network,omitempty" doc:"Only while no VM is in it."`

	IPv6Prefix *string `json:"ipv6_prefix,omitempty" doc:"Empty for none. The IPv6 addresses of the NICs in the network follow at once."`

	VisibleToAll  *bool     `json:"visible_to_all,omitempty" doc:"false, without organisations: administrators only."`
	Organisations *[]string `json:"organisations,omitempty" maxItems:"100" doc:"Names or ids of the only ones that may use it from now on; VMs that are in it stay."`
}

// RangeAdd is the wish for more addresses of a network.
type RangeAdd struct {
	First string   `json:"first"`
	Last  string   `json:"last,omitempty" doc:"The same as first if empty."`
	MACs  []string `json:"macs,omitempty" maxItems:"65536" doc:"MACs of the addresses, in their order; those without one get one that nobody has."`
}

// Validate checks the wish by itself, fills in defaults, and returns the range
// as addresses. The gateway and what else has an address already is left out
// of the range by who makes the rows.
func (c *NetworkCreate) Validate() (first, last netip.Addr, err error) {
	if err := CheckName("name", c.Name); err != nil {
		return first, last, err
	}
	if err := checkVLAN(c.VLAN); err != nil {
		return first, last, err
	}
	p, err := checkSubnet(c.CIDR)
	if err != nil {
		return first, last, err
	}
	base, size := number(p.Addr()), uint32(1)<<(32-p.Bits())
	first, last = addressOf(base+min(10, size/4+1)), addressOf(base+size-2)
	if c.First != "" {
		if first, err = within("first", c.First, p); err != nil {
			return first, last, err
		}
	}
	if size > MaxRange {
		last = addressOf(min(number(last), number(first)+MaxRange-1))
	}
	if c.Last != "" {
		if last, err = within("last", c.Last, p); err != nil {
			return first, last, err
		}
	}
	if err := checkRange(first, last, p); err != nil {
		return first, last, err
	}
	if err := checkGateway(c.Gateway, p); err != nil {
		return first, last, err
	}
	if err := checkServers(c.DNS); err != nil {
		return first, last, err
	}
	if err := checkIPv6Prefix(&c.IPv6Prefix); err != nil {
		return first, last, err
	}
	if c.VisibleToAll == nil {
		all := len(c.Organisations) == 0
		c.VisibleToAll = &all
	}
	if c.Bridge == "" {
		c.Bridge = DefaultLibvirtNetwork
	}
	if err := checkVisibility(*c.VisibleToAll, c.Organisations); err != nil {
		return first, last, err
	}
	return first, last, CheckName("libvirt_network", c.Bridge)
}

// Validate checks the wish by itself. A gateway is compared with the subnet
// when both are known.
func (e *NetworkEdit) Validate() error {
	if *e == (NetworkEdit{}) {
		return Errorf(Invalid, "there is nothing to change").WithCode("no_change")
	}
	if e.Name != nil {
		if err := CheckName("name", *e.Name); err != nil {
			return err
		}
	}
	if e.VLAN != nil {
		if err := checkVLAN(*e.VLAN); err != nil {
			return err
		}
	}
	if e.CIDR != nil {
		if _, err := checkSubnet(*e.CIDR); err != nil {
			return err
		}
	}
	if e.DNS != nil {
		if err := checkServers(*e.DNS); err != nil {
			return err
		}
	}
	if e.IPv6Prefix != nil {
		prefix := *e.IPv6Prefix
		e.IPv6Prefix = &prefix
		if err := checkIPv6Prefix(e.IPv6Prefix); err != nil {
			return err
		}
	}
	if e.Bridge != nil {
		if err := CheckName("libvirt_network", *e.Bridge); err != nil {
			return err
		}
	}
	if e.Organisations != nil {
		return checkVisibility(e.VisibleToAll != nil && *e.VisibleToAll, *e.Organisations)
	}
	return nil
}

// CheckGateway refuses a gateway that is not of the network's subnet.
func (n *Network) CheckGateway() error {
	if n.Gateway == "" {
		return nil
	}
	p, err := netip.ParsePrefix(n.CIDR)
	if err != nil {
		return Errorf(Invalid, "%s has no subnet yet", n.Name).WithField("gateway").WithNext("Give it one", "baadal network edit "+n.Name+" --cidr SUBNET")
	}
	return checkGateway(n.Gateway, p)
}

// RangeIn reads a range of addresses of a network; one address if last is empty.
func (n *Network) RangeIn(from, to string) (first, last netip.Addr, err error) {
	p, err := netip.ParsePrefix(n.CIDR)
	if err != nil {
		return first, last, Errorf(Conflict, "%s has no VLAN and no subnet yet", n.Name).WithCode("network_not_ready").
			WithNext("Give it both", "baadal network edit "+n.Name+" --vlan N --cidr A.B.C.0/24")
	}
	if to == "" {
		to = from
	}
	if first, err = within("first", from, p); err != nil {
		return first, last, err
	}
	if last, err = within("last", to, p); err != nil {
		return first, last, err
	}
	return first, last, checkRange(first, last, p)
}

func checkVLAN(vlan int) error {
	if vlan < 1 || vlan > 4094 {
		return Errorf(Invalid, "VLAN %d is out of range", vlan).WithField("vlan").WithDetail("1 to 4094 are possible")
	}
	return nil
}

func checkSubnet(cidr string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(cidr)
	if err != nil || !p.Addr().Is4() || p.Masked() != p || p.Bits() < 8 || p.Bits() > 30 {
		return p, Errorf(Invalid, "%q is not a usable IPv4 subnet", cidr).WithField("cidr").
			WithDetail("give its network address and a prefix of /8 to /30, as 192.168.10.0/24")
	}
	// This network, loopback, link-local, multicast and what comes after it.
	for _, r := range []string{"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"} {
		if netip.MustParsePrefix(r).Overlaps(p) {
			return p, Errorf(Invalid, "%s is not a subnet for VMs", p).WithField("cidr").WithDetail("no machine can have an address of %s", r)
		}
	}
	return p, nil
}

// within reads an address of a subnet.
func within(field, s string, p netip.Prefix) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() || !p.Contains(a) {
		return a, Errorf(Invalid, "%q is not an address of %s", s, p).WithField(field)
	}
	return a, nil
}

func checkRange(first, last netip.Addr, p netip.Prefix) error {
	n := int64(number(last)) - int64(number(first)) + 1
	if n < 1 || n > MaxRange || first == p.Addr() || last == broadcast(p) {
		return Errorf(Invalid, "the range %s to %s is not usable in %s", first, last, p).WithField("first").
			WithDetail("it must go upwards, leave out the network and broadcast addresses, and have at most %d addresses", MaxRange)
	}
	return nil
}

func checkGateway(gateway string, p netip.Prefix) error {
	if gateway == "" {
		return nil
	}
	g, err := within("gateway", gateway, p)
	if err != nil {
		return err
	}
	if g == p.Addr() || g == broadcast(p) {
		return Errorf(Invalid, "the gateway %s is the network or broadcast address of %s", g, p).WithField("gateway")
	}
	return nil
}

func checkServers(dns []string) error {
	for _, d := range dns {
		if a, err := netip.ParseAddr(d); err != nil || a.Zone() != "" { // a zone may be any text
			return Errorf(Invalid, "%q is not an address", d).WithField("dns")
		}
	}
	return nil
}

func checkVisibility(all bool, organisations []string) error {
	if all && len(organisations) > 0 {
		return Errorf(Invalid, "a network is visible to all, or to the organisations that are named").WithField("organisations")
	}
	return nil
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func addressOf(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

func broadcast(p netip.Prefix) netip.Addr {
	return addressOf(number(p.Addr()) + uint32(1)<<(32-p.Bits()) - 1)
}
