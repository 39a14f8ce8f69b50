package task

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"time"

	"baadal"
	"baadal/internal/store"
)

// Options of a queue. The zero value is fine for a server.
type Options struct {
	Workers int           // tasks at work at one time in this process; 256 if 0
	Lease   time.Duration // 10 s if 0; renewed at a third of it
	Backoff time.Duration // the first retry's wait; 1 s if 0
	Slots   func() int    // cost that one host may carry; 8 if nil
	Logger  *slog.Logger
	// Point is called at every boundary of the journal ("vm_create/start/before");
	// tests kill the process there. Nil in a server.
	Point func(name string)
	// Twice runs every do and every undo two times; for tests.
	Twice bool
}

// Queue runs tasks. Make it with New, register the bodies, then Start.
type Queue struct {
	db     *store.DB
	opt    Options
	log    *slog.Logger
	bodies map[baadal.TaskKind]Body

	mu      sync.Mutex
	running map[int64]*job
	wg      sync.WaitGroup
	stop    context.CancelCauseFunc
	done    chan struct{}
	free    chan struct{} // wakes the dispatcher when a worker ended
}

// New makes a queue on the store. It does nothing until Start.
func New(db *store.DB, opt Options) *Queue {
	if opt.Workers == 0 {
		opt.Workers = 256
	}
	if opt.Lease == 0 {
		opt.Lease = 10 * time.Second
	}
	if opt.Backoff == 0 {
		opt.Backoff = time.Second
	}
	if opt.Slots == nil {
		opt.Slots = func() int { return 8 }
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	return &Queue{
		db: db, opt: opt, log: opt.Logger, bodies: map[baadal.TaskKind]Body{},
		running: map[int64]*job{}, free: make(chan struct{}, 1),
	}
}

// Register adds what tasks of a kind do. Call it before Start; a kind twice is
// a programming error and panics.
func (q *Queue) Register(bodies ...Body) {
	for _, b := range bodies {
		if _, twice := q.bodies[b.Kind]; twice {
			panic("task kind registered twice: " + string(b.Kind))
		}
		q.bodies[b.Kind] = b
	}
}

// StepNames returns the steps of a kind, for plans; nil if it is not registered.
func (q *Queue) StepNames(kind baadal.TaskKind) []string { return q.bodies[kind].StepNames() }

// Start begins to work in the background and returns. On a store that only this
// process uses, tasks of a killed predecessor are resumed at once; on a shared
// one when their leases run out.
func (q *Queue) Start(ctx context.Context) error {
	if !q.db.Shared() {
		if err := q.db.Update(ctx, func(tx *store.Tx) error { return tx.DropLeases() }); err != nil {
			return err
		}
	}
	ctx, q.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	q.done = make(chan struct{})
	go q.dispatch(ctx)
	return nil
}

// Stop asks the steps at work to end, waits for them until ctx ends, and gives
// their leases back: the tasks are resumed by the next controller. It may be
// called more than once.
func (q *Queue) Stop(ctx context.Context) error {
	if q.stop == nil {
		return nil
	}
	q.stop(ErrShutdown)
	ended := make(chan struct{})
	go func() { <-q.done; q.wg.Wait(); close(ended) }()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// CancelRunning tells the worker of a task, if it is one of this process, that
// it was cancelled; the others see it at their next lease renewal.
func (q *Queue) CancelRunning(id int64, by string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if j, ok := q.running[id]; ok {
		j.cancel(cancelled{by})
	}
}

// dispatch leases due tasks whenever there may be some.
func (q *Queue) dispatch(ctx context.Context) {
	defer close(q.done)
	wake, unsubscribe := q.db.Subscribe("task")
	defer unsubscribe()
	for ctx.Err() == nil {
		wait, err := q.leaseAndRun(ctx)
		if err != nil && ctx.Err() == nil {
			q.log.Error("tasks not leased", "error", err)
			wait = time.Second
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-wake:
		case <-q.free:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// maxIdle bounds how long the dispatcher sleeps without looking: the net under
// lost wake-ups and under leases of killed controllers.
const maxIdle = time.Second

func (q *Queue) leaseAndRun(ctx context.Context) (wait time.Duration, err error) {
	q.mu.Lock()
	room := q.opt.Workers - len(q.running)
	q.mu.Unlock()
	if room <= 0 {
		return maxIdle, nil
	}
	slots, limit := q.opt.Slots(), room-q.opt.Workers/4
	if limit <= 0 {
		slots, limit = 1, room // the last ones are for hosts with nothing at work: those that hang leave them
	}
	limit = min(limit, 16)
	lease := newLease()
	var tasks []baadal.Task
	var next time.Time
	err = q.db.Update(ctx, func(tx *store.Tx) (err error) {
		tasks, err = tx.LeaseTasks(lease, q.db.Now().Add(q.opt.Lease), slots, limit)
		if err != nil {
			return err
		}
		next, err = tx.NextDue()
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, t := range tasks {
		q.run(ctx, t, lease)
	}
	if len(tasks) == limit {
		return 0, nil
	}
	wait = maxIdle
	if !next.IsZero() {
		wait = min(wait, max(next.Sub(q.db.Now()), 5*time.Millisecond))
	}
	return wait, nil
}

func newLease() string {
	var b [12]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// job is one worker of this process.
type job struct {
	cancel context.CancelCauseFunc
	ended  chan struct{}
}

// run works on one leased task in the background. A worker of this process that
// lost the lease but still is in a step ends first: never two at one task.
func (q *Queue) run(ctx context.Context, t baadal.Task, lease string) {
	life, endLife := context.WithCancelCause(ctx) // ends with the lease or the process
	work, cancel := context.WithCancelCause(life) // ends with a cancel or the deadline too
	j := &job{cancel: cancel, ended: make(chan struct{})}
	q.mu.Lock()
	before := q.running[t.ID]
	q.running[t.ID] = j
	q.mu.Unlock()
	q.wg.Go(func() {
		go q.renew(j.ended, endLife, cancel, t.ID, lease)
		defer func() {
			close(j.ended)
			endLife(nil)
			q.mu.Lock()
			if q.running[t.ID] == j {
				delete(q.running, t.ID)
			}
			q.mu.Unlock()
			select {
			case q.free <- struct{}{}:
			default:
			}
		}()
		if before != nil {
			<-before.ended
		}
		w := &worker{q: q, lease: lease, body: q.bodies[t.Kind], steps: t.Steps}
		w.r = &Run{Task: t, DB: q.db, w: w}
		if err := w.work(life, work, cancel); err != nil && !errors.Is(err, store.ErrLeaseLost) && life.Err() == nil {
			q.log.Error("task left for a later try", "task_id", t.ID, "kind", string(t.Kind), "error", err)
		}
	})
}

// renew keeps the lease until the worker has ended; it ends the worker's life
// when the lease is lost, and its work when somebody cancelled the task.
func (q *Queue) renew(ended <-chan struct{}, endLife, cancel context.CancelCauseFunc, id int64, lease string) {
	tick := time.NewTicker(q.opt.Lease / 3)
	defer tick.Stop()
	// The worker stops a little before anybody else may begin.
	safe := q.opt.Lease * 9 / 10
	expired := time.AfterFunc(safe, func() { endLife(ErrLeaseLost) })
	defer expired.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		begun := time.Now()
		cancelBy, ok, err := q.renewOnce(id, lease)
		switch {
		case err == nil && ok:
			expired.Reset(safe - time.Since(begun))
			if cancelBy != "" {
				cancel(cancelled{cancelBy})
			}
		case err == nil:
			endLife(ErrLeaseLost)
			return
		}
	}
}

func (q *Queue) renewOnce(id int64, lease string) (cancelBy string, ok bool, err error) {
	ctx, stop := context.WithTimeout(context.Background(), q.opt.Lease/3)
	defer stop()
	err = q.db.Update(ctx, func(tx *store.Tx) (err error) {
		cancelBy, ok, err = tx.RenewLease(id, lease, q.db.Now().Add(q.opt.Lease))
		return err
	})
	return cancelBy, ok, err
}
