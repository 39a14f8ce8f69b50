package libvirttest

import (
	"context"

	"baadal"
)

// Hypervisor is what the suite exercises; its contract is workflow.Hypervisor's.
type Hypervisor interface {
	Define(ctx context.Context, host baadal.Host, d baadal.Domain) error
	Undefine(ctx context.Context, host baadal.Host, uuid string) error
	Start(ctx context.Context, host baadal.Host, uuid string) error
	Shutdown(ctx context.Context, host baadal.Host, uuid string) error
	Reboot(ctx context.Context, host baadal.Host, uuid string) error
	Destroy(ctx context.Context, host baadal.Host, uuid string) error
	Domain(ctx context.Context, host baadal.Host, uuid string) (baadal.DomainInfo, error)
	Domains(ctx context.Context, host baadal.Host) ([]baadal.DomainInfo, error)
	Watch(ctx context.Context, host baadal.Host, fn func(baadal.DomainEvent)) error
	DropAutostart(ctx context.Context, host baadal.Host, uuid string) error

	// The contract of these is workflow.Power's.
	Suspend(ctx context.Context, host baadal.Host, uuid string) error
	Resume(ctx context.Context, host baadal.Host, uuid string) error
	Reset(ctx context.Context, host baadal.Host, uuid string) error
	Save(ctx context.Context, host baadal.Host, uuid string) error
	Discard(ctx context.Context, host baadal.Host, uuid string) error

	// The contract of these is workflow.Snapshots'.
	Snapshots(ctx context.Context, host baadal.Host, uuid string) ([]baadal.DomainSnapshot, error)
	CreateSnapshot(ctx context.Context, host baadal.Host, uuid, name, description string) error
	CheckRevert(ctx context.Context, host baadal.Host, uuid, name string) error
	RevertSnapshot(ctx context.Context, host baadal.Host, uuid, name string) error
	DeleteSnapshot(ctx context.Context, host baadal.Host, uuid, name string) error
	ForgetSnapshots(ctx context.Context, host baadal.Host, uuid string) error
	RedefineSnapshots(ctx context.Context, host baadal.Host, uuid string, snaps []baadal.DomainSnapshot) error

	// The contract of these is workflow.Migrator's.
	AbortMigration(ctx context.Context, host baadal.Host, uuid string) error
	Half(ctx context.Context, host baadal.Host, uuid string) (baadal.DomainHalf, error)
	Fits(ctx context.Context, src, dst baadal.Host, uuid string) error
	ResumeMigrated(ctx context.Context, host baadal.Host, uuid string) error

	// The contract of these is workflow.Resizer's.
	Size(ctx context.Context, host baadal.Host, uuid string) (baadal.DomainSize, error)
	PlugVCPUs(ctx context.Context, host baadal.Host, uuid string, n int) error
	SetBalloon(ctx context.Context, host baadal.Host, uuid string, mib int) error

	// The contract of these is workflow.DiskPlugs'.
	Targets(ctx context.Context, host baadal.Host, uuid string) (map[string]string, error)
	AttachDisk(ctx context.Context, host baadal.Host, uuid string, d baadal.DomainDisk) error
	DetachDisk(ctx context.Context, host baadal.Host, uuid string, d baadal.DomainDisk) error
	ResizeDisk(ctx context.Context, host baadal.Host, uuid string, d baadal.DomainDisk, bytes int64) error
	LimitDisk(ctx context.Context, host baadal.Host, uuid string, d baadal.DomainDisk) error

	// The contract of these is workflow.CDDrives'.
	Disc(ctx context.Context, host baadal.Host, uuid string) (string, error)
	SetDisc(ctx context.Context, host baadal.Host, uuid, path string, force bool) error

	// The contract of these is workflow.NICPlugs'.
	NICs(ctx context.Context, host baadal.Host, uuid string) ([]baadal.DomainNIC, error)
	SetNIC(ctx context.Context, host baadal.Host, uuid string, n baadal.DomainNIC) error
	DropNIC(ctx context.Context, host baadal.Host, uuid, mac string) error

	// The contract of this is workflow.Stats's.
	Stats(ctx context.Context, host baadal.Host) ([]baadal.DomainStats, error)
}
