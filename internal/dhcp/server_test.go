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
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/dhcp"
	"baadal/internal/needs"
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

// Both servers, on another machine and on the controller's own.
func TestApply(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, b *box) { testApply(t, b, b.dhcp(b)) })
}

func TestApplyLocal(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	onServers(t, func(t *testing.T, b *box) { testApply(t, b, b.dhcp(beside{b})) })
}

func testApply(t *testing.T, b *box, s *dhcp.Server) {
	t.Helper()
	ctx := t.Context()
	must(t, s.Apply(ctx, append(reservations(10, 20), reservation(300))))
	if got := b.offer(reservation(12).MAC); got != "192.168.10.12" {
		t.Errorf("offered %q", got)
	}
	if got := b.offer("A2:00:00:00:00:63"); got != "" {
		t.Errorf("a stranger is offered %q", got)
	}
	if got := b.offer(reservation(300).MAC); got != "" && b.kind != "kea" { // Kea does not look at the network of a global reservation
		t.Errorf("offered %q, which is of another network", got)
	}
	must(t, s.Apply(ctx, reservations(10, 20)))
	got, err := s.Reservations(ctx)
	must(t, err)
	if diff := cmp.Diff(reservations(10, 20), got); diff != "" {
		t.Error(diff)
	}

	// The same in another order and spelling loads nothing.
	again := []baadal.Reservation{}
	for _, r := range reservations(10, 20) {
		r.MAC = strings.ToLower(r.MAC)
		again = append([]baadal.Reservation{r}, again...)
	}
	loads := b.loads()
	must(t, s.Apply(ctx, again))
	if n := b.loads(); n != loads || n != 2 {
		t.Errorf("loaded %d times, want 2", n)
	}

	must(t, s.Apply(ctx, append(reservations(13, 20), baadal.Reservation{Name: "ip-192-168-10-99", IP: "192.168.10.99", MAC: reservation(12).MAC})))
	if got := b.offer(reservation(12).MAC); got != "192.168.10.99" {
		t.Errorf("offered %q after the change", got)
	}

	// A server that stopped by itself is told, and started.
	current, err := s.Reservations(ctx)
	must(t, err)
	b.kill()
	_, err = s.Reservations(ctx)
	wantCode(t, err, baadal.Unavailable, "dhcp_down")
	must(t, s.Apply(ctx, current))
	if got := b.offer(reservation(13).MAC); got != "192.168.10.13" {
		t.Errorf("offered %q after the server was killed", got)
	}

	// What somebody made of our file is told, and gone with the next Apply.
	b.write(b.ours, "nonsense {\n")
	_, err = s.Reservations(ctx)
	wantCode(t, err, baadal.Conflict, "dhcp_file_changed")
	must(t, s.Apply(ctx, current))
	if got := b.offer(reservation(13).MAC); got != "192.168.10.13" {
		t.Errorf("offered %q after our file was spoiled", got)
	}

	must(t, s.Apply(ctx, nil))
	if got := b.offer(reservation(13).MAC); got != "" {
		t.Errorf("offered %q though nothing is reserved", got)
	}
	b.clean()
}

