package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

const forwardLong = `Open ports of VMs to the outside for a time: a port of the NAT box's public
address leads to the VM's. The NAT box itself closes it when the time is over,
and cuts what is connected then.

    baadal vm forward add web1 22 --for 4h
    baadal vm forward add web1 53/udp --for 30m
    baadal vm forward extend web1 22 --for 8h
    baadal vm forward end web1 22`

func (c *cli) vmForwardCommand() *cobra.Command {
	cmd := group("forward", "Ports of VMs that are open to the outside for a time",
		c.forwardAddCommand(), c.forwardListCommand(), c.forwardExtendCommand(), c.forwardEndCommand(),
	)
	cmd.Long = forwardLong
	return cmd
}

// forwardWait is how long the command waits for the NAT box to have a change;
// it is given it all the same when it is back.
const forwardWait = 10 * time.Second

func (c *cli) forwardAddCommand() *cobra.Command {
	var in baadal.ForwardAdd
	var long time.Duration
	a := act[baadal.Forward]{say: c.forwardText("leads to")}
	a.do = func(ctx context.Context, api *client.Client, vm string, opt baadal.ChangeOptions) (baadal.Change[baadal.Forward], error) {
		return c.settleForward(ctx, api)(api.AddForward(ctx, vm, in, opt))
	}
	cmd := &cobra.Command{
		Use: "add VM PORT[/udp] --for TIME", Short: "Open a port of a VM to the outside for a time", Args: takes(2, 2), ValidArgsFunction: c.vmNames(true),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if in.Port, in.Protocol, err = parsePort(args[1]); err != nil {
				return err
			}
			if in.Seconds, err = wholeSeconds(long); err != nil {
				return err
			}
			return a.run(cmd, c, args[0])
		},
	}
	cmd.Flags().DurationVar(&long, "for", 0, "how `long`, as 30m or 4h")
	cmd.Flags().IntVar(&in.PublicPort, "public-port", 0, "`port` of the NAT box (a free one)")
	dryRunFlag(cmd, &a.dryRun)
	_ = cmd.MarkFlagRequired("for")
	return cmd
}

// parsePort reads PORT or PORT/PROTOCOL.
func parsePort(s string) (int, baadal.Protocol, error) {
	port, proto, given := strings.Cut(s, "/")
	n, err := strconv.Atoi(port)
	if err != nil || given && proto != string(baadal.TCP) && proto != string(baadal.UDP) {
		return 0, "", usagef("%q is not a port, as 22 or 53/udp", s)
	}
	if !given {
		proto = string(baadal.TCP)
	}
	return n, baadal.Protocol(proto), nil
}

// settleForward waits a moment for the NAT box.
func (c *cli) settleForward(ctx context.Context, api *client.Client) func(baadal.Change[baadal.Forward], error) (baadal.Change[baadal.Forward], error) {
	return func(ch baadal.Change[baadal.Forward], err error) (baadal.Change[baadal.Forward], error) {
		f := ch.Resource
		if err != nil || f == nil || c.flags.noWait {
			return ch, err
		}
		for until := time.Now().Add(forwardWait); !f.Applied && time.Now().Before(until); {
			select {
			case <-ctx.Done():
				return ch, ctx.Err()
			case <-time.After(100 * time.Millisecond):
			}
			now, err := api.Forward(ctx, strconv.FormatInt(f.VMID, 10), f.ID)
			if err != nil {
				return ch, nil //nolint:nilerr // the change itself was made
			}
			f = &now
		}
		ch.Resource = f
		return ch, nil
	}
}

func (c *cli) forwardText(verb string) func(string, baadal.Change[baadal.Forward]) string {
	return func(name string, ch baadal.Change[baadal.Forward]) string {
		f := ch.Resource
		if f == nil {
			return clean(name)
		}
		s := fmt.Sprintf("%s %s port %s of %s for %s", publicText(*f), verb, f.Name(), clean(f.VM), durationText(time.Duration(f.SecondsTo)*time.Second))
		if !f.Applied && !c.flags.noWait {
			s += "\n  as soon as the NAT box answers; until then it is as it was"
		}
		return s
	}
}

// publicText is where a mapping is reached.
func publicText(f baadal.Forward) string {
	s := net.JoinHostPort(f.Public, strconv.Itoa(f.PublicPort))
	if f.Protocol == baadal.UDP {
		s += "/udp"
	}
	return clean(s)
}

