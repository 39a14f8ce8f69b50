package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"baadal"
)

func (c *cli) tokenCommand() *cobra.Command {
	return group("token", "Credentials for programs", c.tokenCreateCommand(), c.tokenListCommand(), c.tokenRevokeCommand())
}

func (c *cli) tokenCreateCommand() *cobra.Command {
	var lifetime time.Duration
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a token; it is shown once", Args: takes(1, 1), ValidArgsFunction: cobra.NoFileCompletions,
		Long: "Create a token for a program, which may then do what you may. It is shown once;\nhand it over in BAADAL_TOKEN or a file for --token-file.",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			t, err := api.CreateToken(cmd.Context(), args[0], lifetime)
			if err != nil {
				return err
			}
			if c.flags.json {
				return c.json(t)
			}
			fmt.Fprintln(c.out, clean(t.Secret))
			c.hintf("This is token %d, %s. It is not shown again.\n", t.Token.ID, clean(t.Token.Name))
			return nil
		},
	}
	cmd.Flags().DurationVar(&lifetime, "lifetime", 0, "how long it holds, as 720h; 0 means until it is revoked")
	return cmd
}

func (c *cli) tokenListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List your tokens", Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			tokens, err := api.Tokens(cmd.Context())
			if err != nil {
				return err
			}
			l := c.tokenListing()
			return l.show(c, tokens, false)
		},
	}
}

func (c *cli) tokenListing() listing[baadal.Token] {
	when := func(t *time.Time, otherwise string) string {
		if t == nil {
			return otherwise
		}
		return agoText(c.now(), *t)
	}
	return listing[baadal.Token]{
		name:  func(t baadal.Token) string { return fmt.Sprint(t.ID) },
		empty: "No tokens yet. Create one: baadal token create NAME",
		columns: []column[baadal.Token]{
			{title: "Id", right: true, cell: func(t baadal.Token) string { return fmt.Sprint(t.ID) }},
			{title: "Name", cell: func(t baadal.Token) string { return t.Name }, min: 12},
			{title: "Created", cell: func(t baadal.Token) string { return agoText(c.now(), t.CreatedAt) }, drop: 2},
			{title: "Used", cell: func(t baadal.Token) string { return when(t.LastUsed, "never") }, drop: 1},
			{title: "Ends", cell: func(t baadal.Token) string { return when(t.ExpiresAt, "never") }},
		},
	}
}

func (c *cli) tokenRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID...", Short: "Revoke tokens; they are refused from now on", Args: takes(1, many), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			for _, arg := range args {
				id, err := parseID("token", arg)
				if err != nil {
					return err
				}
				if err := api.RevokeToken(cmd.Context(), id); err != nil {
					return err
				}
				c.printf("token %d is revoked\n", id)
			}
			return nil
		},
	}
}
