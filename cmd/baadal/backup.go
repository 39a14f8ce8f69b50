package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

func (c *cli) backupCommand() *cobra.Command {
	return group("backup", "Copies of VMs that outlive them",
		c.backupCreateCommand(), c.backupListCommand(),
		showCommand(c, "Show backups in full", (*client.Client).Backup, c.backupIDs(false), c.showBackup),
		c.backupVerifyCommand(), c.backupRestoreCommand(),
		removeCommand(c, "delete", "Delete backups on which nothing stands, for ever", "backup %s is deleted", (*client.Client).DeleteBackup, c.backupIDs(false)),
		c.backupScheduleCommand(),
	)
}

func (c *cli) backupIDs(one bool) completion {
	return names(c, (*client.Client).Backups, func(b baadal.Backup) string { return fmt.Sprint(b.ID) }, one)
}

const backupCreateLong = `Copy all disks of a VM as they are at one moment, and describe it beside them. A
VM that runs goes on; what its guest had not written to disk is not in the copy.

With --incremental only what was written since the last backup made with it is
copied. Where that cannot be (the first one, a VM that is off or has snapshots)
the backup is a full one, and says why.`

func (c *cli) backupCreateCommand() *cobra.Command {
	var in baadal.BackupCreate
	a := act[baadal.Backup]{
		say: taskMessage[baadal.Backup]("%s is backed up"),
		do: func(ctx context.Context, api *client.Client, vm string, opt baadal.ChangeOptions) (baadal.Change[baadal.Backup], error) {
			return api.CreateBackup(ctx, vm, in, opt)
		},
		reload: reloadBackup,
	}
	cmd := &cobra.Command{
		Use: "create VM...", Short: "Back up VMs", Long: backupCreateLong, Args: takes(1, many), ValidArgsFunction: c.vmNames(false),
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd, c, args...) },
	}
	cmd.Flags().BoolVar(&in.Incremental, "incremental", false, "only what was written since the last backup, where that can be")
	cmd.Flags().StringVar(&in.Datastore, "datastore", "", "`name` of the datastore (that of the setting backup.datastore, or the VM's own)")
	completeFlags(cmd, map[string]completion{"datastore": c.datastoreNames()})
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}

func reloadBackup(ctx context.Context, api *client.Client, ch baadal.Change[baadal.Backup]) (baadal.Backup, error) {
	if ch.Resource == nil {
		return baadal.Backup{}, errors.New("the answer names no backup")
	}
	return api.Backup(ctx, fmt.Sprint(ch.Resource.ID))
}

func (c *cli) backupListCommand() *cobra.Command {
	vm := ""
	cmd := listCommand(c, "List backups, those of VMs that are gone included", (*client.Client).Backups, c.backupListing())
	list := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if vm != "" {
			args = append(args, "vm:"+vm)
		}
		return list(cmd, args)
	}
	cmd.Flags().StringVar(&vm, "vm", "", "only those of the VM of this `name`")
	completeFlags(cmd, map[string]completion{"vm": c.vmNames(false)})
	return cmd
}

func (c *cli) backupListing() listing[baadal.Backup] {
	return listing[baadal.Backup]{
		name:  func(b baadal.Backup) string { return fmt.Sprint(b.ID) },
		empty: "No backups yet. Make one: baadal backup create VM",
		columns: []column[baadal.Backup]{
			{title: "ID", right: true, cell: func(b baadal.Backup) string { return fmt.Sprint(b.ID) }},
			{title: "VM", cell: func(b baadal.Backup) string { return b.VM }, min: 8},
			{title: "State", cell: func(b baadal.Backup) string { return b.State }, state: true},
			{title: "Kind", cell: func(b baadal.Backup) string { return b.Kind }},
			{title: "Stands on", right: true, cell: func(b baadal.Backup) string {
				if b.ParentID == 0 {
					return "-"
				}
				return fmt.Sprint(b.ParentID)
			}, drop: 2},
			{title: "Type", cell: func(b baadal.Backup) string { return string(b.Type) }, drop: 4},
			{title: "Size", right: true, cell: func(b baadal.Backup) string { return bytesText(b.Bytes) }, drop: 1},
			{title: "Datastore", cell: func(b baadal.Backup) string { return b.Datastore }, drop: 5, min: 9},
			{title: "Owner", cell: func(b baadal.Backup) string { return b.Owner }, drop: 6},
			{title: "Made", cell: func(b baadal.Backup) string { return agoText(c.now(), b.CreatedAt) }},
			{title: "Verified", cell: func(b baadal.Backup) string {
				if b.VerifiedAt == nil {
					return "-"
				}
				return agoText(c.now(), *b.VerifiedAt)
			}, drop: 3},
		},
	}
}

