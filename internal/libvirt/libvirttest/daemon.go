package libvirttest

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"baadal/internal/needs"
)

// nobody is the user and group that a root test runs its libvirtd as.
const nobody = 65534

// StartDaemon runs a private libvirtd in session mode until the test ends and
// returns its socket. It needs no privileges and touches nothing of the
// machine's own libvirt; its test:///default keeps its domains until the test
// ends, because one connection stays open.
func StartDaemon(t *testing.T) (socket string) {
	t.Helper()
	bin, err := exec.LookPath("/usr/sbin/libvirtd")
	if err != nil {
		needs.Skip(t, "no libvirtd: "+err.Error())
	}
	dir, err := os.MkdirTemp("", "lv") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket = filepath.Join(dir, "libvirt", "libvirt-sock")
	var log bytes.Buffer
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), bin) // outlives t.Context, for clean-ups of the test
	cmd.Dir, cmd.Stderr = "/", &log
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + dir, "XDG_RUNTIME_DIR=" + dir, "XDG_CONFIG_HOME=" + dir + "/config", "XDG_CACHE_HOME=" + dir + "/cache"}
	if os.Getuid() == 0 {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for range 300 {
		if c, err := Dialer(socket)(t.Context()); err == nil {
			_ = c.Close()
			return socket
		}
		time.Sleep(20 * time.Millisecond)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	t.Fatalf("libvirtd does not start:\n%s", log.Bytes())
	return ""
}

// Dialer returns a dial function for a daemon on this machine.
func Dialer(socket string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
}
