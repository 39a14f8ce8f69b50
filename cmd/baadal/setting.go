package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"baadal"
)

func (c *cli) settingCommand() *cobra.Command {
	return group("setting", "Values that can be changed while the cloud runs", c.settingListCommand(), c.settingGetCommand(), c.settingSetCommand())
}

func (c *cli) settings(ctx context.Context) (baadal.List[baadal.Setting], error) {
	api, err := c.api()
	if err != nil {
		return baadal.List[baadal.Setting]{}, err
	}
	return api.Settings(ctx)
}

func (c *cli) settingListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List all settings", Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := c.settings(cmd.Context())
			if err != nil {
				return err
			}
			l := listing[baadal.Setting]{
				name: func(s baadal.Setting) string { return s.Name },
				columns: []column[baadal.Setting]{
					{title: "Name", cell: func(s baadal.Setting) string { return s.Name }},
					{title: "Value", cell: func(s baadal.Setting) string { return s.Value }},
					{title: "Default", cell: func(s baadal.Setting) string {
						if s.Value == s.Default {
							return "-"
						}
						return s.Default
					}, drop: 2},
					{title: "What it does", cell: func(s baadal.Setting) string { return s.Doc }, drop: 1, min: 20},
				},
			}
			return l.show(c, all, false)
		},
	}
}

func (c *cli) settingGetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "get NAME", Short: "Print a setting's value", Args: takes(1, 1), ValidArgsFunction: completeSettings,
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := c.settings(cmd.Context())
			if err != nil {
				return err
			}
			for _, s := range all.Items {
				if s.Name != args[0] {
					continue
				}
				if c.flags.json {
					return c.json(s)
				}
				fmt.Fprintln(c.out, clean(s.Value))
				return nil
			}
			return baadal.Errorf(baadal.NotFound, "there is no setting %q", args[0]).WithNext("See all settings", "baadal setting list")
		},
	}
}

func (c *cli) settingSetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "set NAME VALUE", Short: "Change a setting", Args: takes(2, 2), ValidArgsFunction: completeSettings,
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			s, err := api.UpdateSetting(cmd.Context(), args[0], args[1], baadal.ChangeOptions{})
			if err != nil {
				return err
			}
			if c.flags.json {
				return c.json(s)
			}
			c.printf("%s is now %s\n", clean(s.Name), clean(s.Value))
			return nil
		},
	}
}

// completeSettings offers the names that this program knows.
func completeSettings(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, s := range baadal.Settings() {
		out = append(out, s.Name+"\t"+s.Doc)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
