package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

func (c *cli) datastoreCommand() *cobra.Command {
	return group("datastore", "File systems that hold the disks",
		c.datastoreAddCommand(),
		listCommand(c, "List datastores", (*client.Client).Datastores, c.datastoreListing()),
		showCommand(c, "Show datastores in full", (*client.Client).Datastore, c.datastoreNames(), c.showDatastore),
		removeCommand(c, "remove", "Remove datastores that hold nothing", "%s is removed",
			(*client.Client).RemoveDatastore, c.datastoreNames()),
	)
}

func (c *cli) datastoreListing() listing[baadal.Datastore] {
	return listing[baadal.Datastore]{
		name:  func(d baadal.Datastore) string { return d.Name },
		empty: "No datastores yet. Add one: baadal datastore add NAME /mnt/datastore",
		columns: []column[baadal.Datastore]{
			{title: "Name", cell: func(d baadal.Datastore) string { return d.Name }, min: 10},
			{title: "State", cell: func(d baadal.Datastore) string { return d.State }, state: true},
			{title: "Free", right: true, cell: func(d baadal.Datastore) string { return bytesText(d.Free) }},
			{title: "Size", right: true, cell: func(d baadal.Datastore) string { return bytesText(d.Capacity) }, drop: 1},
			{title: "Claimed", right: true, cell: func(d baadal.Datastore) string { return bytesText(d.Claimed) }, drop: 4},
			{title: "VMs", right: true, cell: func(d baadal.Datastore) string { return fmt.Sprint(d.VMs) }, drop: 2},
			{title: "Templates", right: true, cell: func(d baadal.Datastore) string { return fmt.Sprint(d.Templates) }, drop: 5},
			{title: "Path", cell: func(d baadal.Datastore) string { return d.Path }, drop: 3, min: 12},
		},
	}
}

func (c *cli) showDatastore(d baadal.Datastore) {
	fmt.Fprintln(c.out, c.title(d.Name, d.State, ""))
	measured := "not yet"
	if d.MeasuredAt != nil {
		measured = agoText(c.now(), *d.MeasuredAt)
	}
	c.fields([]field{
		{"Why", d.Reason},
		{"Path", d.Path},
		{"Space", fmt.Sprintf("%s free of %s, %s used", bytesText(d.Free), bytesText(d.Capacity), bytesText(d.Used))},
		{"Claimed", bytesText(d.Claimed) + ", the virtual sizes of all disks"},
		{"Holds", plural(d.VMs, "VM") + ", " + plural(d.Templates, "template")},
		{"Mounted on", strings.Join(d.Hosts, ", ")},
		{"Measured", measured},
		{"Added", agoText(c.now(), d.CreatedAt)},
		{"Can", actionsText(d.Actions)},
	})
}

func (c *cli) datastoreAddCommand() *cobra.Command {
	a := act[baadal.Datastore]{say: taskMessage[baadal.Datastore]("%s is added")}
	path := ""
	a.do = func(ctx context.Context, api *client.Client, name string, opt baadal.ChangeOptions) (baadal.Change[baadal.Datastore], error) {
		return api.AddDatastore(ctx, baadal.DatastoreAdd{Name: name, Path: path}, opt)
	}
	cmd := &cobra.Command{
		Use: "add NAME PATH", Short: "Add a file system that every host mounts at PATH", Args: takes(2, 2),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			path = args[1]
			return a.run(cmd, c, args[0])
		},
	}
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}
