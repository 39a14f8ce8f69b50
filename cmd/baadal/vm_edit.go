package main

import (
	"context"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

const vmEditLong = `Change VMs. While a VM runs, vCPUs are added to it if it was started with room for
them; memory is given to it if it was started with head-room (--max-ram), and its
guest is asked to make do with less. All else holds from its next cold start on;
the answer says which.

    baadal vm edit web1 --boot cdrom,disk
    baadal vm edit web1 --autostart always
    baadal vm edit web1 --network storage

--autostart says what becomes of a VM when its host comes back after having been
off: it is started if it ran when the host went (last, which every VM has at
first), also if it did not (always), or not at all (never).`

// editFlags are the flags of edit.
type editFlags struct {
	name, purpose, boot, autostart, network string
	vcpus                                   int
	ram, most                               sizeFlag
	hosts, secGroups                        []string
	anyHost, public, noPublic, noSecGroup   bool
}

func (f *editFlags) add(cmd *cobra.Command) {
	f.ram, f.most = sizeFlag{unit: mib}, sizeFlag{unit: mib}
	flags := cmd.Flags()
	flags.IntVar(&f.vcpus, "vcpus", 0, "virtual CPUs")
	flags.Var(&f.ram, "ram", "memory, as 512M or 2G")
	flags.Var(&f.most, "max-ram", "memory that it can be given while it runs, as 4G, from its next cold start on; 0M for none")
	flags.StringVar(&f.network, "network", "", "`name` of the network for its first NIC, which keeps its MAC; given alone")
	flags.StringVar(&f.name, "name", "", "another `name`; its domain, folder and the guest's host name stay")
	flags.StringVar(&f.purpose, "purpose", "", "what it is for, in `words`")
	flags.StringVar(&f.boot, "boot", "", "what to boot from: disk, cdrom and network in the `order` wanted")
	flags.StringVar(&f.autostart, "autostart", "", "`policy` when its host comes back: last, always or never")
	flags.StringSliceVar(&f.hosts, "hosts", nil, "the `hosts` that it may run on, with commas between them; it stays where it is")
	flags.BoolVar(&f.anyHost, "any-host", false, "it may run on any host")
	flags.StringSliceVar(&f.secGroups, "secgroup", nil, "the security `groups` that it has, and no others, with commas between them")
	flags.BoolVar(&f.noSecGroup, "no-secgroup", false, "it has no security group, and no firewall")
	cmd.MarkFlagsMutuallyExclusive("hosts", "any-host")
	flags.BoolVar(&f.public, "public", false, "give it a public address of its own")
	flags.BoolVar(&f.noPublic, "no-public", false, "take its public address away, and cut what is connected by it")
	cmd.MarkFlagsMutuallyExclusive("public", "no-public")
	cmd.MarkFlagsMutuallyExclusive("secgroup", "no-secgroup")
}

// wish is what the flags that were given ask for.
func (f *editFlags) wish(given func(string) bool) (wish baadal.VMEdit) {
	if given("name") {
		wish.Name = &f.name
	}
	if given("network") {
		wish.Network = &f.network
	}
	if given("purpose") {
		wish.Purpose = &f.purpose
	}
	if given("vcpus") {
		wish.VCPUs = &f.vcpus
	}
	if given("ram") {
		wish.RAMMiB = &f.ram.value
	}
	if given("max-ram") {
		wish.MaxRAMMiB = &f.most.value
	}
	if given("boot") {
		wish.Boot = baadal.ParseBoot(f.boot)
	}
	if given("autostart") {
		policy := baadal.Autostart(f.autostart)
		wish.Autostart = &policy
	}
	if f.public || f.noPublic {
		wish.Public = &f.public
	}
	if f.anyHost {
		f.hosts = []string{}
	}
	if f.anyHost || len(f.hosts) > 0 {
		wish.Hosts = &f.hosts
	}
	if f.noSecGroup {
		f.secGroups = []string{}
	}
	if f.noSecGroup || len(f.secGroups) > 0 {
		wish.SecGroups = &f.secGroups
	}
	return wish
}

// vmEditCommand changes VMs; only the flags that are given count.
func (c *cli) vmEditCommand() *cobra.Command {
	var f editFlags
	var wish baadal.VMEdit
	a := act[baadal.VM]{
		do: func(ctx context.Context, api *client.Client, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
			return api.EditVM(ctx, ref, wish, opt)
		},
		reload: reloadVM,
	}
	a.say = func(name string, ch baadal.Change[baadal.VM]) string {
		said := taskMessage[baadal.VM]("%s is edited successfully")(name, ch)
		if f.public && ch.Resource != nil {
			said += "\n  its public address is " + clean(ch.Resource.Public)
		}
		if later := laterText(wish); later != "" && ch.Resource != nil && ch.Resource.State != baadal.VMOff {
			said += "\n  " + later + " from its next cold start on"
		}
		return said
	}
	cmd := &cobra.Command{
		Use: "edit NAME...", Short: "Change VMs: size, name, purpose, boot order, autostart", Args: takes(1, many), ValidArgsFunction: c.vmNames(false),
		Long: vmEditLong,
		RunE: func(cmd *cobra.Command, args []string) error {
			if wish = f.wish(cmd.Flags().Changed); wish.Empty() {
				return usagef("nothing to change: give --vcpus, --ram, --max-ram, --network, --name, --purpose, --boot, --autostart, --hosts, --any-host, --public, --no-public, --secgroup or --no-secgroup")
			}
			return a.run(cmd, c, args...)
		},
	}
	f.add(cmd)
	dryRunFlag(cmd, &a.dryRun)
	completeFlags(cmd, map[string]completion{
		"hosts": c.hostNames(), "network": c.networkNames(false), "secgroup": c.secGroupNames(false), "autostart": cobra.FixedCompletions([]string{"last", "always", "never"}, cobra.ShellCompDirectiveNoFileComp),
	})
	return cmd
}

// laterText names what of a wish no task does, because it holds only later.
func laterText(wish baadal.VMEdit) string {
	switch {
	case wish.Boot != nil && wish.MaxRAMMiB != nil:
		return "its boot order and its head-room hold"
	case wish.Boot != nil:
		return "its boot order holds"
	case wish.MaxRAMMiB != nil:
		return "its head-room holds"
	}
	return ""
}
