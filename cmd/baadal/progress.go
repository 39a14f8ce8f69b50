package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"baadal"
	"baadal/client"
)

// tracker shows how tasks and uploads get on. On a terminal it keeps one line
// and rewrites it; elsewhere it writes a line whenever a step changes. It may
// be used from several goroutines.
type tracker struct {
	w        io.Writer
	terminal bool
	width    int
	now      func() time.Time
	look     look

	mu    sync.Mutex
	drawn bool
	last  map[int64]string // what was written last of each task, without a terminal
	shown time.Time        // when a transfer was drawn last, on a terminal
	tasks map[int64]baadal.Task
	order []int64
	begin time.Time
}

// redraw is how long a drawn transfer stays at least.
const redraw = 100 * time.Millisecond

// newTracker returns a tracker on standard error; --quiet and --json without
// a terminal silence it.
func (c *cli) newTracker() *tracker {
	w := c.err
	if c.flags.quiet || c.flags.json && !c.errTerminal {
		w = io.Discard
	}
	width := 80
	if n := c.width(); n > 0 {
		width = n
	}
	return &tracker{
		w: w, terminal: c.errTerminal, width: width, now: c.now, look: c.lookOf(c.errTerminal),
		last: map[int64]string{}, tasks: map[int64]baadal.Task{}, begin: c.now(),
	}
}

// task shows where a task stands now.
func (p *tracker) task(t baadal.Task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.tasks[t.ID]; !known {
		p.order = append(p.order, t.ID)
	}
	p.tasks[t.ID] = t
	if p.terminal {
		p.draw()
		return
	}
	line := taskLine(t)
	if state := t.Step + "/" + t.State.String() + fmt.Sprint(t.Undoing); p.last[t.ID] != state {
		p.last[t.ID] = state
		fmt.Fprintf(p.w, "%s (%s)\n", line, durationText(p.now().Sub(p.begin)))
	}
}

// tick draws the line again, so that the elapsed time moves.
func (p *tracker) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal && p.drawn {
		p.draw()
	}
}

// bytes shows a transfer; total 0 means that the size is not known.
func (p *tracker) bytes(label string, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	percent := 0
	if total > 0 {
		percent = int(done * 100 / total)
	}
	if !p.terminal {
		if state := fmt.Sprint(percent / 25); p.last[0] != state {
			p.last[0] = state
			fmt.Fprintf(p.w, "%s: %s of %s, %d %% (%s)\n", clean(label), bytesText(done), bytesText(total), percent, durationText(p.now().Sub(p.begin)))
		}
		return
	}
	now := p.now()
	if done < total && now.Sub(p.shown) < redraw {
		return
	}
	p.shown = now
	rate := ""
	if d := now.Sub(p.begin); d > time.Second {
		rate = bytesText(int64(float64(done)/d.Seconds())) + "/s"
	}
	p.write(fmt.Sprintf("%s %s %3d %%  %s of %s  %s", clean(label), bar(percent, 20), percent, bytesText(done), bytesText(total), rate))
}

// draw rewrites the line of a terminal: the one task, or the sum of them and
// the first that is not done.
func (p *tracker) draw() {
	elapsed := durationText(p.now().Sub(p.begin))
	if len(p.order) == 1 {
		t := p.tasks[p.order[0]]
		p.write(fmt.Sprintf("%s %s  %s", bar(t.Progress, 16), taskLine(t), elapsed))
		return
	}
	ended, sum, current := 0, 0, ""
	for _, id := range p.order {
		t := p.tasks[id]
		sum += t.Progress
		switch {
		case t.State.Ended():
			ended++
			sum += 100 - t.Progress
		case current == "":
			current = "  " + taskLine(t)
		}
	}
	p.write(fmt.Sprintf("%s %d of %d done  %s%s", bar(sum/max(1, len(p.order)), 16), ended, len(p.order), elapsed, current))
}

func (p *tracker) write(line string) {
	fmt.Fprintf(p.w, "\r\x1b[K%s", cut(line, p.width-1))
	p.drawn = true
}

// done takes the line away, so that what follows starts on a clean one.
func (p *tracker) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}

// taskLine says in one line where a task stands.
func taskLine(t baadal.Task) string {
	what := strings.TrimSpace(fmt.Sprintf("%s %s", t.Kind, t.Subject.Name))
	switch {
	case t.State == baadal.TaskPending:
		what += ": waits for its turn"
	case t.State.Ended():
		what += ": " + strings.ReplaceAll(t.State.String(), "_", " ")
	case t.Undoing:
		what += fmt.Sprintf(": takes back %s", dash(t.Step))
	case t.State == baadal.TaskRetry:
		what += fmt.Sprintf(": %s will be tried again (attempt %d)", dash(t.Step), t.Attempt)
	default:
		what += fmt.Sprintf(": %s %d %%", dash(t.Step), t.Progress)
	}
	return clean(what)
}

// bar draws a bar of the given width in cells.
func bar(percent, width int) string {
	full := min(max(percent, 0), 100) * width / 100
	return strings.Repeat("━", full) + strings.Repeat("┄", width-full)
}

// wait follows a task to its end and shows how it gets on. When it is
// interrupted the task goes on, and the reader is told how to find it again.
func (c *cli) wait(ctx context.Context, api *client.Client, p *tracker, id int64) (baadal.Task, error) {
	stop := make(chan struct{})
	ticked := make(chan struct{})
	go func() {
		defer close(ticked)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				p.tick()
			}
		}
	}()
	t, err := api.WaitTask(ctx, id, p.task)
	close(stop)
	<-ticked
	if err != nil {
		p.done()
		if errors.Is(ctx.Err(), context.Canceled) {
			return t, c.stoppedWaiting(id)
		}
		return t, err
	}
	p.task(t)
	return t, nil
}

// stoppedWaiting says that the task goes on without us.
func (c *cli) stoppedWaiting(ids ...int64) error {
	for _, id := range ids {
		c.hintf("Stopped waiting; task %d goes on.\nnext: wait for it: baadal task wait %d\nnext: cancel it: baadal task cancel %d\n", id, id, id)
	}
	return &exitError{code: exitInterrupted}
}
