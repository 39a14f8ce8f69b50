package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

func (c *cli) secGroupCommand() *cobra.Command {
	return group("secgroup", "Security groups: firewall rules that VMs can have",
		c.secGroupCreateCommand(),
		listCommand(c, "List security groups", (*client.Client).SecGroups, c.secGroupListing()),
		showCommand(c, "Show security groups in full", (*client.Client).SecGroup, c.secGroupNames(false), c.showSecGroup),
		c.secGroupEditCommand(),
		group("rule", "Rules of a security group", c.ruleAddCommand(), c.ruleRemoveCommand()),
		removeCommand(c, "delete", "Delete security groups that no VM has", "%s is deleted", (*client.Client).DeleteSecGroup, c.secGroupNames(false)),
	)
}

func (c *cli) secGroupNames(one bool) completion {
	return names(c, (*client.Client).SecGroups, func(g baadal.SecGroup) string { return g.Name }, one)
}

func (c *cli) secGroupListing() listing[baadal.SecGroup] {
	return listing[baadal.SecGroup]{
		name:  func(g baadal.SecGroup) string { return g.Name },
		empty: "No security groups yet. Make one: baadal secgroup create NAME",
		columns: []column[baadal.SecGroup]{
			{title: "Name", cell: func(g baadal.SecGroup) string { return g.Name }, min: 10},
			{title: "Rules", cell: func(g baadal.SecGroup) string { return strconv.Itoa(len(g.Rules)) }},
			{title: "Owner", cell: func(g baadal.SecGroup) string { return g.Owner }, drop: 1},
			{title: "VMs", cell: func(g baadal.SecGroup) string { return dash(strings.Join(g.VMs, ", ")) }},
		},
	}
}

func (c *cli) showSecGroup(g baadal.SecGroup) {
	fmt.Fprintln(c.out, c.title(g.Name, "", plural(len(g.Rules), "rule")))
	fields := []field{{"Owner", g.Owner + ", " + g.Organisation}, {"VMs", dash(strings.Join(g.VMs, ", "))}}
	for _, r := range g.Rules {
		fields = append(fields, field{fmt.Sprintf("Rule %d", r.ID), r.String()})
	}
	c.fields(append(fields, field{"Created", agoText(c.now(), g.CreatedAt)}, field{"Can", actionsText(g.Actions)}))
}

const secGroupCreateLong = `Make a security group. A VM that has it can be reached as the rules of its groups
say, and in no other way; it can reach everything, unless one of its groups has
rules for what goes out. Answers pass. Changes hold at once, also for connections
that exist.

    baadal secgroup create web
    baadal secgroup rule add web tcp 443
    baadal secgroup rule add web tcp 22 --peer 10.0.0.0/8
    baadal vm edit web1 --secgroup web`

func (c *cli) secGroupCreateCommand() *cobra.Command {
	var in baadal.SecGroupCreate
	a := act[baadal.SecGroup]{say: taskMessage[baadal.SecGroup]("%s is made")}
	a.do = func(ctx context.Context, api *client.Client, name string, opt baadal.ChangeOptions) (baadal.Change[baadal.SecGroup], error) {
		in.Name = name
		return api.CreateSecGroup(ctx, in, opt)
	}
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a security group", Long: secGroupCreateLong, Args: takes(1, 1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd, c, args[0]) },
	}
	cmd.Flags().StringVar(&in.Owner, "owner", "", "`user` who owns it (you)")
	dryRunFlag(cmd, &a.dryRun)
	completeFlags(cmd, map[string]completion{"owner": c.userNames(false)})
	return cmd
}

// secGroupEdit is an act that edits a group by a wish.
func secGroupEdit(wish *baadal.SecGroupEdit) act[baadal.SecGroup] {
	return act[baadal.SecGroup]{
		say: taskMessage[baadal.SecGroup]("%s is edited"),
		do: func(ctx context.Context, api *client.Client, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.SecGroup], error) {
			return api.EditSecGroup(ctx, ref, *wish, opt)
		},
	}
}

func (c *cli) secGroupEditCommand() *cobra.Command {
	var in baadal.SecGroupEdit
	var name string
	a := secGroupEdit(&in)
	cmd := &cobra.Command{
		Use: "edit NAME", Short: "Change a security group's name", Args: takes(1, 1), ValidArgsFunction: c.secGroupNames(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			if name == "" {
				return usagef("nothing to change: give --name; rules are changed by baadal secgroup rule")
			}
			in.Name = &name
			return a.run(cmd, c, args[0])
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "another `name`")
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}

const ruleAddLong = `Let something pass to the VMs that have the group, or with --out from them. As soon
as a group has a rule for what goes out, nothing else does.

    baadal secgroup rule add web tcp 80
    baadal secgroup rule add web tcp 8000-8099 --peer 192.168.10.0/24
    baadal secgroup rule add web icmp
    baadal secgroup rule add db udp 53 --out --peer 192.168.10.1`

func (c *cli) ruleAddCommand() *cobra.Command {
	var in baadal.SecGroupEdit
	var out bool
	var peer string
	a := secGroupEdit(&in)
	cmd := &cobra.Command{
		Use: "add NAME tcp|udp|icmp|any [PORTS]", Short: "Let something pass", Long: ruleAddLong, Args: takes(2, 3), ValidArgsFunction: c.secGroupNames(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := baadal.SecRule{Direction: baadal.RuleIn, Protocol: args[1], Peer: peer}
			if out {
				r.Direction = baadal.RuleOut
			}
			if len(args) > 2 {
				first, last, ranged := strings.Cut(args[2], "-")
				if !ranged {
					last = first
				}
				var err1, err2 error
				r.First, err1 = strconv.Atoi(first)
				r.Last, err2 = strconv.Atoi(last)
				if err1 != nil || err2 != nil || r.First < 1 {
					return usagef("%q are no ports: give one, or two as 8000-8099", args[2])
				}
			}
			in.Add = []baadal.SecRule{r}
			return a.run(cmd, c, args[0])
		},
	}
	f := cmd.Flags()
	f.BoolVar(&out, "out", false, "from the VMs, not to them")
	f.StringVar(&peer, "peer", "", "the other side: an `address` or a subnet (everybody)")
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}

func (c *cli) ruleRemoveCommand() *cobra.Command {
	var in baadal.SecGroupEdit
	a := secGroupEdit(&in)
	cmd := &cobra.Command{
		Use: "remove NAME NUMBER...", Short: "Take rules away; baadal secgroup show has their numbers", Args: takes(2, many), ValidArgsFunction: c.secGroupNames(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Remove = nil
			for _, s := range args[1:] {
				n, err := strconv.ParseInt(s, 10, 64)
				if err != nil {
					return usagef("%q is no number of a rule: baadal secgroup show %s", s, args[0])
				}
				in.Remove = append(in.Remove, n)
			}
			return a.run(cmd, c, args[0])
		},
	}
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}
