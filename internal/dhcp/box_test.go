package dhcp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baadal"
	"baadal/internal/dhcp"
	"baadal/internal/needs"
	"baadal/internal/ssh"
)

var boxHost = baadal.Host{ID: 9, Name: "dhcpbox"}

// box is a DHCP box: a network namespace with a real dhcpd, and another one with
// a client, joined by a cable.
type box struct {
	server
	t      *testing.T
	dir    string
	holder int // pids that hold the namespaces
	client int

	killAfter time.Duration // SIGKILL each command and all it started then; 0 is never
	sent      atomic.Int64  // bytes of stdin that commands were given
}

// server is what a kind of DHCP server needs in a box.
type server struct {
	kind    string
	program string // an absolute path
	main    string // name of the main configuration
	config  string // its text, with the box's folder for each %[1]s
	ours    string // name of our file
	empty   string // what it holds at first
	start   string // a line of shell, in the box's folder
	make    func(dhcp.Runner, baadal.Host, dhcp.Options) *dhcp.Server
	parse   func([]byte) ([]baadal.Reservation, error)
}

var servers = []server{
	{
		kind: "isc", program: "/usr/sbin/dhcpd", main: "dhcpd.conf", ours: "baadal.conf", make: dhcp.NewISC, parse: dhcp.ParseISC,
		config: `default-lease-time 600;
authoritative;
subnet 192.168.10.0 netmask 255.255.255.0 { option routers 192.168.10.254; }
include "%[1]s/baadal.conf";
`,
		start: `: >>leases; dhcpd -4 -q -cf dhcpd.conf -lf "$PWD/leases" -pf "$PWD/pid" -user root -group root d0 || exit 1`,
	},
	{
		kind: "kea", program: "/usr/sbin/kea-dhcp4", main: "kea-dhcp4.conf", ours: "baadal.json", empty: "[]\n", make: dhcp.NewKea, parse: dhcp.ParseKea,
		config: `{ "Dhcp4": { # somebody's
  "interfaces-config": { "interfaces": [ "d0" ] },
  "control-socket": { "socket-type": "unix", "socket-name": "%[1]s/socket" },
  "hooks-libraries": [ { "library": "/usr/lib/x86_64-linux-gnu/kea/hooks/libdhcp_lease_cmds.so" } ],
  "lease-database": { "type": "memfile", "name": "%[1]s/leases", "lfc-interval": 0 },
  "authoritative": true,
  "host-reservation-identifiers": [ "hw-address" ], "match-client-id": false,
  "reservations-global": true, "reservations-in-subnet": false,
  "reservations": <?include "%[1]s/baadal.json"?>,
  "subnet4": [ { "id": 10, "subnet": "192.168.10.0/24", "option-data": [ { "name": "routers", "data": "192.168.10.254" } ] } ]
} }
`,
		start: `rm -f *.pid; KEA_LOCKFILE_DIR=none KEA_PIDFILE_DIR="$PWD" kea-dhcp4 -c kea-dhcp4.conf >kea.log 2>&1 & echo $! >pid; sleep 0.2`,
	},
}

// restartScript is what the box's service manager would do.
const restartScript = `#!/bin/sh
cd %s
[ ! -e broken ] || { echo "the unit is broken"; exit 1; }
if [ -s pid ]; then kill -9 "$(cat pid)" 2>/dev/null; fi
rm -f pid
echo restart >>restarts
nsenter -t %d -n sh ./start || exit 1
for i in 1 2 3 4 5 6 7 8 9 10; do [ -s pid ] && kill -0 "$(cat pid)" && exit 0; sleep 0.1; done
exit 1
`

const statusScript = `#!/bin/sh
cd %s; [ -s pid ] && grep -q '^State:.[RSD]' "/proc/$(cat pid)/status"
`

// onServers runs a test with each kind of server.
func onServers(t *testing.T, test func(t *testing.T, b *box)) {
	t.Helper()
	for _, s := range servers {
		t.Run(s.kind, func(t *testing.T) {
			t.Parallel()
			test(t, newBox(t, s))
		})
	}
}

