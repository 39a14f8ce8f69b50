// Package proof_test holds what is shown of all operations together, on the
// simulator: whatever two people wish at the same time, and whatever sequence of
// wishes, failures and crashes happens, the cloud stays whole.
package proof_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/reconcile"
	"baadal/internal/service"
	"baadal/internal/simulator"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
	"baadal/internal/task"
	"baadal/internal/workflow"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// The mount points of the two datastores, each with the template "tiny" or
// "tiny2" of 1 GiB.
const (
	mount  = "/mnt/datastore"
	mount2 = "/mnt/second"
)

// cloud is a controller on a store and a simulated world.
type cloud struct {
	*service.Service
	db    *store.DB
	world *simulator.World
	sys   workflow.Systems
	queue *task.Queue
	loops *reconcile.Loops // nil until watch

	asha, ravi baadal.Actor // both may do everything
}

// systemsOf is all of the world.
func systemsOf(w *simulator.World) workflow.Systems {
	sys := workflow.SystemsOf(w.Hypervisor(), w.Disks(), w.Prober(), w.Guests())
	sys.DHCP, sys.NAT = w.DHCP(), w.NAT()
	return sys
}

// connect makes a controller that is not started.
func connect(tb testing.TB, db *store.DB, world *simulator.World, opt task.Options) *cloud {
	tb.Helper()
	c := &cloud{db: db, world: world, sys: systemsOf(world)}
	c.queue = task.New(db, opt)
	c.queue.Register(workflow.New(db, c.sys, workflow.Options{}).Bodies()...)
	c.Service = service.New(db, c.queue, service.Options{
		Prober: world.Prober(), Files: world.Disks(), Foreign: world.Hypervisor(), NAT: service.NAT{Public: "203.0.113.1"},
	})
	c.findActors(tb)
	return c
}

// open opens a folder with a database and a world in it, as it was left.
func open(tb testing.TB, dir string, opt task.Options) (c *cloud, closeAll func()) {
	tb.Helper()
	db, err := store.Open(context.Background(), store.Config{DSN: storetest.SQLiteIn(tb, dir)})
	must(tb, err)
	world, err := simulator.Open(simulator.Config{Dir: filepath.Join(dir, "world")})
	must(tb, err)
	return connect(tb, db, world, opt), func() {
		must(tb, db.Close())
		must(tb, world.Close())
	}
}

// furnish makes the users, hosts, both datastores with a template each, and a
// network. It starts the queue.
func (c *cloud) furnish(tb testing.TB, hosts int, facts baadal.HostFacts, cidr string) {
	tb.Helper()
	ctx := context.Background()
	must(tb, c.world.AddDatastore(mount2, 1<<40))
	facts.Virt, facts.Type = "kvm", baadal.HostPhysical
	c.update(tb, func(tx *store.Tx) error {
		org, err := tx.CreateOrganisation("IITD", "")
		if err != nil {
			return err
		}
		for _, name := range []string{"asha", "ravi"} {
			if err := tx.CreateUser(&baadal.User{Username: name, OrganisationID: org.ID, Organisation: org.Name, Roles: baadal.Roles()}, ""); err != nil {
				return err
			}
		}
		for i := range hosts {
			name := fmt.Sprintf("host%d", i+1)
			if err := c.world.AddHost(name, fmt.Sprintf("10.77.0.%d", 11+i)); err != nil {
				return err
			}
			h, err := c.world.Host(name)
			if err != nil {
				return err
			}
			if err := tx.CreateHost(&h); err != nil {
				return err
			}
			facts.Hostname = name
			if err := tx.SetHostFacts(h.ID, facts); err != nil {
				return err
			}
		}
		return nil
	})
	c.addDatastore(tb, "main", mount, "tiny")
	c.addDatastore(tb, "second", mount2, "tiny2")
	_, err := c.world.AddTemplate(mount, "rescue.iso", 1<<30)
	must(tb, err)
	c.update(tb, func(tx *store.Tx) error {
		ds, err := tx.DatastoreByRef("main")
		if err != nil {
			return err
		}
		return tx.CreateTemplate(&baadal.Template{
			Name: "rescue", Kind: baadal.TemplateISO, DatastoreID: ds.ID, File: "rescue.iso", Format: "raw", VirtualSize: 1 << 30, State: baadal.TemplateReady,
		})
	})
	c.findActors(tb)
	must(tb, c.queue.Start(ctx))
	for _, n := range []baadal.NetworkCreate{
		{Name: "research", VLAN: 10, CIDR: cidr}, {Name: "storage", VLAN: 20, CIDR: "10.0.20.0/24"}, {Name: "dmz", VLAN: 30, CIDR: "10.0.30.0/24"},
	} {
		ch, err := c.CreateNetwork(ctx, c.asha, n, baadal.ChangeOptions{})
		must(tb, err)
		c.await(tb, ch.Task.ID)
	}
}

