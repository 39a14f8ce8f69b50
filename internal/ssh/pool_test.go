package ssh_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"baadal"
	"baadal/internal/ssh"
)

// TestSilentHost drops all packets of a connection in use: everything that
// waits must end with Unavailable, and the next call after the host is back
// must work.
func TestSilentHost(t *testing.T) {
	t.Parallel()
	d := startSSHD(t)
	n := &network{}
	p := newPool(t, ssh.Options{Signer: d.signer, Dial: n.dial, KeepAlive: 100 * time.Millisecond, ConnectTimeout: 300 * time.Millisecond, MinBackoff: 50 * time.Millisecond})
	sock := echoSocket(t)
	stream, err := p.DialUnix(t.Context(), d.host, sock)
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]func() error{
		"run": func() error {
			_, err := p.Run(t.Context(), d.host, ssh.Command{Argv: []string{"sleep", "300"}, Timeout: -1})
			return err
		},
		"ping": func() error {
			for {
				if err := p.Ping(t.Context(), d.host); err != nil {
					return err
				}
				time.Sleep(5 * time.Millisecond)
			}
		},
		"stream": func() error { _, err := stream.Read(make([]byte, 1)); return err },
	}
	type ended struct {
		name string
		err  error
	}
	ends := make(chan ended, len(calls))
	for name, call := range calls {
		go func() { ends <- ended{name, call()} }()
	}
	time.Sleep(500 * time.Millisecond)
	if !p.Alive(d.host.ID) {
		t.Fatal("not alive while it answers")
	}
	start := time.Now()
	n.silent.Store(true)
	for range calls { // each ends
		select {
		case e := <-ends:
			wantKind(t, e.err, baadal.Unavailable)
		case <-time.After(5 * time.Second):
			t.Fatal("a call still waits for a silent host")
		}
	}
	if took := time.Since(start); took > 1500*time.Millisecond {
		t.Errorf("noticed after %s with keepalives of 100 ms", took)
	}
	if p.Alive(d.host.ID) {
		t.Error("alive while it is silent")
	}
	err = p.Ping(t.Context(), d.host)
	wantKind(t, err, baadal.Unavailable)
	if !strings.Contains(err.Error(), "host1 does not answer") {
		t.Errorf("words: %v", err)
	}
	n.silent.Store(false)
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err = p.Ping(t.Context(), d.host); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the host is back but: %v", err)
		}
	}
}

