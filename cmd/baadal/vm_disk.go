package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

func (c *cli) vmDiskCommand() *cobra.Command {
	return group("disk", "Disks of VMs",
		c.diskAddCommand(),
		c.diskListCommand(),
		c.diskActCommand("attach", "Give a VM back a disk that was detached or deleted", "%s is attached", plainly((*client.Client).AttachDisk)),
		c.diskDetachCommand(),
		c.diskDeleteCommand(),
		c.diskGrowCommand(),
		c.diskLimitCommand(),
	)
}

func (c *cli) diskAddCommand() *cobra.Command {
	var in baadal.DiskAdd
	size, rate := &sizeFlag{unit: gib}, &sizeFlag{unit: kib}
	a := act[baadal.Disk]{
		say: func(vm string, ch baadal.Change[baadal.Disk]) string {
			s := taskMessage[baadal.Disk]("%s has another disk")(vm, ch)
			if ch.Resource != nil {
				s += fmt.Sprintf("\n  %s of %s, serial %s", clean(ch.Resource.Target), clean(ch.Resource.VM), clean(ch.Resource.Serial))
			}
			return s
		},
		do: func(ctx context.Context, api *client.Client, vm string, opt baadal.ChangeOptions) (baadal.Change[baadal.Disk], error) {
			in.SizeGiB, in.BytesPerSecond = size.value, int64(rate.value)*kib
			return api.AddDisk(ctx, vm, in, opt)
		},
		reload: func(ctx context.Context, api *client.Client, ch baadal.Change[baadal.Disk]) (baadal.Disk, error) {
			return findDisk(ctx, api, fmt.Sprint(ch.Resource.VMID), ch.Resource.ID)
		},
	}
	cmd := &cobra.Command{
		Use: "add VM --size SIZE", Short: "Make another disk and give it to a VM", Args: takes(1, 1), ValidArgsFunction: c.vmNames(true),
		Long: "Make another disk and give it to a VM, at once if it runs. The guest finds it as\n/dev/disk/by-id/virtio-SERIAL; it is empty: no partitions, no file system.",
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd, c, args[0]) },
	}
	cmd.Flags().Var(size, "size", "`size`, as 10G")
	cmd.Flags().StringVar(&in.Datastore, "datastore", "", "`name` of the datastore (the one with most room)")
	limitFlags(cmd, rate, &in.IOPS)
	dryRunFlag(cmd, &a.dryRun)
	_ = cmd.MarkFlagRequired("size")
	return cmd
}

func limitFlags(cmd *cobra.Command, rate *sizeFlag, iops *int64) {
	cmd.Flags().Var(rate, "bytes-per-second", "most that is read and written in a second, as a `size`; no limit if not given")
	cmd.Flags().Int64Var(iops, "iops", 0, "most `operations` in a second; no limit if not given")
}

// findDisk reads one disk of a VM.
func findDisk(ctx context.Context, api *client.Client, vm string, id int64) (baadal.Disk, error) {
	all, err := api.Disks(ctx, vm)
	for _, k := range all.Items {
		if k.ID == id {
			return k, nil
		}
	}
	if err == nil {
		err = baadal.Errorf(baadal.NotFound, "there is no disk %d", id)
	}
	return baadal.Disk{}, err
}

func (c *cli) diskListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list VM", Aliases: []string{"ls"}, Short: "List a VM's disks", Args: takes(1, 1), ValidArgsFunction: c.vmNames(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			all, err := api.Disks(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.diskListing().show(c, all, false)
		},
	}
}

func (c *cli) diskListing() listing[baadal.Disk] {
	return listing[baadal.Disk]{
		name: func(k baadal.Disk) string { return k.Name },
		columns: []column[baadal.Disk]{
			{title: "Name", cell: func(k baadal.Disk) string { return k.Name }, min: 20},
			{title: "Target", cell: func(k baadal.Disk) string { return dash(k.Target) }},
			{title: "State", cell: func(k baadal.Disk) string { return k.State }, state: true},
			{title: "Size", right: true, cell: func(k baadal.Disk) string { return gibText(k.SizeGiB) }},
			{title: "Used", right: true, cell: func(k baadal.Disk) string {
				if k.MeasuredAt == nil {
					return "-"
				}
				return bytesText(k.UsedBytes)
			}},
			{title: "Datastore", cell: func(k baadal.Disk) string { return k.Datastore }, drop: 2, min: 8},
			{title: "Serial", cell: func(k baadal.Disk) string { return dash(k.Serial) }, drop: 3},
			{title: "Limits", cell: diskLimitText, drop: 1},
		},
	}
}