func (c *cli) forwardListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list [VM]", Aliases: []string{"ls"}, Short: "List open ports with the time that is left", Args: takes(0, 1), ValidArgsFunction: c.vmNames(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			var all baadal.List[baadal.Forward]
			if len(args) == 1 {
				all, err = api.VMForwards(cmd.Context(), args[0])
			} else {
				all, err = api.Forwards(cmd.Context())
			}
			if err != nil {
				return err
			}
			return c.forwardListing().show(c, all, false)
		},
	}
}

func (c *cli) forwardListing() listing[baadal.Forward] {
	return listing[baadal.Forward]{
		name:  publicText,
		empty: "No port is open. Open one: baadal vm forward add VM PORT --for 4h",
		columns: []column[baadal.Forward]{
			{title: "Public", cell: publicText, min: 15},
			{title: "VM", cell: func(f baadal.Forward) string { return f.VM }, min: 10},
			{title: "Port", cell: func(f baadal.Forward) string { return f.Name() }},
			{title: "Left", right: true, cell: func(f baadal.Forward) string {
				return durationText(max(0, f.ExpiresAt.Sub(c.now())).Round(time.Second))
			}},
			{title: "By", cell: func(f baadal.Forward) string { return f.By }, drop: 2},
			{title: "NAT box", cell: func(f baadal.Forward) string { return inForceText(f.Applied) }, drop: 1},
		},
	}
}

// findForward finds the mapping of a VM's port.
func findForward(ctx context.Context, api *client.Client, vm, port string) (baadal.Forward, error) {
	n, proto, err := parsePort(port)
	if err != nil {
		return baadal.Forward{}, err
	}
	all, err := api.VMForwards(ctx, vm)
	if err != nil {
		return baadal.Forward{}, err
	}
	for _, f := range all.Items {
		if f.Port == n && f.Protocol == proto {
			return f, nil
		}
	}
	return baadal.Forward{}, baadal.Errorf(baadal.NotFound, "port %d/%s of %s is not open to the outside", n, proto, vm).
		WithNext("See what is", "baadal vm forward list "+vm)
}

func (c *cli) forwardExtendCommand() *cobra.Command {
	var long time.Duration
	var in baadal.ForwardExtend
	port := ""
	a := act[baadal.Forward]{say: c.forwardText("leads to")}
	a.do = func(ctx context.Context, api *client.Client, vm string, opt baadal.ChangeOptions) (baadal.Change[baadal.Forward], error) {
		f, err := findForward(ctx, api, vm, port)
		if err != nil {
			return baadal.Change[baadal.Forward]{}, err
		}
		return c.settleForward(ctx, api)(api.ExtendForward(ctx, vm, f.ID, in, opt))
	}
	cmd := &cobra.Command{
		Use: "extend VM PORT[/udp] --for TIME", Short: "Let a port be open for so long from now on; nothing is interrupted", Args: takes(2, 2), ValidArgsFunction: c.vmNames(true),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if in.Seconds, err = wholeSeconds(long); err != nil {
				return err
			}
			port = args[1]
			return a.run(cmd, c, args[0])
		},
	}
	cmd.Flags().DurationVar(&long, "for", 0, "how `long` from now on, as 30m or 4h")
	dryRunFlag(cmd, &a.dryRun)
	_ = cmd.MarkFlagRequired("for")
	return cmd
}

func (c *cli) forwardEndCommand() *cobra.Command {
	port := ""
	a := act[baadal.Forward]{
		say: func(vm string, ch baadal.Change[baadal.Forward]) string {
			return fmt.Sprintf("port %s of %s is not open to the outside any more", clean(port), clean(vm))
		},
		do: func(ctx context.Context, api *client.Client, vm string, opt baadal.ChangeOptions) (baadal.Change[baadal.Forward], error) {
			f, err := findForward(ctx, api, vm, port)
			if err != nil {
				return baadal.Change[baadal.Forward]{}, err
			}
			return api.EndForward(ctx, vm, f.ID, opt)
		},
	}
	cmd := &cobra.Command{
		Use: "end VM PORT[/udp]", Short: "Close a port at once, and cut what is connected", Args: takes(2, 2), ValidArgsFunction: c.vmNames(true),
		RunE: func(cmd *cobra.Command, args []string) error { port = args[1]; return a.run(cmd, c, args[0]) },
	}
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}
