package simulator

import (
	"context"
	"strings"

	"baadal"
)

// Fits checks that dst can take a domain over: its CPU, if the domain is active
// and not emulated, and its disks.
func (v *Hypervisor) Fits(ctx context.Context, src, dst baadal.Host, uuid string) error {
	var paths []string
	var cpu string
	err := v.w.call(ctx, "hypervisor.fits_source", src, func(h *host) error {
		d := h.Domains[uuid]
		if d == nil {
			return noDomain(h, uuid)
		}
		def := d.Def
		if d.active() {
			def = *d.Live
			if def.Virt == "kvm" {
				cpu = h.Facts.CPU
			}
		}
		for _, k := range def.Disks {
			paths = append(paths, k.Path)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return v.w.call(ctx, "hypervisor.fits", dst, func(h *host) error {
		var reasons []string
		if missing := baadal.MissingInCPU(cpu, h.Facts.CPU); len(missing) > 0 {
			reasons = append(reasons, "its CPU is not one that the VM can go on with: "+strings.Join(missing, ", "))
		}
		for _, p := range paths {
			if _, err := v.w.usable(h, p); err != nil {
				reasons = append(reasons, "it does not see "+p)
			}
		}
		if len(reasons) == 0 {
			return nil
		}
		return baadal.Errorf(baadal.Conflict, "%s cannot take it over from %s", h.Name, src.Name).WithCode("host_unfit").
			WithDetail("%s", strings.Join(reasons, "; ")).WithNext("See what is wrong with the host", "baadal host show "+h.Name)
	})
}

// SetHostCPU gives a host another CPU: its maker and its features.
func (w *World) SetHostCPU(name, cpu string) error {
	return w.act(name, func(h *host) error { h.Facts.CPU = cpu; return nil })
}
