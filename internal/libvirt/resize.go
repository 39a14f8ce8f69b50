package libvirt

import (
	"context"

	golibvirt "github.com/digitalocean/go-libvirt"

	"baadal"
)

// Size tells what an active domain has and can have before its next start; one
// that is off is Conflict.
func (h *Hypervisor) Size(ctx context.Context, host baadal.Host, uuid string) (baadal.DomainSize, error) {
	const op = "look at domain's size"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return baadal.DomainSize{}, err
	}
	return call(ctx, l, op, func(rpc *golibvirt.Libvirt) (baadal.DomainSize, error) { return sizeOf(rpc, dom) })
}

func sizeOf(rpc *golibvirt.Libvirt, dom golibvirt.Domain) (s baadal.DomainSize, err error) {
	most, err := rpc.DomainGetVcpusFlags(dom, uint32(golibvirt.DomainVCPULive|golibvirt.DomainVCPUMaximum))
	if err != nil {
		return s, err
	}
	_, maxMem, mem, vcpus, _, err := rpc.DomainGetInfo(dom)
	if err != nil {
		return s, err
	}
	s = baadal.DomainSize{VCPUs: int(vcpus), MaxVCPUs: int(most), RAMMiB: int(mem >> 10), MaxRAMMiB: int(maxMem >> 10)} //nolint:gosec // KiB of memory fit
	text, err := rpc.DomainGetXMLDesc(dom, 0)
	if err != nil {
		return s, err
	}
	m, err := memoryOf(text)
	if m.room > 0 {
		s.MaxRAMMiB, s.RoomMiB, s.PluggedMiB, s.TakenMiB = m.base, m.room, m.plugged, m.taken
	}
	return s, err
}

// PlugVCPUs gives an active domain more vCPUs until its next start; having them
// is success. Fewer, or more than it has room for, is Invalid; one that is off
// is Conflict. Whether the guest uses them is its own business.
func (h *Hypervisor) PlugVCPUs(ctx context.Context, host baadal.Host, uuid string, n int) error {
	const op = "plug in vCPUs"
	return h.resize(ctx, host, uuid, op, func(rpc *golibvirt.Libvirt, dom golibvirt.Domain, s baadal.DomainSize) error {
		switch {
		case n == s.VCPUs:
			return nil
		case n < s.VCPUs || n > s.MaxVCPUs:
			return golibvirt.Error{Code: uint32(golibvirt.ErrInvalidArg), Message: "more vCPUs than it has, up to its maximum, can be plugged in"}
		}
		return rpc.DomainSetVcpusFlags(dom, uint32(n), uint32(golibvirt.DomainVCPULive)) //nolint:gosec // checked above
	})
}

// SetBalloon asks an active domain's guest to make do with so much memory, at
// most what it was started with and its head-room (Invalid): down by the balloon,
// up by what its head-room holds. One that is off is Conflict. It returns at
// once, the guest takes its time.
func (h *Hypervisor) SetBalloon(ctx context.Context, host baadal.Host, uuid string, mib int) error {
	const op = "set balloon"
	return h.resize(ctx, host, uuid, op, func(rpc *golibvirt.Libvirt, dom golibvirt.Domain, s baadal.DomainSize) error {
		if mib < 1 || mib > s.Most() {
			return golibvirt.Error{Code: uint32(golibvirt.ErrInvalidArg), Message: "it can have at most the memory that it was started with, and its head-room"}
		}
		left := min(mib, s.MaxRAMMiB)
		if s.RoomMiB > 0 {
			if err := plugMemory(rpc, dom, mib-left); err != nil || s.RAMMiB-s.TakenMiB == left {
				return err
			}
		}
		return rpc.DomainSetMemoryFlags(dom, uint64(left)<<10, uint32(golibvirt.DomainMemLive)) //nolint:gosec // above 0
	})
}

func (h *Hypervisor) resize(ctx context.Context, host baadal.Host, uuid, op string, f func(*golibvirt.Libvirt, golibvirt.Domain, baadal.DomainSize) error) error {
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return err
	}
	_, err = call(ctx, l, op, func(rpc *golibvirt.Libvirt) (struct{}, error) {
		s, err := sizeOf(rpc, dom)
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, f(rpc, dom, s)
	})
	l.forget(dom.UUID)
	return err
}
