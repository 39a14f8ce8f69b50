package simulator

import (
	"context"
	"strings"
	"time"

	"baadal"
)

// Flows are the rules on the ports of the world's hosts. Of a host it is only
// known whether it has the right ones: they are lost with its power, or when that
// is ordered.
type Flows struct{ w *World }

// Flows returns the rules on the ports of the world's hosts.
func (w *World) Flows() *Flows { return &Flows{w: w} }

// flowsLook is how soon Keep sees that rules were lost.
const flowsLook = time.Second

// Keep lays the rules and keeps them until ctx ends or the host does not answer.
func (f *Flows) Keep(ctx context.Context, bh baadal.Host, wake <-chan struct{}, read baadal.FlowRead) error {
	tick := time.NewTicker(flowsLook)
	defer tick.Stop()
	for {
		if err := f.Apply(ctx, bh, read); err != nil {
			return err
		}
		for laid := true; laid; {
			select {
			case <-ctx.Done():
				return cause(ctx)
			case <-wake:
				laid = false
			case <-tick.C:
				if err := f.w.call(ctx, "flows.look", bh, func(h *host) error { laid = h.laid(); return nil }); err != nil {
					return err
				}
			}
		}
	}
}

// laid reports whether the host has rules since it was switched on.
func (h *host) laid() bool { return h.Flows == h.Boots+1 }

// Apply lays the rules once.
func (f *Flows) Apply(ctx context.Context, bh baadal.Host, read baadal.FlowRead) error {
	var macs []string
	err := f.w.call(ctx, "flows.ports", bh, func(h *host) error { macs = h.macs(); return nil })
	if err != nil {
		return err
	}
	policy, err := read(macs)
	if err != nil {
		return err
	}
	return f.w.call(ctx, "flows.apply", bh, func(h *host) error {
		if !h.laid() || h.FlowsOff != policy.Off {
			h.Flows, h.FlowsOff, f.w.dirty = h.Boots+1, policy.Off, true
		}
		return nil
	})
}

// Clear takes the rules off.
func (f *Flows) Clear(ctx context.Context, bh baadal.Host, read baadal.FlowRead) error {
	return f.Apply(ctx, bh, func(macs []string) (baadal.FlowPolicy, error) {
		p, err := read(macs)
		p.Off = true
		return p, err
	})
}

// Differences says whether the rules are missing.
func (f *Flows) Differences(ctx context.Context, bh baadal.Host, read baadal.FlowRead) (words []string, err error) {
	policy, err := read(nil)
	if err != nil {
		return nil, err
	}
	err = f.w.call(ctx, "flows.differences", bh, func(h *host) error {
		if !h.laid() || h.FlowsOff != policy.Off {
			words = []string{"ovs0: all rules are missing"}
		}
		return nil
	})
	return words, err
}

func (h *host) macs() (all []string) {
	for _, d := range h.Domains {
		if d.active() {
			for _, nic := range d.Live.NICs {
				all = append(all, strings.ToUpper(nic.MAC))
			}
		}
	}
	return all
}

// DropFlows loses the rules on a host's ports, as when its switch crashes.
func (w *World) DropFlows(name string) error {
	return w.act(name, func(h *host) error { h.Flows = 0; return nil })
}

// LayFlows gives the ports of a host their rules, as the loops would.
func (w *World) LayFlows(name string) error {
	return w.act(name, func(h *host) error { h.Flows, h.FlowsOff = h.Boots+1, false; return nil })
}