func (c *cli) showBackup(b baadal.Backup) {
	fmt.Fprintln(c.out, c.title(fmt.Sprintf("backup %d of %s", b.ID, b.VM), b.State, b.Kind))
	made, gone, verified, stands := agoText(c.now(), b.CreatedAt), "", "never", "nothing"
	if b.VMID == 0 {
		gone = "it is gone for good"
	}
	if b.VerifiedAt != nil {
		verified = agoText(c.now(), *b.VerifiedAt)
	}
	if b.ParentID != 0 {
		stands = fmt.Sprintf("backup %d", b.ParentID)
	}
	m := b.Machine
	c.fields([]field{
		{"Task", taskRefText(b.Task)},
		{"Why", b.Reason},
		{"VM", gone},
		{"It was", fmt.Sprintf("%s, with %s and %s", m.State, plural(m.VCPUs, "vCPU"), mibText(m.RAMMiB))},
		{"From template", m.Template},
		{"In network", m.Network},
		{"Stands on", stands},
		{"On it", plural(b.Standing, "increment")},
		{"Datastore", b.Datastore},
		{"Folder", baadal.DirBackups + "/" + b.UUID},
		{"Size", bytesText(b.Bytes)},
		{"Made", made},
		{"Verified", verified},
		{"Can", actionsText(b.Actions)},
	})
	for _, f := range b.Files {
		c.printf("  %s  %s  %s\n", f.SHA256, clean(f.Name), bytesText(f.Bytes))
	}
}

func (c *cli) backupVerifyCommand() *cobra.Command {
	a := act[baadal.Backup]{
		say: taskMessage[baadal.Backup]("backup %s is whole"),
		do: func(ctx context.Context, api *client.Client, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.Backup], error) {
			return api.VerifyBackup(ctx, ref, opt)
		},
		reload: reloadBackup,
	}
	cmd := &cobra.Command{
		Use: "verify ID...", Short: "Read the files of backups and compare them with what they were", Args: takes(1, many), ValidArgsFunction: c.backupIDs(false),
		Long: "Read all files of backups, and of those that they stand on, and compare them with\nwhat they were. A file that is spoiled or missing is told, and the backup is\nmarked as damaged.",
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd, c, args...) },
	}
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}

const backupRestoreLong = `Get a VM back from a backup, after its files were verified.

    baadal backup restore 7 --as web1-again      a new VM, with an address of its own
    baadal backup restore 7 --in-place           the disks of the VM itself

In place the VM must be off. What it wrote since, and its snapshots, are lost; if
anything fails its disks are as they were.`