func diskLimitText(k baadal.Disk) string {
	var limits []string
	if k.BytesPerSecond > 0 {
		limits = append(limits, bytesText(k.BytesPerSecond)+"/s")
	}
	if k.IOPS > 0 {
		limits = append(limits, fmt.Sprintf("%d IOPS", k.IOPS))
	}
	return dash(strings.Join(limits, ", "))
}

// changeDisk changes one disk of a VM.
type changeDisk func(ctx context.Context, api *client.Client, vm, disk string, opt baadal.ChangeOptions) (baadal.Change[baadal.Disk], error)

// plainly is a method expression of the client as a changeDisk.
func plainly(do func(*client.Client, context.Context, string, string, baadal.ChangeOptions) (baadal.Change[baadal.Disk], error)) changeDisk {
	return func(ctx context.Context, api *client.Client, vm, disk string, opt baadal.ChangeOptions) (baadal.Change[baadal.Disk], error) {
		return do(api, ctx, vm, disk, opt)
	}
}

func (c *cli) diskActCommand(verb, short, done string, do changeDisk) *cobra.Command {
	vm := ""
	a := act[baadal.Disk]{
		say: taskMessage[baadal.Disk](done),
		do: func(ctx context.Context, api *client.Client, disk string, opt baadal.ChangeOptions) (baadal.Change[baadal.Disk], error) {
			return do(ctx, api, vm, disk, opt)
		},
	}
	cmd := &cobra.Command{
		Use: verb + " VM DISK", Short: short, Args: takes(2, 2), ValidArgsFunction: c.diskNames,
		RunE: func(cmd *cobra.Command, args []string) error { vm = args[0]; return a.run(cmd, c, args[1]) },
	}
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}

func (c *cli) diskDetachCommand() *cobra.Command {
	cmd := c.diskActCommand("detach", "Take a disk away from a VM; its file stays", "%s is detached", plainly((*client.Client).DetachDisk))
	cmd.Long = "Take a disk away from a VM; its file stays, and it can be attached again. A running\nguest loses it at once: unmount it there first."
	return cmd
}

func (c *cli) diskDeleteCommand() *cobra.Command {
	cmd := c.diskActCommand("delete", "Delete a disk; it can be attached again until its retention ends", "%s is deleted", plainly((*client.Client).DeleteDisk))
	yes, do := false, cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if dry, _ := cmd.Flags().GetBool("dry-run"); !yes && !dry {
			if err := c.confirm(fmt.Sprintf("Delete disk %s of %s?", args[1], args[0]), "--yes"); err != nil {
				return err
			}
		}
		return do(cmd, args)
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (c *cli) diskGrowCommand() *cobra.Command {
	size := &sizeFlag{unit: gib}
	cmd := c.diskActCommand("grow", "Make a disk larger; the first one (vda) too", "%s is larger",
		func(ctx context.Context, api *client.Client, vm, disk string, opt baadal.ChangeOptions) (baadal.Change[baadal.Disk], error) {
			return api.GrowDisk(ctx, vm, disk, baadal.DiskGrow{SizeGiB: size.value}, opt)
		})
	cmd.Use, cmd.Long = "grow VM DISK --size SIZE", "Make a disk larger; a running guest sees it at once. File systems are grown in the\nguest. Disks never shrink."
	cmd.Flags().Var(size, "size", "the new `size`, as 20G")
	_ = cmd.MarkFlagRequired("size")
	return cmd
}

func (c *cli) diskLimitCommand() *cobra.Command {
	rate, iops := &sizeFlag{unit: kib}, int64(0)
	cmd := c.diskActCommand("limit", "Limit what a disk may do in a second", "%s is limited",
		func(ctx context.Context, api *client.Client, vm, disk string, opt baadal.ChangeOptions) (baadal.Change[baadal.Disk], error) {
			return api.LimitDisk(ctx, vm, disk, baadal.DiskLimit{BytesPerSecond: int64(rate.value) * kib, IOPS: iops}, opt)
		})
	cmd.Long = "Limit what a disk may do in a second, at once if the VM runs. What is not given is\nnot limited."
	limitFlags(cmd, rate, &iops)
	return cmd
}

// diskNames completes a VM, then one of its disks.
func (c *cli) diskNames(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return c.parts(func(ctx context.Context, api *client.Client, vm string) (found []string, err error) {
		all, err := api.Disks(ctx, vm)
		for _, k := range all.Items {
			found = append(found, k.Target, k.Name)
		}
		return found, err
	})(cmd, args, word)
}
