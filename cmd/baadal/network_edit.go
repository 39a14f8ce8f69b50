package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

func vlanText(vlan int) string {
	if vlan == 0 {
		return "-"
	}
	return fmt.Sprint(vlan)
}

// visibleText says who may use a network.
func visibleText(n baadal.Network) string {
	switch {
	case n.VisibleToAll:
		return "all"
	case len(n.Organisations) == 0:
		return "administrators"
	}
	return strings.Join(n.Organisations, ", ")
}

// visibilityFlags adds the flags that say who may use a network, and returns
// what reads them: nil for what was not said.
func visibilityFlags(cmd *cobra.Command) func() (all *bool, organisations []string, err error) {
	var orgs []string
	var all, hidden bool
	f := cmd.Flags()
	f.StringSliceVar(&orgs, "org", nil, "only this `organisation` may use it; may be repeated")
	f.BoolVar(&all, "all-orgs", false, "every organisation may use it")
	f.BoolVar(&hidden, "hidden", false, "only administrators may use it")
	cmd.MarkFlagsMutuallyExclusive("org", "all-orgs", "hidden")
	return func() (*bool, []string, error) {
		yes, no := true, false
		switch {
		case all:
			return &yes, nil, nil
		case hidden:
			return &no, nil, nil
		case len(orgs) > 0:
			return &no, orgs, nil
		}
		return nil, nil, nil
	}
}

const networkEditLong = `Change a network: its name, who may use it, gateway, name servers and IPv6 prefix
at any time; VMs that are in it stay in it. VLAN and libvirt network change only while
no VM is in it, the subnet only while it has no addresses.

    baadal network edit lab --name physics --org PHYSICS --org CHEMISTRY
    baadal network edit Private --vlan 30 --cidr 10.30.0.0/16`

func (c *cli) networkEditCommand() *cobra.Command {
	var in baadal.NetworkEdit
	var name, cidr, gateway, prefix, bridge string
	var vlan int
	var dns []string
	a := act[baadal.Network]{say: taskMessage[baadal.Network]("%s is edited")}
	a.do = func(ctx context.Context, api *client.Client, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.Network], error) {
		return api.EditNetwork(ctx, ref, in, opt)
	}
	cmd := &cobra.Command{
		Use: "edit NAME", Short: "Change a network, and who may use it", Long: networkEditLong, Args: takes(1, 1), ValidArgsFunction: c.networkNames(true),
	}
	visible := visibilityFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		var orgs []string
		if in.VisibleToAll, orgs, err = visible(); err != nil {
			return err
		}
		if in.VisibleToAll != nil && !*in.VisibleToAll {
			in.Organisations = &orgs
		}
		for flag, field := range map[string]func(){
			"name": func() { in.Name = &name }, "vlan": func() { in.VLAN = &vlan }, "cidr": func() { in.CIDR = &cidr },
			"gateway": func() { in.Gateway = &gateway }, "dns": func() { in.DNS = &dns }, "libvirt-network": func() { in.Bridge = &bridge },
			"ipv6-prefix": func() { in.IPv6Prefix = &prefix },
		} {
			if cmd.Flags().Changed(flag) {
				field()
			}
		}
		return a.run(cmd, c, args[0])
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "another `name`")
	f.IntVar(&vlan, "vlan", 0, "another 802.1Q `tag`, while no VM is in it")
	f.StringVar(&cidr, "cidr", "", "another `subnet`, while it has no addresses")
	f.StringVar(&gateway, "gateway", "", "`address` of the router; empty for none")
	f.StringSliceVar(&dns, "dns", nil, "`address` of a name server; may be repeated")
	f.StringVar(&prefix, "ipv6-prefix", "", "another `prefix` of IPv6 beside the subnet; empty for none")
	f.StringVar(&bridge, "libvirt-network", "", "another libvirt network on the hosts, while no VM is in it")
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}

func (c *cli) networkRangeCommand() *cobra.Command {
	return group("range", "Addresses of a network, many at once", c.networkRangeAddCommand(), c.networkRangeRemoveCommand())
}

const networkRangeAddLong = `Give a network more addresses: a range, or one. The addresses of the gateway,
the controller and the hosts are left out. VMs get them once the DHCP server
knows them.

    baadal network range add lab 192.168.10.100 192.168.10.199
    baadal network range add lab 192.168.10.9 --mac A2:00:00:12:34:56`

func (c *cli) networkRangeAddCommand() *cobra.Command {
	var in baadal.RangeAdd
	a := act[baadal.Network]{say: taskMessage[baadal.Network]("%s has its new addresses")}
	a.do = func(ctx context.Context, api *client.Client, name string, opt baadal.ChangeOptions) (baadal.Change[baadal.Network], error) {
		return api.AddNetworkRange(ctx, name, in, opt)
	}
	cmd := &cobra.Command{
		Use: "add NAME FIRST [LAST]", Short: "Give a network more addresses", Long: networkRangeAddLong, Args: takes(2, 3), ValidArgsFunction: c.networkNames(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.First, in.Last = span(args)
			return a.run(cmd, c, args[0])
		},
	}
	cmd.Flags().StringSliceVar(&in.MACs, "mac", nil, "`MACs` of the addresses, in their order; the others get one that nobody has")
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}

func (c *cli) networkRangeRemoveCommand() *cobra.Command {
	var from, to string
	a := act[baadal.Network]{say: taskMessage[baadal.Network]("%s is without these addresses")}
	a.do = func(ctx context.Context, api *client.Client, name string, opt baadal.ChangeOptions) (baadal.Change[baadal.Network], error) {
		return api.RemoveNetworkRange(ctx, name, from, to, opt)
	}
	cmd := &cobra.Command{
		Use: "remove NAME FIRST [LAST]", Short: "Take addresses that nobody uses away from a network", Args: takes(2, 3), ValidArgsFunction: c.networkNames(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, to = span(args)
			return a.run(cmd, c, args[0])
		},
	}
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}

// span are the first and the last address after a network's name.
func span(args []string) (first, last string) {
	if len(args) > 2 {
		last = args[2]
	}
	return args[1], last
}
