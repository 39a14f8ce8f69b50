package task_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
	"baadal/internal/task"
)

const controllerEnv = "BAADAL_TASK_CONTROLLER" // "dsn|file": be a controller

// TestControllerProcess is a controller of its own, when it is told to be one.
func TestControllerProcess(t *testing.T) {
	dsn, file, ok := strings.Cut(os.Getenv(controllerEnv), "|")
	if !ok {
		return
	}
	db, err := store.Open(t.Context(), store.Config{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	start(t, db, task.Options{Workers: 2, Lease: 900 * time.Millisecond}, task.Body{Steps: []task.Step{{
		Name: "work",
		Do: func(_ context.Context, r *task.Run) error {
			time.Sleep(30 * time.Millisecond)
			return appendLine(file, fmt.Sprintf("%d %d", os.Getpid(), r.Task.ID))
		},
	}}})
	time.Sleep(time.Minute) // the parent kills us
}

func appendLine(file, line string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintln(f, line)
	return err
}

// TestTwoControllersShareTheQueue runs two real processes on one PostgreSQL.
// Both work; one is killed with SIGKILL, and the other takes its tasks over.
func TestTwoControllersShareTheQueue(t *testing.T) {
	dsn := storetest.PostgresDSN(t)
	db := storetest.OpenDSN(t, store.Config{DSN: dsn})
	file := t.TempDir() + "/ran"
	const n = 80
	var ids []int64
	for i := range int64(n) {
		id, err := submit(t, db, i+1)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	ran := func() (byPID map[string]int) {
		byPID = map[string]int{}
		raw, _ := os.ReadFile(file)
		for line := range strings.Lines(string(raw)) {
			pid, _, _ := strings.Cut(line, " ")
			byPID[pid]++
		}
		return byPID
	}
	var controllers []*exec.Cmd
	for range 2 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestControllerProcess$") //nolint:gosec // ourselves
		cmd.Env = append(os.Environ(), controllerEnv+"="+dsn+"|"+file)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		controllers = append(controllers, cmd)
		defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	}
	deadline := time.Now().Add(30 * time.Second)
	for both := ran(); len(both) < 2; both = ran() {
		if time.Now().After(deadline) {
			t.Fatalf("the controllers do not share the work: %v", both)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := controllers[0].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if k := await(t, db, id, "ended after a controller was killed", ended); k.State != baadal.TaskSuccess {
			t.Errorf("task %d ends as %s: %s", id, k.State, k.Message)
		}
	}
	total := 0
	for pid, k := range ran() {
		t.Logf("controller %s ran %d", pid, k)
		total += k
	}
	if total < n || total > n+2 { // what the killed one had at work may have run twice
		t.Errorf("%d runs of %d tasks", total, n)
	}
}

// BenchmarkAcceptedToFirstStep measures from the call that stores a task to its
// first step running.
func BenchmarkAcceptedToFirstStep(b *testing.B) {
	db := storetest.Open(b)
	began := make(chan time.Time, 1)
	q := task.New(db, task.Options{})
	q.Register(task.Body{Kind: kind, Steps: []task.Step{{Name: "one", Do: func(context.Context, *task.Run) error {
		began <- time.Now()
		return nil
	}}}})
	if err := q.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = q.Stop(context.Background()) }()
	var waits []time.Duration
	for i := 0; b.Loop(); i++ {
		k := baadal.Task{Kind: kind, Subject: baadal.Subject{Kind: "vm", ID: int64(i + 1), Name: "vm"}, Exclusive: true}
		asked := time.Now()
		if err := db.Update(b.Context(), func(tx *store.Tx) error { return tx.InsertTask(&k) }); err != nil {
			b.Fatal(err)
		}
		waits = append(waits, (<-began).Sub(asked))
	}
	b.ReportMetric(percentile(waits, 50), "p50-ms")
	b.ReportMetric(percentile(waits, 99), "p99-ms")
}

func percentile(all []time.Duration, p int) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return float64(sorted[min(len(sorted)-1, len(sorted)*p/100)].Microseconds()) / 1000
}
