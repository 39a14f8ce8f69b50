package simulator

import (
	"context"
	"fmt"

	"baadal"
)

// Disc tells which image is in a domain's CD drive.
func (v *Hypervisor) Disc(ctx context.Context, bh baadal.Host, uuid string) (disc string, err error) {
	err = v.onDomain(ctx, "hypervisor.disc", bh, uuid, func(d *domain) error {
		disc = d.definition().CDROM
		return nil
	})
	return disc, err
}

// SetDisc puts an image into a domain's CD drive, or takes out what is in it. A
// deaf guest holds the tray shut.
func (v *Hypervisor) SetDisc(ctx context.Context, bh baadal.Host, uuid, file string, force bool) error {
	return v.onDomain(ctx, "hypervisor.set_disc", bh, uuid, func(d *domain) error {
		if file != "" {
			if _, err := v.w.usable(d.host, file); err != nil {
				return err
			}
		}
		if d.active() && d.Live.CDROM != "" && d.Live.CDROM != file && d.Deaf && !force {
			return baadal.Errorf(baadal.Conflict, "the guest holds the tray of its CD drive shut").WithCode("tray_locked")
		}
		for _, def := range d.sides() {
			if def.CDROM != file {
				def.CDROM, v.w.dirty = file, true
			}
		}
		return nil
	})
}

// DropAutostart makes libvirt leave a domain alone when its host boots.
func (v *Hypervisor) DropAutostart(ctx context.Context, bh baadal.Host, uuid string) error {
	return v.w.call(ctx, "hypervisor.drop_autostart", bh, func(h *host) error {
		if d := h.Domains[uuid]; d != nil && d.Autostart {
			d.Autostart, v.w.dirty = false, true
		}
		return nil
	})
}

// VirshAutostart sets libvirt's autostart of a domain, as somebody may by hand.
func (w *World) VirshAutostart(name, uuid string) error {
	return w.actOn(name, uuid, func(d *domain) error { d.Autostart = true; return nil })
}

// startMarked starts the domains that somebody marked so, as far as they can be.
func (w *World) startMarked(h *host) {
	for _, d := range h.Domains {
		if d.Autostart && !d.active() {
			_ = w.start(d) // a libvirtd that cannot start one at boot only says so in its log
		}
	}
}

// Boot returns a word that is another one after each boot of the host.
func (p *Prober) Boot(ctx context.Context, bh baadal.Host) (boot string, err error) {
	err = p.w.call(ctx, "prober.boot", bh, func(h *host) error {
		boot = fmt.Sprintf("boot %d of %s", h.Boots, h.Name)
		return nil
	})
	return boot, err
}
