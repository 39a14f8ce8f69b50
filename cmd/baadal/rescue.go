package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"baadal/internal/service"
	"baadal/internal/store"
	"baadal/internal/task"
)

func rescueCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "rescue [USERNAME]",
		Short: "Give a user a new one-time password, on the server's own machine",
		Long: `Give a user (admin, if nobody is named) a new one-time password and let a
blocked one in again. It is for administrators who can sign in no more: it works
on the database itself, as the user that the server runs as, and asks nobody.

Stop the server first if its database is an SQLite file; VMs do not notice:

    systemctl stop baadal.socket baadal
    sudo -u baadal baadal rescue admin --config /etc/baadal/baadal.yaml
    systemctl start baadal.socket baadal`,
		Args:              takes(0, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := "admin"
			if len(args) > 0 {
				name = args[0]
			}
			return rescue(cmd.Context(), cmd.OutOrStdout(), o, name)
		},
	}
	cmd.Flags().StringVar(&o.config, "config", "", "the server's configuration `file`")
	cmd.Flags().StringVar(&o.state, "state", "", "the server's state `folder`, before the configuration's")
	return cmd
}

func rescue(ctx context.Context, out io.Writer, o serveOptions, name string) error {
	cfg, err := o.read(ctx)
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, store.Config{DSN: cfg.Database, Logger: cfg.logger()})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	svc := service.New(db, task.New(db, task.Options{}), service.Options{Logger: cfg.logger()})
	password, err := svc.Rescue(ctx, name)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "The one-time password of %s is %s\nSign in with it: baadal login %s\n", name, password, name)
	return nil
}
