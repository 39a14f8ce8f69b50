package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

// What a terminal is told: to leave its present screen alone and hide the
// cursor, and to come back; to go to the corner; to clear the rest of a line, of
// the screen.
const (
	screenOpen  = "\x1b[?1049h\x1b[?25l"
	screenClose = "\x1b[?25h\x1b[?1049l"
	screenTop   = "\x1b[H"
	clearLine   = "\x1b[K"
	clearRest   = "\x1b[J"
)

// topOptions are the flags of top.
type topOptions struct {
	sort, host, owner string
	once              bool
	every             time.Duration
	most              int
}

const vmTopLong = `Show what VMs use now, the busiest first, again and again until Ctrl-C: CPU,
memory really used, disk and network rates. Rates are means between two looks of
the server; a VM that was just started or moved has none for a few seconds.

    baadal vm top --sort mem --host host2
    baadal vm top --once --json --owner asha

A star at a memory figure says that the host tells it, as the guest does not.`

func (c *cli) vmTopCommand() *cobra.Command {
	o := topOptions{sort: "cpu", every: statsEvery}
	cmd := &cobra.Command{
		Use: "top [FILTER...]", Short: "Show the busiest VMs, live", Long: vmTopLong,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(baadal.UsageSorts(), o.sort) {
				return usagef("--sort takes one of %s", strings.Join(baadal.UsageSorts(), ", "))
			}
			if o.every < time.Second {
				return usagef("--every takes a second or more: the server looks every few seconds")
			}
			return c.top(cmd.Context(), o, strings.Join(args, " "))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.sort, "sort", o.sort, "by this `key` downwards: "+strings.Join(baadal.UsageSorts(), ", "))
	f.StringVar(&o.host, "host", "", "only VMs on the host of this `name`")
	f.StringVar(&o.owner, "owner", "", "only VMs of the user of this `name`")
	f.BoolVar(&o.once, "once", false, "show it once and end")
	f.DurationVar(&o.every, "every", o.every, "how long to wait before it is shown anew")
	f.IntVar(&o.most, "lines", 0, "show at most so `many` VMs (what fits on the terminal; otherwise all)")
	completeFlags(cmd, map[string]completion{
		"sort": cobra.FixedCompletions(baadal.UsageSorts(), cobra.ShellCompDirectiveNoFileComp), "host": c.hostNames(), "owner": c.userNames(true),
	})
	return cmd
}

// top shows the table, once or until ctx ends. What is not a terminal gets it
// once for each look, one below the other.
func (c *cli) top(ctx context.Context, o topOptions, filter string) error {
	filter = topFilter(o, filter)
	screen := c.outTerminal && !o.once && !c.flags.json
	if screen {
		fmt.Fprint(c.out, screenOpen)
		defer fmt.Fprint(c.out, screenClose)
	}
	for {
		all, err := c.usages(ctx, filter, baadal.UsageSort(o.sort))
		if err != nil {
			return followEnd(ctx, err)
		}
		switch {
		case c.flags.json:
			err = c.json(baadal.List[baadal.VMUsage]{Items: all, Total: len(all)})
		case screen:
			fmt.Fprint(c.out, frame(c.topText(all, o, c.topRows(o))))
		default:
			fmt.Fprint(c.out, c.topText(all, o, o.most))
		}
		if err != nil || o.once {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(o.every):
		}
	}
}

// topFilter is the server's filter: VMs that run, unless another state is asked
// for.
func topFilter(o topOptions, words string) string {
	for key, value := range map[string]string{"host": o.host, "owner": o.owner} {
		if value != "" {
			words = strings.TrimSpace(words + " " + key + ":" + value)
		}
	}
	if strings.Contains(words, "state:") {
		return words
	}
	return strings.TrimSpace(words + " state:running")
}

// usages reads all VMs that match, in order.
func (c *cli) usages(ctx context.Context, filter string, by baadal.UsageSort) ([]baadal.VMUsage, error) {
	page, err := fetchList(ctx, c, (*client.Client).VMUsages, baadal.ListQuery{Filter: filter}, true)
	if err != nil {
		return nil, err
	}
	return page.Items, baadal.SortUsages(page.Items, by)
}

// topRows is how many VMs fit on the terminal below the head and the titles.
func (c *cli) topRows(o topOptions) int {
	const head = 3
	fit := 0
	if n := c.rows(); n > 0 {
		fit = max(1, n-head)
	}
	if o.most > 0 && (fit == 0 || o.most < fit) {
		return o.most
	}
	return fit
}

