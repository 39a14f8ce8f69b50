package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"baadal"
	"baadal/client"
)

func (c *cli) taskCommand() *cobra.Command {
	cmd := group("task", "What the cloud is doing and has done",
		listCommand(c, "List tasks, newest first", (*client.Client).Tasks, c.taskListing()),
		showCommand(c, "Show tasks with their steps", (*client.Client).TaskByRef, nil, c.showTask),
		c.taskWaitCommand(),
		c.taskActCommand("cancel", "Cancel tasks: what they did is taken back", (*client.Client).CancelTask),
		c.taskActCommand("retry", "Do failed tasks again", (*client.Client).RetryTask),
		c.taskActCommand("ignore", "Set failed tasks aside", (*client.Client).IgnoreTask),
	)
	for _, sub := range cmd.Commands() {
		sub.Use = strings.Replace(sub.Use, "NAME...", "ID...", 1)
	}
	return cmd
}

// parseID reads the id of a task or token.
func parseID(noun, s string) (int64, error) {
	id, err := strconv.ParseInt(s, 10, 64)
	if err != nil || id <= 0 {
		return 0, usagef("%q is not the id of a %s: see baadal %s list", s, noun, noun)
	}
	return id, nil
}

func (c *cli) taskListing() listing[baadal.Task] {
	return listing[baadal.Task]{
		name:  func(t baadal.Task) string { return fmt.Sprint(t.ID) },
		empty: "No tasks yet: every change that takes time will be one.",
		columns: []column[baadal.Task]{
			{title: "Id", right: true, cell: func(t baadal.Task) string { return fmt.Sprint(t.ID) }},
			{title: "State", cell: taskStateText, state: true},
			{title: "Task", cell: func(t baadal.Task) string { return string(t.Kind) }},
			{title: "Subject", cell: func(t baadal.Task) string { return t.Subject.Name }, min: 8},
			{title: "Step", cell: func(t baadal.Task) string {
				if t.State.Ended() && t.State != baadal.TaskFailed {
					return "-"
				}
				return dash(t.Step)
			}, drop: 5},
			{title: "By", cell: func(t baadal.Task) string { return t.Requester }, drop: 4, min: 6},
			{title: "Begun", cell: func(t baadal.Task) string { return agoText(c.now(), t.CreatedAt) }, drop: 2},
			{title: "Took", right: true, cell: c.taskTook, drop: 3},
			{title: "Message", cell: func(t baadal.Task) string { return t.Message }, drop: 1, min: 12},
		},
	}
}

// taskStateText is a task's state as a table shows it.
func taskStateText(t baadal.Task) string {
	switch {
	case t.Undoing && !t.State.Ended():
		return "undoing"
	case t.State == baadal.TaskProcessing:
		return fmt.Sprintf("%s %d %%", t.State, t.Progress)
	case t.UndoPending:
		return t.State.String() + " (undo goes on)"
	}
	return t.State.String()
}

func (c *cli) taskTook(t baadal.Task) string {
	switch {
	case t.StartedAt == nil:
		return "-"
	case t.EndedAt == nil:
		return durationText(c.now().Sub(*t.StartedAt))
	}
	return durationText(t.EndedAt.Sub(*t.StartedAt))
}

func (c *cli) showTask(t baadal.Task) {
	fmt.Fprintln(c.out, c.title(fmt.Sprintf("Task %d: %s %s", t.ID, t.Kind, t.Subject.Name), taskStateText(t), ""))
	deadline, undo := "", ""
	if t.Deadline != nil && !t.State.Ended() {
		deadline = agoText(c.now(), *t.Deadline)
	}
	if t.UndoPending {
		undo = "what could not be taken back yet is tried until it is"
	}
	c.fields([]field{
		{"Message", t.Message},
		{"Code", t.Code},
		{"Cancelled by", t.CancelBy},
		{"Undo", undo},
		{"Asked by", t.Requester},
		{"Begun", agoText(c.now(), t.CreatedAt)},
		{"Took", c.taskTook(t)},
		{"Deadline", deadline},
		{"Can", actionsText(t.Actions)},
	})
	c.showChildren(t.Children)
	if len(t.Steps) == 0 {
		return
	}
	fmt.Fprintln(c.out)
	writeTable(c.out, []column[baadal.TaskStep]{
		{title: "Step", cell: func(s baadal.TaskStep) string { return s.Name }},
		{title: "State", cell: func(s baadal.TaskStep) string { return string(s.State) }, state: true},
		{title: "Took", right: true, cell: func(s baadal.TaskStep) string {
			if s.StartedAt == nil || s.EndedAt == nil {
				return "-"
			}
			return durationText(s.EndedAt.Sub(*s.StartedAt))
		}},
		{title: "What", cell: func(s baadal.TaskStep) string {
			return strings.TrimPrefix(strings.TrimSuffix(s.Detail+"; "+s.Error, "; "), "; ")
		}},
	}, t.Steps, c.width(), c.look())
}

func (c *cli) taskWaitCommand() *cobra.Command {
	return &cobra.Command{
		Use: "wait ID...", Short: "Wait until tasks have ended", Args: takes(1, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			ids := make([]int64, len(args))
			for i, arg := range args {
				if ids[i], err = parseID("task", arg); err != nil {
					return err
				}
			}
			tasks, errs := make([]baadal.Task, len(ids)), make([]error, len(ids))
			p := c.newTracker()
			var work sync.WaitGroup
			for i, id := range ids {
				work.Go(func() { tasks[i], errs[i] = c.wait(cmd.Context(), api, p, id) })
			}
			work.Wait()
			p.done()
			return c.tasksEnded(tasks, errs)
		},
	}
}

// tasksEnded prints how tasks ended; its error is the first that is not
// printed yet.
func (c *cli) tasksEnded(tasks []baadal.Task, errs []error) error {
	if len(tasks) == 1 {
		return c.taskEnded(tasks[0], errs[0])
	}
	code := exitOK
	for i, t := range tasks {
		err := c.taskEnded(t, errs[i])
		if err == nil {
			continue
		}
		code = exitCode(err)
		if e, ok := errors.AsType[*exitError](err); !ok || e.err != nil {
			c.print(c.report(err))
		}
	}
	if code != exitOK {
		return &exitError{code: code}
	}
	return nil
}

func (c *cli) taskEnded(t baadal.Task, err error) error {
	if err != nil {
		return err
	}
	if c.flags.json {
		if err := c.json(t); err != nil {
			return err
		}
	}
	if t.State == baadal.TaskFailed || t.State == baadal.TaskPartial {
		return &taskError{t}
	}
	message := t.Message
	if message == "" {
		message = taskLine(t)
	}
	c.printf("%s\n", clean(message))
	return nil
}

// taskActCommand makes one of the acts on tasks.
func (c *cli) taskActCommand(verb, short string, do func(*client.Client, context.Context, int64) (baadal.Task, error)) *cobra.Command {
	return &cobra.Command{
		Use: verb + " ID...", Short: short, Args: takes(1, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.api()
			if err != nil {
				return err
			}
			for _, arg := range args {
				id, err := parseID("task", arg)
				if err != nil {
					return err
				}
				t, err := do(api, cmd.Context(), id)
				if err != nil {
					return err
				}
				if c.flags.json {
					if err := c.json(t); err != nil {
						return err
					}
				}
				c.printf("task %d: %s\n", t.ID, taskLine(t))
			}
			return nil
		},
	}
}
