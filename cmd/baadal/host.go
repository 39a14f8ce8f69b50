package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

func (c *cli) hostCommand() *cobra.Command {
	return group("host", "Machines that run VMs",
		c.hostAddCommand(),
		listCommand(c, "List hosts", (*client.Client).Hosts, c.hostListing()),
		showCommand(c, "Show hosts in full, with what was checked", (*client.Client).Host, c.hostNames(), c.showHost),
		c.hostCheckCommand(),
		c.hostRemoveCommand(),
	)
}

func (c *cli) hostListing() listing[baadal.Host] {
	return listing[baadal.Host]{
		name:  func(h baadal.Host) string { return h.Name },
		empty: "No hosts yet. Add one: baadal host add ADDRESS",
		columns: []column[baadal.Host]{
			{title: "Name", cell: func(h baadal.Host) string { return h.Name }, min: 10},
			{title: "State", cell: func(h baadal.Host) string { return h.State.String() }, state: true},
			{title: "VMs", right: true, cell: func(h baadal.Host) string { return fmt.Sprint(h.VMs) }, drop: 1},
			{title: "vCPUs/CPUs", right: true, cell: func(h baadal.Host) string { return fmt.Sprintf("%d/%d", h.ClaimedVCPUs, h.CPUs) }, drop: 3},
			{title: "Claimed", right: true, cell: func(h baadal.Host) string { return mibText(h.ClaimedRAMMiB) }, drop: 3},
			{title: "RAM", right: true, cell: func(h baadal.Host) string { return mibText(h.RAMMiB) }, drop: 3},
			{title: "Address", cell: func(h baadal.Host) string { return h.Address }, drop: 4, min: 12},
			{title: "Virt", cell: func(h baadal.Host) string { return dash(h.Virt) }, drop: 6},
			{title: "Seen", cell: func(h baadal.Host) string {
				if h.LastSeen == nil {
					return "never"
				}
				return agoText(c.now(), *h.LastSeen)
			}, drop: 5},
			{title: "Why", cell: func(h baadal.Host) string { return h.Reason }, drop: 2, min: 12},
		},
	}
}

func (c *cli) showHost(h baadal.Host) {
	fmt.Fprintln(c.out, c.title(h.Name, h.State.String(), "since "+agoText(c.now(), h.StateSince)))
	seen := ""
	if h.LastSeen != nil {
		seen = agoText(c.now(), *h.LastSeen)
	}
	c.fields([]field{
		{"Why", h.Reason},
		{"Last seen", seen},
		{"Address", h.SSHUser + "@" + h.SSHAddr()},
		{"Host key", h.Fingerprint},
		{"VMs", fmt.Sprint(h.VMs)},
		{"Claimed", fmt.Sprintf("%s of %s, %s of %s", plural(h.ClaimedVCPUs, "vCPU"), plural(h.CPUs, "CPU"), mibText(h.ClaimedRAMMiB), mibText(h.RAMMiB))},
		{"CPU", h.CPUModel},
		{"Disks", gibText(h.DiskGiB)},
		{"Machine", fmt.Sprintf("%s, %s", dash(h.Type), dash(h.Virt))},
		{"Network", fmt.Sprintf("%s, MAC %s", dash(h.NIC), dash(h.MAC))},
		{"Versions", fmt.Sprintf("libvirt %s, QEMU %s", dash(h.Libvirt), dash(h.QEMU))},
		{"Added", agoText(c.now(), h.CreatedAt)},
		{"Can", actionsText(h.Actions)},
	})
	c.checks(h.Checks)
}

// checks writes what was looked at on a host, and how to mend what is not well.
func (c *cli) checks(checks []baadal.Check) {
	l := c.look()
	for _, k := range checks {
		mark := l.paint("ok ", green)
		if !k.OK {
			mark = l.paint("BAD", red)
		}
		fmt.Fprintf(c.out, "  %s  %s: %s\n", mark, clean(k.Name), clean(dash(k.Detail)))
		if !k.OK && k.Fix != "" {
			fmt.Fprintf(c.out, "       next: %s\n", clean(k.Fix))
		}
	}
}

const hostAddLong = `Add a machine with sshd, libvirtd, QEMU and Open vSwitch. The server reaches it
by SSH with its own key and pins the machine's key: on a terminal you are shown
the fingerprint found and asked; compare it with what the machine itself says:

    ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub

A program gives the fingerprint it knows with --fingerprint.`

