package baadal

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// Network is a security domain with its VLAN, its subnet and its addresses.
type Network struct {
	ID         int64          `json:"id"`
	Name       string         `json:"name" doc:"Name of the security domain."`
	Generation int64          `json:"generation"`
	Builtin    string         `json:"builtin,omitempty" doc:"The specification's name of a domain that every cloud has. It cannot be deleted."`
	VLAN       int            `json:"vlan" doc:"802.1Q tag, 1 to 4094; one domain each. 0: a built-in domain that nobody has given one yet."`
	CIDR       string         `json:"cidr" doc:"Its subnet; empty if it has none yet."`
	Gateway    string         `json:"gateway,omitempty"`
	DNS        []string       `json:"dns,omitempty"`
	IPv6Prefix string         `json:"ipv6_prefix,omitempty" doc:"A /64 beside the subnet. The IPv6 address of each NIC in the network follows from it and the NIC's MAC; the network's router gives it to the guests."`
	Bridge     string         `json:"libvirt_network" doc:"The libvirt network on the hosts, ovs-net by default."`
	Portgroup  string         `json:"portgroup" doc:"Its portgroup with the VLAN's tag, vlan<tag> by default."`
	First      string         `json:"first" doc:"Lowest address for VMs."`
	Last       string         `json:"last" doc:"Highest address for VMs."`
	Ranges     []AddressRange `json:"ranges" doc:"The addresses for VMs: what lies between first and last, without what is kept out."`
	Addresses  int            `json:"addresses" doc:"How many addresses for VMs it has."`
	Free       int            `json:"free"`
	VMs        int            `json:"vms"`
	Applied    bool           `json:"applied" doc:"The DHCP server has its reservations."`

	VisibleToAll  bool     `json:"visible_to_all" doc:"Every organisation may use it."`
	Organisations []string `json:"organisations,omitempty" doc:"If not all may: those that may. Administrators always may."`

	CreatedAt time.Time         `json:"created_at"`
	UpdatedAt time.Time         `json:"updated_at"`
	Task      *TaskRef          `json:"task,omitempty"`
	Actions   map[string]Access `json:"actions,omitempty"`

	OrganisationIDs []int64 `json:"-"` // of Organisations
}

// AddressRange is a run of addresses without gaps.
type AddressRange struct {
	First     string `json:"first"`
	Last      string `json:"last"`
	Addresses int    `json:"addresses"`
}

// BuiltinNetworks are the domains that the specification has in every cloud,
// and whether they are visible to all. They get VLAN and addresses when an
// administrator gives them some.
func BuiltinNetworks() map[string]bool {
	return map[string]bool{"Research": true, "Private": false, "Infrastructure": false}
}

// SeenBy reports whether an organisation may use the network.
func (n *Network) SeenBy(organisationID int64) bool {
	return n.VisibleToAll || slices.Contains(n.OrganisationIDs, organisationID)
}

// Portgroup is the name of the portgroup of a VLAN in a libvirt network.
func Portgroup(vlan int) string { return fmt.Sprintf("vlan%d", vlan) }

// DefaultLibvirtNetwork is the specification's name of the libvirt network.
const DefaultLibvirtNetwork = "ovs-net"

// Address is one address of a network's range with its MAC.
type Address struct {
	ID        int64  `json:"id"`
	NetworkID int64  `json:"network_id"`
	IP        string `json:"ip"`
	MAC       string `json:"mac"`
	VMID      int64  `json:"vm_id,omitempty" doc:"Its owner; 0 means free."`
	NIC       int    `json:"nic,omitempty" doc:"Which of its owner's NICs has it; below 0 while that NIC is leaving the network."`
}

// Stranger is somebody unknown who answers for an address of a network.
type Stranger struct {
	IP     string
	MAC    string // upper case; no NIC of ours has it
	SeenAt time.Time
}

// Reservation ties an address to a MAC in the DHCP server.
type Reservation struct {
	Name string // unique host name in the server's file, e.g. ip-192-168-10-11
	MAC  string
	IP   string
}

// RandomMAC makes a locally administered unicast MAC from three random bytes,
// in the specification's block A2:00:00.
func RandomMAC(r [3]byte) string { return fmt.Sprintf("A2:00:00:%02X:%02X:%02X", r[0], r[1], r[2]) }

// CheckMAC reads a MAC address that somebody gives a NIC, six pairs of
// hexadecimal digits with : or - between them, and returns it as we write it.
// Group addresses and the one of zeros only belong to no NIC.
func CheckMAC(s string) (string, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 || strings.Contains(s, ".") {
		return "", Errorf(Invalid, "%q is not a MAC address", s).WithField("macs").WithDetail("enter valid MAC address: six pairs of hexadecimal digits, as A2:00:00:12:34:56")
	}
	if hw[0]&1 != 0 || slices.Max(hw) == 0 {
		return "", Errorf(Invalid, "%s is no address of a NIC", s).WithField("macs").WithDetail("it is a group address, or nothing but zeros")
	}
	return strings.ToUpper(hw.String()), nil
}

// ReservationName names an address in the DHCP server's file.
func ReservationName(ip string) string { return "ip-" + strings.ReplaceAll(ip, ".", "-") }
