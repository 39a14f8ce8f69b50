package workflow_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/service"
	"baadal/internal/simulator"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
	"baadal/internal/task"
	"baadal/internal/task/tasktest"
	"baadal/internal/workflow"
)

// cloud is a store, a simulated world and the service on them, in one folder.
type cloud struct {
	db    *store.DB
	world *simulator.World
	sys   workflow.Systems
	svc   *service.Service
	queue *task.Queue
	actor baadal.Actor
	close func()
}

// open opens a folder, empty or left by a killed process. The queue is not
// started.
func open(tb testing.TB, dir string) *cloud {
	tb.Helper()
	db, err := store.Open(context.Background(), store.Config{DSN: storetest.SQLiteIn(tb, dir)})
	if err != nil {
		tb.Fatal(err)
	}
	world, err := simulator.Open(simulator.Config{Dir: filepath.Join(dir, "world"), Hosts: 3})
	if err != nil {
		tb.Fatal(err)
	}
	c := &cloud{db: db, world: world, actor: baadal.System()}
	c.sys = workflow.SystemsOf(world.Hypervisor(), world.Disks(), world.Prober(), world.Guests())
	c.sys.DHCP, c.sys.Flows, c.sys.NAT = world.DHCP(), world.Flows(), world.NAT()
	c.queue = task.New(db, task.Options{})
	c.queue.Register(c.bodies()...)
	c.svc = service.New(db, c.queue, service.Options{Prober: world.Prober(), Files: world.Disks(), Foreign: world.Hypervisor()})
	c.close = func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
		if err := world.Close(); err != nil {
			tb.Error(err)
		}
	}
	return c
}

func (c *cloud) bodies() []task.Body {
	return workflow.New(c.db, c.sys, workflow.Options{Stall: time.Second, BoxLag: time.Millisecond}).Bodies()
}

// furnish makes what a first VM needs: an owner, three hosts that are up, a
// measured datastore, a template and a network.
func (c *cloud) furnish(tb testing.TB) {
	tb.Helper()
	ctx := context.Background()
	if _, err := c.world.AddTemplate("/mnt/datastore", "tiny.img", 1<<30); err != nil {
		tb.Fatal(err)
	}
	err := c.db.Update(ctx, func(tx *store.Tx) error {
		org, err := tx.CreateOrganisation("IITD", "")
		if err != nil {
			return err
		}
		u := baadal.User{Username: "asha", OrganisationID: org.ID, Organisation: org.Name, Roles: baadal.Roles()}
		if err := tx.CreateUser(&u, "x"); err != nil {
			return err
		}
		c.actor = baadal.Actor{User: u}
		for i := range 3 {
			h, err := c.world.Host(fmt.Sprintf("host%d", i+1))
			if err != nil {
				return err
			}
			h.State = baadal.HostUp
			if err := tx.CreateHost(&h); err != nil {
				return err
			}
			if err := tx.SetHostFacts(h.ID, baadal.HostFacts{CPUs: 16, RAMMiB: 65536, Virt: "qemu", Hostname: h.Name, Type: baadal.HostPhysical}); err != nil {
				return err
			}
		}
		ds := baadal.Datastore{Name: "main", Path: "/mnt/datastore", State: baadal.DatastoreOK}
		if err := tx.CreateDatastore(&ds); err != nil {
			return err
		}
		if _, err := tx.SetDatastoreUsage(ds.ID, baadal.DatastoreOK, "", baadal.DatastoreUsage{Mounted: true, Writable: true, Capacity: 1 << 40, Free: 1 << 40}, nil); err != nil {
			return err
		}
		t := baadal.Template{Name: "tiny", DatastoreID: ds.ID, File: "tiny.img", Format: "qcow2", VirtualSize: 1 << 30, State: baadal.TemplateReady}
		return tx.CreateTemplate(&t)
	})
	if err != nil {
		tb.Fatal(err)
	}
	for i := range 3 {
		if err := c.world.LayFlows(fmt.Sprintf("host%d", i+1)); err != nil {
			tb.Fatal(err)
		}
	}
	n, err := c.svc.CreateNetwork(ctx, c.actor, baadal.NetworkCreate{Name: "research", VLAN: 10, CIDR: "10.0.1.0/29"}, baadal.ChangeOptions{})
	c.finish(tb, n.Task, err)
}

