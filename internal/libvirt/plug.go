package libvirt

import (
	"context"
	"fmt"
	"slices"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"baadal"
)

// A guest lets go of a disk within half a second, one that is still booting
// only when it is up.
const (
	detachWithin = 20 * time.Second
	detachAgain  = 5 * time.Second
	detachLook   = 100 * time.Millisecond
)

// plugged is what a domain has: in its definition, and as it runs.
type plugged struct {
	active       bool
	config, live []libvirtxml.DomainDisk
}

func lookPlugged(rpc *golibvirt.Libvirt, dom golibvirt.Domain) (p plugged, err error) {
	active, err := rpc.DomainIsActive(dom)
	if err != nil {
		return p, err
	}
	p.active = active != 0
	if p.config, err = disksOf(rpc, dom, golibvirt.DomainXMLInactive); err == nil && p.active {
		p.live, err = disksOf(rpc, dom, 0)
	}
	return p, err
}

func disksOf(rpc *golibvirt.Libvirt, dom golibvirt.Domain, flags golibvirt.DomainXMLFlags) ([]libvirtxml.DomainDisk, error) {
	text, err := rpc.DomainGetXMLDesc(dom, flags)
	if err != nil {
		return nil, err
	}
	var d libvirtxml.Domain
	if err := d.Unmarshal(text); err != nil {
		return nil, fmt.Errorf("read domain XML: %w", err)
	}
	if d.Devices == nil {
		return nil, nil
	}
	return d.Devices.Disks, nil
}

// at returns the disk that lies at a path; nil if there is none.
func at(disks []libvirtxml.DomainDisk, file string) *libvirtxml.DomainDisk {
	i := slices.IndexFunc(disks, func(k libvirtxml.DomainDisk) bool { return sourceOf(k) == file })
	if i < 0 {
		return nil
	}
	return &disks[i]
}

func sourceOf(k libvirtxml.DomainDisk) string {
	if k.Source == nil || k.Source.File == nil {
		return ""
	}
	return k.Source.File.File
}

func targetOf(k libvirtxml.DomainDisk) string {
	if k.Target == nil {
		return ""
	}
	return k.Target.Dev
}

// Targets tells which file is at which target, CD drives included, in the
// domain's definition and as it runs.
func (h *Hypervisor) Targets(ctx context.Context, host baadal.Host, uuid string) (map[string]string, error) {
	const op = "look at disks of domain"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return nil, err
	}
	return call(ctx, l, op, func(rpc *golibvirt.Libvirt) (map[string]string, error) {
		p, err := lookPlugged(rpc, dom)
		all := map[string]string{}
		for _, k := range slices.Concat(p.config, p.live) {
			all[targetOf(k)] = sourceOf(k)
		}
		return all, err
	})
}

// AttachDisk gives a domain a disk, in its definition and, if it is active, at
// once. A disk that it has is success; a target that something else has is
// Conflict (code target_taken).
func (h *Hypervisor) AttachDisk(ctx context.Context, host baadal.Host, uuid string, d baadal.DomainDisk) error {
	const op = "attach disk"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return err
	}
	_, err = call(ctx, l, op, func(rpc *golibvirt.Libvirt) (struct{}, error) {
		p, err := lookPlugged(rpc, dom)
		if err != nil {
			return struct{}{}, err
		}
		var flags golibvirt.DomainDeviceModifyFlags
		if at(p.config, d.Path) == nil {
			flags |= golibvirt.DomainDeviceModifyConfig
		}
		if p.active && at(p.live, d.Path) == nil {
			flags |= golibvirt.DomainDeviceModifyLive
		}
		if flags == 0 {
			return struct{}{}, nil
		}
		device := diskDevice(d)
		text, err := device.Marshal()
		if err != nil {
			return struct{}{}, fmt.Errorf("write disk XML: %w", err)
		}
		return struct{}{}, rpc.DomainAttachDeviceFlags(dom, text, uint32(flags))
	})
	return err
}

// DetachDisk takes a disk away: from the running domain, once its guest has let
// go of it, then from the definition. A domain without it is success. A guest
// that does not let go is Conflict (code disk_held): the definition keeps the
// disk then.
func (h *Hypervisor) DetachDisk(ctx context.Context, host baadal.Host, uuid string, d baadal.DomainDisk) error {
	const op = "detach disk"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return err
	}
	var asked time.Time
	for begun := h.opts.Now(); ; {
		p, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (plugged, error) { return lookPlugged(rpc, dom) })
		if err != nil {
			return err
		}
		now := h.opts.Now()
		live := at(p.live, d.Path)
		switch {
		case live == nil:
			_, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (struct{}, error) {
				return struct{}{}, unplug(rpc, dom, at(p.config, d.Path), golibvirt.DomainDeviceModifyConfig)
			})
			return err
		case now.Sub(begun) > detachWithin:
			return baadal.Errorf(baadal.Conflict, "the guest does not let go of %s", targetOf(*live)).WithCode("disk_held").
				WithDetail("it was asked %s long; nothing was changed", detachWithin).
				WithNext("Unmount it in the guest, or shut the VM down, and detach it again", "")
		case now.Sub(asked) > detachAgain:
			asked = now
			_, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (struct{}, error) {
				return struct{}{}, unplug(rpc, dom, live, golibvirt.DomainDeviceModifyLive)
			})
			if err != nil && baadal.KindOf(err) != baadal.Unavailable && !asksAlready(err) {
				return err
			}
		}
		if err := wait(ctx, detachLook); err != nil {
			return interrupted(ctx, host.Name, op)
		}
	}
}

