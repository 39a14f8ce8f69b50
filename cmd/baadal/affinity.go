package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

func (c *cli) affinityCommand() *cobra.Command {
	return group("affinity", "Groups of VMs that are kept on one host, or on different ones",
		c.affinityCreateCommand(),
		listCommand(c, "List affinity groups", (*client.Client).Affinities, c.affinityListing()),
		showCommand(c, "Show affinity groups in full", (*client.Client).Affinity, c.affinityNames(false), c.showAffinity),
		c.affinityEditCommand(),
		removeCommand(c, "delete", "Delete affinity groups; their VMs stay", "%s is deleted", (*client.Client).DeleteAffinity, c.affinityNames(false)),
	)
}

func (c *cli) affinityNames(one bool) completion {
	return names(c, (*client.Client).Affinities, func(f baadal.Affinity) string { return f.Name }, one)
}

func (c *cli) affinityListing() listing[baadal.Affinity] {
	return listing[baadal.Affinity]{
		name:  func(f baadal.Affinity) string { return f.Name },
		empty: "No affinity groups yet. Make one: baadal affinity create NAME --apart VM VM",
		columns: []column[baadal.Affinity]{
			{title: "Name", cell: func(f baadal.Affinity) string { return f.Name }, min: 10},
			{title: "Rule", cell: func(f baadal.Affinity) string { return string(f.Rule) }},
			{title: "Owner", cell: func(f baadal.Affinity) string { return f.Owner }, drop: 1},
			{title: "VMs", cell: func(f baadal.Affinity) string {
				var all []string
				for _, m := range f.Members {
					all = append(all, m.VM)
				}
				return dash(strings.Join(all, ", "))
			}},
		},
	}
}

func (c *cli) showAffinity(f baadal.Affinity) {
	fmt.Fprintln(c.out, c.title(f.Name, "", string(f.Rule)))
	var all []string
	for _, m := range f.Members {
		words := m.VM + " (" + m.State.String()
		if m.Host != "" {
			words += " on " + m.Host
		}
		all = append(all, words+")")
	}
	c.fields([]field{
		{"Owner", f.Owner + ", " + f.Organisation},
		{"VMs", dash(strings.Join(all, ", "))},
		{"Created", agoText(c.now(), f.CreatedAt)},
		{"Can", actionsText(f.Actions)},
	})
}

const affinityCreateLong = `Make a group of VMs that are kept together (all on one host) or apart (no two on
one host). New VMs, clones, restored VMs and migrations obey; VMs that are
somewhere already stay there, and baadal vm show and the audit say so.

    baadal affinity create web --apart web1 web2 web3
    baadal vm create web4 --template debian-12 --affinity web
    baadal affinity create db --together db1 cache1`

func (c *cli) affinityCreateCommand() *cobra.Command {
	var in baadal.AffinityCreate
	var apart, together bool
	a := act[baadal.Affinity]{say: taskMessage[baadal.Affinity]("%s is made")}
	a.do = func(ctx context.Context, api *client.Client, name string, opt baadal.ChangeOptions) (baadal.Change[baadal.Affinity], error) {
		in.Name = name
		return api.CreateAffinity(ctx, in, opt)
	}
	cmd := &cobra.Command{
		Use: "create NAME --apart|--together [VM...]", Short: "Make an affinity group", Long: affinityCreateLong, Args: takes(1, many),
		DisableFlagsInUseLine: true, ValidArgsFunction: c.vmNames(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			if apart == together {
				return usagef("say --apart or --together")
			}
			in.Rule, in.VMs = baadal.AffinityTogether, args[1:]
			if apart {
				in.Rule = baadal.AffinityApart
			}
			return a.run(cmd, c, args[0])
		},
	}
	f := cmd.Flags()
	f.BoolVar(&apart, "apart", false, "no two of them on one host")
	f.BoolVar(&together, "together", false, "all of them on one host")
	f.StringVar(&in.Owner, "owner", "", "`user` who owns it (you)")
	dryRunFlag(cmd, &a.dryRun)
	completeFlags(cmd, map[string]completion{"owner": c.userNames(false)})
	return cmd
}

func (c *cli) affinityEditCommand() *cobra.Command {
	var in baadal.AffinityEdit
	var name string
	var apart, together bool
	a := act[baadal.Affinity]{say: taskMessage[baadal.Affinity]("%s is edited")}
	a.do = func(ctx context.Context, api *client.Client, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.Affinity], error) {
		return api.EditAffinity(ctx, ref, in, opt)
	}
	cmd := &cobra.Command{
		Use: "edit NAME", Short: "Change an affinity group's VMs, rule or name", Args: takes(1, 1), ValidArgsFunction: c.affinityNames(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("name") {
				in.Name = &name
			}
			if apart && together {
				return usagef("say --apart or --together, not both")
			}
			if apart || together {
				rule := baadal.AffinityTogether
				if apart {
					rule = baadal.AffinityApart
				}
				in.Rule = &rule
			}
			return a.run(cmd, c, args[0])
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&in.Add, "add", nil, "`VMs` that become members, with commas between them")
	f.StringSliceVar(&in.Remove, "remove", nil, "`VMs` that cease to be members")
	f.BoolVar(&apart, "apart", false, "no two of them on one host")
	f.BoolVar(&together, "together", false, "all of them on one host")
	f.StringVar(&name, "name", "", "another `name`")
	dryRunFlag(cmd, &a.dryRun)
	completeFlags(cmd, map[string]completion{"add": c.vmNames(false), "remove": c.vmNames(false)})
	return cmd
}
