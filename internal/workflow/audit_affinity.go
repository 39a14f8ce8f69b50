package workflow

import (
	"strings"

	"baadal"
	"baadal/internal/placement"
)

// compareAffinity finds VMs that run where a rule for their place forbids it: a
// rule that was changed later, or a migration that was to ignore it. Nothing is
// moved for that without a person's wish.
func (c *comparison) compareAffinity() {
	for id, rules := range c.b.rules {
		vm, known := c.b.vms[id]
		if !known || c.inMotion(vm) || vm.State != baadal.VMRunning && vm.State != baadal.VMPaused {
			continue
		}
		broken := placement.Broken(rules, vm, true)
		if len(broken) == 0 {
			continue
		}
		c.add(baadal.Difference{
			Kind: baadal.DiffAffinity, Subject: vmSubject(vm), Host: vm.Host, Stored: strings.Join(broken, "; "), Seen: "it is " + vm.State.String() + " on " + vm.Host,
		})
	}
}
