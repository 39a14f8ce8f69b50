package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

func (c *cli) vmSnapshotCommand() *cobra.Command {
	return group("snapshot", "Snapshots of VMs",
		c.snapshotCreateCommand(), c.snapshotListCommand(), c.snapshotRevertCommand(), c.snapshotDeleteCommand(), c.snapshotScheduleCommand())
}

func (c *cli) snapshotCreateCommand() *cobra.Command {
	var in baadal.SnapshotCreate
	a := act[baadal.Snapshot]{
		say: func(vm string, ch baadal.Change[baadal.Snapshot]) string {
			s := taskMessage[baadal.Snapshot]("%s is snapshotted")(vm, ch)
			if ch.Resource != nil {
				s += "\n  " + clean(ch.Resource.Name)
			}
			return s
		},
		do: func(ctx context.Context, api *client.Client, vm string, opt baadal.ChangeOptions) (baadal.Change[baadal.Snapshot], error) {
			return api.CreateSnapshot(ctx, vm, in, opt)
		},
	}
	cmd := &cobra.Command{
		Use: "create VM", Short: "Keep a VM as it is now", Args: takes(1, 1), ValidArgsFunction: c.vmNames(true),
		Long: "Keep a VM as it is now: its disks, its hardware, and its memory if it runs. A\nrunning guest stands still while its memory is written.",
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd, c, args[0]) },
	}
	cmd.Flags().StringVar(&in.Name, "name", "", "`name` of the snapshot (made from the time)")
	cmd.Flags().StringVar(&in.Description, "description", "", "`words` that say what it is for")
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}

func (c *cli) snapshotListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list VM", Aliases: []string{"ls"}, Short: "List a VM's snapshots as a tree", Args: takes(1, 1), ValidArgsFunction: c.vmNames(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			all, err := api.Snapshots(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.snapshotListing(all.Items, args[0]).show(c, all, false)
		},
	}
}

// snapshotListing shows what was made on what by indents.
func (c *cli) snapshotListing(all []baadal.Snapshot, vm string) listing[baadal.Snapshot] {
	depth := map[string]int{}
	for _, s := range all { // parents come first
		if d, ok := depth[s.Parent]; ok && s.Parent != "" {
			depth[s.Name] = d + 1
		} else {
			depth[s.Name] = 0
		}
	}
	return listing[baadal.Snapshot]{
		name:  func(s baadal.Snapshot) string { return s.Name },
		empty: "No snapshots yet. Make one: baadal vm snapshot create " + clean(vm),
		columns: []column[baadal.Snapshot]{
			{title: "Name", cell: func(s baadal.Snapshot) string { return strings.Repeat("  ", depth[s.Name]) + s.Name }, min: 12},
			{title: "Type", cell: func(s baadal.Snapshot) string { return string(s.Type) }, drop: 2},
			{title: "VM was", cell: func(s baadal.Snapshot) string {
				if !s.Ready {
					return "(being made)"
				}
				return s.VMState.String()
			}, state: true},
			{title: "Made", cell: func(s baadal.Snapshot) string { return agoText(c.now(), s.CreatedAt) }},
			{title: "Now", cell: func(s baadal.Snapshot) string {
				if s.Current {
					return "builds on it"
				}
				return "-"
			}, drop: 1},
			{title: "Machine", cell: func(s baadal.Snapshot) string {
				return fmt.Sprintf("%s, %s, %s", plural(s.VCPUs, "vCPU"), mibText(s.RAMMiB), gibText(s.DiskGiB))
			}, drop: 3},
			{title: "Description", cell: func(s baadal.Snapshot) string { return dash(s.Description) }, drop: 4, min: 11},
		},
	}
}

func (c *cli) snapshotRevertCommand() *cobra.Command {
	yes, vm := false, ""
	a := act[baadal.Snapshot]{
		say: taskMessage[baadal.Snapshot]("reverted to %s"),
		do: func(ctx context.Context, api *client.Client, name string, opt baadal.ChangeOptions) (baadal.Change[baadal.Snapshot], error) {
			return api.RevertSnapshot(ctx, vm, name, opt)
		},
	}
	cmd := &cobra.Command{
		Use: "revert VM SNAPSHOT", Short: "Bring a VM back to a snapshot", Args: takes(2, 2), ValidArgsFunction: c.snapshotNames,
		Long: "Bring a VM back to a snapshot: its disks, its hardware, and whether it runs. What\nwas written since is lost; --dry-run says what else changes.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes && !a.dryRun {
				if err := c.showRevert(cmd.Context(), args[0], args[1]); err != nil {
					return err
				}
				if err := c.confirm(fmt.Sprintf("Lose what %s wrote since %s?", args[0], args[1]), "--yes"); err != nil {
					return err
				}
			}
			vm = args[0]
			return a.run(cmd, c, args[1])
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}

