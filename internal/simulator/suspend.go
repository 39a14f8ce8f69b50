package simulator

import (
	"context"

	"baadal"
)

// Suspend stops a domain's CPUs; a paused one is success.
func (v *Hypervisor) Suspend(ctx context.Context, bh baadal.Host, uuid string) error {
	return v.turn(ctx, "hypervisor.suspend", bh, uuid, func(d *domain) { v.w.pause(d, true) })
}

// Resume lets a paused domain go on; a running one is success.
func (v *Hypervisor) Resume(ctx context.Context, bh baadal.Host, uuid string) error {
	return v.turn(ctx, "hypervisor.resume", bh, uuid, func(d *domain) { v.w.pause(d, false) })
}

// Reset lets the guest boot anew at once.
func (v *Hypervisor) Reset(ctx context.Context, bh baadal.Host, uuid string) error {
	return v.turn(ctx, "hypervisor.reset", bh, uuid, func(d *domain) {
		d.Booted, v.w.dirty = v.w.now(), true
	})
}

// turn does something to an active domain; one that is off is Conflict.
func (v *Hypervisor) turn(ctx context.Context, op string, bh baadal.Host, uuid string, fn func(*domain)) error {
	return v.w.call(ctx, op, bh, func(h *host) error {
		d := h.Domains[uuid]
		if d == nil {
			return noDomain(h, uuid)
		}
		if !d.active() {
			return baadal.Errorf(baadal.Conflict, "%s is off", d.Def.Name).WithCode("domain_state")
		}
		fn(d)
		return nil
	})
}

// pause stops or continues an active domain.
func (w *World) pause(d *domain, paused bool) {
	state := baadal.VMRunning
	if paused {
		state = baadal.VMPaused
	}
	if d.State != state {
		w.setState(d, state, w.now())
	}
}

// Save writes a domain's memory to the host's disk; it is off then.
func (v *Hypervisor) Save(ctx context.Context, bh baadal.Host, uuid string) error {
	return v.w.call(ctx, "hypervisor.save", bh, func(h *host) error {
		d := h.Domains[uuid]
		switch {
		case d == nil:
			return noDomain(h, uuid)
		case d.Saved != nil:
			return nil
		case !d.active():
			return baadal.Errorf(baadal.Conflict, "%s is off", d.Def.Name).WithCode("domain_state")
		}
		d.Saved = d.Live
		v.w.stop(d, baadal.VMOff, v.w.now())
		return nil
	})
}

// Discard drops what Save wrote.
func (v *Hypervisor) Discard(ctx context.Context, bh baadal.Host, uuid string) error {
	return v.w.call(ctx, "hypervisor.discard", bh, func(h *host) error {
		if d := h.Domains[uuid]; d != nil && d.Saved != nil {
			d.Saved, v.w.dirty = nil, true
		}
		return nil
	})
}
