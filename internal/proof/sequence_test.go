package proof_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"baadal"
	"baadal/internal/needs"
	"baadal/internal/reconcile"
	"baadal/internal/simulator"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
	"baadal/internal/task"
)

// TestAnySequence plays random sequences of wishes, failures and crashes and
// checks after each stretch, when everything answers again and all work is
// done, that the cloud is whole. It runs in a bubble of synctest: hours cost
// nothing, and nothing waits for longer than it must.
//
// By default it plays a few sequences that are always the same. Set
// BAADAL_TEST_ROUNDS to play so many that nobody has played before. One that
// fails says its seed and what was done. To play it again:
//
//	BAADAL_TEST_SEED=17 go test -run TestAnySequence ./internal/proof
//
// with BAADAL_TEST_STEPS=40 only its first 40 steps, with BAADAL_TEST_SKIP=3,10-20
// without those: each step draws its own numbers, so that what is left stays
// the same.
func TestAnySequence(t *testing.T) {
	t.Parallel()
	first, rounds := uint64(1), 16
	if !needs.All() {
		rounds = 3
	}
	if n, err := strconv.Atoi(os.Getenv("BAADAL_TEST_ROUNDS")); err == nil {
		first, rounds = rand.Uint64N(1e9), n
	}
	if seed, err := strconv.ParseUint(os.Getenv("BAADAL_TEST_SEED"), 10, 64); err == nil {
		first, rounds = seed, 1
	}
	all := &tally{}
	t.Run("all", func(t *testing.T) {
		for i := range uint64(rounds) {
			t.Run(fmt.Sprint("seed ", first+i), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := &sequence{t: t, seed: first + i, scale: 1, steps: 60, dsn: storetest.SQLiteDSN(t), tally: all}
					s.play()
				})
			})
		}
	})
	t.Logf("tasks:\n%s", all)
}

// TestAnySequenceOnPostgres plays a short one in real time, faster: PostgreSQL
// is outside every bubble.
func TestAnySequenceOnPostgres(t *testing.T) {
	t.Parallel()
	s := &sequence{t: t, seed: rand.Uint64N(1e9), scale: 40, steps: 30, dsn: storetest.PostgresDSN(t), tally: &tally{}}
	if seed, err := strconv.ParseUint(os.Getenv("BAADAL_TEST_SEED"), 10, 64); err == nil {
		s.seed = seed
	}
	s.play()
}

// sequence is one sequence at play.
type sequence struct {
	*cloud
	t      *testing.T
	seed   uint64
	scale  time.Duration // by which all times are divided
	steps  int
	dsn    string
	tally  *tally
	rnd    *rand.Rand // of the step at work
	latent sync.Mutex
	delay  *rand.Rand // of the world's latencies

	ahead  atomic.Int64 // of the store's clock, nanoseconds
	begun  time.Time
	saying sync.Mutex
	played []string
	left   []string                // identities of VMs of which a move left files
	mend   map[string]func() error // what is broken at present, and how it is mended
	broken int                     // how often calls were made to fail
}

const (
	stretch = 15               // steps between two looks
	look    = 75 * time.Second // after which the loops have seen everything
)

func (s *sequence) play() {
	t := s.t
	s.mend, s.delay, s.begun = map[string]func() error{}, rand.New(rand.NewPCG(s.seed, 1)), time.Now()
	defer func() {
		if t.Failed() {
			t.Logf("seed %d:\n%s", s.seed, strings.Join(s.played, "\n"))
		}
	}()
	world, err := simulator.Open(simulator.Config{
		HostCPUs: 4, HostRAMMiB: 8192, Latency: s.latency, CallTimeout: 30 * time.Second / s.scale,
		StartTime: 300 * time.Millisecond / s.scale, ShutdownTime: 3 * time.Second / s.scale, BootTime: 6 * time.Second / s.scale, MigrateTime: 2 * time.Second / s.scale,
	})
	must(t, err)
	defer func() { must(t, world.Close()) }()
	s.start(world)
	defer func() { s.stop() }()
	s.furnish(t, 3, baadal.HostFacts{CPUs: 4, RAMMiB: 8192}, "10.0.1.0/26")
	_, err = s.AddPublics(context.Background(), s.asha, baadal.PublicRange{Range: publics}, baadal.ChangeOptions{})
	must(t, err)
	s.loops.Start(context.Background())

	skip := skipped(os.Getenv("BAADAL_TEST_SKIP"))
	last := s.steps
	if n, err := strconv.Atoi(os.Getenv("BAADAL_TEST_STEPS")); err == nil {
		last = n
	}
	for i := 1; i <= last && !t.Failed(); i++ {
		if !skip[i] {
			s.rnd = rand.New(rand.NewPCG(s.seed, uint64(100+i)))
			s.say("%d", i)
			s.step()
		}
		if i%stretch == 0 || i == last {
			s.calm()
		}
	}
	s.view(t, func(tx *store.Tx) error {
		list, err := tx.Tasks(baadal.ListQuery{Limit: 1000}, baadal.Visibility{Scope: baadal.ScopeAny})
		for _, k := range list.Items {
			s.tally.add(string(k.Kind)+" "+k.State.String(), 1)
		}
		return err
	})
	if !t.Failed() {
		s.end()
	}
}

