package lab

import (
	"fmt"
	"strings"
)

// States of a node.
const (
	StateUp  = "up"
	StateOff = "off"
	StateCut = "cut" // on, but off the networks
)

// Status is a lab at one moment.
type Status struct {
	Dir        string            `json:"dir"`
	Ready      bool              `json:"ready"` // false: Up is at work, or crashed
	Virt       string            `json:"virt"`
	DHCP       string            `json:"dhcp"` // the DHCP box's server
	SSHKey     string            `json:"ssh_key"`
	KnownHosts string            `json:"known_hosts"`
	Datastores []DatastoreStatus `json:"datastores"`
	Nodes      []NodeStatus      `json:"nodes"`
}

// DatastoreStatus is a datastore: where the machine and where the hosts see it.
type DatastoreStatus struct {
	Name        string `json:"name"`
	MachinePath string `json:"machine_path"`
	HostPath    string `json:"host_path"`
	ReadOnly    bool   `json:"read_only"`
}

// NodeStatus is a node. PID is its process 1, as the machine counts; 0 when it is off.
type NodeStatus struct {
	Name    string   `json:"name"`
	State   string   `json:"state"`
	PID     int      `json:"pid"`
	Address string   `json:"address,omitempty"` // management
	VLAN    []string `json:"vlan_addresses,omitempty"`
}

// Status looks at the lab. Nothing is changed or waited for.
func (l *Lab) Status() (Status, error) {
	s, err := l.loadState()
	if err != nil {
		return Status{}, err
	}
	st := Status{Dir: l.dir, Ready: s.Ready, Virt: s.Virt, DHCP: s.DHCP, SSHKey: l.SSHKeyPath(), KnownHosts: l.KnownHostsPath()}
	for _, name := range datastores {
		readOnly, err := mountedReadOnly(l.DatastorePath(name))
		if err != nil {
			return Status{}, fmt.Errorf("look at datastore %s: %w", name, err)
		}
		st.Datastores = append(st.Datastores, DatastoreStatus{
			Name: name, MachinePath: l.DatastorePath(name), HostPath: "/mnt/" + name, ReadOnly: readOnly,
		})
	}
	for _, name := range nodeNames(s.Hosts) {
		n := s.Nodes[name]
		node := NodeStatus{Name: name, State: StateOff, Address: managementAddress(name)}
		if n.Process.alive() {
			node.PID, node.State = n.Process.PID, StateUp
			if n.Cut {
				node.State = StateCut
			}
		}
		for _, c := range switchCables(name) {
			if c.address != "" {
				node.VLAN = append(node.VLAN, strings.TrimSuffix(c.address, "/24"))
			}
		}
		st.Nodes = append(st.Nodes, node)
	}
	return st, nil
}

// Nodes lists the names of the lab's nodes, hosts last.
func (l *Lab) Nodes() ([]string, error) {
	s, err := l.loadState()
	if err != nil {
		return nil, err
	}
	return nodeNames(s.Hosts), nil
}

// Virt is how guests run here: VirtKVM or VirtQEMU.
func (l *Lab) Virt() (string, error) {
	s, err := l.loadState()
	if err != nil {
		return "", err
	}
	return s.Virt, nil
}
