package dhcp_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/dhcp"
	"baadal/internal/ssh"
)

// reservation number i of a made-up network.
func reservation(i int) baadal.Reservation {
	ip := fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
	if i < 256 {
		ip = fmt.Sprintf("192.168.10.%d", i)
	}
	return baadal.Reservation{Name: baadal.ReservationName(ip), IP: ip, MAC: fmt.Sprintf("A2:00:00:%02X:%02X:%02X", i>>16, i>>8&255, i&255)}
}

func reservations(from, to int) []baadal.Reservation {
	var rs []baadal.Reservation
	for i := from; i <= to; i++ {
		rs = append(rs, reservation(i))
	}
	return rs
}

func TestApply(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	s := b.isc()
	ctx := t.Context()
	must(t, s.Apply(ctx, reservations(10, 20)))
	if got := b.offer(reservation(12).MAC); got != "192.168.10.12" {
		t.Errorf("offered %q", got)
	}
	if got := b.offer("A2:00:00:00:00:63"); got != "" {
		t.Errorf("a stranger is offered %q", got)
	}
	got, err := s.Reservations(ctx)
	must(t, err)
	if diff := cmp.Diff(reservations(10, 20), got); diff != "" {
		t.Error(diff)
	}

	// The same in another order and spelling restarts nothing.
	again := []baadal.Reservation{}
	for _, r := range reservations(10, 20) {
		r.MAC = strings.ToLower(r.MAC)
		again = append([]baadal.Reservation{r}, again...)
	}
	must(t, s.Apply(ctx, again))
	if n := b.restarts(); n != 1 {
		t.Errorf("%d restarts, want 1", n)
	}

	must(t, s.Apply(ctx, append(reservations(13, 20), baadal.Reservation{Name: "ip-192-168-10-99", IP: "192.168.10.99", MAC: reservation(12).MAC})))
	if got := b.offer(reservation(12).MAC); got != "192.168.10.99" {
		t.Errorf("offered %q after the change", got)
	}

	// A server that stopped by itself is started.
	pid, _ := strconv.Atoi(strings.TrimSpace(b.read("pid")))
	must(t, syscall.Kill(pid, syscall.SIGKILL))
	time.Sleep(50 * time.Millisecond)
	current, err := s.Reservations(ctx)
	must(t, err)
	must(t, s.Apply(ctx, current))
	if got := b.offer(reservation(13).MAC); got != "192.168.10.13" {
		t.Errorf("offered %q after the server was killed", got)
	}

	must(t, s.Apply(ctx, nil))
	if got := b.offer(reservation(13).MAC); got != "" {
		t.Errorf("offered %q though nothing is reserved", got)
	}
	if left, _ := os.ReadDir(b.dir); len(left) != 9 {
		t.Errorf("the box holds %v", left)
	}
}

