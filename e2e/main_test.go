// Package e2e_test tests the whole product on a lab: the real program on real
// hosts, over its API. Every test ends with a clean audit.
package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"baadal"
	"baadal/internal/demo"
	"baadal/internal/lab"
)

// The lab and the server are shared by all tests of the package, which run one
// after the other: a lab wants the whole machine.
var (
	theLab *lab.Lab
	cloud  *demo.Cloud
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	if os.Getenv("BAADAL_TEST_LAB") == "" {
		return m.Run() // the tests skip themselves
	}
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Minute)
	defer stop()
	dir, err := os.MkdirTemp("", "baadal-e2e-")
	if err != nil {
		return fail(err)
	}
	before := machine()
	defer func() {
		if err := tearDown(dir); err != nil {
			code = fail(err)
		}
		left := missing(machine(), before)
		for i := 0; i < 50 && len(left) > 0; i++ { // a file system's daemon ends a moment after its unmount
			time.Sleep(100 * time.Millisecond)
			left = missing(machine(), before)
		}
		if len(left) > 0 {
			code = fail(fmt.Errorf("left behind on the machine:\n%s", strings.Join(left, "\n")))
		}
	}()
	if err := setUp(ctx, dir); err != nil {
		return fail(err)
	}
	return m.Run()
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "e2e:", err)
	return 1
}

// setUp raises the lab, runs the server and gives it hosts, a datastore, a
// network and a template.
func setUp(ctx context.Context, dir string) (err error) {
	begun := time.Now()
	say := func(format string, args ...any) {
		fmt.Printf("%6.1fs  %s\n", time.Since(begun).Seconds(), fmt.Sprintf(format, args...))
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	theLab, err = lab.Up(ctx, lab.Options{Dir: filepath.Join(dir, "lab"), Hosts: 3, Cache: filepath.Join(cache, "baadal"), Log: say})
	if err != nil {
		return err
	}
	binary, err := program(ctx, dir)
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "server.log"))
	if err != nil {
		return err
	}
	cloud, err = demo.Start(ctx, demo.Options{Lab: theLab, Binary: binary, State: filepath.Join(dir, "server"), Stderr: log})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, tail(log.Name()))
	}
	if err := cloud.Furnish(ctx, say); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(log.Name()))
	}
	// Hosts of the lab are back in seconds, or never.
	_, err = cloud.Client.UpdateSetting(ctx, baadal.SettingHostPatience, "20s", baadal.ChangeOptions{})
	return err
}