// tally counts what was played in all sequences.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *tally) add(what string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[what] += n
}

func (c *tally) String() string {
	var out strings.Builder
	for _, what := range slices.Sorted(maps.Keys(c.n)) {
		fmt.Fprintf(&out, "%6d %s\n", c.n[what], what)
	}
	return out.String()
}

// skipped reads "3,10-20".
func skipped(list string) map[int]bool {
	skip := map[int]bool{}
	for part := range strings.SplitSeq(list, ",") {
		from, to, _ := strings.Cut(part, "-")
		a, err := strconv.Atoi(from)
		b, err2 := strconv.Atoi(to)
		if err2 != nil {
			b = a
		}
		for i := a; err == nil && i <= b; i++ {
			skip[i] = true
		}
	}
	return skip
}

// say notes what is done, with the time since the beginning.
func (s *sequence) say(format string, args ...any) {
	s.saying.Lock() // the loops complain in goroutines of their own
	defer s.saying.Unlock()
	s.played = append(s.played, fmt.Sprintf("%12s  ", time.Since(s.begun).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

// Write notes what the loops complain about.
func (s *sequence) Write(line []byte) (int, error) {
	_, words, _ := strings.Cut(string(line), "msg=")
	s.say("loops: %s", strings.TrimSpace(words))
	return len(line), nil
}

func (s *sequence) latency(string) time.Duration {
	s.latent.Lock()
	defer s.latent.Unlock()
	if s.delay.IntN(10) == 0 {
		return time.Duration(s.delay.IntN(3000)) * time.Millisecond / s.scale
	}
	return time.Duration(s.delay.IntN(100)) * time.Millisecond / s.scale
}

// start starts a controller; its loops are not running yet.
func (s *sequence) start(world *simulator.World) {
	s.t.Helper()
	now := func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }
	db, err := store.Open(context.Background(), store.Config{DSN: s.dsn, Now: now})
	for range 50 { // a process that another test starts right now has its lock open for a moment
		if baadal.CodeOf(err) != "database_in_use" {
			break
		}
		time.Sleep(10 * time.Millisecond)
		db, err = store.Open(context.Background(), store.Config{DSN: s.dsn, Now: now})
	}
	must(s.t, err)
	s.cloud = connect(s.t, db, world, task.Options{Backoff: time.Second / s.scale, Lease: max(10*time.Second/s.scale, time.Second)})
	often := func(d time.Duration) time.Duration { return d / s.scale }
	s.loops = reconcile.New(db, reconcile.Systems{
		Hypervisor: world.Hypervisor(), Alive: world.Prober().Alive, Usage: world.Disks().Usage, DiskSizes: world.Disks().DiskSizes, Answers: world.Guests().Answers, Boot: world.Prober().Boot, NAT: world.NAT(),
	}, reconcile.Options{
		Hosts: often(10 * time.Second), HostCheck: often(5 * time.Second), FullLook: often(30 * time.Second), Datastores: often(20 * time.Second),
		Disks: often(time.Minute), Guests: often(5 * time.Second), Schedule: often(30 * time.Second), NAT: often(10 * time.Second), Logger: slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
}

// stop ends the controller as it should be.
func (s *sequence) stop() {
	s.t.Helper()
	s.loops.Stop()
	s.stopQueue(s.t)
	must(s.t, s.db.Close())
}

// restart ends the controller, in order or as kill -9 does, and starts another.
// What dies with a process writes nothing to the store any more and says
// nothing to the world; what it said before is done.
func (s *sequence) restart(kill bool) {
	s.t.Helper()
	if kill {
		speak := s.world.Fail(simulator.Rule{Op: "*", Before: true, Times: -1})
		must(s.t, s.db.Close())
		s.loops.Stop()
		s.stopQueue(s.t)
		speak()
	} else {
		s.stop()
	}
	s.start(s.world)
	must(s.t, s.queue.Start(context.Background()))
	s.loops.Start(context.Background())
}

// step does one thing.
func (s *sequence) step() {
	switch n := s.rnd.IntN(100); {
	case n < 50:
		s.wish()
	case n < 57: // several at once
		var wg sync.WaitGroup
		for range 2 + s.rnd.IntN(3) {
			ask := s.draw()
			wg.Go(ask)
		}
		wg.Wait()
	case n < 65:
		s.cancel()
	case n < 83:
		s.breakSomething()
	case n < 90:
		s.mendSomething()
	case n < 94:
		s.interfere()
	case n < 98:
		s.say("the controller is killed")
		s.restart(true)
	default:
		s.say("the controller is restarted")
		s.restart(false)
	}
	time.Sleep(time.Duration(s.rnd.IntN(4000)) * time.Millisecond / s.scale)
	if s.rnd.IntN(8) == 0 {
		time.Sleep(time.Duration(s.rnd.IntN(60)) * time.Second / s.scale)
	}
}

// cancel cancels a task that is not done.
func (s *sequence) cancel() {
	var active []baadal.Task
	s.view(s.t, func(tx *store.Tx) (err error) { active, err = tx.ActiveTasks(); return err })
	if len(active) == 0 {
		return
	}
	k := active[s.rnd.IntN(len(active))]
	_, err := s.CancelTask(context.Background(), s.asha, k.ID)
	s.answered(fmt.Sprintf("cancel task %d (%s of %s)", k.ID, k.Kind, k.Subject.Name), nil, err)
}

// breakSomething orders a failure, which lasts until it is mended.
func (s *sequence) breakSomething() {
	w, host, at := s.world, s.one("host1", "host2", "host3"), s.one(mount, mount2)
	faults := []struct {
		name       string
		cause, end func() error
	}{
		{"the cord of " + host + " is pulled", func() error { return w.PowerOff(host) }, func() error { return w.PowerOn(host) }},
		{host + " is cut off", func() error { return w.Cut(host) }, func() error { return w.Heal(host) }},
		{"libvirtd on " + host + " hangs", func() error { return w.Hang(host, true) }, func() error { return w.Hang(host, false) }},
		{"libvirtd on " + host + " restarts", func() error { return w.RestartLibvirtd(host) }, func() error { return nil }},
		{at + " is full", func() error { return w.FillUp(at, 0) }, func() error { return w.FillUp(at, -1) }},
		{at + " is read-only", func() error { return w.SetReadOnly(at, true) }, func() error { return w.SetReadOnly(at, false) }},
		{"the DHCP server is broken", func() error { return w.BreakDHCP(true) }, func() error { return w.BreakDHCP(false) }},
		{"the NAT box is away", func() error { w.BreakNAT(true); return nil }, func() error { w.BreakNAT(false); return nil }},
		{"the NAT box is flushed", func() error { w.FlushNAT(); return nil }, func() error { return nil }},
	}
	if s.rnd.IntN(2) == 0 {
		s.failCalls()
		return
	}
	f := faults[s.rnd.IntN(len(faults))]
	if s.mend[f.name] == nil {
		s.say("%s", f.name)
		must(s.t, f.cause())
		s.mend[f.name] = f.end
	}
}

// failCalls makes some of the next calls fail, before they do anything or after.
func (s *sequence) failCalls() {
	r := simulator.Rule{Op: s.one("*", "hypervisor.*", "disks.*", "snapshots.*"), Nth: 1 + s.rnd.IntN(8), Times: 1 + s.rnd.IntN(10), Before: s.rnd.IntN(2) == 0}
	if s.rnd.IntN(4) > 0 { // of one operation, so that no look of a loop takes its turn
		r.Op, r.Nth = s.one(slices.Sorted(maps.Keys(s.world.Ops()))...), 1+s.rnd.IntN(2)
	}
	r.Hang = s.rnd.IntN(6) == 0
	switch s.rnd.IntN(4) {
	case 0:
		r.Err = errors.New("a failure that nobody knows, ordered by the test")
	case 1:
		r.Err = baadal.Errorf(baadal.Conflict, "a failure ordered by the test")
	}
	s.say("calls fail: %+v", r)
	stop := s.world.Fail(r)
	s.broken++
	s.mend[fmt.Sprintf("calls, %d", s.broken)] = func() error { stop(); return nil }
}

func (s *sequence) mendSomething() {
	names := slices.Sorted(maps.Keys(s.mend))
	if len(names) > 0 {
		s.mendOne(s.one(names...))
	}
}

func (s *sequence) mendOne(name string) {
	s.say("no more: %s", name)
	must(s.t, s.mend[name]())
	delete(s.mend, name)
}

// interfere does to a VM what its guest or somebody on its host may do.
func (s *sequence) interfere() {
	b := s.book(s.t)
	if len(b.VMs) == 0 {
		return
	}
	vm := b.VMs[s.rnd.IntN(len(b.VMs))]
	if s.rnd.IntN(4) == 0 {
		in := baadal.SnapshotSchedule{Daily: s.rnd.IntN(2) == 0, Weekly: s.rnd.IntN(2) == 0}
		_, err := s.SetSnapshotSchedule(context.Background(), s.asha, fmt.Sprint(vm.ID), in)
		s.answered(fmt.Sprintf("schedule of %s: %+v", vm.Identity, in), nil, err)
		return
	}
	acts := []struct {
		name string
		do   func(host, uuid string) error
	}{
		{"the guest crashes", s.world.GuestCrash},
		{"the guest shuts down", s.world.GuestShutdown},
		{"virsh start", s.world.VirshStart},
		{"virsh destroy", s.world.VirshDestroy},
		{"virsh suspend", s.world.VirshSuspend},
		{"virsh resume", s.world.VirshResume},
	}
	act := acts[s.rnd.IntN(len(acts))]
	if vm.Task != nil { // who resumes half of a migration by hand has two of it
		act = acts[s.rnd.IntN(2)]
	}
	s.say("%s: %s on %s: %v", vm.Identity, act.name, vm.Host, act.do(vm.Host, vm.UUID))
}

// calmDown mends everything.
func (s *sequence) calmDown() {
	for _, name := range slices.Sorted(maps.Keys(s.mend)) {
		s.mendOne(name)
	}
	s.say("all is mended")
}

// calm mends everything, waits until all is done and seen, and looks.
func (s *sequence) calm() {
	s.calmDown()
	s.quiet(s.t, look/s.scale)
	s.loops.Stop() // what they ask for meanwhile would be in the way of a look
	s.quiet(s.t, time.Second)
	s.left = append(s.left, s.leftovers(s.t)...)
	s.whole(s.t, s.left...)
	s.natIsWhole()
	s.loops.Start(context.Background())
}

// end deletes every VM, lets the retention pass, and looks for what is left.
func (s *sequence) end() {
	s.say("everything is deleted")
	for _, vm := range s.book(s.t).VMs {
		if vm.State != baadal.VMDeleted {
			s.run(s.t, baadal.ActionVMDelete, fmt.Sprint(vm.ID))
		}
	}
	for _, m := range s.book(s.t).Templates {
		if m.OwnerID != 0 { // saved of a VM
			_, err := s.DeleteTemplate(context.Background(), s.asha, fmt.Sprint(m.ID), baadal.ChangeOptions{})
			must(s.t, err)
		}
	}
	for _, f := range s.book(s.t).Transfers {
		if f.Kind == baadal.TransferExport {
			_, err := s.RemoveExport(context.Background(), s.asha, f.ID, baadal.ChangeOptions{})
			must(s.t, err)
		}
	}
	for range 8 { // deleted VMs, then their backups
		s.ahead.Add(int64(721 * time.Hour))
		s.failCalls()
		time.Sleep(time.Duration(s.rnd.IntN(60)) * time.Second / s.scale)
		s.restart(s.rnd.IntN(2) == 0)
		s.calmDown()
		s.quiet(s.t, look/s.scale)
		if b := s.book(s.t); len(b.VMs)+len(b.Backups) == 0 {
			break
		}
	}
	s.emptied(s.t, s.left...)
	s.natIsWhole()
	s.cleanAudit(s.t, s.left...)
}
