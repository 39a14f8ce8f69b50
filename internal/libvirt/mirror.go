package libvirt

import (
	"context"
	"fmt"
	"strings"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"baadal"
)

// blockJobBytes asks for a block job's figures in bytes per second.
const blockJobBytes = uint32(golibvirt.DomainBlockJobInfoBandwidthBytes)

// noBlockJob is what libvirt says when a job ended before it was told to.
const noBlockJob = "active block job"

// DiskCopies tells which file each disk of a domain is, and what it is being
// copied to: as it runs, or as it is defined if it does not.
func (h *Hypervisor) DiskCopies(ctx context.Context, host baadal.Host, uuid string) (active bool, all []baadal.DiskCopy, err error) {
	const op = "look at disks of domain"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return false, nil, err
	}
	p, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (plugged, error) { return lookPlugged(rpc, dom) })
	if err != nil {
		return false, nil, err
	}
	disks := p.config
	if p.active {
		disks = p.live
	}
	for _, k := range disks {
		if k.Device != "disk" && k.Device != "" {
			continue
		}
		c := baadal.DiskCopy{Target: targetOf(k), File: sourceOf(k)}
		if k.Mirror != nil && k.Mirror.Job == "copy" {
			c.To, c.Ready = mirrorFile(k.Mirror), k.Mirror.Ready == "yes"
		}
		all = append(all, c)
	}
	return p.active, all, nil
}

func mirrorFile(m *libvirtxml.DomainDiskMirror) string {
	if m.Source != nil && m.Source.File != nil {
		return m.Source.File.File
	}
	return ""
}

// CopyDisk copies a disk of an active domain to a file that is there and empty,
// and returns once both are alike and every write goes to both. A copy to that
// file that is at work is joined. It goes on when ctx ends.
func (h *Hypervisor) CopyDisk(ctx context.Context, host baadal.Host, uuid, target, to string, limit int64, progress func(baadal.CopyProgress)) error {
	const op = "copy disk"
	begun, started := h.opts.Now(), false
	for {
		l, dom, live, err := h.live(ctx, host, uuid, op)
		if err != nil {
			return err
		}
		now, err := fileOf(live, target)
		if err != nil || now == to {
			return err
		}
		switch mirror := mirrorOf(live, target); {
		case mirror != nil && mirrorFile(mirror) != to:
			return baadal.Errorf(baadal.Conflict, "%s of %s is being copied to %s", target, live.Name, mirrorFile(mirror)).WithCode("block_job")
		case mirror != nil && mirror.Ready == "yes":
			return nil
		case mirror == nil && started:
			return baadal.Errorf(baadal.Conflict, "the copying of %s of %s was broken off", target, live.Name).WithCode("copy_failed")
		case mirror == nil:
			if err := h.beginCopy(ctx, l, dom, target, to, limit); err != nil {
				return err
			}
		default:
			if err := followCopy(ctx, l, dom, target, h.opts.Now().Sub(begun), progress); err != nil {
				return err
			}
		}
		started = true
		if err := pause(ctx); err != nil {
			return interrupted(ctx, host.Name, op)
		}
	}
}

// beginCopy starts the copying of a disk into a file that is there. Its format
// is named: nothing is guessed from what lies in it. The job belongs to the
// running domain only, so that its definition names the old file until the end.
func (h *Hypervisor) beginCopy(ctx context.Context, l *link, dom golibvirt.Domain, target, to string, limit int64) error {
	disk := libvirtxml.DomainDisk{Driver: &libvirtxml.DomainDiskDriver{Type: "qcow2"}, Source: fileSource(to)}
	text, err := disk.Marshal()
	if err != nil {
		return fmt.Errorf("write disk XML: %w", err)
	}
	var params []golibvirt.TypedParam
	if limit > 0 {
		params = append(params, golibvirt.TypedParam{Field: golibvirt.DomainBlockCopyBandwidth, Value: *golibvirt.NewTypedParamValueUllong(uint64(limit))}) //nolint:gosec // above 0
	}
	return ask(ctx, l, "copy disk", func(rpc *golibvirt.Libvirt) error {
		return rpc.DomainBlockCopy(dom, target, text, params, golibvirt.DomainBlockCopyTransientJob|golibvirt.DomainBlockCopyReuseExt)
	})
}

