package simulator_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/simulator"
)

// envChild holds the folder in which the test binary, run anew, plays the
// controller that gets killed; envKill says at which call: "op" or "op after".
const (
	envChild = "BAADAL_TEST_SIMULATOR_CHILD"
	envKill  = "BAADAL_TEST_SIMULATOR_KILL"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(envChild); dir != "" {
		err := child(dir, os.Getenv(envKill))
		fmt.Fprintln(os.Stderr, "not killed:", err)
		os.Exit(3)
	}
	os.Exit(m.Run())
}

// child makes and starts a VM, and asks it to go down.
func child(dir, kill string) error {
	ctx := context.Background()
	w, err := simulator.Open(simulator.Config{Dir: dir, Hosts: 2, ShutdownTime: 100 * time.Millisecond})
	if err != nil {
		return err
	}
	if _, err := w.AddTemplate(store.Path, template, 4*gib); err != nil {
		return err
	}
	w.OnOp(func(op string, after bool) {
		if after {
			op += " after"
		}
		if op == kill {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	})
	h, err := w.Host("host1")
	if err != nil {
		return err
	}
	return errors.Join(
		w.Disks().CreateImage(ctx, h, image(uuid1, "IITD_a_web")),
		w.Hypervisor().Define(ctx, h, definition(uuid1, "IITD_a_web")),
		w.Hypervisor().Start(ctx, h, uuid1),
		w.DHCP().Apply(ctx, []baadal.Reservation{{Name: "a", MAC: "A2:00:00:00:00:01", IP: "192.168.10.11"}}),
		w.Hypervisor().Shutdown(ctx, h, uuid1),
	)
}

func TestKilledProcess(t *testing.T) {
	t.Parallel()
	image, off, running := "vm_images/IITD_a_web mark="+uuid1, "domain "+uuid1+" state=off", "domain "+uuid1+" state=running"
	tests := []struct {
		kill      string
		has, lack []string
	}{
		{"disks.create_image", []string{"vm_templates/" + template}, []string{image}},
		{"disks.create_image after", []string{image}, []string{"domain"}},
		{"hypervisor.define after", []string{image, off}, nil},
		{"hypervisor.start", []string{off}, []string{running}},
		{"hypervisor.start after", []string{running}, []string{"reservation"}},
		{"hypervisor.shutdown", []string{running, "reservation a"}, []string{off}},
		{"hypervisor.shutdown after", []string{off, "reservation a"}, []string{running}},
	}
	for _, tt := range tests {
		t.Run(tt.kill, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), envChild+"="+dir, envKill+"="+tt.kill)
			out, err := cmd.CombinedOutput()
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("child ended with %v: %s", err, out)
			}
			time.Sleep(100 * time.Millisecond) // what was due while nobody looked has happened
			w, err := simulator.Open(simulator.Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			snap := w.Snapshot()
			for _, s := range tt.has {
				if !strings.Contains(snap, s) {
					t.Errorf("%q is missing in\n%s", s, snap)
				}
			}
			for _, s := range tt.lack {
				if strings.Contains(snap, s) {
					t.Errorf("%q is in\n%s", s, snap)
				}
			}
			if bad := w.Check(); len(bad) > 0 {
				t.Errorf("Check: %q", bad)
			}
		})
	}
}

func TestReopened(t *testing.T) {
	t.Parallel()
	cfg := simulator.Config{Dir: t.TempDir()}
	c := open(t, cfg)
	c.run("host1", uuid1, "IITD_a_web")
	c.must(c.DHCP().Apply(t.Context(), []baadal.Reservation{{Name: "a", MAC: "A2:00:00:00:00:01", IP: "192.168.10.11"}}))
	c.must(c.Cut("host2"))
	c.must(c.SetSkew("host2", time.Hour))
	c.must(c.Mount("host2", store.Path, false))
	c.must(c.SetVLAN("host1", "a2:00:00:00:00:01", 11))

	_, err := simulator.Open(cfg)
	c.wants(err, "conflict/world_in_use")

	before := c.Snapshot(simulator.WithTimes())
	c.must(c.Close())
	cfg.Hosts = 3
	w, err := simulator.Open(cfg)
	c.must(err)
	again := &cloud{World: w, t: t}
	defer again.Close()
	want := strings.Replace(before, "reservation", "host host3 address=10.77.0.13\nreservation", 1)
	if d := cmp.Diff(want, w.Snapshot(simulator.WithTimes())); d != "" {
		t.Error(d)
	}
	// What follows from the state is there again, too.
	again.must(again.Hypervisor().Define(t.Context(), again.host("host3"), definition(uuid1, "IITD_a_web")))
	again.wants(again.Hypervisor().Start(t.Context(), again.host("host3"), uuid1), "conflict/disk_in_use")
	if !w.Guests().Answers(t.Context(), "192.168.10.11") {
		t.Error("the guest does not answer any more")
	}
}

func TestBrokenStateIsToldNotReplaced(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"{", `{"Version": 99}`} {
		dir := t.TempDir()
		name := dir + "/world.json"
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 { // a failed Open must not keep the lock
			if _, err := simulator.Open(simulator.Config{Dir: dir}); err == nil || baadal.KindOf(err) == baadal.Conflict {
				t.Errorf("%s: opened with %v", content, err)
			}
		}
		if b, err := os.ReadFile(name); err != nil || string(b) != content {
			t.Errorf("%q became %q (%v)", content, b, err)
		}
	}
}
