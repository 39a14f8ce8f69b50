package workflow_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"baadal"
	"baadal/internal/task/tasktest"
)

// flattening is the case of flattening a VM's disks.
func flattening(name, vm string, prepare ...func(testing.TB, *cloud)) tasktest.Case {
	k := either(workflowCase(name, func(tb testing.TB, c *cloud) {
		c.vm(tb, "ml")
		for _, p := range prepare {
			p(tb, c)
		}
	}, func(tb testing.TB, c *cloud) int64 {
		ch, err := c.svc.FlattenVM(context.Background(), c.actor, vm, baadal.VMFlatten{}, none)
		return submitted(tb, ch, err)
	}))
	open := k.Open
	k.Open = func(tb testing.TB, dir string) *tasktest.Env {
		e := open(tb, dir)
		whole := e.State
		e.State = func() string { return withoutChains(whole()) }
		return e
	}
	return k
}

// withoutChains leaves out what the disks of VMs stand on and what they occupy:
// a flattening that fails is as good half done. That every file has what it
// stands on is checked all the same.
func withoutChains(state string) string {
	lines := slices.DeleteFunc(strings.Split(state, "\n"), func(l string) bool {
		onDisk := strings.HasPrefix(l, "datastore ") && (strings.Contains(l, " vm_bases/") || strings.Contains(l, " vm_images/") || strings.Contains(l, " vm_extra_disks/"))
		return onDisk || strings.HasPrefix(l, "base ") || strings.HasPrefix(l, "disk ") && strings.Contains(l, " on base ") || strings.Contains(l, " has the disk ")
	})
	return strings.Join(lines, "\n")
}

func chainCases() []tasktest.Case {
	return []tasktest.Case{
		flattening("flatten running vm with a disk", "ml", addDisk, cloned, cloned),
		flattening("flatten stopped vm with a disk", "ml", addDisk, off, cloned, cloned),
		flattening("flatten clone", "ml_clone1", cloned),
	}
}

func TestChains(t *testing.T)      { tasktest.Run(t, chainCases()) }
func TestChainsChild(t *testing.T) { tasktest.Child(t, chainCases()) }
