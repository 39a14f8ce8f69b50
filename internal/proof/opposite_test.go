package proof_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"baadal"
	"baadal/internal/needs"
	"baadal/internal/simulator"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
	"baadal/internal/task"
)

// pair is two wishes for one VM at the same time.
type pair struct {
	a, b  operation
	start start
}

func (p pair) String() string { return fmt.Sprintf("%s and %s, %s", p.a.name, p.b.name, p.start.name) }

// pairs are all ordered pairs of operations, each from a start from which both
// are possible, or at least the first. Of several ways to do the same the first
// meets all others, the rest only each other. A sample takes every nth.
func pairs(can map[string]map[string]bool, nth int) (all []pair) {
	ops := operations()
	main := map[baadal.Action]string{}
	for _, op := range ops {
		if main[op.action] == "" {
			main[op.action] = op.name
		}
	}
	for i, a := range ops {
		for j, b := range ops {
			if a.action != b.action && (a.name != main[a.action] || b.name != main[b.action]) {
				continue
			}
			var both, first []start
			for _, s := range starts() {
				if can[a.name][s.name] && can[b.name][s.name] {
					both = append(both, s)
				}
				if can[a.name][s.name] {
					first = append(first, s)
				}
			}
			from := both
			if len(from) == 0 { // what the second names should be there all the same
				from = first
				if full := slices.DeleteFunc(slices.Clone(first), func(s start) bool { return s.bare }); len(full) > 0 {
					from = full
				}
			}
			if n := i*len(ops) + j; n%nth == 0 {
				all = append(all, pair{a, b, from[n%len(from)]})
			}
		}
	}
	return all
}

// alone is one operation from one start with nobody in its way: what the same
// must come to when somebody is.
type alone struct {
	possible bool
	after    string
}

// runAlone runs every operation from every start.
func runAlone(t *testing.T, f *folders) map[string]map[string]*alone {
	all := map[string]map[string]*alone{}
	var mu sync.Mutex
	t.Run("alone", func(t *testing.T) {
		for _, op := range operations() {
			all[op.name] = map[string]*alone{}
			for _, s := range starts() {
				t.Run(op.name+", "+s.name, func(t *testing.T) {
					t.Parallel()
					c, closeAll := f.open(t, s)
					defer closeAll()
					k, err := op.do(c.wishFor(t, c.asha, "ml", baadal.ChangeOptions{}))
					got := &alone{possible: err == nil}
					if err == nil {
						must(t, c.queue.Start(context.Background()))
						if done := c.await(t, k.ID); done.State != baadal.TaskSuccess {
							t.Errorf("it ends as %s: %s", done.State, done.Message)
						}
						c.settleBases(t)
						got.after = c.state(t)
						c.cleanAudit(t)
						c.stopQueue(t)
					}
					mu.Lock()
					defer mu.Unlock()
					all[op.name][s.name] = got
				})
			}
		}
	})
	return all
}

// settleBases waits for the tasks that an operation left to others.
func (c *cloud) settleBases(tb testing.TB) {
	tb.Helper()
	var active []baadal.Task
	c.view(tb, func(tx *store.Tx) (err error) { active, err = tx.ActiveTasks(); return err })
	for _, k := range active {
		c.await(tb, k.ID)
	}
}

// TestOppositeWishes: two people wish for two things at the same time, with
// workers at work, for each two operations. One gets it; the other is told which
// task is in the way, also when he asks again. In the end all is as if the other
// had never asked: the order "the one, and the other refused" explains it.
func TestOppositeWishes(t *testing.T) {
	t.Parallel()
	f := newFolders(t)
	ref := runAlone(t, f)
	if t.Failed() {
		return
	}
	can := map[string]map[string]bool{}
	for name, from := range ref {
		can[name] = map[string]bool{}
		some := false
		for s, r := range from {
			can[name][s] = r.possible
			some = some || r.possible
		}
		if !some {
			t.Fatalf("%s is possible from no start: there must be one more", name)
		}
	}
	nth := 1
	if !needs.All() {
		nth = 41
	}
	var mu sync.Mutex
	won := map[string]int{}
	t.Run("pairs", func(t *testing.T) {
		for _, p := range pairs(can, nth) {
			t.Run(p.String(), func(t *testing.T) {
				t.Parallel()
				c, closeAll := f.open(t, p.start)
				defer closeAll()
				winner := c.oppose(t, p)
				mu.Lock()
				defer mu.Unlock()
				won[winner]++
				op := map[string]operation{"first": p.a, "second": p.b}[winner]
				if t.Failed() {
					return
				}
				if want, got := ref[op.name][p.start.name].after, c.state(t); got != want {
					t.Errorf("it is not as %s alone leaves it:\n%s", op.name, difference(want, got))
				}
			})
		}
	})
	t.Logf("won: %v", won)
}

// oppose lets two people wish at once and checks all but the outcome. It returns
// which of them, "first" or "second", got what he wished.
func (c *cloud) oppose(t *testing.T, p pair) (winner string) {
	t.Helper()
	open := c.gate()
	must(t, c.queue.Start(context.Background()))
	defer c.stopQueue(t)
	k, winner := c.collide(t, p, "ml")
	open()
	if k == nil {
		return winner
	}
	if done := c.await(t, k.ID); done.State != baadal.TaskSuccess {
		t.Errorf("%s ends as %s: %s", k.Kind, done.State, done.Message)
	}
	c.settleBases(t)
	c.cleanAudit(t)
	for _, bad := range c.world.Check() {
		t.Error(bad)
	}
	return winner
}