func (c *cli) hostAddCommand() *cobra.Command {
	var (
		in    baadal.HostAdd
		a     act[baadal.Host]
		trust bool
	)
	a.do = func(ctx context.Context, api *client.Client, address string, opt baadal.ChangeOptions) (baadal.Change[baadal.Host], error) {
		in.Address = address
		ch, err := api.AddHost(ctx, in, opt)
		if baadal.CodeOf(err) != "fingerprint_unconfirmed" {
			return ch, err
		}
		if in.Fingerprint, err = c.confirmKey(address, trust, err); err != nil {
			return ch, err
		}
		return api.AddHost(ctx, in, opt)
	}
	a.reload = reloadHost
	a.say = func(name string, ch baadal.Change[baadal.Host]) string {
		return taskMessage[baadal.Host]("%s is added")(name, ch) + c.hostBrief(ch.Resource)
	}
	cmd := &cobra.Command{
		Use: "add ADDRESS", Short: "Add a host", Long: hostAddLong, Args: takes(1, 1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd, c, args[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&in.Name, "name", "", "what to call it (its own host name)")
	f.StringVar(&in.SSHUser, "user", "", "SSH `user` (root)")
	f.StringVar(&in.Fingerprint, "fingerprint", "", "`SHA256:...` of its host key")
	f.BoolVar(&trust, "yes-trust-on-first-use", false, "pin whatever key is found, without asking")
	f.BoolVar(&trust, "yes", false, "the same as --yes-trust-on-first-use")
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}

var fingerprintRE = regexp.MustCompile(`SHA256:[A-Za-z0-9+/]{43}`)

// confirmKey shows the host key that the server found and returns its
// fingerprint once it may be pinned.
func (c *cli) confirmKey(address string, trust bool, found error) (string, error) {
	e, ok := errors.AsType[*baadal.Error](found)
	if !ok {
		return "", found
	}
	fingerprint := fingerprintRE.FindString(e.Detail)
	switch {
	case fingerprint == "":
		return "", found
	case trust:
		c.hintf("Pinning the host key found at %s: %s\n", clean(address), fingerprint)
		return fingerprint, nil
	case !c.inTerminal:
		e.Next = []baadal.Offer{
			{Label: "Compare it on the machine", Action: "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"},
			{Label: "Add it with this key", Action: fmt.Sprintf("baadal host add %s --fingerprint %s", address, fingerprint)},
			{Label: "Or pin whatever is found", Action: fmt.Sprintf("baadal host add %s --yes-trust-on-first-use", address)},
		}
		return "", e
	}
	fmt.Fprintf(c.err, "The host key found at %s is\n  %s\nOn the machine: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub\n", clean(address), fingerprint)
	return fingerprint, c.confirm("Is this the machine, and shall its key be pinned?", "--fingerprint")
}

func reloadHost(ctx context.Context, api *client.Client, ch baadal.Change[baadal.Host]) (baadal.Host, error) {
	if ch.Resource == nil {
		return baadal.Host{}, errors.New("the answer names no host")
	}
	return api.Host(ctx, fmt.Sprint(ch.Resource.ID))
}

// hostBrief tells in a few lines what was found on a host.
func (c *cli) hostBrief(h *baadal.Host) string {
	if h == nil || h.CPUs == 0 {
		return ""
	}
	var s strings.Builder
	fmt.Fprintf(&s, "\n  %s is %s: %s, %s memory, %s", clean(h.Name), h.State, plural(h.CPUs, "CPU"), mibText(h.RAMMiB), clean(h.Virt))
	for _, k := range h.Failed() {
		fmt.Fprintf(&s, "\n  BAD  %s: %s", clean(k.Name), clean(k.Detail))
		if k.Fix != "" {
			fmt.Fprintf(&s, "\n       next: %s", clean(k.Fix))
		}
	}
	return s.String()
}

func (c *cli) hostCheckCommand() *cobra.Command {
	a := act[baadal.Host]{
		do: func(ctx context.Context, api *client.Client, name string, opt baadal.ChangeOptions) (baadal.Change[baadal.Host], error) {
			return api.CheckHost(ctx, name, opt)
		},
		reload: reloadHost,
	}
	a.say = func(name string, ch baadal.Change[baadal.Host]) string {
		return taskMessage[baadal.Host]("%s is checked")(name, ch) + c.hostBrief(ch.Resource)
	}
	return &cobra.Command{
		Use: "check NAME...", Short: "Look at hosts again: what they have and whether all is well", Args: takes(1, many),
		ValidArgsFunction: c.hostNames(),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.run(cmd, c, args...) },
	}
}

func (c *cli) hostRemoveCommand() *cobra.Command {
	say := taskMessage[baadal.Host]("%s is removed")
	return removeCommandSaying(c, "remove", "Remove hosts that run no VMs", func(name string, ch baadal.Change[baadal.Host]) string {
		words := say(name, ch)
		if ch.Resource == nil {
			return words
		}
		if left := ch.Resource.LeftBehind(); left != "" {
			words += "; " + clean(left)
		}
		return words
	}, (*client.Client).RemoveHost, c.hostNames())
}
