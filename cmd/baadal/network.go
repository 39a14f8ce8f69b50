package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

func (c *cli) networkCommand() *cobra.Command {
	return group("network", "Security domains: a VLAN with its addresses",
		c.networkCreateCommand(),
		listCommand(c, "List networks", (*client.Client).Networks, c.networkListing()),
		showCommand(c, "Show networks in full", (*client.Client).Network, c.networkNames(false), c.showNetwork),
		c.networkEditCommand(),
		c.networkAddressesCommand(),
		c.networkRangeCommand(),
		removeCommand(c, "delete", "Delete networks without VMs", "%s is deleted", (*client.Client).DeleteNetwork, c.networkNames(false)),
	)
}

func (c *cli) networkListing() listing[baadal.Network] {
	return listing[baadal.Network]{
		name:  func(n baadal.Network) string { return n.Name },
		empty: "No networks yet. Create one: baadal network create NAME --vlan 10 --cidr 192.168.10.0/24",
		columns: []column[baadal.Network]{
			{title: "Name", cell: func(n baadal.Network) string { return n.Name }, min: 10},
			{title: "VLAN", right: true, cell: func(n baadal.Network) string { return vlanText(n.VLAN) }},
			{title: "Subnet", cell: func(n baadal.Network) string { return dash(n.CIDR) }},
			{title: "VMs", right: true, cell: func(n baadal.Network) string { return fmt.Sprint(n.VMs) }, drop: 2},
			{title: "Free", right: true, cell: func(n baadal.Network) string { return fmt.Sprint(n.Free) }, drop: 1},
			{title: "Addresses", right: true, cell: func(n baadal.Network) string { return fmt.Sprint(n.Addresses) }, drop: 3},
			{title: "For", cell: visibleText, drop: 6},
			{title: "Gateway", cell: func(n baadal.Network) string { return dash(n.Gateway) }, drop: 4},
			{title: "DHCP", cell: func(n baadal.Network) string {
				if n.Applied {
					return "in force"
				}
				return "not yet"
			}, drop: 5},
		},
	}
}

func (c *cli) showNetwork(n baadal.Network) {
	applied := "has its reservations"
	if !n.Applied {
		applied = "does not have its reservations yet"
	}
	head := fmt.Sprintf("VLAN %d, %s", n.VLAN, n.CIDR)
	if n.VLAN == 0 || n.CIDR == "" {
		head, applied = "built in, without VLAN or addresses yet", ""
	}
	ranges := make([]string, 0, len(n.Ranges))
	for _, r := range n.Ranges {
		text := r.First
		if r.Last != r.First {
			text += " to " + r.Last
		}
		ranges = append(ranges, text)
	}
	fmt.Fprintln(c.out, c.title(n.Name, "", head))
	c.fields([]field{
		{"Task", taskRefText(n.Task)},
		{"For", visibleText(n)},
		{"Addresses", fmt.Sprintf("%d, of which %d free", n.Addresses, n.Free)},
		{"Ranges", strings.Join(ranges, ", ")},
		{"Gateway", n.Gateway},
		{"DNS", strings.Join(n.DNS, ", ")},
		{"IPv6 prefix", n.IPv6Prefix},
		{"VMs", fmt.Sprint(n.VMs)},
		{"On the hosts", fmt.Sprintf("libvirt network %s, portgroup %s", n.Bridge, dash(n.Portgroup))},
		{"DHCP server", applied},
		{"Created", agoText(c.now(), n.CreatedAt)},
		{"Can", actionsText(n.Actions)},
	})
}

const networkCreateLong = `Create a network: a VLAN, a subnet, and a range of addresses for VMs. The
built-in ones (Research, Private, Infrastructure) get theirs in the same way.
The addresses of the gateway, the controller and the hosts are left out. With
an IPv6 prefix, each VM has the address in it that follows from its MAC; the
network's router announces the prefix.

    baadal network create lab --vlan 10 --cidr 192.168.10.0/24 --gateway 192.168.10.1
    baadal network create physics --vlan 11 --cidr 10.1.0.0/16 --org PHYSICS`

func (c *cli) networkCreateCommand() *cobra.Command {
	var in baadal.NetworkCreate
	a := act[baadal.Network]{
		say: func(name string, ch baadal.Change[baadal.Network]) string {
			s := taskMessage[baadal.Network]("%s is created")(name, ch)
			if n := ch.Resource; n != nil {
				s += fmt.Sprintf("\n  VLAN %d, %s to %s (%s)", n.VLAN, clean(n.First), clean(n.Last), plural(n.Addresses, "address"))
			}
			return s
		},
		reload: func(ctx context.Context, api *client.Client, ch baadal.Change[baadal.Network]) (baadal.Network, error) {
			if ch.Resource == nil {
				return baadal.Network{}, errors.New("the answer names no network")
			}
			return api.Network(ctx, fmt.Sprint(ch.Resource.ID))
		},
	}
	a.do = func(ctx context.Context, api *client.Client, name string, opt baadal.ChangeOptions) (baadal.Change[baadal.Network], error) {
		in.Name = name
		return api.CreateNetwork(ctx, in, opt)
	}
	cmd := &cobra.Command{
		Use: "create NAME --vlan VLAN --cidr SUBNET", Short: "Create a network", Args: takes(1, 1), DisableFlagsInUseLine: true,
		Long:              networkCreateLong,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.run(cmd, c, args[0]) },
	}
	f := cmd.Flags()
	f.IntVar(&in.VLAN, "vlan", 0, "802.1Q `tag`, 1 to 4094")
	f.StringVar(&in.CIDR, "cidr", "", "the `subnet`, as 192.168.10.0/24")
	f.StringVar(&in.Gateway, "gateway", "", "`address` of the router, if there is one")
	f.StringArrayVar(&in.DNS, "dns", nil, "`address` of a name server; may be repeated")
	f.StringVar(&in.First, "first", "", "first `address` for VMs (the subnet's tenth)")
	f.StringVar(&in.Last, "last", "", "last `address` for VMs (the last usable)")
	f.StringVar(&in.IPv6Prefix, "ipv6-prefix", "", "a `prefix` of IPv6 beside the subnet, as 2001:db8:10::/64")
	f.StringVar(&in.Bridge, "libvirt-network", "", "libvirt network on the hosts (ovs-net)")
	visible := visibilityFlags(cmd)
	cmd.PreRunE = func(*cobra.Command, []string) (err error) {
		in.VisibleToAll, in.Organisations, err = visible()
		return err
	}
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}

func (c *cli) networkAddressesCommand() *cobra.Command {
	return &cobra.Command{
		Use: "addresses NAME", Short: "List a network's addresses and who has them", Args: takes(1, 1), ValidArgsFunction: c.networkNames(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			all, err := api.NetworkAddresses(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			l := listing[baadal.Address]{
				name:  func(a baadal.Address) string { return a.IP },
				empty: "No addresses.",
				columns: []column[baadal.Address]{
					{title: "Address", cell: func(a baadal.Address) string { return a.IP }},
					{title: "MAC", cell: func(a baadal.Address) string { return a.MAC }, drop: 1},
					{title: "VM", right: true, cell: func(a baadal.Address) string {
						if a.VMID == 0 {
							return "-"
						}
						return fmt.Sprint(a.VMID)
					}},
				},
			}
			return l.show(c, all, false)
		},
	}
}
