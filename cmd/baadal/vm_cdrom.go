package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

func (c *cli) vmCDROMCommand() *cobra.Command {
	return group("cdrom", "CD images in VMs", c.cdromInsertCommand(), c.cdromEjectCommand())
}

const cdromInsertLong = `Put a CD image into the drive of VMs, at once if they run. Images are templates of
kind iso:

    baadal template import debian-12-netinst.iso --kind iso --name debian-cd
    baadal vm cdrom insert web1 --iso debian-cd
    baadal vm edit web1 --boot cdrom,disk

In a Linux guest it is /dev/sr1; /dev/sr0 holds what its first boot was told.`

func (c *cli) cdromInsertCommand() *cobra.Command {
	var in baadal.CDROMInsert
	a := act[baadal.VM]{
		do: func(ctx context.Context, api *client.Client, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
			return api.InsertCDROM(ctx, ref, in, opt)
		},
		reload: reloadVM,
		say:    taskMessage[baadal.VM]("the CD is inserted in %s"),
	}
	cmd := &cobra.Command{
		Use: "insert NAME... --iso ISO", Short: "Put a CD image into the drive of VMs", Long: cdromInsertLong,
		Args: takes(1, many), ValidArgsFunction: c.vmNames(false), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if in.ISO == "" {
				return usagef("which CD? give --iso; baadal template list kind:iso shows them")
			}
			return a.run(cmd, c, args...)
		},
	}
	cmd.Flags().StringVar(&in.ISO, "iso", "", "`name` of the CD image")
	dryRunFlag(cmd, &a.dryRun)
	completeFlags(cmd, map[string]completion{"iso": c.templateNames(true)})
	return cmd
}

func (c *cli) cdromEjectCommand() *cobra.Command {
	var in baadal.CDROMEject
	a := act[baadal.VM]{
		do: func(ctx context.Context, api *client.Client, ref string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
			return api.EjectCDROM(ctx, ref, in, opt)
		},
		reload: reloadVM,
		say:    taskMessage[baadal.VM]("the CD is ejected from %s"),
	}
	cmd := &cobra.Command{
		Use: "eject NAME...", Short: "Take out what is in the drive of VMs", Args: takes(1, many), ValidArgsFunction: c.vmNames(false),
		Long: "Take out what is in the drive of VMs. A guest that has mounted it holds the tray\nshut: unmount it there first, or take it away with --force.",
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd, c, args...) },
	}
	cmd.Flags().BoolVar(&in.Force, "force", false, "also when the guest holds the tray shut: it loses what it reads from there")
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}

// bootTextOf is a boot order for people; the usual one goes without saying.
func bootTextOf(order []baadal.BootDevice) string {
	if slices.Equal(order, baadal.DefaultBoot()) {
		return ""
	}
	words := make([]string, len(order))
	for i, d := range order {
		words[i] = string(d)
	}
	return strings.Join(words, ", then ")
}

// autostartText says what a policy other than the usual one means.
func autostartText(a baadal.Autostart) string {
	switch a {
	case baadal.AutostartAlways:
		return "it is started, also if it was off"
	case baadal.AutostartNever:
		return "it stays off"
	case baadal.AutostartLast:
	}
	return ""
}

// headroomText says how much memory a VM can be given while it runs.
func headroomText(v baadal.VM) string {
	if v.MaxRAMMiB <= v.RAMMiB {
		return ""
	}
	return "up to " + mibText(v.MaxRAMMiB) + " memory while it runs"
}
