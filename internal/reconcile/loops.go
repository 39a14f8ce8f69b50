// Package reconcile looks at the world, writes down what it sees, and nudges
// what differs. Its loops have no input: each may run twice, be missed, or be
// stopped at any moment, and the next look puts it right. What changes VMs is a
// task, never a loop; but the rules on their ports, the networks of hosts, and
// the servers beside them (boxes) are rendered whole from the store, and are made
// to hold it.
package reconcile

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"baadal"
	"baadal/internal/store"
)

// Hypervisor is what the loops look at on hosts; workflow/systems.go has the
// contract of each method.
type Hypervisor interface {
	Domain(ctx context.Context, host baadal.Host, uuid string) (baadal.DomainInfo, error)
	Domains(ctx context.Context, host baadal.Host) ([]baadal.DomainInfo, error)
	Watch(ctx context.Context, host baadal.Host, fn func(baadal.DomainEvent)) error
}

// NAT is the NAT box; workflow/systems.go has the contract.
type NAT interface {
	Apply(ctx context.Context, t baadal.NATTable) (changed bool, err error)
	Seen(ctx context.Context) (baadal.NATSeen, error)
}

// Systems is the outside world as the loops see it.
type Systems struct {
	Hypervisor Hypervisor
	Alive      func(ctx context.Context, host baadal.Host) error
	Usage      func(ctx context.Context, host baadal.Host, ds baadal.Datastore) (baadal.DatastoreUsage, error)
	DiskSizes  func(ctx context.Context, host baadal.Host, ds baadal.Datastore) ([]baadal.DiskSize, error)
	Answers    func(ctx context.Context, address string) bool
	Boxes      []Box
	Boot       func(ctx context.Context, host baadal.Host) (string, error)                                   // another word after each boot; nil: nothing is started by itself
	Stats      func(ctx context.Context, host baadal.Host) ([]baadal.DomainStats, error)                     // of active domains; nil: no figures
	KeepFlows  func(ctx context.Context, host baadal.Host, wake <-chan struct{}, read baadal.FlowRead) error // until ctx ends or the host is lost; nil: ports have no rules
	ClearFlows func(ctx context.Context, host baadal.Host, read baadal.FlowRead) error                       // takes the rules off a host that was removed; nil: they stay
	Networks   func(ctx context.Context, host baadal.Host) error                                             // brings its libvirt networks in line; nil: nobody does

	VNC        func(doors []baadal.VNCDoor) map[int64]error // opens these doors for VNC clients and closes all others, and tells which it cannot; nil: others do
	VNCAddress string                                       // where this controller listens for them
	NAT        NAT                                          // nil: there is none
}

// Options bound how often the loops look. Zero fields get the defaults.
type Options struct {
	Hosts      time.Duration // looking for hosts that came or went; 2 s
	HostCheck  time.Duration // one round trip to each host; 5 s
	FullLook   time.Duration // all domains of a host, beside its events; 1 min
	Datastores time.Duration // measuring; 1 min
	Disks      time.Duration // measuring the files of disks; 5 min
	Stats      time.Duration // figures of each host's domains; 5 s
	Guests     time.Duration // asking new guests for an answer; 1 s
	Autostart  time.Duration // starting VMs whose host came back; 5 s
	Schedule   time.Duration // purging, pruning, the nightly audit; 10 min
	Chains     time.Duration // looking for disks to flatten; 1 min
	Boxes      time.Duration // looking at the servers beside the hosts; 10 s
	BoxCalm    time.Duration // how long changes in the store are gathered for them; 200 ms
	VNC        time.Duration // grants for VNC clients; 5 s
	Networks   time.Duration // looking at the libvirt networks of each host, beside what changes; 10 s
	NAT        time.Duration // looking whether the NAT box has its table; 2 s
	Logger     *slog.Logger
}

func (o *Options) defaults() {
	for d, v := range map[*time.Duration]time.Duration{
		&o.NAT: 2 * time.Second, &o.Hosts: 2 * time.Second, &o.HostCheck: 5 * time.Second, &o.FullLook: time.Minute, &o.Stats: 5 * time.Second, &o.Datastores: time.Minute, &o.Disks: 5 * time.Minute, &o.Guests: time.Second, &o.Autostart: 5 * time.Second, &o.Schedule: 10 * time.Minute, &o.Chains: time.Minute,
		&o.Networks: 10 * time.Second, &o.Boxes: 10 * time.Second, &o.BoxCalm: 200 * time.Millisecond,
		&o.VNC: 5 * time.Second,
	} {
		if *d == 0 {
			*d = v
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Loops are all loops of a controller.
type Loops struct {
	db   *store.DB
	sys  Systems
	opt  Options
	log  *slog.Logger
	stop context.CancelFunc
	wg   sync.WaitGroup

	stats   statsBook
	traffic trafficBook
}

// New makes the loops; Start runs them.
func New(db *store.DB, sys Systems, opt Options) *Loops {
	opt.defaults()
	return &Loops{db: db, sys: sys, opt: opt, log: opt.Logger}
}

// Start runs the loops in the background until Stop.
func (l *Loops) Start(ctx context.Context) {
	ctx, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	for _, loop := range []func(context.Context){l.hosts, l.datastores, l.disks, l.guests, l.autostart, l.schedule, l.chains, l.vnc, l.nat} {
		l.wg.Go(func() { loop(ctx) })
	}
	for _, b := range l.sys.Boxes {
		l.wg.Go(func() { l.box(ctx, b) })
	}
}

// Stop ends the loops and waits for them. It may be called more than once.
func (l *Loops) Stop() {
	if l.stop != nil {
		l.stop()
	}
	l.wg.Wait()
}

// every calls fn now, then each period and at each wake, until ctx ends. A
// failing fn is logged, once per kind of failure in a row.
func (l *Loops) every(ctx context.Context, name string, period time.Duration, wake <-chan struct{}, fn func(context.Context) error) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	last := ""
	for {
		if err := fn(ctx); err != nil && ctx.Err() == nil {
			if err.Error() != last {
				l.log.Warn("loop failed", "loop", name, "error", err)
			}
			last = err.Error()
		} else {
			last = ""
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-wake:
		}
	}
}

// note adds an event about something that the loops saw change.
func note(tx *store.Tx, topic string, s baadal.Subject, version int64, what string, owner, organisation int64, changes any) error {
	raw, err := json.Marshal(changes)
	if err != nil {
		return err
	}
	system := baadal.System().User
	_, err = tx.AddEvent(baadal.Event{
		Topic: topic, Subject: s, Version: version, What: what, ActorID: system.ID, Actor: system.Username,
		OwnerID: owner, OrganisationID: organisation, Changes: raw,
	})
	return err
}
