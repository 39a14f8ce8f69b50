package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"baadal"
	"baadal/client"
)

// Exit codes, as the root help explains them.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitConflict    = 4
	exitDenied      = 5
	exitDifferences = 6
	exitUnavailable = 7
	exitTaskFailed  = 8
	exitInterrupted = 130
)

// exitHelp is the root help's part about exit codes.
const exitHelp = `Exit codes:
    0  done                               5  not allowed, or not signed in
    1  failure                            6  the audit found differences
    2  wrong usage or input               7  the server or a host does not answer
    3  there is no such thing             8  the task failed
    4  in the way: busy, taken, full    130  interrupted; the task goes on`

// usageError is a command line that cannot be understood.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// exitError ends the program with a code; its error, if any, was not printed
// yet.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// taskError is a task that ended in another state than success.
type taskError struct{ task baadal.Task }

func (e *taskError) Error() string {
	return fmt.Sprintf("%s %s: task %d %s", e.task.Kind, e.task.Subject.Name, e.task.ID, e.task.State)
}

// exitCode returns the exit code that stands for err.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[*taskError](err); ok {
		return exitTaskFailed
	}
	if errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	if unreachable(err) {
		return exitUnavailable
	}
	return kindExit(baadal.KindOf(err))
}

func kindExit(k baadal.Kind) int {
	switch k {
	case "":
		return exitOK
	case baadal.Invalid, baadal.TooLarge:
		return exitUsage
	case baadal.NotFound:
		return exitNotFound
	case baadal.Conflict, baadal.Stale, baadal.Exhausted, baadal.TooMany:
		return exitConflict
	case baadal.Forbidden, baadal.Unauthenticated:
		return exitDenied
	case baadal.Unavailable:
		return exitUnavailable
	case baadal.Cancelled:
		return exitTaskFailed
	case baadal.Internal:
	}
	return exitFailure
}

// unreachable reports whether no server answered at all.
func unreachable(err error) bool {
	_, answered := errors.AsType[*client.Problem](err)
	return !answered && (baadal.CodeOf(err) == "no_connection" || baadal.CodeOf(err) == "no_answer")
}

// report is an error as it is printed: the API's problem, or the same shape
// made here.
type report struct {
	Kind     baadal.Kind         `json:"kind,omitempty"`
	Code     string              `json:"code"`
	Title    string              `json:"title"`
	Detail   string              `json:"detail,omitempty"`
	Next     []baadal.Offer      `json:"next,omitempty"`
	Task     int64               `json:"task,omitempty"`
	Instance string              `json:"instance,omitempty"`
	Errors   []client.FieldError `json:"errors,omitempty"`

	body []byte // the API's problem as it came
}

// report turns an error into what people and programs are told.
func (c *cli) report(err error) report {
	if e, ok := errors.AsType[*taskError](err); ok {
		return taskReport(e.task)
	}
	if errors.Is(err, context.Canceled) {
		return report{Code: "interrupted", Title: "interrupted"}
	}
	if unreachable(err) {
		return report{
			Kind: baadal.Unavailable, Code: baadal.CodeOf(err), Title: "no server answers at " + c.server,
			Detail: "is `baadal serve` running? " + cause(err),
			Next: []baadal.Offer{
				{Label: "Start one here", Action: "baadal serve"},
				{Label: "Name another", Action: "baadal --server URL …, or set BAADAL_SERVER"},
			},
		}
	}
	e, ok := errors.AsType[*baadal.Error](err)
	if _, usage := errors.AsType[*usageError](err); usage || !ok {
		code := string(baadal.Internal)
		if usage {
			code = "usage"
		}
		return report{Code: code, Title: err.Error()}
	}
	r := report{Kind: e.Kind, Code: baadal.CodeOf(e), Title: e.Title, Detail: e.Detail, Next: e.Next, Task: e.TaskID}
	if p, ok := errors.AsType[*client.Problem](err); ok {
		r.Instance, r.Errors, r.body = p.RequestID, p.Fields, p.Body
	}
	if e.Kind == baadal.Unauthenticated && len(r.Next) == 0 {
		r.Next = []baadal.Offer{{Label: "Sign in", Action: strings.TrimSpace("baadal login " + c.serverFlag())}}
	}
	if r.Code == "password_change_required" && len(r.Next) == 0 {
		r.Next = []baadal.Offer{{Label: "Set your password", Action: "baadal login"}}
	}
	return r
}

func taskReport(t baadal.Task) report {
	r := report{Code: t.Code, Title: t.Message, Task: t.ID}
	if r.Code == "" {
		r.Code = "task_" + t.State.String()
	}
	if r.Title == "" {
		r.Title = fmt.Sprintf("%s: task %d ended as %s", t.Kind, t.ID, t.State)
	}
	var undone int
	for _, s := range t.Steps {
		if s.State == baadal.StepUndone {
			undone++
		}
	}
	switch {
	case t.UndoPending:
		r.Detail = "what it did could not be taken back completely yet; that goes on by itself"
	case undone > 0:
		r.Detail = fmt.Sprintf("failed at step %q; what it had done was taken back", t.Step)
	case t.Step != "":
		r.Detail = fmt.Sprintf("failed at step %q", t.Step)
	}
	r.Next = []baadal.Offer{{Label: "See its steps", Action: fmt.Sprintf("baadal task show %d", t.ID)}}
	if t.Actions["retry"].Allowed {
		r.Next = append(r.Next, baadal.Offer{Label: "Try again", Action: fmt.Sprintf("baadal task retry %d", t.ID)})
	}
	return r
}

// cause returns the innermost message of a failed connection.
func cause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return "(" + err.Error() + ")"
		}
		err = inner
	}
}

// print writes the report to standard error.
func (c *cli) print(r report) {
	if c.flags.json {
		c.printJSON(r)
		return
	}
	l := c.lookOf(c.errTerminal)
	fmt.Fprintf(c.err, "%s %s\n", l.paint("Error:", red), cleanLines(r.Title))
	if r.Detail != "" {
		fmt.Fprintf(c.err, "  %s\n", cleanLines(r.Detail))
	}
	for _, f := range r.Errors {
		if f.Message != r.Title {
			fmt.Fprintf(c.err, "  %s: %s\n", clean(f.Field), clean(f.Message))
		}
	}
	for _, o := range r.Next {
		if o.Action == "" {
			fmt.Fprintf(c.err, "next: %s\n", clean(o.Label))
			continue
		}
		fmt.Fprintf(c.err, "next: %s: %s\n", clean(o.Label), clean(o.Action))
	}
	if r.Instance != "" && r.Code == string(baadal.Internal) {
		fmt.Fprintf(c.err, "  request %s: the server's log has the cause\n", clean(r.Instance))
	}
}

// printJSON writes the report as problem JSON, the API's own if there is one.
// Nothing is left to tell a failure to write to standard error to.
func (c *cli) printJSON(r report) {
	var own map[string]any
	if json.Unmarshal(r.body, &own) == nil && own["title"] != nil {
		_ = writeJSON(c.err, json.RawMessage(r.body), "  ")
		return
	}
	_ = writeJSON(c.err, r, "  ")
}
