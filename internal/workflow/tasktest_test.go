package workflow_test

import (
	"context"
	"testing"

	"baadal"
	"baadal/internal/task/tasktest"
)

// change is what a use case of the service returns, whatever its resource.
func submitted[T any](tb testing.TB, c baadal.Change[T], err error) int64 {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
	return c.Task.ID
}

// workflowCase makes a case from what is there before and what is asked for.
func workflowCase(name string, prepare func(testing.TB, *cloud), submit func(testing.TB, *cloud) int64) tasktest.Case {
	clouds := map[*tasktest.Env]*cloud{}
	return tasktest.Case{
		Name: name,
		Open: func(tb testing.TB, dir string) *tasktest.Env {
			c := open(tb, dir)
			c.reopen(tb)
			e := c.env()
			clouds[e] = c
			return e
		},
		Prepare: func(tb testing.TB, e *tasktest.Env) {
			clouds[e].furnish(tb)
			if prepare != nil {
				prepare(tb, clouds[e])
			}
		},
		Submit: func(tb testing.TB, e *tasktest.Env) int64 { return submit(tb, clouds[e]) },
	}
}

// power is the case of a power action on the VM "ml".
func power(name string, action baadal.Action, prepare func(testing.TB, *cloud)) tasktest.Case {
	return workflowCase(name,
		func(tb testing.TB, c *cloud) {
			c.vm(tb, "ml")
			if prepare != nil {
				prepare(tb, c)
			}
		},
		func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.ActVM(context.Background(), c.actor, action, "ml", baadal.ChangeOptions{})
			return submitted(tb, ch, err)
		})
}

func off(tb testing.TB, c *cloud)     { c.act(tb, baadal.ActionVMDestroy, "ml") }
func paused(tb testing.TB, c *cloud)  { c.act(tb, baadal.ActionVMSuspend, "ml") }
func saved(tb testing.TB, c *cloud)   { c.act(tb, baadal.ActionVMSave, "ml") }
func deleted(tb testing.TB, c *cloud) { c.act(tb, baadal.ActionVMDelete, "ml") }

func either(c tasktest.Case) tasktest.Case { c.Either = true; return c }

func cases() []tasktest.Case {
	ctx := context.Background()
	create := func(in baadal.VMCreate) func(testing.TB, *cloud) int64 {
		return func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.CreateVM(ctx, c.actor, in, baadal.ChangeOptions{})
			return submitted(tb, ch, err)
		}
	}
	return []tasktest.Case{
		workflowCase("create vm", nil, create(baadal.VMCreate{Name: "ml", Template: "tiny"})),
		workflowCase("create vm with a full copy beside another", func(tb testing.TB, c *cloud) { c.vm(tb, "other") },
			create(baadal.VMCreate{Name: "ml", Template: "tiny", FullCopy: true, DiskGiB: 3})),
		power("start vm", baadal.ActionVMStart, off),
		either(power("shut down vm", baadal.ActionVMShutdown, nil)),
		either(power("reboot vm", baadal.ActionVMReboot, nil)),
		either(power("destroy vm", baadal.ActionVMDestroy, nil)),
		power("suspend vm", baadal.ActionVMSuspend, nil),
		power("resume vm", baadal.ActionVMResume, paused),
		either(power("reset vm", baadal.ActionVMReset, nil)),
		power("save vm", baadal.ActionVMSave, nil),
		power("save paused vm", baadal.ActionVMSave, paused),
		power("start saved vm", baadal.ActionVMStart, saved),
		either(power("destroy saved vm", baadal.ActionVMDestroy, saved)),
		power("delete running vm", baadal.ActionVMDelete, nil),
		power("delete stopped vm", baadal.ActionVMDelete, off),
		power("restore vm", baadal.ActionVMRestore, deleted),
		workflowCase("import template", nil, func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.ImportTemplate(ctx, c.actor, baadal.TemplateImport{Name: "new", UploadID: c.image(tb)}, baadal.ChangeOptions{})
			return submitted(tb, ch, err)
		}),
		either(workflowCase("delete template", nil, func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.DeleteTemplate(ctx, c.actor, "tiny", baadal.ChangeOptions{})
			return submitted(tb, ch, err)
		})),
		workflowCase("add host", func(tb testing.TB, c *cloud) {
			if err := c.world.AddHost("host4", "10.77.0.14"); err != nil {
				tb.Fatal(err)
			}
		}, func(tb testing.TB, c *cloud) int64 {
			_, fp, err := c.world.Prober().Fingerprint(ctx, "10.77.0.14:22")
			if err != nil {
				tb.Fatal(err)
			}
			ch, err := c.svc.AddHost(ctx, c.actor, baadal.HostAdd{Address: "10.77.0.14", Fingerprint: fp}, baadal.ChangeOptions{})
			return submitted(tb, ch, err)
		}),
		workflowCase("check host", nil, func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.CheckHost(ctx, c.actor, "host1", baadal.ChangeOptions{})
			return submitted(tb, ch, err)
		}),
		either(workflowCase("repair a missing domain", func(tb testing.TB, c *cloud) {
			c.vm(tb, "ml")
			vm, err := c.svc.VM(ctx, c.actor, "ml")
			if err != nil {
				tb.Fatal(err)
			}
			for _, act := range []func(string, string) error{c.world.VirshDestroy, c.world.VirshUndefine} {
				if err := act(vm.Host, vm.UUID); err != nil {
					tb.Fatal(err)
				}
			}
		}, func(tb testing.TB, c *cloud) int64 {
			ch, err := c.svc.RunAudit(ctx, c.actor, true, baadal.ChangeOptions{})
			return submitted(tb, ch, err)
		})),
	}
}

func TestWorkflows(t *testing.T)      { tasktest.Run(t, cases()) }
func TestWorkflowsChild(t *testing.T) { tasktest.Child(t, cases()) }
