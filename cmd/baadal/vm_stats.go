package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

// statsEvery is how often figures are shown anew; the server looks at hosts
// about as often.
const statsEvery = 3 * time.Second

// vmShowCommand is show, with a VM's history on request.
func (c *cli) vmShowCommand() *cobra.Command {
	cmd := showCommand(c, "Show VMs in full", (*client.Client).VM, c.vmNames(false), c.showVM)
	var history bool
	cmd.Flags().BoolVar(&history, "history", false, "show what happened to them instead, newest first")
	whole := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !history {
			return whole(cmd, args)
		}
		api, err := c.api()
		if err != nil {
			return err
		}
		for _, name := range args {
			page, err := api.VMHistory(cmd.Context(), name, baadal.ListQuery{})
			if err != nil {
				return err
			}
			if err := historyListing().show(c, page, false); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

func historyListing() listing[baadal.Event] {
	return listing[baadal.Event]{
		name:  func(e baadal.Event) string { return fmt.Sprint(e.ID) },
		empty: "Nothing happened to it that is still kept.",
		columns: []column[baadal.Event]{
			{title: "When", cell: func(e baadal.Event) string { return e.At.Local().Format(time.DateTime) }},
			{title: "Who", cell: func(e baadal.Event) string { return dash(e.Actor) }, min: 6},
			{title: "What", cell: func(e baadal.Event) string { return e.What }, min: 8},
			{title: "Changes", cell: func(e baadal.Event) string { return dash(changesText(e.Changes)) }, min: 16},
		},
	}
}

// vmFigures are a VM's figures under its name; what is nil is not known.
type vmFigures struct {
	Name  string          `json:"name"`
	Stats *baadal.VMStats `json:"stats,omitempty"`
	Why   string          `json:"why,omitempty"`
}

func (c *cli) vmStatsCommand() *cobra.Command {
	watch := false
	cmd := &cobra.Command{
		Use: "stats [NAME...]", Short: "Show what VMs use now", ValidArgsFunction: c.vmNames(false),
		Long: "Show what VMs use now: CPU, memory, disk and network. Without names, all that run.",
		RunE: func(cmd *cobra.Command, args []string) error {
			for {
				if watch && c.outTerminal {
					fmt.Fprint(c.out, "\x1b[H\x1b[2J")
				}
				if err := c.showStats(cmd.Context(), args); err != nil || !watch {
					return followEnd(cmd.Context(), err)
				}
				select {
				case <-cmd.Context().Done():
					return nil
				case <-time.After(statsEvery):
				}
			}
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "keep showing them, until Ctrl-C")
	return cmd
}

func (c *cli) showStats(ctx context.Context, names []string) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	all := len(names) == 0
	if all {
		page, err := fetchList(ctx, c, (*client.Client).VMs, baadal.ListQuery{Filter: "state:running"}, true)
		if err != nil {
			return err
		}
		for _, v := range page.Items {
			names = append(names, fmt.Sprint(v.ID))
		}
	}
	figures := make([]vmFigures, 0, len(names))
	for _, ref := range names {
		v, err := api.VM(ctx, ref)
		if err != nil {
			return err
		}
		f := vmFigures{Name: v.Name}
		stats, err := api.VMStats(ctx, ref)
		switch {
		case err == nil:
			f.Stats = &stats
		case baadal.CodeOf(err) == "no_stats" || baadal.CodeOf(err) == "vm_state":
			f.Why = baadal.Message(err)
		default:
			return err
		}
		figures = append(figures, f)
	}
	return statsListing().show(c, baadal.List[vmFigures]{Items: figures, Total: len(figures)}, false)
}

func statsListing() listing[vmFigures] {
	rate := func(pick func(baadal.VMStats) *float64) func(vmFigures) string {
		return func(f vmFigures) string {
			if f.Stats == nil || pick(*f.Stats) == nil {
				return "-"
			}
			return bytesText(int64(*pick(*f.Stats))) + "/s"
		}
	}
	return listing[vmFigures]{
		name:  func(f vmFigures) string { return f.Name },
		empty: "No VM runs.",
		columns: []column[vmFigures]{
			{title: "Name", cell: func(f vmFigures) string { return f.Name }, min: 12},
			{title: "CPU", right: true, cell: cpuText},
			{title: "Used", right: true, cell: usedText},
			{title: "Of", right: true, cell: func(f vmFigures) string {
				if f.Stats == nil {
					return "-"
				}
				return mibText(f.Stats.RAMMiB)
			}},
			{title: "Read", right: true, cell: rate(func(s baadal.VMStats) *float64 { return s.ReadRate }), drop: 2},
			{title: "Written", right: true, cell: rate(func(s baadal.VMStats) *float64 { return s.WriteRate }), drop: 2},
			{title: "Received", right: true, cell: rate(func(s baadal.VMStats) *float64 { return s.ReceiveRate }), drop: 3},
			{title: "Sent", right: true, cell: rate(func(s baadal.VMStats) *float64 { return s.TransmitRate }), drop: 3},
			{title: "Note", cell: func(f vmFigures) string { return dash(f.Why) }, min: 8, drop: 1},
		},
	}
}

func cpuText(f vmFigures) string {
	if f.Stats == nil || f.Stats.CPUPercent == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", *f.Stats.CPUPercent)
}

// usedText is the memory really used; a star says that the host tells, who
// counts more than the guest would.
func usedText(f vmFigures) string {
	switch {
	case f.Stats == nil || f.Stats.UsedMiB == nil:
		return "-"
	case f.Stats.UsedSource == "host":
		return mibText(*f.Stats.UsedMiB) + "*"
	}
	return mibText(*f.Stats.UsedMiB)
}