// addDatastore stores a datastore of the world, measured, with a template of 1 GiB.
func (c *cloud) addDatastore(tb testing.TB, name, at, template string) {
	tb.Helper()
	file := template + ".img"
	_, err := c.world.AddTemplate(at, file, 1<<30)
	must(tb, err)
	c.update(tb, func(tx *store.Tx) error {
		ds := baadal.Datastore{Name: name, Path: at}
		if err := tx.CreateDatastore(&ds); err != nil {
			return err
		}
		usage := baadal.DatastoreUsage{Mounted: true, Writable: true, Capacity: 1 << 40, Free: 1 << 40}
		if _, err := tx.SetDatastoreUsage(ds.ID, baadal.DatastoreOK, "", usage, nil); err != nil {
			return err
		}
		return tx.CreateTemplate(&baadal.Template{Name: template, DatastoreID: ds.ID, File: file, Format: "qcow2", VirtualSize: 1 << 30, State: baadal.TemplateReady})
	})
}

func (c *cloud) findActors(tb testing.TB) {
	tb.Helper()
	c.view(tb, func(tx *store.Tx) error {
		for name, a := range map[string]*baadal.Actor{"asha": &c.asha, "ravi": &c.ravi} {
			u, err := tx.UserByName(name)
			if baadal.KindOf(err) != baadal.NotFound && err != nil {
				return err
			}
			a.User = u
		}
		return nil
	})
}

// await waits until a task has ended and nothing of it is owed.
func (c *cloud) await(tb testing.TB, id int64) (k baadal.Task) {
	tb.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 3*time.Minute)
	defer stop()
	wake, unsubscribe := c.db.Subscribe("event")
	defer unsubscribe()
	for {
		c.view(tb, func(tx *store.Tx) (err error) { k, err = tx.Task(id); return err })
		if k.State.Ended() && !k.UndoPending {
			return k
		}
		select {
		case <-wake:
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			tb.Fatalf("task %d (%s) never ends: %s at %q: %s", k.ID, k.Kind, k.State, k.Step, k.Message)
		}
	}
}

// stopQueue ends the queue as a controller does that is told to stop.
func (c *cloud) stopQueue(tb testing.TB) {
	tb.Helper()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	must(tb, c.queue.Stop(ctx))
}

// audit compares the store with the world.
func (c *cloud) audit(tb testing.TB, repair bool) (report baadal.Audit) {
	tb.Helper()
	ctx := context.Background()
	ch, err := c.RunAudit(ctx, c.asha, repair, baadal.ChangeOptions{})
	must(tb, err)
	if k := c.await(tb, ch.Task.ID); k.State != baadal.TaskSuccess {
		tb.Errorf("the audit ends as %s: %s", k.State, k.Message)
	}
	report, err = c.LastAudit(ctx, c.asha)
	must(tb, err)
	return report
}

// cleanAudit complains about everything that an audit finds, but for disks of
// leftovers.
func (c *cloud) cleanAudit(tb testing.TB, left ...string) {
	tb.Helper()
	report := c.audit(tb, false)
	for _, d := range report.Differences {
		if d.Kind == baadal.DiffOrphanDisk && mentions(d.Seen, left) || d.Kind == baadal.DiffAffinity { // a rule may come later than a VM
			continue
		}
		tb.Errorf("audit: %s of %s %s: stored %s, seen %s", d.Kind, d.Subject.Kind, d.Subject.Name, d.Stored, d.Seen)
	}
	for _, not := range report.NotSeen {
		tb.Errorf("audit: not seen: %s", not)
	}
}

// mentions reports whether a path has one of the identities in it.
func mentions(path string, identities []string) bool {
	return slices.ContainsFunc(identities, func(identity string) bool { return strings.Contains(path, "/"+identity) })
}

// leftovers are the VMs whose old files a move had to leave, and said so, because
// their datastore was read-only by then: removing them is left to people.
func (c *cloud) leftovers(tb testing.TB) (identities []string) {
	tb.Helper()
	c.view(tb, func(tx *store.Tx) error {
		list, err := tx.Tasks(baadal.ListQuery{Limit: 1000}, baadal.Visibility{Scope: baadal.ScopeAny})
		for _, k := range list.Items {
			if k.Kind == baadal.TaskVMMove && strings.Contains(k.Message, "could not be removed") {
				if vm, err := tx.VM(k.Subject.ID); err == nil {
					identities = append(identities, vm.Identity)
				}
			}
		}
		return err
	})
	return identities
}

// book is every row that an operation may change.
type book struct {
	VMs        []baadal.VM
	Disks      []baadal.Disk
	Snapshots  map[int64][]baadal.Snapshot
	Bases      []baadal.Base
	Hosts      []baadal.Host
	Datastores []baadal.Datastore
	Templates  []baadal.Template
	Addresses  []baadal.Address
	Networks   []baadal.Network
	Backups    []baadal.Backup
	Transfers  []baadal.Transfer
}

