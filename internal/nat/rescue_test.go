package nat_test

import (
	"strings"
	"testing"
	"time"

	"baadal"
)

// mapped is a table that opens a port of a VM, and what is reached there.
func mapped(s *site, private ...string) baadal.NATTable {
	s.t.Helper()
	t := table(private...)
	t.Forwards = []baadal.NATForward{forward(50000, "192.168.10.12:22", time.Now().Add(time.Hour))}
	return t
}

// A box whose disk is full gets its tables all the same: nothing of them is
// written there. Where not even a lock can be made, the old one stays, and it is
// said why.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.open()
	s.serve(s.inside, "192.168.10.11:22")
	s.serve(s.inside, "192.168.10.12:22")
	apply(t, b, mapped(s), true)
	full := func(options, fill string) {
		s.under = []string{"unshare", "-m", "sh", "-c", "mount -t tmpfs -o " + options + " none /run && mkdir /run/lock && " + fill + ` && exec "$@"`, "sh"}
	}
	full("size=4096", "head -c 4096 /dev/zero >/run/fill")
	apply(t, b, mapped(s, "192.168.10.11"), true)
	if got := s.talk(s.outside, "", "203.0.113.16:22"); got != "203.0.113.2 hello" {
		t.Errorf("with a full disk: %q", got)
	}
	full("nr_inodes=2", "true")
	want := mapped(s, "192.168.10.12")
	_, err := b.Apply(t.Context(), want)
	if baadal.CodeOf(err) != "nat_no_room" || baadal.KindOf(err) != baadal.Unavailable || !strings.Contains(baadal.Message(err), "No space left") {
		t.Errorf("without room for a lock: %v", err)
	}
	for _, at := range []string{"203.0.113.16:22", "203.0.113.1:50000"} {
		if got := s.talk(s.outside, "", at); got != "203.0.113.2 hello" {
			t.Errorf("the old table does not stay: at %s is %q", at, got)
		}
	}
	s.under = nil
	apply(t, b, want, true)
	apply(t, b, want, false)
}

// A pool that has the box's own router in it, or the machine that tells it what to
// do, would cut the box off for good: it is refused, and the old table stays.
func TestPoolDoesNotCutTheBoxOff(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.open()
	s.serve(s.inside, "192.168.10.12:22")
	s.in(s.box, "ip", "route", "add", "default", "via", "203.0.113.29")
	small := mapped(s)
	small.Pool = small.Pool[:4] // up to .19
	apply(t, b, small, true)
	for _, c := range []struct{ what, has, connection string }{
		{"its router", "203.0.113.29", ""},
		{"who tells it", "203.0.113.21 203.0.113.29", "203.0.113.21 40000 203.0.113.1 22"},
		{"where it is told", "203.0.113.22 203.0.113.29", "192.0.2.7 40000 203.0.113.22 22"},
		{"IPv6", "203.0.113.29", "fd00::1 40000 fd00::2 22"},
	} {
		s.under = []string{"env", "SSH_CONNECTION=" + c.connection}
		_, err := b.Apply(t.Context(), mapped(s))
		if baadal.CodeOf(err) != "nat_pool" || !strings.HasSuffix(baadal.Message(err), ": "+c.has) {
			t.Errorf("%s is in the pool: %v", c.what, err)
		}
	}
	if got := s.in(s.box, "ip", "route", "get", "192.0.2.7"); !strings.Contains(got, "via 203.0.113.29") {
		t.Errorf("it goes out by %q", got)
	}
	if got := s.talk(s.outside, "", "203.0.113.1:50000"); got != "203.0.113.2 hello" {
		t.Errorf("the old table does not stay: %q", got)
	}
	small.Pool = append(small.Pool, ip("203.0.113.28"), ip("203.0.113.30")) // beside it
	apply(t, b, small, true)
}

// A box's clock is not ours: a port whose mapping has ended here and not yet there
// can be given again, and so can one that has just ended there.
func TestPortIsGivenAgainAtItsEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.open()
	s.serve(s.inside, "192.168.10.12:22")
	for _, c := range []struct {
		what  string
		long  time.Duration
		ahead time.Duration // of our clock
		sleep time.Duration
	}{
		{"ended here", time.Hour, 2 * time.Hour, 0},
		{"ended there", 2 * time.Second, -2 * time.Second, 3 * time.Second},
	} {
		s.ahead.Store(0)
		want := table()
		want.Forwards = []baadal.NATForward{forward(50000, "192.168.10.11:22", s.now().Add(c.long))}
		if _, err := b.Apply(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		time.Sleep(c.sleep)
		s.ahead.Store(int64(c.ahead))
		want.Forwards = []baadal.NATForward{forward(50000, "192.168.10.12:22", s.now().Add(time.Hour))}
		before := s.runs.Load()
		apply(t, b, want, true)
		if n := s.runs.Load() - before; n != 1 {
			t.Errorf("%s: it took %d commands, want one change", c.what, n)
		}
		if got := s.talk(s.outside, "", "203.0.113.1:50000"); got != "203.0.113.2 hello" {
			t.Errorf("%s: %q", c.what, got)
		}
	}
}
