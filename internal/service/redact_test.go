package service_test

import (
	"encoding/json"
	"strings"
	"testing"

	"baadal"
)

// A student sees his VM, not the host it is on: neither by its name nor in
// words, whether all is well or the host does not answer.
func TestHostsAreHiddenFromPeople(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ctx := t.Context()
	made, err := c.CreateVM(ctx, c.admin, baadal.VMCreate{Name: "ml", Template: "tiny", Owner: c.student.User.Username}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	host := made.Resource.Host
	if host == "" {
		t.Fatal("the administrator does not see the host")
	}
	check := func(what string, v any, err error) {
		t.Helper()
		raw, jerr := json.Marshal(v)
		if jerr != nil {
			t.Fatal(jerr)
		}
		words := string(raw)
		if err != nil {
			words += err.Error()
		}
		if strings.Contains(words, host) || strings.Contains(words, `"host":{`) {
			t.Errorf("%s tells of %s: %s", what, host, words)
		}
	}
	vm, err := c.VM(ctx, c.student, "ml")
	check("his VM", vm, err)
	list, err := c.VMs(ctx, c.student, baadal.ListQuery{})
	check("his list", list, err)
	err = c.world.Cut(host)
	if err != nil {
		t.Fatal(err)
	}
	c.setHost(t, host, baadal.HostDown, "no answer")
	vm, err = c.VM(ctx, c.student, "ml")
	check("his VM on a host that does not answer", vm, err)
	ch, err := c.ActVM(ctx, c.student, baadal.ActionVMStart, "ml", baadal.ChangeOptions{})
	if err == nil {
		t.Error("a VM on a host that does not answer was started")
	}
	check("a refusal", ch, err)
}
