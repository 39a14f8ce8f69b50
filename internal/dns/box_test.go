package dns_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"baadal"
	"baadal/internal/dns"
	"baadal/internal/needs"
	"baadal/internal/ssh"
)

const domain = "cloud.test"

var boxHost = baadal.Host{ID: 9, Name: "dnsbox"}

// box is a name server's machine: a real dnsmasq on a port of the loopback.
type box struct {
	t    *testing.T
	dir  string
	addr string

	killAfter time.Duration // SIGKILL each command then; 0 is never
	mounts    int           // a process in whose mounts they run; 0: they are ours
}

const mainConfig = `port=%s
listen-address=127.0.0.1
bind-interfaces
no-resolv
no-hosts
no-dhcp-interface=lo
local=/cloud.test/
bogus-priv
user=root
pid-file=%s
log-facility=%s
addn-hosts=%s
addn-hosts=%s
`

const restartScript = `#!/bin/sh
cd %s
[ ! -e broken ] || { echo "the unit is broken" >&2; exit 1; }
if [ -s pid ]; then
	p=$(cat pid)
	kill -9 "$p" 2>/dev/null
	while kill -0 "$p" 2>/dev/null; do sleep 0.01; done
fi
rm -f pid
echo restart >>restarts
exec dnsmasq -C dnsmasq.conf
`

const reloadScript = `#!/bin/sh
cd %s
kill -HUP "$(cat pid)"
`

// newBox makes a box. The server is not started.
func newBox(t *testing.T) *box {
	t.Helper()
	needs.Programs(t, "/usr/sbin/dnsmasq", "flock", "sha256sum")
	if os.Geteuid() != 0 {
		needs.Skip(t, "dnsmasq is started as root")
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, dir: t.TempDir(), addr: l.Addr().String()}
	_ = l.Close()
	_, port, _ := net.SplitHostPort(b.addr)
	b.write("dnsmasq.conf", fmt.Sprintf(mainConfig, port, b.file("pid"), b.file("log"), b.file("baadal"), b.file("theirs")))
	b.write("theirs", "192.168.10.200 printer.cloud.test\n")
	b.write("reload", fmt.Sprintf(reloadScript, b.dir))
	b.write("restart", fmt.Sprintf(restartScript, b.dir))
	t.Cleanup(b.kill)
	return b
}

func (b *box) kill() {
	if pid, _ := strconv.Atoi(strings.TrimSpace(b.read("pid"))); pid > 1 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func (b *box) file(name string) string { return filepath.Join(b.dir, name) }

func (b *box) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(b.file(name), []byte(text), 0o755); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) read(name string) string {
	text, _ := os.ReadFile(b.file(name))
	return string(text)
}

func (b *box) restarts() int { return strings.Count(b.read("restarts"), "\n") }

func (b *box) dnsmasq() *dns.Dnsmasq {
	return dns.NewDnsmasq(b, boxHost, dns.Options{
		Domain: domain, File: b.file("baadal"), Server: b.addr, Reload: []string{b.file("reload")}, Restart: []string{b.file("restart")}, Settle: 2 * time.Second,
	})
}

// DialTCP connects directly: the box is this machine.
func (b *box) DialTCP(ctx context.Context, _ baadal.Host, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

var errKilled = errors.New("killed by the test")

// Run runs a command in a process group of its own.
func (b *box) Run(ctx context.Context, _ baadal.Host, c ssh.Command) (ssh.Result, error) {
	var out, errs bytes.Buffer
	ctx, stop := context.WithTimeout(ctx, c.Timeout)
	defer stop()
	argv := b.inside(c.Argv)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return ssh.Result{}, err
	}
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = kill
	if b.killAfter > 0 {
		defer time.AfterFunc(b.killAfter, func() { _ = kill() }).Stop()
	}
	_ = cmd.Wait()
	if ctx.Err() != nil {
		return ssh.Result{}, ctx.Err()
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return ssh.Result{}, errKilled
	}
	return ssh.Result{Stdout: out.Bytes(), Stderr: errs.Bytes(), Code: cmd.ProcessState.ExitCode()}, nil
}

// namespace starts a process that holds mounts of its own.
func (b *box) namespace() int {
	b.t.Helper()
	cmd := exec.Command("unshare", "-m", "sleep", "1000")
	must(b.t, cmd.Start())
	b.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for range 500 {
		if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid)); string(comm) == "sleep\n" {
			return cmd.Process.Pid
		}
		time.Sleep(10 * time.Millisecond)
	}
	needs.Skip(b.t, "no namespace of mounts")
	return 0
}

func (b *box) inside(argv []string) []string {
	if b.mounts == 0 {
		return argv
	}
	return append([]string{"nsenter", "-t", strconv.Itoa(b.mounts), "-m"}, argv...)
}

// must runs a command on the box, and returns what it printed.
func (b *box) must(argv ...string) string {
	b.t.Helper()
	argv = b.inside(argv)
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		b.t.Fatalf("%v: %v: %s", argv, err, out)
	}
	return string(out)
}

// restart is what somebody does by hand.
func (b *box) restart() {
	b.t.Helper()
	b.must(b.file("restart"))
}

// resolver asks the box's server alone.
func (b *box) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, b.addr)
	}}
}

// answers compares what the server says about a name and an address; none is an
// empty text.
func (b *box) answers(name, ips, ip, names string) {
	b.t.Helper()
	got, err := b.resolver().LookupHost(b.t.Context(), name+"."+domain+".")
	if text := strings.Join(got, " "); text != ips || err != nil && !notFound(err) {
		b.t.Errorf("%s is at %q, want %q: %v", name, text, ips, err)
	}
	if names != "" {
		names += "." + domain + "."
	}
	got, err = b.resolver().LookupAddr(b.t.Context(), ip)
	if text := strings.Join(got, " "); text != names || err != nil && !notFound(err) {
		b.t.Errorf("%s is %q, want %q: %v", ip, text, names, err)
	}
}

func notFound(err error) bool {
	e, ok := errors.AsType[*net.DNSError](err)
	return ok && e.IsNotFound
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
