package simulator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"baadal"
)

// Config says what world to make. The zero value is an empty world in memory
// with one datastore, in which everything happens at once.
type Config struct {
	Dir    string // where the state lives; it survives SIGKILL. Empty: memory only
	Now    func() time.Time
	Logger *slog.Logger

	Hosts      int    // there will be at least host1 … hostN at 10.77.0.11 and up
	HostCPUs   int    // of each; 16 if 0
	HostRAMMiB int    // of each; 65536 if 0
	Datastore  string // mount point of the first datastore; /mnt/datastore if empty
	Capacity   int64  // of the first datastore, bytes; 1 TiB if 0

	Latency          func(op string) time.Duration // how long a call takes before anything happens; nil means no time
	StartTime        time.Duration                 // Start returns after it
	ShutdownTime     time.Duration                 // a guest that was asked to shut down or reboot is down after it
	MigrateTime      time.Duration                 // copying a domain's memory to another host takes it
	BootTime         time.Duration                 // a guest answers this long after its start
	UnreachableDelay time.Duration                 // until a silent host counts as unreachable; 20 ms if 0
	CallTimeout      time.Duration                 // longest call to a hung libvirtd; 30 s if 0
}

const (
	defaultDatastore = "/mnt/datastore"
	defaultCapacity  = 1 << 40
)

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Latency == nil {
		c.Latency = func(string) time.Duration { return 0 }
	}
	if c.Datastore == "" {
		c.Datastore = defaultDatastore
	}
	setIfZero(&c.HostCPUs, 16)
	setIfZero(&c.HostRAMMiB, 65536)
	setIfZero(&c.Capacity, defaultCapacity)
	setIfZero(&c.UnreachableDelay, 20*time.Millisecond)
	setIfZero(&c.CallTimeout, 30*time.Second)
	return c
}

func setIfZero[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// World is everything outside the controller. All its methods may be called
// from many goroutines at once.
type World struct {
	cfg  Config
	lock *os.File // held while the world is open, if it lives in a folder

	// mu guards all state below. It is held for microseconds, or for the
	// writing of the state file; never during a latency, a delay or a callback.
	mu      sync.Mutex
	state   state
	dirty   bool // the state file is older than the state
	closed  bool
	byAddr  map[string]*host
	writers map[int64]*domain           // who has an inode open for writing
	macs    map[string]map[*domain]bool // running domains by the MACs of their NICs
	ips     map[string]string           // MAC by reserved address
	nat     natBox
	rules   []*rule                     // ordered faults
	ops     map[string]int              // calls so far
	hook    func(op string, after bool) // may be nil

	strangers map[string]string // MACs of who answers for addresses that are not his
}

// Open makes a world, or opens the one in cfg.Dir as it was left. A folder that
// another process (or World) has open is refused with Conflict.
func Open(cfg Config) (*World, error) {
	cfg = cfg.withDefaults()
	w := &World{cfg: cfg, ops: map[string]int{}}
	if cfg.Dir != "" {
		if err := w.acquire(); err != nil {
			return nil, err
		}
	}
	fresh, err := w.load()
	if err != nil {
		return nil, errors.Join(err, w.release())
	}
	if fresh {
		w.addDatastore(cfg.Datastore, cfg.Capacity)
	}
	for i := range cfg.Hosts {
		w.addHost(fmt.Sprintf("host%d", i+1), addressOf(i))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.save(); err != nil {
		return nil, errors.Join(err, w.release())
	}
	return w, nil
}

// Close ends all watches and lets go of the folder. Calls after it fail with
// Unavailable. Closing twice is harmless.
func (w *World) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	for _, h := range w.state.Hosts {
		h.lose(baadal.Errorf(baadal.Unavailable, "the simulated world is closed"))
		h.stopTimer()
		if h.lostAt != nil {
			h.lostAt.Stop()
		}
	}
	return w.release()
}

// now is the time of the world; everything that is due is computed from it.
func (w *World) now() time.Time { return w.cfg.Now().UTC() }

// call runs one operation on a host: counted, delayed, made to fail if that was
// ordered, and then fn under the lock once the host answers. The state is saved
// before the answer.
func (w *World) call(ctx context.Context, op string, bh baadal.Host, fn func(h *host) error) error {
	return w.around(ctx, op, bh, func() error {
		h, err := w.reach(ctx, op, bh)
		if err != nil {
			return err
		}
		defer w.mu.Unlock()
		return w.commit(fn(h))
	})
}

// commit saves what the operation changed, even when it failed half way. The
// lock is held.
func (w *World) commit(err error) error {
	if serr := w.save(); serr != nil && err == nil {
		return serr
	}
	return err
}

// around does what every operation has in common, whether it goes to a host or
// not.
func (w *World) around(ctx context.Context, op string, bh baadal.Host, do func() error) error {
	f := w.begin(op, bh)
	defer w.end(op)
	if err := sleep(ctx, w.cfg.Latency(op)); err != nil {
		return interrupted(op, err)
	}
	if f != nil && f.Before {
		return w.strike(ctx, op, bh, f)
	}
	err := do()
	if f != nil {
		return w.strike(ctx, op, bh, f)
	}
	return err
}

// begin counts a call, tells the hook, and returns the fault ordered for it.
func (w *World) begin(op string, bh baadal.Host) *Rule {
	w.mu.Lock()
	w.ops[op]++
	hook := w.hook
	f := w.fault(op, bh)
	w.mu.Unlock()
	if hook != nil {
		hook(op, false)
	}
	return f
}

func (w *World) end(op string) {
	w.mu.Lock()
	hook := w.hook
	w.mu.Unlock()
	if hook != nil {
		hook(op, true)
	}
}

// sleep waits, and returns why it did not wait to the end.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return cause(ctx)
	}
}

// cause returns ctx's error together with its cause, nil while it lives.
func cause(ctx context.Context) error {
	err := ctx.Err()
	if c := context.Cause(ctx); err != nil && !errors.Is(c, err) {
		return fmt.Errorf("%w: %w", err, c)
	}
	return err
}

// interrupted is the answer to a call whose context ended: what it did is
// unknown. A deadline means the other side was too slow, a cancellation is
// passed on as it is.
func interrupted(op string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return baadal.Errorf(baadal.Unavailable, "%s: %w", op, err).WithCode("host_timeout")
	}
	return fmt.Errorf("%s: %w", op, err)
}