func (c *cli) backupRestoreCommand() *cobra.Command {
	var in baadal.BackupRestore
	inPlace, yes := false, false
	a := act[baadal.VM]{
		say: taskMessage[baadal.VM]("backup %s is restored"),
		do: func(ctx context.Context, api *client.Client, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
			if inPlace {
				return api.RestoreBackupInPlace(ctx, ref, opt)
			}
			return api.RestoreBackup(ctx, ref, in, opt)
		},
		reload: func(ctx context.Context, api *client.Client, ch baadal.Change[baadal.VM]) (baadal.VM, error) {
			if ch.Resource == nil {
				return baadal.VM{}, errors.New("the answer names no VM")
			}
			return api.VM(ctx, fmt.Sprint(ch.Resource.ID))
		},
	}
	cmd := &cobra.Command{
		Use: "restore ID --as NAME | --in-place", Short: "Get a VM back from a backup", Long: backupRestoreLong, Args: takes(1, 1), ValidArgsFunction: c.backupIDs(true),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if inPlace && !yes && !a.dryRun {
				if err := c.showReplace(cmd.Context(), args[0]); err != nil {
					return err
				}
				if err := c.confirm(fmt.Sprintf("Lose what was written since backup %s?", args[0]), "--yes"); err != nil {
					return err
				}
			}
			return a.run(cmd, c, args[0])
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.As, "as", "", "make a new VM of this `name`")
	f.BoolVar(&inPlace, "in-place", false, "put the disks of the VM itself back")
	f.StringVar(&in.Network, "network", "", "`name` of the new VM's network (the one that the VM had)")
	f.StringVar(&in.Template, "template", "", "`name` of the template that it counts as coming from, if its own is gone")
	f.BoolVar(&in.Start, "start", false, "start the new VM")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	dryRunFlag(cmd, &a.dryRun)
	cmd.MarkFlagsOneRequired("as", "in-place")
	for _, flag := range []string{"as", "network", "template", "start"} {
		cmd.MarkFlagsMutuallyExclusive("in-place", flag)
	}
	completeFlags(cmd, map[string]completion{"network": c.networkNames(false), "template": c.templateNames(false)})
	return cmd
}

// showReplace says on a terminal what a restore in place means before it is
// asked for.
func (c *cli) showReplace(ctx context.Context, ref string) error {
	if !c.inTerminal {
		return nil
	}
	api, err := c.api()
	if err != nil {
		return err
	}
	ch, err := api.RestoreBackupInPlace(ctx, ref, baadal.ChangeOptions{DryRun: true})
	if err != nil || ch.Plan == nil {
		return err
	}
	for _, s := range append([]string{ch.Plan.Summary}, ch.Plan.Effects...) {
		fmt.Fprintf(c.err, "%s\n", clean(s))
	}
	return nil
}

func (c *cli) backupScheduleCommand() *cobra.Command {
	var wish baadal.BackupSchedule
	cmd := &cobra.Command{
		Use: "schedule VM", Short: "Show or set which backups are made by themselves", Args: takes(1, 1), ValidArgsFunction: c.vmNames(true),
		Long: "Show which backups of a VM are made by themselves, or change it: --every daily\nbegins daily ones, --every never ends them. What was made stays until newer ones\ntake its place.",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			now, err := api.BackupSchedule(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			changed := false
			for flag, set := range map[string]func(){
				"every":       func() { now.Every = wish.Every },
				"incremental": func() { now.Incremental = wish.Incremental },
				"keep":        func() { now.Keep = wish.Keep },
				"datastore":   func() { now.Datastore = wish.Datastore },
			} {
				if cmd.Flags().Changed(flag) {
					set()
					changed = true
				}
			}
			if changed {
				if now, err = api.SetBackupSchedule(cmd.Context(), args[0], now); err != nil {
					return err
				}
			}
			if c.flags.json {
				return c.json(now)
			}
			c.printf("%s\n", scheduleText(clean(args[0]), now))
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar((*string)(&wish.Every), "every", "", "never, daily, weekly or monthly: the `period`")
	f.BoolVar(&wish.Incremental, "incremental", false, "increments, with a full one now and then")
	f.IntVar(&wish.Keep, "keep", 1, "how many stay, the newest `number`")
	f.StringVar(&wish.Datastore, "datastore", "", "`name` of the datastore (that of the setting backup.datastore, or the VM's own)")
	completeFlags(cmd, map[string]completion{"datastore": c.datastoreNames(), "every": cobra.FixedCompletions([]string{"never", "daily", "weekly", "monthly"}, cobra.ShellCompDirectiveNoFileComp)})
	return cmd
}

func scheduleText(vm string, s baadal.BackupSchedule) string {
	if s.Every == baadal.BackupNever {
		return "Backups of " + vm + " by themselves: none"
	}
	kind := "full"
	if s.Incremental {
		kind = "incremental"
	}
	text := fmt.Sprintf("Backups of %s by themselves: %s, %s, the newest %d stay", vm, s.Every, kind, s.Keep)
	if s.Datastore != "" {
		text += ", on datastore " + clean(s.Datastore)
	}
	return text
}
