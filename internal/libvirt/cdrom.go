package libvirt

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"baadal"
	"baadal/internal/ssh"
)

// The drives for CDs: the seed has its own, so that it stays where it is
// whatever is inserted in the other one.
const (
	seedDrive  = "hda"
	cdromDrive = "hdb"
)

// cdDevice is a CD drive with an image in it; an empty path is an empty drive.
func cdDevice(target, file string) libvirtxml.DomainDisk {
	d := libvirtxml.DomainDisk{
		Device:   "cdrom",
		Driver:   &libvirtxml.DomainDiskDriver{Name: "qemu", Type: "raw"},
		Target:   &libvirtxml.DomainDiskTarget{Dev: target, Bus: "ide"},
		ReadOnly: &libvirtxml.DomainDiskReadOnly{},
	}
	if file != "" {
		d.Source = fileSource(file)
	}
	return d
}

// setBoot writes the boot order to the devices: the first disk, the drive for
// CDs, the first network interface.
func setBoot(l *libvirtxml.DomainDeviceList, order []baadal.BootDevice) {
	if len(order) == 0 {
		order = baadal.DefaultBoot()
	}
	for i, what := range order {
		boot := &libvirtxml.DomainDeviceBoot{Order: uint(i + 1)} //nolint:gosec // from 1 to 3
		switch what {
		case baadal.BootDisk:
			l.Disks[0].Boot = boot
		case baadal.BootCDROM:
			for j := range l.Disks {
				if targetOf(l.Disks[j]) == cdromDrive {
					l.Disks[j].Boot = boot
				}
			}
		case baadal.BootNetwork:
			if len(l.Interfaces) > 0 {
				l.Interfaces[0].Boot = boot
			}
		}
	}
}

// drive returns the drive for CDs; nil if there is none.
func drive(disks []libvirtxml.DomainDisk) *libvirtxml.DomainDisk {
	i := slices.IndexFunc(disks, func(k libvirtxml.DomainDisk) bool { return k.Device == "cdrom" && targetOf(k) == cdromDrive })
	if i < 0 {
		return nil
	}
	return &disks[i]
}

// Disc tells which image is in a domain's CD drive, as it runs, or in its
// definition if it is off; empty if none is, or if it has no drive.
func (h *Hypervisor) Disc(ctx context.Context, host baadal.Host, uuid string) (string, error) {
	const op = "look into CD drive"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return "", err
	}
	return call(ctx, l, op, func(rpc *golibvirt.Libvirt) (string, error) {
		p, err := lookPlugged(rpc, dom)
		if err != nil {
			return "", err
		}
		disks := p.config
		if p.active {
			disks = p.live
		}
		if d := drive(disks); d != nil {
			return sourceOf(*d), nil
		}
		return "", nil
	})
}

// SetDisc puts an image into a domain's CD drive, or takes out what is in it if
// the path is empty: at once if it is active, and in its definition. What is so
// already is success. A guest that holds the tray shut is Conflict (code
// tray_locked) unless force; an active domain without a drive is Conflict (code
// no_drive).
func (h *Hypervisor) SetDisc(ctx context.Context, host baadal.Host, uuid, file string, force bool) error {
	const op = "change CD"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return err
	}
	p, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (plugged, error) { return lookPlugged(rpc, dom) })
	if err != nil {
		return err
	}
	for _, side := range []struct {
		disks []libvirtxml.DomainDisk
		flags golibvirt.DomainDeviceModifyFlags
	}{{p.live, golibvirt.DomainDeviceModifyLive}, {p.config, golibvirt.DomainDeviceModifyConfig}} {
		live := side.flags == golibvirt.DomainDeviceModifyLive
		if live && !p.active {
			continue
		}
		d := drive(side.disks)
		switch {
		case d == nil && (file == "" || !live && p.active):
			continue // nothing is in a drive that it does not have; its next start defines one
		case d == nil:
			return baadal.Errorf(baadal.Conflict, "the domain has no drive for CDs").WithCode("no_drive").
				WithDetail("it was started, or its snapshot was made, before there was one").
				WithNext("Shut it down and start it again, then insert the CD", "")
		case sourceOf(*d) == file:
			continue
		}
		if live && force {
			side.flags |= golibvirt.DomainDeviceModifyForce
		}
		if err := h.changeDiscSoon(ctx, l, dom, *d, file, side.flags); err != nil {
			return err
		}
	}
	return nil
}

