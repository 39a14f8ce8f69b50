package libvirt

import (
	"context"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"baadal"
)

const (
	// saveTimeout is for writing a large memory to a slow disk.
	saveTimeout = 30 * time.Minute
	// abortTimeout is for telling libvirtd to give a job up.
	abortTimeout = 5 * time.Second
)

// Suspend stops a domain's CPUs; a paused one is success, one that is off is
// Conflict.
func (h *Hypervisor) Suspend(ctx context.Context, host baadal.Host, uuid string) error {
	return h.act(ctx, host, uuid, "suspend domain", baadal.VMPaused, (*golibvirt.Libvirt).DomainSuspend)
}

// Resume lets a paused domain go on; a running one is success, one that is off
// is Conflict.
func (h *Hypervisor) Resume(ctx context.Context, host baadal.Host, uuid string) error {
	return h.act(ctx, host, uuid, "resume domain", baadal.VMRunning, (*golibvirt.Libvirt).DomainResume)
}

// Reset presses a domain's reset button; one that is off is Conflict.
func (h *Hypervisor) Reset(ctx context.Context, host baadal.Host, uuid string) error {
	return h.act(ctx, host, uuid, "reset domain", baadal.VMUnknown, func(rpc *golibvirt.Libvirt, dom golibvirt.Domain) error {
		return rpc.DomainReset(dom, 0)
	})
}

// act makes one call on a domain that is not yet in the state wanted.
func (h *Hypervisor) act(ctx context.Context, host baadal.Host, uuid, op string, want baadal.VMState, f func(*golibvirt.Libvirt, golibvirt.Domain) error) error {
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return err
	}
	_, err = call(ctx, l, op, func(rpc *golibvirt.Libvirt) (struct{}, error) {
		state, _, err := rpc.DomainGetState(dom, 0)
		now := stateOf(golibvirt.DomainState(state))
		if err != nil || now == want {
			return struct{}{}, err
		}
		if now == baadal.VMOff || now == baadal.VMCrashed {
			return struct{}{}, golibvirt.Error{Code: uint32(golibvirt.ErrOperationInvalid), Message: "domain is not running"}
		}
		return struct{}{}, f(rpc, dom)
	})
	return err
}

// Save writes a domain's memory to the host's disk and returns once it is off;
// Start goes on from there, running. One that is saved already is success, one
// that is only off is Conflict. It is given up when ctx ends, if libvirtd can
// still be told.
func (h *Hypervisor) Save(ctx context.Context, host baadal.Host, uuid string) error {
	const op = "save domain"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return err
	}
	_, err = callWithin(ctx, l, op, saveTimeout, func(rpc *golibvirt.Libvirt) (struct{}, error) {
		err := rpc.DomainManagedSave(dom, uint32(golibvirt.DomainSaveRunning))
		if err != nil && isOff(rpc, dom) {
			if saved, lookErr := rpc.DomainHasManagedSaveImage(dom, 0); lookErr == nil && saved != 0 {
				return struct{}{}, nil
			}
		}
		return struct{}{}, err
	})
	if ctx.Err() != nil && !l.isDone() {
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
		defer cancel()
		// The error of ctx is the one to tell: without a job there is nothing to abort.
		_, _ = call(short, l, "abort save", func(rpc *golibvirt.Libvirt) (struct{}, error) { return struct{}{}, rpc.DomainAbortJob(dom) })
	}
	return err
}

// Discard drops what Save wrote; nothing saved, or no such domain, is success.
func (h *Hypervisor) Discard(ctx context.Context, host baadal.Host, uuid string) error {
	const op = "discard saved domain"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err == nil {
		_, err = call(ctx, l, op, func(rpc *golibvirt.Libvirt) (struct{}, error) {
			saved, err := rpc.DomainHasManagedSaveImage(dom, 0)
			if err != nil || saved == 0 {
				return struct{}{}, err
			}
			return struct{}{}, rpc.DomainManagedSaveRemove(dom, 0)
		})
	}
	if baadal.KindOf(err) == baadal.NotFound {
		return nil
	}
	return err
}
