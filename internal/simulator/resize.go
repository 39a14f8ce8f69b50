package simulator

import (
	"context"

	"baadal"
)

// Size tells what an active domain has and can have before its next start.
func (v *Hypervisor) Size(ctx context.Context, bh baadal.Host, uuid string) (size baadal.DomainSize, err error) {
	err = v.resize(ctx, "hypervisor.size", bh, uuid, func(d *domain) error { size = d.size(); return nil })
	return size, err
}

func (d *domain) size() baadal.DomainSize {
	s := baadal.DomainSize{
		VCPUs: d.Live.VCPUs, MaxVCPUs: max(d.Live.VCPUs, d.Live.MaxVCPUs), RAMMiB: d.Live.RAMMiB, MaxRAMMiB: d.Live.RAMMiB,
	}
	if d.Balloon != 0 {
		s.RAMMiB = d.Balloon
	}
	s.RoomMiB = max(0, d.Live.MaxRAMMiB-d.Live.RAMMiB) / 2 * 2
	s.PluggedMiB, s.TakenMiB = d.Live.PluggedMiB, d.Live.PluggedMiB
	s.RAMMiB += s.PluggedMiB
	return s
}

// PlugVCPUs gives an active domain more vCPUs until its next start.
func (v *Hypervisor) PlugVCPUs(ctx context.Context, bh baadal.Host, uuid string, n int) error {
	return v.resize(ctx, "hypervisor.plug_vcpus", bh, uuid, func(d *domain) error {
		if s := d.size(); n < s.VCPUs || n > s.MaxVCPUs {
			return baadal.Errorf(baadal.Invalid, "%s has %d of at most %d vCPUs", d.Def.Name, s.VCPUs, s.MaxVCPUs).WithCode("libvirt_argument")
		}
		d.Live.VCPUs, v.w.dirty = n, true
		return nil
	})
}

// SetBalloon asks the guest to make do with so much memory; it obeys at once.
func (v *Hypervisor) SetBalloon(ctx context.Context, bh baadal.Host, uuid string, mib int) error {
	return v.resize(ctx, "hypervisor.set_balloon", bh, uuid, func(d *domain) error {
		s := d.size()
		if mib < 1 || mib > s.Most() {
			return baadal.Errorf(baadal.Invalid, "%s was started with %d MiB", d.Def.Name, s.MaxRAMMiB).WithCode("libvirt_argument")
		}
		d.Balloon, v.w.dirty = mib, true
		if mib >= s.MaxRAMMiB {
			d.Balloon = 0
		}
		d.Live.PluggedMiB = (max(0, mib-s.MaxRAMMiB) + 1) / 2 * 2
		return nil
	})
}

func (v *Hypervisor) resize(ctx context.Context, op string, bh baadal.Host, uuid string, fn func(*domain) error) (err error) {
	if turnErr := v.turn(ctx, op, bh, uuid, func(d *domain) { err = fn(d) }); turnErr != nil {
		return turnErr
	}
	return err
}
