package workflow

import (
	"context"
	"slices"
	"strings"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// flowRead reads what ports may send.
func (w *Workflows) flowRead(ctx context.Context) baadal.FlowRead {
	return func(macs []string) (p baadal.FlowPolicy, err error) {
		err = w.db.View(ctx, func(tx *store.Tx) (err error) { p, err = tx.FlowPolicy(macs); return err })
		return p, err
	}
}

// layFlows gives a new host's bridges their rules before it gets its first VM.
// Later the loops keep them.
func (w *Workflows) layFlows(ctx context.Context, r *task.Run) error {
	return w.onHost(ctx, r, func(h baadal.Host) error { return w.sys.Flows.Apply(ctx, h, w.flowRead(ctx)) })
}

// takeFlowsOff leaves a host that was not taken in as open as it was.
func (w *Workflows) takeFlowsOff(ctx context.Context, r *task.Run) error {
	return w.onHost(ctx, r, func(h baadal.Host) error { return w.sys.Flows.Clear(ctx, h, w.flowRead(ctx)) })
}

func (w *Workflows) onHost(ctx context.Context, r *task.Run, do func(baadal.Host) error) error {
	if w.sys.Flows == nil {
		return nil
	}
	host, err := w.hostOf(ctx, r)
	if err != nil {
		return err
	}
	return do(host)
}

// flowCheck is the part of a host's check that looks at the rules on its ports.
func (w *Workflows) flowCheck(ctx context.Context, host baadal.Host) baadal.Check {
	c := baadal.Check{Name: "flows", Fix: "baadal audit --repair"}
	var policy baadal.FlowPolicy
	read := w.flowRead(ctx)
	words, err := w.sys.Flows.Differences(ctx, host, func(macs []string) (_ baadal.FlowPolicy, err error) {
		policy, err = read(macs)
		return policy, err
	})
	switch {
	case err != nil:
		c.Detail, c.Fix = baadal.Message(err), "systemctl restart openvswitch-switch"
	case len(words) > 0:
		c.Detail = strings.Join(words, "; ")
	case policy.Off:
		c.OK, c.Fix, c.Detail = true, "", "switched off: VMs may send with any address, and have no firewalls ("+baadal.SettingAntiSpoofing+")"
	default:
		c.OK, c.Fix, c.Detail = true, "", "VMs send with their own addresses only"
	}
	return c
}

// lookFlows says what is wrong with the rules on a host's ports.
func (w *Workflows) lookFlows(ctx context.Context, host baadal.Host) ([]string, error) {
	if w.sys.Flows == nil {
		return nil, nil
	}
	return w.sys.Flows.Differences(ctx, host, w.flowRead(ctx))
}

// compareFlows reports ports without their rules, and that there are none at all.
func (c *comparison) compareFlows() {
	if !c.b.settings.Bool(baadal.SettingAntiSpoofing) {
		c.add(baadal.Difference{
			Kind: baadal.DiffFlowsOff, Subject: baadal.Subject{Kind: "setting", Name: baadal.SettingAntiSpoofing},
			Stored: "ANTI-SPOOFING IS SWITCHED OFF", Seen: "every VM may send with the addresses of every other, and no security group holds; switch it on: baadal setting set " + baadal.SettingAntiSpoofing + " true",
		})
	}
	for _, h := range c.b.hosts {
		words := c.seen.flows[h.ID]
		if len(words) == 0 || c.beingAdded(h) {
			continue
		}
		c.add(baadal.Difference{
			Kind: baadal.DiffFlows, Subject: baadal.Subject{Kind: "host", ID: h.ID, Name: h.Name}, Host: h.Name,
			Stored: "rules for the ports of its VMs", Seen: strings.Join(words, "; "), Repair: "lay them again",
		})
	}
}

// beingAdded reports whether a task was about to take the host in during the
// look: it gets its rules from that.
func (c *comparison) beingAdded(h baadal.Host) bool {
	return slices.ContainsFunc(slices.Concat(c.before.tasks, c.b.tasks), func(t baadal.Task) bool {
		return t.Kind == baadal.TaskHostAdd && t.Subject.ID == h.ID
	})
}

func (w *Workflows) mendFlows(ctx context.Context, b book, d baadal.Difference) error {
	host, err := hostByName(b, d.Host)
	if err != nil {
		return err
	}
	return w.sys.Flows.Apply(ctx, host, w.flowRead(ctx))
}
