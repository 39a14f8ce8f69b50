package e2e_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"image/png"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"baadal"
)

// terminal is a serial console with what it said so far.
type terminal struct {
	stream baadal.ConsoleStream
	mu     sync.Mutex
	text   bytes.Buffer
	ended  chan error
}

func openSerial(ctx context.Context, t *testing.T, ref string) *terminal {
	t.Helper()
	var s baadal.ConsoleStream
	eventually(t, 20*time.Second, "at the serial console", func() (err error) {
		s, err = cloud.Client.Console(ctx, ref, baadal.ConsoleSerial)
		return err
	})
	c := &terminal{stream: s, ended: make(chan error, 1)}
	go func() { // ends with the stream
		b := make([]byte, 4096)
		for {
			n, err := s.Read(b)
			c.mu.Lock()
			c.text.Write(b[:n])
			c.mu.Unlock()
			if err != nil {
				c.ended <- err
				return
			}
		}
	}()
	return c
}

func (c *terminal) typed(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(c.stream, text); err != nil {
		t.Fatal(err)
	}
}

// wait waits for words and forgets everything up to them.
func (c *terminal) wait(t *testing.T, words string) {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		c.mu.Lock()
		text := c.text.String()
		if i := strings.Index(text, words); i >= 0 {
			c.text.Next(i + len(words))
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		if time.Since(begun) > 40*time.Second {
			t.Fatalf("the console does not say %q but %q", words, text)
		}
	}
}

// TestConsole sits at a real guest: its serial line, shared and over a live
// migration, its screen as VNC, and a picture of it.
func TestConsole(t *testing.T) {
	ctx := begin(t)
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	vm := create(ctx, t, baadal.VMCreate{Name: "seat", SSHKeys: []string{key}})
	defer func() { remove(ctx, t, vm.UUID) }()
	if vm, err = cloud.WaitAnswer(ctx, vm.UUID); err != nil {
		t.Fatal(err)
	}
	password, err := cloud.Client.VMPassword(ctx, vm.UUID)
	if err != nil {
		t.Fatal(err)
	}

	a := openSerial(ctx, t, vm.UUID)
	a.typed(t, "\n")
	a.wait(t, "seat login:")
	a.typed(t, "root\n")
	a.wait(t, "Password:")
	a.typed(t, password+"\n")
	a.wait(t, "# ")
	a.typed(t, "echo $((6*7))-$(hostname)\n")
	a.wait(t, "42-seat")
	b := openSerial(ctx, t, vm.UUID) // sees what was said before it came
	b.wait(t, "42-seat")
	b.typed(t, "echo $((40+1))-too\n")
	b.wait(t, "41-too")
	a.wait(t, "41-too")

	seeScreen(ctx, t, vm)
	noPorts(ctx, t, vm.Host)

	ch, err := cloud.Client.MigrateVM(ctx, vm.UUID, baadal.VMMigrate{}, baadal.ChangeOptions{})
	_, moved := did(ctx, t, "migrate", ch, err)
	for _, c := range []*terminal{a, b} {
		end, ok := errors.AsType[*baadal.ConsoleEnd](<-c.ended)
		if !ok || !end.Again() {
			t.Errorf("the move ended the console with %v", end)
		}
	}
	if moved.Host == vm.Host {
		t.Fatalf("it is still on %s", vm.Host)
	}
	a = openSerial(ctx, t, vm.UUID)
	a.typed(t, "echo $((50+5))-again\n") // the same shell, on another host
	a.wait(t, "55-again")
	seeScreen(ctx, t, moved)

	cmd := exec.CommandContext(ctx, consoleBinary(ctx, t), "vm", "console", vm.Name)
	cmd.Env = append(os.Environ(), "BAADAL_SERVER="+cloud.URL, "BAADAL_TOKEN="+cloud.Client.Token())
	cmd.Stdin = strings.NewReader("echo $((60+6))-piped\n")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "66-piped") {
		t.Errorf("piped: %v\n%s", err, out)
	}

	ch, err = cloud.Client.DestroyVM(ctx, vm.UUID, baadal.ChangeOptions{})
	did(ctx, t, "destroy", ch, err)
	if err := <-a.ended; !isEnd(err) {
		t.Errorf("the VM's end ended the console with %v", err)
	}
	for _, kind := range []baadal.ConsoleKind{baadal.ConsoleSerial, baadal.ConsoleScreen} {
		if _, err := cloud.Client.Console(ctx, vm.UUID, kind); baadal.CodeOf(err) != "vm_not_running" {
			t.Errorf("%s of a VM that is off: %v", kind, err)
		}
	}
}

func isEnd(err error) bool {
	_, ok := errors.AsType[*baadal.ConsoleEnd](err)
	return ok
}

func consoleBinary(ctx context.Context, t *testing.T) string {
	t.Helper()
	path, err := program(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// seeScreen looks at a VM's screen through the controller, as VNC and as PNG.
func seeScreen(ctx context.Context, t *testing.T, vm baadal.VM) {
	t.Helper()
	s, err := cloud.Client.Console(ctx, vm.UUID, baadal.ConsoleScreen)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	v := viewer{t, s}
	if hello := string(v.read(12)); hello != "RFB 003.008\n" {
		t.Fatalf("the screen says %q", hello)
	}
	v.send([]byte("RFB 003.008\n")...)
	if kinds := v.read(int(v.read(1)[0])); !bytes.Contains(kinds, []byte{1}) {
		t.Fatalf("security types %v", kinds)
	}
	v.send(1)
	if result := v.read(4); binary.BigEndian.Uint32(result) != 0 {
		t.Fatalf("security result %v", result)
	}
	v.send(1) // others may look too
	w, h, colours := v.picture()
	comparePNG(ctx, t, vm, w, h, colours)
}

// comparePNG takes a picture of the screen: it is of the size that a viewer
// saw, and neither is all of one colour.
func comparePNG(ctx context.Context, t *testing.T, vm baadal.VM, w, h, colours int) {
	t.Helper()
	raw, err := cloud.Client.Screenshot(ctx, vm.UUID)
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the screen of %s is %dx%d with %d colours; PNG of %d bytes", vm.Name, w, h, colours, len(raw))
	if colours < 2 || img.Bounds().Dx() != w || img.Bounds().Dy() != h {
		t.Errorf("the picture is %v, the screen %dx%d with %d colours", img.Bounds(), w, h, colours)
	}
	if dir := os.Getenv("BAADAL_TEST_PICTURES"); dir != "" {
		if err := os.WriteFile(dir+"/"+vm.Name+".png", raw, 0o600); err != nil {
			t.Error(err)
		}
	}
}

// noPorts fails if QEMU listens on the host's network.
func noPorts(ctx context.Context, t *testing.T, host string) {
	t.Helper()
	if out := node(ctx, t, host, "sh", "-c", "ss -Hltnp | grep qemu || true"); out != "" {
		t.Errorf("a VM listens on the network of %s:\n%s", host, out)
	}
}
