package simulator_test

import (
	"baadal/internal/simulator"
	"baadal/internal/workflow"
)

// The simulated world has every system that tasks need.
var _ = func(w *simulator.World) workflow.Systems {
	return workflow.Systems{Hypervisor: w.Hypervisor(), Power: w.Hypervisor(), Resizer: w.Hypervisor(), Snapshots: w.Hypervisor(), Migrator: w.Hypervisor(), Disks: w.Disks(), Bases: w.Disks(), Freezer: w.Hypervisor(), DiskPlugs: w.Hypervisor(), ExtraDisks: w.Disks(), Sizer: w.Disks(), DHCP: w.DHCP(), Prober: w.Prober(), Guests: w.Guests()}
}
