package reconcile_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"baadal"
	"baadal/internal/reconcile"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

// startNAT runs the loops with the NAT box. What they complain about is in said,
// once they are stopped.
func (c *cloud) startNAT() (said *bytes.Buffer) {
	said = &bytes.Buffer{}
	opt := rarely
	opt.NAT, opt.Logger = 2*time.Second, slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelWarn}))
	c.loops = reconcile.New(c.db, reconcile.Systems{
		Hypervisor: c.world.Hypervisor(), Alive: c.world.Prober().Alive, Usage: c.world.Disks().Usage, DiskSizes: c.world.Disks().DiskSizes, Answers: c.world.Guests().Answers,
		NAT: c.world.NAT(),
	}, opt)
	c.loops.Start(context.Background())
	return said
}

func (c *cloud) seenNAT(t *testing.T) baadal.NATSeen {
	t.Helper()
	seen, err := c.world.NAT().Seen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

func (c *cloud) natState(t *testing.T) (s baadal.NATState) {
	t.Helper()
	c.update(t, func(tx *store.Tx) (err error) { s, err = tx.NATState(); return err })
	return s
}

// The box follows the store at once, has its table again two seconds after it
// was flushed or came back, and nothing waits for it meanwhile.
func TestNATBoxFollows(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		vm := c.row(t, "host1", "web", baadal.VMRunning)
		c.startNAT()
		synctest.Wait()
		c.update(t, func(tx *store.Tx) error {
			if _, err := tx.AddPublics(netip.MustParseAddr("203.0.113.16"), netip.MustParseAddr("203.0.113.19")); err != nil {
				return err
			}
			_, err := tx.ClaimPublic(vm.ID)
			return err
		})
		synctest.Wait()
		if got := c.seenNAT(t); len(got.Publics) != 1 {
			t.Fatalf("right after the claim it has %+v", got)
		}
		if s := c.natState(t); s.Applied != s.Revision || s.Problem != "" {
			t.Errorf("its state is %+v", s)
		}
		c.world.FlushNAT()
		time.Sleep(2100 * time.Millisecond)
		if got := c.seenNAT(t); len(got.Publics) != 1 {
			t.Errorf("two seconds after a flush it has %+v", got)
		}
		c.world.BreakNAT(true)
		c.world.FlushNAT()
		c.update(t, func(tx *store.Tx) error { return tx.ReleasePublic(vm.ID, false) })
		time.Sleep(time.Hour)
		if s := c.natState(t); s.Applied == s.Revision || s.Problem == "" {
			t.Errorf("the state of a box that is away is %+v", s)
		}
		c.world.BreakNAT(false)
		time.Sleep(2100 * time.Millisecond)
		if got := c.seenNAT(t); !got.Table || len(got.Publics) != 0 {
			t.Errorf("two seconds after its return it has %+v", got)
		}
		if s := c.natState(t); s.Applied != s.Revision || s.Problem != "" {
			t.Errorf("then its state is %+v", s)
		}
		before := c.world.NATWrites()
		time.Sleep(time.Minute)
		if n := c.world.NATWrites() - before; n != 0 {
			t.Errorf("a box in line was written to %d times in a minute", n)
		}
	})
}

// A mapping whose time is over is forgotten, and its end is an event.
func TestForwardsExpire(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		vm := c.row(t, "host1", "web", baadal.VMRunning)
		c.startNAT()
		c.update(t, func(tx *store.Tx) error {
			return tx.AddForward(&baadal.Forward{
				VMID: vm.ID, Service: baadal.ForwardPort, Protocol: baadal.TCP, Port: 22, ExpiresAt: tx.Now().Add(20 * time.Second), ByID: c.user.ID,
			}, 50000, 50009)
		})
		synctest.Wait()
		if got := c.seenNAT(t); len(got.Forwards) != 1 {
			t.Fatalf("it has %+v", got)
		}
		time.Sleep(23 * time.Second)
		c.update(t, func(tx *store.Tx) error {
			if again, err := tx.ExpireForwards(); err != nil || len(again) != 0 {
				t.Errorf("it is still there: %+v, %v", again, err)
			}
			list, err := tx.Events(baadal.ListQuery{Limit: 100}, baadal.Visibility{Scope: baadal.ScopeAny}, nil)
			said := false
			for _, e := range list.Items {
				said = said || e.What == "port mapping expired"
			}
			if !said {
				t.Errorf("no event tells of its end: %+v", list.Items)
			}
			return err
		})
	})
}

// A box that lost its table is spoken of; one that is told of an end is not, though
// there is something to take out that does not end by itself.
func TestLostTableIsSaid(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		vm := c.row(t, "host1", "web", baadal.VMRunning)
		said := c.startNAT()
		c.update(t, func(tx *store.Tx) error { // at a port that is in no range of ours: the ranges follow
			return tx.AddForward(&baadal.Forward{
				VMID: vm.ID, Service: baadal.ForwardPort, Protocol: baadal.TCP, Port: 22, PublicPort: 1234, ExpiresAt: tx.Now().Add(20 * time.Second), ByID: c.user.ID,
			}, 50000, 50009)
		})
		synctest.Wait()
		before := c.world.NATWrites()
		time.Sleep(time.Minute)
		if n := c.world.NATWrites() - before; n != 1 {
			t.Fatalf("at its end the box was written to %d times", n)
		}
		c.world.FlushNAT()
		time.Sleep(time.Minute)
		c.loops.Stop()
		if n := strings.Count(said.String(), "did not have its table"); n != 1 {
			t.Errorf("it is said %d times, want once, after it was flushed: %s", n, said)
		}
	})
}
