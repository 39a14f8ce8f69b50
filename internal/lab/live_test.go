package lab_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baadal/internal/lab"
	"baadal/internal/needs"
)

// needLab is for tests on real labs: they take root, time and memory, and run when they are asked for.
func needLab(t *testing.T) {
	t.Helper()
	if os.Getenv("BAADAL_TEST_LAB") == "" {
		t.Skip("a test on a real lab: set BAADAL_TEST_LAB=1")
	}
	if problems := lab.Check(t.Context()); len(problems) > 0 {
		needs.Skip(t, (&lab.CheckError{Problems: problems}).Error())
	}
}

// options are for a lab in a folder of its own. The guest image is built once for all tests.
func options(t *testing.T, hosts int) lab.Options {
	t.Helper()
	cache := os.Getenv("BAADAL_CACHE")
	if cache == "" {
		cache = filepath.Join(os.TempDir(), "baadal-cache")
	}
	return lab.Options{Dir: t.TempDir(), Hosts: hosts, Virt: lab.VirtQEMU, Cache: cache, Log: t.Logf}
}

// up builds a lab that is taken down, and looked for, at the end of the test.
func up(t *testing.T, o lab.Options) *lab.Lab {
	t.Helper()
	links := linkNames(t)
	l, err := lab.Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
		nothingLeft(t, l)
		if diff := cmp.Diff(links, linkNames(t)); diff != "" {
			t.Errorf("the machine's links (-before +after)\n%s", diff)
		}
	})
	return l
}

// nothingLeft looks for all that a lab could leave.
func nothingLeft(t *testing.T, l *lab.Lab) {
	t.Helper()
	if pids := l.Members(); len(pids) > 0 {
		t.Errorf("processes are left: %v", pids)
	}
	if dirs := l.CgroupDirs(); len(dirs) > 0 {
		t.Errorf("cgroups are left: %v", dirs)
	}
	mounts, err := l.MountsBelow()
	if err != nil || len(mounts) > 0 {
		t.Errorf("mounts are left: %v %v", mounts, err)
	}
	for _, p := range mentioning(l.Dir()) {
		t.Errorf("a process is left: %s", p)
	}
	entries, err := os.ReadDir(l.Dir())
	if err != nil {
		t.Error(err)
	}
	for _, e := range entries {
		if !slices.Contains([]string{"lock", "cache"}, e.Name()) {
			t.Errorf("a file is left: %s", e.Name())
		}
	}
}

// mentioning lists the processes that have the lab's folder in their command line, their environment, or among their
// mounts: so also those that got out of its cgroups.
func mentioning(dir string) []string {
	var found []string
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if e.Name()[0] < '0' || e.Name()[0] > '9' || e.Name() == fmt.Sprint(os.Getpid()) {
			continue
		}
		for _, file := range []string{"cmdline", "environ", "mountinfo"} {
			b, _ := os.ReadFile(filepath.Join("/proc", e.Name(), file))
			if strings.Contains(string(b), dir+"/") {
				name, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "comm"))
				found = append(found, fmt.Sprintf("%s %s (its %s)", e.Name(), strings.TrimSpace(string(name)), file))
			}
		}
	}
	return found
}

func linkNames(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/sys/class/net")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// output runs a command in a node, and gives what it said on both channels.
func output(t *testing.T, l *lab.Lab, node string, argv ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b, err := l.Command(ctx, node, argv...).CombinedOutput()
	return strings.TrimSpace(string(b)), err
}

func mustOutput(t *testing.T, l *lab.Lab, node string, argv ...string) string {
	t.Helper()
	out, err := output(t, l, node, argv...)
	if err != nil {
		t.Fatalf("%s in %s: %v: %s", strings.Join(argv, " "), node, err, out)
	}
	return out
}

func pings(t *testing.T, l *lab.Lab, from, to string) bool {
	t.Helper()
	_, err := output(t, l, from, "ping", "-c1", "-W1", to)
	return err == nil
}

func TestLabsStandSideBySide(t *testing.T) {
	needLab(t)
	type result struct {
		l   *lab.Lab
		err error
	}
	oa, ob := options(t, 2), options(t, 1)
	other := make(chan result, 1)
	ctx := t.Context()
	go func() {
		l, err := lab.Up(ctx, ob)
		other <- result{l, err}
	}()
	a := up(t, oa)
	r := <-other
	if r.err != nil {
		t.Fatal(r.err)
	}
	b := r.l
	t.Cleanup(func() {
		if err := b.Down(context.Background()); err != nil {
			t.Error(err)
		}
		nothingLeft(t, b)
	})
	if _, err := lab.Up(t.Context(), oa); err == nil || !strings.Contains(err.Error(), lab.ErrUp.Error()) {
		t.Errorf("a second lab in one folder gives %v", err)
	}
	ids := map[string]string{}
	for _, at := range []struct {
		l    *lab.Lab
		host string
	}{{a, "host1"}, {a, "host2"}, {b, "host1"}} {
		if got := mustOutput(t, at.l, lab.Controller, "ssh", at.host, "hostname"); got != at.host {
			t.Errorf("ssh to %s leads to %s", at.host, got)
		}
		id := mustOutput(t, at.l, at.host, "cat", "/etc/machine-id")
		if ids[id] != "" {
			t.Errorf("%s has the machine id of %s", at.host, ids[id])
		}
		ids[id] = at.host
	}
	if pings(t, b, lab.Controller, "10.77.0.12") {
		t.Error("the lab of one host sees the second host of the other")
	}
	// What happens to one does not happen to the other, also when the other goes.
	if err := os.WriteFile(filepath.Join(a.DatastorePath(lab.Datastore), "x"), []byte("a"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := output(t, b, "host1", "cat", "/mnt/datastore/x"); err == nil {
		t.Error("the labs share a datastore")
	}
	if err := b.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, b)
	if got := mustOutput(t, a, "host2", "cat", "/mnt/datastore/x"); got != "a" {
		t.Errorf("host2 reads %q", got)
	}
}

func TestCgroupVersion2(t *testing.T) {
	needLab(t)
	if _, err := os.Stat("/sys/fs/cgroup/unified/cgroup.procs"); err != nil {
		t.Skip("this is no hybrid machine: the other tests show what is to be shown here")
	}
	l := up(t, lab.Unified(options(t, 1)))
	// The daemons sit in the leaf of their node, and the node sees its own cgroup as the root; also after a power cut.
	if err := errors.Join(l.Kill(t.Context(), "host1"), l.Boot(t.Context(), "host1")); err != nil {
		t.Fatal(err)
	}
	if got := mustOutput(t, l, "host1", "cat", "/proc/self/cgroup"); !strings.Contains(got, "0::/init") {
		t.Errorf("a command in host1 is in %s", got)
	}
	if got := mustOutput(t, l, "host1", "cat", "/sys/fs/cgroup/init/cgroup.procs"); !strings.HasPrefix(got, "1\n") {
		t.Errorf("the leaf has %q", got)
	}
}

func TestUpEndedHalfWay(t *testing.T) {
	needLab(t)
	for _, after := range []time.Duration{0, 300, 700, 1500, 2500} {
		t.Run(fmt.Sprintf("%d ms", int(after)), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), after*time.Millisecond)
			defer cancel()
			o := options(t, 1)
			l, err := lab.Up(ctx, o)
			if err == nil { // a fast machine
				if err := l.Down(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if l, err = lab.Open(o.Dir); err != nil {
				t.Fatal(err)
			}
			nothingLeft(t, l)
		})
	}
}
