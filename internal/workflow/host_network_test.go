package workflow_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/workflow"
)

// hostNetworks tells which portgroups each host has.
func (c *cloud) hostNetworks(t *testing.T) map[string]string {
	t.Helper()
	seen := map[string]string{}
	for line := range strings.Lines(c.world.Snapshot()) {
		if name, rest, ok := strings.Cut(strings.TrimSpace(line), " address="); ok && strings.HasPrefix(name, "host ") {
			_, words, _ := strings.Cut(rest, " ")
			seen[strings.TrimPrefix(name, "host ")] = words
		}
	}
	return seen
}

func every(words string) map[string]string {
	return map[string]string{"host1": words, "host2": words, "host3": words}
}

// TestHostNetworks: a network's portgroup comes to every host with it and goes
// with it; one that somebody made stays; what was lost comes back.
func TestHostNetworks(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir())
	defer c.close()
	c.furnish(t)
	w := workflow.New(c.db, c.sys, workflow.Options{})
	want := func(words map[string]string) {
		t.Helper()
		if d := cmp.Diff(words, c.hostNetworks(t)); d != "" {
			t.Error(d)
		}
	}
	keep := func() {
		t.Helper()
		for i := range 3 {
			var h baadal.Host
			err := c.db.View(t.Context(), func(tx *store.Tx) (err error) { h, err = tx.HostByRef(fmt.Sprintf("host%d", i+1)); return err })
			if err == nil {
				err = w.KeepHostNetworks(t.Context(), h)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	want(every("network=ovs-net@ovs0[vlan10=10]"))
	theirs := func(fn func(map[string]baadal.HostNetwork)) {
		t.Helper()
		if err := c.world.VirshNetwork("host2", fn); err != nil {
			t.Fatal(err)
		}
	}
	theirs(func(all map[string]baadal.HostNetwork) {
		n := all["ovs-net"]
		n.Portgroups = maps.Clone(n.Portgroups)
		n.Portgroups["vlan20"], n.Portgroups["guests"] = 20, 7
		all["ovs-net"] = n
	})
	ch, err := c.svc.CreateNetwork(t.Context(), c.actor, baadal.NetworkCreate{Name: "more", VLAN: 20, CIDR: "10.0.2.0/29"}, baadal.ChangeOptions{})
	c.finish(t, ch.Task, err)
	both := every("network=ovs-net@ovs0[vlan10=10,vlan20=20]")
	both["host2"] = "network=ovs-net@ovs0[guests=7,vlan10=10,vlan20=20]"
	want(both)

	vlan, bridge := 21, "second"
	if _, err := c.svc.EditNetwork(t.Context(), c.actor, "more", baadal.NetworkEdit{VLAN: &vlan, Bridge: &bridge}, baadal.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		keep()
		moved := every("network=ovs-net@ovs0[vlan10=10] network=second@baadal-br-int[vlan21=21]")
		moved["host2"] = "network=ovs-net@ovs0[guests=7,vlan10=10,vlan20=20] network=second@baadal-br-int[vlan21=21]"
		want(moved)
	}
	theirs(func(all map[string]baadal.HostNetwork) { // somebody's hand
		delete(all, "second")
		n := all["ovs-net"]
		n.Ready, n.Portgroups = false, map[string]int{"vlan10": 11}
		all["ovs-net"] = n
	})
	keep()
	want(every("network=ovs-net@ovs0[vlan10=10] network=second@baadal-br-int[vlan21=21]"))

	ch, err = c.svc.DeleteNetwork(t.Context(), c.actor, "more", baadal.ChangeOptions{})
	c.finish(t, ch.Task, err)
	want(every("network=ovs-net@ovs0[vlan10=10] network=second@baadal-br-int[]"))
}

// TestAuditOfHostNetworks: what a host lacks is told, and mended.
func TestAuditOfHostNetworks(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir())
	defer c.close()
	c.furnish(t)
	if err := c.world.VirshNetwork("host2", func(all map[string]baadal.HostNetwork) { delete(all, "ovs-net") }); err != nil {
		t.Fatal(err)
	}
	if err := c.world.VirshNetwork("host3", func(all map[string]baadal.HostNetwork) {
		n := all["ovs-net"]
		n.Portgroups = map[string]int{"vlan10": 0}
		all["ovs-net"] = n
	}); err != nil {
		t.Fatal(err)
	}
	for _, repair := range []bool{true, false} {
		ch, err := c.svc.RunAudit(t.Context(), c.actor, repair, baadal.ChangeOptions{})
		c.finish(t, ch.Task, err)
		report, err := c.svc.LastAudit(t.Context(), c.actor)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, d := range report.Differences {
			got[d.Host] = fmt.Sprintf("%s: %s; mended %t", d.Kind, d.Seen, d.Repaired)
		}
		want := map[string]string{
			"host2": "portgroup: there is none; mended true", "host3": "portgroup: portgroup vlan10 has the tag 0, or none for certain; mended true",
		}
		if !repair {
			want = map[string]string{}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
}
