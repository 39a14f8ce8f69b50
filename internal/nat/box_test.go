package nat_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baadal"
	"baadal/internal/nat"
	"baadal/internal/needs"
	"baadal/internal/ssh"
)

// site is a NAT box between an outside and an inside, each a network namespace:
// 203.0.113.2 is outside, 203.0.113.1 and 192.168.10.254 are the box,
// 192.168.10.11 and .12 are inside.
type site struct {
	t                    *testing.T
	outside, box, inside int // pids that hold the namespaces
	table                string
	broken               atomic.Bool // the box does not answer
	under                []string    // words before each command on the box
	runs                 atomic.Int32
	ahead                atomic.Int64 // of the clock, ns
}

var tables atomic.Int32

func newSite(t *testing.T) *site {
	t.Helper()
	needs.Programs(t, "nft", "unshare", "nsenter", "ip", "flock")
	if os.Geteuid() != 0 {
		needs.Skip(t, "network namespaces need root")
	}
	s := &site{t: t, table: fmt.Sprintf("baadal%dx%d", os.Getpid(), tables.Add(1))}
	s.outside, s.box, s.inside = s.namespace(), s.namespace(), s.namespace()
	t.Cleanup(func() { _ = os.Remove("/run/lock/" + s.table + "-nat.lock") })
	s.in(s.box, "ip", "link", "add", "pub0", "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(s.outside))
	s.in(s.box, "ip", "link", "add", "v10", "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(s.inside))
	for _, words := range []string{
		"addr add 203.0.113.1/24 dev pub0", "addr add 192.168.10.254/24 dev v10", "link set pub0 up", "link set v10 up", "link set lo up",
	} {
		s.in(s.box, "ip", strings.Fields(words)...)
	}
	s.in(s.outside, "ip", strings.Fields("addr add 203.0.113.2/24 dev eth0")...)
	s.in(s.outside, "ip", strings.Fields("link set eth0 up")...)
	for _, words := range []string{
		"addr add 192.168.10.11/24 dev eth0", "addr add 192.168.10.12/24 dev eth0", "link set eth0 up", "link set lo up", "route add default via 192.168.10.254",
	} {
		s.in(s.inside, "ip", strings.Fields(words)...)
	}
	s.in(s.box, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
	return s
}

func (s *site) namespace() int {
	s.t.Helper()
	cmd := exec.Command("unshare", "-n", "sleep", "1000")
	if err := cmd.Start(); err != nil {
		needs.Skip(s.t, "no network namespace: "+err.Error())
	}
	s.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	own, _ := os.Readlink("/proc/self/ns/net")
	for range 500 {
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)); err == nil && ns != own {
			return cmd.Process.Pid
		}
		time.Sleep(10 * time.Millisecond)
	}
	needs.Skip(s.t, "no network namespace")
	return 0
}

func (s *site) in(pid int, program string, args ...string) string {
	s.t.Helper()
	argv := append([]string{"-t", strconv.Itoa(pid), "-n", program}, args...)
	out, err := exec.Command("nsenter", argv...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s %v: %v: %s", program, args, err, out)
	}
	return string(out)
}

// Run runs a command on the box.
func (s *site) Run(ctx context.Context, _ baadal.Host, c ssh.Command) (ssh.Result, error) {
	s.runs.Add(1)
	if s.broken.Load() {
		return ssh.Result{}, baadal.Errorf(baadal.Unavailable, "the box does not answer")
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "nsenter", slices.Concat([]string{"-t", strconv.Itoa(s.box), "-n"}, s.under, c.Argv)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, &out, &errs
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.Sys().(syscall.WaitStatus).Signaled()) {
		return ssh.Result{}, err
	}
	return ssh.Result{Stdout: out.Bytes(), Stderr: errs.Bytes(), Code: cmd.ProcessState.ExitCode()}, nil
}

func (s *site) now() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }

func (s *site) open() *nat.Box {
	return nat.New(s, baadal.Host{Name: "the NAT box", Address: "203.0.113.1"}, nat.Options{
		Table: s.table, Interface: "pub0", Public: netip.MustParseAddr("203.0.113.1"), Now: s.now,
	})
}

// within runs fn on a thread of its own in a namespace: sockets that it makes
// stay there.
func (s *site) within(pid int, fn func() error) error {
	got := make(chan error, 1)
	go onOwnThread(func() {
		ns, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(ns, unix.CLONE_NEWNET)
			_ = unix.Close(ns)
		}
		if err == nil {
			err = fn()
		}
		got <- err
	})
	return <-got
}

// onOwnThread calls fn on a thread that ends with it. The process's first
// thread cannot end: it is kept busy while another one is used.
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

// serve echoes lines at an address, each after the address of who sent it.
func (s *site) serve(pid int, address string) {
	s.t.Helper()
	var l *net.TCPListener
	err := s.within(pid, func() (err error) {
		l, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address)))
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				from := c.RemoteAddr().(*net.TCPAddr).IP.String()
				buf := make([]byte, 64)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					if _, err := fmt.Fprintf(c, "%s %s", from, buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
}

// dial connects from a namespace.
func (s *site) dial(pid int, from, to string) (c *net.TCPConn, err error) {
	err = s.within(pid, func() (err error) {
		d := net.Dialer{Timeout: 2 * time.Second}
		if from != "" {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from + ":0"))
		}
		fd, err := d.Dial("tcp4", to)
		if err == nil {
			c = fd.(*net.TCPConn)
		}
		return err
	})
	if err == nil {
		s.t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// say sends a word and returns the answer.
func say(c net.Conn, word string) (string, error) {
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := io.WriteString(c, word); err != nil {
		return "", err
	}
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	return string(buf[:n]), err
}

// talk connects and says a word.
func (s *site) talk(pid int, from, to string) string {
	c, err := s.dial(pid, from, to)
	if err != nil {
		return "refused"
	}
	defer c.Close()
	answer, err := say(c, "hello")
	if err != nil {
		return err.Error()
	}
	return answer
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
