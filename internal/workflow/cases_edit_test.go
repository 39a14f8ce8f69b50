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

func editCases() []tasktest.Case {
	return []tasktest.Case{
		edit("grow stopped vm", 3, 2048, off),
		edit("shrink running vm", 1, 256, nil),
		edit("grow running vm beyond its head-room", 9, 2048, nil),
	}
}

func TestEdits(t *testing.T)      { tasktest.Run(t, editCases()) }
func TestEditsChild(t *testing.T) { tasktest.Child(t, editCases()) }