func TestApplyRefusals(t *testing.T) {
	t.Parallel()
	never := runner(func(context.Context, ssh.Command) (ssh.Result, error) {
		t.Error("the box was asked")
		return ssh.Result{}, nil
	})
	s := dhcp.NewISC(never, boxHost, dhcp.Options{})
	a, c := reservation(10), reservation(11)
	for name, tc := range map[string]struct {
		rs   []baadal.Reservation
		code string
	}{
		"same MAC":      {[]baadal.Reservation{a, {Name: "x", MAC: strings.ToLower(a.MAC), IP: c.IP}}, "duplicate_reservation"},
		"same IP":       {[]baadal.Reservation{a, {Name: "x", MAC: c.MAC, IP: a.IP}}, "duplicate_reservation"},
		"same name":     {[]baadal.Reservation{a, {Name: strings.ToUpper(a.Name), MAC: c.MAC, IP: c.IP}}, "duplicate_reservation"},
		"injected name": {[]baadal.Reservation{{Name: "x {} include \"/etc/shadow\"; host y", MAC: a.MAC, IP: a.IP}}, "bad_reservation"},
		"injected IP":   {[]baadal.Reservation{{Name: "x", MAC: a.MAC, IP: "10.0.0.1; }"}}, "bad_reservation"},
		"IPv6":          {[]baadal.Reservation{{Name: "x", MAC: a.MAC, IP: "fe80::1"}}, "bad_reservation"},
		"no MAC":        {[]baadal.Reservation{{Name: "x", IP: a.IP}}, "bad_reservation"},
		"long MAC":      {[]baadal.Reservation{{Name: "x", MAC: "02:00:5e:10:00:00:00:01", IP: a.IP}}, "bad_reservation"},
		"multicast MAC": {[]baadal.Reservation{{Name: "x", MAC: "01:00:00:00:00:01", IP: a.IP}}, "bad_reservation"},
		"no name":       {[]baadal.Reservation{{MAC: a.MAC, IP: a.IP}}, "bad_reservation"},
	} {
		if err := s.Apply(t.Context(), tc.rs); baadal.KindOf(err) != baadal.Invalid || baadal.CodeOf(err) != tc.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestApplyBrokenBox(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	s := b.isc()
	ctx := t.Context()
	must(t, s.Apply(ctx, reservations(10, 12)))
	good, main := b.read("baadal.conf"), b.read("dhcpd.conf")
	unchanged := func(t *testing.T) {
		t.Helper()
		if b.read("baadal.conf") != good {
			t.Error("our file changed")
		}
		if got := b.offer(reservation(11).MAC); got != "192.168.10.11" {
			t.Errorf("offered %q", got)
		}
		if _, err := os.Stat(b.file("baadal.conf.old")); err == nil {
			t.Error("the journal is still there")
		}
	}

	b.write("dhcpd.conf", main+"subnet 10.0.0.0 nonsense {\n")
	err := s.Apply(ctx, reservations(10, 13))
	wantCode(t, err, baadal.Conflict, "dhcp_config_broken")
	if !strings.Contains(err.Error(), "Expecting netmask") || strings.Contains(err.Error(), "Consortium") {
		t.Errorf("not the parser's words: %v", err)
	}
	unchanged(t)
	if b.read("dhcpd.conf") != main+"subnet 10.0.0.0 nonsense {\n" {
		t.Error("the main configuration was changed")
	}

	b.write("dhcpd.conf", strings.Replace(main, "include", "# include", 1))
	err = s.Apply(ctx, reservations(10, 13))
	wantCode(t, err, baadal.Conflict, "dhcp_no_include")
	e, ok := errors.AsType[*baadal.Error](err)
	if !ok || len(e.Next) != 1 || e.Next[0].Action != fmt.Sprintf("include %q;", b.file("baadal.conf")) {
		t.Errorf("no line to add: %+v", e)
	}
	unchanged(t)

	// A host block of somebody else with one of our names: ours are refused.
	b.write("dhcpd.conf", main+"host ip-192-168-10-13 { hardware ethernet 02:00:00:00:00:01; }\n")
	wantCode(t, s.Apply(ctx, reservations(10, 13)), baadal.Conflict, "dhcp_refused")
	unchanged(t)
	b.write("dhcpd.conf", main)

	b.write("broken", "")
	wantCode(t, s.Apply(ctx, reservations(10, 13)), baadal.Unavailable, "dhcp_down")
	must(t, os.Remove(b.file("broken")))
	unchanged(t)

	must(t, os.Remove(b.file("dhcpd.conf")))
	wantCode(t, s.Apply(ctx, reservations(10, 13)), baadal.Conflict, "dhcp_no_config")
	unchanged(t)
	b.write("dhcpd.conf", main)
	must(t, s.Apply(ctx, reservations(10, 13)))
}

// A server that starts with the old file but not with the new one keeps running
// with the old one.
func TestApplyRestartFails(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	s := b.isc()
	must(t, s.Apply(t.Context(), reservations(10, 12)))
	b.write("restart", "#!/bin/sh\nif grep -q 10.13 "+b.file("baadal.conf")+"; then echo 'it does not like 13'; exit 1; fi\n"+
		strings.TrimPrefix(b.read("restart"), "#!/bin/sh\n"))
	err := s.Apply(t.Context(), reservations(10, 13))
	wantCode(t, err, baadal.Conflict, "dhcp_restart_failed")
	if !strings.Contains(err.Error(), "it does not like 13") {
		t.Errorf("no reason: %v", err)
	}
	if got := b.offer(reservation(12).MAC); got != "192.168.10.12" {
		t.Errorf("offered %q", got)
	}
	got, err := s.Reservations(t.Context())
	must(t, err)
	if diff := cmp.Diff(reservations(10, 12), got); diff != "" {
		t.Error(diff)
	}
}

// Whatever moment the script is killed at, what is on the box is valid, and the
// next Apply makes file and server agree.
func TestApplyKilled(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	s := b.isc()
	ctx := t.Context()
	must(t, s.Apply(ctx, reservations(10, 11)))
	start := time.Now()
	must(t, s.Apply(ctx, reservations(10, 12)))
	whole := int64(time.Since(start))
	killed, unfinished := 0, 0
	for i := range 25 {
		to := 13 + i%5
		b.killAfter = time.Duration(1 + rand.Int64N(whole))
		if err := s.Apply(ctx, reservations(11, to)); err != nil {
			killed++
		}
		b.killAfter = 0
		if _, err := os.Stat(b.file("baadal.conf.old")); err == nil {
			unfinished++
		}
		if rs, err := dhcp.Parse([]byte(b.read("baadal.conf"))); err != nil || len(rs) < 2 {
			t.Fatalf("round %d left %v, %v", i, rs, err)
		}
		if i%2 == 0 { // go back rather than on
			to = 12
		}
		must(t, s.Apply(ctx, reservations(11, to)))
		if got, want := b.offer(reservation(to).MAC), reservation(to).IP; got != want {
			t.Fatalf("round %d: offered %q, want %q", i, got, want)
		}
		if i%5 == 0 {
			if got := b.offer(reservation(10).MAC); got != "" {
				t.Fatalf("round %d: offered %q though it is not reserved", i, got)
			}
		}
		if strings.Contains(b.read("baadal.conf"), reservation(to+1).IP) {
			t.Fatalf("round %d: the file holds more than asked for", i)
		}
		for _, left := range []string{"baadal.conf.old", "baadal.conf.new", "baadal.conf.old.new"} {
			if _, err := os.Stat(b.file(left)); err == nil {
				t.Fatalf("round %d left %s", i, left)
			}
		}
	}
	t.Logf("%d of 25 were killed, %d with the change under way", killed, unfinished)
	if killed < 5 || unfinished == 0 {
		t.Errorf("%d were killed, %d under way: the test shows nothing", killed, unfinished)
	}
}

func TestApplyMany(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	s := b.isc()
	rs := reservations(1000, 20999)
	start := time.Now()
	must(t, s.Apply(t.Context(), rs))
	applied := time.Since(start)
	start = time.Now()
	must(t, s.Apply(t.Context(), rs))
	same := time.Since(start)
	start = time.Now()
	got, err := s.Reservations(t.Context())
	must(t, err)
	t.Logf("20,000 reservations: apply %s, the same again %s, read back %s", applied, same, time.Since(start))
	if diff := cmp.Diff(rs, got); diff != "" {
		t.Error("what is read back differs")
	}
}

// runner makes a function a Runner.
type runner func(context.Context, ssh.Command) (ssh.Result, error)

func (r runner) Run(ctx context.Context, _ baadal.Host, c ssh.Command) (ssh.Result, error) {
	return r(ctx, c)
}

// Callers that wait are answered by one change, with the youngest's wish.
func TestApplyCoalesces(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}, 100), make(chan struct{})
	var runs atomic.Int32
	s := dhcp.NewISC(runner(func(ctx context.Context, _ ssh.Command) (ssh.Result, error) {
		runs.Add(1)
		entered <- struct{}{}
		select {
		case <-release:
			return ssh.Result{}, nil
		case <-ctx.Done():
			return ssh.Result{}, ctx.Err()
		}
	}), boxHost, dhcp.Options{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Apply(t.Context(), reservations(1, 1)); err != nil {
			t.Error(err)
		}
	})
	<-entered
	var waiting sync.WaitGroup
	for i := range 20 {
		waiting.Add(1)
		wg.Go(func() {
			waiting.Done()
			if err := s.Apply(t.Context(), reservations(1, 2+i)); err != nil {
				t.Error(err)
			}
		})
	}
	waiting.Wait()
	// One that does not want to wait ends with its own reason.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Apply(ctx, reservations(1, 30)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(release)
	wg.Wait()
	if n := runs.Load(); n < 2 || n > 3 {
		t.Errorf("%d runs for 21 callers, want 2", n)
	}
}

