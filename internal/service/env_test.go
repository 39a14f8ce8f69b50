package service_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"baadal"
	"baadal/internal/service"
	"baadal/internal/simulator"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
	"baadal/internal/task"
	"baadal/internal/workflow"
)

func TestMain(m *testing.M) { storetest.Main(m) }

const mount = "/mnt/datastore"

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// cloud is the service on a store and a simulated world. Its queue is started
// by run.
type cloud struct {
	*service.Service
	db    *store.DB
	world *simulator.World
	queue *task.Queue
	clock *clock // nil: the machine's

	admin, orgadmin, faculty, student baadal.Actor // of IITD
	stranger                          baadal.Actor // an orgadmin of another organisation
}

// newCloud is a furnished cloud on SQLite whose time is the test's.
func newCloud(t *testing.T) *cloud {
	t.Helper()
	k := newClock()
	db := storetest.OpenDSN(t, store.Config{DSN: storetest.SQLiteDSN(t), Now: k.Now})
	c := newCloudOn(t, db, simulator.Config{Hosts: 3})
	c.clock = k
	c.furnish(t, baadal.HostFacts{CPUs: 16, RAMMiB: 65536}, "10.0.1.0/28")
	return c
}

// newCloudOn is a cloud without anything in it.
func newCloudOn(t *testing.T, db *store.DB, cfg simulator.Config) *cloud {
	t.Helper()
	world, err := simulator.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := world.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &cloud{db: db, world: world}
	c.queue = c.newQueue()
	c.Service = service.New(db, c.queue, service.Options{Prober: world.Prober(), Files: world.Disks(), Foreign: world.Hypervisor()})
	return c
}

func (c *cloud) newQueue() *task.Queue {
	q := task.New(c.db, task.Options{Backoff: time.Millisecond})
	sys := workflow.SystemsOf(c.world.Hypervisor(), c.world.Disks(), c.world.Prober(), c.world.Guests())
	sys.DHCP = c.world.DHCP()
	q.Register(workflow.New(c.db, sys, workflow.Options{}).Bodies()...)
	return q
}

// furnish makes two organisations with users, the world's hosts, a measured
// datastore with the template "tiny" of 1 GiB, and the network "research".
func (c *cloud) furnish(t *testing.T, facts baadal.HostFacts, cidr string) {
	t.Helper()
	if _, err := c.world.AddTemplate(mount, "tiny.img", 1<<30); err != nil {
		t.Fatal(err)
	}
	facts.Virt, facts.Type = "kvm", baadal.HostPhysical
	c.update(t, func(tx *store.Tx) error {
		for _, u := range []struct {
			actor     *baadal.Actor
			name, org string
			roles     []baadal.Role
		}{
			{&c.admin, "root", "IITD", []baadal.Role{baadal.RoleUser, baadal.RoleAdmin}},
			{&c.orgadmin, "dean", "IITD", []baadal.Role{baadal.RoleUser, baadal.RoleOrgAdmin}},
			{&c.faculty, "asha", "IITD", []baadal.Role{baadal.RoleUser, baadal.RoleFaculty}},
			{&c.student, "ravi", "IITD", []baadal.Role{baadal.RoleUser}},
			{&c.stranger, "otto", "TUB", []baadal.Role{baadal.RoleUser, baadal.RoleOrgAdmin}},
		} {
			org, err := tx.Organisation(u.org)
			if baadal.KindOf(err) == baadal.NotFound {
				org, err = tx.CreateOrganisation(u.org, "")
			}
			if err != nil {
				return err
			}
			user := baadal.User{Username: u.name, OrganisationID: org.ID, Organisation: org.Name, Roles: u.roles, SSHKeys: []string{keyOf(u.name)}}
			if err := tx.CreateUser(&user, ""); err != nil {
				return err
			}
			u.actor.User = user
		}
		for i := range 3 {
			h, err := c.world.Host(fmt.Sprintf("host%d", i+1))
			if baadal.KindOf(err) == baadal.NotFound {
				continue
			}
			if err != nil {
				return err
			}
			if err := tx.CreateHost(&h); err != nil {
				return err
			}
			facts.Hostname = h.Name
			if err := tx.SetHostFacts(h.ID, facts); err != nil {
				return err
			}
		}
		ds := baadal.Datastore{Name: "main", Path: mount, State: baadal.DatastoreOK}
		if err := tx.CreateDatastore(&ds); err != nil {
			return err
		}
		if _, err := tx.SetDatastoreUsage(ds.ID, baadal.DatastoreOK, "", baadal.DatastoreUsage{Mounted: true, Writable: true, Capacity: 1 << 40, Free: 1 << 40}, nil); err != nil {
			return err
		}
		return tx.CreateTemplate(&baadal.Template{Name: "tiny", DatastoreID: ds.ID, File: "tiny.img", Format: "qcow2", VirtualSize: 1 << 30, State: baadal.TemplateReady})
	})
	c.network(t, "research", 10, cidr)
}

