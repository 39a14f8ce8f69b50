package e2e_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"baadal/internal/lab"
)

// layers are the packages with tests of their own for a real host, and what
// these are called.
var layers = []struct {
	dir, tests string
	least      int // so many must pass: a test that no longer runs is no test
}{
	{"internal/libvirt", "^Test(Conformance)?Lab", 4},
	{"internal/disk", "^TestLab", 2},
	{"internal/probe", "^TestLab", 2},
}

// TestLayersOnALabHost runs the tests of the packages that speak to hosts where
// there is one: in the controller's network of a lab of their own, without a
// server beside them. A test that skips itself here is a failure.
func TestLayersOnALabHost(t *testing.T) {
	ctx := begin(t)
	dir := t.TempDir()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = dir
	}
	l, err := lab.Up(ctx, lab.Options{Dir: filepath.Join(dir, "lab"), Hosts: 1, Cache: filepath.Join(cache, "baadal")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Down(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}()
	guest, err := l.GuestImage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	binary, err := program(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	cord := func(act string) string { return binary + " lab " + act + " host1 --dir " + l.Dir() }
	env := []string{
		"BAADAL_TEST_DISALLOW_SKIP=1", "BAADAL_TEST_LAB_DIR=" + l.Dir(), "BAADAL_TEST_LAB_GUEST=" + guest,
		"BAADAL_TEST_LAB_CUT=" + cord("cut"), "BAADAL_TEST_LAB_HEAL=" + cord("heal"),
	}
	for _, p := range layers {
		t.Run(p.dir, func(t *testing.T) {
			test := filepath.Join(dir, filepath.Base(p.dir)+".test")
			if out, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", test, "baadal/"+p.dir).CombinedOutput(); err != nil {
				t.Fatalf("build the tests: %v\n%s", err, out)
			}
			var out bytes.Buffer
			cmd := l.CommandWith(ctx, lab.Controller, lab.ExecOptions{NetOnly: true, Env: env, Stdout: &out, Stderr: &out},
				test, "-test.v", "-test.timeout=5m", "-test.run="+p.tests)
			cmd.Dir = filepath.Join("..", p.dir)
			cmd.WaitDelay = 5 * time.Second
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v\n%s", err, out.Bytes())
			}
			if skipped := skip.FindAll(out.Bytes(), -1); skipped != nil {
				t.Errorf("skipped: %s", skipped)
			}
			if n := len(pass.FindAll(out.Bytes(), -1)); n < p.least {
				t.Errorf("%d tests passed, there were %d\n%s", n, p.least, out.Bytes())
			}
		})
	}
}

var (
	pass = regexp.MustCompile(`(?m)^--- PASS: .*$`)
	skip = regexp.MustCompile(`(?m)^\s*--- SKIP: .*$`)
)
