package lab

import (
	"context"
	"fmt"
	"strconv"
)

// The lab's networks: 10.77.0.0/24 is management (a kernel bridge in the switch node); 192.168.10.0/24 and
// 192.168.20.0/24 are VLANs 10 and 20 on the physical switch, to which hosts are trunked; 203.0.113.0/24 is the world
// outside (another kernel bridge), where the NAT box is .1 and the node Outside is .2. The rest of it is for VMs.
const (
	managementBridge = "br-mgmt"
	outsideBridge    = "br-out"
	physicalSwitch   = "br-phys"

	// Domain is what the name server of the DHCP box has the names of VMs below.
	Domain = "cloud.test"

	// HostBridge is the Open vSwitch bridge of every host, with trunk0 as its way out.
	HostBridge = "baadal-br-int"

	// HostNetwork is the libvirt network of every host, with the port groups vlan10 and vlan20.
	HostNetwork = "ovs-net"
)

// VLANs are the lab's; VLAN n has the addresses 192.168.n.0/24.
var VLANs = []int{10, 20}

// managementNumber is the last part of a node's management address, or 0.
func managementNumber(node string) int {
	switch node {
	case Controller:
		return 2
	case NAT:
		return 3
	case DHCP:
		return 4
	}
	if n := hostNumber(node); n > 0 {
		return 10 + n
	}
	return 0
}

func managementAddress(node string) string {
	if n := managementNumber(node); n > 0 {
		return "10.77.0." + strconv.Itoa(n)
	}
	return ""
}

// mac is the address of a node's card. It stays over a power cut, as a real card's does: nobody has to forget it.
func mac(network, number int) string { return fmt.Sprintf("02:00:0a:4d:%02x:%02x", network, number) }

// startSwitch makes the management bridge and the physical switch.
func (l *Lab) startSwitch(ctx context.Context) error {
	for _, bridge := range []string{managementBridge, outsideBridge} {
		if err := l.batch(ctx, Switch, "link add "+bridge+" type bridge", "link set "+bridge+" up"); err != nil {
			return fmt.Errorf("make bridge %s: %w", bridge, err)
		}
	}
	if err := l.startOpenVSwitch(ctx, Switch); err != nil {
		return err
	}
	err := l.run(ctx, Switch, "ovs-vsctl", "--may-exist", "add-br", physicalSwitch, "--",
		"set", "bridge", physicalSwitch, "datapath_type=netdev")
	if err != nil {
		return fmt.Errorf("make physical switch: %w", err)
	}
	return nil
}

// cable is a veth pair between a node and the switch node.
type cable struct {
	inside, outside string // its names in the node and in the switch
	mac             string // of the inside
	address         string // of the inside, with its mask; may be empty
	tag             int    // access port of this VLAN; 0: a trunk
	bridge          string // the kernel bridge that it goes into; empty: the physical switch
}

// NATAddress and NATInterface are the NAT box's own on the outside; OutsideAddress is the node Outside's.
const (
	NATAddress     = "203.0.113.1"
	NATInterface   = "pub0"
	OutsideAddress = "203.0.113.2"
)

// bridgeCables are the node's cables to kernel bridges.
func bridgeCables(node string) (all []cable) {
	if n := managementNumber(node); n > 0 {
		all = append(all, cable{inside: "eth0", outside: "m-" + node, mac: mac(0, n), address: managementAddress(node) + "/24", bridge: managementBridge})
	}
	switch node {
	case NAT:
		all = append(all, cable{inside: NATInterface, outside: "p-nat", mac: mac(1<<7, 1), address: NATAddress + "/24", bridge: outsideBridge})
	case Outside:
		all = append(all, cable{inside: "eth0", outside: "p-out", mac: mac(1<<7, 2), address: OutsideAddress + "/24", bridge: outsideBridge})
	}
	return all
}

// cablesOf are all cables of a node.
func cablesOf(node string) []cable { return append(bridgeCables(node), switchCables(node)...) }

