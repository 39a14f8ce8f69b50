package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

func (c *cli) eventsCommand() *cobra.Command {
	var (
		topics []string
		last   int
		once   bool
	)
	cmd := &cobra.Command{
		Use: "events", Short: "Follow what changes, until Ctrl-C", Args: takes(0, 0),
		Long: `Follow what changes until Ctrl-C: a line whenever a thing, or the state of a
task, is another one. --last shows some of the past first, and with --once only
that. With --json every event is one line.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			tell := c.eventTeller()
			after, err := c.pastEvents(cmd.Context(), api, topics, last, tell)
			if err != nil || once {
				return err
			}
			for e, err := range api.Events(cmd.Context(), client.EventOptions{Topics: topics, After: after, Lost: c.lost}) {
				if err != nil {
					return followEnd(cmd.Context(), err)
				}
				if err := tell(e); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&topics, "topic", nil, "only these `topics`: vm, host, datastore, template, network, task, user, setting")
	cmd.Flags().IntVar(&last, "last", 0, "show this `number` of past events first")
	cmd.Flags().BoolVar(&once, "once", false, "end after the past ones")
	return cmd
}

// pastEvents tells the newest events that there are, the oldest of them first,
// and returns the id to go on after; 0 means with what comes next.
func (c *cli) pastEvents(
	ctx context.Context, api *client.Client, topics []string, count int, tell func(baadal.Event) error,
) (after int64, err error) {
	if count <= 0 {
		return 0, nil
	}
	page, err := api.EventList(ctx, baadal.ListQuery{Limit: min(count, pageSize), Sort: "-id", Filter: topicFilter(topics)})
	if err != nil {
		return 0, err
	}
	for _, e := range slices.Backward(page.Items) {
		if err := tell(e); err != nil {
			return 0, err
		}
		after = e.ID
	}
	return after, nil
}

// topicFilter is the filter of a list for topics, any of them.
func topicFilter(topics []string) string {
	var words []string
	for _, t := range topics {
		words = append(words, "topic:"+t)
	}
	return strings.Join(words, " ")
}

// eventTeller returns a function that writes events, but not those that only
// tell of a task's progress.
func (c *cli) eventTeller() func(baadal.Event) error {
	told := map[int64]string{}
	return func(e baadal.Event) error {
		if e.Topic == "task" && !c.flags.json {
			if told[e.Subject.ID] == e.What {
				return nil
			}
			told[e.Subject.ID] = e.What
		}
		return c.event(e)
	}
}

// followEnd turns the end of something that is followed until Ctrl-C into
// success.
func followEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return nil
	}
	return err
}

// lost tells that the connection broke; it is made again.
func (c *cli) lost(err error) {
	c.hintf("The connection broke and is made again: %s\n", clean(err.Error()))
}

// event writes one event.
func (c *cli) event(e baadal.Event) error {
	if c.flags.json {
		return writeJSON(c.out, e, "")
	}
	if e.Topic == client.TopicReset {
		c.hintf("Some events were missed: the server does not keep them any more.\n")
		return nil
	}
	l := c.look()
	what := e.Subject.Kind + " " + cmp.Or(e.Subject.Name, fmt.Sprint(e.Subject.ID))
	if e.Topic == "task" {
		what = fmt.Sprintf("task %d (%s)", e.Subject.ID, e.Subject.Name)
	}
	layout := time.TimeOnly
	if c.now().Sub(e.At) > 12*time.Hour {
		layout = time.DateTime
	}
	line := fmt.Sprintf("%s  %s  %s", l.paint(e.At.Local().Format(layout), grey), l.paint(clean(what), bold), clean(e.What))
	if s := changesText(e.Changes); s != "" {
		line += "  " + clean(s)
	}
	if e.Actor != "" {
		line += l.paint("  by "+clean(e.Actor), grey)
	}
	fmt.Fprintln(c.out, line)
	return nil
}

// changesText writes an event's changes as "field old → new".
func changesText(raw json.RawMessage) string {
	var changes map[string]struct {
		Old any `json:"old"`
		New any `json:"new"`
	}
	if json.Unmarshal(raw, &changes) != nil {
		return ""
	}
	var out []string
	for _, field := range slices.Sorted(maps.Keys(changes)) {
		ch := changes[field]
		if ch.Old == nil {
			out = append(out, fmt.Sprintf("%s %v", field, ch.New))
			continue
		}
		out = append(out, fmt.Sprintf("%s %v → %v", field, ch.Old, ch.New))
	}
	return strings.Join(out, ", ")
}

// watchPause is how long a watched list rests between two looks, however much
// happens.
const watchPause = 500 * time.Millisecond

// watchAge is how long it stands when nothing happens: the times in it age.
const watchAge = 5 * time.Second

// watch shows something again whenever an event of the topic comes, until
// Ctrl-C.
func (c *cli) watch(ctx context.Context, topic string, show func() error) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	draw := func() error {
		if c.outTerminal {
			fmt.Fprint(c.out, "\x1b[H\x1b[2J")
		}
		return show()
	}
	if err := draw(); err != nil {
		return err
	}
	changed, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		for _, err := range api.Events(ctx, client.EventOptions{Topics: []string{topic}}) {
			if err != nil {
				ended <- err
				return
			}
			select {
			case changed <- struct{}{}:
			default: // a look is due already
			}
		}
		ended <- nil
	}()
	aged := time.NewTicker(watchAge)
	defer aged.Stop()
	for {
		select {
		case err := <-ended:
			return followEnd(ctx, err)
		case <-changed:
		case <-aged.C:
		}
		if err := draw(); err != nil {
			return followEnd(ctx, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(watchPause):
		}
	}
}
