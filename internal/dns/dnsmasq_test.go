package dns_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/dns"
	"baadal/internal/needs"
	"baadal/internal/simulator"
	"baadal/internal/ssh"
	"baadal/internal/workflow"
)

var (
	web = baadal.NameRecord{Name: "web1.asha", IP: "192.168.10.11"}
	sql = baadal.NameRecord{Name: "sql.asha", IP: "192.168.10.12"}
	two = baadal.NameRecord{Name: "sql.asha", IP: "192.168.20.9"}
	six = baadal.NameRecord{Name: "web1.asha", IP: "2001:db8:10:0:a000:ff:fe12:3456"}
)

// TestNames is what any name server of ours must do.
func TestNames(t *testing.T) {
	t.Parallel()
	servers := map[string]func(t *testing.T) workflow.Names{
		"dnsmasq": func(t *testing.T) workflow.Names { t.Helper(); return newBox(t).dnsmasq() },
		"simulator": func(t *testing.T) workflow.Names {
			t.Helper()
			w, err := simulator.Open(simulator.Config{Dir: t.TempDir(), Hosts: 1})
			must(t, err)
			t.Cleanup(func() { _ = w.Close() })
			return w.Names()
		},
	}
	for name, open := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			holds := func(want ...baadal.NameRecord) {
				t.Helper()
				got, err := s.NameRecords(t.Context())
				must(t, err)
				if diff := cmp.Diff(want, append([]baadal.NameRecord(nil), got...)); diff != "" {
					t.Error(diff)
				}
			}
			for _, list := range [][]baadal.NameRecord{{web, sql, two}, {web, sql, two}, {web, two}, {web, two, six}, {{Name: "new.asha", IP: web.IP}}} {
				must(t, s.Apply(t.Context(), list))
				holds(list...)
			}
			must(t, s.Apply(t.Context(), []baadal.NameRecord{two, web}))
			holds(web, two)
			for code, bad := range map[string]baadal.NameRecord{
				"duplicate_name_record": {Name: "other.asha", IP: web.IP},
				"bad_name_record":       {Name: "a_b.asha", IP: "192.168.10.13"},
			} {
				if err := s.Apply(t.Context(), []baadal.NameRecord{web, bad}); baadal.KindOf(err) != baadal.Invalid || baadal.CodeOf(err) != code {
					t.Errorf("%v: %v", bad, err)
				}
			}
			holds(web, two)
			must(t, s.Apply(t.Context(), nil))
			holds()
		})
	}
}

