package main

import (
	"context"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

const vmFlattenLong = `Make the disks of VMs stand on no bases any more. What they share with clones, or
with the VM that they were cloned from, is copied into them; a template at the
bottom stays shared. A VM that runs keeps running. Disks that stand on many bases
(the setting chain.limit) are flattened in the background by themselves.

    baadal vm flatten web1
    baadal vm flatten web1 --bandwidth 20

It is refused while the VM has snapshots: they need the bases.`

func (c *cli) vmFlattenCommand() *cobra.Command {
	var in baadal.VMFlatten
	a := act[baadal.VM]{reload: reloadVM, say: taskMessage[baadal.VM]("%s is flattened successfully")}
	a.do = func(ctx context.Context, api *client.Client, name string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
		return api.FlattenVM(ctx, name, in, opt)
	}
	cmd := &cobra.Command{
		Use: "flatten NAME...", Short: "Part the disks of VMs from those of their clones", Long: vmFlattenLong, Args: takes(1, many),
		ValidArgsFunction: c.vmNames(false),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.run(cmd, c, args...) },
	}
	cmd.Flags().IntVar(&in.BandwidthMiBs, "bandwidth", 0, "most `MiB` per second that are written (the setting chain.bandwidth_mibs)")
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}
