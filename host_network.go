package baadal

// HostNetwork is a libvirt network of a host, as far as VMs need it.
type HostNetwork struct {
	Name       string
	Bridge     string         // the Open vSwitch bridge that it is on
	Ready      bool           // active, and so after a boot of the host too
	Portgroups map[string]int // their VLAN tags by name; 0: none, or several
}
