package workflow

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// AuditParams say whether to mend what is safe to mend.
type AuditParams struct {
	Repair bool `json:"repair"`
}

// AuditDocument is the name under which the last audit is kept in the store.
const AuditDocument = "audit"

// audit compares the store with the world. Things that a task holds, before or
// after the look, are in motion and not judged; what could not be looked at is
// named and not judged either.
func (w *Workflows) audit() task.Body {
	return task.Body{
		Kind: baadal.TaskAudit,
		Steps: []task.Step{
			{Name: "compare", Do: w.compare, Timeout: 10 * time.Minute},
			{Name: "repair", Do: w.repair, Timeout: 10 * time.Minute},
		},
		Done: auditDone,
	}
}

// book is what the store says at one moment.
type book struct {
	hosts     []baadal.Host
	stores    []baadal.Datastore
	vms       map[int64]baadal.VM
	byUUID    map[string]baadal.VM
	templates []baadal.Template
	claimed   []baadal.Address
	strangers []baadal.Stranger
	nics      map[int64][]baadal.NIC // by VM
	tasks     []baadal.Task
	disks     []baadal.Disk // beside the first ones
	bases     []baadal.Base
	transfers []baadal.Transfer
	backups   []baadal.Backup
	snapshots map[int64][]baadal.Snapshot // by VM
	rules     map[int64]baadal.VMRules    // by VM
	grants    []baadal.VNCGrant
	discs     map[int64]string // where CD images lie, by template
	settings  baadal.SettingValues

	networks   map[string]baadal.HostNetwork // what every host is to have, by libvirt network
	networksAt time.Time                     // when one of ours changed last
	nat        baadal.NATTable
	natState   baadal.NATState
}

func (w *Workflows) readBook(ctx context.Context) (b book, err error) {
	err = w.db.View(ctx, func(tx *store.Tx) (err error) {
		b = book{vms: map[int64]baadal.VM{}, byUUID: map[string]baadal.VM{}}
		vms, err := tx.AllVMs()
		if err != nil {
			return err
		}
		for _, vm := range vms {
			b.vms[vm.ID], b.byUUID[vm.UUID] = vm, vm
		}
		if b.disks, err = tx.AllExtraDisks(); err != nil {
			return err
		}
		if b.bases, err = tx.AllBases(); err != nil {
			return err
		}
		if b.backups, err = tx.AllBackups(); err != nil {
			return err
		}
		if b.transfers, err = tx.AllTransfers(); err != nil {
			return err
		}
		if b.hosts, err = tx.AllHosts(); err != nil {
			return err
		}
		if b.stores, err = tx.AllDatastores(); err != nil {
			return err
		}
		if b.templates, err = tx.AllTemplates(); err != nil {
			return err
		}
		b.discs = discPaths(b)
		if b.claimed, err = tx.ClaimedAddresses(); err != nil {
			return err
		}
		if b.nics, err = tx.AllNICs(); err != nil {
			return err
		}
		if b.strangers, err = tx.Strangers(); err != nil {
			return err
		}
		if b.nat, err = tx.NATTable(); err != nil {
			return err
		}
		if b.natState, err = tx.NATState(); err != nil {
			return err
		}
		if b.snapshots, err = tx.AllSnapshots(); err != nil {
			return err
		}
		if b.rules, err = tx.AllVMRules(); err != nil {
			return err
		}
		if b.settings, err = tx.SettingValues(); err != nil {
			return err
		}
		if b.grants, err = tx.VNCGrants(baadal.Visibility{Scope: baadal.ScopeAny}); err != nil {
			return err
		}
		if err := b.readNetworks(tx); err != nil {
			return err
		}
		b.tasks, err = tx.ActiveTasks()
		return err
	})
	return b, err
}

// sight is what was seen in the world.
type sight struct {
	domains   map[int64][]baadal.DomainInfo     // by host
	vlans     map[int64]map[string]int          // by host: MAC to tag
	entries   map[int64][]baadal.DatastoreEntry // by datastore
	dhcp      dhcpSight
	names     [2][]string // missing, and not ours to have
	nat       baadal.NATSeen
	natSeen   bool
	notSeen   []string
	snapshots map[int64][]baadal.DomainSnapshot       // by VM
	discs     map[int64]string                        // images in CD drives, by VM
	flows     map[int64][]string                      // by host: what is wrong with the rules on its ports
	networks  map[int64]map[string]baadal.HostNetwork // by host
}