func keyOf(name string) string { return "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 " + name }

// network makes a network that is applied, without a task.
func (c *cloud) network(t *testing.T, name string, vlan int, cidr string) {
	t.Helper()
	ch, err := c.CreateNetwork(t.Context(), c.admin, baadal.NetworkCreate{Name: name, VLAN: vlan, CIDR: cidr}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, ch.Task)
}

// run works off tasks to their good ends.
func (c *cloud) run(t *testing.T, tasks ...*baadal.Task) {
	t.Helper()
	for _, done := range c.settle(t, tasks...) {
		if done.State != baadal.TaskSuccess {
			t.Fatalf("%s of %s: %s: %s", done.Kind, done.Subject.Name, done.State, done.Message)
		}
	}
}

// settle works off tasks to any end.
func (c *cloud) settle(t *testing.T, tasks ...*baadal.Task) []baadal.Task {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	q := c.newQueue()
	if err := q.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := q.Stop(ctx); err != nil {
			t.Error(err)
		}
	}()
	ended := make([]baadal.Task, len(tasks))
	for i, k := range tasks {
		var err error
		for !ended[i].State.Ended() {
			if ended[i], err = c.WaitTask(ctx, baadal.System(), k.ID, 1<<40, 5*time.Second); err != nil {
				t.Fatal(err)
			}
		}
	}
	return ended
}

// create makes a VM that runs, owned by the actor.
func (c *cloud) create(t *testing.T, a baadal.Actor, in baadal.VMCreate) baadal.VM {
	t.Helper()
	if in.Template == "" {
		in.Template = "tiny"
	}
	ch, err := c.CreateVM(t.Context(), a, in, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, ch.Task)
	return c.vm(t, ch.Resource.ID)
}

// act does something to a VM and returns it as it is then.
func (c *cloud) act(t *testing.T, action baadal.Action, vm baadal.VM) baadal.VM {
	t.Helper()
	ch, err := c.ActVM(t.Context(), c.admin, action, fmt.Sprint(vm.ID), baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, ch.Task)
	return c.vm(t, vm.ID)
}

func (c *cloud) vm(t *testing.T, id int64) (vm baadal.VM) {
	t.Helper()
	c.view(t, func(tx *store.Tx) (err error) { vm, err = tx.VM(id); return err })
	return vm
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

// setHost writes a host's state as the watcher would.
func (c *cloud) setHost(t *testing.T, name string, state baadal.HostState, reason string) {
	t.Helper()
	c.update(t, func(tx *store.Tx) error {
		h, err := tx.HostByRef(name)
		if err != nil {
			return err
		}
		_, err = tx.SetHostState(h.ID, state, reason, false)
		return err
	})
}

// refused checks how a call was refused.
func refused(t *testing.T, err error, kind baadal.Kind, code string) {
	t.Helper()
	if baadal.KindOf(err) != kind || baadal.CodeOf(err) != code {
		t.Errorf("got %v (kind %q, code %q), want kind %q, code %q", err, baadal.KindOf(err), baadal.CodeOf(err), kind, code)
	}
}

// refusedField checks which field is to blame too.
func refusedField(t *testing.T, err error, kind baadal.Kind, field string) {
	t.Helper()
	e, ok := err.(*baadal.Error) //nolint:errorlint // as the API shows it
	if !ok || e.Kind != kind || e.Field != field {
		t.Errorf("got %v (kind %q), want kind %q for field %q; %+v", err, baadal.KindOf(err), kind, field, e)
	}
}

var dry = baadal.ChangeOptions{DryRun: true}
