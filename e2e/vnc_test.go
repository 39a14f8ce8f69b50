package e2e_test

import (
	"bytes"
	"context"
	"crypto/des"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"baadal"
	"baadal/internal/lab"
)

// viewer is a small VNC client (RFC 6143).
type viewer struct {
	t *testing.T
	io.ReadWriter
}

func (v viewer) read(n int) []byte {
	v.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(v, b); err != nil {
		v.t.Fatal(err)
	}
	return b
}

func (v viewer) send(b ...byte) {
	v.t.Helper()
	if _, err := v.Write(b); err != nil {
		v.t.Fatal(err)
	}
}

// signIn greets and answers the challenge; false if the password is wrong.
func (v viewer) signIn(password string) bool {
	v.t.Helper()
	if hello := string(v.read(12)); hello != "RFB 003.008\n" {
		v.t.Fatalf("it says %q", hello)
	}
	v.send([]byte("RFB 003.008\n")...)
	if kinds := v.read(2); !bytes.Equal(kinds, []byte{1, 2}) {
		v.t.Fatalf("security types %v", kinds)
	}
	v.send(2)
	v.send(vncAnswer(password, v.read(16))...)
	return binary.BigEndian.Uint32(v.read(4)) == 0
}

// vncAnswer encrypts with each byte of the key backwards, as VNC does.
func vncAnswer(password string, challenge []byte) []byte {
	key := make([]byte, 8)
	copy(key, password)
	for i := range key {
		key[i] = bits.Reverse8(key[i])
	}
	block, _ := des.NewCipher(key)
	out := make([]byte, len(challenge))
	for i := 0; i < len(challenge); i += 8 {
		block.Encrypt(out[i:], challenge[i:])
	}
	return out
}

// picture reads one whole picture, and tells its size and how many colours it has.
func (v viewer) picture() (w, h, colours int) {
	v.t.Helper()
	head := v.read(24)
	w, h = int(binary.BigEndian.Uint16(head)), int(binary.BigEndian.Uint16(head[2:]))
	v.read(int(binary.BigEndian.Uint32(head[20:]))) // the name
	bytesPerPixel := int(head[4]) / 8
	v.send(2, 0, 0, 1, 0, 0, 0, 0) // raw pictures only
	v.send(3, 0, 0, 0, 0, 0, byte(w>>8), byte(w), byte(h>>8), byte(h))
	seen := map[string]bool{}
	for done := 0; done < w*h; {
		update := v.read(4)
		for range binary.BigEndian.Uint16(update[2:]) {
			rect := v.read(12)
			rw, rh := int(binary.BigEndian.Uint16(rect[4:])), int(binary.BigEndian.Uint16(rect[6:]))
			pixels := v.read(rw * rh * bytesPerPixel)
			for i := 0; i < len(pixels); i += bytesPerPixel {
				seen[string(pixels[i:i+bytesPerPixel])] = true
			}
			done += rw * rh
		}
	}
	return w, h, len(seen)
}

// nodeConn is a TCP connection that a node of the lab makes.
type nodeConn struct {
	io.Reader
	io.Writer
	closed chan struct{} // when the other side ended it
}

// dialFrom connects from a node of the lab. It ends with the test.
func dialFrom(ctx context.Context, t *testing.T, node, address string) *nodeConn {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(ctx)
	cmd := theLab.Command(ctx, node, "bash", "-c", `exec 3<>"/dev/tcp/$1/$2" 4<&0; cat <&4 >&3 & cat <&3; kill $!`, "bash", host, port)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, w := io.Pipe()
	cmd.Stdout, cmd.WaitDelay = w, time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &nodeConn{Reader: out, Writer: in, closed: make(chan struct{})}
	go func() { // ends with the connection
		_ = cmd.Wait()
		_ = w.CloseWithError(io.EOF)
		close(p.closed)
	}()
	t.Cleanup(func() {
		stop()
		_ = out.Close() // what nobody reads holds nothing up
		<-p.closed
	})
	return p
}

