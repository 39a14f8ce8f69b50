package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"baadal"
)

func TestExitCodes(t *testing.T) {
	t.Parallel()
	kind := func(k baadal.Kind) error { return fmt.Errorf("create VM: %w", baadal.Errorf(k, "no")) }
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("defect"), 1},
		{kind(baadal.Internal), 1},
		{usagef("no such flag"), 2},
		{kind(baadal.Invalid), 2},
		{kind(baadal.TooLarge), 2},
		{kind(baadal.NotFound), 3},
		{kind(baadal.Conflict), 4},
		{kind(baadal.Stale), 4},
		{kind(baadal.Exhausted), 4},
		{kind(baadal.TooMany), 4},
		{kind(baadal.Forbidden), 5},
		{kind(baadal.Unauthenticated), 5},
		{&exitError{code: exitDifferences}, 6},
		{kind(baadal.Unavailable), 7},
		{kind(baadal.Cancelled), 8},
		{&taskError{baadal.Task{State: baadal.TaskFailed}}, 8},
		{context.Canceled, 130},
		{fmt.Errorf("call: %w", context.Canceled), 130},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("exitCode(%v) = %d, want %d", c.err, got, c.want)
		}
	}
}

func TestRunExitCodes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args string
		code int
		errs string
	}{
		{"version", 0, ""},
		{"vm", 0, ""},
		{"vm lst", 2, "did you mean list"},
		{"nonsense", 2, `there is no command "baadal nonsense"`},
		{"vm list --nonsense", 2, "unknown flag"},
		{"vm start", 2, "baadal vm start NAME..."},
		{"vm show", 2, "something is missing"},
		{"network show", 2, "something is missing"},
		{"datastore add one /mnt three", 2, `from "three" on`},
		{"vm create web1 --ram 512", 2, "is not a size"},
		{"vm list --limit 5 --all", 2, "limit"},
		{"vm list", 5, "baadal login"},
		{"vm list --server ftp://x", 2, "not the URL"},
		{"completion tcsh", 2, "invalid argument"},
		{"login", 2, "no terminal"},
		{"task show x", 5, "baadal login"},
	} {
		c, _, errs := quietCLI()
		if got := c.run(t.Context(), strings.Fields(test.args)); got != test.code {
			t.Errorf("baadal %s: exit code %d, want %d: %s", test.args, got, test.code, errs)
		}
		if !strings.Contains(errs.String(), test.errs) {
			t.Errorf("baadal %s: %q does not say %q", test.args, errs, test.errs)
		}
	}
}

func TestNoServer(t *testing.T) {
	t.Parallel()
	c, out, errs := quietCLI()
	c.getenv = func(name string) string {
		return map[string]string{"BAADAL_SERVER": "http://127.0.0.1:1", "BAADAL_TOKEN": "bt_x"}[name]
	}
	if code := c.run(t.Context(), []string{"vm", "list"}); code != exitUnavailable {
		t.Errorf("exit code %d, want %d", code, exitUnavailable)
	}
	if want := "no server answers at http://127.0.0.1:1\n  is `baadal serve` running?"; out.Len() > 0 || !strings.Contains(errs.String(), want) {
		t.Errorf("out %q, err %q", out, errs)
	}
	if strings.Contains(errs.String(), "bt_x") {
		t.Error("the token is in the error")
	}
}

func TestPrintedErrors(t *testing.T) {
	t.Parallel()
	failed := baadal.Task{
		ID: 12, Kind: baadal.TaskVMCreate, State: baadal.TaskFailed, Step: "define", Code: "no_memory", Message: "host h1 has no memory left",
		Subject: baadal.Subject{Kind: "vm", Name: "web1"},
		Steps:   []baadal.TaskStep{{Name: "disk", State: baadal.StepUndone}, {Name: "define", State: baadal.StepFailed}},
		Actions: map[string]baadal.Access{"retry": {Allowed: true}},
	}
	busy := baadal.Errorf(baadal.Conflict, "web1 is held by task 7 (Start VM)").WithCode("vm_busy").WithTask(7).
		WithDetail("step %q, 40 %%", "start").WithNext("Wait for it", "baadal task wait 7").WithNext("Or go away", "")
	for name, err := range map[string]error{
		"busy": busy, "task": &taskError{failed}, "usage": usagef("give NAME"),
		"denied": baadal.Errorf(baadal.Unauthenticated, "not signed in"),
		"lines":  errors.New("the configuration has mistakes:\nlisten: no port\nstate: not absolute\n"), //nolint:revive // as a file's parser says it
		"evil":   baadal.Errorf(baadal.Invalid, "no template \x1b]0;x\x07 here"),
	} {
		c, _, errs := quietCLI()
		c.print(c.report(err))
		golden(t, "error-"+name+".golden", errs.Bytes())

		errs.Reset()
		c.flags.json = true
		c.print(c.report(err))
		var problem struct{ Code, Title string }
		if err := json.Unmarshal(errs.Bytes(), &problem); err != nil || problem.Title == "" || problem.Code == "" {
			t.Errorf("%s as JSON: %v: %s", name, err, errs)
		}
	}
}
