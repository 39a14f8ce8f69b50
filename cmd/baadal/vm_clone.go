package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

const vmCloneLong = `Make clones of a VM, running or off. They are like it in everything that is on its
disk, in size, network and owner, and each has its own address, host name and console
password. Clones are thin: the VM's disks are frozen under it and them, all at one
moment. A VM with snapshots stays as it is, and its disks are copied once. Disks
that are detached are not cloned.

    baadal vm clone web1
    baadal vm clone web1 --count 30 --name student --start

If some clones fail the others are good, and the task says which are missing:
baadal task retry makes those.`

func (c *cli) vmCloneCommand() *cobra.Command {
	var in baadal.VMClone
	a := act[baadal.VM]{reload: reloadVM, say: sayVMCloned}
	a.do = func(ctx context.Context, api *client.Client, name string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
		return api.CloneVM(ctx, name, in, opt)
	}
	cmd := &cobra.Command{
		Use: "clone NAME", Short: "Make clones of a VM", Long: vmCloneLong, Args: takes(1, 1), ValidArgsFunction: c.vmNames(true),
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd, c, args...) },
	}
	f := cmd.Flags()
	f.IntVarP(&in.Count, "count", "n", 1, "`number` of clones, at most 100")
	f.StringVar(&in.Name, "name", "", "`beginning` of their names; a number follows (NAME_clone)")
	f.BoolVar(&in.Full, "full", false, "copy the disk for each instead of sharing a frozen one")
	f.StringSliceVar(&in.Affinity, "affinity", nil, "affinity `groups` that they join, with commas between them")
	f.BoolVar(&in.WithoutDisks, "without-disks", false, "leave out the extra disks")
	f.BoolVar(&in.Start, "start", false, "start them; otherwise they stay off")
	dryRunFlag(cmd, &a.dryRun)
	completeFlags(cmd, map[string]completion{"affinity": c.affinityNames(false)})
	return cmd
}

// sayVMCloned is the task's message, and the clones' names.
func sayVMCloned(name string, ch baadal.Change[baadal.VM]) string {
	s := taskMessage[baadal.VM]("%s is cloned successfully")(name, ch)
	if ch.Task == nil || len(ch.Task.Children) == 0 {
		return s
	}
	names := make([]string, len(ch.Task.Children))
	for i, child := range ch.Task.Children {
		names[i] = clean(child.Subject.Name)
	}
	return s + "\n" + strings.Join(names, " ")
}

// showChildren writes the tasks that are parts of one.
func (c *cli) showChildren(children []baadal.TaskChild) {
	if len(children) == 0 {
		return
	}
	fmt.Fprintln(c.out)
	writeTable(c.out, []column[baadal.TaskChild]{
		{title: "Part", cell: func(t baadal.TaskChild) string { return fmt.Sprint(t.ID) }},
		{title: "Name", cell: func(t baadal.TaskChild) string { return t.Subject.Name }},
		{title: "State", cell: func(t baadal.TaskChild) string { return t.State.String() }, state: true},
		{title: "What", cell: func(t baadal.TaskChild) string { return t.Message }},
	}, children, c.width(), c.look())
}
