package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/internal/nat"
	"baadal/internal/ssh"
)

func clearNATCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "clear-nat",
		Short: "Take what the cloud put on the NAT box off it again, and nothing else",
		Long: `Take the cloud's own table and routes off the NAT box, before the box is given
up or gets another table name in the configuration. What others put there stays.
VMs lose their public addresses, port mappings and VNC grants at once; nothing of
it is forgotten, and a server that runs puts all of it back within seconds. So
stop the server first:

    systemctl stop baadal.socket baadal
    sudo -u baadal baadal clear-nat --config /etc/baadal/baadal.yaml`,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return clearNAT(cmd.Context(), cmd.OutOrStdout(), o) },
	}
	cmd.Flags().StringVar(&o.config, "config", "", "the server's configuration `file`")
	cmd.Flags().StringVar(&o.state, "state", "", "the server's state `folder`, before the configuration's")
	return cmd
}

// clearNAT may run again: what is not there is success.
func clearNAT(ctx context.Context, out io.Writer, o serveOptions) error {
	cfg, err := o.read(ctx)
	if err != nil {
		return err
	}
	if cfg.NAT.Address == "" {
		return baadal.Errorf(baadal.Invalid, "the configuration has no NAT box").WithField("nat.address")
	}
	signer, err := sshKey(cfg.SSHKey, cfg.logger())
	if err != nil {
		return err
	}
	pool := ssh.New(ssh.Options{Signer: signer, Logger: cfg.logger()})
	defer pool.Close()
	if err := openNAT(cfg.NAT, pool).Clear(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "The NAT box %s has nothing of the cloud's any more.\n", cfg.NAT.Address)
	return nil
}

// openNAT reaches the NAT box as a host is reached, with an id that no host has.
func openNAT(c natConfig, pool *ssh.Pool) *nat.Box {
	box := baadal.Host{ID: -3, Name: "the NAT box", Address: c.Address, SSHUser: c.User, HostKey: c.HostKey}
	return nat.New(pool, box, nat.Options{Table: c.Table, Interface: c.Interface, Public: netip.MustParseAddr(c.Public)})
}
