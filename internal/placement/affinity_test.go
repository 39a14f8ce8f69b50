package placement_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/placement"
)

func member(id int64, name string, host int64, state baadal.VMState) baadal.AffinityMember {
	return baadal.AffinityMember{VMID: id, VM: name, HostID: host, State: state}
}

func group(rule baadal.AffinityRule, members ...baadal.AffinityMember) baadal.VMRules {
	return baadal.VMRules{Groups: []baadal.Affinity{{Name: "web", Rule: rule, Members: members}}}
}

func TestPlacementObeysAffinity(t *testing.T) {
	t.Parallel()
	const on, off, gone = baadal.VMRunning, baadal.VMOff, baadal.VMDeleted
	moving := member(2, "web-2", 1, on)
	moving.TargetID = 2
	named := member(2, "web-2", 3, on)
	named.Host = "host3"
	for name, c := range map[string]struct {
		rules baadal.VMRules
		host  string // chosen, or
		err   string // part of the error
	}{
		"no rule":                         {baadal.VMRules{}, "host1", ""},
		"hosts":                           {baadal.VMRules{Hosts: []baadal.HostRef{{ID: 2, Name: "host2"}, {ID: 3, Name: "host3"}}}, "host2", ""},
		"hosts that are gone":             {baadal.VMRules{Hosts: []baadal.HostRef{{ID: 8, Name: "host8"}}}, "", "host1: the VM may run on host8 only"},
		"apart":                           {group(baadal.AffinityApart, member(2, "web-2", 1, on)), "host2", ""},
		"apart from one that is off":      {group(baadal.AffinityApart, member(2, "web-2", 1, off)), "host2", ""},
		"apart from one that is deleted":  {group(baadal.AffinityApart, member(2, "web-2", 1, gone)), "host1", ""},
		"apart from itself":               {group(baadal.AffinityApart, member(1, "web-1", 1, on)), "host1", ""},
		"apart from one on its way":       {group(baadal.AffinityApart, moving), "host3", ""},
		"apart from all":                  {group(baadal.AffinityApart, member(2, "web-2", 1, on), member(3, "web-3", 2, on), member(4, "web-4", 3, on)), "", "host1: it has web-2 of the apart group web; host2: it has web-3"},
		"together":                        {group(baadal.AffinityTogether, member(2, "web-2", 3, on)), "host3", ""},
		"together, the first":             {group(baadal.AffinityTogether, member(1, "web-1", 0, on)), "host1", ""},
		"together with one on its way":    {group(baadal.AffinityTogether, moving), "host2", ""},
		"together with some who are not":  {group(baadal.AffinityTogether, member(2, "web-2", 2, on), member(3, "web-3", 3, on)), "host2", ""},
		"together and apart cannot agree": {baadal.VMRules{Groups: append(group(baadal.AffinityTogether, named).Groups, group(baadal.AffinityApart, named).Groups...)}, "", "host1: web-2 of the together group web is on host3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hosts := []baadal.Host{host(1, 8, 8192, 0, 0), host(2, 8, 8192, 1, 512), host(3, 8, 8192, 2, 1024)}
			got, err := placement.ChooseHost(hosts, nil, placement.Want{VCPUs: 1, RAMMiB: 64, VM: 1, Rules: c.rules}, limits)
			if c.err != "" {
				e, _ := err.(*baadal.Error) //nolint:errorlint // placement returns its own error, not a chain
				if e == nil || e.Code != "no_host" || !strings.Contains(e.Detail, c.err) {
					t.Fatalf("%s on %v, want words like %q", got.Host.Name, err, c.err)
				}
				return
			}
			if err != nil || got.Host.Name != c.host {
				t.Errorf("%s (%v), want %s", got.Host.Name, err, c.host)
			}
		})
	}
}

func TestStartAndBrokenRules(t *testing.T) {
	t.Parallel()
	vm := baadal.VM{ID: 1, Name: "web-1", HostID: 1}
	busy := member(2, "web-2", 1, baadal.VMOff)
	busy.Busy = true
	for name, c := range map[string]struct {
		rules  baadal.VMRules
		start  string
		broken []string // by any member
		runs   []string // by those that run
	}{
		"none":   {baadal.VMRules{}, "", nil, nil},
		"hosts":  {baadal.VMRules{Hosts: []baadal.HostRef{{ID: 2, Name: "host2"}}}, "the VM may run on host2 only", []string{"the VM may run on host2 only"}, []string{"the VM may run on host2 only"}},
		"apart":  {group(baadal.AffinityApart, member(2, "web-2", 1, baadal.VMRunning)), "it has web-2 of the apart group web", []string{"web-2 of the apart group web is on the same host"}, []string{"web-2 of the apart group web is on the same host"}},
		"off":    {group(baadal.AffinityApart, member(2, "web-2", 1, baadal.VMOff)), "", []string{"web-2 of the apart group web is on the same host"}, nil},
		"starts": {group(baadal.AffinityApart, busy), "it has web-2 of the apart group web", []string{"web-2 of the apart group web is on the same host"}, []string{"web-2 of the apart group web is on the same host"}},
		"parted": {group(baadal.AffinityTogether, member(2, "web-2", 2, baadal.VMRunning)), "web-2 of the together group web is on another host", []string{"web-2 of the together group web is on another host"}, []string{"web-2 of the together group web is on another host"}},
		"united": {group(baadal.AffinityTogether, member(2, "web-2", 1, baadal.VMRunning)), "", nil, nil},
	} {
		if got := placement.StartForbidden(c.rules, vm); got != c.start {
			t.Errorf("%s: start: %q, want %q", name, got, c.start)
		}
		if diff := cmp.Diff(c.broken, placement.Broken(c.rules, vm, false)); diff != "" {
			t.Errorf("%s: broken (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(c.runs, placement.Broken(c.rules, vm, true)); diff != "" {
			t.Errorf("%s: broken by those that run (-want +got):\n%s", name, diff)
		}
	}
	if placement.StartForbidden(group(baadal.AffinityTogether, busy), baadal.VM{ID: 1}) != "" || placement.Broken(group(baadal.AffinityTogether, busy), baadal.VM{ID: 1}, false) != nil {
		t.Error("a VM without a host breaks a rule")
	}
}
