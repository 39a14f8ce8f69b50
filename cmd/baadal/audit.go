package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"baadal"
)

const auditLong = `Compare what is stored with the hosts, datastores and the DHCP server, and tell
every difference. With --repair what can safely be mended is mended; nothing is
deleted that could not be looked at. --last shows the last audit without a new
one. The exit code is 0 when all agrees and 6 when differences are left.`

func (c *cli) auditCommand() *cobra.Command {
	var repair, last bool
	cmd := &cobra.Command{
		Use: "audit", Short: "Compare what is stored with what is there", Long: auditLong, Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if last {
				return c.lastAudit(cmd.Context())
			}
			return c.runAudit(cmd.Context(), repair)
		},
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "mend what can safely be mended")
	cmd.Flags().BoolVar(&last, "last", false, "show the last audit instead of making one")
	cmd.MarkFlagsMutuallyExclusive("repair", "last")
	return cmd
}

// runAudit makes an audit and shows what it found.
func (c *cli) runAudit(ctx context.Context, repair bool) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	ch, err := api.RunAudit(ctx, repair, baadal.ChangeOptions{})
	if err != nil {
		return err
	}
	if c.flags.noWait && ch.Task != nil {
		if c.flags.json {
			return c.json(ch)
		}
		fmt.Fprintln(c.out, ch.Task.ID)
		return nil
	}
	if ch.Task != nil {
		p := c.newTracker()
		t, err := c.wait(ctx, api, p, ch.Task.ID)
		p.done()
		if err != nil {
			return err
		}
		ch.Task = &t
		if t.State != baadal.TaskSuccess {
			if c.flags.json {
				if err := c.json(ch); err != nil {
					return err
				}
			}
			return &taskError{t}
		}
	}
	audit, err := api.LastAudit(ctx)
	if err != nil {
		return err
	}
	if c.flags.json {
		ch.Resource = &audit
		if err := c.json(ch); err != nil {
			return err
		}
	}
	return c.auditResult(audit)
}

// lastAudit shows the last audit that was made.
func (c *cli) lastAudit(ctx context.Context) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	audit, err := api.LastAudit(ctx)
	if err != nil {
		return err
	}
	if c.flags.json {
		if err := c.json(audit); err != nil {
			return err
		}
	}
	return c.auditResult(audit)
}

// auditResult writes the differences for people, and ends with the exit code
// that says whether any are left.
func (c *cli) auditResult(a baadal.Audit) error {
	left := 0
	for _, d := range a.Differences {
		if !d.Repaired {
			left++
		}
	}
	if !c.flags.json {
		c.showAudit(a, left)
	}
	if left > 0 {
		return &exitError{code: exitDifferences}
	}
	return nil
}

func (c *cli) showAudit(a baadal.Audit, left int) {
	l := c.look()
	for _, d := range a.Differences {
		mark := l.paint("DIFFERENT", red)
		if d.Repaired {
			mark = l.paint("repaired ", green)
		}
		where := ""
		if d.Host != "" {
			where = " on " + d.Host
		}
		fmt.Fprintf(c.out, "%s  %s: %s\n", mark, clean(strings.ReplaceAll(d.Kind, "_", " ")), clean(strings.TrimSpace(d.Subject.Kind+" "+d.Subject.Name)+where))
		c.fields([]field{
			{"         stored", d.Stored},
			{"         seen", d.Seen},
			{"         repair", d.Repair},
			{"         failed", d.Error},
		})
	}
	for _, s := range a.NotSeen {
		fmt.Fprintf(c.out, "%s   %s: nothing on it was judged\n", l.paint("not seen", yellow), clean(s))
	}
	c.printf("%s compared on %s in %s, %s: ", plural(a.VMs, "VM"), plural(a.Hosts, "host"),
		durationText(a.EndedAt.Sub(a.StartedAt)), agoText(c.now(), a.EndedAt))
	switch {
	case len(a.Differences) == 0:
		c.printf("no differences\n")
	case left == 0:
		c.printf("%s, all repaired\n", plural(len(a.Differences), "difference"))
	default:
		c.printf("%s, %d repaired, %d left\n", plural(len(a.Differences), "difference"), len(a.Differences)-left, left)
	}
	for _, d := range a.Differences {
		if !d.Repaired && d.Repair != "" && d.Error == "" {
			c.hintf("next: mend what can safely be mended: baadal audit --repair\n")
			break
		}
	}
}