// asksAlready reports whether libvirt says that an earlier wish to unplug is
// still with the guest.
func asksAlready(err error) bool { return baadal.CodeOf(err) == "unplug_pending" }

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// unplug detaches a disk by its target and source; none is success.
func unplug(rpc *golibvirt.Libvirt, dom golibvirt.Domain, k *libvirtxml.DomainDisk, flag golibvirt.DomainDeviceModifyFlags) error {
	if k == nil {
		return nil
	}
	device := libvirtxml.DomainDisk{
		Device: "disk", Source: fileSource(sourceOf(*k)), Target: &libvirtxml.DomainDiskTarget{Dev: targetOf(*k), Bus: "virtio"},
	}
	text, err := device.Marshal()
	if err != nil {
		return fmt.Errorf("write disk XML: %w", err)
	}
	return rpc.DomainDetachDeviceFlags(dom, text, uint32(flag))
}

// ResizeDisk makes a disk of an active domain larger; its guest sees that at
// once. The size it has is success; a smaller one is Invalid (code
// disk_shrink), for libvirt would cut it off without a word. A domain that is
// off is Conflict (code domain_state).
func (h *Hypervisor) ResizeDisk(ctx context.Context, host baadal.Host, uuid string, d baadal.DomainDisk, bytes int64) error {
	const op = "resize disk"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return err
	}
	has, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (int64, error) {
		p, err := lookPlugged(rpc, dom)
		if err != nil {
			return 0, err
		}
		live := at(p.live, d.Path)
		if live == nil {
			return 0, golibvirt.Error{Code: uint32(golibvirt.ErrOperationInvalid), Message: "the domain does not run with that disk"}
		}
		_, capacity, _, err := rpc.DomainGetBlockInfo(dom, targetOf(*live), 0)
		if err != nil || int64(capacity) >= bytes { //nolint:gosec // a disk's size fits
			return int64(capacity), err //nolint:gosec // a disk's size fits
		}
		return bytes, rpc.DomainBlockResize(dom, targetOf(*live), uint64(bytes), golibvirt.DomainBlockResizeBytes) //nolint:gosec // never negative
	})
	if err == nil && has > bytes {
		err = baadal.Errorf(baadal.Invalid, "the disk has %d bytes and does not shrink", has).WithCode("disk_shrink")
	}
	return err
}

// LimitDisk sets a disk's limits, in the definition and, if the domain is
// active, at once. A domain without the disk is NotFound.
func (h *Hypervisor) LimitDisk(ctx context.Context, host baadal.Host, uuid string, d baadal.DomainDisk) error {
	const op = "limit disk"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return err
	}
	params := []golibvirt.TypedParam{
		{Field: golibvirt.DomainBlockIotuneTotalBytesSec, Value: *golibvirt.NewTypedParamValueUllong(uint64(d.BytesPerSecond))}, //nolint:gosec // never negative
		{Field: golibvirt.DomainBlockIotuneTotalIopsSec, Value: *golibvirt.NewTypedParamValueUllong(uint64(d.IOPS))},            //nolint:gosec // never negative
	}
	found, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (bool, error) {
		p, err := lookPlugged(rpc, dom)
		if err != nil {
			return false, err
		}
		for _, where := range []struct {
			disks []libvirtxml.DomainDisk
			flag  golibvirt.DomainModificationImpact
		}{{p.config, golibvirt.DomainAffectConfig}, {p.live, golibvirt.DomainAffectLive}} {
			k := at(where.disks, d.Path)
			if k == nil {
				continue
			}
			if err := rpc.DomainSetBlockIOTune(dom, targetOf(*k), params, uint32(where.flag)); err != nil {
				return false, err
			}
		}
		return at(p.config, d.Path) != nil || at(p.live, d.Path) != nil, nil
	})
	if err == nil && !found {
		err = baadal.Errorf(baadal.NotFound, "domain %s has no disk %s", uuid, d.Path).WithCode("disk_unknown")
	}
	return err
}
