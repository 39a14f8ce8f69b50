package workflow_test

import (
	"context"
	"testing"

	"baadal"
	"baadal/internal/task/tasktest"
)

func networkCases() []tasktest.Case {
	ctx := context.Background()
	return []tasktest.Case{
		workflowCase("create network", nil, func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.CreateNetwork(ctx, c.actor, baadal.NetworkCreate{Name: "private", VLAN: 20, CIDR: "10.0.2.0/29"}, baadal.ChangeOptions{})
			return submitted(tb, ch, err)
		}),
		workflowCase("fill a built-in network", func(tb testing.TB, c *cloud) {
			if err := c.svc.EnsureBuiltinNetworks(ctx); err != nil {
				tb.Fatal(err)
			}
		}, func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.CreateNetwork(ctx, c.actor, baadal.NetworkCreate{Name: "Private", VLAN: 20, CIDR: "10.0.2.0/29"}, baadal.ChangeOptions{})
			return submitted(tb, ch, err)
		}),
		workflowCase("add addresses", nil, func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.AddNetworkRange(ctx, c.actor, "research", baadal.RangeAdd{First: "10.0.1.1", Last: "10.0.1.2"}, baadal.ChangeOptions{})
			return submitted(tb, ch, err)
		}),
		workflowCase("remove addresses", func(tb testing.TB, c *cloud) { c.vm(tb, "ml") }, func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.RemoveNetworkRange(ctx, c.actor, "research", "10.0.1.4-10.0.1.5", baadal.ChangeOptions{})
			return submitted(tb, ch, err)
		}),
		workflowCase("delete network", nil, func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.DeleteNetwork(ctx, c.actor, "research", baadal.ChangeOptions{})
			return submitted(tb, ch, err)
		}),
	}
}

func TestNetworkWorkflows(t *testing.T) { tasktest.Run(t, networkCases()) }
func TestNetworkWorkflowsChild(t *testing.T) {
	tasktest.Child(t, networkCases())
}