// followCopy tells how far a copy is.
func followCopy(ctx context.Context, l *link, dom golibvirt.Domain, target string, took time.Duration, progress func(baadal.CopyProgress)) error {
	p, err := call(ctx, l, "copy disk", func(rpc *golibvirt.Libvirt) (p baadal.CopyProgress, err error) {
		found, _, _, done, total, err := rpc.DomainGetBlockJobInfo(dom, target, blockJobBytes)
		if err != nil || found == 0 {
			return p, err
		}
		return baadal.CopyProgress{Done: int64(done), Total: int64(total)}, nil //nolint:gosec // a disk's size fits
	})
	if err != nil || p.Total == 0 {
		return err
	}
	if s := took.Seconds(); s > 0 {
		p.Rate = int64(float64(p.Done) / s)
	}
	progress(p)
	return nil
}

// PivotDisk makes a domain write to the file that CopyDisk made alike, from one
// moment on and in its definition too. Done already is success; a copy that is
// not ready is Conflict (code copy_failed).
func (h *Hypervisor) PivotDisk(ctx context.Context, host baadal.Host, uuid, target, to string) error {
	const op = "go over to copied disk"
	l, dom, live, err := h.live(ctx, host, uuid, op)
	if err != nil {
		return err
	}
	now, err := fileOf(live, target)
	if err != nil || now == to {
		return err
	}
	if m := mirrorOf(live, target); m == nil || mirrorFile(m) != to || m.Ready != "yes" {
		return baadal.Errorf(baadal.Conflict, "the copy of %s of %s is not ready", target, live.Name).WithCode("copy_failed")
	}
	err = ask(ctx, l, op, func(rpc *golibvirt.Libvirt) error {
		return rpc.DomainBlockJobAbort(dom, target, golibvirt.DomainBlockJobAbortPivot)
	})
	if err != nil {
		return err
	}
	if _, _, live, err = h.live(ctx, host, uuid, op); err != nil {
		return err
	}
	if now, err = fileOf(live, target); err == nil && now != to {
		err = baadal.Errorf(baadal.Conflict, "%s of %s did not go over to its copy", target, live.Name).WithCode("copy_failed")
	}
	return err
}

// StopCopy ends the copying of a disk; the domain keeps its file. None, a
// domain that is off, and no such domain is success.
func (h *Hypervisor) StopCopy(ctx context.Context, host baadal.Host, uuid, target string) error {
	const op = "stop copying of disk"
	for {
		l, dom, live, err := h.live(ctx, host, uuid, op)
		if baadal.KindOf(err) == baadal.NotFound || baadal.CodeOf(err) == "domain_state" {
			return nil
		}
		if err != nil {
			return err
		}
		disk := diskOf(live, target)
		if disk == nil || disk.Mirror == nil {
			return nil
		}
		err = ask(ctx, l, op, func(rpc *golibvirt.Libvirt) error { return rpc.DomainBlockJobAbort(dom, target, 0) })
		if err != nil && !strings.Contains(err.Error(), noBlockJob) {
			return err
		}
		if err := pause(ctx); err != nil {
			return interrupted(ctx, host.Name, op)
		}
	}
}

// SwapSeed puts a copy of its seed into the drive of an active domain. Done
// already, another CD in that drive, and a domain that is off is success.
func (h *Hypervisor) SwapSeed(ctx context.Context, host baadal.Host, uuid, from, to string) error {
	const op = "swap seed"
	l, dom, live, err := h.live(ctx, host, uuid, op)
	if baadal.CodeOf(err) == "domain_state" {
		return nil
	}
	if err != nil {
		return err
	}
	i := -1
	for n, k := range live.Devices.Disks {
		if k.Device == "cdrom" && sourceOf(k) == from {
			i = n
		}
	}
	if i < 0 {
		return nil
	}
	k := live.Devices.Disks[i]
	device := libvirtxml.DomainDisk{Device: "cdrom", Driver: &libvirtxml.DomainDiskDriver{Name: "qemu", Type: "raw"}, Source: fileSource(to), Target: k.Target, ReadOnly: k.ReadOnly}
	text, err := device.Marshal()
	if err != nil {
		return fmt.Errorf("write disk XML: %w", err)
	}
	// A guest that has it mounted locks its tray. It reads the same bytes
	// afterwards, so the tray is forced.
	return ask(ctx, l, op, func(rpc *golibvirt.Libvirt) error {
		err := rpc.DomainUpdateDeviceFlags(dom, text, golibvirt.DomainDeviceModifyLive)
		if err != nil {
			err = rpc.DomainUpdateDeviceFlags(dom, text, golibvirt.DomainDeviceModifyLive|golibvirt.DomainDeviceModifyForce)
		}
		return err
	})
}