func TestApplyRefusals(t *testing.T) {
	t.Parallel()
	never := runner(func(context.Context, ssh.Command) (ssh.Result, error) {
		t.Error("the box was asked")
		return ssh.Result{}, nil
	})
	both := []*dhcp.Server{dhcp.NewISC(never, boxHost, dhcp.Options{}), dhcp.NewKea(never, boxHost, dhcp.Options{})}
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
		for _, s := range both {
			if err := s.Apply(t.Context(), tc.rs); baadal.KindOf(err) != baadal.Invalid || baadal.CodeOf(err) != tc.code {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestApplyBrokenBox(t *testing.T) {
	t.Parallel()
	onServers(t, testBrokenBox)
}

func testBrokenBox(t *testing.T, b *box) {
	s := b.dhcp(b)
	ctx := t.Context()
	must(t, s.Apply(ctx, reservations(10, 12)))
	good, main := b.read(b.ours), b.read(b.main)
	refused := func(text string, kind baadal.Kind, code string) string {
		t.Helper()
		b.write(b.main, text)
		err := s.Apply(ctx, append(reservations(10, 12), reservation(300)))
		wantCode(t, err, kind, code)
		if b.read(b.main) != text {
			t.Error("the main configuration was changed")
		}
		if b.read(b.ours) != good {
			t.Error("our file changed")
		}
		if got := b.offer(reservation(11).MAC); got != "192.168.10.11" {
			t.Errorf("offered %q", got)
		}
		b.clean()
		return err.Error()
	}

	// Somebody's mistake: told with its file and line, neither loaded nor lost.
	said := refused(b.broken(main), baadal.Conflict, "dhcp_config_broken")
	if want := b.mistake(main); !strings.Contains(said, want) || strings.Contains(said, "Consortium") {
		t.Errorf("%q is not in the parser's words: %s", want, said)
	}
	err := s.Apply(ctx, reservations(10, 12))
	must(t, err) // what the server has already needs nothing of it
	b.kill()
	wantCode(t, s.Apply(ctx, reservations(10, 12)), baadal.Conflict, "dhcp_config_broken")
	if b.read(b.main) != b.broken(main) {
		t.Error("the main configuration was changed")
	}
	b.write(b.main, main)
	must(t, s.Apply(ctx, reservations(10, 12)))

	refused(b.without(main), baadal.Conflict, "dhcp_no_include")
	err = s.Apply(ctx, reservations(10, 13))
	e, ok := errors.AsType[*baadal.Error](err)
	if !ok || len(e.Next) != 1 || !strings.Contains(e.Next[0].Action, strconv.Quote(b.file(b.ours))) {
		t.Errorf("no line to add: %+v", e)
	}
	refused(b.rival(main), baadal.Conflict, "dhcp_refused")
	b.write(b.main, main)

	must(t, os.Remove(b.file(b.main)))
	wantCode(t, s.Apply(ctx, reservations(10, 13)), baadal.Conflict, "dhcp_no_config")
	b.write(b.main, main)

	b.kill()
	b.write("broken", "")
	wantCode(t, s.Apply(ctx, reservations(10, 13)), baadal.Unavailable, "dhcp_down")
	if b.read(b.ours) != good {
		t.Error("our file changed")
	}
	must(t, os.Remove(b.file("broken")))
	must(t, s.Apply(ctx, reservations(10, 13)))
	if got := b.offer(reservation(13).MAC); got != "192.168.10.13" {
		t.Errorf("offered %q", got)
	}
	b.clean()
}

// A server that starts with the old file but not with the new one keeps running
// with the old one.
func TestApplyRestartFails(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, b *box) {
		s := b.dhcp(b)
		must(t, s.Apply(t.Context(), reservations(10, 12)))
		b.write("start", "if grep -q 10.13 "+b.ours+"; then echo 'it does not like 13'; exit 1; fi\n"+b.read("start"))
		b.kill()
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
		b.clean()
	})
}

// What a run left that was killed after the server had loaded is not taken for
// what it holds, also if a mistake of somebody came in between.
func TestUnfinishedThenBroken(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, b *box) {
		s := b.dhcp(b)
		must(t, s.Apply(t.Context(), reservations(10, 12)))
		before := b.read(b.ours)
		must(t, s.Apply(t.Context(), reservations(10, 13)))
		b.write(b.ours+".old", before) // as if killed before the journal went
		main := b.read(b.main)
		b.write(b.main, b.broken(main))
		wantCode(t, s.Apply(t.Context(), reservations(10, 14)), baadal.Conflict, "dhcp_config_broken")
		b.write(b.main, main)
		must(t, s.Apply(t.Context(), reservations(10, 12)))
		if got := b.offer(reservation(13).MAC); got != "" {
			t.Errorf("offered %q, which is no longer reserved", got)
		}
		b.clean()
	})
}

// Whatever moment the script is killed at, what is on the box is valid, and the
// next Apply makes file and server agree.
func TestApplyKilled(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	onServers(t, testKilled)
}

func testKilled(t *testing.T, b *box) {
	s := b.dhcp(b)
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
		if _, err := os.Stat(b.file(b.ours + ".old")); err == nil {
			unfinished++
		}
		if rs, err := b.parse([]byte(b.read(b.ours))); err != nil || len(rs) < 2 {
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
		if strings.Contains(b.read(b.ours), reservation(to+1).IP) {
			t.Fatalf("round %d: the file holds more than asked for", i)
		}
		b.clean()
	}
	t.Logf("%d of 25 were killed, %d with the change under way", killed, unfinished)
	if killed < 5 || unfinished == 0 {
		t.Errorf("%d were killed, %d under way: the test shows nothing", killed, unfinished)
	}
}

func TestApplyMany(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, b *box) {
		s := b.dhcp(b)
		rs := reservations(1000, 20999)
		start := time.Now()
		must(t, s.Apply(t.Context(), rs))
		applied := time.Since(start)
		sent := b.sent.Load()
		start = time.Now()
		must(t, s.Apply(t.Context(), rs))
		same := time.Since(start)
		if more := b.sent.Load() - sent; more != 0 {
			t.Errorf("the same again sends %d bytes to the box", more)
		}
		must(t, b.dhcp(b).Apply(t.Context(), rs)) // another controller, or the next one
		if more := b.sent.Load() - sent; more != 0 {
			t.Errorf("the same again sends %d bytes to the box", more)
		}
		rs = append(rs, reservation(21000))
		start = time.Now()
		must(t, s.Apply(t.Context(), rs))
		more := time.Since(start)
		start = time.Now()
		got, err := s.Reservations(t.Context())
		must(t, err)
		t.Logf("20,000 reservations: apply %s, the same again %s, one more %s, read back %s", applied, same, more, time.Since(start))
		if diff := cmp.Diff(rs, got); diff != "" {
			t.Error("what is read back differs")
		}
	})
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
