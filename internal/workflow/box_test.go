package workflow_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
	"baadal/internal/workflow"
)

// named is a furnished cloud with a name server, and what brings that in line.
func named(t *testing.T) (*audited, func() error) {
	t.Helper()
	a := newAudited(t)
	a.sys.Names = a.world.Names()
	a.queue = task.New(a.db, task.Options{})
	a.queue.Register(a.bodies()...)
	boxes := workflow.New(a.db, a.sys, workflow.Options{}).Boxes()
	for _, b := range boxes {
		if b.Name == "name server" && b.Soon {
			return a, func() error { return b.Sync(context.Background()) }
		}
	}
	t.Fatalf("there is no name server that follows soon: %+v", boxes)
	return nil, nil
}

func (a *audited) named(t *testing.T, want ...string) {
	t.Helper()
	records, err := a.world.Names().NameRecords(t.Context())
	must(t, err)
	got := []string(nil)
	for _, r := range records {
		got = append(got, r.Name+" "+r.IP)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestNamesFollowTheStore: created, renamed, deleted, restored.
func TestNamesFollowTheStore(t *testing.T) {
	a, sync := named(t)
	must(t, sync())
	a.named(t, "ml.asha "+a.vm.Address)
	must(t, sync())
	if n := a.world.NameChanges(); n != 1 {
		t.Errorf("%d changes, want 1", n)
	}
	_, err := a.svc.EditVM(t.Context(), a.actor, "ml", baadal.VMEdit{Name: new("Deep_Net")}, baadal.ChangeOptions{})
	must(t, err)
	must(t, sync())
	a.named(t, baadal.DNSLabel("deep_net")+".asha "+a.vm.Address)
	a.act(t, baadal.ActionVMDelete, "Deep_Net")
	must(t, sync())
	a.named(t)
	a.act(t, baadal.ActionVMRestore, a.vm.UUID)
	must(t, sync())
	a.named(t, baadal.DNSLabel("deep_net")+".asha "+a.vm.Address)
}

// TestNamesByHand: the audit tells what differs, and mends it; a server that
// does not answer is not judged.
func TestNamesByHand(t *testing.T) {
	a, sync := named(t)
	must(t, sync())
	if report := a.audit(t, false); !report.Clean() || len(report.NotSeen) > 0 {
		t.Errorf("%+v", report)
	}
	must(t, a.world.SetNames([]baadal.NameRecord{{Name: "evil.asha", IP: "10.0.1.99"}}))
	want := []string{"names of cloud name server: missing: 1 (ml.asha ADDRESS), not ours to have: 1 (evil.asha 10.0.1.99)"}
	if diff := cmp.Diff(want, a.shorts(a.audit(t, false))); diff != "" {
		t.Error(diff)
	}
	if report := a.audit(t, true); len(report.Differences) != 1 || !report.Differences[0].Repaired {
		t.Errorf("%+v", report)
	}
	a.named(t, "ml.asha "+a.vm.Address)
	must(t, a.world.BreakNames(true))
	report := a.audit(t, false)
	if diff := cmp.Diff([]string{"name server: the name server does not answer"}, report.NotSeen); diff != "" || !report.Clean() {
		t.Errorf("%+v %s", report, diff)
	}
	if err := sync(); baadal.KindOf(err) != baadal.Unavailable {
		// What it was given a moment ago is believed to be there: nothing was asked.
		must(t, err)
	}
	must(t, a.world.BreakNames(false))
}

// slowNames makes the store change while an older list is applied, as another
// controller's VM would.
type slowNames struct {
	workflow.Names
	once func()
}

func (s *slowNames) Apply(ctx context.Context, records []baadal.NameRecord) error {
	if once := s.once; once != nil {
		s.once = nil
		once()
	}
	return s.Names.Apply(ctx, records)
}

func TestNewestNamesWin(t *testing.T) {
	a, _ := named(t)
	a.sys.Names = &slowNames{Names: a.world.Names(), once: func() {
		a.update(t, func(tx *store.Tx) error { return tx.ReleaseAddress(a.vm.ID) })
	}}
	for _, b := range workflow.New(a.db, a.sys, workflow.Options{}).Boxes() {
		must(t, b.Sync(t.Context()))
	}
	a.named(t)
}

// TestStrangersAreSeen: who answers with a MAC that is nobody's is told by the
// audit, and his address is not given out until he is gone.
func TestStrangersAreSeen(t *testing.T) {
	a := newAudited(t)
	a.sys.Neighbours = a.world.Neighbours()
	look := func() {
		t.Helper()
		for _, b := range workflow.New(a.db, a.sys, workflow.Options{}).Boxes() { // a new controller looks at once
			if b.Name == "neighbours" {
				must(t, b.Sync(t.Context()))
				must(t, b.Sync(t.Context()))
			}
		}
	}
	look()
	var free []string
	var macs []baadal.Address
	a.view(t, func(tx *store.Tx) (err error) {
		if free, err = tx.FreeAddresses(a.vm.NetworkID, 10, 0); err == nil {
			macs, err = tx.Addresses(a.vm.NetworkID)
		}
		return err
	})
	a.world.SetStranger(free[0], "02:00:00:00:00:66")
	a.world.SetStranger(free[1], macs[0].MAC) // a NIC of ours: it may be on its way there
	look()
	want := []string{"stranger of address " + free[0] + ": nobody of ours is there with this MAC, in use by somebody unknown: 02:00:00:00:00:66"}
	if diff := cmp.Diff(want, a.shorts(a.audit(t, true))); diff != "" {
		t.Error(diff)
	}
	a.vmNamed(t, "next", free[1])
	a.world.SetStranger(free[0], "")
	look()
	if report := a.audit(t, false); !report.Clean() {
		t.Errorf("%+v", report.Differences)
	}
	a.vmNamed(t, "last", free[0])
}

// askedOf counts how many addresses the box is asked for at once.
type askedOf struct {
	box  workflow.Neighbours
	most int
}

func (n *askedOf) Neighbours(ctx context.Context, addresses []string) (map[string]string, error) {
	n.most = max(n.most, len(addresses))
	return n.box.Neighbours(ctx, addresses)
}

// TestManyStrangers: what a router left that answered for everybody is forgotten
// look by look, each of which the box has time for.
func TestManyStrangers(t *testing.T) {
	a := newAudited(t)
	asked := &askedOf{box: a.world.Neighbours()}
	a.sys.Neighbours = asked
	var all []baadal.Address
	var many []baadal.Stranger
	for i := range 1000 {
		ip := fmt.Sprintf("10.9.%d.%d", 1+i/250, 1+i%250)
		all = append(all, baadal.Address{IP: ip, MAC: baadal.RandomMAC([3]byte{9, byte(i / 250), byte(i % 250)})})
		many = append(many, baadal.Stranger{IP: ip, MAC: "02:00:00:00:00:66"})
	}
	a.update(t, func(tx *store.Tx) error {
		n := baadal.Network{Name: "large", VLAN: 99, CIDR: "10.9.0.0/16", Bridge: "ovs-net", Portgroup: "vlan99", VisibleToAll: true, First: all[0].IP, Last: all[999].IP}
		if err := tx.CreateNetwork(&n, all); err != nil {
			return err
		}
		return tx.SetStrangers(nil, many)
	})
	left := func() (n int) {
		a.view(t, func(tx *store.Tx) error { known, err := tx.Strangers(); n = len(known); return err })
		return n
	}
	for looks := 1; left() > 0; looks++ {
		for _, b := range workflow.New(a.db, a.sys, workflow.Options{}).Boxes() {
			if b.Name == "neighbours" {
				must(t, b.Sync(t.Context()))
			}
		}
		if looks > 6 {
			t.Fatalf("%d are left after %d looks", left(), looks)
		}
	}
	if asked.most > 512 {
		t.Errorf("the box was asked for %d addresses at once", asked.most)
	}
}

// vmNamed makes a VM that must have the address.
func (a *audited) vmNamed(t *testing.T, name, address string) {
	t.Helper()
	a.cloud.vm(t, name)
	vm, err := a.svc.VM(t.Context(), a.actor, name)
	must(t, err)
	if vm.Address != address {
		t.Errorf("%s has %s, want %s", name, vm.Address, address)
	}
}
