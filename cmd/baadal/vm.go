package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

func (c *cli) vmCommand() *cobra.Command {
	return group("vm", "Virtual machines",
		c.vmCreateCommand(),
		c.vmListCommand(),
		c.vmShowCommand(),
		c.vmActCommand("start", "Start VMs", (*client.Client).StartVM, "%s is started successfully"),
		c.vmActCommand("shutdown", "Ask the guests to shut down", (*client.Client).ShutdownVM, "%s is shutdown successfully"),
		c.vmActCommand("reboot", "Restart the guests", (*client.Client).RebootVM, "%s is rebooted successfully"),
		c.vmActCommand("destroy", "Cut the power of VMs; their disks stay", (*client.Client).DestroyVM, "%s is destroyed successfully"),
		c.vmEditCommand(),
		c.vmStatsCommand(),
		c.vmTopCommand(),
		c.vmActCommand("suspend", "Stop the CPUs of VMs; their memory stays", (*client.Client).SuspendVM, "%s is suspend successfully"),
		c.vmActCommand("resume", "Let paused VMs go on", (*client.Client).ResumeVM, "%s is resumed successfully"),
		c.vmActCommand("reset", "Press the reset button of VMs", (*client.Client).ResetVM, "%s is reset successfully"),
		c.vmActCommand("save", "Save VMs to disk and switch them off; start goes on from there", (*client.Client).SaveVM, "%s is saved successfully"),
		c.vmMigrateCommand(),
		c.vmMoveCommand(),
		c.vmCloneCommand(),
		c.vmSaveTemplateCommand(),
		c.vmImportCommand(),
		c.vmExportCommand(),
		c.vmLaunchCommand(),
		c.vmAdoptCommand(),
		c.vmFlattenCommand(),
		c.vmConsoleCommand(),
		c.vmVNCCommand(),
		c.vmScreenshotCommand(),
		c.vmSnapshotCommand(),
		c.vmDiskCommand(),
		c.vmCDROMCommand(),
		c.vmForwardCommand(),
		c.vmNICCommand(),
		c.vmDeleteCommand(),
		c.vmActCommand("restore", "Bring deleted VMs back", (*client.Client).RestoreVM, "%s is restored"),
		c.vmPasswordCommand(),
		c.vmSSHCommand(),
	)
}

func (c *cli) vmListing() listing[baadal.VM] {
	return listing[baadal.VM]{
		name:  func(v baadal.VM) string { return v.Name },
		empty: "No VMs yet. Create one: baadal vm create NAME --template TEMPLATE",
		columns: []column[baadal.VM]{
			{title: "Name", cell: func(v baadal.VM) string { return v.Name }, min: 20},
			{title: "State", cell: vmStateText, state: true, min: 12},
			{title: "Address", cell: func(v baadal.VM) string { return dash(v.Address) }, drop: 1},
			{title: "Host", cell: func(v baadal.VM) string { return dash(v.Host) }, drop: 2, min: 8},
			{title: "vCPUs", right: true, cell: func(v baadal.VM) string { return fmt.Sprint(v.VCPUs) }, drop: 4},
			{title: "RAM", right: true, cell: func(v baadal.VM) string { return mibText(v.RAMMiB) }, drop: 4},
			{title: "Disk", right: true, cell: func(v baadal.VM) string { return gibText(v.DiskGiB) }, drop: 5},
			{title: "Owner", cell: func(v baadal.VM) string { return v.Owner }, drop: 3, min: 8},
			{title: "Network", cell: func(v baadal.VM) string { return v.Network }, drop: 7, min: 8},
			{title: "Template", cell: func(v baadal.VM) string { return v.Template }, drop: 8, min: 8},
			{title: "Since", cell: func(v baadal.VM) string { return agoText(c.now(), v.StateSince) }, drop: 6},
		},
	}
}

// vmStateText is a VM's state as a table shows it: with the task that changes
// it, or a word when its host is silent.
func vmStateText(v baadal.VM) string {
	switch {
	case v.Task != nil && v.State != baadal.VMInQueue:
		return fmt.Sprintf("%s (%s %d %%)", v.State, strings.ToLower(strings.TrimSuffix(string(v.Task.Kind), " VM")), v.Task.Progress)
	case v.Task != nil:
		return fmt.Sprintf("%s %d %%", v.State, v.Task.Progress)
	case !v.Reachable && v.State != baadal.VMDeleted:
		return v.State.String() + " (host silent)"
	}
	return v.State.String()
}

