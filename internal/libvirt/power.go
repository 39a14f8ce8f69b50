package libvirt

import (
	"context"
	"fmt"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"baadal"
)

// askTimeout is how long Shutdown and Reboot wait for libvirtd's word. It waits
// for the guest's agent, which may be stuck, for much longer.
const askTimeout = 3 * time.Second

// Define makes or replaces the persistent definition and the console folder; a
// running domain keeps running as it is until it is started anew.
func (h *Hypervisor) Define(ctx context.Context, host baadal.Host, d baadal.Domain) error {
	const op = "define domain"
	text, err := XML(d)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	l, err := h.peer(host).connect(ctx, host)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if err := h.makeConsole(ctx, l, d.Console); err != nil {
		return err
	}
	dom, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (golibvirt.Domain, error) {
		return rpc.DomainDefineXMLFlags(text, 0)
	})
	if err != nil {
		return err
	}
	l.forget(dom.UUID)
	return nil
}

// Undefine removes the definition with managed save, NVRAM, snapshot and
// checkpoint metadata, and the sockets in the console folder. No such domain is
// success. An active domain is refused with Conflict: libvirt would let it run
// on without a definition.
func (h *Hypervisor) Undefine(ctx context.Context, host baadal.Host, uuid string) error {
	const op = "undefine domain"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if baadal.KindOf(err) == baadal.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	console, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (string, error) {
		active, err := rpc.DomainIsActive(dom)
		if err != nil {
			return "", err
		}
		if active != 0 {
			return "", golibvirt.Error{Code: uint32(golibvirt.ErrOperationInvalid), Message: "domain is running"}
		}
		text, err := rpc.DomainGetXMLDesc(dom, golibvirt.DomainXMLInactive)
		if err != nil {
			return "", err
		}
		return consoleOf(text), undefine(rpc, dom)
	})
	if baadal.KindOf(err) == baadal.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	l.forget(dom.UUID)
	return h.removeConsole(ctx, l, console)
}

// undefine asks for everything to go. Drivers without snapshots or NVRAM refuse
// the flags that they do not know.
func undefine(rpc *golibvirt.Libvirt, dom golibvirt.Domain) error {
	err := rpc.DomainUndefineFlags(dom, golibvirt.DomainUndefineManagedSave|golibvirt.DomainUndefineSnapshotsMetadata|
		golibvirt.DomainUndefineNvram|golibvirt.DomainUndefineCheckpointsMetadata)
	if isCode(err, golibvirt.ErrInvalidArg) {
		err = rpc.DomainUndefineFlags(dom, golibvirt.DomainUndefineManagedSave|golibvirt.DomainUndefineSnapshotsMetadata)
	}
	if isCode(err, golibvirt.ErrInvalidArg) {
		err = rpc.DomainUndefineFlags(dom, 0)
	}
	return err
}

// Start returns once the domain runs; a running one is success, a paused one is
// Conflict.
func (h *Hypervisor) Start(ctx context.Context, host baadal.Host, uuid string) error {
	const op = "start domain"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return err
	}
	console, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (string, error) {
		text, err := rpc.DomainGetXMLDesc(dom, golibvirt.DomainXMLInactive)
		return consoleOf(text), err
	})
	if err != nil {
		return err
	}
	// The folder is on a volatile file system: it is gone after a reboot.
	if err := h.makeConsole(ctx, l, console); err != nil {
		return err
	}
	_, err = call(ctx, l, op, func(rpc *golibvirt.Libvirt) (struct{}, error) {
		_, err := rpc.DomainCreateWithFlags(dom, 0)
		if err == nil {
			return struct{}{}, nil
		}
		if state, _, lookErr := rpc.DomainGetState(dom, 0); lookErr == nil && stateOf(golibvirt.DomainState(state)) == baadal.VMRunning {
			return struct{}{}, nil
		}
		return struct{}{}, err
	})
	return err
}

// Shutdown asks the guest, by its agent and then by ACPI, and returns at once;
// a domain that is off is success.
func (h *Hypervisor) Shutdown(ctx context.Context, host baadal.Host, uuid string) error {
	return h.ask(ctx, host, uuid, "shut down domain", func(rpc *golibvirt.Libvirt, dom golibvirt.Domain) error {
		err := rpc.DomainShutdownFlags(dom, golibvirt.DomainShutdownDefault)
		if err != nil && isOff(rpc, dom) {
			return nil
		}
		return err
	})
}

// Reboot asks the guest, by its agent and then by ACPI, and returns at once. A
// domain that is off is Conflict.
func (h *Hypervisor) Reboot(ctx context.Context, host baadal.Host, uuid string) error {
	return h.ask(ctx, host, uuid, "reboot domain", func(rpc *golibvirt.Libvirt, dom golibvirt.Domain) error {
		return rpc.DomainReboot(dom, golibvirt.DomainRebootDefault)
	})
}

// ask sends a request to the guest. When libvirtd has said nothing for
// askTimeout the request is under way, which is all that was promised.
func (h *Hypervisor) ask(ctx context.Context, host baadal.Host, uuid, op string, f func(*golibvirt.Libvirt, golibvirt.Domain) error) error {
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	_, err = call(short, l, op, func(rpc *golibvirt.Libvirt) (struct{}, error) { return struct{}{}, f(rpc, dom) })
	if err != nil && short.Err() != nil && ctx.Err() == nil && !l.isDone() {
		return nil
	}
	return err
}

// Destroy cuts the power; no such domain, or one that is off, is success.
func (h *Hypervisor) Destroy(ctx context.Context, host baadal.Host, uuid string) error {
	const op = "destroy domain"
	l, dom, err := h.lookup(ctx, host, uuid, op)
	if err == nil {
		_, err = call(ctx, l, op, func(rpc *golibvirt.Libvirt) (struct{}, error) {
			err := rpc.DomainDestroyFlags(dom, golibvirt.DomainDestroyDefault)
			if err != nil && isOff(rpc, dom) {
				err = nil
			}
			return struct{}{}, err
		})
	}
	if baadal.KindOf(err) == baadal.NotFound {
		return nil
	}
	return err
}

func isOff(rpc *golibvirt.Libvirt, dom golibvirt.Domain) bool {
	active, err := rpc.DomainIsActive(dom)
	return err == nil && active == 0
}

// lookup finds a domain by UUID; NotFound if the host does not know it.
func (h *Hypervisor) lookup(ctx context.Context, host baadal.Host, uuid, op string) (*link, golibvirt.Domain, error) {
	id, err := parseUUID(uuid)
	if err != nil {
		return nil, golibvirt.Domain{}, fmt.Errorf("%s: %w", op, err)
	}
	l, err := h.peer(host).connect(ctx, host)
	if err != nil {
		return nil, golibvirt.Domain{}, fmt.Errorf("%s: %w", op, err)
	}
	dom, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (golibvirt.Domain, error) { return rpc.DomainLookupByUUID(id) })
	return l, dom, err
}