// TestDeadHost calls a black-holed address from many sides.
func TestDeadHost(t *testing.T) {
	t.Parallel()
	d := startSSHD(t)
	n := &network{}
	n.silent.Store(true)
	now := atomic.Int64{}
	clock := func() time.Time { return time.Unix(0, now.Load()) }
	p := newPool(t, ssh.Options{Signer: d.signer, Dial: func(ctx context.Context, netw, addr string) (net.Conn, error) {
		if strings.HasPrefix(addr, "192.0.2.") {
			return n.dial(ctx, netw, addr)
		}
		return (&net.Dialer{}).DialContext(ctx, netw, addr)
	}, ConnectTimeout: 400 * time.Millisecond, MinBackoff: time.Second, MaxBackoff: 4 * time.Second, Now: clock})
	dead := d.host
	dead.ID, dead.Name, dead.Address = 2, "host2", "192.0.2.1"

	start := time.Now()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			err := p.Ping(t.Context(), dead)
			if baadal.KindOf(err) != baadal.Unavailable || !strings.Contains(err.Error(), "i/o timeout") {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Go(func() {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := p.Ping(ctx, dead); baadal.KindOf(err) != baadal.Unavailable || time.Since(began) > 300*time.Millisecond {
			t.Errorf("deadline of 50 ms: %v after %s", err, time.Since(began))
		}
	})
	if err := p.Ping(t.Context(), d.host); err != nil {
		t.Errorf("another host is held up: %v", err)
	}
	wg.Wait()
	if took := time.Since(start); took > time.Second || n.dials.Load() != 1 {
		t.Errorf("%d dials in %s; want one, ended by ConnectTimeout", n.dials.Load(), took)
	}
	start = time.Now()
	wantKind(t, p.Ping(t.Context(), dead), baadal.Unavailable)
	if n.dials.Load() != 1 || time.Since(start) > 100*time.Millisecond {
		t.Errorf("no fast failure during the pause: %d dials, %s", n.dials.Load(), time.Since(start))
	}
	// The pause doubles from 1 s to at most 4 s, minus up to a quarter.
	for i, pause := range []time.Duration{1, 2, 4, 4} {
		now.Add(int64(pause*time.Second)*3/4 - 1)
		_ = p.Ping(t.Context(), dead)
		if got := n.dials.Load(); got != int32(i+1) {
			t.Fatalf("pause %d is shorter than three quarters of %d s", i, pause)
		}
		now.Add(int64(pause*time.Second)/4 + 1)
		_ = p.Ping(t.Context(), dead)
		if got := n.dials.Load(); got != int32(i+2) {
			t.Fatalf("pause %d is longer than %d s", i, pause)
		}
	}
	p.Forget(dead.ID)
	_ = p.Ping(t.Context(), dead)
	if got := n.dials.Load(); got != 6 {
		t.Errorf("a forgotten host is not dialled at once: %d dials", got)
	}
}

// TestMuteServer dials something that accepts and says nothing.
func TestMuteServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := startSSHD(t)
	d.host.SSHPort = l.Addr().(*net.TCPAddr).Port
	p := newPool(t, ssh.Options{Signer: d.signer, ConnectTimeout: 200 * time.Millisecond})
	start := time.Now()
	wantKind(t, p.Ping(t.Context(), d.host), baadal.Unavailable)
	if took := time.Since(start); took > time.Second {
		t.Errorf("gave up after %s", took)
	}
}