func TestApplyRefusals(t *testing.T) {
	t.Parallel()
	s := dns.NewDnsmasq(&never{t}, boxHost, dns.Options{Domain: domain})
	for _, bad := range []baadal.NameRecord{
		{Name: "x\n10.0.0.1 y", IP: "10.0.0.2"},
		{Name: "x y", IP: "10.0.0.2"},
		{Name: "", IP: "10.0.0.2"},
		{Name: "x.", IP: "10.0.0.2"},
		{Name: "x#", IP: "10.0.0.2"},
		{Name: "x", IP: "10.0.0.2 y"},
		{Name: "x", IP: ""},
		{Name: "x", IP: "127.0.0.1"},
		{Name: "x", IP: "fe80::1%eth0"},
		{Name: "x", IP: "0.0.0.0"},
	} {
		if err := s.Apply(t.Context(), []baadal.NameRecord{bad}); baadal.CodeOf(err) != "bad_name_record" {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// never is a box that must not be asked.
type never struct{ t *testing.T }

func (n *never) Run(context.Context, baadal.Host, ssh.Command) (ssh.Result, error) {
	n.t.Error("the box was asked")
	return ssh.Result{}, nil
}

func (n *never) DialTCP(context.Context, baadal.Host, string) (net.Conn, error) {
	n.t.Error("the box was asked")
	return nil, errors.New("never")
}

// TestApply is what people and guests see of it.
func TestApply(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	s := b.dnsmasq()
	ctx := t.Context()
	must(t, s.Apply(ctx, []baadal.NameRecord{web, sql, two})) // it did not run: it is started
	if n := b.restarts(); n != 1 {
		t.Errorf("%d restarts, want 1", n)
	}
	b.answers("web1.asha", "192.168.10.11", "192.168.10.11", "web1.asha")
	b.answers("sql.asha", "192.168.10.12 192.168.20.9", "192.168.20.9", "sql.asha")
	b.answers("nobody.asha", "", "192.168.10.13", "")

	// What others have there stays, and is answered.
	must(t, s.Apply(ctx, []baadal.NameRecord{{Name: "renamed.asha", IP: web.IP}, two}))
	b.answers("renamed.asha", "192.168.10.11", "192.168.10.11", "renamed.asha")
	b.answers("web1.asha", "", "192.168.10.12", "")
	b.answers("sql.asha", "192.168.20.9", "192.168.20.9", "sql.asha")
	b.answers("printer", "192.168.10.200", "192.168.10.200", "printer")
	if got := b.read("theirs"); got != "192.168.10.200 printer.cloud.test\n" {
		t.Errorf("their file is %q", got)
	}

	before, err := os.Stat(b.file("baadal"))
	must(t, err)
	must(t, s.Apply(ctx, []baadal.NameRecord{two, {Name: "renamed.asha", IP: web.IP}}))
	if after, err := os.Stat(b.file("baadal")); err != nil || !os.SameFile(before, after) {
		t.Errorf("the same again wrote the file: %v", err)
	}
	must(t, s.Apply(ctx, nil))
	b.answers("renamed.asha", "", "192.168.10.11", "")
	b.answers("printer", "192.168.10.200", "192.168.10.200", "printer")
	if n := b.restarts(); n != 1 {
		t.Errorf("%d restarts, want 1", n)
	}
}

// TestBothFamilies: a name has addresses of IPv4 and of IPv6, and each of them
// leads back to it, a local one too.
func TestBothFamilies(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	s := b.dnsmasq()
	local := baadal.NameRecord{Name: "sql.asha", IP: "fd00:ba:ada1:10:a000:ff:fe12:3457"}
	answers := func(r baadal.NameRecord, family, want, name string) {
		t.Helper()
		got, err := b.resolver().LookupNetIP(t.Context(), family, r.Name+"."+domain+".")
		if text := fmt.Sprint(got); text != want {
			t.Errorf("%s is at %s (%s), want %s: %v", r.Name, text, family, want, err)
		}
		names, err := b.resolver().LookupAddr(t.Context(), r.IP)
		if text := strings.Join(names, " "); text != name {
			t.Errorf("%s is %q, want %q: %v", r.IP, text, name, err)
		}
	}
	must(t, s.Apply(t.Context(), []baadal.NameRecord{web, six, sql, local}))
	answers(web, "ip4", "["+web.IP+"]", "web1.asha."+domain+".")
	answers(six, "ip6", "["+six.IP+"]", "web1.asha."+domain+".")
	answers(sql, "ip4", "["+sql.IP+"]", "sql.asha."+domain+".")
	answers(local, "ip6", "["+local.IP+"]", "sql.asha."+domain+".")
	must(t, s.Apply(t.Context(), []baadal.NameRecord{web, sql}))
	answers(web, "ip4", "["+web.IP+"]", "web1.asha."+domain+".")
	answers(six, "ip6", "[]", "")
	answers(local, "ip6", "[]", "")
}

// TestApplyMends: whatever was done to the box by hand, the next Apply puts right.
func TestApplyMends(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	b := newBox(t)
	s := b.dnsmasq()
	must(t, s.Apply(t.Context(), []baadal.NameRecord{web}))
	for name, harm := range map[string]func(){
		"file removed":      func() { must(t, os.Remove(b.file("baadal"))) },
		"file emptied":      func() { b.write("baadal", "") },
		"line added":        func() { b.write("baadal", b.read("baadal")+"192.168.10.66 evil.cloud.test\n") },
		"server killed":     b.kill,
		"both":              func() { b.kill(); must(t, os.Remove(b.file("baadal"))) },
		"remains of a kill": func() { b.write("baadal.new", "192.168.10.67 half.cloud.test\n") },
	} {
		harm()
		must(t, s.Apply(t.Context(), []baadal.NameRecord{web}))
		b.answers("web1.asha", web.IP, web.IP, "web1.asha")
		for _, gone := range []string{"192.168.10.66", "192.168.10.67"} {
			b.answers("evil", "", gone, "")
		}
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

func TestApplyBrokenBox(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	b := newBox(t)
	s := b.dnsmasq()
	must(t, s.Apply(t.Context(), []baadal.NameRecord{web}))

	// A server that does not read our folder: the words say which line it lacks.
	conf := b.read("dnsmasq.conf")
	b.write("dnsmasq.conf", strings.Replace(conf, "addn-hosts", "#addn-hosts", 1))
	b.kill()
	err := s.Apply(t.Context(), []baadal.NameRecord{web})
	e, ok := errors.AsType[*baadal.Error](err)
	if !ok || e.Kind != baadal.Unavailable || e.Code != "dns_not_answering" || len(e.Next) != 1 || e.Next[0].Action != "addn-hosts="+b.file("baadal") {
		t.Errorf("got %+v", err)
	}
	if _, err := s.NameRecords(t.Context()); baadal.CodeOf(err) != "dns_not_answering" {
		t.Errorf("read: %v", err)
	}
	b.write("dnsmasq.conf", conf)
	must(t, s.Apply(t.Context(), []baadal.NameRecord{web}))

	b.write("broken", "")
	b.kill()
	if err := s.Apply(t.Context(), []baadal.NameRecord{web}); err == nil || !strings.Contains(err.Error(), "the unit is broken") {
		t.Errorf("a server that cannot be started: %v", err)
	}
}

// TestRestartedOnce: a server that runs and yet does not answer with our names is
// restarted once, not at each look: others ask it, too.
func TestRestartedOnce(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	b := newBox(t)
	s := b.dnsmasq()
	must(t, s.Apply(t.Context(), []baadal.NameRecord{web}))
	conf := b.read("dnsmasq.conf")
	b.write("dnsmasq.conf", strings.Replace(conf, "addn-hosts", "#addn-hosts", 1))
	b.restart()
	before := b.restarts()
	for i := range 3 {
		err := s.Apply(t.Context(), []baadal.NameRecord{web, {Name: "next.asha", IP: fmt.Sprintf("192.168.10.%d", 20+i)}})
		if baadal.CodeOf(err) != "dns_not_answering" {
			t.Fatalf("got %v", err)
		}
	}
	if n := b.restarts() - before; n != 1 {
		t.Errorf("restarted %d times, want once", n)
	}
	b.kill() // a dead one is started all the same
	if err := s.Apply(t.Context(), []baadal.NameRecord{web}); baadal.CodeOf(err) != "dns_not_answering" || b.restarts() != before+2 {
		t.Errorf("a dead one: %d restarts, %v", b.restarts()-before, err)
	}
	b.write("dnsmasq.conf", conf)
	b.restart()
	must(t, s.Apply(t.Context(), []baadal.NameRecord{web}))
	b.answers("web1.asha", web.IP, web.IP, "web1.asha")
}

// TestFullDisk: the old names stay, nothing of ours takes room, and the words say
// which disk of which machine.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	conf := b.read("dnsmasq.conf")
	b.mounts = b.namespace()
	full := b.file("full")
	must(t, os.Mkdir(full, 0o755))
	b.must("mount", "-t", "tmpfs", "-o", "size=128k,mode=755", "none", full)
	b.write("dnsmasq.conf", strings.Replace(conf, b.file("baadal"), full+"/names", 1))
	s := dns.NewDnsmasq(b, boxHost, dns.Options{
		Domain: domain, File: full + "/names", Server: b.addr, Reload: []string{b.file("reload")}, Restart: []string{b.file("restart")}, Settle: 2 * time.Second,
	})
	must(t, s.Apply(t.Context(), []baadal.NameRecord{web}))
	held, room := b.must("cat", full+"/names"), b.must("df", "--output=avail", full)
	err := s.Apply(t.Context(), many(1, 8000))
	if baadal.KindOf(err) != baadal.Exhausted || baadal.CodeOf(err) != "dns_box_full" {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{boxHost.Name, full, "file system: " + full} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
	if b.must("cat", full+"/names") != held || b.must("df", "--output=avail", full) != room {
		t.Error("the file changed, or something is left")
	}
	b.answers("web1.asha", web.IP, web.IP, "web1.asha")
	must(t, s.Apply(t.Context(), []baadal.NameRecord{web}))
}

// TestApplyKilled: whenever the script is killed, what the server reads is whole.
func TestApplyKilled(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	s := b.dnsmasq()
	ctx := t.Context()
	must(t, s.Apply(ctx, many(1, 50)))
	begun := time.Now()
	must(t, s.Apply(ctx, many(1, 51)))
	whole, killed := int64(time.Since(begun)), 0
	for i := range 25 {
		b.killAfter = time.Duration(1 + rand.Int64N(whole))
		err := s.Apply(ctx, many(1, 52+i))
		b.killAfter = 0
		if err != nil {
			killed++
		}
		if text := b.read("baadal"); !strings.HasSuffix(text, "# end of Baadal's names\n") || strings.Count(text, "\n") < 54 {
			t.Fatalf("round %d left half a file: %q", i, text)
		}
		must(t, s.Apply(ctx, many(1, 50)))
		b.answers("vm50.asha", "10.0.0.50", "10.0.0.51", "")
	}
	t.Logf("%d of 25 were killed", killed)
	if killed == 0 {
		t.Error("the test shows nothing")
	}
}

// many are names by number.
func many(from, to int) (all []baadal.NameRecord) {
	for i := from; i <= to; i++ {
		all = append(all, baadal.NameRecord{Name: fmt.Sprintf("vm%d.asha", i), IP: fmt.Sprintf("10.0.%d.%d", i/256, i%256)})
	}
	return all
}

func TestApplyMany(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	s := b.dnsmasq()
	must(t, s.Apply(t.Context(), many(1, 20000)))
	begun := time.Now()
	must(t, s.Apply(t.Context(), many(1, 20001)))
	one := time.Since(begun)
	begun = time.Now()
	must(t, s.Apply(t.Context(), many(1, 20001)))
	t.Logf("20,000 names: one more %s, the same again %s", one, time.Since(begun))
	b.answers("vm20001.asha", "10.0.78.33", "10.0.78.33", "vm20001.asha")
	if n := b.restarts(); n != 1 {
		t.Errorf("%d restarts, want 1", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("# x\n10.0.0.1 a.cloud.test b\n127.53.53.53 names-0.cloud.test\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		records, err := dns.Parse(text, domain)
		for _, r := range records {
			if err != nil || r.Name == "" || strings.ContainsAny(r.Name+r.IP, " \n#") {
				t.Fatalf("%q: %+v, %v", text, r, err)
			}
		}
	})
}
