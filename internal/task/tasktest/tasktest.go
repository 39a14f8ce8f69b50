// Package tasktest gives every operation three tests: fail at each call to the
// outside world, repeat each step, and kill the process (SIGKILL, in a child
// process) at each boundary of the journal and around each call. Afterwards the
// world and the store must be as the task found them, or as it promised.
package tasktest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"baadal"
	"baadal/internal/needs"
	"baadal/internal/store"
	"baadal/internal/task"
)

// Env is a store and a world opened on a folder.
type Env struct {
	DB     *store.DB
	Bodies []task.Body
	OnOp   func(func(op string, after bool))     // sets what is called around each call to the world
	Fail   func(nth int, before bool, err error) // orders a failure of the nth call from now, before or after its effect
	State  func() string                         // store and world as text; nothing that differs from run to run
	Check  func() []string                       // what must never be true of the world
	Close  func()
}

// Case is one operation to be tested.
type Case struct {
	Name string
	// Open opens a folder that is empty, or was left by a killed process.
	Open func(tb testing.TB, dir string) *Env
	// Prepare brings an empty world to where the operation begins; nil if it begins there.
	Prepare func(tb testing.TB, e *Env)
	// Submit stores the task.
	Submit func(tb testing.TB, e *Env) (taskID int64)
	// Either is true for an operation after which the world may be as before or as
	// after, whatever the task says: a guest that was asked to shut down cannot be
	// un-asked, a repair mends only what it could see.
	Either bool
}

// childEnv carries "case dir task point" to the child process.
const childEnv = "BAADAL_TASKTEST_CHILD"

// Run runs the three tests for each case. Call it from a test named TestX and
// Child with the same cases from a test named TestXChild.
func Run(t *testing.T, cases []Case) {
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			f := c.setUp(t)
			t.Run("fails at each call", f.failEach)
			t.Run("fails at each call and at the first of its undo", f.failTwice)
			t.Run("repeats each step", f.repeat)
			t.Run("killed at each point", f.killEach)
		})
	}
}

// fixture is a case with the folder in which its task waits to be run.
type fixture struct {
	Case
	base          string // folder with the task stored, never run
	id            int64
	before, after string
	calls         int // to the outside world in a clean run
	test          string
}

func (c Case) setUp(t *testing.T) *fixture {
	f := &fixture{Case: c, base: filepath.Join(t.TempDir(), "base"), test: strings.SplitN(t.Name(), "/", 2)[0]}
	mustMkdir(t, f.base)
	e := c.Open(t, f.base)
	if c.Prepare != nil {
		c.Prepare(t, e)
	}
	f.before = e.State()
	f.id = c.Submit(t, e)
	e.Close()

	e = c.Open(t, f.copy(t))
	defer e.Close()
	var calls atomic.Int64 // an operation may call several systems at once
	e.OnOp(func(_ string, after bool) {
		if after {
			calls.Add(1)
		}
	})
	done := runTask(t, e, f.id, task.Options{})
	f.calls = int(calls.Load())
	if done.State != baadal.TaskSuccess {
		t.Fatalf("a clean run ends as %s: %s", done.State, done.Message)
	}
	f.after = e.State()
	if f.after == f.before {
		t.Log("the operation changes nothing that the comparison sees")
	}
	return f
}

func mustMkdir(t testing.TB, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

// copy returns a new folder like the base.
func (f *fixture) copy(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(f.base), "run")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "w"), os.DirFS(f.base)); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "w")
}

// runTask runs a queue until the task has ended and nothing of it is owed.
func runTask(t testing.TB, e *Env, id int64, opt task.Options) baadal.Task {
	t.Helper()
	opt.Backoff, opt.Lease = time.Millisecond, 5*time.Second
	q := task.New(e.DB, opt)
	q.Register(e.Bodies...)
	ctx, stop := context.WithTimeout(context.Background(), 60*time.Second)
	defer stop()
	if err := q.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := q.Stop(ctx); err != nil {
			t.Error(err)
		}
	}()
	wake, unsubscribe := e.DB.Subscribe("event")
	defer unsubscribe()
	for {
		var now baadal.Task
		if err := e.DB.View(ctx, func(tx *store.Tx) (err error) { now, err = tx.Task(id); return err }); err != nil {
			t.Fatal(err)
		}
		if now.State.Ended() && !now.UndoPending {
			return now
		}
		select {
		case <-wake:
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("the task never ends: %s at step %q, undoing %t: %s", now.State, now.Step, now.Undoing, now.Message)
		}
	}
}

// judge compares what a run left with what it may leave.
func (f *fixture) judge(t *testing.T, e *Env, done baadal.Task, what string) {
	t.Helper()
	want, name := f.after, "after"
	if done.State == baadal.TaskFailed {
		want, name = f.before, "before"
	}
	if got := e.State(); got != want && (!f.Either || got != f.before && got != f.after) {
		t.Errorf("%s: ends as %s (%s), but the world is not as %s:\n%s", what, done.State, done.Message, name, diff(want, got))
	}
	for _, problem := range e.Check() {
		t.Errorf("%s: %s", what, problem)
	}
}