// newBox makes a box. The server is not started.
func newBox(t *testing.T, s server) *box {
	t.Helper()
	needs.Programs(t, s.program, "unshare", "nsenter", "ip", "setsid", "flock", "perl")
	if os.Geteuid() != 0 {
		needs.Skip(t, "network namespaces need root")
	}
	b := &box{server: s, t: t, dir: t.TempDir()}
	b.holder, b.client = b.namespace(), b.namespace()
	b.ip(b.holder, "link", "add", "d0", "type", "veth", "peer", "name", "c0", "netns", strconv.Itoa(b.client))
	b.ip(b.holder, "addr", "add", "192.168.10.1/24", "dev", "d0")
	b.ip(b.holder, "link", "set", "d0", "up")
	b.ip(b.client, "link", "set", "c0", "up")
	b.write(s.main, fmt.Sprintf(s.config, b.dir))
	b.write(s.ours, s.empty)
	b.write("restart", fmt.Sprintf(restartScript, b.dir, b.holder))
	b.write("start", s.start+"\n")
	b.write("status", fmt.Sprintf(statusScript, b.dir))
	t.Cleanup(func() {
		if pid, _ := strconv.Atoi(strings.TrimSpace(b.read("pid"))); pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return b
}

// namespace starts a process that holds a new network namespace, and one of mounts.
func (b *box) namespace() int {
	b.t.Helper()
	cmd := exec.Command("unshare", "-n", "-m", "sleep", "1000")
	if err := cmd.Start(); err != nil {
		needs.Skip(b.t, "no network namespace: "+err.Error())
	}
	b.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	own, _ := os.Readlink("/proc/self/ns/net")
	for range 500 {
		// It is sleep once it has both.
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid))
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)); err == nil && ns != own && string(comm) == "sleep\n" {
			return cmd.Process.Pid
		}
		time.Sleep(10 * time.Millisecond)
	}
	needs.Skip(b.t, "no network namespace")
	return 0
}

func (b *box) ip(pid int, args ...string) {
	b.t.Helper()
	argv := append([]string{"-t", strconv.Itoa(pid), "-n", "ip"}, args...)
	if out, err := exec.Command("nsenter", argv...).CombinedOutput(); err != nil {
		b.t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

// command runs a command on the box.
func (b *box) command(argv ...string) (string, error) {
	out, err := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(b.holder), "-n", "-m"}, argv...)...).CombinedOutput()
	return string(out), err
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

// loads counts how often the server has read its files.
func (b *box) loads() int {
	return strings.Count(b.read("restarts"), "\n") + strings.Count(b.read("kea.log"), "Received command 'config-reload'")
}

// dhcp is the box's server, over whatever way its commands go.
func (b *box) dhcp(over dhcp.Runner) *dhcp.Server {
	return b.make(over, boxHost, dhcp.Options{
		File: b.file(b.ours), MainConfig: b.file(b.main), Socket: b.file("socket"),
		Restart: []string{b.file("restart"), "with", "an 'argument'"}, Status: []string{b.file("status")},
	})
}

// clean says what an Apply left beside its file that should have gone.
func (b *box) clean() {
	b.t.Helper()
	for _, end := range []string{".old", ".new", ".old.new", ".log"} {
		if _, err := os.Stat(b.file(b.ours + end)); err == nil {
			b.t.Errorf("%s is left", b.ours+end)
		}
	}
}

// broken is a main configuration with a mistake of somebody's at its end.
func (b *box) broken(main string) string { return main + "subnet 10.0.0.0 nonsense {\n" }

// mistake is how the server's parser names the place.
func (b *box) mistake(main string) string {
	line := strings.Count(main, "\n") + 1
	if b.kind == "isc" {
		return fmt.Sprintf("%s line %d: Expecting netmask", b.file(b.main), line)
	}
	return fmt.Sprintf("%s:%d.1: Invalid character: s", b.file(b.main), line)
}

