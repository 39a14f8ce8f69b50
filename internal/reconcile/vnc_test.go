package reconcile_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/reconcile"
	"baadal/internal/simulator"
	"baadal/internal/store"
)

// doors keep what they were told to open.
type doors struct {
	mu     sync.Mutex
	open   []baadal.VNCDoor
	failed map[int64]error
}

func (d *doors) serve(open []baadal.VNCDoor) map[int64]error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = open
	return d.failed
}

func (d *doors) fail(failed map[int64]error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = failed
}

func (d *doors) want(t *testing.T, want ...baadal.VNCDoor) {
	t.Helper()
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if diff := cmp.Diff(want, append([]baadal.VNCDoor(nil), d.open...)); diff != "" {
		t.Errorf("doors (-want +got):\n%s", diff)
	}
}

// listen runs a controller that listens for VNC clients at an address.
func (c *cloud) listen(address string) (*doors, *reconcile.Loops) {
	d := &doors{}
	l := reconcile.New(c.db, reconcile.Systems{
		Hypervisor: c.world.Hypervisor(), Alive: c.world.Prober().Alive, Usage: c.world.Disks().Usage, DiskSizes: c.world.Disks().DiskSizes,
		Answers: c.world.Guests().Answers, VNC: d.serve, VNCAddress: address,
	}, rarely)
	l.Start(context.Background())
	return d, l
}

func (c *cloud) grant(t *testing.T, vm baadal.VM, controller string, long time.Duration) (g baadal.VNCGrant) {
	t.Helper()
	c.update(t, func(tx *store.Tx) (err error) {
		if _, err := tx.ClaimVNCPort(vm.ID, 20000, 20010); err != nil {
			return err
		}
		g = baadal.VNCGrant{VMID: vm.ID, VM: vm.Name, ByID: c.user.ID, Password: "Sesame12", Controller: controller, ExpiresAt: tx.Now().Add(long)}
		if err := tx.AddVNCGrant(&g, tx.Now().Add(20*time.Second), 10); err != nil {
			return err
		}
		g, err = tx.VNCGrant(vm.ID)
		return err
	})
	return g
}

func doorOf(g baadal.VNCGrant) baadal.VNCDoor {
	return baadal.VNCDoor{GrantID: g.ID, VM: g.VM, Port: g.Port, Password: g.Password, Until: g.ExpiresAt}
}

// A grant's door opens at once, is moved with it, says what keeps it shut, and
// closes when it ends, by its time or before.
func TestVNCDoors(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		web, db := c.row(t, "host1", "web", baadal.VMRunning), c.row(t, "host1", "db", baadal.VMRunning)
		d, l := c.listen("10.0.0.1")
		defer l.Stop()
		g := c.grant(t, web, "10.0.0.1", time.Minute)
		d.want(t, doorOf(g))
		isOpen := func(want bool, problem string) {
			t.Helper()
			c.view(t, func(tx *store.Tx) error {
				got, err := tx.VNCGrant(web.ID)
				if got.Open != want || got.Problem != problem {
					t.Errorf("open %t, %q", got.Open, got.Problem)
				}
				return err
			})
		}
		isOpen(true, "")
		c.update(t, func(tx *store.Tx) error {
			g.ExpiresAt = tx.Now().Add(time.Hour)
			return tx.ExtendVNCGrant(g.ID, g.ExpiresAt)
		})
		other := c.grant(t, db, "10.0.0.1", time.Minute)
		d.want(t, doorOf(other), doorOf(g))
		d.fail(map[int64]error{g.ID: baadal.Errorf(baadal.Unavailable, "port 20000 is taken")})
		time.Sleep(6 * time.Second)
		isOpen(false, "port 20000 is taken")
		d.fail(nil)
		time.Sleep(6 * time.Second)
		isOpen(true, "")

		c.update(t, func(tx *store.Tx) error { _, err := tx.EndVNCGrants(web.ID); return err })
		d.want(t, doorOf(other))
		time.Sleep(time.Minute)
		d.want(t)
		if c.view(t, func(tx *store.Tx) error {
			due, err := tx.VNCGrantsDue()
			if due != 0 {
				t.Error("what is over is not ended")
			}
			return err
		}); t.Failed() {
			return
		}
		c.grant(t, web, "10.0.0.1", time.Hour)
		c.update(t, func(tx *store.Tx) error { // who asked for it leaves
			u, err := tx.User(c.user.ID)
			if err != nil {
				return err
			}
			u.Blocked = true
			return tx.UpdateUser(&u)
		})
		time.Sleep(6 * time.Second)
		d.want(t)
	})
}

// Of two controllers one listens; when it is gone, the other does.
func TestVNCDoorsOfTwoControllers(t *testing.T) {
	bubble(t, simulator.Config{}, func(t *testing.T, c *cloud) {
		vm := c.row(t, "host1", "web", baadal.VMRunning)
		first, one := c.listen("10.0.0.1")
		second, two := c.listen("10.0.0.2")
		defer two.Stop()
		g := c.grant(t, vm, "10.0.0.1", time.Hour)
		time.Sleep(time.Minute)
		first.want(t, doorOf(g))
		second.want(t)
		one.Stop()
		time.Sleep(30 * time.Second)
		second.want(t, doorOf(g))
		c.view(t, func(tx *store.Tx) error {
			got, err := tx.VNCGrant(vm.ID)
			if got.Controller != "10.0.0.2" || !got.Open {
				t.Errorf("%+v", got)
			}
			return err
		})
		again, three := c.listen("10.0.0.1") // it comes back
		defer three.Stop()
		time.Sleep(time.Minute)
		again.want(t)
		second.want(t, doorOf(g))
	})
}
