package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"baadal"
)

// otherNetwork makes a network on VLAN 20 for one test.
func otherNetwork(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	c, none := cloud.Client, baadal.ChangeOptions{}
	n, err := c.CreateNetwork(ctx, baadal.NetworkCreate{Name: name, VLAN: 20, CIDR: "192.168.20.0/24", Gateway: "192.168.20.254", First: "192.168.20.10", Last: "192.168.20.250"}, none)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Await(ctx, n.Task, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n, err := c.DeleteNetwork(ctx, name, none)
		if err == nil {
			_, err = cloud.Await(ctx, n.Task, nil)
		}
		if err != nil {
			t.Errorf("network %s: %v", name, err)
		}
	})
}

// guests makes VMs, all at the same time, that answer.
func guests(ctx context.Context, t *testing.T, wishes ...baadal.VMCreate) []baadal.VM {
	t.Helper()
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	vms, errs := make([]baadal.VM, len(wishes)), make([]error, len(wishes))
	var wg sync.WaitGroup
	for i, in := range wishes {
		in.Template, in.SSHKeys = "tiny", []string{key}
		wg.Go(func() {
			ch, err := cloud.Client.CreateVM(ctx, in, baadal.ChangeOptions{})
			if err == nil {
				_, err = cloud.Await(ctx, ch.Task, nil)
			}
			if err == nil {
				vms[i], err = cloud.WaitAnswer(ctx, ch.Resource.UUID)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("%s: %v", wishes[i].Name, err)
		}
	}
	return vms
}

// direct reports whether a guest reaches an address without a router between:
// what a router passes on has lived too long.
func direct(ctx context.Context, t *testing.T, from baadal.VM, to string) bool {
	t.Helper()
	return ssh(ctx, t, from, "ping -c 3 -W 1 -t 1 "+to+" >/dev/null 2>&1 && echo yes || echo no") == "yes"
}

// wantTags compares the tags of the ports of a VM's NICs, read from its host's
// Open vSwitch, with what is expected.
func wantTags(ctx context.Context, t *testing.T, ref, when string, want ...string) {
	t.Helper()
	vm, err := cloud.Client.VM(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range vm.NICs {
		port := node(ctx, t, vm.Host, "ovs-vsctl", "--bare", "--columns=name", "find", "interface", `external_ids:attached-mac="`+strings.ToLower(n.MAC)+`"`, "ofport>=1")
		tag := "no port"
		if port != "" {
			tag = node(ctx, t, vm.Host, "ovs-vsctl", "get", "port", port, "tag")
		}
		got = append(got, tag)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: the ports of %s on %s have the tags %v, want %v", when, vm.Name, vm.Host, got, want)
	}
}

// hasAddress waits until a guest has an address on an interface.
func hasAddress(ctx context.Context, t *testing.T, vm baadal.VM, iface, address string) {
	t.Helper()
	began := time.Now()
	eventually(t, 40*time.Second, vm.Name+" has "+address+" on "+iface, func() error {
		if got := ssh(ctx, t, vm, "ip -4 -o addr show "+iface+" 2>/dev/null || true"); !strings.Contains(got, address+"/") {
			return fmt.Errorf("it has %q", got)
		}
		return nil
	})
	t.Logf("%s has %s on %s, seen after %s", vm.Name, address, iface, time.Since(began).Round(100*time.Millisecond))
}

// TestNetworksKeepApart: the same network across hosts talks, different ones do
// not, before and after a live migration and a change of network.
func TestNetworksKeepApart(t *testing.T) {
	ctx := begin(t)
	c, none := cloud.Client, baadal.ChangeOptions{}
	otherNetwork(ctx, t, "apart")
	vms := guests(ctx, t,
		baadal.VMCreate{Name: "stays", Host: "host1", Network: "Research"},
		baadal.VMCreate{Name: "moves", Host: "host2", Network: "Research"},
		baadal.VMCreate{Name: "other", Host: "host1", Network: "apart"})
	stays, moves, other := vms[0], vms[1], vms[2]
	talks := func(when string, withStays, withOther bool) {
		t.Helper()
		if got := direct(ctx, t, stays, moves.Address); got != withStays {
			t.Errorf("%s: %s reaches %s: %t", when, stays.Name, moves.Address, got)
		}
		if got := direct(ctx, t, moves, other.Address); got != withOther {
			t.Errorf("%s: %s reaches %s: %t", when, moves.Name, other.Address, got)
		}
	}
	talks("created", true, false)
	ch, err := c.MigrateVM(ctx, moves.UUID, baadal.VMMigrate{To: "host3"}, none)
	did(ctx, t, "migrate", ch, err)
	talks("migrated", true, false)
	wantTags(ctx, t, moves.UUID, "migrated", "10")

	network, before := "apart", moves
	ch, err = c.EditVM(ctx, moves.UUID, baadal.VMEdit{Network: &network}, none)
	did(ctx, t, "change of network", ch, err)
	if moves, err = cloud.WaitAnswer(ctx, moves.UUID); err != nil {
		t.Fatal(err)
	}
	if moves.Address == before.Address || moves.MAC != before.MAC || moves.Network != "apart" {
		t.Errorf("it was %s %s, and is %s %s in %s", before.Address, before.MAC, moves.Address, moves.MAC, moves.Network)
	}
	hasAddress(ctx, t, moves, "eth0", moves.Address)
	wantTags(ctx, t, moves.UUID, "changed", "20")
	talks("changed", false, true)
	ch, err = c.MigrateVM(ctx, moves.UUID, baadal.VMMigrate{To: "host2"}, none)
	did(ctx, t, "migrate", ch, err)
	talks("changed and migrated", false, true)
	wantTags(ctx, t, moves.UUID, "changed and migrated", "20")
	cleanAudit(ctx, t)
	for _, vm := range []baadal.VM{moves, other} { // a network that deleted VMs were in cannot be deleted
		ch, err = c.DestroyVM(ctx, vm.UUID, none)
		did(ctx, t, "destroy", ch, err)
		ch, err = c.ChangeNIC(ctx, vm.UUID, "apart", baadal.NICChange{Network: "Research"}, none)
		did(ctx, t, "change of network while off", ch, err)
	}
	for _, vm := range vms {
		remove(ctx, t, vm.UUID)
	}
}

// TestSecondNIC gives a VM that runs a second NIC, and takes it away; a revert
// to a snapshot does not bring it back. Then it is stopped and put into another
// network.
func TestSecondNIC(t *testing.T) {
	ctx := begin(t)
	c, none := cloud.Client, baadal.ChangeOptions{}
	otherNetwork(ctx, t, "storage")
	vms := guests(ctx, t,
		baadal.VMCreate{Name: "one", Host: "host1", Network: "Research"},
		baadal.VMCreate{Name: "two", Host: "host2", Network: "storage"})
	one, two := vms[0], vms[1]
	if direct(ctx, t, one, two.Address) {
		t.Error("they are in different networks and talk")
	}
	ch, err := c.AddNIC(ctx, one.UUID, baadal.NICAdd{Network: "storage"}, none)
	did(ctx, t, "add", ch, err)
	if one, err = c.VM(ctx, one.UUID); err != nil || len(one.NICs) != 2 {
		t.Fatalf("it has %+v: %v", one.NICs, err)
	}
	hasAddress(ctx, t, one, "eth1", one.NICs[1].Address)
	wantTags(ctx, t, one.UUID, "added", "10", "20")
	if !direct(ctx, t, one, two.Address) || !direct(ctx, t, two, one.NICs[1].Address) {
		t.Error("over the second NIC they do not talk")
	}
	// Somebody plays with the port: the audit sees it and puts it right.
	port := node(ctx, t, "host1", "ovs-vsctl", "--bare", "--columns=name", "find", "interface", `external_ids:attached-mac="`+strings.ToLower(one.NICs[1].MAC)+`"`)
	node(ctx, t, "host1", "ovs-vsctl", "clear", "port", port, "tag")
	if report := audit(ctx, t, true); len(report.Differences) != 1 || report.Differences[0].Kind != baadal.DiffWrongVLAN || !report.Differences[0].Repaired {
		t.Errorf("the audit says %+v", report.Differences)
	}
	wantTags(ctx, t, one.UUID, "repaired", "10", "20")

	snap, err := c.CreateSnapshot(ctx, one.UUID, baadal.SnapshotCreate{Name: "with-two"}, none)
	awaitSnapshot(ctx, t, snap, err)
	ch, err = c.RemoveNIC(ctx, one.UUID, "storage", none)
	did(ctx, t, "remove", ch, err)
	gone := func(when string) {
		t.Helper()
		if got := ssh(ctx, t, one, "ls /sys/class/net"); strings.Contains(got, "eth1") {
			t.Errorf("%s: the guest has %q", when, got)
		}
		wantTags(ctx, t, one.UUID, when, "10")
	}
	gone("removed")
	snap, err = c.RevertSnapshot(ctx, one.UUID, "with-two", none)
	awaitSnapshot(ctx, t, snap, err)
	gone("reverted")
	snap, err = c.DeleteSnapshot(ctx, one.UUID, "with-two", none)
	awaitSnapshot(ctx, t, snap, err)

	ch, err = c.DestroyVM(ctx, two.UUID, none)
	did(ctx, t, "destroy", ch, err)
	ch, err = c.ChangeNIC(ctx, two.UUID, "0", baadal.NICChange{Network: "Research"}, none)
	did(ctx, t, "change of network while off", ch, err)
	ch, err = c.StartVM(ctx, two.UUID, none)
	did(ctx, t, "start", ch, err)
	if two, err = cloud.WaitAnswer(ctx, two.UUID); err != nil {
		t.Fatal(err)
	}
	wantTags(ctx, t, two.UUID, "changed while off", "10")
	if !direct(ctx, t, one, two.Address) {
		t.Error("they are in one network and do not talk")
	}
	cleanAudit(ctx, t)
	remove(ctx, t, one.UUID)
	remove(ctx, t, two.UUID)
}
