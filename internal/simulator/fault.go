package simulator

import (
	"context"
	"maps"
	"path"

	"baadal"
)

// Rule orders a failure of some calls.
type Rule struct {
	Op     string // "hypervisor.start", "disks.*", "*": a pattern as of path.Match
	Host   string // name of the host; empty means any
	Nth    int    // the first matching call that fails, counted from 1; 0 is 1
	Times  int    // how many calls fail from there; 0 is 1, negative means all
	Before bool   // fail before anything is done; else the deed is done and the answer is lost
	Hang   bool   // do not answer until the context or the world's CallTimeout ends
	Err    error  // the answer; nil means Unavailable
}

type rule struct {
	Rule
	seen int // matching calls so far
}

// Fail orders failures and returns a function that takes the order back. When
// several rules match a call the oldest that is due decides.
func (w *World) Fail(r Rule) (stop func()) {
	setIfZero(&r.Nth, 1)
	setIfZero(&r.Times, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	mine := &rule{Rule: r}
	w.rules = append(w.rules, mine)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		kept := w.rules[:0:0]
		for _, other := range w.rules {
			if other != mine {
				kept = append(kept, other)
			}
		}
		w.rules = kept
	}
}

// OnOp has fn called before and after each operation, outside all locks; fn may
// kill the process. Only one fn at a time; nil ends it.
func (w *World) OnOp(fn func(op string, after bool)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hook = fn
}

// Ops counts the calls of each operation since Open, failed ones included.
func (w *World) Ops() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.ops)
}

// fault returns what was ordered for this call, nil for nothing. The lock is held.
func (w *World) fault(op string, bh baadal.Host) *Rule {
	var hit *Rule
	for _, r := range w.rules {
		if match, _ := path.Match(r.Op, op); !match || !w.isNamed(bh, r.Host) {
			continue
		}
		r.seen++
		due := r.seen >= r.Nth && (r.Times < 0 || r.seen < r.Nth+r.Times)
		if due && hit == nil {
			hit = &r.Rule
		}
	}
	return hit
}

// isNamed reports whether a host goes by the name in a rule.
func (w *World) isNamed(bh baadal.Host, name string) bool {
	if name == "" || bh.Name == name {
		return true
	}
	h := w.find(bh)
	return h != nil && h.Name == name
}

// strike carries out a fault.
func (w *World) strike(ctx context.Context, op string, bh baadal.Host, f *Rule) error {
	w.cfg.Logger.Debug("simulated fault", "op", op, "host", bh.Name, "before", f.Before, "hang", f.Hang)
	if f.Hang {
		if err := sleep(ctx, w.cfg.CallTimeout); err != nil {
			return interrupted(op, err)
		}
	}
	if f.Err != nil {
		return f.Err
	}
	return baadal.Errorf(baadal.Unavailable, "%s: no answer from %s", op, nameOf(bh)).WithCode("host_unreachable")
}