// The end of the caller that works is not an answer for those that wait.
func TestApplyLeaderLeaves(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{}, 10)
	var runs atomic.Int32
	s := dhcp.NewISC(runner(func(ctx context.Context, _ ssh.Command) (ssh.Result, error) {
		if runs.Add(1) == 1 {
			entered <- struct{}{}
			<-ctx.Done()
			return ssh.Result{}, ctx.Err()
		}
		return ssh.Result{}, nil
	}), boxHost, dhcp.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { first <- s.Apply(ctx, reservations(1, 1)) }()
	<-entered
	second := make(chan error, 1)
	go func() { second <- s.Apply(t.Context(), reservations(1, 2)) }()
	time.Sleep(20 * time.Millisecond)
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("first: %v", err)
	}
	if err := <-second; err != nil {
		t.Errorf("second: %v", err)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]baadal.Reservation{
		"":            nil,
		"# nothing\n": nil,
		"host a { hardware ethernet a2:00:00:00:00:01; fixed-address 10.0.0.1; } # x\nhost b{hardware  ethernet\nA2:00:00:00:00:02 ;fixed-address 10.0.0.2;}": {
			{Name: "a", MAC: "A2:00:00:00:00:01", IP: "10.0.0.1"}, {Name: "b", MAC: "A2:00:00:00:00:02", IP: "10.0.0.2"},
		},
	} {
		got, err := dhcp.Parse([]byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
	for _, text := range []string{"host a {", "subnet 10.0.0.0 netmask 255.0.0.0 {}", "host a { hardware ethernet x; fixed-address 10.0.0.1; }"} {
		if got, err := dhcp.Parse([]byte(text)); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("host a { hardware ethernet a2:00:00:00:00:01; fixed-address 10.0.0.1; }\n"))
	f.Add([]byte("# x\nhost a{"))
	f.Fuzz(func(t *testing.T, text []byte) {
		rs, err := dhcp.Parse(text)
		if err != nil {
			return
		}
		// What was read can be written, unless it holds doubles.
		s := dhcp.NewISC(runner(func(context.Context, ssh.Command) (ssh.Result, error) { return ssh.Result{}, nil }), boxHost, dhcp.Options{})
		if err := s.Apply(t.Context(), rs); err != nil && baadal.CodeOf(err) != "duplicate_reservation" {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