func (c *cli) vmListCommand() *cobra.Command {
	l := c.vmListing()
	cmd := listCommand(c, "List VMs", (*client.Client).VMs, l)
	var watch bool
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "keep showing the list as it changes, until Ctrl-C")
	once := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !watch {
			return once(cmd, args)
		}
		return c.watch(cmd.Context(), "vm", func() error { return once(cmd, args) })
	}
	return cmd
}

func (c *cli) showVM(v baadal.VM) {
	now := c.now()
	fmt.Fprintln(c.out, c.title(v.Name, vmStateText(v), "since "+agoText(now, v.StateSince)))
	answered, deleted := "", ""
	if v.AnsweredAt != nil && v.State == baadal.VMRunning {
		answered = ", answered " + agoText(now, *v.AnsweredAt)
	}
	if v.DeletedAt != nil && v.State == baadal.VMDeleted {
		deleted = agoText(now, *v.DeletedAt)
		if v.PurgeAfter != nil {
			deleted += ", gone for good " + agoText(now, *v.PurgeAfter)
		}
	}
	c.fields([]field{
		{"Why", v.Reason},
		{"Task", taskRefText(v.Task)},
		{"Address", strings.TrimSpace(v.Address + answered)},
		{"IPv6 address", v.IPv6},
		{"DNS name", v.DNSName},
		{"Public address", v.Public},
		{"Network", strings.TrimSuffix(fmt.Sprintf("%s, VLAN %d, MAC %s", v.Network, v.VLAN, v.MAC), ", MAC ")},
		{"Further NICs", nicsText(v.NICs)},
		{"Size", fmt.Sprintf("%s, %s memory, %s disk", plural(v.VCPUs, "vCPU"), mibText(v.RAMMiB), gibText(v.DiskGiB))},
		{"Runs with", liveText(v)},
		{"Host", v.Host},
		{"Placed there", v.Placement},
		{"May run on", strings.Join(v.Hosts, ", ")},
		{"Affinity", strings.Join(v.Affinity, ", ")},
		{"Security groups", strings.Join(v.SecGroups, ", ")},
		{"Breaks rules", strings.Join(v.Broken, "; ")},
		{"Datastore", v.Datastore},
		{"Template", v.Template},
		{"Can be given", headroomText(v)},
		{"Boots from", bootTextOf(v.Boot)},
		{"In its drive", v.CDROM},
		{"When its host comes back", autostartText(v.Autostart)},
		{"Owner", v.Owner + ", " + v.Organisation},
		{"Purpose", v.Purpose},
		{"VNC port", strings.TrimPrefix(fmt.Sprint(v.VNCPort), "0")},
		{"Created", agoText(now, v.CreatedAt)},
		{"Deleted", deleted},
		{"Id", fmt.Sprintf("%d, %s", v.ID, v.UUID)},
		{"Can", actionsText(v.Actions)},
	})
}

// nicsText is one line about a VM's NICs beside the first one.
func nicsText(all []baadal.NIC) string {
	var parts []string
	for _, n := range all {
		if n.Index > 0 {
			addresses := n.Address
			if n.IPv6 != "" {
				addresses += " and " + n.IPv6
			}
			parts = append(parts, fmt.Sprintf("%d: %s in %s, VLAN %d, MAC %s", n.Index, addresses, n.Network, n.VLAN, n.MAC))
		}
	}
	return strings.Join(parts, "; ")
}

// liveText says what a VM still runs with, until its next cold start.
func liveText(v baadal.VM) string {
	var parts []string
	if v.LiveVCPUs != 0 {
		parts = append(parts, plural(v.LiveVCPUs, "vCPU"))
	}
	if v.LiveRAMMiB != 0 {
		parts = append(parts, mibText(v.LiveRAMMiB)+" memory")
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, ", ") + " until its next cold start"
}

func reloadVM(ctx context.Context, api *client.Client, ch baadal.Change[baadal.VM]) (baadal.VM, error) {
	if ch.Resource == nil {
		return baadal.VM{}, errors.New("the answer names no VM")
	}
	return api.VM(ctx, fmt.Sprint(ch.Resource.ID))
}

