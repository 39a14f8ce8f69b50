package workflow

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// Options of the workflows.
type Options struct {
	HTTP   *http.Client
	Stall  time.Duration // how long a server that an image is fetched from may send nothing; 1 min if 0
	BoxLag time.Duration // how long what a box or a host is owed may be on its way before the audit finds it missing; 10 s if 0
	Logger *slog.Logger
}

// Workflows holds what all operations need.
type Workflows struct {
	sys Systems
	db  *store.DB
	opt Options

	networks sync.Map // by host: the mutex held while its libvirt networks are brought in line

	dhcpAsked  atomic.Int64  // how often it was asked to bring the DHCP server in line
	dhcp       chan struct{} // holds an element while somebody does, and for these
	dhcpDone   int64         // the youngest question that has its answer in these
	dhcpCount  int
	dhcpResult error

	names   sync.Mutex // held while the name server is, and for these
	named   []baadal.NameRecord
	namedAt time.Time

	strangers     sync.Mutex // held while strangers are looked for, and for these
	strangersAt   time.Time
	strangersFrom int // how many of the free addresses were asked for in this turn
}

// New makes the workflows on a store and the outside world. A nil sys.DHCP
// means that nobody but the administrator gives out addresses.
func New(db *store.DB, sys Systems, opt Options) *Workflows {
	if opt.HTTP == nil {
		opt.HTTP = &http.Client{}
	}
	if opt.Stall == 0 {
		opt.Stall = time.Minute
	}
	if opt.BoxLag == 0 {
		opt.BoxLag = 10 * time.Second
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	return &Workflows{sys: sys, db: db, opt: opt, dhcp: make(chan struct{}, 1)}
}

// Bodies returns every operation, to be registered with the queue.
func (w *Workflows) Bodies() []task.Body {
	return []task.Body{
		w.vmCreate(), w.vmStart(), w.vmShutdown(), w.vmReboot(), w.vmDestroy(), w.vmDelete(), w.vmRestore(), w.vmPurge(), w.vmMigrate(), w.vmMove(),
		w.vmSuspend(), w.vmResume(), w.vmReset(), w.vmSave(), w.vmEdit(),
		w.snapshotCreate(), w.snapshotRevert(), w.snapshotDelete(),
		w.hostAdd(), w.hostCheck(),
		w.templateImport(), w.templateDelete(),
		w.networkApply(), w.networkDelete(), w.networkGrow(), w.networkShrink(),
		w.audit(),
		w.diskAdd(), w.diskAttach(), w.diskDetach(), w.diskDelete(), w.diskPurge(), w.diskGrow(), w.diskLimit(),
		w.vmClone(), w.cloneCreate(), w.baseRemove(), w.diskFlatten(),
		w.backupCreate(), w.backupVerify(), w.backupRestore(), w.backupReplace(), w.backupDelete(),
		w.vmSaveTemplate(), w.vmExport(), w.vmImport(), w.vmLaunch(), w.vmAdopt(), w.transferRemove(),
		w.cdromInsert(), w.cdromEject(),
		w.nicAdd(), w.nicChange(), w.nicRemove(),
	}
}

// place is a VM with everything around it, as its row says now.
type place struct {
	vm       baadal.VM
	host     baadal.Host
	store    baadal.Datastore
	template baadal.Template
	nics     []baadal.NIC // the first one first
	password string
	disks    []diskAt              // the first one first
	disc     string                // path of the image in its CD drive
	bases    map[int64]baadal.Base // under its disks; only of clones that are made together
}

// load reads the VM that a task is about, with its surroundings.
func (w *Workflows) load(ctx context.Context, r *task.Run) (p place, err error) {
	err = w.db.View(ctx, func(tx *store.Tx) (err error) { p, err = loadPlace(tx, r.Task.Subject.ID); return err })
	return p, err
}

func loadPlace(tx *store.Tx, id int64) (p place, err error) {
	if p.vm, err = tx.VM(id); err != nil {
		return p, err
	}
	if p.vm.HostID != 0 {
		if p.host, err = tx.Host(p.vm.HostID); err != nil {
			return p, err
		}
	}
	if p.store, err = tx.Datastore(p.vm.DatastoreID); err != nil {
		return p, err
	}
	if p.disks, err = loadDisks(tx, p.vm, p.store); err != nil {
		return p, err
	}
	if p.disc, err = loadDisc(tx, p.vm); err != nil {
		return p, err
	}
	if p.vm.TemplateID != 0 { // one that was imported or adopted stands on none
		if p.template, err = tx.Template(p.vm.TemplateID); err != nil {
			return p, err
		}
	}
	if p.nics, err = tx.NICs(p.vm.ID); err != nil {
		return p, err
	}
	p.password, err = tx.Secret(p.vm.ID)
	return p, ignoreMissing(err)
}

// domain is the VM as the hypervisor is told to define it.
func (w *Workflows) domain(p place) baadal.Domain {
	nics := make([]baadal.DomainNIC, len(p.nics))
	for i := range p.nics {
		nics[i] = p.nics[i].Domain()
	}
	return baadal.Domain{
		UUID: p.vm.UUID, Name: p.vm.Identity, VMID: p.vm.ID, Virt: p.host.Virt,
		VCPUs: p.vm.VCPUs, MaxVCPUs: baadal.VCPUHeadroom(p.vm.VCPUs), RAMMiB: p.vm.RAMMiB,
		Disks: p.devices(),
		Seed:  p.store.SeedFile(p.vm.Identity),
		CDROM: p.disc,
		Boot:  p.vm.Boot,

		MaxRAMMiB: p.vm.MaxRAMMiB,

		NICs:    nics,
		Console: baadal.ConsoleFolder(p.vm.UUID),
	}
}

// define, undefine, start and destroy are steps that several operations share.
func (w *Workflows) define(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	return w.sys.Hypervisor.Define(ctx, p.host, w.domain(p))
}

func (w *Workflows) undefine(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	return w.sys.Hypervisor.Undefine(ctx, p.host, p.vm.UUID)
}

func (w *Workflows) start(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	return w.sys.Hypervisor.Start(ctx, p.host, p.vm.UUID)
}

func (w *Workflows) destroy(ctx context.Context, r *task.Run) error {
	p, err := w.load(ctx, r)
	if err != nil {
		return err
	}
	return w.sys.Hypervisor.Destroy(ctx, p.host, p.vm.UUID)
}

// setState is the end of operations after which a VM's state is known. The
// state is looked at once more by the watcher's next event or full look.
func setState(state baadal.VMState, message string) func(*store.Tx, *task.Run) (string, error) {
	return func(tx *store.Tx, r *task.Run) (string, error) {
		vm, err := vmChanged(tx, r, state, "")
		if err != nil {
			return "", err
		}
		return vm.Name + " " + message, nil
	}
}

// vmChanged writes a VM's state and an event that names the task's requester.
func vmChanged(tx *store.Tx, r *task.Run, state baadal.VMState, reason string) (baadal.VM, error) {
	before, err := tx.VM(r.Task.Subject.ID)
	if err != nil {
		return before, err
	}
	_, vm, err := tx.SetVMState(r.Task.Subject.ID, state, reason)
	if err != nil {
		return vm, err
	}
	was := baadal.Changes{"state": {Old: before.State, New: vm.State}, "reason": {Old: before.Reason, New: vm.Reason}}
	if state == baadal.VMDeleted { // it gives back its place
		was["host"], was["address"] = baadal.Changed{Old: before.Host, New: ""}, baadal.Changed{Old: before.Address, New: ""}
	}
	changes, err := was.JSON()
	if err != nil {
		return vm, err
	}
	if state != baadal.VMRunning {
		if err := tx.SetVMAnswered(vm.ID, nil); err != nil {
			return vm, err
		}
	}
	_, err = tx.AddEvent(baadal.Event{
		Topic: "vm", Subject: baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name}, Version: vm.Generation, What: state.String(),
		ActorID: r.Task.RequesterID, Actor: r.Task.Requester, OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID, Changes: changes,
	})
	return vm, err
}

// sleep waits, or returns the reason why not.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