func (c *cloud) book(tb testing.TB) (b book) {
	tb.Helper()
	c.view(tb, func(tx *store.Tx) (err error) {
		b = book{}
		read := func(fn func() error) {
			if err == nil {
				err = fn()
			}
		}
		read(func() (err error) { b.VMs, err = tx.AllVMs(); return err })
		read(func() (err error) { b.Disks, err = tx.AllExtraDisks(); return err })
		read(func() (err error) { b.Snapshots, err = tx.AllSnapshots(); return err })
		read(func() (err error) { b.Bases, err = tx.AllBases(); return err })
		read(func() (err error) { b.Hosts, err = tx.AllHosts(); return err })
		read(func() (err error) { b.Datastores, err = tx.AllDatastores(); return err })
		read(func() (err error) { b.Templates, err = tx.AllTemplates(); return err })
		read(func() (err error) { b.Addresses, err = tx.ClaimedAddresses(); return err })
		read(func() (err error) { b.Networks, err = tx.AllNetworks(); return err })
		read(func() (err error) { b.Backups, err = tx.AllBackups(); return err })
		read(func() (err error) { b.Transfers, err = tx.AllTransfers(); return err })
		return err
	})
	return b
}

// passing are the fields that differ between two runs of the same.
var passing = []string{
	"created_at", "updated_at", "state_since", "deleted_at", "purge_after", "answered_at", "measured_at", "last_seen", "CreatedAt", "generation", "Generation",
	"used_at", "task", "requester_id", "placement", "used_bytes", "free_bytes",
}

// state is everything that matters of store and world, one line a thing, with
// nothing that differs from run to run.
func (c *cloud) state(tb testing.TB) string {
	tb.Helper()
	b := c.book(tb)
	var names []string // pairs for a replacer
	for _, vm := range b.VMs {
		names = append(names, vm.UUID, "{uuid-of-"+vm.Identity+"}")
	}
	for i, base := range b.Bases {
		names = append(names, base.UUID, fmt.Sprintf("{base-%d}", i), base.UUID[:8], fmt.Sprintf("{base-%d-short}", i))
	}
	var lines []string
	add := func(kind string, v any) { lines = append(lines, kind+" "+flat(tb, v)) }
	for _, vm := range b.VMs {
		add("vm", vm)
		add("disk file of "+vm.Identity, vm.DiskFile)
	}
	for _, k := range b.Disks {
		add("disk", k)
	}
	for _, all := range b.Snapshots {
		for _, s := range all {
			add("snapshot", s)
		}
	}
	for _, base := range b.Bases {
		add("base", base)
	}
	for _, h := range b.Hosts {
		add("host", h)
	}
	for _, d := range b.Datastores {
		add("datastore", d)
	}
	for i, t := range b.Templates {
		names = append(names, t.File, fmt.Sprintf("{template-%d}", i))
		add("template", t)
	}
	for _, a := range b.Addresses {
		add("address", a)
	}
	for i, k := range b.Backups {
		names = append(names, k.UUID, fmt.Sprintf("{backup-%d}", i), k.UUID[:8], fmt.Sprintf("{backup-%d-short}", i))
		add("backup", k)
	}
	for i, f := range b.Transfers {
		names = append(names, f.UUID, fmt.Sprintf("{transfer-%d}", i))
		add("transfer", f)
	}
	text := strings.NewReplacer(names...).Replace(strings.Join(lines, "\n") + "\n" + c.world.Snapshot())
	lines = strings.Split(text, "\n")
	for i := range lines {
		lines[i] = sortFiles(lines[i])
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

var fileInLine = regexp.MustCompile(`\S+: bytes=`)

// sortFiles sorts the files of a folder by the names that are the same in each
// run.
func sortFiles(line string) string {
	at := fileInLine.FindAllStringIndex(line, -1)
	var files []string
	for i, a := range at {
		end := len(line)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		files = append(files, strings.TrimSpace(line[a[0]:end]))
	}
	if len(files) < 2 {
		return line
	}
	slices.Sort(files)
	return line[:at[0][0]] + strings.Join(files, " ")
}

// flat is a thing as sorted JSON without what passes.
func flat(tb testing.TB, v any) string {
	tb.Helper()
	raw, err := json.Marshal(v)
	must(tb, err)
	var m map[string]any
	if json.Unmarshal(raw, &m) != nil {
		return string(raw)
	}
	for _, k := range passing {
		delete(m, k)
	}
	raw, err = json.Marshal(m)
	must(tb, err)
	return string(raw)
}

// difference shows the lines that only one of two states has.
func difference(want, got string) string {
	var out strings.Builder
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for _, l := range w {
		if !slices.Contains(g, l) {
			out.WriteString("- " + l + "\n")
		}
	}
	for _, l := range g {
		if !slices.Contains(w, l) {
			out.WriteString("+ " + l + "\n")
		}
	}
	return out.String()
}

func (c *cloud) view(tb testing.TB, fn func(*store.Tx) error) {
	tb.Helper()
	must(tb, c.db.View(context.Background(), fn))
}

func (c *cloud) update(tb testing.TB, fn func(*store.Tx) error) {
	tb.Helper()
	must(tb, c.db.Update(context.Background(), fn))
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
