package auth_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"baadal"
	"baadal/internal/auth"
)

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func newLimiter(cfg auth.LimiterConfig) (*auth.Limiter, *clock) {
	c := &clock{t: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)}
	cfg.Now = c.now
	return auth.NewLimiter(cfg), c
}

// waitOf returns how long an attempt is told to wait; 0 if it was let through.
func waitOf(t *testing.T, err error) time.Duration {
	t.Helper()
	if err == nil {
		return 0
	}
	var limited *auth.LimitedError
	if baadal.KindOf(err) != baadal.TooMany || !errors.As(err, &limited) {
		t.Fatalf("attempt: %v, want TooMany with a LimitedError", err)
	}
	return limited.RetryAfter()
}

func TestLimiterDoublesPerName(t *testing.T) {
	t.Parallel()
	l, c := newLimiter(auth.LimiterConfig{FreePerAddress: 1000})
	for i := range 5 {
		if w := waitOf(t, l.Attempt("rita", fmt.Sprintf("10.0.0.%d:999", i))); w != 0 {
			t.Fatalf("attempt %d waits %s", i+1, w)
		}
	}
	for _, want := range []time.Duration{5, 10, 20, 40, 80, 160, 320, 640, 900, 900} {
		want *= time.Second
		if got := waitOf(t, l.Attempt("rita", "10.9.9.9:1")); got != want {
			t.Fatalf("wait is %s, want %s", got, want)
		}
		c.t = c.t.Add(want - time.Second)
		if got := waitOf(t, l.Attempt("rita", "10.9.9.9:1")); got != time.Second {
			t.Fatalf("a second before: wait is %s", got)
		}
		c.t = c.t.Add(time.Second)
		if got := waitOf(t, l.Attempt("rita", "10.9.9.9:1")); got != 0 {
			t.Fatalf("after %s: wait is %s", want, got)
		}
	}
	if got := waitOf(t, l.Attempt("asha", "10.9.9.9:1")); got != 0 {
		t.Fatalf("another name waits %s", got)
	}
	l.Succeeded("rita", "10.9.9.9:1")
	if got := waitOf(t, l.Attempt("rita", "10.9.9.9:1")); got != 0 {
		t.Fatalf("after success: wait is %s", got)
	}
}

func TestLimiterForgetsAfterQuiet(t *testing.T) {
	t.Parallel()
	l, c := newLimiter(auth.LimiterConfig{})
	for range 5 {
		_ = l.Attempt("rita", "10.0.0.1:1")
	}
	c.t = c.t.Add(15*time.Minute + 6*time.Second)
	for i := range 5 {
		if got := waitOf(t, l.Attempt("rita", "10.0.0.1:1")); got != 0 {
			t.Fatalf("attempt %d after the quiet waits %s", i+1, got)
		}
	}
}

func TestLimiterPerAddress(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ first, second string }{
		"ports do not matter": {"192.0.2.7:1000", "192.0.2.7:2000"},
		"one IPv6 /64":        {"[2001:db8:1:2::1]:1", "[2001:db8:1:2:ffff::9]:2"},
		"mapped IPv4":         {"[::ffff:192.0.2.7]:1", "192.0.2.7:5"},
		"no port":             {"192.0.2.7", "192.0.2.7:3"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, c := newLimiter(auth.LimiterConfig{FreePerAddress: 3})
			for i := range 3 {
				if got := waitOf(t, l.Attempt(fmt.Sprintf("user%d", i), tc.first)); got != 0 {
					t.Fatalf("attempt %d waits %s", i, got)
				}
			}
			if got := waitOf(t, l.Attempt("someone", tc.second)); got != 5*time.Second {
				t.Fatalf("wait is %s, want 5s", got)
			}
			// One's own account must not wipe the guesses at others'.
			c.t = c.t.Add(5 * time.Second)
			if got := waitOf(t, l.Attempt("own", tc.second)); got != 0 {
				t.Fatalf("own sign-in waits %s", got)
			}
			l.Succeeded("own", tc.second)
			if got := waitOf(t, l.Attempt("victim", tc.first)); got != 0 {
				t.Fatalf("the next guess waits %s", got)
			}
			if got := waitOf(t, l.Attempt("victim", tc.first)); got != 10*time.Second {
				t.Fatalf("the guess after it waits %s, want 10s", got)
			}
		})
	}
}

func TestLimiterMemoryIsBounded(t *testing.T) {
	t.Parallel()
	l, _ := newLimiter(auth.LimiterConfig{Entries: 100, Free: 1, FreePerAddress: 1})
	for i := range 101 {
		_ = l.Attempt(fmt.Sprintf("u%d", i), fmt.Sprintf("10.1.%d.%d", i/250, i%250))
	}
	if got := waitOf(t, l.Attempt("u0", "10.2.0.1")); got != 0 {
		t.Errorf("the first name should be forgotten, waits %s", got)
	}
	if got := waitOf(t, l.Attempt("u100", "10.2.0.2")); got == 0 {
		t.Error("the last name should be remembered")
	}
}