// diff shows the lines that differ.
func diff(want, got string) string {
	var b strings.Builder
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for _, s := range w {
		if !slices.Contains(g, s) {
			b.WriteString("- " + s + "\n")
		}
	}
	for _, s := range g {
		if !slices.Contains(w, s) {
			b.WriteString("+ " + s + "\n")
		}
	}
	return b.String()
}

// errOrdered is a failure that is not worth a retry.
var errOrdered = &baadal.Error{Kind: baadal.Conflict, Code: "ordered", Title: "a failure ordered by the test"}

// stride is 1 when every point is to be tried, and larger otherwise.
func stride() int {
	if needs.All() {
		return 1
	}
	return 23
}

func (f *fixture) failEach(t *testing.T) {
	for n := 1; n <= f.calls; n += stride() {
		for _, before := range []bool{true, false} {
			e := f.Open(t, f.copy(t))
			e.Fail(n, before, errOrdered)
			done := runTask(t, e, f.id, task.Options{})
			f.judge(t, e, done, fmt.Sprintf("failure of call %d, before its effect %t", n, before))
			e.Close()
		}
	}
}

// failTwice makes the first call of the undo fail too: what is owed must be
// taken back all the same.
func (f *fixture) failTwice(t *testing.T) {
	unavailable := baadal.Errorf(baadal.Unavailable, "no answer, ordered by the test")
	for n := 1; n <= f.calls; n += stride() {
		e := f.Open(t, f.copy(t))
		e.Fail(n, false, errOrdered)
		e.Fail(n+1, true, unavailable)
		done := runTask(t, e, f.id, task.Options{})
		f.judge(t, e, done, fmt.Sprintf("failure of calls %d and %d", n, n+1))
		e.Close()
	}
}

func (f *fixture) repeat(t *testing.T) {
	e := f.Open(t, f.copy(t))
	done := runTask(t, e, f.id, task.Options{Twice: true})
	if done.State != baadal.TaskSuccess {
		t.Errorf("with each step run twice it ends as %s: %s", done.State, done.Message)
	}
	f.judge(t, e, done, "each step twice")
	e.Close()
	for n := 1; n <= f.calls; n += stride() {
		e := f.Open(t, f.copy(t))
		e.Fail(2*n, false, errOrdered)
		done := runTask(t, e, f.id, task.Options{Twice: true})
		f.judge(t, e, done, fmt.Sprintf("each step and undo twice, failure of call %d", 2*n))
		e.Close()
	}
}

// killEach runs the task in child processes, the nth of which kills itself at
// its nth point, and then here to its end.
func (f *fixture) killEach(t *testing.T) {
	for n := 1; ; n += stride() {
		dir := f.copy(t)
		killed := f.runChild(t, dir, n)
		e := f.Open(t, dir)
		done := runTask(t, e, f.id, task.Options{})
		if done.State != baadal.TaskSuccess {
			t.Errorf("killed at point %d: the task then ends as %s: %s", n, done.State, done.Message)
		}
		f.judge(t, e, done, fmt.Sprintf("killed at point %d", n))
		e.Close()
		if !killed {
			t.Logf("%d points", n-1)
			if n < f.calls && needs.All() {
				t.Errorf("only %d points for %d calls", n-1, f.calls)
			}
			return
		}
		if n > 500 {
			t.Fatal("the task never gets to its end")
		}
	}
}

func (f *fixture) runChild(t *testing.T, dir string, n int) (killed bool) {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 60*time.Second)
	defer stop()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+f.test+"Child$", "-test.count=1") //nolint:gosec // ourselves
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%s|%d|%d", childEnv, f.Name, dir, f.id, n))
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		t.Fatal(err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
		return true
	}
	t.Fatalf("child: %v\n%s", err, out)
	return false
}

// Child is the killed process. Without its environment it does nothing.
func Child(t *testing.T, cases []Case) {
	name, rest, ok := strings.Cut(os.Getenv(childEnv), "|")
	if !ok {
		return
	}
	parts := strings.Split(rest, "|")
	id, _ := strconv.ParseInt(parts[1], 10, 64)
	n, _ := strconv.ParseInt(parts[2], 10, 64)
	var left atomic.Int64
	left.Store(n)
	for _, c := range cases {
		if c.Name != name {
			continue
		}
		e := c.Open(t, parts[0])
		defer e.Close()
		point := func() {
			if left.Add(-1) == 0 {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {} // the signal is on its way
			}
		}
		e.OnOp(func(string, bool) { point() })
		runTask(t, e, id, task.Options{Point: func(string) { point() }})
		return
	}
	t.Fatalf("no case %q", name)
}
