// Package needs says what a test needs of the machine that it runs on. A test
// whose needs are not met is skipped and says why; where everything is to be
// tested (BAADAL_TEST_DISALLOW_SKIP is set, as make test does) it fails. It knows
// nothing of what is tested.
package needs

import (
	"os"
	"os/exec"
	"testing"
)

// Skip leaves out a test that cannot run here, or fails it where none may be
// left out.
func Skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("BAADAL_TEST_DISALLOW_SKIP") != "" {
		t.Fatal("skipping is not allowed: " + why)
	}
	t.Skip(why)
}

// All reports whether a suite of many cases is to try every one (BAADAL_TEST_ALL
// is set, as make test does once, without the race detector) or a sample: the
// inner loop has two minutes.
func All() bool { return os.Getenv("BAADAL_TEST_ALL") != "" }

// Time leaves out a test that takes seconds, most of them waiting for a real
// daemon, unless everything is to be tested.
func Time(t testing.TB) {
	t.Helper()
	if os.Getenv("BAADAL_TEST_DISALLOW_SKIP") == "" {
		t.Skip("it takes seconds; make test has them")
	}
}

// Programs is for a test that runs programs of the machine.
func Programs(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			Skip(t, err.Error())
		}
	}
}
