package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

const publicLong = `The pool of public addresses. The NAT box gives a VM that asks for one an address
of its own on the outside, both ways: all its ports are reached there, and it
goes out with it.

    baadal public add 203.0.113.16/28
    baadal vm create web1 --template debian-12 --public
    baadal vm edit web2 --public`

func (c *cli) publicCommand() *cobra.Command {
	cmd := group("public", "Public addresses for VMs",
		c.poolCommand("add", "Put addresses into the pool", "%s: %s in the pool now", (*client.Client).AddPublics),
		listCommand(c, "List the pool, who has which, and what went through", (*client.Client).Publics, c.publicListing()),
		c.poolCommand("remove", "Take addresses that nobody has out of the pool", "%s: %s taken out of the pool", (*client.Client).RemovePublics),
	)
	cmd.Long = publicLong
	return cmd
}

func (c *cli) publicListing() listing[baadal.PublicAddress] {
	return listing[baadal.PublicAddress]{
		name:  func(p baadal.PublicAddress) string { return p.IP },
		empty: "No public addresses yet. Put some into the pool: baadal public add FIRST-LAST",
		columns: []column[baadal.PublicAddress]{
			{title: "Public", cell: func(p baadal.PublicAddress) string { return p.IP }, min: 9},
			{title: "VM", cell: publicVMText, min: 10},
			{title: "Address", cell: func(p baadal.PublicAddress) string { return dash(p.Address) }, drop: 1},
			{title: "Owner", cell: func(p baadal.PublicAddress) string { return dash(p.Owner) }, drop: 3},
			{title: "In", right: true, cell: trafficText(func(t baadal.PublicTraffic) int64 { return t.InBytes }), drop: 4},
			{title: "Out", right: true, cell: trafficText(func(t baadal.PublicTraffic) int64 { return t.OutBytes }), drop: 4},
			{title: "NAT box", cell: func(p baadal.PublicAddress) string { return inForceText(p.Applied) }, drop: 2},
		},
	}
}

func publicVMText(p baadal.PublicAddress) string {
	if p.VM == "" && p.KeptFor != "" {
		return "- (" + p.KeptFor + ", deleted)"
	}
	return dash(p.VM)
}

func trafficText(of func(baadal.PublicTraffic) int64) func(baadal.PublicAddress) string {
	return func(p baadal.PublicAddress) string {
		if p.Traffic == nil {
			return "-"
		}
		return bytesText(of(*p.Traffic))
	}
}

func inForceText(applied bool) string {
	if applied {
		return "in force"
	}
	return "not yet"
}

func (c *cli) poolCommand(verb, short, done string, do func(*client.Client, context.Context, baadal.PublicRange, baadal.ChangeOptions) (baadal.Change[baadal.PublicPool], error)) *cobra.Command {
	a := act[baadal.PublicPool]{
		do: func(ctx context.Context, api *client.Client, name string, opt baadal.ChangeOptions) (baadal.Change[baadal.PublicPool], error) {
			return do(api, ctx, baadal.PublicRange{Range: name}, opt)
		},
		say: func(name string, ch baadal.Change[baadal.PublicPool]) string {
			if ch.Resource == nil {
				return clean(name)
			}
			return fmt.Sprintf(done, clean(ch.Resource.Range), plural(ch.Resource.Addresses, "address"))
		},
	}
	cmd := &cobra.Command{
		Use: verb + " RANGE...", Short: short, Args: takes(1, many), ValidArgsFunction: cobra.NoFileCompletions,
		Long: short + ". A range is one address, first-last, or a prefix, all of\nwhose addresses are meant: 203.0.113.7, 203.0.113.7-203.0.113.20, 203.0.113.16/28.",
		RunE: func(cmd *cobra.Command, args []string) error {
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], " ", "")
			}
			return a.run(cmd, c, args...)
		},
	}
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}
