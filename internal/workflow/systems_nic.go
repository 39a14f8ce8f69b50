package workflow

import (
	"context"

	"baadal"
)

// NICPlugs changes the NICs of domains. The rules of Hypervisor hold; a NIC is
// known by its MAC.
type NICPlugs interface {
	// NICs tells which NICs the domain has: as it runs, or in its definition if it is off; network and portgroup are always the definition's.
	NICs(ctx context.Context, host baadal.Host, uuid string) ([]baadal.DomainNIC, error)
	// SetNIC gives the domain a NIC, or puts the one with its MAC in its network: in its definition and, if it is active, at once. The guest keeps its device and sees its link go down or up as n says. As it is already is success.
	SetNIC(ctx context.Context, host baadal.Host, uuid string, n baadal.DomainNIC) error
	// DropNIC takes it away from the running domain, waiting until the guest lets go, then from the definition. A domain without it is success; a guest that does not let go is Conflict (code nic_held).
	DropNIC(ctx context.Context, host baadal.Host, uuid, mac string) error
}

// CDDrives changes what is in the CD drive of domains beside the seed's. The
// rules of Hypervisor hold.
type CDDrives interface {
	// Disc tells which image is in it, as the domain runs or in its definition if it is off; empty if none is.
	Disc(ctx context.Context, host baadal.Host, uuid string) (string, error)
	// SetDisc puts the image at path into it, or takes out what is in it if path is empty: in the definition and, if the domain is active, at once. What is so already is success.
	// A guest that holds the tray shut is Conflict (code tray_locked) unless force; a domain without such a drive is Conflict (code no_drive).
	SetDisc(ctx context.Context, host baadal.Host, uuid, path string, force bool) error
}