// watch asks for the screen again and again, as a viewer does, until it is cut
// off, and tells when that was.
func (v viewer) watch(p *nodeConn, limit time.Duration) (time.Time, error) {
	go func() { _, _ = io.Copy(io.Discard, p) }() // ends with the connection
	after := time.After(limit)
	for {
		select {
		case <-p.closed:
			return time.Now(), nil
		case <-after:
			return time.Now(), errors.New("it is not cut")
		case <-time.After(200 * time.Millisecond):
			_, _ = v.Write([]byte{3, 1, 0, 0, 0, 0, 0, 8, 0, 8})
		}
	}
}

// TestVNCGrant looks at a real guest with a VNC client on another machine: with
// the password it sees the screen, without it nothing; it lasts as long as the
// grant, also when the controller is killed in between, and ends on time when it hangs.
func TestVNCGrant(t *testing.T) {
	ctx := begin(t)
	vm := create(ctx, t, baadal.VMCreate{Name: "shown"})
	defer func() { remove(ctx, t, vm.UUID) }()
	const long = 20 * time.Second
	g, err := cloud.Client.GrantVNC(ctx, vm.UUID, baadal.VNCGrantCreate{Seconds: int64(long / time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	open := func() {
		t.Helper()
		eventually(t, 10*time.Second, "open", func() error {
			now, err := cloud.Client.VNCGrant(ctx, vm.UUID)
			if err == nil && !now.Open {
				err = fmt.Errorf("it is not: %s", now.Problem)
			}
			return err
		})
	}
	open()
	from := lab.Outside // of the NAT box
	if v := (viewer{t, dialFrom(ctx, t, from, g.Address)}); v.signIn("wrong") {
		t.Error("a wrong password is good")
	}
	snapshotWith(ctx, t, from, g)
	if err := cloud.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cloud.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	open()
	p := dialFrom(ctx, t, from, g.Address)
	v := viewer{t, p}
	if !v.signIn(g.Password) {
		t.Fatal("the password is not good any more")
	}
	v.send(1)
	w, h, colours := v.picture()
	comparePNG(ctx, t, vm, w, h, colours)
	if err := cloud.Signal(syscall.SIGSTOP); err != nil { // it hangs: the NAT box ends it alone
		t.Fatal(err)
	}
	end, err := v.watch(p, time.Minute)
	if err := cloud.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if late := end.Sub(g.ExpiresAt); err != nil || late < -time.Second || late > 3*time.Second {
		t.Errorf("cut %s after its end: %v", late, err)
	} else {
		t.Logf("cut %s after its end", late)
	}
	if out, err := theLab.Command(ctx, from, "bash", "-c", `exec 3<>"/dev/tcp/${1%:*}/${1##*:}"`, "bash", g.Address).CombinedOutput(); err == nil {
		t.Errorf("it still answers: %s", out)
	}
	noPorts(ctx, t, vm.Host)
	eventually(t, 30*time.Second, "everything seen again", func() error { // what was at work when it hung ran out of time
		if report := audit(ctx, t, false); len(report.NotSeen) > 0 {
			return fmt.Errorf("not seen: %v", report.NotSeen)
		}
		return nil
	})
}

// snapshotWith has vncsnapshot take a picture, where it is installed: a client
// that is not ours.
func snapshotWith(ctx context.Context, t *testing.T, node string, g baadal.VNCGrant) {
	t.Helper()
	if _, err := exec.LookPath("vncsnapshot"); err != nil {
		return
	}
	secret := make([]byte, 8) // as vncpasswd keeps it: VNC's own fixed key
	block, _ := des.NewCipher([]byte{0xe8, 0x4a, 0xd6, 0x60, 0xc4, 0x72, 0x1a, 0xe0})
	block.Encrypt(secret, []byte(g.Password))
	host, _, _ := net.SplitHostPort(g.Address)
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/vncpasswd", secret, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := theLab.CommandWith(ctx, node, lab.ExecOptions{NetOnly: true}, "vncsnapshot", "-passwd", dir+"/vncpasswd", fmt.Sprintf("%s:%d", host, g.Port-5900), dir+"/shown.jpg").CombinedOutput()
	if err != nil {
		t.Errorf("vncsnapshot: %v\n%s", err, out)
		return
	}
	picture, err := os.ReadFile(dir + "/shown.jpg")
	if err != nil || !bytes.HasPrefix(picture, []byte{0xff, 0xd8}) {
		t.Errorf("%d bytes, %v\n%s", len(picture), err, out)
	}
	t.Logf("vncsnapshot took a picture of %d bytes", len(picture))
}