func tearDown(dir string) error {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	var errs []error
	if cloud != nil {
		errs = append(errs, cloud.Close(ctx))
	}
	if theLab != nil {
		errs = append(errs, theLab.Down(ctx))
	}
	if os.Getenv("BAADAL_TEST_KEEP") == "" {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// program is the binary under test: the one that make built, or one built now.
func program(ctx context.Context, dir string) (string, error) {
	if path := os.Getenv("BAADAL_TEST_BINARY"); path != "" {
		return path, nil
	}
	path := filepath.Join(dir, "baadal")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "baadal/cmd/baadal")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return path, nil
}

func tail(file string) string {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// machine lists what a lab could leave behind: mounts, links, cgroups and
// daemons of the main namespaces.
func machine() map[string]bool {
	all := map[string]bool{}
	add := func(kind string, lines []string) {
		for _, l := range lines {
			if l != "" {
				all[kind+" "+l] = true
			}
		}
	}
	if raw, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		for line := range strings.Lines(string(raw)) {
			if f := strings.Fields(line); len(f) > 4 {
				add("mount", f[4:5])
			}
		}
	}
	if links, err := os.ReadDir("/sys/class/net"); err == nil {
		for _, l := range links {
			add("link", []string{l.Name()})
		}
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/*baadal*")
	add("cgroup", groups)
	groups, _ = filepath.Glob("/sys/fs/cgroup/*baadal*")
	add("cgroup", groups)
	procs, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, p := range procs {
		name, err := os.ReadFile(p)
		switch n := strings.TrimSpace(string(name)); n {
		case "libvirtd", "ovs-vswitchd", "ovsdb-server", "dhcpd", "kea-dhcp4", "bindfs", "baadal", "qemu-system-x86":
			if err == nil {
				add("process", []string{n + " " + filepath.Base(filepath.Dir(p))})
			}
		}
	}
	return all
}

func missing(now, before map[string]bool) (left []string) {
	for k := range now {
		if !before[k] {
			left = append(left, k)
		}
	}
	return left
}

// begin is the start of every test: it needs the lab, and at the end the audit
// must be clean.
func begin(t *testing.T) context.Context {
	t.Helper()
	if cloud == nil {
		t.Skip("a test on the lab: BAADAL_TEST_LAB is not set")
	}
	ctx, stop := context.WithTimeout(context.Background(), 8*time.Minute)
	t.Cleanup(stop)
	t.Cleanup(func() {
		if !t.Failed() {
			cleanAudit(ctx, t)
		}
	})
	return ctx
}

// cleanAudit fails the test if store and world differ, or if anything could not
// be looked at. What a loop puts back by itself after a host or a box was away
// has ten seconds to be back.
func cleanAudit(ctx context.Context, t *testing.T) {
	t.Helper()
	loops := []string{baadal.DiffFlows, baadal.DiffDHCP, baadal.DiffNames, baadal.DiffNAT, baadal.DiffPortgroup}
	report := audit(ctx, t, false)
	for begun := time.Now(); len(report.Differences) > 0 && time.Since(begun) < 10*time.Second; report = audit(ctx, t, false) {
		if slices.ContainsFunc(report.Differences, func(d baadal.Difference) bool { return !slices.Contains(loops, d.Kind) }) {
			break
		}
		t.Logf("audit: %s on %q is not back yet", report.Differences[0].Kind, report.Differences[0].Host)
		time.Sleep(500 * time.Millisecond)
	}
	for _, d := range report.Differences {
		t.Errorf("audit: %s %s on %q: stored %q, seen %q", d.Kind, d.Subject.Name, d.Host, d.Stored, d.Seen)
	}
	for _, n := range report.NotSeen {
		t.Errorf("audit: not seen: %s", n)
	}
}

func audit(ctx context.Context, t *testing.T, repair bool) baadal.Audit {
	t.Helper()
	c, err := cloud.Client.RunAudit(ctx, repair, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Await(ctx, c.Task, nil); err != nil {
		t.Fatal(err)
	}
	report, err := cloud.Client.LastAudit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// virsh lists the domains of a host as virsh does: UUID and state.
func virsh(ctx context.Context, t *testing.T, host string) map[string]string {
	t.Helper()
	out := node(ctx, t, host, "virsh", "-q", "list", "--all", "--uuid")
	all := map[string]string{}
	for uuid := range strings.FieldsSeq(out) {
		all[uuid] = node(ctx, t, host, "virsh", "-q", "domstate", uuid)
	}
	return all
}

// node runs a command in a node and returns its output.
func node(ctx context.Context, t *testing.T, name string, argv ...string) string {
	t.Helper()
	out, err := theLab.Command(ctx, name, argv...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s in %s: %v\n%s", strings.Join(argv, " "), name, err, out)
	}
	return strings.TrimSpace(string(out))
}

// eventually tries until it is nil, or fails the test with the last error.
func eventually(t *testing.T, limit time.Duration, what string, try func() error) {
	t.Helper()
	begun := time.Now()
	for {
		err := try()
		if err == nil {
			t.Logf("%s after %s", what, time.Since(begun).Round(10*time.Millisecond))
			return
		}
		if time.Since(begun) > limit {
			t.Fatalf("not %s within %s: %v", what, limit, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// create makes a VM of the tiny template and waits until it runs.
func create(ctx context.Context, t *testing.T, in baadal.VMCreate) baadal.VM {
	t.Helper()
	if in.Template == "" {
		in.Template = "tiny"
	}
	if in.RAMMiB == 0 {
		in.RAMMiB = 128
	}
	vm, err := cloud.CreateVM(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// remove deletes a VM and waits until it is gone.
func remove(ctx context.Context, t *testing.T, ref string) {
	t.Helper()
	c, err := cloud.Client.DeleteVM(ctx, ref, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Await(ctx, c.Task, nil); err != nil {
		t.Fatal(err)
	}
}

// upload sends a file and returns the upload's id.
func upload(ctx context.Context, t *testing.T, file string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	up, err := cloud.Client.Upload(ctx, "", f, st.Size(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return up.ID
}
