package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

// act is one kind of change on one or several resources of type T.
type act[T any] struct {
	do     func(ctx context.Context, api *client.Client, name string, opt baadal.ChangeOptions) (baadal.Change[T], error)
	reload func(ctx context.Context, api *client.Client, change baadal.Change[T]) (T, error) // nil: the resource is gone afterwards
	say    func(name string, change baadal.Change[T]) string                                 // the result in words
	dryRun bool
}

// changeOne changes one resource by its name or id; a method expression of the
// client.
type changeOne[T any] func(*client.Client, context.Context, string, baadal.ChangeOptions) (baadal.Change[T], error)

// outcome is how the change of one resource ended.
type outcome[T any] struct {
	change baadal.Change[T]
	err    error
}

// run makes the change on every name in their order, so that what they get is
// in that order too, waits for all of them together, and prints the results. Its error tells of a failure that is not printed yet; with several
// names each failure has been printed.
func (a act[T]) run(cmd *cobra.Command, c *cli, names ...string) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	p := c.newTracker()
	results := make([]outcome[T], len(names))
	var work sync.WaitGroup
	for i, name := range names {
		ch, err := a.do(cmd.Context(), api, name, baadal.ChangeOptions{DryRun: a.dryRun})
		results[i] = outcome[T]{ch, err}
		if err == nil && !a.dryRun && !c.flags.noWait {
			work.Go(func() { results[i] = a.follow(cmd.Context(), c, api, p, ch) })
		}
	}
	work.Wait()
	p.done()
	if len(names) == 1 {
		return a.print(c, names[0], results[0])
	}
	return a.printAll(c, names, results)
}

// follow waits for the task of a change and looks at the resource again.
func (a act[T]) follow(ctx context.Context, c *cli, api *client.Client, p *tracker, ch baadal.Change[T]) outcome[T] {
	if ch.Task == nil {
		return outcome[T]{ch, nil}
	}
	t, err := c.wait(ctx, api, p, ch.Task.ID)
	if err != nil {
		return outcome[T]{ch, err}
	}
	ch.Task = &t
	if t.State != baadal.TaskSuccess {
		return outcome[T]{ch, &taskError{t}}
	}
	if a.reload != nil {
		// The change itself succeeded; a resource that cannot be read again
		// is shown as it was.
		if now, err := a.reload(ctx, api, ch); err == nil {
			ch.Resource = &now
		}
	}
	return outcome[T]{ch, nil}
}

// print writes one result: the API's answer, a plan, a task id, or words.
func (a act[T]) print(c *cli, name string, r outcome[T]) error {
	if _, failed := r.err.(*taskError); r.err != nil && !failed { //nolint:errorlint // made by follow, never wrapped
		return r.err
	}
	if c.flags.json {
		if err := c.json(r.change); err != nil {
			return err
		}
		return r.err
	}
	switch {
	case r.err != nil:
		return r.err
	case a.dryRun && r.change.Plan != nil:
		c.plan(*r.change.Plan)
	case c.flags.noWait && r.change.Task != nil:
		fmt.Fprintln(c.out, r.change.Task.ID)
	default:
		c.printf("%s\n", a.say(name, r.change))
	}
	return nil
}

// printAll writes the results in the order of the names, and a summary.
func (a act[T]) printAll(c *cli, names []string, results []outcome[T]) error {
	failed, code, interrupted := 0, exitOK, false
	for i, r := range results {
		err := a.print(c, names[i], r)
		if err == nil {
			continue
		}
		if e := exitCode(err); e == exitInterrupted {
			interrupted = true
			continue
		}
		failed++
		report := c.report(err)
		if !mentions(report.Title, names[i]) {
			report.Title = names[i] + ": " + report.Title
		}
		c.print(report)
		if e := exitCode(err); code == exitOK || code == e {
			code = e
		} else {
			code = exitFailure
		}
	}
	if interrupted {
		return &exitError{code: exitInterrupted}
	}
	if failed > 0 {
		c.hintf("%d of %d failed.\n", failed, len(names))
		return &exitError{code: code}
	}
	return nil
}

// mentions reports whether a text has a name as a word of its own.
func mentions(text, name string) bool {
	for word := range strings.FieldsSeq(text) {
		if strings.Trim(word, `"'.,:;()`) == name {
			return true
		}
	}
	return false
}

// taskMessage is the result of a change in the words of its task, or else the
// given ones.
func taskMessage[T any](otherwise string) func(string, baadal.Change[T]) string {
	return func(name string, ch baadal.Change[T]) string {
		if ch.Task != nil && ch.Task.Message != "" {
			return clean(ch.Task.Message)
		}
		return fmt.Sprintf(otherwise, clean(name))
	}
}

// dryRunFlag adds --dry-run to a command.
func dryRunFlag(cmd *cobra.Command, dryRun *bool) {
	cmd.Flags().BoolVar(dryRun, "dry-run", false, "only say what it would do")
}

// plan writes what a change would do, as people read it.
func (c *cli) plan(p baadal.Plan) {
	l := c.look()
	fmt.Fprintln(c.out, l.paint(clean(p.Summary), bold))
	c.fields([]field{
		{"Host", p.Host},
		{"Why there", p.Why},
		{"Datastore", p.Datastore},
		{"Network", p.Network},
		{"Steps", strings.Join(p.Steps, " → ")},
	})
	c.bullets("Claims", p.Claims)
	c.bullets("What it means", p.Effects)
	if len(p.Hosts) > 0 {
		fmt.Fprintln(c.out, "\nHosts considered")
		writeTable(c.out, []column[baadal.HostVerdict]{
			{title: "Host", cell: func(v baadal.HostVerdict) string { return v.Host }},
			{title: "Fits", cell: func(v baadal.HostVerdict) string { return yesNo(v.Fits) }},
			{title: "Score", right: true, cell: func(v baadal.HostVerdict) string {
				if !v.Fits {
					return "-"
				}
				return fmt.Sprintf("%.2f", v.Score)
			}},
			{title: "Why", cell: func(v baadal.HostVerdict) string { return v.Reason }, min: 20},
		}, p.Hosts, c.width(), l)
	}
	c.hintf("Nothing was changed.\n")
}

func (c *cli) bullets(title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintln(c.out, "\n"+title)
	for _, s := range lines {
		fmt.Fprintf(c.out, "  - %s\n", clean(s))
	}
}

// removeCommand makes a command that takes resources away, after asking.
func removeCommand[T any](
	c *cli, verb, short, done string,
	remove changeOne[T], complete completion,
) *cobra.Command {
	return removeCommandSaying(c, verb, short, taskMessage[T](done), remove, complete)
}

// removeCommandSaying is removeCommand with other words for what was done.
func removeCommandSaying[T any](
	c *cli, verb, short string, say func(name string, ch baadal.Change[T]) string,
	remove changeOne[T], complete completion,
) *cobra.Command {
	yes := false
	a := act[T]{
		do: func(ctx context.Context, api *client.Client, name string, opt baadal.ChangeOptions) (baadal.Change[T], error) {
			return remove(api, ctx, name, opt)
		},
		say: say,
	}
	cmd := &cobra.Command{
		Use: verb + " NAME...", Short: short, Args: takes(1, many), ValidArgsFunction: complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes && !a.dryRun {
				noun := cmd.Parent().Name()
				if err := c.confirm(fmt.Sprintf("%s%s %s %s?", strings.ToUpper(verb[:1]), verb[1:], noun, strings.Join(args, ", ")), "--yes"); err != nil {
					return err
				}
			}
			return a.run(cmd, c, args...)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	dryRunFlag(cmd, &a.dryRun)
	return cmd
}
