package dhcp_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
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
	t      *testing.T
	dir    string
	server int // pids that hold the namespaces
	client int

	killAfter time.Duration // SIGKILL each command and all it started then; 0 is never
}

const mainConfig = `default-lease-time 600;
authoritative;
subnet 192.168.10.0 netmask 255.255.255.0 { option routers 192.168.10.254; }
include "%s";
`

// restartScript is what the box's service manager would do.
const restartScript = `#!/bin/sh
cd %s
[ ! -e broken ] || { echo "the unit is broken"; exit 1; }
if [ -s pid ]; then kill -9 "$(cat pid)" 2>/dev/null; fi
: >>leases
rm -f pid
echo restart >>restarts
dhcpd -4 -q -cf dhcpd.conf -lf "$PWD/leases" -pf "$PWD/pid" -user root -group root d0 || exit 1
for i in 1 2 3 4 5 6 7 8 9 10; do [ -s pid ] && kill -0 "$(cat pid)" && exit 0; sleep 0.1; done
exit 1
`

const statusScript = `#!/bin/sh
cd %s; [ -s pid ] && grep -q '^State:.[RSD]' "/proc/$(cat pid)/status"
`

// newBox makes a box. The server is not started.
func newBox(t *testing.T) *box {
	t.Helper()
	needs.Programs(t, "/usr/sbin/dhcpd", "unshare", "nsenter", "ip", "setsid", "flock")
	if os.Geteuid() != 0 {
		needs.Skip(t, "network namespaces need root")
	}
	b := &box{t: t, dir: t.TempDir()}
	b.server, b.client = b.namespace(), b.namespace()
	b.ip(b.server, "link", "add", "d0", "type", "veth", "peer", "name", "c0", "netns", strconv.Itoa(b.client))
	b.ip(b.server, "addr", "add", "192.168.10.1/24", "dev", "d0")
	b.ip(b.server, "link", "set", "d0", "up")
	b.ip(b.client, "link", "set", "c0", "up")
	b.write("dhcpd.conf", fmt.Sprintf(mainConfig, b.file("baadal.conf")))
	b.write("baadal.conf", "")
	b.write("restart", fmt.Sprintf(restartScript, b.dir))
	b.write("status", fmt.Sprintf(statusScript, b.dir))
	t.Cleanup(func() {
		if pid, _ := strconv.Atoi(strings.TrimSpace(b.read("pid"))); pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return b
}

// namespace starts a process that holds a new network namespace.
func (b *box) namespace() int {
	b.t.Helper()
	cmd := exec.Command("unshare", "-n", "sleep", "1000")
	if err := cmd.Start(); err != nil {
		needs.Skip(b.t, "no network namespace: "+err.Error())
	}
	b.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	own, _ := os.Readlink("/proc/self/ns/net")
	for range 500 {
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)); err == nil && ns != own {
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

func (b *box) isc() *dhcp.ISC {
	return dhcp.NewISC(b, boxHost, dhcp.Options{
		File: b.file("baadal.conf"), MainConfig: b.file("dhcpd.conf"),
		Restart: []string{b.file("restart"), "with", "an 'argument'"}, Status: []string{b.file("status")},
	})
}

var errKilled = errors.New("killed by the test")

// Run runs a command in the server's namespace, in a session of its own.
func (b *box) Run(ctx context.Context, _ baadal.Host, c ssh.Command) (ssh.Result, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"-t", strconv.Itoa(b.server), "-n"}, c.Argv...)...)
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
func (b *box) offer(mac string) string {
	b.t.Helper()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		b.t.Fatal(err)
	}
	got := make(chan string, 1)
	go onOwnThread(func() { got <- discover(b.client, hw) })
	return <-got
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

// discover sends a DHCPDISCOVER (RFC 2131) and waits a moment for the offer.
func discover(pid int, hw net.HardwareAddr) string {
	ns, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(ns)
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		return err.Error()
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(s)
	_ = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
	_ = unix.SetsockoptString(s, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "c0")
	_ = unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 400000})
	if err := unix.Bind(s, &unix.SockaddrInet4{Port: 68}); err != nil {
		return err.Error()
	}
	p := make([]byte, 300)
	p[0], p[1], p[2] = 1, 1, 6 // request, Ethernet, 6 bytes
	binary.BigEndian.PutUint32(p[4:], uint32(time.Now().UnixNano()))
	p[10] = 0x80 // answer by broadcast
	copy(p[28:], hw)
	copy(p[236:], []byte{99, 130, 83, 99, 53, 1, 1, 255}) // cookie, message type DISCOVER, end
	for range 3 {
		if err := unix.Sendto(s, p, 0, &unix.SockaddrInet4{Port: 67, Addr: [4]byte{255, 255, 255, 255}}); err != nil {
			return err.Error()
		}
		answer := make([]byte, 1500)
		n, _, err := unix.Recvfrom(s, answer, 0)
		if err == nil && n > 240 && bytes.Equal(answer[4:8], p[4:8]) {
			a, _ := netip.AddrFromSlice(answer[16:20])
			return a.String()
		}
	}
	return ""
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
