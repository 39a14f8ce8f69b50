package lab_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"baadal/internal/lab"
)

const crashEnv = "BAADAL_TEST_LAB_UP_IN"

// TestMain lets the test program be a "lab up" that can be killed.
func TestMain(m *testing.M) {
	dir := os.Getenv(crashEnv)
	if dir == "" {
		os.Exit(m.Run())
	}
	_, err := lab.Up(context.Background(), lab.Options{
		Dir: dir, Hosts: 2, Virt: lab.VirtQEMU, Cache: os.Getenv("BAADAL_CACHE"),
		Log: func(format string, arg ...any) { fmt.Fprintf(os.Stderr, format+"\n", arg...) },
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A lab up that is killed with -9 at any moment leaves nothing that lab down, or the next lab up, does not find.
func TestDownAfterCrash(t *testing.T) {
	needLab(t)
	const rounds = 10
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // moments, not secrets
	for round := range rounds {
		o := options(t, 2)
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), crashEnv+"="+o.Dir, "BAADAL_CACHE="+o.Cache)
		out, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		phase, lines := "the start", bufio.NewScanner(out)
		for range round % 5 { // each of the phases that Up tells of, and a moment within it
			if lines.Scan() {
				phase = lines.Text()
			}
		}
		after := time.Duration(random.IntN(600)) * time.Millisecond
		time.Sleep(after)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		l, err := lab.Open(o.Dir)
		if err != nil {
			t.Fatal(err)
		}
		processes, cgroups := len(l.Members()), len(l.CgroupDirs())
		t.Logf("killed %s after %q: %d processes, %d cgroups", after, phase, processes, cgroups)
		if s, err := l.Status(); round == rounds-1 && err == nil && !s.Ready {
			up(t, o) // what is left must not be in the way of a new one either
			continue
		}
		if err := l.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		nothingLeft(t, l)
	}
}

// Who is not root, on a machine that lacks programs, is told of all of it at once, and nothing is made.
func TestUpTellsAllThatIsMissing(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "baadal-lab-test-") // t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "lab.test")
	copyFile(t, os.Args[0], program)
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = []string{"PATH=/nowhere", crashEnv + "=" + filepath.Join(dir, "lab")}
	cmd.Dir = dir
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("lab up: %v: %s", err, out)
	}
	for _, want := range []string{
		"takes root", "qemu-img is missing (Debian package qemu-utils)", "ovs-vsctl is missing", "nsenter is missing",
		"apt-get install -y --no-install-recommends ",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("something was made: %v, %v", entries, err)
	}
}
