package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

const vmMigrateLong = `Move VMs to other hosts. One that runs keeps running, one that is paused stays
paused, of one that is off only the definition moves. Snapshots go with it.
Without --to the cloud chooses, and --dry-run tells what it would choose and why.

    baadal vm migrate web1
    baadal vm migrate web1 --to host2 --bandwidth 50 --deadline 10m

If it does not end in time, or is cancelled (baadal task cancel), the VM stays
where it is.`

const postCopyWarning = `While a post-copy runs, part of a VM's memory is on each of two hosts: if one of
them or the network between them fails, the VM loses what was in its memory and is
off afterwards, as after a power failure. Does the owner of each VM agree?`

func (c *cli) vmMigrateCommand() *cobra.Command {
	var (
		in       baadal.VMMigrate
		deadline time.Duration
		yes      bool
		a        act[baadal.VM]
	)
	a.reload, a.say = reloadVM, sayVMMigrated
	a.do = func(ctx context.Context, api *client.Client, name string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
		return api.MigrateVM(ctx, name, in, opt)
	}
	cmd := &cobra.Command{
		Use: "migrate NAME...", Short: "Move VMs to other hosts while they run", Long: vmMigrateLong, Args: takes(1, many),
		ValidArgsFunction: c.vmNames(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("deadline") && deadline < time.Second {
				return baadal.Errorf(baadal.Invalid, "a deadline of %s is too short", deadline).WithDetail("the least is one second")
			}
			in.DeadlineSeconds = int(deadline / time.Second)
			if in.PostCopy && !yes && !a.dryRun {
				if err := c.confirm(postCopyWarning, "--yes"); err != nil {
					return err
				}
			}
			return a.run(cmd, c, args...)
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.To, "to", "", "`name` of the host (the best one)")
	f.BoolVar(&in.Offline, "offline", false, "only if it is off")
	f.IntVar(&in.BandwidthMiBs, "bandwidth", 0, "most `MiB` per second that it may use (no limit)")
	f.DurationVar(&deadline, "deadline", 0, "give it up after this `time`, as 10m (1h)")
	f.BoolVar(&in.IgnoreAffinity, "ignore-affinity", false, "even to where the rules for its place forbid it")
	f.BoolVar(&in.PostCopy, "post-copy", false, "if it writes too fast, let it go on there before all its memory is; ask its owner first")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask (with --post-copy)")
	f.BoolVar(&in.AutoConverge, "auto-converge", false, "slow down a guest that writes faster than its memory can be copied")
	dryRunFlag(cmd, &a.dryRun)
	completeFlags(cmd, map[string]completion{"to": c.hostNames()})
	return cmd
}

// sayVMMigrated is the task's message, and where the VM is now.
func sayVMMigrated(name string, ch baadal.Change[baadal.VM]) string {
	s := taskMessage[baadal.VM]("%s is migrated successfully")(name, ch)
	if v := ch.Resource; v != nil && v.Host != "" {
		s += ": it is " + v.State.String() + " on " + clean(v.Host)
	}
	return s
}
