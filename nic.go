package baadal

import (
	"strconv"
	"strings"
)

// MaxNICs is how many NICs a VM can have.
const MaxNICs = 8

// NIC is one network interface of a VM: the claim of an address and its MAC.
type NIC struct {
	Index     int    `json:"index" doc:"0 is the first one, which every VM has; the others keep their numbers."`
	NetworkID int64  `json:"network_id"`
	Network   string `json:"network" doc:"The security domain."`
	VLAN      int    `json:"vlan"`
	Address   string `json:"address"`
	IPv6      string `json:"ipv6_address,omitempty" doc:"If the network has an IPv6 prefix: what follows from it and the MAC. The guest makes it itself when the network's router announces the prefix."`
	MAC       string `json:"mac" doc:"It stays when the network is changed: the guest keeps its device."`

	Actions map[string]Access `json:"actions,omitempty" doc:"What can be done with it now, and if not, why not."`

	Bridge    string `json:"-"` // the libvirt network
	Portgroup string `json:"-"`
}

// Domain is the NIC as a hypervisor is told of it.
func (n *NIC) Domain() DomainNIC {
	return DomainNIC{MAC: n.MAC, Network: n.Bridge, Portgroup: n.Portgroup, VLAN: n.VLAN}
}

// NICAdd is the wish for another NIC.
type NICAdd struct {
	Network string `json:"network" minLength:"1" doc:"Name or id of the security domain."`
}

// NICChange is the wish for another network of a NIC.
type NICChange struct {
	Network string `json:"network" minLength:"1" doc:"Name or id of the security domain."`
}

// FindNIC finds a NIC by its number, one of its addresses, its MAC, or by its
// network's name. A network may be called 1: the number wins.
func FindNIC(all []NIC, ref string) (NIC, error) {
	for _, is := range []func(*NIC) bool{
		func(n *NIC) bool {
			return strconv.Itoa(n.Index) == ref || n.Address == ref || strings.EqualFold(n.MAC, ref) || n.IPv6 != "" && n.IPv6 == ref
		},
		func(n *NIC) bool { return n.Network == ref },
	} {
		for i := range all {
			if is(&all[i]) {
				return all[i], nil
			}
		}
	}
	return NIC{}, Errorf(NotFound, "the VM has no NIC %q", ref).WithCode("nic_unknown").
		WithDetail("a NIC is known by its number, its address, its MAC, or its network")
}

// CheckNICNetwork refuses a network in which one of the NICs is already: a
// guest with two ways into one network answers on the wrong one.
func CheckNICNetwork(all []NIC, network *Network) error {
	for i := range all {
		if all[i].NetworkID == network.ID {
			return Errorf(Conflict, "NIC %d is in network %s already", all[i].Index, network.Name).WithCode("nic_network").WithField("network")
		}
	}
	return nil
}

// FreeNIC is the lowest number that no NIC has. A VM with as many as it can have
// is Exhausted.
func FreeNIC(all []NIC) (int, error) {
	used := map[int]bool{}
	for i := range all {
		used[all[i].Index] = true
	}
	for n := range MaxNICs {
		if !used[n] {
			return n, nil
		}
	}
	return 0, Errorf(Exhausted, "the VM has %d NICs, and can have no more", MaxNICs).WithCode("too_many_nics")
}
