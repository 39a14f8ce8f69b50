package simulator_test

import (
	"baadal/internal/simulator"
	"baadal/internal/workflow"
)

// The simulated world has every system that tasks need.
var (
	_ workflow.OnHosts      = (*simulator.Hypervisor)(nil)
	_ workflow.OnDatastores = (*simulator.Disks)(nil)
	_ workflow.DHCP         = (*simulator.DHCP)(nil)
	_ workflow.Neighbours   = (*simulator.Neighbours)(nil)
	_ workflow.Names        = (*simulator.Names)(nil)
	_ workflow.Flows        = (*simulator.Flows)(nil)
	_ workflow.NAT          = (*simulator.NAT)(nil)
	_ workflow.Prober       = (*simulator.Prober)(nil)
	_ workflow.Guests       = (*simulator.Guests)(nil)
)
