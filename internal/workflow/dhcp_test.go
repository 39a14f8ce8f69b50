package workflow_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/workflow"
)

// gatedDHCP is a DHCP server whose box takes its time.
type gatedDHCP struct {
	workflow.DHCP
	runs    atomic.Int32
	entered chan struct{}
	open    chan struct{}
}

func (g *gatedDHCP) Apply(ctx context.Context, rs []baadal.Reservation) error {
	g.runs.Add(1)
	g.entered <- struct{}{}
	select {
	case <-g.open:
		return g.DHCP.Apply(ctx, rs)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestWaitingForTheDHCPServer: those that wait for a slow box are answered
// together, and who need not wait any more goes.
func TestWaitingForTheDHCPServer(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	g := &gatedDHCP{DHCP: a.sys.DHCP, entered: make(chan struct{}, 100), open: make(chan struct{})}
	a.sys.DHCP = g
	var sync1 func(context.Context) error
	for _, b := range workflow.New(a.db, a.sys, workflow.Options{}).Boxes() {
		if b.Name == "DHCP server" {
			sync1 = b.Sync
		}
	}
	var wg sync.WaitGroup
	ask := func() {
		if err := sync1(context.Background()); err != nil {
			t.Error(err)
		}
	}
	wg.Go(ask)
	<-g.entered
	var asking sync.WaitGroup
	for range 20 {
		asking.Add(1)
		wg.Go(func() { asking.Done(); ask() })
	}
	asking.Wait()
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	gone := make(chan error, 1)
	go func() { gone <- sync1(ctx) }()
	select {
	case err := <-gone:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who does not want to wait hears %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("who does not want to wait has to")
	}
	close(g.open)
	wg.Wait()
	if n := g.runs.Load(); n < 2 || n > 4 {
		t.Errorf("the box was asked %d times for 21, want 2", n)
	}
}

// TestFailedTogether: a box that does not answer is tried once for all that wait,
// and anew for who asks later.
func TestFailedTogether(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	must(t, a.world.BreakDHCP(true))
	for _, b := range workflow.New(a.db, a.sys, workflow.Options{}).Boxes() {
		if b.Name != "DHCP server" {
			continue
		}
		if err := b.Sync(t.Context()); baadal.KindOf(err) != baadal.Unavailable {
			t.Errorf("got %v", err)
		}
		must(t, a.world.BreakDHCP(false))
		must(t, b.Sync(t.Context()))
	}
}

// movingDHCP makes the store change after the audit has seen the server.
type movingDHCP struct {
	workflow.DHCP
	once func()
}

func (m *movingDHCP) Reservations(ctx context.Context) ([]baadal.Reservation, error) {
	rs, err := m.DHCP.Reservations(ctx)
	if once := m.once; once != nil {
		m.once = nil
		once()
	}
	return rs, err
}

// TestReservationsChangeDuringAudit: what changes after it was looked at is no
// difference, whoever changed it.
func TestReservationsChangeDuringAudit(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	a.sys.DHCP = &movingDHCP{DHCP: a.sys.DHCP, once: func() {
		a.update(t, func(tx *store.Tx) error {
			n := baadal.Network{Name: "theirs", VLAN: 77, CIDR: "10.7.0.0/29", Bridge: "ovs-net", Portgroup: "vlan77", First: "10.7.0.2", Last: "10.7.0.2"}
			return tx.CreateNetwork(&n, []baadal.Address{{IP: "10.7.0.2", MAC: baadal.RandomMAC([3]byte{0xff, 1, 3})}})
		})
	}}
	for _, d := range a.audit(t, false).Differences {
		if d.Kind == baadal.DiffDHCP {
			t.Errorf("%+v", d)
		}
	}
}
