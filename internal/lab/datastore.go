package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// inMemory are the datastores on file systems of their own, with their sizes.
var inMemory = map[string]string{SmallDatastore: "64m", SecondDatastore: "2g"}

// mountDatastores mounts each datastore once, before the nodes are made: all of them see one and the same file system,
// as QEMU's locks on images and libvirt's notion of shared storage ask for. libvirt takes fuse.glusterfs for a network
// file system.
func (l *Lab) mountDatastores(ctx context.Context) error {
	if err := l.cgroups.create(mountsLeaf); err != nil {
		return err
	}
	for _, name := range datastores {
		behind, point := filepath.Join(l.dir, name), l.DatastorePath(name)
		for _, dir := range []string{behind, point} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("mount datastore %s: %w", name, err)
			}
		}
		if size, ok := inMemory[name]; ok {
			if err := syscall.Mount("tmpfs", behind, "tmpfs", 0, "mode=755,size="+size); err != nil {
				return fmt.Errorf("mount datastore %s: %w", name, err)
			}
		}
		args := append([]string{"-c", enterScript, "baadal-lab"}, l.cgroups.procs(mountsLeaf)...)
		args = append(args, "--", "bindfs", "-o", "subtype=glusterfs,allow_other", behind, point)
		cmd := exec.CommandContext(ctx, "/bin/sh", args...)
		cmd.Dir, cmd.Env = "/", []string{"PATH=" + nodePath}
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("mount datastore %s: %w: %s", name, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// SetDatastoreReadOnly makes a datastore read-only, or writable again, for the machine and all nodes at once.
// Idempotent. The kernel refuses to make it read-only while a file on it is open for writing (a running guest's disk):
// that error wraps syscall.EBUSY and nothing has changed.
func (l *Lab) SetDatastoreReadOnly(ctx context.Context, name string, readOnly bool) error {
	if !slices.Contains(datastores, name) {
		return fmt.Errorf("make datastore read-only: there is no %s, only %s", name, strings.Join(datastores, " and "))
	}
	err := l.change(ctx, func(*state) error {
		flags := uintptr(syscall.MS_REMOUNT | syscall.MS_NOSUID | syscall.MS_NODEV)
		if readOnly {
			flags |= syscall.MS_RDONLY
		}
		return syscall.Mount("", l.DatastorePath(name), "", flags, "")
	})
	if errors.Is(err, syscall.EBUSY) {
		return fmt.Errorf("make datastore %s read-only: files on it are open for writing: %w", name, err)
	} else if err != nil {
		return fmt.Errorf("set datastore %s read-only to %t: %w", name, readOnly, err)
	}
	return nil
}
