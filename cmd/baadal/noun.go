package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

// completionLimit is how long the shell waits for names from the server.
const completionLimit = time.Second

// pageSize is how much is asked for at a time when everything is wanted.
const pageSize = 1000

// many is no upper limit for takes.
const many = -1

// takes checks how many words follow a command, and shows its usage line if
// they are too few or too many.
func takes(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usagef("something is missing: %s", cmd.UseLine())
		case most != many && len(args) > most:
			return usagef("too many words, from %q on: %s", args[most], cmd.UseLine())
		}
		return nil
	}
}

// fetchPage reads one page of a list; a method expression of the client.
type fetchPage[T any] func(*client.Client, context.Context, baadal.ListQuery) (baadal.List[T], error)

// fetchOne reads one resource by its name or id.
type fetchOne[T any] func(*client.Client, context.Context, string) (T, error)

// listFlags are the flags that every list takes.
type listFlags struct {
	query baadal.ListQuery
	all   bool
}

func (f *listFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.query.Filter, "filter", "", "`words` and key:value pairs that must match, as \"state:off web\"")
	cmd.Flags().StringVar(&f.query.Sort, "sort", "", "sort by this `key`; with a leading - downwards")
	cmd.Flags().IntVar(&f.query.Limit, "limit", 0, "how many to show (100 if not given)")
	cmd.Flags().BoolVar(&f.all, "all", false, "show all, however many")
	cmd.MarkFlagsMutuallyExclusive("limit", "all")
}

// listCommand makes a noun's list. Words after it are filter words.
func listCommand[T any](c *cli, short string, fetch fetchPage[T], l listing[T]) *cobra.Command {
	var f listFlags
	cmd := &cobra.Command{
		Use: "list [FILTER...]", Aliases: []string{"ls"}, Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			q := f.query
			q.Filter = strings.TrimSpace(q.Filter + " " + strings.Join(args, " "))
			page, err := fetchList(cmd.Context(), c, fetch, q, f.all)
			if err != nil {
				return err
			}
			return l.show(c, page, q.Filter != "")
		},
	}
	f.add(cmd)
	return cmd
}

// fetchList reads one page, or all of them as one.
func fetchList[T any](ctx context.Context, c *cli, fetch fetchPage[T], q baadal.ListQuery, all bool) (baadal.List[T], error) {
	api, err := c.api()
	if err != nil {
		return baadal.List[T]{}, err
	}
	if !all {
		return fetch(api, ctx, q)
	}
	q.Limit = pageSize
	whole, err := fetch(api, ctx, q)
	for err == nil && whole.Next != "" {
		var page baadal.List[T]
		q.After = whole.Next
		page, err = fetch(api, ctx, q)
		whole.Items = append(whole.Items, page.Items...)
		whole.Next = page.Next
	}
	return whole, err
}

// showCommand makes a noun's show: each named resource in full.
func showCommand[T any](c *cli, short string, fetch fetchOne[T], complete completion, text func(T)) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME...", Short: short, Args: takes(1, many), ValidArgsFunction: complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			for i, name := range args {
				item, err := fetch(api, cmd.Context(), name)
				if err != nil {
					return err
				}
				if c.flags.json {
					if err := c.json(item); err != nil {
						return err
					}
					continue
				}
				if i > 0 {
					fmt.Fprintln(c.out)
				}
				text(item)
			}
			return nil
		},
	}
}

// completion is cobra's shape of a function that offers words to the shell.
type completion = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective)

// names offers the names of a noun's resources to the shell, quickly or not at
// all. With one set only the first word is completed.
func names[T any](c *cli, fetch fetchPage[T], name func(T) string, one bool) completion {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if one && len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctxOf(cmd)), completionLimit)
		defer cancel()
		page, err := fetchList(ctx, c, fetch, baadal.ListQuery{Limit: pageSize}, false)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		for _, item := range page.Items {
			if n := clean(name(item)); strings.HasPrefix(n, word) {
				out = append(out, n)
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// parts offers the names of a VM, then those of something that the VM has.
func (c *cli) parts(of func(ctx context.Context, api *client.Client, vm string) ([]string, error)) completion {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return c.vmNames(true)(cmd, args, word)
		}
		api, err := c.api()
		if err != nil || len(args) > 1 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, stop := context.WithTimeout(ctxOf(cmd), completionLimit)
		defer stop()
		all, err := of(ctx, api, args[0])
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var found []string
		for _, name := range all {
			if name != "" && strings.HasPrefix(name, word) {
				found = append(found, clean(name))
			}
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

func ctxOf(cmd *cobra.Command) context.Context {
	if ctx := cmd.Context(); ctx != nil {
		return ctx
	}
	return context.Background()
}

func (c *cli) vmNames(one bool) completion {
	return names(c, (*client.Client).VMs, func(v baadal.VM) string { return v.Name }, one)
}

func (c *cli) hostNames() completion {
	return names(c, (*client.Client).Hosts, func(h baadal.Host) string { return h.Name }, false)
}

func (c *cli) datastoreNames() completion {
	return names(c, (*client.Client).Datastores, func(d baadal.Datastore) string { return d.Name }, false)
}

func (c *cli) templateNames(one bool) completion {
	return names(c, (*client.Client).Templates, func(t baadal.Template) string { return t.Name }, one)
}

func (c *cli) networkNames(one bool) completion {
	return names(c, (*client.Client).Networks, func(n baadal.Network) string { return n.Name }, one)
}

func (c *cli) userNames(one bool) completion {
	return names(c, (*client.Client).Users, func(u baadal.User) string { return u.Username }, one)
}

// completeFlags gives flags their words from the server. A flag that the
// command does not have is a defect and panics.
func completeFlags(cmd *cobra.Command, flags map[string]completion) {
	for flag, f := range flags {
		if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
			panic(err)
		}
	}
}

// confirm asks a yes-no question on the terminal; without one it refuses and
// names the flag that answers it.
func (c *cli) confirm(question, flag string) error {
	if !c.inTerminal {
		return usagef("%s There is no terminal to ask: give %s", question, flag)
	}
	fmt.Fprintf(c.err, "%s [y/N] ", question)
	answer, err := c.readLine()
	if err != nil {
		return err
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return &exitError{code: exitFailure, err: fmt.Errorf("nothing was changed")}
	}
	return nil
}

// readLine reads one line of standard input, byte by byte so that nothing of
// the next line is lost.
func (c *cli) readLine() (string, error) {
	var line []byte
	one := make([]byte, 1)
	for {
		n, err := c.in.Read(one)
		if n == 1 {
			if one[0] == '\n' {
				return strings.TrimSuffix(string(line), "\r"), nil
			}
			line = append(line, one[0])
		}
		if err != nil {
			if len(line) > 0 {
				return string(line), nil
			}
			return "", fmt.Errorf("read answer: %w", err)
		}
	}
}

func (c *cli) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish", Short: "Write the completion script for a shell",
		Long: `Write the completion script for a shell. It completes commands, flags, and the
names of VMs, hosts, templates and others from the server.

    bash: baadal completion bash > /etc/bash_completion.d/baadal
    zsh:  baadal completion zsh > "${fpath[1]}/_baadal"
    fish: baadal completion fish > ~/.config/fish/completions/baadal.fish`,
		ValidArgs: []string{"bash", "zsh", "fish"}, Args: cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[0] {
			case "zsh":
				return cmd.Root().GenZshCompletion(c.out)
			case "fish":
				return cmd.Root().GenFishCompletion(c.out, true)
			}
			return cmd.Root().GenBashCompletionV2(c.out, true)
		},
	}
}
