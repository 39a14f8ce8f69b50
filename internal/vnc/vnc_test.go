package vnc_test

import (
	"bytes"
	"context"
	"crypto/des"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/vnc"
)

var local = netip.MustParseAddr("127.0.0.1")

// screen is a VM's screen as QEMU has it: it asks for nothing, tells who it is,
// and says again what one sends. It keeps whether others may look too.
type screen struct{ shared chan byte }

func (q *screen) open(_ context.Context, grantID int64, _ string) (io.ReadWriteCloser, error) {
	if grantID == 13 {
		return nil, baadal.Errorf(baadal.Conflict, "web1 does not run: there is nothing to see")
	}
	ours, theirs := net.Pipe()
	go func() { // ends with the connection
		defer ours.Close()
		b := make([]byte, 1024)
		if _, err := io.WriteString(ours, "RFB 003.008\n"); err != nil {
			return
		}
		if _, err := io.ReadFull(ours, b[:12]); err != nil || string(b[:12]) != "RFB 003.008\n" {
			return
		}
		_, _ = ours.Write([]byte{2, 16, 1})
		if _, err := io.ReadFull(ours, b[:1]); err != nil || b[0] != 1 {
			return
		}
		_, _ = ours.Write(make([]byte, 4))
		if _, err := io.ReadFull(ours, b[:1]); err != nil {
			return
		}
		q.shared <- b[0]
		_, _ = fmt.Fprintf(ours, "picture %d\n", grantID)
		_, _ = io.Copy(ours, ours)
	}()
	return theirs, nil
}

// viewer is a small VNC client.
type viewer struct{ net.Conn }