// switchCables are the node's cables to the physical switch.
func switchCables(node string) []cable {
	if n := hostNumber(node); n > 0 {
		return []cable{{inside: "trunk0", outside: "t-" + node, mac: mac(1, n)}}
	}
	var cables []cable
	for _, vlan := range VLANs {
		number := map[string]int{DHCP: 1, NAT: 254}[node]
		if number == 0 {
			continue
		}
		cables = append(cables, cable{
			inside: "v" + strconv.Itoa(vlan), outside: fmt.Sprintf("%s-v%d", node, vlan), mac: mac(vlan, number),
			address: fmt.Sprintf("192.168.%d.%d/24", vlan, number), tag: vlan,
		})
	}
	return cables
}

// lay makes the cables of a node. The pair comes into being in the two nodes, never in the machine's own network. A
// checksum left to the hardware would reach a guest unfinished, through the userspace switch: hence tx off.
func (l *Lab) lay(ctx context.Context, node string, pid int) error {
	cables := cablesOf(node)
	var there, here []string
	outsides, insides := []string{}, []string{}
	for _, c := range cables {
		there = append(there,
			fmt.Sprintf("link add %s type veth peer name %s address %s netns %d", c.outside, c.inside, c.mac, pid),
			"link set "+c.outside+" up")
		here = append(here, "link set "+c.inside+" up")
		if c.address != "" {
			here = append(here, "addr add "+c.address+" dev "+c.inside)
		}
		outsides, insides = append(outsides, c.outside), append(insides, c.inside)
	}
	if node == Controller {
		for _, vlan := range VLANs {
			here = append(here, fmt.Sprintf("route add 192.168.%d.0/24 via %s", vlan, managementAddress(NAT)))
		}
	}
	if err := l.batch(ctx, Switch, there...); err != nil {
		return fmt.Errorf("lay cables of %s: %w", node, err)
	}
	if err := l.batch(ctx, node, here...); err != nil {
		return fmt.Errorf("lay cables of %s: %w", node, err)
	}
	const offload = `for i; do ethtool -K "$i" tx off >/dev/null || exit 1; done`
	for n, names := range map[string][]string{Switch: outsides, node: insides} {
		if err := l.run(ctx, n, append([]string{"sh", "-c", offload, "sh"}, names...)...); err != nil {
			return fmt.Errorf("lay cables of %s: %w", node, err)
		}
	}
	return nil
}

// plug puts a node's cables into the bridge and the switch. Idempotent.
func (l *Lab) plug(ctx context.Context, node string) error {
	for _, c := range bridgeCables(node) {
		if err := l.batch(ctx, Switch, "link set "+c.outside+" master "+c.bridge); err != nil {
			return fmt.Errorf("plug in %s: %w", node, err)
		}
	}
	args := []string{"ovs-vsctl"}
	for _, c := range switchCables(node) {
		args = append(args, "--", "--if-exists", "del-port", c.outside, "--", "add-port", physicalSwitch, c.outside)
		if c.tag != 0 {
			args = append(args, "tag="+strconv.Itoa(c.tag))
		}
	}
	if len(args) == 1 {
		return nil
	}
	if err := l.run(ctx, Switch, args...); err != nil {
		return fmt.Errorf("plug in %s: %w", node, err)
	}
	return nil
}

// unplug takes a node's cables out of the bridge and the switch. The ends stay up, so that the node sees no loss of
// carrier: what it sends is dropped in silence. Idempotent.
func (l *Lab) unplug(ctx context.Context, node string) error {
	for _, c := range bridgeCables(node) {
		if err := l.batch(ctx, Switch, "link set "+c.outside+" nomaster"); err != nil {
			return fmt.Errorf("unplug %s: %w", node, err)
		}
	}
	return l.forgetPorts(ctx, node)
}

func (l *Lab) forgetPorts(ctx context.Context, node string) error {
	for _, c := range switchCables(node) {
		if err := l.run(ctx, Switch, "ovs-vsctl", "--if-exists", "del-port", physicalSwitch, c.outside); err != nil {
			return fmt.Errorf("unplug %s: %w", node, err)
		}
	}
	return nil
}