// look asks every host, datastore and server at the same time; one
// that does not answer in time is not seen.
func (w *Workflows) look(ctx context.Context, b book) sight {
	s := sight{networks: map[int64]map[string]baadal.HostNetwork{}, flows: map[int64][]string{}, discs: map[int64]string{}, snapshots: map[int64][]baadal.DomainSnapshot{}, domains: map[int64][]baadal.DomainInfo{}, vlans: map[int64]map[string]int{}, entries: map[int64][]baadal.DatastoreEntry{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	limit := make(chan struct{}, 128) // answers of thousands of hosts are not held at one time
	each := func(name string, fn func(ctx context.Context) error) {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			ctx, stop := context.WithTimeout(ctx, 30*time.Second)
			defer stop()
			if err := fn(ctx); err != nil {
				mu.Lock()
				s.notSeen = append(s.notSeen, name+": "+baadal.Message(err))
				mu.Unlock()
			}
		})
	}
	for _, h := range b.hosts {
		each("host "+h.Name, func(ctx context.Context) error {
			x, err := w.lookHost(ctx, b, h)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(s.discs, x.discs)
			maps.Copy(s.snapshots, x.snapshots)
			s.domains[h.ID], s.vlans[h.ID], s.flows[h.ID], s.networks[h.ID] = x.domains, x.vlans, x.flows, x.networks
			return nil
		})
	}
	for _, ds := range b.stores {
		each("datastore "+ds.Name, func(ctx context.Context) error {
			host, err := w.anyHost(ctx, ds)
			if err != nil {
				return err
			}
			entries, err := w.sys.Disks.Entries(ctx, host, ds)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			s.entries[ds.ID] = entries
			return nil
		})
	}
	if w.sys.DHCP != nil {
		each("DHCP server", func(ctx context.Context) error {
			x, err := w.lookReservations(ctx)
			s.dhcp = x // nobody else does
			return err
		})
	}
	if w.sys.Names != nil {
		each("name server", func(ctx context.Context) (err error) {
			s.names[0], s.names[1], err = w.lookNames(ctx) // nobody else does
			return err
		})
	}
	wg.Wait()
	return s
}

// hostSight is what was seen on one host.
type hostSight struct {
	domains   []baadal.DomainInfo
	vlans     map[string]int
	snapshots map[int64][]baadal.DomainSnapshot
	discs     map[int64]string
	flows     []string
	networks  map[string]baadal.HostNetwork
}

func (w *Workflows) lookHost(ctx context.Context, b book, h baadal.Host) (x hostSight, err error) {
	if x.domains, err = w.sys.Hypervisor.Domains(ctx, h); err != nil {
		return x, err
	}
	if x.vlans, x.networks, err = w.lookNetworks(ctx, b, h); err != nil {
		return x, err
	}
	if x.snapshots, err = w.lookSnapshots(ctx, b, h, x.domains); err != nil {
		return x, err
	}
	if x.discs, err = w.lookDiscs(ctx, b, h, x.domains); err != nil {
		return x, err
	}
	x.flows, err = w.lookFlows(ctx, h)
	return x, err
}

func (w *Workflows) compare(ctx context.Context, r *task.Run) error {
	report := baadal.Audit{StartedAt: w.db.Now(), Differences: []baadal.Difference{}}
	before, err := w.readBook(ctx)
	if err != nil {
		return err
	}
	seen := w.look(ctx, before)
	w.lookNAT(ctx, &seen)
	after, err := w.readBook(ctx)
	if err != nil {
		return err
	}
	c := &comparison{before: before, b: after, seen: seen, now: w.db.Now(), settle: w.opt.BoxLag, report: &report}
	c.run()
	report.NotSeen = seen.notSeen
	report.EndedAt = w.db.Now()
	r.Detail("%d VMs, %d hosts, %d differences", report.VMs, report.Hosts, len(report.Differences))
	return r.Record(report)
}

// repair mends the differences that have a safe repair, one by one; each is
// looked at again by the functions that mend, which refuse what has changed.
func (w *Workflows) repair(ctx context.Context, r *task.Run) error {
	params, err := task.Params[AuditParams](r)
	if err != nil {
		return err
	}
	var report baadal.Audit
	if _, err := r.Output("compare", &report); err != nil {
		return err
	}
	if params.Repair {
		b, err := w.readBook(ctx)
		if err != nil {
			return err
		}
		for i := range report.Differences {
			d := &report.Differences[i]
			if d.Repair == "" {
				continue
			}
			if err := w.mend(ctx, b, *d); err != nil {
				d.Error = baadal.Message(err)
			} else {
				d.Repaired = true
			}
		}
	}
	return r.Record(report)
}

