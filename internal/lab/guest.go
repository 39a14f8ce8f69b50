package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// guest is the tiny guest: a folder of the cache.
type guest struct{ image, kernel, initrd string }

// GuestImage gives the file of the tiny guest's image, a 19 MB qcow2 that boots from BIOS in seconds even where guests
// are emulated. It builds it at the first call, from Debian packages (the network is needed then), and keeps it in the
// cache. It has DHCP, sshd, a web server, ACPI, the QEMU guest agent, and a small NoCloud reader; no key and no
// password but what the seed brings. The file is shared: copy it, do not write to it.
func (l *Lab) GuestImage(ctx context.Context) (string, error) {
	g, err := buildGuest(ctx, l.cache, l.log)
	return g.image, err
}

// WriteGuestImage copies the tiny guest's image to a file.
func WriteGuestImage(ctx context.Context, o Options, to string) error {
	l, err := open(o)
	if err != nil {
		return err
	}
	image, err := l.GuestImage(ctx)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(image)
	if err == nil {
		err = replaceFile(to, b)
	}
	if err != nil {
		return fmt.Errorf("write guest image: %w", err)
	}
	return nil
}

func buildGuest(ctx context.Context, cache string, log func(string, ...any)) (guest, error) {
	key, err := guestKey()
	if err != nil {
		return guest{}, fmt.Errorf("build guest image: %w", err)
	}
	dir := filepath.Join(cache, "guest-"+key)
	g := guest{filepath.Join(dir, "tiny.qcow2"), filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "initrd")}
	if exists(dir) {
		return g, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return guest{}, fmt.Errorf("build guest image: %w", err)
	}
	release, err := acquireLock(ctx, filepath.Join(cache, "lock"), true) // another lab may be at it
	if err != nil {
		return guest{}, fmt.Errorf("build guest image: %w", err)
	}
	defer release()
	if exists(dir) {
		return g, nil
	}
	log("building the guest image (once; some 30 MB are downloaded)")
	work, err := os.MkdirTemp(cache, "build-")
	if err != nil {
		return guest{}, fmt.Errorf("build guest image: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	sub, err := fs.Sub(files, "files/guest")
	if err != nil {
		return guest{}, fmt.Errorf("build guest image: %w", err)
	}
	if err := os.CopyFS(filepath.Join(work, "files"), sub); err != nil {
		return guest{}, fmt.Errorf("build guest image: %w", err)
	}
	out := filepath.Join(work, "out")
	cmd := exec.CommandContext(ctx, "bash", filepath.Join(work, "files", "build.sh"),
		filepath.Join(cache, "deb"), filepath.Join(work, "files"), filepath.Join(work, "work"), out)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Run(); err != nil {
		return guest{}, fmt.Errorf("build guest image: %w: %s", err, lastLines(stderr.String(), 5))
	}
	if err := os.Rename(out, dir); err != nil {
		return guest{}, fmt.Errorf("build guest image: %w", err)
	}
	return g, nil
}

// guestKey names the recipe: another recipe is another image.
func guestKey() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(files, "files/guest", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := files.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(b), b)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)[:6]), err
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
