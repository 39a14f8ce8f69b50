package disk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baadal"
	"baadal/internal/disk"
	"baadal/internal/needs"
	"baadal/internal/ssh"
)

var testHost = baadal.Host{ID: 1, Name: "host1", Address: "127.0.0.1"}

// local runs commands on this machine, each in a process group of its own.
type local struct {
	killAfter time.Duration // SIGKILL the whole group then; 0 is never
}

var errKilled = errors.New("killed by the test")

func (l local) Run(ctx context.Context, _ baadal.Host, c ssh.Command) (ssh.Result, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, &out, &errs
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = kill
	if err := cmd.Start(); err != nil {
		return ssh.Result{}, err
	}
	if l.killAfter > 0 {
		defer time.AfterFunc(l.killAfter, func() { _ = kill() }).Stop()
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

const (
	uuidA = "0b6e4d3a-1111-4222-8333-aaaaaaaaaaaa"
	uuidB = "0b6e4d3a-1111-4222-8333-bbbbbbbbbbbb"
)

// newStore mounts a tmpfs of so many MiB as a datastore.
func newStore(t *testing.T, mib int) baadal.Datastore {
	t.Helper()
	needs.Programs(t, "qemu-img", "mountpoint", "prlimit")
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0755", mib)); err != nil {
		needs.Skip(t, "cannot mount a tmpfs: "+err.Error())
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return baadal.Datastore{ID: 1, Name: "ds1", Path: dir}
}

// newDisks returns Disks on a datastore that holds a template of 8 MiB.
func newDisks(t *testing.T, mib int) (*disk.Disks, baadal.Datastore) {
	t.Helper()
	ds := newStore(t, mib)
	d := disk.New(local{}, disk.Options{})
	if _, err := d.Usage(t.Context(), testHost, ds); err != nil {
		t.Fatal(err)
	}
	qemuImg(t, "create", "-q", "-f", "qcow2", ds.TemplateFile("t.qcow2"), "8M")
	return d, ds
}

func qemuImg(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("qemu-img", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-img %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func image(ds baadal.Datastore, identity, uuid string) baadal.VMImage {
	return baadal.VMImage{
		Datastore: ds, Identity: identity, UUID: uuid, Template: ds.TemplateFile("t.qcow2"),
		Format: "qcow2", Bytes: 16 << 20, Seed: []byte("the seed"),
	}
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

// tree lists the files below a folder, with a slash after folders.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if e.IsDir() {
			rel += "/"
		}
		all = append(all, rel)
		return nil
	})
	must(t, err)
	sort.Strings(all)
	return all
}

func write(t *testing.T, file, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(file), 0o755))
	must(t, os.WriteFile(file, []byte(text), 0o644))
}