// reopen finds the actor again in a folder that was furnished before.
func (c *cloud) reopen(tb testing.TB) {
	tb.Helper()
	err := c.db.View(context.Background(), func(tx *store.Tx) error {
		u, err := tx.UserByName("asha")
		if err == nil {
			c.actor = baadal.Actor{User: u}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// finish runs a task to its good end.
func (c *cloud) finish(tb testing.TB, t *baadal.Task, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
	ctx := context.Background()
	q := task.New(c.db, task.Options{})
	q.Register(c.bodies()...)
	if err := q.Start(ctx); err != nil {
		tb.Fatal(err)
	}
	defer func() {
		if err := q.Stop(ctx); err != nil {
			tb.Error(err)
		}
	}()
	for {
		done, err := c.svc.WaitTask(ctx, baadal.System(), t.ID, 1<<40, 5_000_000_000)
		if err != nil {
			tb.Fatal(err)
		}
		if done.State == baadal.TaskSuccess {
			return
		}
		if done.State.Ended() {
			tb.Fatalf("%s %s: %s", done.Kind, done.State, done.Message)
		}
	}
}

// vm makes a VM that runs.
func (c *cloud) vm(tb testing.TB, name string) {
	tb.Helper()
	ch, err := c.svc.CreateVM(context.Background(), c.actor, baadal.VMCreate{Name: name, Template: "tiny"}, baadal.ChangeOptions{})
	c.finish(tb, ch.Task, err)
}

func (c *cloud) act(tb testing.TB, action baadal.Action, name string) {
	tb.Helper()
	ch, err := c.svc.ActVM(context.Background(), c.actor, action, name, baadal.ChangeOptions{})
	c.finish(tb, ch.Task, err)
}

// env makes a cloud into what tasktest runs on.
func (c *cloud) env() *tasktest.Env {
	return &tasktest.Env{
		DB: c.db, Bodies: c.bodies(), OnOp: c.world.OnOp, State: c.state, Check: c.world.Check, Close: c.close,
		Fail: func(nth int, before bool, err error) {
			c.world.Fail(simulator.Rule{Op: "*", Nth: nth, Before: before, Err: err})
		},
	}
}

// state is everything that matters of store and world. A VM's power state is
// the world's: the watcher writes it down.
func (c *cloud) state() string {
	var lines []string
	err := c.db.View(context.Background(), func(tx *store.Tx) error {
		vms, err := tx.AllVMs()
		if err != nil {
			return err
		}
		for _, part := range []func(*store.Tx, []baadal.VM) ([]string, error){
			vmLines, c.baseLines, snapshotLines, diskLines, claimLines, nounLines,
			func(tx *store.Tx, _ []baadal.VM) ([]string, error) { return backupLines(tx) },
			func(tx *store.Tx, _ []baadal.VM) ([]string, error) { return transferLines(tx) },
		} {
			more, err := part(tx, vms)
			if err != nil {
				return err
			}
			lines = append(lines, more...)
		}
		return nil
	})
	if err != nil {
		return "state: " + err.Error()
	}
	slices.Sort(lines)
	return withoutUnusedBases(strings.Join(lines, "\n") + "\n" + chains.ReplaceAllString(c.world.Snapshot(), ""))
}

func vmLines(tx *store.Tx, vms []baadal.VM) (lines []string, _ error) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, vm := range vms {
		state := vm.State
		if state == baadal.VMOff {
			state = baadal.VMRunning
		}
		_, err := tx.Secret(vm.ID)
		add("vm %s %s %s on %q %q port %d secret %t restorable %t", vm.Identity, vm.UUID, state, vm.Host, vm.Address, vm.VNCPort, err == nil, vm.PurgeAfter != nil)
		add("vm %s lies on %s", vm.Identity, vm.Datastore)
		if vm.CDROM != "" || vm.CDROMID != 0 {
			add("vm %s has CD %s in its drive", vm.Identity, vm.CDROM)
		}
		add("vm %s has %+v claims %+v hot %t", vm.Identity, vm.Size(), vm.Claim(), vm.HotCPUs)
	}
	return lines, nil
}

func snapshotLines(tx *store.Tx, vms []baadal.VM) (lines []string, err error) {
	snapshots, err := tx.AllSnapshots()
	for _, vm := range vms {
		for _, s := range snapshots[vm.ID] {
			lines = append(lines, fmt.Sprintf("snapshot %s of %s on %q current %t ready %t of a vm that is %s, described %t",
				s.Name, vm.Identity, s.Parent, s.Current, s.Ready, s.VMState, s.XML != ""))
		}
	}
	return lines, err
}

func diskLines(tx *store.Tx, _ []baadal.VM) (lines []string, err error) {
	disks, err := tx.AllExtraDisks()
	for _, k := range disks {
		lines = append(lines, fmt.Sprintf("disk %d of %s %s at %q on %s, %d GiB, limits %d %d, purged %t",
			k.ID, k.VM, k.State, k.Target, k.Datastore, k.SizeGiB, k.BytesPerSecond, k.IOPS, k.PurgeAfter != nil))
	}
	return lines, err
}

// claimLines leaves out the room of bases, which goes sooner or later.
func claimLines(tx *store.Tx, _ []baadal.VM) (lines []string, err error) {
	bases, err := tx.AllBases()
	if err != nil {
		return nil, err
	}
	stores, err := tx.AllDatastores()
	if err != nil {
		return nil, err
	}
	for _, ds := range stores {
		for _, b := range bases {
			if b.DatastoreID == ds.ID {
				ds.Claimed -= int64(b.SizeGiB) << 30
			}
		}
		lines = append(lines, fmt.Sprintf("datastore %s has %d GiB claimed", ds.Name, ds.Claimed>>30))
	}
	claimed, err := tx.ClaimedAddresses()
	for _, a := range claimed {
		lines = append(lines, fmt.Sprintf("address %s with %s claimed by NIC %d of %d", a.IP, a.MAC, a.NIC, a.VMID))
	}
	return lines, err
}

func nounLines(tx *store.Tx, _ []baadal.VM) (lines []string, err error) {
	templates, err := tx.AllTemplates()
	if err != nil {
		return nil, err
	}
	for _, t := range templates {
		lines = append(lines, fmt.Sprintf("template %s %s %s of %q", t.Name, t.State, t.SHA256, t.Owner))
	}
	networks, err := tx.AllNetworks()
	if err != nil {
		return nil, err
	}
	for _, n := range networks {
		lines = append(lines, fmt.Sprintf("network %s applied %t with VLAN %d and %d addresses %v", n.Name, n.Applied, n.VLAN, n.Addresses, n.Ranges))
	}
	hosts, err := tx.AllHosts()
	for _, h := range hosts {
		lines = append(lines, fmt.Sprintf("host %s %s with %d vCPUs and %d MiB claimed", h.Name, h.State, h.ClaimedVCPUs, h.ClaimedRAMMiB))
	}
	return lines, err
}

// image writes a small qcow2 header with a virtual size, as an upload.
func (c *cloud) image(tb testing.TB) (uploadID string) {
	tb.Helper()
	header := make([]byte, 4096)
	copy(header, "QFI\xfb\x00\x00\x00\x03")
	header[28] = 0x04 // 64 MiB, big endian at 24
	u, err := c.svc.Upload(context.Background(), c.actor, "", strings.NewReader(string(header)))
	if err != nil {
		tb.Fatal(err)
	}
	return u.ID
}

// withoutUnusedBases leaves out bases that nobody stands on: they go by
// themselves, in a task of their own, sooner or later than the state is taken.
func withoutUnusedBases(state string) string {
	lines := strings.Split(state, "\n")
	unused := map[string]bool{}
	for _, l := range lines {
		if f := strings.Fields(l); len(f) > 3 && f[0] == "base" && strings.HasSuffix(l, ", 0 stand on it") {
			unused[f[2]] = true
		}
	}
	kept := slices.DeleteFunc(lines, func(l string) bool {
		if ofUpload(l) || strings.HasPrefix(l, "datastore ") && strings.Contains(l, " capacity=") {
			return true // its sum has them in it; every file has a line of its own
		}
		f := strings.Fields(l)
		return len(f) > 2 && (f[0] == "base" && unused[f[2]] || f[0] == "datastore" && unused[strings.TrimPrefix(f[2], "vm_bases/")])
	})
	return strings.Join(kept, "\n")
}
