package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

const loginLong = `Sign in to a server. The password is asked for, never given on the command line;
a password that was given once must be changed now. What is kept, in
credentials.json below $XDG_CONFIG_HOME/baadal and readable by you only, is a
token of its own for this machine: "baadal token list" shows it, "baadal logout"
revokes it.

With --password-stdin the password is the first line of standard input, and the
second is the new password if one has to be set.`

func (c *cli) loginCommand() *cobra.Command {
	var (
		fromStdin bool
		lifetime  time.Duration
	)
	cmd := &cobra.Command{
		Use: "login [USERNAME]", Short: "Sign in to a server", Long: loginLong, Args: takes(0, 1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := c.loadKeyring()
			if err != nil {
				return err
			}
			server, err := c.serverURL(k)
			if err != nil {
				return err
			}
			if !encrypted(server) {
				c.hintf("Warning: the connection to %s is not encrypted: others on the way can read your password.\n", server)
			}
			username := k.Servers[server].Username
			if len(args) > 0 {
				username = args[0]
			} else if username, err = c.askUsername(server, username); err != nil {
				return err
			}
			cred, user, err := c.signIn(cmd.Context(), server, username, fromStdin, lifetime, k.Servers[server])
			if err != nil {
				return err
			}
			k.Current, k.Servers[server] = server, cred
			if err := c.saveKeyring(k); err != nil {
				return err
			}
			if c.flags.json {
				return c.json(user)
			}
			c.printf("signed in to %s as %s (%s)\n", server, clean(user.Username), topRole(user.Roles))
			return nil
		},
	}
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input")
	cmd.Flags().DurationVar(&lifetime, "lifetime", 90*24*time.Hour, "how long the token holds; 0 means until it is revoked")
	return cmd
}

func (c *cli) askUsername(server, last string) (string, error) {
	if !c.inTerminal {
		return "", usagef("there is no terminal to ask: give the user name")
	}
	prompt := "User name for " + server
	if last != "" {
		prompt += " [" + last + "]"
	}
	fmt.Fprint(c.err, prompt+": ")
	name, err := c.readLine()
	if name == "" {
		name = last
	}
	if err == nil && name == "" {
		return "", usagef("no user name given")
	}
	return name, err
}

// signIn turns a password into a token of this machine's own, in the place of
// the old one.
func (c *cli) signIn(
	ctx context.Context, server, username string, fromStdin bool, lifetime time.Duration, old credential,
) (credential, baadal.User, error) {
	api, err := c.connect(server, "")
	if err != nil {
		return credential{}, baadal.User{}, err
	}
	password, err := c.password(fromStdin, "Password of "+username+": ")
	if err != nil {
		return credential{}, baadal.User{}, err
	}
	session, err := api.SignIn(ctx, username, password)
	if err != nil {
		return credential{}, baadal.User{}, err
	}
	if session.MustChange {
		c.hintf("This password was given once and must be changed now.\n")
		fresh, err := c.newPassword(fromStdin, "New password: ")
		if err != nil {
			return credential{}, baadal.User{}, err
		}
		if err := api.ChangePassword(ctx, password, fresh); err != nil {
			return credential{}, baadal.User{}, err
		}
		// A new password ends the sessions of the old one, this one included.
		if session, err = api.SignIn(ctx, username, fresh); err != nil {
			return credential{}, baadal.User{}, err
		}
	}
	if old.TokenID != 0 && old.Username == session.User.Username {
		if err := api.RevokeToken(ctx, old.TokenID); err != nil && baadal.KindOf(err) != baadal.NotFound {
			return credential{}, baadal.User{}, err
		}
	}
	token, err := ownToken(ctx, api, lifetime)
	if err != nil {
		return credential{}, baadal.User{}, err
	}
	if err := api.SignOut(ctx); err != nil {
		return credential{}, baadal.User{}, err
	}
	return credential{Username: session.User.Username, Token: token.Secret, TokenID: token.Token.ID}, session.User, nil
}