// showRevert says on a terminal what a revert means before it is asked for.
func (c *cli) showRevert(ctx context.Context, vm, name string) error {
	if !c.inTerminal {
		return nil
	}
	api, err := c.api()
	if err != nil {
		return err
	}
	ch, err := api.RevertSnapshot(ctx, vm, name, baadal.ChangeOptions{DryRun: true})
	if err != nil || ch.Plan == nil {
		return err
	}
	for _, s := range ch.Plan.Effects {
		fmt.Fprintf(c.err, "%s\n", clean(s))
	}
	return nil
}

func (c *cli) snapshotDeleteCommand() *cobra.Command {
	yes, vm := false, ""
	a := act[baadal.Snapshot]{
		say: taskMessage[baadal.Snapshot]("%s is deleted"),
		do: func(ctx context.Context, api *client.Client, name string, opt baadal.ChangeOptions) (baadal.Change[baadal.Snapshot], error) {
			return api.DeleteSnapshot(ctx, vm, name, opt)
		},
	}
	cmd := &cobra.Command{
		Use: "delete VM SNAPSHOT", Short: "Delete a snapshot; those made on it stay", Args: takes(2, 2), ValidArgsFunction: c.snapshotNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes && !a.dryRun {
				if err := c.confirm(fmt.Sprintf("Delete snapshot %s of %s?", args[1], args[0]), "--yes"); err != nil {
					return err
				}
			}
			vm = args[0]
			return a.run(cmd, c, args[1])
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}

func (c *cli) snapshotScheduleCommand() *cobra.Command {
	var wish baadal.SnapshotSchedule
	flags := []struct {
		name string
		of   func(*baadal.SnapshotSchedule) *bool
	}{
		{"daily", func(s *baadal.SnapshotSchedule) *bool { return &s.Daily }},
		{"weekly", func(s *baadal.SnapshotSchedule) *bool { return &s.Weekly }},
		{"monthly", func(s *baadal.SnapshotSchedule) *bool { return &s.Monthly }},
		{"yearly", func(s *baadal.SnapshotSchedule) *bool { return &s.Yearly }},
	}
	cmd := &cobra.Command{
		Use: "schedule VM", Short: "Show or set which snapshots are made by themselves", Args: takes(1, 1), ValidArgsFunction: c.vmNames(true),
		Long: "Show which snapshots of a VM are made by themselves, or change it: --daily begins\ndaily ones, --daily=false ends them. The newest of each type is kept.",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			now, err := api.SnapshotSchedule(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			changed := false
			for _, f := range flags {
				if cmd.Flags().Changed(f.name) {
					*f.of(&now), changed = *f.of(&wish), true
				}
			}
			if changed {
				if now, err = api.SetSnapshotSchedule(cmd.Context(), args[0], now); err != nil {
					return err
				}
			}
			if c.flags.json {
				return c.json(now)
			}
			var made []string
			for _, f := range flags {
				if *f.of(&now) {
					made = append(made, f.name)
				}
			}
			if len(made) == 0 {
				made = []string{"none"}
			}
			c.printf("Snapshots of %s by themselves: %s\n", clean(args[0]), strings.Join(made, ", "))
			return nil
		},
	}
	for _, f := range flags {
		cmd.Flags().BoolVar(f.of(&wish), f.name, false, "make a "+f.name+" snapshot")
	}
	return cmd
}

// snapshotNames completes a VM, then one of its snapshots.
func (c *cli) snapshotNames(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return c.parts(func(ctx context.Context, api *client.Client, vm string) (found []string, err error) {
		all, err := api.Snapshots(ctx, vm)
		for _, s := range all.Items {
			found = append(found, s.Name)
		}
		return found, err
	})(cmd, args, word)
}
