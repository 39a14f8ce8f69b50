package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

// How long a new grant's door may take to open, and how often that is looked at.
const (
	vncOpening = 15 * time.Second
	vncLook    = 200 * time.Millisecond
)

const vncGrantLong = `Let a VNC client anywhere see a VM's screen and type on it, for a while: it connects
to the address that is shown, with the password that is shown once. Anybody who has
both sees the screen; VNC does not encrypt. At the end of its time the address
answers no more, and who is connected is cut off.`

func (c *cli) vncGrantCommand() *cobra.Command {
	var long time.Duration
	cmd := &cobra.Command{
		Use: "grant NAME", Short: "Let a VNC client anywhere see a VM's screen for a while", Long: vncGrantLong,
		Args: takes(1, 1), ValidArgsFunction: c.vmNames(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			seconds, err := wholeSeconds(long)
			if err != nil {
				return err
			}
			api, err := c.api()
			if err != nil {
				return err
			}
			g, err := api.GrantVNC(cmd.Context(), args[0], baadal.VNCGrantCreate{Seconds: seconds})
			if err != nil {
				return err
			}
			password := g.Password
			if now, err := waitVNC(cmd.Context(), api, g); err == nil { // the grant is there, whatever this says
				g = now
			}
			if g.Password = password; c.flags.json {
				return c.json(g)
			}
			c.printf("address   %s\npassword  %s\n", clean(g.Address), clean(password))
			if !g.Open {
				c.hintf("It does not answer yet: %s", clean(orText(g.Problem, "look again with baadal vm vnc list")))
			}
			host, port, _ := net.SplitHostPort(g.Address)
			c.hintf("For %s, until %s. The password is not shown again.\nA viewer shows it: vncviewer %s::%s",
				durationText(time.Until(g.ExpiresAt).Round(time.Second)), g.ExpiresAt.Local().Format(time.TimeOnly), clean(host), clean(port))
			return nil
		},
	}
	cmd.Flags().DurationVar(&long, "for", 0, "how `long`, as 30m (the setting vnc.grant)")
	return cmd
}

// wholeSeconds is a time as the API takes it; none is 0.
func wholeSeconds(d time.Duration) (int64, error) {
	if d < 0 || d%time.Second != 0 {
		return 0, usagef("%s is no number of seconds; say --for 30m", d)
	}
	return int64(d / time.Second), nil
}

func orText(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// waitVNC waits for a grant's door to open, or for what keeps it shut.
func waitVNC(ctx context.Context, api *client.Client, g baadal.VNCGrant) (baadal.VNCGrant, error) {
	ctx, stop := context.WithTimeout(ctx, vncOpening)
	defer stop()
	for {
		now, err := api.VNCGrant(ctx, fmt.Sprint(g.VMID))
		if err != nil || now.ID != g.ID || now.Open || now.Problem != "" {
			return now, err
		}
		select {
		case <-time.After(vncLook):
		case <-ctx.Done():
			return now, nil
		}
	}
}

func (c *cli) vncListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the grants for VNC clients, with their time left", Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			all, err := api.VNCGrants(cmd.Context())
			if err != nil {
				return err
			}
			l := c.vncListing()
			return l.show(c, all, false)
		},
	}
}

func (c *cli) vncListing() listing[baadal.VNCGrant] {
	return listing[baadal.VNCGrant]{
		name:  func(g baadal.VNCGrant) string { return g.VM },
		empty: "No grants for VNC clients. Make one: baadal vm vnc grant NAME",
		columns: []column[baadal.VNCGrant]{
			{title: "VM", cell: func(g baadal.VNCGrant) string { return g.VM }, min: 12},
			{title: "Address", cell: func(g baadal.VNCGrant) string { return g.Address }},
			{title: "Left", cell: func(g baadal.VNCGrant) string { return durationText(g.ExpiresAt.Sub(c.now())) }},
			{title: "Open", cell: func(g baadal.VNCGrant) string {
				if g.Open {
					return "yes"
				}
				return orText(g.Problem, "not yet")
			}},
			{title: "By", cell: func(g baadal.VNCGrant) string { return g.By }, drop: 1},
		},
	}
}

func (c *cli) vncExtendCommand() *cobra.Command {
	long := 30 * time.Minute
	cmd := &cobra.Command{
		Use: "extend NAME", Short: "Have a grant for a VNC client last longer, from now on", Args: takes(1, 1), ValidArgsFunction: c.vmNames(true),
		Long: "Have a grant for a VNC client last longer, from now on. Who is connected stays so,\nand the password is the same.",
		RunE: func(cmd *cobra.Command, args []string) error {
			seconds, err := wholeSeconds(long)
			if err != nil {
				return err
			}
			api, err := c.api()
			if err != nil {
				return err
			}
			g, err := api.ExtendVNC(cmd.Context(), args[0], baadal.VNCGrantExtend{Seconds: seconds})
			if err != nil {
				return err
			}
			if c.flags.json {
				return c.json(g)
			}
			c.printf("the VNC grant of %s ends at %s\n", clean(g.VM), g.ExpiresAt.Local().Format(time.TimeOnly))
			return nil
		},
	}
	cmd.Flags().DurationVar(&long, "for", long, "how `long` from now on")
	return cmd
}

func (c *cli) vncEndCommand() *cobra.Command {
	return &cobra.Command{
		Use: "end NAME...", Short: "End grants for VNC clients, and who is connected", Args: takes(1, many), ValidArgsFunction: c.vmNames(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			for _, vm := range args {
				if err := api.EndVNC(cmd.Context(), vm); err != nil {
					return err
				}
				c.printf("the VNC grant of %s is ended\n", clean(vm))
			}
			return nil
		},
	}
}