// ownToken makes a token that is named after this machine, with a number when
// the name is in use: other accounts of the machine have tokens too.
func ownToken(ctx context.Context, api *client.Client, lifetime time.Duration) (t client.TokenCreated, err error) {
	const enough = 50
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "unknown"
	}
	name := "cli@" + hostname[:min(len(hostname), enough)]
	for n := 1; n <= enough; n++ {
		numbered := name
		if n > 1 {
			numbered = fmt.Sprintf("%s-%d", name, n)
		}
		if t, err = api.CreateToken(ctx, numbered, lifetime); baadal.KindOf(err) != baadal.Conflict {
			return t, err
		}
	}
	return t, err
}

// password asks for a password without showing it.
func (c *cli) password(fromStdin bool, prompt string) (string, error) {
	if fromStdin {
		return c.readLine()
	}
	if !c.inTerminal {
		return "", usagef("there is no terminal to ask for the password: give --password-stdin")
	}
	return c.readPassword(prompt)
}

// newPassword asks for a new password, twice on a terminal.
func (c *cli) newPassword(fromStdin bool, prompt string) (string, error) {
	secret, err := c.password(fromStdin, prompt)
	if err != nil {
		return "", err
	}
	if len([]rune(secret)) < baadal.MinPassword {
		return "", usagef("a password has at least %d characters", baadal.MinPassword)
	}
	if fromStdin {
		return secret, nil
	}
	again, err := c.readPassword("Again: ")
	if err != nil {
		return "", err
	}
	if again != secret {
		return "", usagef("the two are not the same")
	}
	return secret, nil
}

func (c *cli) logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: "Revoke this machine's token and forget it", Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := c.loadKeyring()
			if err != nil {
				return err
			}
			server, err := c.serverURL(k)
			if err != nil {
				return err
			}
			cred, ok := k.Servers[server]
			if !ok {
				c.printf("not signed in to %s\n", server)
				return nil
			}
			revoked := c.revoke(cmd.Context(), server, cred)
			delete(k.Servers, server)
			if k.Current == server {
				k.Current = ""
			}
			if err := c.saveKeyring(k); err != nil {
				return err
			}
			if revoked != nil {
				return fmt.Errorf("the token is forgotten here but not revoked: %w", revoked)
			}
			c.printf("signed out of %s\n", server)
			return nil
		},
	}
}

// revoke gives a token back; one that the server does not know is fine.
func (c *cli) revoke(ctx context.Context, server string, cred credential) error {
	api, err := c.connect(server, cred.Token)
	if err != nil {
		return err
	}
	err = api.RevokeToken(ctx, cred.TokenID)
	if k := baadal.KindOf(err); k == baadal.NotFound || k == baadal.Unauthenticated {
		return nil
	}
	return err
}

func (c *cli) whoamiCommand() *cobra.Command {
	return &cobra.Command{
		Use: "whoami", Short: "Show who you are signed in as", Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			u, err := api.Me(cmd.Context())
			if err != nil {
				return err
			}
			if c.flags.json {
				return c.json(u)
			}
			if c.flags.quiet {
				fmt.Fprintln(c.out, clean(u.Username))
				return nil
			}
			fmt.Fprintf(c.out, "%s (%s) of %s at %s\n", clean(u.Username), topRole(u.Roles), clean(u.Organisation), c.server)
			return nil
		},
	}
}

func (c *cli) passwdCommand() *cobra.Command {
	fromStdin := false
	cmd := &cobra.Command{
		Use: "passwd", Short: "Change your password", Args: takes(0, 0),
		Long: "Change your password. With --password-stdin the old one is the first line of\nstandard input and the new one the second.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			old, err := c.password(fromStdin, "Present password: ")
			if err != nil {
				return err
			}
			fresh, err := c.newPassword(fromStdin, "New password: ")
			if err != nil {
				return err
			}
			if err := api.ChangePassword(cmd.Context(), old, fresh); err != nil {
				return err
			}
			c.printf("your password is changed\n")
			return nil
		},
	}
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the passwords from standard input")
	return cmd
}
