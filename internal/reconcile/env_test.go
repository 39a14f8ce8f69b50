package reconcile_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"baadal"
	"baadal/internal/reconcile"
	"baadal/internal/simulator"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

const mount = "/mnt/datastore"

// never is longer than any test of these takes.
const never = 1000 * time.Hour

// rarely are options with which a test sees nothing but what it asks for.
var rarely = reconcile.Options{Hosts: never, HostCheck: never, FullLook: never, Datastores: never, Disks: never, Guests: never, Schedule: never, Chains: never}

// cloud is a store, a simulated world and the loops on them. Its tests run in a
// bubble of synctest: time passes only while nothing happens, so how long the
// loops take is exact, on the slowest machine too.
type cloud struct {
	db    *store.DB
	world *simulator.World
	loops *reconcile.Loops
	ahead atomic.Int64 // of the store's clock, nanoseconds

	user                   baadal.User
	ds                     baadal.Datastore
	template, vms, network int64
}

// bubble runs a test on a furnished cloud in a bubble; the loops are stopped and
// everything is closed at its end.
func bubble(t *testing.T, cfg simulator.Config, test func(t *testing.T, c *cloud)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t, cfg)
		defer c.close(t)
		test(t, c)
	})
}

func newCloud(t *testing.T, cfg simulator.Config) *cloud {
	t.Helper()
	if cfg.Hosts == 0 {
		cfg.Hosts = 2
	}
	world, err := simulator.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{world: world}
	c.db = storetest.OpenDSN(t, store.Config{
		DSN: storetest.SQLiteDSN(t), Now: func() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) },
	})
	c.furnish(t, cfg.Hosts)
	return c
}

func (c *cloud) close(t *testing.T) {
	t.Helper()
	if c.loops != nil {
		c.loops.Stop()
	}
	if err := c.world.Close(); err != nil {
		t.Error(err)
	}
}

func (c *cloud) furnish(t *testing.T, hosts int) {
	t.Helper()
	if _, err := c.world.AddTemplate(mount, "tiny.img", 1<<30); err != nil {
		t.Fatal(err)
	}
	c.update(t, func(tx *store.Tx) error {
		org, err := tx.CreateOrganisation("IITD", "")
		if err != nil {
			return err
		}
		c.user = baadal.User{Username: "asha", OrganisationID: org.ID, Roles: []baadal.Role{baadal.RoleUser}}
		if err := tx.CreateUser(&c.user, ""); err != nil {
			return err
		}
		for i := range hosts {
			h, err := c.world.Host(fmt.Sprintf("host%d", i+1))
			if err != nil {
				return err
			}
			if err := tx.CreateHost(&h); err != nil {
				return err
			}
		}
		c.ds = baadal.Datastore{Name: "main", Path: mount, State: baadal.DatastoreUnknown}
		if err := tx.CreateDatastore(&c.ds); err != nil {
			return err
		}
		m := baadal.Template{Name: "tiny", DatastoreID: c.ds.ID, File: "tiny.img", Format: "qcow2", VirtualSize: 1 << 30, State: baadal.TemplateReady}
		if err := tx.CreateTemplate(&m); err != nil {
			return err
		}
		c.template = m.ID
		n := baadal.Network{Name: "research", VLAN: 10, CIDR: "10.0.1.0/24", Bridge: "ovs-net", Portgroup: "vlan10", VisibleToAll: true, First: "10.0.1.10", Last: "10.0.1.29"}
		var all []baadal.Address
		for i := range 20 {
			all = append(all, baadal.Address{IP: fmt.Sprintf("10.0.1.%d", 10+i), MAC: baadal.RandomMAC([3]byte{0, 0, byte(i)})})
		}
		if err := tx.CreateNetwork(&n, all); err != nil {
			return err
		}
		c.network = n.ID
		reserved, err := tx.Reservations()
		if err != nil {
			return err
		}
		return c.world.SetReservations(reserved)
	})
}

// start runs the loops.
func (c *cloud) start(opt reconcile.Options) {
	c.loops = reconcile.New(c.db, reconcile.Systems{
		Hypervisor: c.world.Hypervisor(), Alive: c.world.Prober().Alive, Usage: c.world.Disks().Usage, DiskSizes: c.world.Disks().DiskSizes, Answers: c.world.Guests().Answers,
	}, opt)
	c.loops.Start(context.Background())
}

