package libvirt

import (
	"context"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"baadal"
)

// Watch calls fn for each lifecycle event of the host's domains until ctx ends
// or the connection is lost, and returns the reason. The first call has an
// empty UUID: from then on no event is missed, so look at everything. An event
// of state VMUnknown says that the definition changed: look at the domain. fn
// must not block.
func (h *Hypervisor) Watch(ctx context.Context, host baadal.Host, fn func(baadal.DomainEvent)) error {
	const op = "watch domains"
	l, err := h.open(ctx, host)
	if err != nil {
		return err
	}
	// Subscriptions are never cancelled, because that can deadlock go-libvirt:
	// closing the connection ends them.
	defer l.close()
	events, err := call(ctx, l, op, func(rpc *golibvirt.Libvirt) (<-chan golibvirt.DomainEventLifecycleMsg, error) {
		return rpc.LifecycleEvents(context.WithoutCancel(ctx))
	})
	if err != nil {
		return err
	}
	defer func() {
		l.close()
		go func() {
			for range events { // lets go-libvirt's sender end
			}
		}()
	}()
	go l.checkNow(ctx)
	fn(baadal.DomainEvent{State: baadal.VMUnknown, At: h.opts.Now()})
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.conn.done:
			return l.lost(op, nil)
		case msg, ok := <-events:
			if !ok {
				return l.lost(op, nil)
			}
			h.forgetFacts(host, msg)
			if e, ok := eventOf(msg, h.opts.Now()); ok {
				fn(e)
			}
		}
	}
}

// checkNow asks libvirtd for its version now and then; one that is stuck loses
// the connection. A silent host is noticed sooner, by SSH.
func (l *link) checkNow(ctx context.Context) {
	tick := time.NewTicker(l.opts.CheckInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.conn.done:
			return
		case <-tick.C:
		}
		short, cancel := context.WithTimeout(ctx, l.opts.CheckInterval)
		_, err := call(short, l, "check libvirtd", func(rpc *golibvirt.Libvirt) (uint64, error) { return rpc.ConnectGetLibVersion() })
		cancel()
		if err != nil {
			l.close()
			return
		}
	}
}

// forgetFacts drops what the connection for calls knows of a domain whose
// definition changed.
func (h *Hypervisor) forgetFacts(host baadal.Host, msg golibvirt.DomainEventLifecycleMsg) {
	if t := golibvirt.DomainEventType(msg.Event); t != golibvirt.DomainEventDefined && t != golibvirt.DomainEventUndefined {
		return
	}
	p := h.peer(host)
	p.mu.Lock()
	l := p.link
	p.mu.Unlock()
	if l != nil {
		l.forget(msg.Dom.UUID)
	}
}

// eventOf translates a lifecycle event. "Shutdown" is left out: the guest has
// ended, its process has not, and "stopped" follows.
func eventOf(msg golibvirt.DomainEventLifecycleMsg, now time.Time) (baadal.DomainEvent, bool) {
	e := baadal.DomainEvent{UUID: formatUUID(msg.Dom.UUID), At: now}
	switch golibvirt.DomainEventType(msg.Event) {
	case golibvirt.DomainEventStarted, golibvirt.DomainEventResumed:
		e.State = baadal.VMRunning
	case golibvirt.DomainEventSuspended, golibvirt.DomainEventPmsuspended:
		e.State = baadal.VMPaused
	case golibvirt.DomainEventStopped:
		e.State = baadal.VMOff
	case golibvirt.DomainEventCrashed:
		e.State = baadal.VMCrashed
	case golibvirt.DomainEventUndefined:
		e.State = baadal.VMMissing
	case golibvirt.DomainEventDefined:
		e.State = baadal.VMUnknown
	default:
		return e, false
	}
	return e, true
}