// vmActCommand makes one of the acts that take nothing but names.
func (c *cli) vmActCommand(verb, short string, do changeOne[baadal.VM], done string) *cobra.Command {
	a := act[baadal.VM]{
		do: func(ctx context.Context, api *client.Client, name string, opt baadal.ChangeOptions) (baadal.Change[baadal.VM], error) {
			return do(api, ctx, name, opt)
		},
		reload: reloadVM,
		say:    taskMessage[baadal.VM](done),
	}
	cmd := &cobra.Command{
		Use: verb + " NAME...", Short: short, Args: takes(1, many), ValidArgsFunction: c.vmNames(false),
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd, c, args...) },
	}
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}

func (c *cli) vmDeleteCommand() *cobra.Command {
	cmd := c.vmActCommand("delete", "Delete VMs; they can be restored for a while", (*client.Client).DeleteVM, "%s is deleted successfully")
	yes := false
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !yes && !cmd.Flag("dry-run").Changed {
			if err := c.confirm(fmt.Sprintf("Delete %s?", strings.Join(args, ", ")), "--yes"); err != nil {
				return err
			}
		}
		return run(cmd, args)
	}
	return cmd
}

func (c *cli) vmPasswordCommand() *cobra.Command {
	return &cobra.Command{
		Use: "password NAME", Short: "Show a VM's console password, once", Args: takes(1, 1), ValidArgsFunction: c.vmNames(true),
		Long: "Show the password for the VM's console. It is made with the VM, shown to its\nowner once, and then forgotten by the cloud.",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			secret, err := api.VMPassword(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if c.flags.json {
				return c.json(map[string]string{"password": secret})
			}
			fmt.Fprintln(c.out, clean(secret))
			c.hintf("It is not shown again.\n")
			return nil
		},
	}
}

func (c *cli) vmSSHCommand() *cobra.Command {
	user := ""
	cmd := &cobra.Command{
		Use: "ssh NAME [-- ARGUMENT...]", Short: "Open an SSH session on a VM", Args: takes(1, many), ValidArgsFunction: c.vmNames(true),
		Long: "Run ssh to the VM's address. What follows -- goes to ssh: its flags, or a command\nfor the guest. The exit code is ssh's.",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			v, err := api.VM(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			argv, err := sshArgs(v, user, args[1:])
			if err != nil {
				return err
			}
			ssh := exec.CommandContext(cmd.Context(), "ssh", argv...)
			ssh.Stdin, ssh.Stdout, ssh.Stderr = c.in, c.out, c.err
			err = ssh.Run()
			if e, ok := errors.AsType[*exec.ExitError](err); ok {
				return &exitError{code: max(e.ExitCode(), exitFailure)}
			}
			if err != nil {
				return fmt.Errorf("run ssh: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&user, "login", "l", guestUser, "`user` in the guest")
	return cmd
}

// guestUser is whom every image lets in with the VM's SSH keys; an image's own
// default user has them too.
const guestUser = "root"

// sshArgs returns the arguments for ssh. The address comes from the server, so
// it is only used if it is one: ssh would take a leading dash for an option.
func sshArgs(v baadal.VM, user string, rest []string) ([]string, error) {
	addr, err := netip.ParseAddr(v.Address)
	if err != nil || v.State != baadal.VMRunning {
		return nil, baadal.Errorf(baadal.Conflict, "%s is %s and has no address to connect to now", v.Name, v.State).
			WithNext("See its state", "baadal vm show "+v.Name)
	}
	return append([]string{"-l", user, addr.String()}, rest...), nil
}

// defaultKeys returns the public keys that ssh would offer from the home
// directory; none if there are none.
func (c *cli) defaultKeys() []string {
	home := c.getenv("HOME")
	if home == "" {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(home, ".ssh", "id_*.pub"))
	if err != nil {
		return nil
	}
	return files
}

// readKeys reads public keys, one or more in a file.
func readKeys(files []string) ([]string, error) {
	var keys []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("read SSH key: %w", err)
		}
		found := 0
		for line := range strings.Lines(string(b)) {
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if err := baadal.CheckSSHKey(line); err != nil {
				return nil, usagef("%s: %w", f, err)
			}
			keys = append(keys, line)
			found++
		}
		if found == 0 {
			return nil, usagef("%s holds no SSH public key", f)
		}
	}
	return keys, nil
}
