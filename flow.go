package baadal

// FlowNIC is a VM's NIC as the rules on its port have to know it.
type FlowNIC struct {
	VM        string   // its UUID
	MAC       string   // in upper case
	VLAN      int      // of its network
	Addresses []string // IPv4, and IPv6 beside the link-local one that follows from the MAC

	Firewalled bool      // it has security groups
	Rules      []SecRule // of all of them
}

// FlowPolicy is what the store says about the ports of a host's bridges.
type FlowPolicy struct {
	Off      bool      // no rules at all: every port may send what it likes
	Networks []string  // libvirt networks of VMs: their bridges are kept even without a VM
	VLANs    []int     // of our networks: only our VMs are heard there
	NICs     []FlowNIC // those that were asked for and that a VM of ours has
}

// OpenBridge takes our rules off a bridge by hand, on a host that did not answer
// when it was removed.
const OpenBridge = "ovs-vsctl set-fail-mode BRIDGE standalone; ovs-ofctl del-flows BRIDGE; ovs-ofctl add-flow BRIDGE actions=NORMAL"

// FlowRead reads the policy, with the NICs that have one of these MAC addresses
// (in upper case).
type FlowRead func(macs []string) (FlowPolicy, error)