// topText is the table with its head; most is how many VMs it shows, 0 for all.
func (c *cli) topText(all []baadal.VMUsage, o topOptions, most int) string {
	var b bytes.Buffer
	head := topHead(all, c.now(), o)
	if w := c.width(); w > 0 {
		head = cut(head, w)
	}
	fmt.Fprintln(&b, head)
	if len(all) == 0 {
		fmt.Fprintln(&b, "No VM runs that matches.")
		return b.String()
	}
	shown := all
	if most > 0 && most < len(all) {
		shown = all[:most]
	}
	writeTable(&b, topColumns(), shown, c.width(), c.look())
	return b.String()
}

// topHead sums up all VMs, shown or not.
func topHead(all []baadal.VMUsage, now time.Time, o topOptions) string {
	var busy, read, written, received, sent float64
	vcpus, used, of := 0, 0, 0
	add := func(sum *float64, rate *float64) {
		if rate != nil {
			*sum += *rate
		}
	}
	for _, u := range all {
		s := u.Stats
		if s == nil {
			continue
		}
		vcpus, of = vcpus+s.VCPUs, of+s.RAMMiB
		if s.CPUPercent != nil {
			busy += *s.CPUPercent / 100 * float64(s.VCPUs)
		}
		if s.UsedMiB != nil {
			used += *s.UsedMiB
		}
		add(&read, s.ReadRate)
		add(&written, s.WriteRate)
		add(&received, s.ReceiveRate)
		add(&sent, s.TransmitRate)
	}
	rate := func(n float64) string { return bytesText(int64(n)) + "/s" }
	return fmt.Sprintf("%s  %s by %s: %.1f of %s busy, memory %s of %s, disk %s + %s, network %s + %s", now.Local().Format(time.TimeOnly), plural(len(all), "VM"), o.sort,
		busy, plural(vcpus, "vCPU"), mibText(used), mibText(of), rate(read), rate(written), rate(received), rate(sent))
}

func topColumns() []column[baadal.VMUsage] {
	figures := func(u baadal.VMUsage) vmFigures { return vmFigures{Name: u.Name, Stats: u.Stats} }
	rate := func(pick func(*baadal.VMStats) *float64) func(baadal.VMUsage) string {
		return func(u baadal.VMUsage) string {
			if u.Stats == nil || pick(u.Stats) == nil {
				return "-"
			}
			return bytesText(int64(*pick(u.Stats))) + "/s"
		}
	}
	return []column[baadal.VMUsage]{
		{title: "Name", cell: func(u baadal.VMUsage) string { return u.Name }, min: 12},
		{title: "CPU", right: true, cell: func(u baadal.VMUsage) string { return cpuText(figures(u)) }},
		{title: "vCPUs", right: true, cell: func(u baadal.VMUsage) string { return fmt.Sprint(u.VCPUs) }, drop: 3},
		{title: "Used", right: true, cell: func(u baadal.VMUsage) string { return usedText(figures(u)) }},
		{title: "Of", right: true, cell: func(u baadal.VMUsage) string { return mibText(u.RAMMiB) }, drop: 4},
		{title: "Read", right: true, cell: rate(func(s *baadal.VMStats) *float64 { return s.ReadRate }), drop: 5},
		{title: "Written", right: true, cell: rate(func(s *baadal.VMStats) *float64 { return s.WriteRate }), drop: 5},
		{title: "Received", right: true, cell: rate(func(s *baadal.VMStats) *float64 { return s.ReceiveRate }), drop: 6},
		{title: "Sent", right: true, cell: rate(func(s *baadal.VMStats) *float64 { return s.TransmitRate }), drop: 6},
		{title: "Owner", cell: func(u baadal.VMUsage) string { return u.Owner }, drop: 2, min: 8},
		{title: "Host", cell: func(u baadal.VMUsage) string { return dash(u.Host) }, drop: 1, min: 8},
		{title: "State", cell: func(u baadal.VMUsage) string { return u.State.String() }, state: true, drop: 7},
	}
}

// frame is a text as it replaces the one before on a terminal, without a blink.
func frame(text string) string {
	return screenTop + strings.ReplaceAll(text, "\n", clearLine+"\n") + clearRest
}
