package main

import (
	"context"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

const vmMoveLong = `Move VMs to another datastore. One that runs keeps running: its disks are copied
while it writes to them. Its extra disks go along if they lie on the same
datastore as its first one; --disk moves one disk by itself.

    baadal vm move web1 --datastore fast
    baadal vm move web1 --datastore archive --disk vdb --bandwidth 50

A disk that stands on a template or a base becomes flat. A VM that has snapshots
must be off: they are moved along then, and so it stays on what it stands on.
Until the end a move can be cancelled (baadal task cancel): the VM stays where
it is.`

func (c *cli) vmMoveCommand() *cobra.Command {
	var (
		in baadal.VMMove
		a  act[baadal.VM]
	)
	a.reload, a.say = reloadVM, taskMessage[baadal.VM]("%s is migrated to another datastore successfully")
	a.do = func(ctx context.Context, api *client.Client, name string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
		return api.MoveVM(ctx, name, in, opt)
	}
	cmd := &cobra.Command{
		Use: "move NAME...", Short: "Move VMs to another datastore while they run", Long: vmMoveLong, Args: takes(1, many),
		ValidArgsFunction: c.vmNames(false),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.run(cmd, c, args...) },
	}
	f := cmd.Flags()
	f.StringVar(&in.Datastore, "datastore", "", "`name` of the datastore")
	f.StringVar(&in.Disk, "disk", "", "only this `disk`: vda, vdb, its file or its serial (all beside the first one)")
	f.IntVar(&in.BandwidthMiBs, "bandwidth", 0, "most `MiB` per second that are copied (no limit)")
	dryRunFlag(cmd, &a.dryRun)
	completeFlags(cmd, map[string]completion{"datastore": c.datastoreNames()})
	_ = cmd.MarkFlagRequired("datastore")
	return cmd
}
