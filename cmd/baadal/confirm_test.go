package main

import (
	"errors"
	"strings"
	"testing"

	"baadal"
)

func TestConfirm(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]int{"y\n": 0, "Yes\r\n": 0, "n\n": exitFailure, "\n": exitFailure, "": exitFailure, "yikes\n": exitFailure} {
		c, out, errs := quietCLI()
		c.inTerminal, c.in = true, strings.NewReader(answer)
		if got := exitCode(c.confirm("Delete web1?", "--yes")); got != want {
			t.Errorf("%q gave exit code %d, want %d", answer, got, want)
		}
		if out.Len() > 0 || !strings.HasPrefix(errs.String(), "Delete web1? [y/N] ") {
			t.Errorf("asked %q and %q", out, errs)
		}
	}
	c, _, errs := quietCLI()
	c.in = strings.NewReader("y\n")
	if err := c.confirm("Delete web1?", "--yes"); exitCode(err) != exitUsage || !strings.Contains(err.Error(), "give --yes") || errs.Len() > 0 {
		t.Errorf("without a terminal: %v, asked %q", err, errs)
	}
}

func TestConfirmKey(t *testing.T) {
	t.Parallel()
	const fingerprint = "SHA256:7Y+LZ/QovHsNblJ0NDKxhnC9DiaP6yZmNGR1nALjbP4"
	found := func() error {
		return baadal.Errorf(baadal.Conflict, "the host key must be confirmed").WithCode("fingerprint_unconfirmed").WithDetail("%s", fingerprint)
	}
	c, _, errs := quietCLI()
	c.inTerminal, c.in = true, strings.NewReader("y\n")
	if got, err := c.confirmKey("h1", false, found()); got != fingerprint || err != nil || !strings.Contains(errs.String(), fingerprint) {
		t.Errorf("yes: %q %v, asked %q", got, err, errs)
	}
	c.in = strings.NewReader("n\n")
	if _, err := c.confirmKey("h1", false, found()); err == nil {
		t.Error("no was taken for yes")
	}
	c.inTerminal = false
	_, err := c.confirmKey("h1", false, found())
	if e, ok := errors.AsType[*baadal.Error](err); !ok || exitCode(err) != exitConflict || !strings.Contains(e.Next[1].Action, "--fingerprint "+fingerprint) {
		t.Errorf("without a terminal: %v", err)
	}
	if got, err := c.confirmKey("h1", true, found()); got != fingerprint || err != nil {
		t.Errorf("trusted: %q %v", got, err)
	}
	other := baadal.Errorf(baadal.Conflict, "busy").WithDetail("SHA256:short")
	if _, err := c.confirmKey("h1", true, other); err == nil {
		t.Error("something that is no fingerprint was pinned")
	}
}

func TestReadLine(t *testing.T) {
	t.Parallel()
	c, _, _ := quietCLI()
	c.in = strings.NewReader("first\nsecond\r\nthird")
	for _, want := range []string{"first", "second", "third"} {
		if got, err := c.readLine(); got != want || err != nil {
			t.Errorf("got %q %v, want %q", got, err, want)
		}
	}
	if got, err := c.readLine(); err == nil {
		t.Errorf("the end gave %q", got)
	}
}

func TestNewPassword(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		typed []string
		want  string
	}{
		{[]string{"long enough", "long enough"}, "long enough"},
		{[]string{"long enough", "something else"}, ""},
		{[]string{"short"}, ""},
	} {
		c, out, _ := quietCLI()
		c.inTerminal = true
		c.readPassword = func(string) (string, error) {
			if len(test.typed) == 0 {
				return "", errors.New("asked too often")
			}
			secret := test.typed[0]
			test.typed = test.typed[1:]
			return secret, nil
		}
		got, err := c.newPassword(false, "New password: ")
		if got != test.want || (err != nil) != (test.want == "") || out.Len() > 0 {
			t.Errorf("got %q %v, want %q", got, err, test.want)
		}
	}
}
