package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

func (c *cli) vmNICCommand() *cobra.Command {
	return group("nic", "Network interfaces of VMs", c.nicAddCommand(), c.nicListCommand(), c.nicChangeCommand(), c.nicRemoveCommand())
}

// nicAct is an act on one NIC of a VM.
func nicAct(vm *string, done string, do func(ctx context.Context, api *client.Client, vm, nic string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error)) act[baadal.VM] {
	return act[baadal.VM]{
		reload: reloadVM,
		say:    func(_ string, ch baadal.Change[baadal.VM]) string { return taskMessage[baadal.VM](done)(*vm, ch) },
		do: func(ctx context.Context, api *client.Client, nic string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
			return do(ctx, api, *vm, nic, opt)
		},
	}
}

func (c *cli) nicAddCommand() *cobra.Command {
	var in baadal.NICAdd
	a := act[baadal.VM]{
		reload: reloadVM,
		say:    taskMessage[baadal.VM]("%s has another NIC"),
		do: func(ctx context.Context, api *client.Client, vm string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
			return api.AddNIC(ctx, vm, in, opt)
		},
	}
	cmd := &cobra.Command{
		Use: "add VM --network NETWORK", Short: "Give a VM another NIC", Args: takes(1, 1), ValidArgsFunction: c.vmNames(true), DisableFlagsInUseLine: true,
		Long: "Give a VM another NIC in a network that it is not in yet, at once if it runs. Its\naddress is reserved for it in the DHCP server; what is in the guest has to bring it\nup and ask for it.",
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd, c, args[0]) },
	}
	c.nicFlags(cmd, &in.Network, &a.dryRun)
	return cmd
}

func (c *cli) nicFlags(cmd *cobra.Command, network *string, dry *bool) {
	cmd.Flags().StringVar(network, "network", "", "`name` of the network")
	_ = cmd.MarkFlagRequired("network")
	completeFlags(cmd, map[string]completion{"network": c.networkNames(false)})
	dryRunFlag(cmd, dry)
}

func (c *cli) nicListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list VM", Aliases: []string{"ls"}, Short: "List a VM's NICs", Args: takes(1, 1), ValidArgsFunction: c.vmNames(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			all, err := api.NICs(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return listing[baadal.NIC]{
				name: func(n baadal.NIC) string { return strconv.Itoa(n.Index) },
				columns: []column[baadal.NIC]{
					{title: "NIC", right: true, cell: func(n baadal.NIC) string { return strconv.Itoa(n.Index) }},
					{title: "Network", cell: func(n baadal.NIC) string { return n.Network }, min: 8},
					{title: "VLAN", right: true, cell: func(n baadal.NIC) string { return strconv.Itoa(n.VLAN) }, drop: 2},
					{title: "Address", cell: func(n baadal.NIC) string { return n.Address }},
					{title: "IPv6", cell: func(n baadal.NIC) string { return dash(n.IPv6) }, drop: 3},
					{title: "MAC", cell: func(n baadal.NIC) string { return n.MAC }, drop: 1},
				},
			}.show(c, all, false)
		},
	}
}

const nicChangeLong = `Put a NIC of a VM into another network, stopped or running. It gets an address of
that network and keeps its MAC, so the guest keeps its device; a running guest sees
its link go down and come up, and asks for its address anew.

    baadal vm nic change web1 0 --network storage
    baadal vm edit web1 --network storage        # the same

NIC is a number (0 is the first one), an address, a MAC, or the name of the network
that it is in.`

func (c *cli) nicChangeCommand() *cobra.Command {
	var in baadal.NICChange
	vm := ""
	a := nicAct(&vm, "%s is in another network", func(ctx context.Context, api *client.Client, vm, nic string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
		return api.ChangeNIC(ctx, vm, nic, in, opt)
	})
	cmd := &cobra.Command{
		Use: "change VM NIC --network NETWORK", Short: "Put a NIC into another network", Long: nicChangeLong,
		Args: takes(2, 2), ValidArgsFunction: c.nicNames, DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error { vm = args[0]; return a.run(cmd, c, args[1]) },
	}
	c.nicFlags(cmd, &in.Network, &a.dryRun)
	return cmd
}

func (c *cli) nicRemoveCommand() *cobra.Command {
	vm, yes := "", false
	a := nicAct(&vm, "%s has one NIC less", func(ctx context.Context, api *client.Client, vm, nic string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
		return api.RemoveNIC(ctx, vm, nic, opt)
	})
	cmd := &cobra.Command{
		Use: "remove VM NIC", Aliases: []string{"rm"}, Short: "Take a NIC away from a VM", Args: takes(2, 2), ValidArgsFunction: c.nicNames,
		Long: "Take a NIC away from a VM, at once if it runs; its address is given back. The first\none (0) stays.",
		RunE: func(cmd *cobra.Command, args []string) error {
			vm = args[0]
			if !yes && !a.dryRun {
				if err := c.confirm(fmt.Sprintf("Remove NIC %s of %s?", args[1], args[0]), "--yes"); err != nil {
					return err
				}
			}
			return a.run(cmd, c, args[1])
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}

// nicNames completes a VM, then one of its NICs.
func (c *cli) nicNames(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return c.parts(func(ctx context.Context, api *client.Client, vm string) (found []string, err error) {
		all, err := api.NICs(ctx, vm)
		for _, n := range all.Items {
			found = append(found, strconv.Itoa(n.Index), n.Network)
		}
		return found, err
	})(cmd, args, word)
}
