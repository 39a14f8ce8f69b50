package baadal_test

import (
	"strings"
	"testing"

	"baadal"
)

func TestAffinityIsChecked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		in   baadal.AffinityCreate
		want string // field of the error; empty for none
	}{
		{"good", baadal.AffinityCreate{Name: "web", Rule: baadal.AffinityApart}, ""},
		{"no rule", baadal.AffinityCreate{Name: "web"}, "rule"},
		{"another rule", baadal.AffinityCreate{Name: "web", Rule: "near"}, "rule"},
		{"no name", baadal.AffinityCreate{Rule: baadal.AffinityApart}, "name"},
		{"long name", baadal.AffinityCreate{Name: strings.Repeat("x", 31), Rule: baadal.AffinityApart}, "name"},
	} {
		wantField(t, c.name, c.in.Validate(), c.want)
	}
	bad, rule, badRule := "a b", baadal.AffinityTogether, baadal.AffinityRule("x")
	for _, c := range []struct {
		name string
		in   baadal.AffinityEdit
		want string
	}{
		{"rule", baadal.AffinityEdit{Rule: &rule}, ""},
		{"members", baadal.AffinityEdit{Add: []string{"a"}}, ""},
		{"bad name", baadal.AffinityEdit{Name: &bad}, "name"},
		{"bad rule", baadal.AffinityEdit{Rule: &badRule}, "rule"},
	} {
		wantField(t, c.name, c.in.Validate(), c.want)
	}
	if err := (&baadal.AffinityEdit{}).Validate(); baadal.CodeOf(err) != "no_change" {
		t.Errorf("an edit of nothing: %v", err)
	}
}

func wantField(t *testing.T, name string, err error, field string) {
	t.Helper()
	e, _ := err.(*baadal.Error) //nolint:errorlint // rules return their own error, not a chain
	if (err == nil) != (field == "") || e != nil && e.Field != field {
		t.Errorf("%s: %v, want one about %q", name, err, field)
	}
}

func TestMemberThatMayBeStartingIsActive(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		state  baadal.VMState
		busy   bool
		active bool
	}{
		{baadal.VMRunning, false, true},
		{baadal.VMPaused, false, true},
		{baadal.VMInQueue, true, true},
		{baadal.VMOff, false, false},
		{baadal.VMOff, true, true},
		{baadal.VMDeleted, true, false},
		{baadal.VMMissing, false, false},
	} {
		m := baadal.AffinityMember{State: c.state, Busy: c.busy}
		if m.Active() != c.active {
			t.Errorf("%s, busy %t: active is %t", c.state, c.busy, m.Active())
		}
	}
}
