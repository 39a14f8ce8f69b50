package nat_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/nat"
)

var ip = netip.MustParseAddr

// table is a pool of 203.0.113.16 to .31 of which the first belong to the
// private addresses.
func table(private ...string) baadal.NATTable {
	t := baadal.NATTable{Ports: []baadal.PortRange{{First: 20000, Last: 59999}}}
	for n := range 16 {
		t.Pool = append(t.Pool, baadal.AddrOf(baadal.NumberOf(ip("203.0.113.16"))+uint32(n)))
	}
	for i, to := range private {
		t.Publics = append(t.Publics, baadal.NATPublic{Public: t.Pool[i], Private: ip(to)})
	}
	return t
}

func forward(port int, to string, until time.Time) baadal.NATForward {
	return baadal.NATForward{Protocol: baadal.TCP, PublicPort: port, Target: netip.MustParseAddrPort(to), Expires: until}
}

func apply(t *testing.T, b *nat.Box, want baadal.NATTable, changes bool) {
	t.Helper()
	changed, err := b.Apply(t.Context(), want)
	must(t, err)
	if changed != changes {
		t.Errorf("applied, changed is %t, want %t", changed, changes)
	}
}

// A public address leads to its VM, both ways, also from the inside; both end
// with the release, and what is open then is cut.
func TestPublicAddress(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.open()
	s.serve(s.inside, "192.168.10.11:22")
	s.serve(s.outside, "203.0.113.2:80")
	apply(t, b, table("192.168.10.11"), true)
	for _, c := range []struct {
		what      string
		pid       int
		from, to  string
		wantStart string
	}{
		{"in", s.outside, "", "203.0.113.16:22", "203.0.113.2 hello"},
		{"out", s.inside, "192.168.10.11", "203.0.113.2:80", "203.0.113.16 hello"},
		{"hairpin, a neighbour", s.inside, "192.168.10.12", "203.0.113.16:22", "192.168.10.254 hello"},
		{"hairpin, itself", s.inside, "192.168.10.11", "203.0.113.16:22", "192.168.10.254 hello"},
		{"a free address", s.outside, "", "203.0.113.17:22", "refused"},
	} {
		if got := s.talk(c.pid, c.from, c.to); got != c.wantStart {
			t.Errorf("%s: %q, want %q", c.what, got, c.wantStart)
		}
	}
	seen, err := b.Seen(t.Context())
	must(t, err)
	if got := seen.Traffic[ip("192.168.10.11")]; got.InPackets < 8 || got.OutBytes < 100 {
		t.Errorf("it counted %+v", got)
	}
	in, err := s.dial(s.outside, "", "203.0.113.16:22")
	must(t, err)
	out, err := s.dial(s.inside, "192.168.10.11", "203.0.113.2:80")
	must(t, err)
	apply(t, b, table("192.168.10.11", "192.168.10.12"), true) // another one changes nothing for them
	for _, c := range []interface {
		SetDeadline(time.Time) error
	}{in, out} {
		_ = c.SetDeadline(time.Time{})
	}
	if got, err := say(in, "still"); got != "203.0.113.2 still" {
		t.Errorf("%q, %v", got, err)
	}
	apply(t, b, table(), true)
	if got, err := say(in, "late"); err == nil {
		t.Errorf("what came in goes on: %q", got)
	}
	if got, err := say(out, "late"); err == nil {
		t.Errorf("what went out goes on: %q", got)
	}
	if got := s.talk(s.outside, "", "203.0.113.16:22"); got != "refused" {
		t.Errorf("after the release: %q", got)
	}
}

