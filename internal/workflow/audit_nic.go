package workflow

import (
	"context"
	"fmt"
	"strings"

	"baadal"
	"baadal/internal/task"
)

// compareNICs asks whether every NIC of a VM that runs is on its host's bridge,
// in its network's VLAN.
func (c *comparison) compareNICs(vm baadal.VM) {
	if c.before.vms[vm.ID].Generation != vm.Generation {
		return // its NICs may have been changed while it was looked at
	}
	for _, n := range c.b.nics[vm.ID] {
		tag, plugged := c.seen.vlans[vm.HostID][strings.ToUpper(n.MAC)]
		if plugged && tag == n.VLAN {
			continue
		}
		seen, repair := fmt.Sprintf("tag %d", tag), "tag its port as its network says"
		if !plugged {
			seen, repair = "no port with its MAC", "plug it in"
		} else if tag == 0 {
			seen = "no tag: it sees every VLAN"
		}
		stored := fmt.Sprintf("tag %d", n.VLAN)
		if n.Index > 0 {
			stored = fmt.Sprintf("NIC %d: %s", n.Index, stored)
		}
		c.add(baadal.Difference{Kind: baadal.DiffWrongVLAN, Subject: vmSubject(vm), Host: vm.Host, Stored: stored, Seen: seen, Repair: repair})
	}
}

// mendNICs plugs in what of a VM's NICs is not, and tags the ports of all.
func (w *Workflows) mendNICs(ctx context.Context, d baadal.Difference) error {
	r := &task.Run{Task: baadal.Task{Subject: d.Subject}}
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	if err := quiet(p.vm); err != nil {
		return err
	}
	for i := range p.nics {
		nic := p.nics[i].Domain()
		if err := w.sys.NICPlugs.SetNIC(ctx, p.host, p.vm.UUID, nic); err != nil {
			return err
		}
		if err := w.unlessOff(ctx, p, w.checkTag(ctx, r, p, nic)); err != nil {
			return err
		}
	}
	return nil
}
