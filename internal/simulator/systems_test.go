package simulator_test

import (
	"baadal/internal/simulator"
	"baadal/internal/workflow"
)

// The simulated world has every system that tasks need.
var _ = func(w *simulator.World) workflow.Systems {
	return workflow.Systems{Hypervisor: w.Hypervisor(), Power: w.Hypervisor(), Resizer: w.Hypervisor(), Snapshots: w.Hypervisor(), Migrator: w.Hypervisor(), Disks: w.Disks(), Bases: w.Disks(), Images: w.Disks(), Adopter: w.Hypervisor(), Backups: w.Hypervisor(), BackupFiles: w.Disks(), Refiller: w.Disks(), Freezer: w.Hypervisor(), DiskPlugs: w.Hypervisor(), CDDrives: w.Hypervisor(), ExtraDisks: w.Disks(), Sizer: w.Disks(), Copier: w.Hypervisor(), Mover: w.Disks(), DHCP: w.DHCP(), Prober: w.Prober(), Guests: w.Guests()}
}
