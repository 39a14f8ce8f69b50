package workflow_test

import (
	"context"
	"testing"

	"baadal"
	"baadal/internal/task/tasktest"
)

// edit is the case of another size for the VM "ml".
func edit(name string, vcpus, ram int, prepare func(testing.TB, *cloud)) tasktest.Case {
	return workflowCase(name,
		func(tb testing.TB, c *cloud) {
			c.vm(tb, "ml")
			if prepare != nil {
				prepare(tb, c)
			}
		},
		func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.EditVM(context.Background(), c.actor, "ml", baadal.VMEdit{VCPUs: &vcpus, RAMMiB: &ram}, baadal.ChangeOptions{})
			return submitted(tb, ch, err)
		})
}

// roomy gives the VM "ml" head-room up to 2 GiB.
func roomy(tb testing.TB, c *cloud) {
	tb.Helper()
	most := 2048
	if _, err := c.svc.EditVM(context.Background(), c.actor, "ml", baadal.VMEdit{MaxRAMMiB: &most}, baadal.ChangeOptions{}); err != nil {
		tb.Fatal(err)
	}
	off(tb, c)
	c.act(tb, baadal.ActionVMStart, "ml")
}

func editCases() []tasktest.Case {
	return []tasktest.Case{
		edit("give running vm memory of its head-room", 1, 1536, roomy),
		edit("grow stopped vm", 3, 2048, off),
		edit("shrink running vm", 1, 256, nil),
		edit("grow running vm beyond its head-room", 9, 2048, nil),
	}
}

func TestEdits(t *testing.T)      { tasktest.Run(t, editCases()) }
func TestEditsChild(t *testing.T) { tasktest.Child(t, editCases()) }
