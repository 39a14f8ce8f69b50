package ssh_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	cryptossh "golang.org/x/crypto/ssh"

	"baadal"
	"baadal/internal/needs"
	"baadal/internal/ssh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// daemon is a real sshd of the test's own.
type daemon struct {
	dir    string
	addr   string
	host   baadal.Host
	signer cryptossh.Signer // accepted by it
	cmd    *exec.Cmd
}

// startSSHD runs sshd on a free port with an ed25519 host key and one accepted
// client key.
func startSSHD(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{dir: t.TempDir()}
	var pub cryptossh.PublicKey
	d.signer, pub = newKey(t, filepath.Join(d.dir, "client"))
	_ = os.WriteFile(filepath.Join(d.dir, "authorized_keys"), cryptossh.MarshalAuthorizedKey(pub), 0o600)
	_, hostPub := newKey(t, filepath.Join(d.dir, "host"))
	d.addr = freeAddr(t)
	d.start(t)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	addr, port, _ := net.SplitHostPort(d.addr)
	d.host = baadal.Host{ID: 1, Name: "host1", Address: addr, SSHUser: me.Username, HostKey: strings.TrimSpace(string(cryptossh.MarshalAuthorizedKey(hostPub)))}
	_, _ = fmt.Sscan(port, &d.host.SSHPort)
	return d
}

func (d *daemon) start(t *testing.T) {
	t.Helper()
	bin, err := exec.LookPath("/usr/sbin/sshd")
	if err != nil {
		needs.Skip(t, "no sshd: "+err.Error())
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		needs.Skip(t, "sshd needs /run/sshd: "+err.Error())
	}
	_, port, _ := net.SplitHostPort(d.addr)
	conf := filepath.Join(d.dir, "sshd_config")
	text := fmt.Sprintf(`ListenAddress 127.0.0.1
Port %s
HostKey %s/host
AuthorizedKeysFile %s/authorized_keys
StrictModes no
UsePAM no
PidFile none
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
`, port, d.dir, d.dir)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-D", "-e", "-f", conf)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = log.Close()
	d.cmd = cmd
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for range 200 {
		if c, err := net.Dial("tcp", d.addr); err == nil {
			_ = c.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	words, _ := os.ReadFile(filepath.Join(d.dir, "log"))
	t.Fatalf("sshd does not start: %s", words)
}

func (d *daemon) stop() { _ = d.cmd.Process.Kill(); _ = d.cmd.Wait() }

// newKey makes a key pair and writes the private half to file.
func newKey(t *testing.T, file string) (cryptossh.Signer, cryptossh.PublicKey) {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := cryptossh.MarshalPrivateKey(priv, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := cryptossh.NewSignerFromKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return s, s.PublicKey()
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// newPool makes a pool that is closed with the test.
func newPool(t *testing.T, opts ssh.Options) *ssh.Pool {
	t.Helper()
	p := ssh.New(opts)
	t.Cleanup(p.Close)
	return p
}

// network is a dialer whose connections can fall silent as if all packets were
// dropped, and which counts its dials.
type network struct {
	dials  atomic.Int32
	silent atomic.Bool // new and old connections swallow everything

	mu    sync.Mutex
	conns []net.Conn
}

func (n *network) dial(ctx context.Context, netw, addr string) (net.Conn, error) {
	n.dials.Add(1)
	if n.silent.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	c, err := (&net.Dialer{}).DialContext(ctx, netw, addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.conns = append(n.conns, c)
	n.mu.Unlock()
	return &holedConn{Conn: c, net: n, closed: make(chan struct{})}, nil
}

// cut closes every connection with a reset, as a killed sshd would.
func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		_ = c.Close()
	}
}

type holedConn struct {
	net.Conn
	net    *network
	once   sync.Once
	closed chan struct{}
}

func (c *holedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.net.silent.Load() {
		<-c.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *holedConn) Write(b []byte) (int, error) {
	if c.net.silent.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *holedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// wantKind fails unless err has the kind.
func wantKind(t *testing.T, err error, kind baadal.Kind) {
	t.Helper()
	if baadal.KindOf(err) != kind {
		t.Fatalf("error is %q (%v), want kind %q", baadal.KindOf(err), err, kind)
	}
}

func marshal(s cryptossh.Signer) []byte { return cryptossh.MarshalAuthorizedKey(s.PublicKey()) }
