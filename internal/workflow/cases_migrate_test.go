package workflow_test

import (
	"context"
	"testing"

	"baadal"
	"baadal/internal/task/tasktest"
)

// migrateCases are the migrations. What has arrived when the task fails is not
// sent back, so the world may be as before or as after; never anything else.
func migrateCases() []tasktest.Case {
	migrate := func(name string, prepare func(testing.TB, *cloud)) tasktest.Case {
		return either(workflowCase(name,
			func(tb testing.TB, c *cloud) {
				c.vm(tb, "ml")
				if prepare != nil {
					prepare(tb, c)
				}
			},
			func(tb testing.TB, c *cloud) int64 {
				ch, err := c.svc.MigrateVM(context.Background(), c.actor, "ml", baadal.VMMigrate{}, baadal.ChangeOptions{})
				return submitted(tb, ch, err)
			}))
	}
	return []tasktest.Case{
		migrate("migrate running vm", nil),
		migrate("migrate stopped vm", off),
		migrate("migrate paused vm", func(tb testing.TB, c *cloud) { c.act(tb, baadal.ActionVMSuspend, "ml") }),
		migrate("migrate vm with snapshots", snapshotTree),
	}
}

func TestMigrations(t *testing.T)      { tasktest.Run(t, migrateCases()) }
func TestMigrationsChild(t *testing.T) { tasktest.Child(t, migrateCases()) }

// snapshotTree makes two snapshots, the second one on the first.
func snapshotTree(tb testing.TB, c *cloud) {
	ctx := context.Background()
	vm, err := c.svc.VM(ctx, c.actor, "ml")
	if err != nil {
		tb.Fatal(err)
	}
	host, err := c.world.Host(vm.Host)
	if err != nil {
		tb.Fatal(err)
	}
	for _, name := range []string{"one", "two"} {
		if err := c.sys.Snapshots.CreateSnapshot(ctx, host, vm.UUID, name, ""); err != nil {
			tb.Fatal(err)
		}
	}
}