// TestRedial restarts sshd below a pool.
func TestRedial(t *testing.T) {
	t.Parallel()
	d := startSSHD(t)
	n := &network{}
	p := newPool(t, ssh.Options{Signer: d.signer, Dial: n.dial, MinBackoff: 20 * time.Millisecond})
	if err := p.Ping(t.Context(), d.host); err != nil {
		t.Fatal(err)
	}
	d.stop()
	n.cut()
	failed := false
	for range 5 {
		failed = failed || baadal.KindOf(p.Ping(t.Context(), d.host)) == baadal.Unavailable
	}
	if !failed {
		t.Error("sshd is gone but nothing fails")
	}
	d.start(t)
	deadline := time.Now().Add(5 * time.Second)
	for p.Ping(t.Context(), d.host) != nil {
		if time.Now().After(deadline) {
			t.Fatal("no connection after sshd came back")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestHostKey(t *testing.T) {
	t.Parallel()
	d := startSSHD(t)
	n := &network{}
	p := newPool(t, ssh.Options{Signer: d.signer, Dial: n.dial})
	key, fingerprint, err := ssh.FetchHostKey(t.Context(), d.addr)
	if err != nil || key != d.host.HostKey || !strings.HasPrefix(fingerprint, "SHA256:") {
		t.Fatalf("FetchHostKey = %q, %q, %v; want %q", key, fingerprint, err, d.host.HostKey)
	}
	const rsa = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDCZkL7tO3bGM+IBryC7KcXtO4E7tZS3m7hEiE/WuiDrBzsQDAqpSmm3lG+td2fyDWJQx+d7GlsbofGQV5i7Ux1l6VVRluD9puyrxWMiri0dXqR/sKuIKzN6a/okpV2Bi7K2nVAQhTuIBoZzfq+rJcECQB3BulYI39TskFKYCHfeUsjLoHLRSm8sbq5UnvMDx/JXgFgiZb/y8DG6NjfnCZhFBTStG8Yw4sSSBF0qSOhMmmRuQFuJzOooJFoOWLkNfbHYOVnW1gMnLF+436FlF6fRsqZbBY2vAzT03Mjq9dyDknqRx76X2vb8A/j4ibHdZA/TGilOMfkYQJjBUppzFwr"
	other, _ := newKey(t, filepath.Join(t.TempDir(), "other"))
	for name, pinned := range map[string]string{
		"another key":      strings.TrimSpace(string(marshal(other))),
		"another type":     rsa,
		"nothing is there": "",
	} {
		h := d.host
		h.HostKey = pinned
		before := n.dials.Load()
		err := p.Ping(t.Context(), h)
		if name == "nothing is there" {
			if baadal.CodeOf(err) != "host_key_missing" || n.dials.Load() != before {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		wantKind(t, err, baadal.Conflict)
		if baadal.CodeOf(err) != "host_key_changed" || !strings.Contains(err.Error(), "SHA256:") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := p.Run(t.Context(), h, ssh.Command{Argv: []string{"true"}}); baadal.CodeOf(err) != "host_key_changed" {
			t.Errorf("%s: work goes on: %v", name, err)
		}
		if got := n.dials.Load(); got != before+1 {
			t.Errorf("%s: %d dials, want one: the failure is remembered", name, got-before)
		}
	}
	if err := p.Ping(t.Context(), d.host); err != nil {
		t.Errorf("after the right key was pinned: %v", err)
	}
}

func TestClientKeyRefused(t *testing.T) {
	t.Parallel()
	d := startSSHD(t)
	other, _ := newKey(t, filepath.Join(t.TempDir(), "other"))
	p := newPool(t, ssh.Options{Signer: other})
	err := p.Ping(t.Context(), d.host)
	wantKind(t, err, baadal.Conflict)
	e, _ := errors.AsType[*baadal.Error](err)
	if e.Code != "ssh_key_refused" || len(e.Next) == 0 || !strings.HasPrefix(e.Next[0].Action, "ssh-ed25519 ") {
		t.Errorf("got %+v", e)
	}
}

func TestDialUnix(t *testing.T) {
	t.Parallel()
	d := startSSHD(t)
	p := newPool(t, ssh.Options{Signer: d.signer})
	sock := echoSocket(t)
	var wg sync.WaitGroup
	for range 30 { // streams do not count as sessions
		wg.Go(func() {
			c, err := p.DialUnix(t.Context(), d.host, sock)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			buf := make([]byte, 5)
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "hello" {
				t.Errorf("%q, %v", buf, err)
			}
		})
	}
	wg.Wait()
	_, err := p.DialUnix(t.Context(), d.host, sock+".none")
	if baadal.CodeOf(err) != "socket_refused" || baadal.KindOf(err) != baadal.Unavailable {
		t.Errorf("missing socket: %v", err)
	}
}

func TestDialTCP(t *testing.T) {
	t.Parallel()
	d := startSSHD(t)
	p := newPool(t, ssh.Options{Signer: d.signer})
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, _ = c.Write([]byte("hello"))
			_ = c.Close()
		}
	}()
	c, err := p.DialTCP(t.Context(), d.host, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if said, err := io.ReadAll(c); err != nil || string(said) != "hello" {
		t.Errorf("%q, %v", said, err)
	}
	_ = l.Close()
	if _, err = p.DialTCP(t.Context(), d.host, l.Addr().String()); baadal.CodeOf(err) != "socket_refused" || baadal.KindOf(err) != baadal.Unavailable {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	d := startSSHD(t)
	p := ssh.New(ssh.Options{Signer: d.signer})
	if err := p.Ping(t.Context(), d.host); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := p.Run(t.Context(), d.host, ssh.Command{Argv: []string{"sleep", "300"}})
		ended <- err
	}()
	time.Sleep(200 * time.Millisecond)
	p.Close()
	p.Close()
	wantKind(t, <-ended, baadal.Unavailable)
	wantKind(t, p.Ping(t.Context(), d.host), baadal.Unavailable)
}

// echoSocket listens on a Unix socket and sends back what it gets.
func echoSocket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "echo") // TempDir paths can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	sock := filepath.Join(dir, "s")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close(); _ = os.RemoveAll(dir) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	return sock
}