// gate makes every call to the world wait until it is opened: tasks begin, and
// stay in the middle of their work.
func (c *cloud) gate() (open func()) {
	closed := make(chan struct{})
	c.world.OnOp(func(_ string, after bool) {
		if !after {
			<-closed
		}
	})
	return func() { close(closed) }
}

// collide makes the two wishes at the same moment and returns the task of the
// one that was accepted.
func (c *cloud) collide(t *testing.T, p pair, vm string) (accepted *baadal.Task, winner string) {
	t.Helper()
	wishes := [2]wish{c.wishFor(t, c.asha, vm, baadal.ChangeOptions{}), c.wishFor(t, c.ravi, vm, baadal.ChangeOptions{})}
	ops := [2]operation{p.a, p.b}
	var absent [2]bool // what it names is not there
	for i, w := range wishes {
		w.opt.DryRun = true
		_, err := ops[i].do(w)
		absent[i] = baadal.KindOf(err) == baadal.NotFound
	}
	var tasks [2]*baadal.Task
	var errs [2]error
	var wg sync.WaitGroup
	ready := make(chan struct{})
	for i := range 2 {
		wg.Go(func() {
			<-ready
			tasks[i], errs[i] = ops[i].do(wishes[i])
		})
	}
	close(ready)
	wg.Wait()
	won := 0
	if errs[0] != nil {
		won = 1
	}
	lost := 1 - won
	switch {
	case errs[won] != nil:
		t.Errorf("%s: both were refused: %v; %v", p, errs[0], errs[1])
		return nil, ""
	case errs[lost] == nil:
		t.Errorf("%s: both were accepted, as tasks %d and %d", p, tasks[0].ID, tasks[1].ID)
		return nil, ""
	}
	if absent[lost] {
		return tasks[won], [2]string{"first", "second"}[won]
	}
	if baadal.KindOf(errs[lost]) != baadal.Conflict {
		t.Errorf("%s was refused with %v (%s), want a conflict", ops[lost].name, errs[lost], baadal.KindOf(errs[lost]))
	}
	_, again := ops[lost].do(wishes[lost])
	names(t, again, tasks[won])
	if code := baadal.CodeOf(errs[lost]); code == "vm_busy" || code == "busy" {
		names(t, errs[lost], tasks[won])
	}
	return tasks[won], [2]string{"first", "second"}[won]
}

// names checks that a refusal says which task is in the way.
func names(t *testing.T, err error, k *baadal.Task) {
	t.Helper()
	e, ok := err.(*baadal.Error) //nolint:errorlint // as the API shows it
	if !ok || e.Kind != baadal.Conflict || e.TaskID != k.ID || !strings.Contains(e.Title, fmt.Sprintf("task %d (%s)", k.ID, k.Kind)) || len(e.Next) == 0 {
		t.Errorf("refused with %+v, want a conflict that names task %d (%s) and what to do", err, k.ID, k.Kind)
	}
}

// TestOppositeWishesOnBothStores makes many collisions at the same moment, each
// on a VM of its own, where the two transactions really run at the same time:
// on PostgreSQL too.
func TestOppositeWishesOnBothStores(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		world, err := simulator.Open(simulator.Config{})
		must(t, err)
		defer func() { must(t, world.Close()) }()
		c := connect(t, db, world, task.Options{Slots: func() int { return 64 }})
		c.furnish(t, 3, baadal.HostFacts{CPUs: 256, RAMMiB: 1 << 20}, "10.0.0.0/22")
		defer c.stopQueue(t)
		seed := rand.Uint64()
		if again, err := strconv.ParseUint(os.Getenv("BAADAL_TEST_SEED"), 10, 64); err == nil {
			seed = again
		}
		t.Logf("seed %d", seed)
		rnd := rand.New(rand.NewPCG(seed, 0))
		n := 60
		if !needs.All() {
			n = 15
		}
		ops := operations()
		full := slices.DeleteFunc(starts(), func(s start) bool { return s.bare }) // what any wish names is there
		collisions := make([]pair, n)
		var wg sync.WaitGroup
		for i := range collisions {
			s := full[rnd.IntN(len(full))]
			a, b := ops[rnd.IntN(len(ops))], ops[rnd.IntN(len(ops))]
			if i%3 == 0 {
				b = a // both want the very same
			}
			collisions[i] = pair{a, b, s}
			wg.Go(func() { s.make(t, c, fmt.Sprintf("vm%d", i)) })
		}
		wg.Wait()
		open := c.gate()
		tasks := make([]*baadal.Task, n)
		for i, p := range collisions {
			wg.Go(func() { tasks[i] = c.collideIfPossible(t, p, fmt.Sprintf("vm%d", i)) })
		}
		wg.Wait()
		open()
		done := 0
		for _, k := range tasks {
			if k != nil {
				done++
				if ended := c.await(t, k.ID); ended.State != baadal.TaskSuccess {
					t.Errorf("task %d, %s of %s, ends as %s: %s", k.ID, k.Kind, k.Subject.Name, ended.State, ended.Message)
				}
			}
		}
		t.Logf("%d collisions, of which %d were about something possible", n, done)
		c.settleBases(t)
		c.audit(t, true) // some are missing, and nobody deleted them
		c.cleanAudit(t)
		for _, bad := range world.Check() {
			t.Error(bad)
		}
	})
}

// collideIfPossible is collide for a pair that was drawn: neither may be possible.
func (c *cloud) collideIfPossible(t *testing.T, p pair, vm string) *baadal.Task {
	t.Helper()
	possible := 0
	for _, op := range []operation{p.a, p.b} {
		if _, err := op.do(c.wishFor(t, c.asha, vm, baadal.ChangeOptions{DryRun: true})); err == nil {
			possible++
		}
	}
	if possible == 0 {
		return nil
	}
	k, _ := c.collide(t, p, vm)
	return k
}
