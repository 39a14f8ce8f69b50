package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"baadal"
)

// creation is the life of one task, as the API tells it.
func creation(id int64, name string) []baadal.Task {
	at := func(state baadal.TaskState, step string, percent int) baadal.Task {
		return baadal.Task{ID: id, Kind: baadal.TaskVMCreate, Subject: baadal.Subject{Kind: "vm", Name: name}, State: state, Step: step, Progress: percent}
	}
	return []baadal.Task{
		at(baadal.TaskPending, "", 0),
		at(baadal.TaskProcessing, "disk", 10),
		at(baadal.TaskProcessing, "disk", 30),
		at(baadal.TaskProcessing, "define", 60),
		at(baadal.TaskRetry, "define", 60),
		at(baadal.TaskSuccess, "", 100),
	}
}

// clock moves by one second with every look at it.
func clock() func() time.Time {
	var mu sync.Mutex
	now := testNow
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(time.Second)
		return now
	}
}

func TestProgressLines(t *testing.T) {
	t.Parallel()
	c, _, errs := quietCLI()
	c.now = clock()
	p := c.newTracker()
	for _, task := range creation(7, "web1") {
		p.task(task)
	}
	p.done()
	golden(t, "progress-lines.golden", errs.Bytes())
}

func TestProgressOnTerminal(t *testing.T) {
	t.Parallel()
	c, _, errs := quietCLI()
	c.now, c.errTerminal, c.outTerminal = clock(), true, true
	p := c.newTracker()
	for _, task := range creation(7, "web1") {
		p.task(task)
	}
	for _, task := range creation(8, "a-very-long-name-that-does-not-fit")[:3] {
		p.task(task)
	}
	p.tick()
	p.done()
	if strings.Contains(errs.String(), "\n") {
		t.Error("the line is not rewritten in place")
	}
	for line := range strings.SplitSeq(errs.String(), "\r\x1b[K") {
		if n := cells(line); n > 79 {
			t.Errorf("a line takes %d cells and would wrap: %q", n, line)
		}
	}
	golden(t, "progress-terminal.golden", bytes.ReplaceAll(errs.Bytes(), []byte("\r\x1b[K"), []byte("\n")))
}

func TestProgressOfUpload(t *testing.T) {
	t.Parallel()
	for name, terminal := range map[string]bool{"lines": false, "terminal": true} {
		c, _, errs := quietCLI()
		c.now, c.errTerminal = clock(), terminal
		p := c.newTracker()
		for _, sent := range []int64{0, 10, 100, 300, 600, 1000} {
			p.bytes("debian.qcow2", sent*mib, 1000*mib)
		}
		p.done()
		golden(t, "progress-upload-"+name+".golden", bytes.ReplaceAll(errs.Bytes(), []byte("\r\x1b[K"), []byte("\n")))
	}
}

func TestQuietProgress(t *testing.T) {
	t.Parallel()
	c, out, errs := quietCLI()
	c.flags.quiet = true
	p := c.newTracker()
	for _, task := range creation(7, "web1") {
		p.task(task)
	}
	p.done()
	if out.Len()+errs.Len() > 0 {
		t.Errorf("--quiet wrote %q and %q", out, errs)
	}
}

func TestProgressTogether(t *testing.T) {
	t.Parallel()
	c, _, errs := quietCLI()
	p := c.newTracker()
	var all sync.WaitGroup
	for id := range int64(8) {
		all.Go(func() {
			for _, task := range creation(id+1, "vm") {
				p.task(task)
			}
		})
	}
	all.Wait()
	if got := strings.Count(errs.String(), "success"); got != 8 {
		t.Errorf("%d tasks were told to have ended, want 8:\n%s", got, errs)
	}
}