func (w *Workflows) mend(ctx context.Context, b book, d baadal.Difference) error {
	switch d.Kind {
	case baadal.DiffMissingDomain:
		return w.mendMissing(ctx, b, d)
	case baadal.DiffMovedDomain:
		return w.mendMoved(ctx, d)
	case baadal.DiffOrphanDomain:
		return w.mendOrphan(ctx, b, d)
	case baadal.DiffWrongState:
		return w.mendState(ctx, b, d)
	case baadal.DiffMissingSnapshot:
		return w.mendMissingSnapshots(ctx, d)
	case baadal.DiffForeignSnapshot:
		return w.mendForeignSnapshots(ctx, d)
	case baadal.DiffAutostart:
		return w.mendAutostart(ctx, b, d)
	case baadal.DiffWrongCDROM:
		return w.mendDisc(ctx, d)
	case baadal.DiffWrongVLAN:
		return w.mendNICs(ctx, d)
	case baadal.DiffLeakedAddress:
		return w.db.Update(ctx, func(tx *store.Tx) error {
			vm, err := tx.VM(d.Subject.ID)
			if err == nil && (vm.State != baadal.VMDeleted || vm.Task != nil) {
				return nil
			}
			return tx.ReleaseAddress(d.Subject.ID)
		})
	case baadal.DiffFlows:
		return w.mendFlows(ctx, b, d)
	case baadal.DiffPortgroup:
		host, err := hostByName(b, d.Host)
		if err != nil {
			return err
		}
		return w.KeepHostNetworks(ctx, host)
	case baadal.DiffNAT:
		return w.mendNAT(ctx)
	case baadal.DiffDHCP:
		_, err := w.syncDHCP(ctx)
		return err
	case baadal.DiffNames:
		return w.syncNames(ctx, 0)
	}
	return baadal.Errorf(baadal.Internal, "no repair for %s", d.Kind)
}

func hostByName(b book, name string) (baadal.Host, error) {
	for _, h := range b.hosts {
		if h.Name == name {
			return h, nil
		}
	}
	return baadal.Host{}, baadal.Errorf(baadal.NotFound, "there is no host %q", name)
}

func (w *Workflows) mendMissing(ctx context.Context, b book, d baadal.Difference) error {
	r := &task.Run{Task: baadal.Task{Subject: d.Subject}}
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	if err := quiet(p.vm); err != nil {
		return err
	}
	if err := w.endChain(ctx, p); err != nil { // its checkpoints went with the domain
		return err
	}
	if err := w.defineWhole(ctx, r); err != nil {
		return err
	}
	return w.mendState(ctx, b, d)
}

// quiet refuses a VM that a task holds, or that was deleted, since the look.
func quiet(vm baadal.VM) error {
	if vm.Task != nil || vm.State == baadal.VMDeleted {
		return baadal.Errorf(baadal.Conflict, "%s was changed since; audit again", vm.Name)
	}
	return nil
}

func (w *Workflows) mendState(ctx context.Context, _ book, d baadal.Difference) error {
	p, err := w.load(ctx, &task.Run{Task: baadal.Task{Subject: d.Subject}})
	if err != nil {
		return err
	}
	if err := quiet(p.vm); err != nil {
		return err
	}
	info, err := w.sys.Hypervisor.Domain(ctx, p.host, p.vm.UUID)
	if err != nil {
		return err
	}
	return w.db.Update(ctx, func(tx *store.Tx) error {
		now, err := tx.VM(p.vm.ID)
		if err != nil {
			return err
		}
		if err := quiet(now); err != nil {
			return err
		}
		_, _, err = tx.SetVMState(p.vm.ID, info.State, "")
		return err
	})
}

// mendOrphan removes a domain of ours that is off, or whose VM was deleted: its
// disks are not touched.
func (w *Workflows) mendOrphan(ctx context.Context, b book, d baadal.Difference) error {
	host, err := hostByName(b, d.Host)
	if err != nil {
		return err
	}
	uuid := d.Subject.Name
	info, err := w.sys.Hypervisor.Domain(ctx, host, uuid)
	if baadal.KindOf(err) == baadal.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	// Mending the differences before this one took time: a deleted VM may have
	// been restored to this very host.
	var vm baadal.VM
	err = w.db.View(ctx, func(tx *store.Tx) (err error) { vm, err = tx.VMByUUID(uuid); return err })
	known := err == nil
	switch {
	case known && (vm.State != baadal.VMDeleted || vm.Task != nil):
		return baadal.Errorf(baadal.Conflict, "%s was restored since; audit again", vm.Name)
	case !known && baadal.KindOf(err) != baadal.NotFound:
		return err
	case !known && info.State != baadal.VMOff:
		return baadal.Errorf(baadal.Conflict, "it is %s; stop it first", info.State)
	}
	if err := w.sys.Hypervisor.Destroy(ctx, host, uuid); err != nil {
		return err
	}
	return w.sys.Hypervisor.Undefine(ctx, host, uuid)
}

func auditDone(tx *store.Tx, r *task.Run) (string, error) {
	var report baadal.Audit
	if _, err := r.Output("repair", &report); err != nil {
		return "", err
	}
	body, err := json.Marshal(report)
	if err != nil {
		return "", err
	}
	if err := tx.PutDocument(AuditDocument, body); err != nil {
		return "", err
	}
	message := fmt.Sprintf("%d VMs, %d hosts compared: ", report.VMs, report.Hosts)
	if n := len(report.Differences); n == 0 {
		message += "clean"
	} else if n == 1 {
		message += "1 difference"
	} else {
		message += fmt.Sprintf("%d differences", n)
	}
	if n := len(report.NotSeen); n > 0 {
		message += fmt.Sprintf("; %d not seen", n)
	}
	return message, nil
}
