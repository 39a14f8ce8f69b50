package simulator

import (
	"context"
	"path"
	"slices"
	"strings"

	"baadal"
)

// Hypervisor is libvirt on all hosts of a World.
type Hypervisor struct{ w *World }

// Hypervisor returns the world's libvirt.
func (w *World) Hypervisor() *Hypervisor { return &Hypervisor{w: w} }

// Define makes or replaces a definition; a running domain keeps running with
// its old one.
func (v *Hypervisor) Define(ctx context.Context, bh baadal.Host, d baadal.Domain) error {
	return v.w.call(ctx, "hypervisor.define", bh, func(h *host) error {
		if err := checkDomain(d); err != nil {
			return err
		}
		return v.w.define(h, d)
	})
}

// checkDomain refuses what libvirt, or who speaks to it, would not take.
func checkDomain(d baadal.Domain) error {
	if err := checkUUID(d.UUID); err != nil {
		return err
	}
	invalid := func(format string, args ...any) error { return baadal.Errorf(baadal.Invalid, format, args...) }
	switch {
	case d.Virt != "kvm" && d.Virt != "qemu":
		return invalid("virtualisation type %q is neither kvm nor qemu", d.Virt)
	case d.Name == "" || d.VCPUs < 1 || d.RAMMiB < 1:
		return invalid("domain %q has no name, CPU or memory", d.Name)
	case len(d.Disks) == 0:
		return invalid("domain %s has no disk", d.Name)
	case !path.IsAbs(d.Console):
		return invalid("console folder %q of %s is not an absolute path", d.Console, d.Name)
	case d.Seed != "" && !path.IsAbs(d.Seed):
		return invalid("seed %q of %s is not an absolute path", d.Seed, d.Name)
	case d.CDROM != "" && !path.IsAbs(d.CDROM):
		return invalid("CD %q of %s is not an absolute path", d.CDROM, d.Name)
	}
	for _, disk := range d.Disks {
		if !path.IsAbs(disk.Path) || (disk.Format != "qcow2" && disk.Format != "raw") {
			return invalid("disk %q of %s is not an absolute path to a qcow2 or raw file", disk.Path, d.Name)
		}
	}
	return nil
}

// Undefine removes a definition; a running domain is refused with Conflict.
func (v *Hypervisor) Undefine(ctx context.Context, bh baadal.Host, uuid string) error {
	return v.w.call(ctx, "hypervisor.undefine", bh, func(h *host) error {
		d := h.Domains[uuid]
		if d == nil {
			return nil
		}
		if d.active() {
			return baadal.Errorf(baadal.Conflict, "%s is running on %s", d.Def.Name, h.Name).WithCode("domain_state").
				WithDetail("its definition is kept while it runs")
		}
		v.w.undefine(d)
		return nil
	})
}

// Start runs a domain and returns after the world's StartTime.
func (v *Hypervisor) Start(ctx context.Context, bh baadal.Host, uuid string) error {
	const op = "hypervisor.start"
	return v.w.around(ctx, op, bh, func() error {
		for slept := false; ; slept = true {
			h, err := v.w.reach(ctx, op, bh)
			if err != nil {
				return err
			}
			if done, err := v.w.tryStart(h, uuid, slept || v.w.cfg.StartTime <= 0); done || err != nil {
				err = v.w.commit(err)
				v.w.mu.Unlock()
				return err
			}
			v.w.mu.Unlock()
			if err := sleep(ctx, v.w.cfg.StartTime); err != nil {
				return interrupted(op, err)
			}
		}
	})
}

// tryStart starts the domain, if it is time, and reports whether it runs.
func (w *World) tryStart(h *host, uuid string, now bool) (bool, error) {
	d := h.Domains[uuid]
	switch {
	case d == nil:
		return false, noDomain(h, uuid)
	case d.State == baadal.VMRunning:
		return true, nil
	case d.active():
		return false, baadal.Errorf(baadal.Conflict, "%s is paused on %s", d.Def.Name, h.Name).WithCode("domain_active")
	case !now:
		return false, nil
	}
	return true, w.start(d)
}

// Shutdown asks the guest to go down; it is off after the world's ShutdownTime.
func (v *Hypervisor) Shutdown(ctx context.Context, bh baadal.Host, uuid string) error {
	return v.w.call(ctx, "hypervisor.shutdown", bh, func(h *host) error {
		d := h.Domains[uuid]
		if d == nil {
			return noDomain(h, uuid)
		}
		v.w.askDown(d, false)
		return nil
	})
}

// Reboot asks the guest to boot anew; it does after the world's ShutdownTime.
// A domain that is off is refused with Conflict.
func (v *Hypervisor) Reboot(ctx context.Context, bh baadal.Host, uuid string) error {
	return v.w.call(ctx, "hypervisor.reboot", bh, func(h *host) error {
		d := h.Domains[uuid]
		if d == nil {
			return noDomain(h, uuid)
		}
		if !d.active() {
			return baadal.Errorf(baadal.Conflict, "%s is off", d.Def.Name).WithCode("domain_state")
		}
		v.w.askDown(d, true)
		return nil
	})
}

// Destroy cuts the power; no such domain is success.
func (v *Hypervisor) Destroy(ctx context.Context, bh baadal.Host, uuid string) error {
	return v.w.call(ctx, "hypervisor.destroy", bh, func(h *host) error {
		if d := h.Domains[uuid]; d != nil {
			v.w.stop(d, baadal.VMOff, v.w.now())
		}
		return nil
	})
}

// Domain looks at one domain; NotFound if the host does not know it.
func (v *Hypervisor) Domain(ctx context.Context, bh baadal.Host, uuid string) (info baadal.DomainInfo, err error) {
	err = v.w.call(ctx, "hypervisor.domain", bh, func(h *host) error {
		d := h.Domains[uuid]
		if d == nil {
			return noDomain(h, uuid)
		}
		info = d.info()
		return nil
	})
	return info, err
}

// Domains looks at all domains of a host, by UUID.
func (v *Hypervisor) Domains(ctx context.Context, bh baadal.Host) (all []baadal.DomainInfo, err error) {
	err = v.w.call(ctx, "hypervisor.domains", bh, func(h *host) error {
		all = make([]baadal.DomainInfo, 0, len(h.Domains))
		for _, d := range h.Domains {
			all = append(all, d.info())
		}
		return nil
	})
	slices.SortFunc(all, func(a, b baadal.DomainInfo) int { return strings.Compare(a.UUID, b.UUID) })
	return all, err
}

func noDomain(h *host, uuid string) error {
	return baadal.Errorf(baadal.NotFound, "%s does not know the domain %s", h.Name, uuid).WithCode("domain_unknown")
}