// codeTrayMoves is of a tray that is shut although libvirt takes it for open: a
// guest's driver, or its firmware, resets the drive without telling. libvirt
// then never opens it again.
const codeTrayMoves = "tray_moves"

// trayPatience is how long a tray that moves again and again is tried: a guest
// that boots looks at the drive for some seconds.
const trayPatience = 15 * time.Second

// changeDiscSoon is changeDisc for a tray that moves.
func (h *Hypervisor) changeDiscSoon(ctx context.Context, l *link, dom golibvirt.Domain, d libvirtxml.DomainDisk, file string, flags golibvirt.DomainDeviceModifyFlags) error {
	for begun := time.Now(); ; {
		err := h.changeDisc(ctx, l, dom, d, file, flags)
		if baadal.CodeOf(err) != codeTrayMoves || d.Alias == nil || time.Since(begun) > trayPatience {
			return err
		}
		if err := openTray(ctx, l, dom, d.Alias.Name, flags&golibvirt.DomainDeviceModifyForce != 0); err != nil {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// openTray opens a drive's tray past libvirt, which hears of it from QEMU as of
// any move. One that is open is success.
func openTray(ctx context.Context, l *link, dom golibvirt.Domain, device string, force bool) error {
	const op = "open tray"
	command, err := json.Marshal(map[string]any{"execute": "blockdev-open-tray", "arguments": map[string]any{"id": device, "force": force}})
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	text, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (string, error) {
		return rpc.QEMUDomainMonitorCommand(dom, string(command), 0)
	})
	if err != nil {
		return err
	}
	var answer struct {
		Error *struct {
			Desc string `json:"desc"`
		} `json:"error"`
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return fmt.Errorf("%s: read QEMU's answer: %w", op, err)
	}
	if answer.Error != nil {
		return baadal.Errorf(baadal.Conflict, "the guest holds the tray of its CD drive shut: the CD is mounted or in use").
			WithCode("tray_locked").WithDetail("%s", answer.Error.Desc)
	}
	return nil
}

// changeDisc tells libvirt of the drive as it is, with another image in it: it
// refuses whatever else differs.
func (h *Hypervisor) changeDisc(ctx context.Context, l *link, dom golibvirt.Domain, d libvirtxml.DomainDisk, file string, flags golibvirt.DomainDeviceModifyFlags) error {
	const op = "change CD"
	d.Source, d.BackingStore, d.Driver = nil, nil, &libvirtxml.DomainDiskDriver{Name: "qemu", Type: "raw"}
	if file != "" {
		d.Source = fileSource(file)
	}
	text, err := d.Marshal()
	if err != nil {
		return fmt.Errorf("write disk XML: %w", err)
	}
	_, err = call(ctx, l, op, func(rpc *golibvirt.Libvirt) (struct{}, error) {
		return struct{}{}, rpc.DomainUpdateDeviceFlags(dom, text, flags)
	})
	return err
}

// checkDiscs refuses a snapshot whose CD images are gone: a revert would fail
// half-way.
func (h *Hypervisor) checkDiscs(ctx context.Context, host baadal.Host, snapshot, name string) error {
	var s libvirtxml.DomainSnapshot
	if err := s.Unmarshal(snapshot); err != nil {
		return fmt.Errorf("read snapshot XML: %w", err)
	}
	if h.pool == nil || s.Domain == nil || s.Domain.Devices == nil {
		return nil
	}
	for _, d := range s.Domain.Devices.Disks {
		file := sourceOf(d)
		if d.Device != "cdrom" || file == "" {
			continue
		}
		res, err := h.pool.Run(ctx, host, ssh.Command{Argv: []string{"test", "-r", file}})
		if err != nil {
			return fmt.Errorf("look for %s: %w", file, err)
		}
		if res.Code != 0 {
			return noRevert(name, "the CD image %s, which the machine had in its drive then, cannot be read", file)
		}
	}
	return nil
}

// DropAutostart makes libvirt leave a domain alone when its host boots. That is
// so already, and no such domain, is success.
func (h *Hypervisor) DropAutostart(ctx context.Context, host baadal.Host, uuid string) error {
	const op = "switch autostart off"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if baadal.KindOf(err) == baadal.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = call(ctx, l, op, func(rpc *golibvirt.Libvirt) (struct{}, error) { return struct{}{}, rpc.DomainSetAutostart(dom, 0) })
	return err
}
