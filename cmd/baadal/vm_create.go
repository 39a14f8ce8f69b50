package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

const vmCreateLong = `Create one VM, or several of the same kind. Without --host and --datastore the
cloud chooses, and --dry-run tells what it would choose and why.

    baadal vm create web1 --template debian-12
    baadal vm create node1 node2 node3 --template debian-12 --vcpus 2 --ram 2G --disk 20G
    baadal vm create big --template debian-12 --ram 64G --dry-run

The SSH keys that may sign in are those of --ssh-key; without it ~/.ssh/id_*.pub,
and without these the owner's.`

func (c *cli) vmCreateCommand() *cobra.Command {
	var (
		in   baadal.VMCreate
		keys []string
		nets []string
		a    act[baadal.VM]
		ram  = sizeFlag{unit: mib}
		disk = sizeFlag{unit: gib}
	)
	a.reload = reloadVM
	a.do = func(ctx context.Context, api *client.Client, name string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
		in := in
		in.Name = name
		return api.CreateVM(ctx, in, opt)
	}
	cmd := &cobra.Command{
		Use: "create NAME... --template TEMPLATE", Short: "Create VMs", Long: vmCreateLong, Args: takes(1, many),
		DisableFlagsInUseLine: true, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			in.RAMMiB, in.DiskGiB = ram.value, disk.value
			if len(nets) > 0 {
				in.Network, in.Networks = nets[0], nets[1:]
			}
			files := keys
			if !cmd.Flags().Changed("ssh-key") && in.Owner == "" {
				files = c.defaultKeys()
			}
			var err error
			if in.SSHKeys, err = readKeys(files); err != nil {
				return err
			}
			a.say = c.sayVMCreated
			if len(args) > 1 {
				a.say = sayVMBriefly
			}
			return a.run(cmd, c, args...)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&in.Template, "template", "t", "", "`name` of the template to start from")
	f.StringSliceVar(&nets, "network", nil, "`name` of the network (the only one if there is one); may be repeated: a NIC each")
	f.StringVar(&in.Host, "host", "", "`name` of the host (the best one)")
	f.StringSliceVar(&in.Hosts, "hosts", nil, "the `hosts` that it may ever run on, with commas between them (any)")
	f.StringSliceVar(&in.Affinity, "affinity", nil, "affinity `groups` that it joins, with commas between them")
	f.StringSliceVar(&in.SecGroups, "secgroup", nil, "security `groups` that it has, with commas between them (no firewall)")
	f.StringVar(&in.Datastore, "datastore", "", "`name` of the datastore (the best one)")
	f.IntVar(&in.VCPUs, "vcpus", 0, "`number` of virtual CPUs (1)")
	f.Var(&ram, "ram", "memory, as 512M or 2G (512M)")
	f.Var(&disk, "disk", "disk, as 10G (the template's size)")
	f.StringArrayVar(&keys, "ssh-key", nil, "`file` with SSH public keys; may be repeated")
	f.StringVar(&in.Owner, "owner", "", "`user` who owns it (you)")
	f.BoolVar(&in.FullCopy, "full-copy", false, "copy the template instead of a thin overlay on it")
	f.BoolVar(&in.Public, "public", false, "give it a public address of its own")
	f.StringVar(&in.Purpose, "purpose", "", "what it is for, in `words`")
	dryRunFlag(cmd, &a.dryRun)
	completeFlags(cmd, map[string]completion{
		"template": c.templateNames(false), "network": c.networkNames(false), "host": c.hostNames(),
		"datastore": c.datastoreNames(), "owner": c.userNames(false), "hosts": c.hostNames(), "affinity": c.affinityNames(false), "secgroup": c.secGroupNames(false),
	})
	return cmd
}

// sayVMCreated tells what the new VM is and how to get in.
func (c *cli) sayVMCreated(name string, ch baadal.Change[baadal.VM]) string {
	s := taskMessage[baadal.VM]("%s is created")(name, ch)
	v := ch.Resource
	if v == nil || v.State != baadal.VMRunning {
		return s
	}
	return s + fmt.Sprintf("\n  %s\n  sign in:          baadal vm ssh %s\n  console password: baadal vm password %s",
		sayVMBriefly(name, ch), clean(v.Name), clean(v.Name))
}

// sayVMBriefly is one line about a new VM among others.
func sayVMBriefly(name string, ch baadal.Change[baadal.VM]) string {
	v := ch.Resource
	if v == nil {
		return taskMessage[baadal.VM]("%s is created")(name, ch)
	}
	took := ""
	if t := ch.Task; t != nil && t.EndedAt != nil {
		took = ", in " + durationText(t.EndedAt.Sub(t.CreatedAt))
	}
	public := ""
	if v.Public != "" {
		public = ", outside " + clean(v.Public)
	}
	return fmt.Sprintf("%s is %s on %s with address %s%s%s", clean(v.Name), v.State, clean(v.Host), clean(v.Address), public, took)
}