// without is a main configuration that does not include our file.
func (b *box) without(main string) string {
	if b.kind == "isc" {
		return strings.Replace(main, "include", "# include", 1)
	}
	return strings.Replace(main, `"reservations": `, `# "reservations": `, 1)
}

// rival is a main configuration that is valid, and not with reservation 300.
func (b *box) rival(main string) string {
	if b.kind == "isc" { // a host of the same name
		return main + "host ip-10-0-1-44 { hardware ethernet 02:00:00:00:00:01; }\n"
	}
	// reservations of a subnet that does not have it
	include := fmt.Sprintf(`"reservations": <?include "%s"?>,`, b.file(b.ours))
	main = strings.Replace(main, include, "", 1)
	return strings.Replace(main, `"subnet4": [ {`, `"subnet4": [ { `+include, 1)
}

// kill ends the server as a crash would.
func (b *box) kill() {
	b.t.Helper()
	pid, _ := strconv.Atoi(strings.TrimSpace(b.read("pid")))
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		b.t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
}

var errKilled = errors.New("killed by the test")

// Write counts what is sent.
func (b *box) Write(p []byte) (int, error) {
	b.sent.Add(int64(len(p)))
	return len(p), nil
}

// Run runs a command in the server's namespace, in a session of its own.
func (b *box) Run(ctx context.Context, _ baadal.Host, c ssh.Command) (ssh.Result, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"-t", strconv.Itoa(b.holder), "-n", "-m"}, c.Argv...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if c.Stdin != nil {
		cmd.Stdin = io.TeeReader(c.Stdin, b)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return ssh.Result{}, err
	}
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = kill
	if b.killAfter > 0 {
		defer time.AfterFunc(b.killAfter, func() { _ = kill() }).Stop()
	}
	err := cmd.Wait()
	if ctx.Err() != nil {
		return ssh.Result{}, ctx.Err()
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return ssh.Result{}, errKilled
	}
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		return ssh.Result{}, err
	}
	return ssh.Result{Stdout: out.Bytes(), Stderr: errs.Bytes(), Code: cmd.ProcessState.ExitCode()}, nil
}

// offer asks the running server for an address as a client with this MAC
// address would, and returns "" if none is offered.
func (b *box) offer(mac string) string { return b.client4(guest{mac: mac}) }

// lease does the same and takes it.
func (b *box) lease(mac string) string { return b.client4(guest{mac: mac, takes: true}) }

func (b *box) client4(g guest) string {
	got := make(chan string, 1)
	go onOwnThread(func() { got <- g.talk(b.client) })
	return <-got
}

// beside is the box as the machine that the controller runs on.
type beside struct{ *box }

func (b beside) Run(ctx context.Context, h baadal.Host, c ssh.Command) (ssh.Result, error) {
	c.Argv = append([]string{"nsenter", "-t", strconv.Itoa(b.holder), "-n", "-m"}, c.Argv...)
	return dhcp.Local{}.Run(ctx, h, c)
}

// onOwnThread calls fn on a thread that ends with it, so that fn may change its
// namespace. The process's first thread cannot end and stands for the whole
// process in /proc: it is kept busy while another one is used.
func onOwnThread(fn func()) {
	runtime.LockOSThread()
	if unix.Gettid() != os.Getpid() {
		fn()
		return
	}
	defer runtime.UnlockOSThread()
	done := make(chan struct{})
	go func() {
		defer close(done)
		onOwnThread(fn)
	}()
	<-done
}

func wantCode(t *testing.T, err error, kind baadal.Kind, code string) {
	t.Helper()
	if baadal.KindOf(err) != kind || baadal.CodeOf(err) != code {
		t.Fatalf("error is %s/%s (%v), want %s/%s", baadal.KindOf(err), baadal.CodeOf(err), err, kind, code)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
