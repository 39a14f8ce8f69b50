package main

import (
	"context"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

// vmEditCommand changes VMs; only the flags that are given count.
func (c *cli) vmEditCommand() *cobra.Command {
	var wish baadal.VMEdit
	var name, purpose string
	var vcpus int
	ram := sizeFlag{unit: mib}
	a := act[baadal.VM]{
		do: func(ctx context.Context, api *client.Client, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
			return api.EditVM(ctx, ref, wish, opt)
		},
		reload: reloadVM,
		say:    taskMessage[baadal.VM]("%s is edited successfully"),
	}
	cmd := &cobra.Command{
		Use: "edit NAME...", Short: "Change VMs: size, name, purpose", Args: takes(1, many), ValidArgsFunction: c.vmNames(false),
		Long: `Change VMs. While a VM runs, vCPUs are added to it if it was started with room for
them, and its guest is asked to make do with less memory. All else holds from its
next cold start on; the answer says which.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			changed := cmd.Flags().Changed
			if changed("name") {
				wish.Name = &name
			}
			if changed("purpose") {
				wish.Purpose = &purpose
			}
			if changed("vcpus") {
				wish.VCPUs = &vcpus
			}
			if changed("ram") {
				wish.RAMMiB = &ram.value
			}
			if wish == (baadal.VMEdit{}) {
				return usagef("nothing to change: give --vcpus, --ram, --name or --purpose")
			}
			return a.run(cmd, c, args...)
		},
	}
	cmd.Flags().IntVar(&vcpus, "vcpus", 0, "virtual CPUs")
	cmd.Flags().Var(&ram, "ram", "memory, as 512M or 2G")
	cmd.Flags().StringVar(&name, "name", "", "another `name`; its domain, folder and the guest's host name stay")
	cmd.Flags().StringVar(&purpose, "purpose", "", "what it is for, in `words`")
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}
