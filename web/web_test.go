package web_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"baadal/web"
)

// TestPackagesArePinned looks at what npm installs: each with its hash, and from
// whichever registry the machine uses.
func TestPackagesArePinned(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct {
			Resolved, Integrity  string
			OptionalDependencies map[string]string
		}
	}
	if err := json.Unmarshal(raw, &lock); err != nil {
		t.Fatal(err)
	}
	if len(lock.Packages) < 10 {
		t.Fatalf("only %d packages were found", len(lock.Packages))
	}
	for name, p := range lock.Packages {
		if name != "" && (p.Resolved != "" || !strings.HasPrefix(p.Integrity, "sha512-")) {
			t.Errorf("%s is from %q with the hash %q: lock it with npm install --omit-lockfile-registry-resolved", name, p.Resolved, p.Integrity)
		}
		for other := range p.OptionalDependencies { // of other machines: npm ci wants them all locked
			if _, ok := lock.Packages["node_modules/"+other]; !ok {
				t.Errorf("%s may need %s, which is not locked", name, other)
			}
		}
	}
}

// TestPagesAreOneFolder: also where nothing was built there is a folder to ask.
func TestPagesAreOneFolder(t *testing.T) {
	t.Parallel()
	f, err := web.Pages().Open("console.html")
	if err != nil && !os.IsNotExist(err) {
		t.Error(err)
	}
	if err == nil {
		_ = f.Close()
	}
}
