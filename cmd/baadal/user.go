package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

func (c *cli) userCommand() *cobra.Command {
	return group("user", "People",
		c.userCreateCommand(),
		listCommand(c, "List users", (*client.Client).Users, c.userListing()),
		showCommand(c, "Show users in full", (*client.Client).User, c.userNames(false), c.showUser),
		c.userUpdateCommand(),
		c.userPasswdCommand(),
	)
}

func (c *cli) userListing() listing[baadal.User] {
	return listing[baadal.User]{
		name:  func(u baadal.User) string { return u.Username },
		empty: "No users yet. Create one: baadal user create USERNAME",
		columns: []column[baadal.User]{
			{title: "User", cell: func(u baadal.User) string { return u.Username }, min: 10},
			{title: "Name", cell: func(u baadal.User) string { return dash(u.Name) }, drop: 3, min: 10},
			{title: "Organisation", cell: func(u baadal.User) string { return u.Organisation }, drop: 4, min: 12},
			{title: "Role", cell: func(u baadal.User) string { return topRole(u.Roles) }},
			{title: "VMs", right: true, cell: func(u baadal.User) string { return fmt.Sprint(u.VMs) }, drop: 1},
			{title: "E-mail", cell: func(u baadal.User) string { return dash(u.Email) }, drop: 5, min: 10},
			{title: "State", cell: func(u baadal.User) string {
				if u.Blocked {
					return "blocked"
				}
				return "-"
			}, state: true, drop: 2},
		},
	}
}

// topRole is the most powerful of a user's roles.
func topRole(roles []baadal.Role) string {
	top := baadal.RoleUser
	for _, known := range baadal.Roles() {
		for _, r := range roles {
			if r == known {
				top = r
			}
		}
	}
	return string(top)
}

func (c *cli) showUser(u baadal.User) {
	state := ""
	if u.Blocked {
		state = "blocked"
	}
	roles := make([]string, len(u.Roles))
	for i, r := range u.Roles {
		roles[i] = string(r)
	}
	password := ""
	if u.MustChange {
		password = "given once; must be changed at the next sign-in"
	}
	fmt.Fprintln(c.out, c.title(u.Username, state, u.Name))
	c.fields([]field{
		{"Roles", strings.Join(roles, ", ")},
		{"Organisation", u.Organisation},
		{"E-mail", u.Email},
		{"VMs", fmt.Sprint(u.VMs)},
		{"Password", password},
		{"Created", agoText(c.now(), u.CreatedAt)},
	})
	for _, k := range u.SSHKeys {
		fmt.Fprintf(c.out, "  SSH key  %s\n", clean(k))
	}
}

// roleFlag turns the values of --role into roles.
func roleFlag(values []string) []baadal.Role {
	var roles []baadal.Role
	for _, v := range values {
		roles = append(roles, baadal.Role(v))
	}
	return roles
}

func completeRoles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, r := range baadal.Roles() {
		out = append(out, string(r))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (c *cli) userCreateCommand() *cobra.Command {
	var (
		in       baadal.UserCreate
		roles    []string
		keys     []string
		password bool
	)
	cmd := &cobra.Command{
		Use: "create USERNAME", Short: "Create a user", Args: takes(1, 1), ValidArgsFunction: cobra.NoFileCompletions,
		Long: "Create a user. A one-time password is made and shown once, which the user\nchanges at the first sign-in; with --password-stdin it is read instead.",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			in.Username, in.Roles = args[0], roleFlag(roles)
			if in.SSHKeys, err = readKeys(keys); err != nil {
				return err
			}
			if password {
				if in.Password, err = c.readLine(); err != nil {
					return err
				}
			}
			made, err := api.CreateUser(cmd.Context(), in, baadal.ChangeOptions{})
			if err != nil {
				return err
			}
			if c.flags.json {
				return c.json(made)
			}
			c.printf("user %s is created\n", clean(made.User.Username))
			if once := made.OneTimePassword; once != "" {
				fmt.Fprintf(c.out, "one-time password: %s\n", clean(once))
				c.hintf("It is not shown again.\n")
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Name, "name", "", "full name")
	f.StringVar(&in.Email, "email", "", "e-mail address")
	f.StringVar(&in.Organisation, "organisation", "", "`name` of the organisation (yours); a new one is made")
	f.StringSliceVar(&roles, "role", nil, "`role`: user, faculty, orgadmin or admin; may be repeated")
	f.StringArrayVar(&keys, "ssh-key", nil, "`file` with SSH public keys; may be repeated")
	f.BoolVar(&password, "password-stdin", false, "read the password from standard input")
	completeFlags(cmd, map[string]completion{"role": completeRoles})
	return cmd
}

func (c *cli) userUpdateCommand() *cobra.Command {
	var (
		name, email    string
		roles, keys    []string
		block, unblock bool
	)
	cmd := &cobra.Command{
		Use: "update USERNAME", Short: "Change a user", Args: takes(1, 1), ValidArgsFunction: c.userNames(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			var in baadal.UserUpdate
			given := cmd.Flags().Changed
			if given("name") {
				in.Name = &name
			}
			if given("email") {
				in.Email = &email
			}
			if given("role") {
				r := roleFlag(roles)
				in.Roles = &r
			}
			if block || unblock {
				in.Blocked = &block
			}
			if given("ssh-key") {
				k, err := readKeys(keys)
				if err != nil {
					return err
				}
				in.SSHKeys = &k
			}
			if in == (baadal.UserUpdate{}) {
				return usagef("nothing to change: give --name, --email, --role, --ssh-key, --block or --unblock")
			}
			return c.updateUser(cmd, args[0], in, "user %s is updated\n")
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "full name")
	f.StringVar(&email, "email", "", "e-mail address")
	f.StringSliceVar(&roles, "role", nil, "`role`: user, faculty, orgadmin or admin; replaces all; may be repeated")
	f.StringArrayVar(&keys, "ssh-key", nil, "`file` with SSH public keys; replaces all; may be repeated")
	f.BoolVar(&block, "block", false, "sign the user out and let in no more")
	f.BoolVar(&unblock, "unblock", false, "let the user in again")
	cmd.MarkFlagsMutuallyExclusive("block", "unblock")
	completeFlags(cmd, map[string]completion{"role": completeRoles})
	return cmd
}

func (c *cli) updateUser(cmd *cobra.Command, name string, in baadal.UserUpdate, done string) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	u, err := api.UpdateUser(cmd.Context(), name, in, baadal.ChangeOptions{})
	if err != nil {
		return err
	}
	if c.flags.json {
		return c.json(u)
	}
	c.printf(done, clean(u.Username))
	return nil
}

func (c *cli) userPasswdCommand() *cobra.Command {
	fromStdin := false
	cmd := &cobra.Command{
		Use: "passwd USERNAME", Short: "Set a user's password, to be changed at the next sign-in", Args: takes(1, 1), ValidArgsFunction: c.userNames(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			secret, err := c.newPassword(fromStdin, "New password for "+args[0]+": ")
			if err != nil {
				return err
			}
			return c.updateUser(cmd, args[0], baadal.UserUpdate{Password: &secret}, "the password of %s is set\n")
		},
	}
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input")
	return cmd
}