func dial(t *testing.T, port int) *viewer {
	t.Helper()
	c, err := net.Dial("tcp", netip.AddrPortFrom(local, uint16(port)).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return &viewer{c}
}

func (v *viewer) read(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(v, b)
	return b, err
}

// answerTo is what RFC 6143, 7.2.2 says, and what all viewers do: each byte of the
// key backwards.
func answerTo(password string, challenge []byte) []byte {
	key := make([]byte, 8)
	copy(key, password)
	for i := range key {
		key[i] = bits.Reverse8(key[i])
	}
	block, _ := des.NewCipher(key)
	out := make([]byte, 16)
	block.Encrypt(out, challenge)
	block.Encrypt(out[8:], challenge[8:])
	return out
}

// signIn is all that a viewer of that version does before it sees a picture. It
// returns why it was refused.
func (v *viewer) signIn(version, password string) error {
	hello, err := v.read(12)
	if err != nil || string(hello) != "RFB 003.008\n" {
		return fmt.Errorf("%q, %w", hello, err)
	}
	_, _ = io.WriteString(v, version)
	if version == "RFB 003.003\n" {
		if kind, err := v.read(4); err != nil || binary.BigEndian.Uint32(kind) != 2 {
			return fmt.Errorf("security type %v, %w", kind, err)
		}
	} else {
		kinds, err := v.read(2)
		if err != nil || !bytes.Equal(kinds, []byte{1, 2}) {
			return fmt.Errorf("security types %v, %w", kinds, err)
		}
		_, _ = v.Write([]byte{2})
	}
	challenge, err := v.read(16)
	if err != nil {
		return err
	}
	_, _ = v.Write(answerTo(password, challenge))
	result, err := v.read(4)
	if err != nil {
		return err
	}
	if binary.BigEndian.Uint32(result) == 0 {
		_, err := v.Write([]byte{0}) // it would have the screen for itself
		return err
	}
	if version != "RFB 003.008\n" {
		return errors.New("refused")
	}
	size, err := v.read(4)
	if err != nil {
		return err
	}
	why, err := v.read(int(binary.BigEndian.Uint32(size)))
	if err != nil {
		return err
	}
	return errors.New(string(why))
}

func (v *viewer) wantPicture(t *testing.T, grantID int64) {
	t.Helper()
	want := fmt.Sprintf("picture %d\n", grantID)
	if got, err := v.read(len(want)); err != nil || string(got) != want {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
	if _, err := io.WriteString(v, "key"); err != nil {
		t.Fatal(err)
	}
	if got, err := v.read(3); err != nil || string(got) != "key" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func serve(t *testing.T, opt vnc.Options) (*vnc.Server, *screen) {
	t.Helper()
	q := &screen{shared: make(chan byte, 100)}
	opt.Screen = q.open
	s := vnc.New(local, opt)
	t.Cleanup(s.Close)
	return s, q
}

func door(id int64, port int, long time.Duration) baadal.VNCDoor {
	return baadal.VNCDoor{GrantID: id, VM: "web1", Port: port, Password: "Sesame12", Until: time.Now().Add(long)}
}

func mustServe(t *testing.T, s *vnc.Server, doors ...baadal.VNCDoor) {
	t.Helper()
	if failed := s.Serve(doors); len(failed) > 0 {
		t.Fatal(failed)
	}
}

// The viewer of these tests computes what others do: openssl's DES.
func TestAnswer(t *testing.T) {
	t.Parallel()
	challenge, _ := hex.DecodeString("000102030405060708090a0b0c0d0e0f")
	for password, want := range map[string]string{"Sesame12": "1d9b1fa9281eac657386b668ec0b0ed5", "abc": "9c22b4f2088c3465a1562c4b9d6edb04"} {
		if got := hex.EncodeToString(answerTo(password, challenge)); got != want {
			t.Errorf("%s: %s, want %s", password, got, want)
		}
	}
}

// Viewers of every version get in with the password and see the screen, beside
// who looks already; without it they are told.
func TestClients(t *testing.T) {
	t.Parallel()
	s, q := serve(t, vnc.Options{Pause: time.Millisecond})
	port, other := freePort(t), freePort(t)
	mustServe(t, s, door(1, port, time.Minute), door(13, other, time.Minute))
	for _, version := range []string{"RFB 003.003\n", "RFB 003.007\n", "RFB 003.008\n", "RFB 003.889\n"} {
		v := dial(t, port)
		if err := v.signIn(strings.Replace(version, "889", "008", 1), "Sesame12"); err != nil {
			t.Fatalf("%q: %v", version, err)
		}
		v.wantPicture(t, 1)
		if shared := <-q.shared; shared != 1 {
			t.Errorf("%q has the screen for itself", version)
		}
		if err := dial(t, port).signIn(version, "Sesame13"); err == nil {
			t.Errorf("%q gets in with a wrong password", version)
		}
	}
	if err := dial(t, port).signIn("RFB 003.008\n", ""); err == nil || err.Error() != "wrong password" {
		t.Errorf("without a password: %v", err)
	}
	if err := dial(t, other).signIn("RFB 003.008\n", "Sesame12"); err == nil || err.Error() != "web1 does not run: there is nothing to see" {
		t.Errorf("a VM that is off: %v", err)
	}
	v := dial(t, port) // one who does not want to sign in
	_, _ = v.read(12)
	_, _ = io.WriteString(v, "RFB 003.008\n")
	_, _ = v.read(2)
	_, _ = v.Write([]byte{1, 1})
	if b, err := v.read(1); err == nil {
		t.Errorf("security type None gets %v", b)
	}
	v = dial(t, port)
	_, _ = v.read(12)
	_, _ = io.WriteString(v, "GET / HTTP/1")
	if b, err := v.read(1); err == nil {
		t.Errorf("a browser gets %v", b)
	}
}

// wantCut checks that a connection ends, and how long that took.
func wantCut(t *testing.T, v *viewer, begun time.Time, atLeast, atMost time.Duration) {
	t.Helper()
	if _, err := v.read(1); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it is not cut: %v", err)
	}
	if took := time.Since(begun); took < atLeast || took > atMost {
		t.Errorf("cut after %s", took)
	}
}

func wantShut(t *testing.T, port int) {
	t.Helper()
	if c, err := net.Dial("tcp", netip.AddrPortFrom(local, uint16(port)).String()); err == nil {
		_ = c.Close()
		t.Errorf("port %d is open", port)
	}
}

// A door ends at its time with everybody in it, though nobody says so; it can be
// moved while they look; who takes it away cuts them at once.
func TestDoorsEnd(t *testing.T) {
	t.Parallel()
	s, _ := serve(t, vnc.Options{})
	port := freePort(t)
	begun := time.Now()
	enter := func(id int64) *viewer {
		t.Helper()
		v := dial(t, port)
		if err := v.signIn("RFB 003.008\n", "Sesame12"); err != nil {
			t.Fatal(err)
		}
		v.wantPicture(t, id)
		return v
	}
	mustServe(t, s, door(1, port, 500*time.Millisecond))
	v, waiting := enter(1), dial(t, port)
	mustServe(t, s, door(1, port, time.Second)) // as if extended
	wantCut(t, v, begun, 900*time.Millisecond, 4*time.Second)
	if _, err := io.Copy(io.Discard, waiting); err != nil && time.Since(begun) > 4*time.Second {
		t.Errorf("who signs in stays: %v", err)
	}
	wantShut(t, port)

	begun = time.Now()
	mustServe(t, s, door(2, port, time.Minute))
	v = enter(2)
	mustServe(t, s, door(3, port, time.Minute)) // another grant on the same port
	wantCut(t, v, begun, 0, 4*time.Second)
	v = enter(3)
	begun = time.Now()
	mustServe(t, s)
	wantCut(t, v, begun, 0, 4*time.Second)
	wantShut(t, port)

	mustServe(t, s, door(4, port, time.Minute))
	v = enter(4)
	s.Close()
	wantCut(t, v, begun, 0, 4*time.Second)
	wantShut(t, port)
	if failed := s.Serve([]baadal.VNCDoor{door(5, port, time.Minute)}); len(failed) != 1 {
		t.Error("it opens doors after its end")
	}
}

// A port that somebody else has is said, and is had once it is free.
func TestPortIsTaken(t *testing.T) {
	t.Parallel()
	s, _ := serve(t, vnc.Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := door(1, l.Addr().(*net.TCPAddr).Port, time.Minute)
	if failed := s.Serve([]baadal.VNCDoor{d}); len(failed) != 1 || !strings.Contains(failed[1].Error(), "in use") {
		t.Errorf("got %v", failed)
	}
	_ = l.Close()
	mustServe(t, s, d)
	_ = dial(t, d.Port)
}

// Guessing is slow, however many try at once, and only so many may.
func TestGuessing(t *testing.T) {
	t.Parallel()
	const pause, guesses = 100 * time.Millisecond, 8
	s, _ := serve(t, vnc.Options{Pause: pause, Strangers: guesses, Patience: 3 * time.Second})
	port := freePort(t)
	mustServe(t, s, door(1, port, time.Minute))
	begun, ended := time.Now(), make(chan error, guesses)
	for range guesses {
		v := dial(t, port)
		go func() { ended <- v.signIn("RFB 003.008\n", "wrong") }()
	}
	for range guesses {
		if err := <-ended; err == nil || err.Error() != "wrong password" {
			t.Errorf("got %v", err)
		}
	}
	if took := time.Since(begun); took < (guesses-1)*pause {
		t.Errorf("%d guesses in %s", guesses, took)
	}
	idle := make([]*viewer, guesses) // they say nothing
	for i := range idle {
		for begun := time.Now(); ; { // those before have just been told
			idle[i] = dial(t, port)
			_, err := idle[i].read(12)
			if err == nil {
				break
			}
			if time.Since(begun) > 2*time.Second {
				t.Fatal(err)
			}
		}
	}
	if b, err := dial(t, port).read(1); err == nil {
		t.Errorf("one too many gets %v", b)
	}
	for _, v := range idle { // until their time is over
		if _, err := io.Copy(io.Discard, v); err != nil && errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	}
	if err := dial(t, port).signIn("RFB 003.008\n", "Sesame12"); err != nil {
		t.Error(err)
	}
}