// row stores a VM with its claims, and nothing in the world.
func (c *cloud) row(t *testing.T, host, name string, state baadal.VMState) (vm baadal.VM) {
	t.Helper()
	c.vms++
	c.update(t, func(tx *store.Tx) error {
		h, err := tx.HostByRef(host)
		if err != nil {
			return err
		}
		vm = baadal.VM{
			UUID: fmt.Sprintf("00000000-0000-4000-8000-%012d", c.vms), Name: name, Identity: baadal.Identity("IITD", "asha", name),
			OwnerID: c.user.ID, OrganisationID: c.user.OrganisationID, RequesterID: c.user.ID, HostID: h.ID, DatastoreID: c.ds.ID, TemplateID: c.template, NetworkID: c.network,
			VCPUs: 1, RAMMiB: 512, DiskGiB: 1, State: state,
		}
		if err := tx.CreateVM(&vm); err != nil {
			return err
		}
		if _, err := tx.ClaimAddress(c.network, vm.ID); err != nil {
			return err
		}
		vm, err = tx.VM(vm.ID)
		return err
	})
	return vm
}

// vm makes a VM that runs, in the store and in the world.
func (c *cloud) vm(t *testing.T, host, name string) baadal.VM {
	t.Helper()
	vm := c.row(t, host, name, baadal.VMRunning)
	c.domain(t, host, vm)
	return vm
}

// domain defines and starts the VM's domain on a host.
func (c *cloud) domain(t *testing.T, host string, vm baadal.VM) {
	t.Helper()
	h, err := c.world.Host(host)
	if err != nil {
		t.Fatal(err)
	}
	image := baadal.VMImage{Datastore: c.ds, Identity: vm.Identity, UUID: vm.UUID, Template: c.ds.TemplateFile("tiny.img"), Format: "qcow2", Bytes: 1 << 30, Seed: []byte("seed")}
	if err := c.world.Disks().CreateImage(t.Context(), h, image); err != nil {
		t.Fatal(err)
	}
	d := baadal.Domain{
		UUID: vm.UUID, Name: vm.Identity, VMID: vm.ID, Virt: "kvm", VCPUs: 1, RAMMiB: 512, Console: "/run/baadal/" + vm.UUID,
		Disks: []baadal.DomainDisk{{Path: c.ds.ImageFile(vm.Identity), Format: "qcow2", Target: "vda"}},
		NICs:  []baadal.DomainNIC{{MAC: vm.MAC, Network: "ovs-net", Portgroup: "vlan10", VLAN: 10}},
	}
	if err := c.world.Hypervisor().Define(t.Context(), h, d); err != nil {
		t.Fatal(err)
	}
	if err := c.world.Hypervisor().Start(t.Context(), h, vm.UUID); err != nil {
		t.Fatal(err)
	}
}

// hold makes an exclusive task about a VM that nobody works on.
func (c *cloud) hold(t *testing.T, kind baadal.TaskKind, vm baadal.VM) (k baadal.Task) {
	t.Helper()
	k = baadal.Task{
		Kind: kind, Subject: baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name}, HostID: vm.HostID, OwnerID: vm.OwnerID, Exclusive: true,
		RunAfter: time.Now().Add(never),
	}
	c.update(t, func(tx *store.Tx) error { return tx.InsertTask(&k) })
	return k
}

func (c *cloud) update(t *testing.T, fn func(*store.Tx) error) {
	t.Helper()
	if err := c.db.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func (c *cloud) view(t *testing.T, fn func(*store.Tx) error) {
	t.Helper()
	if err := c.db.View(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func (c *cloud) now(t *testing.T, vm baadal.VM) (now baadal.VM) {
	t.Helper()
	c.view(t, func(tx *store.Tx) (err error) { now, err = tx.VM(vm.ID); return err })
	return now
}

func (c *cloud) host(t *testing.T, name string) (h baadal.Host) {
	t.Helper()
	c.view(t, func(tx *store.Tx) (err error) { h, err = tx.HostByRef(name); return err })
	return h
}

func (c *cloud) datastore(t *testing.T) (d baadal.Datastore) {
	t.Helper()
	c.view(t, func(tx *store.Tx) (err error) { d, err = tx.Datastore(c.ds.ID); return err })
	return d
}

// happened returns what the history says of a topic, oldest first.
func (c *cloud) happened(t *testing.T, topic string) (what []string) {
	t.Helper()
	c.view(t, func(tx *store.Tx) error {
		all, err := tx.EventsAfter(0, []string{topic}, nil, baadal.Visibility{Scope: baadal.ScopeAny}, 1000)
		for _, e := range all {
			what = append(what, e.What)
		}
		return err
	})
	return what
}

// pass lets time pass and waits until nothing is at work.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// skip moves the store's clock ahead, and gives the schedule time to see it:
// loops that look every second would take days for days.
func (c *cloud) skip(d time.Duration) {
	c.ahead.Add(int64(d))
	pass(time.Second)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
