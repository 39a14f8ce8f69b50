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
	var boot, autostart string
	var hosts []string
	var anyHost bool
	ram, most := sizeFlag{unit: mib}, sizeFlag{unit: mib}
	a := act[baadal.VM]{
		do: func(ctx context.Context, api *client.Client, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
			return api.EditVM(ctx, ref, wish, opt)
		},
		reload: reloadVM,
	}
	a.say = func(name string, ch baadal.Change[baadal.VM]) string {
		said := taskMessage[baadal.VM]("%s is edited successfully")(name, ch)
		if wish.Boot != nil && ch.Resource != nil && ch.Resource.State != baadal.VMOff {
			said += "\n  its boot order takes effect at its next cold start"
		}
		return said
	}
	cmd := &cobra.Command{
		Use: "edit NAME...", Short: "Change VMs: size, name, purpose, boot order, autostart", Args: takes(1, many), ValidArgsFunction: c.vmNames(false),
		Long: `Change VMs. While a VM runs, vCPUs are added to it if it was started with room for
them, and its guest is asked to make do with less memory. All else holds from its
next cold start on; the answer says which.

    baadal vm edit web1 --boot cdrom,disk
    baadal vm edit web1 --autostart always

--autostart says what becomes of a VM when its host comes back after having been
off: it is started if it ran when the host went (last, which every VM has at
first), also if it did not (always), or not at all (never).`,
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
			if changed("max-ram") {
				wish.MaxRAMMiB = &most.value
			}
			if changed("boot") {
				wish.Boot = baadal.ParseBoot(boot)
			}
			if changed("autostart") {
				policy := baadal.Autostart(autostart)
				wish.Autostart = &policy
			}
			if anyHost {
				hosts = []string{}
			}
			if anyHost || len(hosts) > 0 {
				wish.Hosts = &hosts
			}
			if wish.Empty() {
				return usagef("nothing to change: give --vcpus, --ram, --max-ram, --name, --purpose, --boot, --autostart, --hosts or --any-host")
			}
			return a.run(cmd, c, args...)
		},
	}
	cmd.Flags().IntVar(&vcpus, "vcpus", 0, "virtual CPUs")
	cmd.Flags().Var(&ram, "ram", "memory, as 512M or 2G")
	cmd.Flags().Var(&most, "max-ram", "memory that it can be given while it runs, as 4G, from its next cold start on; 0M for none")
	cmd.Flags().StringVar(&name, "name", "", "another `name`; its domain, folder and the guest's host name stay")
	cmd.Flags().StringVar(&purpose, "purpose", "", "what it is for, in `words`")
	cmd.Flags().StringVar(&boot, "boot", "", "what to boot from: disk, cdrom and network in the `order` wanted")
	cmd.Flags().StringVar(&autostart, "autostart", "", "`policy` when its host comes back: last, always or never")
	cmd.Flags().StringSliceVar(&hosts, "hosts", nil, "the `hosts` that it may run on, with commas between them; it stays where it is")
	cmd.Flags().BoolVar(&anyHost, "any-host", false, "it may run on any host")
	dryRunFlag(cmd, &a.dryRun)
	cmd.MarkFlagsMutuallyExclusive("hosts", "any-host")
	completeFlags(cmd, map[string]completion{"hosts": c.hostNames()})
	return cmd
}
