package auth

import (
	"container/list"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"baadal"
)

// LimiterConfig sets up a Limiter. Zero fields get the default.
type LimiterConfig struct {
	Now            func() time.Time // time.Now
	Free           int              // failures of one user name before a delay; 5
	FreePerAddress int              // failures from one address before a delay; 20, as a classroom may share one
	First          time.Duration    // the delay after one more; it doubles with each; 5 s
	Max            time.Duration    // the longest delay, and how long failures are remembered after it; 15 min
	Entries        int              // user names and addresses remembered, each; 10,000. The longest unused is forgotten first
}

// Limiter slows down the guessing of passwords, per user name and per remote
// address. It is safe for concurrent use and lives in memory only.
type Limiter struct {
	cfg   LimiterConfig
	mu    sync.Mutex
	names *ledger
	addrs *ledger
}

// NewLimiter returns a Limiter that remembers nothing yet.
func NewLimiter(cfg LimiterConfig) *Limiter {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Free == 0 {
		cfg.Free = 5
	}
	if cfg.FreePerAddress == 0 {
		cfg.FreePerAddress = 20
	}
	if cfg.First == 0 {
		cfg.First = 5 * time.Second
	}
	if cfg.Max == 0 {
		cfg.Max = 15 * time.Minute
	}
	if cfg.Entries == 0 {
		cfg.Entries = 10_000
	}
	return &Limiter{cfg: cfg, names: newLedger(cfg.Free), addrs: newLedger(cfg.FreePerAddress)}
}

// LimitedError is the cause of the TooMany error that Attempt returns.
type LimitedError struct{ Wait time.Duration }

func (e *LimitedError) Error() string {
	return fmt.Sprintf("too many failed sign-ins, wait %s", e.Wait)
}

// RetryAfter says when the next attempt will be let through, from now.
func (e *LimitedError) RetryAfter() time.Duration { return e.Wait }

// Attempt must be called before a password is looked at. It counts a failure
// at once, so that parallel guesses do not slip through; Succeeded takes it
// back. While a name or address has to wait it returns TooMany, code
// "sign_in_limited", wrapping a *LimitedError, and counts nothing.
func (l *Limiter) Attempt(username, remoteAddr string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.cfg.Now()
	addr := addressKey(remoteAddr)
	wait := max(l.names.wait(username, now), l.addrs.wait(addr, now))
	if wait > 0 {
		wait = (wait + time.Second - 1).Truncate(time.Second)
		e := baadal.Errorf(baadal.TooMany, "too many failed sign-ins").WithCode("sign_in_limited").
			WithDetail("try again in %s", wait)
		e.Err = &LimitedError{Wait: wait}
		return e
	}
	l.names.fail(username, now, l.cfg)
	l.addrs.fail(addr, now, l.cfg)
	return nil
}

// Succeeded forgets the failures of a name and takes back the one that Attempt
// counted for the address: other failures from there stay, so that owning one
// account does not help in guessing another's password.
func (l *Limiter) Succeeded(username, remoteAddr string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names.forget(username)
	l.addrs.refund(addressKey(remoteAddr))
}

// addressKey drops the port, and takes an IPv6 /64 for one address, because
// that is what one customer has.
func addressKey(remote string) string {
	ap, err := netip.ParseAddrPort(remote)
	addr := ap.Addr()
	if err != nil {
		if addr, err = netip.ParseAddr(remote); err != nil {
			return remote
		}
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		return netip.PrefixFrom(addr, 64).Masked().String()
	}
	return addr.String()
}

// ledger remembers failures by key, the least recently used one at the back.
type ledger struct {
	free  int // failures before a delay
	byKey map[string]*list.Element
	order *list.List
}

type failures struct {
	key    string
	count  int
	until  time.Time // no attempt before
	forget time.Time // as if it had never been
}

func newLedger(free int) *ledger {
	return &ledger{free: free, byKey: map[string]*list.Element{}, order: list.New()}
}

func (l *ledger) wait(key string, now time.Time) time.Duration {
	e, ok := l.byKey[key]
	if !ok {
		return 0
	}
	return e.Value.(*failures).until.Sub(now)
}

func (l *ledger) fail(key string, now time.Time, cfg LimiterConfig) {
	e, ok := l.byKey[key]
	if !ok {
		e = l.order.PushFront(&failures{key: key})
		l.byKey[key] = e
	}
	l.order.MoveToFront(e)
	f := e.Value.(*failures)
	if now.After(f.forget) {
		f.count = 0
	}
	f.count++
	f.until = now
	if over := f.count - l.free; over >= 0 {
		f.until = now.Add(delay(over, cfg))
	}
	f.forget = f.until.Add(cfg.Max)
	if l.order.Len() > cfg.Entries {
		l.drop(l.order.Back())
	}
}

func delay(doublings int, cfg LimiterConfig) time.Duration {
	d := cfg.First
	for range doublings {
		if d *= 2; d >= cfg.Max {
			return cfg.Max
		}
	}
	return min(d, cfg.Max)
}

func (l *ledger) forget(key string) {
	if e, ok := l.byKey[key]; ok {
		l.drop(e)
	}
}

func (l *ledger) refund(key string) {
	e, ok := l.byKey[key]
	if !ok {
		return
	}
	f := e.Value.(*failures)
	f.until = time.Time{}
	if f.count--; f.count <= 0 {
		l.drop(e)
	}
}

func (l *ledger) drop(e *list.Element) {
	delete(l.byKey, e.Value.(*failures).key)
	l.order.Remove(e)
}