// A mapping ends at its time, and cuts what is open; it is extended without
// interruption, and keeps its time when the table is replaced.
func TestForwardEndsByItself(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.open()
	s.serve(s.inside, "192.168.10.12:22")
	want := table("192.168.10.11")
	begun := time.Now()
	want.Forwards = []baadal.NATForward{forward(50000, "192.168.10.12:22", begun.Add(3*time.Second)), forward(50001, "192.168.10.12:22", begun.Add(2*time.Second))}
	apply(t, b, want, true)
	c, err := s.dial(s.outside, "", "203.0.113.1:50000")
	must(t, err)
	short, err := s.dial(s.outside, "", "203.0.113.1:50001")
	must(t, err)
	if got, err := say(c, "hello"); got != "203.0.113.2 hello" {
		t.Fatalf("%q, %v", got, err)
	}
	want.Forwards[0].Expires = begun.Add(4 * time.Second)
	apply(t, b, want, true)
	if got, err := say(c, "extended"); err != nil {
		t.Errorf("after the extension: %q, %v", got, err)
	}
	time.Sleep(time.Until(begun.Add(time.Second)))
	replaced := time.Now()
	if _, err := s.open().Apply(t.Context(), want); err != nil { // another controller replaces the whole
		t.Fatal(err)
	}
	// On a busy machine the box gets it a moment after its ends were reckoned.
	slack := time.Since(replaced) + 500*time.Millisecond
	ended := func(c interface {
		Write([]byte) (int, error)
		Read([]byte) (int, error)
		SetDeadline(time.Time) error
	},
	) time.Duration {
		_ = c.SetDeadline(time.Now().Add(8 * time.Second))
		buf := make([]byte, 64)
		for {
			if _, err := c.Write([]byte("x")); err != nil {
				return time.Since(begun)
			}
			if _, err := c.Read(buf); err != nil {
				return time.Since(begun)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	got := make(chan time.Duration, 1)
	go func() { got <- ended(c) }()
	if at := ended(short); at < 1800*time.Millisecond || at > 2*time.Second+slack {
		t.Errorf("the short one ended after %s, want 2 s and at most %s more", at, slack)
	}
	if at := <-got; at < 3800*time.Millisecond || at > 4*time.Second+slack {
		t.Errorf("the extended one ended after %s, want 4 s and at most %s more", at, slack)
	}
	if got := s.talk(s.outside, "", "203.0.113.1:50000"); got != "refused" {
		t.Errorf("after its end: %q", got)
	}
}

// A mapping may lead to what is no VM: who connects is hidden behind the box.
// A port that gets another target cuts what is open to the old one.
func TestForwardTargets(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.open()
	s.serve(s.inside, "192.168.10.11:5900")
	s.serve(s.inside, "192.168.10.12:5900")
	want := table()
	until := time.Now().Add(time.Minute)
	want.Forwards = []baadal.NATForward{forward(20001, "192.168.10.11:5900", until)}
	want.Forwards[0].Masked = true
	apply(t, b, want, true)
	c, err := s.dial(s.outside, "", "203.0.113.1:20001")
	must(t, err)
	if got, err := say(c, "hello"); got != "192.168.10.254 hello" {
		t.Errorf("%q, %v", got, err)
	}
	want.Forwards = []baadal.NATForward{forward(20001, "192.168.10.12:5900", until)}
	apply(t, b, want, true)
	if got, err := say(c, "late"); err == nil {
		t.Errorf("it goes on to the old one: %q", got)
	}
	if got := s.talk(s.outside, "", "203.0.113.1:20001"); got != "203.0.113.2 hello" {
		t.Errorf("to the new one: %q", got)
	}
}

// What others have on the box stays, and what is done to ours by hand is
// noticed and mended.
func TestHandsOnTheBox(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.open()
	const others = `table ip site { chain post { type nat hook postrouting priority srcnat; policy accept; oifname "pub0" ip saddr 192.168.0.0/16 masquerade; };
		chain pre { type nat hook prerouting priority dstnat; policy accept; ip daddr 203.0.113.1 tcp dport 8022 dnat to 192.168.10.12:22; }; }`
	s.in(s.box, "sh", "-c", "echo '"+others+"' | nft -f -")
	before := s.in(s.box, "nft", "list", "table", "ip", "site")
	s.serve(s.inside, "192.168.10.11:22")
	s.serve(s.inside, "192.168.10.12:22")
	s.serve(s.outside, "203.0.113.2:80")
	want := table("192.168.10.11") // without mappings: our clock moves, the box's does not
	apply(t, b, want, true)
	s.ahead.Add(int64(time.Minute))
	apply(t, b, want, false)
	nft := func(words string) func() {
		return func() { s.in(s.box, "nft", strings.ReplaceAll(words, "OURS", s.table)) }
	}
	for _, c := range []struct {
		what  string
		do    func()
		later time.Duration
	}{
		{"the table is deleted", nft("delete table ip OURS"), 0},
		{"its rules are flushed", nft("flush table ip OURS"), time.Minute},
		{"a rule is added", nft("add rule ip OURS forward accept"), time.Minute},
		{"a map is flushed", nft("flush map ip OURS public"), time.Minute},
		{"the pool is forgotten", nft("flush set ip OURS pool"), time.Minute},
		{"our ports are forgotten", nft("flush set ip OURS ports"), time.Minute},
		{"a mapping is added", nft("add element ip OURS forward_tcp { 203.0.113.1 . 50009 timeout 1h : 192.168.10.12 . 22 }"), time.Minute},
		{"the routes are gone", func() { s.in(s.box, "ip", "route", "flush", "table", "local", "proto", "85") }, 0},
	} {
		c.do()
		s.ahead.Add(int64(c.later))
		apply(t, b, want, true)
		apply(t, b, want, false)
		if got := s.talk(s.outside, "", "203.0.113.16:22"); got != "203.0.113.2 hello" {
			t.Errorf("%s: then %q", c.what, got)
		}
	}
	if diff := cmp.Diff(before, s.in(s.box, "nft", "list", "table", "ip", "site")); diff != "" {
		t.Errorf("others' table (-before +after)\n%s", diff)
	}
	if got := s.talk(s.outside, "", "203.0.113.1:8022"); got != "203.0.113.2 hello" {
		t.Errorf("others' mapping: %q", got)
	}
	if got := s.talk(s.inside, "192.168.10.12", "203.0.113.2:80"); got != "203.0.113.1 hello" {
		t.Errorf("others' masquerading: %q", got)
	}
	must(t, b.Clear(t.Context()))
	if got := s.in(s.box, "nft", "list", "tables"); got != "table ip site\n" {
		t.Errorf("cleared, there are %q", got)
	}
	if got := s.in(s.box, "ip", "route", "show", "table", "local", "proto", "85"); got != "" {
		t.Errorf("cleared, there are routes %q", got)
	}
}

// What is read back is what was written.
func TestSeen(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.open()
	seen, err := b.Seen(t.Context())
	if err != nil || seen.Table {
		t.Errorf("a new box has %+v, %v", seen, err)
	}
	want := table("192.168.10.11", "192.168.10.12")
	udp := forward(50001, "192.168.10.12:53", time.Now().Add(time.Minute))
	udp.Protocol, udp.Masked = baadal.UDP, true
	want.Forwards = []baadal.NATForward{forward(50000, "192.168.10.11:22", time.Now().Add(time.Hour)), udp}
	apply(t, b, want, true)
	seen, err = b.Seen(t.Context())
	must(t, err)
	for i := range seen.Forwards {
		if d := seen.Forwards[i].Expires.Sub(want.Forwards[i].Expires).Abs(); d > 3*time.Second {
			t.Errorf("ends %s from what was wanted", d)
		}
		seen.Forwards[i].Expires = want.Forwards[i].Expires
	}
	same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	ports := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	if diff := cmp.Diff(want.Publics, seen.Publics, same); diff != "" || !seen.Table {
		t.Errorf("public addresses (-want +seen), table %t\n%s", seen.Table, diff)
	}
	if diff := cmp.Diff(want.Forwards, seen.Forwards, same, ports); diff != "" {
		t.Errorf("mappings (-want +seen)\n%s", diff)
	}
}

// A box that does not answer is Unavailable, and gets the rest when it is back.
func TestBoxAway(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.open()
	apply(t, b, table("192.168.10.11"), true)
	s.broken.Store(true)
	if _, err := b.Apply(t.Context(), table()); baadal.KindOf(err) != baadal.Unavailable {
		t.Errorf("got %v", err)
	}
	s.broken.Store(false)
	apply(t, b, table(), true)
}

// One more of many mappings costs little.
func TestOneMoreOfMany(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.open()
	const many = 5000
	want := table()
	for n := range many {
		to := fmt.Sprintf("10.%d.%d.%d:22", 1+n/65536, n/256%256, n%256)
		want.Forwards = append(want.Forwards, forward(50000+n, to, time.Now().Add(time.Hour)))
	}
	begun := time.Now()
	apply(t, b, want, true)
	whole := time.Since(begun)
	want.Forwards = append(want.Forwards, forward(50000+many, "192.168.10.12:22", time.Now().Add(time.Hour)))
	before := s.runs.Load()
	begun = time.Now()
	apply(t, b, want, true)
	t.Logf("%d mappings: %s; one more: %s", many, whole.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
	if n := s.runs.Load() - before; n > 2 {
		t.Errorf("one more took %d commands, want a look and a change", n)
	}
}
